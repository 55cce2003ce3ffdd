"""The page "Method": its words agree with the documents, its example is computed, every tab."""

import re
from pathlib import Path

import numpy as np
import pytest
from explorer_pages import page_app
from streamlit.testing.v1 import AppTest

from gsto_viz.explorer.values import method as method_text
from gsto_viz.explorer.values.method import (
    ARRANGEMENTS,
    ZOOM,
    label_picture,
    map_picture,
    worked_example,
)
from gsto_viz.explorer.view_state import TABS as SLUGS
from gsto_viz.explorer.views.method import ARRANGEMENT, TAB
from gsto_viz.files import versions
from gsto_viz.words import INDICES, NULLS

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "gsto_viz" / "guide" / "how_to_read_sci.md").read_text(encoding="utf-8")
TABS = (
    "From map to SCI",
    "Worked example",
    "Every number",
    "Evidence",
    "Gates and shares",
    "Limits",
    "Glossary",
    "Versions, licences",
)


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


def test_words_agree_with_the_guide():
    nulls = method_text.null_table()
    for name in NULLS:
        assert f"| **{name}** |" in nulls
        assert re.search(rf"\b{name}\b", GUIDE)
    numbers = method_text.number_table()
    words = [one.label for one in INDICES.values()]
    for label in (*words, "SCI, layout out", "SCI_C", "STP, twice as large", "q", "U", "Z"):
        assert f"| **{label}** |" in numbers
    verdict = " ".join(section.body for section in method_text.EVIDENCE)
    for number in ("0.43", "0.57", "4 seeds", "Holm", "sign-flip"):
        assert number in verdict
        assert number in GUIDE or number.replace("4 seeds", "At least 4 seeds") in GUIDE
    assert "Lower SCI is not better segmentation" in " ".join(method_text.LIMITS)
    assert "Lower SCI is not better segmentation" in GUIDE


def test_the_guide_is_on_the_page_without_what_the_page_cannot_show(checkpoints):
    shown = method_text.guide()
    assert shown in [text.value for text in page().run().markdown]
    assert "](" in GUIDE
    assert "](" not in shown
    for heading in ("A worked example", "The strict verdict", "Comparing networks"):
        assert f"\n**{heading}**\n" in shown


def test_tables_are_whole():
    for table in (
        method_text.number_table(),
        method_text.null_table(),
        method_text.glossary_table(),
    ):
        lines = table.splitlines()
        assert len(lines) > 5
        assert len({line.count("|") for line in lines}) == 1


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
    assert "Coarseness q" in said(app)
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
