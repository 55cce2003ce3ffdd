"""The page "Method": the guide by parts, its example is computed, every tab."""

import re
from pathlib import Path

import numpy as np
import pytest
from explorer_pages import page_app
from streamlit.testing.v1 import AppTest

from gsto_viz.explorer.values.method import (
    ARRANGEMENTS,
    PARTS,
    ZOOM,
    chapters_of,
    label_picture,
    map_picture,
    worked_example,
)
from gsto_viz.explorer.view_state import TABS as SLUGS
from gsto_viz.explorer.views.method import ARRANGEMENT, TAB
from gsto_viz.files import versions
from gsto_viz.regions import BAND_PX
from gsto_viz.stats.compare import FALSE_SIGNAL, MIN_DRAWS
from gsto_viz.stats.inference import MIN_CLUSTERS, REPLICATES
from gsto_viz.words import INDICES, NULLS, SCI_C, STP

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "gsto_viz" / "guide" / "how_to_read_sci.md").read_text(encoding="utf-8")
TABS = tuple(name for name, _ in PARTS.values())


def test_the_example_prints_what_the_guide_prints():
    found = worked_example(ARRANGEMENTS[0])
    printed = [line.split() for line in GUIDE.splitlines() if re.match(r"^[012]\s+\d\s", line)]
    assert len(printed) == 3
    for row, line in zip(found.regions.itertuples(index=False), printed, strict=True):
        numbers = [float(word) for word in (line[3], *line[5:8])]
        assert np.allclose(row[1:], numbers, atol=5e-4)
    assert f"{found.sci:.6f}" == "0.333333"
    assert "SCI = 1/3" in GUIDE
    # (small, large) and (small, background) are right, (large, background) is not.
    verdicts = {(r.smaller, r.larger): r.verdict for r in found.pairs.itertuples()}
    assert verdicts == {
        ("small square", "large square"): "right",
        ("small square", "background"): "right",
        ("large square", "background"): "wrong",
    }


@pytest.mark.parametrize(
    ("arrangement", "value"), list(zip(ARRANGEMENTS, (1 / 3, 2 / 3, 0.5), strict=True))
)
def test_every_arrangement_follows_from_its_pairs(arrangement, value):
    found = worked_example(arrangement)
    assert found.sci == pytest.approx(value, abs=1e-12)
    weights = {"right": 0.0, "tie": 0.5, "wrong": 1.0}
    assert np.mean([weights[v] for v in found.pairs["verdict"]]) == pytest.approx(value)
    q = dict(zip(found.regions["region"], found.regions["q"], strict=True))
    for row in found.pairs.itertuples(index=False):
        assert (row[2], row[3]) == (q[row.larger], q[row.smaller])


def test_pictures_have_one_size_and_the_places_of_the_squares():
    found = worked_example(ARRANGEMENTS[0])
    pictures = [label_picture(found.labels)]
    pictures += [map_picture(one, stride) for one, stride in zip(found.maps, (4, 8), strict=True)]
    for picture in pictures:
        assert picture.shape == (64 * ZOOM, 96 * ZOOM, 3)
        # Three colours: background and two squares, where they are.
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 3
        small, large, outside = picture[36, 36], picture[96, 192], picture[0, 0]
        assert not np.array_equal(small, large)
        assert not np.array_equal(large, outside)
        assert np.array_equal(picture[24:48, 24:48], np.broadcast_to(small, (24, 24, 3)))
    flat = map_picture(np.ones((2, 3)), 4)
    assert len(np.unique(flat.reshape(-1, 3), axis=0)) == 1


def test_every_chapter_of_the_guide_is_in_one_part():
    assert tuple(PARTS) == SLUGS
    heads = re.findall(r"^##? (.*)$", GUIDE.replace("# 8 x 8", ""), flags=re.M)
    placed = [head for _, heads in PARTS.values() for head in heads]
    assert sorted(placed) == sorted(heads)
    assert len(heads) > 10


def test_the_numbers_of_the_guide_are_those_of_the_code():
    for number in (f"{FALSE_SIGNAL} to {1 - FALSE_SIGNAL:.2f}", f"below {FALSE_SIGNAL}"):
        assert number in GUIDE
    assert f"{REPLICATES} replicates; none below {MIN_CLUSTERS} of them" in GUIDE
    assert f"random weights, {MIN_DRAWS} draws" in GUIDE
    assert f"{BAND_PX:g} px" in chapters_of("steps")
    for name in NULLS:
        assert re.search(rf"\b{name}\b", chapters_of("evidence"))
    for index in (*INDICES.values(), SCI_C, STP):
        assert f"| {index.label} | `{index.key}` |" in chapters_of("numbers")


def test_the_page_shows_nothing_that_it_cannot_open():
    assert "](" in GUIDE
    assert "<!--" in GUIDE
    text = "".join(map(chapters_of, PARTS))
    assert "](" not in text
    assert "<!--" not in text
    assert "## The strict verdict" in text


def page(query: dict[str, str] | None = None, tab: str = TABS[0]) -> AppTest:
    return page_app("method", {"tab": SLUGS[TABS.index(tab)]} | (query or {}), **{TAB: tab})


def said(app: AppTest) -> str:
    return " ".join(text.value for text in app.markdown)


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_is_drawn(checkpoints, tab):
    app = page(tab=tab).run()
    assert not app.exception
    assert not app.error
    assert len(said(app)) > 100


def test_the_page_needs_no_checkpoint():
    app = page().run()
    assert not app.exception
    assert "Coarseness q" in said(app).replace("*", "")
    app = page(tab="Versions, licences").run()
    assert not app.exception
    assert versions()["torch"] in said(app)


def test_licences_are_those_of_the_checkpoints(checkpoints):
    app = page(tab="Versions, licences").run()
    table = app.dataframe[0].value.set_index("checkpoint")["licence"]
    assert table["gated.safetensors"] == "for research only"
    assert table["plain.safetensors"] == "none stated in the file"
    (checkpoints / "gated.safetensors").unlink()
    app.run()
    assert not app.exception
    assert len(app.dataframe[0].value) == 1


def test_the_open_tab_is_in_the_link(checkpoints, address):
    app = page(tab="Glossary").run()
    assert address(app)["tab"] == "glossary"
    assert app.session_state[TAB] == "Glossary"
    app.session_state[TAB] = "Limits"
    app.run()
    assert address(app)["tab"] == "limits"
    app = page({"tab": "attic"}).run()
    assert ["'tab' is none of" in note.value for note in app.warning] == [True]
    assert address(app)["tab"] == "steps"


def test_the_example_turns_round(checkpoints):
    app = page(tab="Worked example").run()
    assert "SCI = 0.333" in said(app)
    app.segmented_control(key=ARRANGEMENT).set_value("Turned round")
    app.run()
    assert not app.exception
    assert "SCI = 0.667" in said(app)
    app.segmented_control(key=ARRANGEMENT).set_value("One map for both")
    app.run()
    assert "3 tied" in said(app)
    assert "SCI = 0.500" in said(app)


def test_bad_links_are_said_and_change_nothing(checkpoints):
    app = page({"a": "<script>", "x": "abc"}).run()
    assert not app.exception
    assert len(app.warning) == 2
    assert "script" not in " ".join(note.value for note in app.warning)
