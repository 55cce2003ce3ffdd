"""The page "Sizes" as Streamlit runs it: an image, an analysis, filters, boxes, bad links."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import streamlit
from explorer_pages import go_to, page_app
from PIL import Image
from streamlit.testing.v1 import AppTest

from gsto_viz.explorer.values.sizes import (
    PAIRED_COLUMNS,
    Choices,
    confusion,
    of_report,
    region_rows,
)
from gsto_viz.explorer.views import size_regions as size_cached
from gsto_viz.report import load_report

GATED, PLAIN = "gated.safetensors", "plain.safetensors"


@pytest.fixture
def runs(analysis, offer) -> Path:
    """The folder of a finished analysis called ``run``."""
    offer(runs=analysis.folder.parent)
    return analysis.folder


def page(query: dict[str, str] | None = None, **session: object) -> AppTest:
    return page_app("sizes", query, **session)


def said(app: AppTest) -> str:
    return " ".join(text.value for text in app.markdown)


def drawn(app: AppTest) -> str:
    """The alternative texts of all pictures."""
    return " ".join(str(image.proto) for image in app.image)


def hrefs(app: AppTest) -> list[str]:
    """The addresses of all links to other pages."""
    parts = app.get("bidi_component")
    found = [c.proto for c in parts if c.proto.component_name == "gsto_viz_links"]
    return [one["href"] for proto in found for one in json.loads(proto.json)["links"]]


def scatter_of(app: AppTest, letter: str) -> str:
    """The key of a scatter in the session."""
    keys = app.session_state._state.filtered_state
    return next(key for key in keys if str(key).startswith(f"scatter-{letter}-"))


def made_up_differences(*_: object) -> pd.DataFrame:
    """Two indices, one of them not estimated."""
    rows = [
        ("sci", "confirmatory", 0.5, 0.4, -0.1, -0.2, 0.0, 0.04, 0.16, False, 12, 99, None),
        ("sci_gap_1_2", "exploratory", *[None] * 8, 0, 0, "few"),
    ]
    return pd.DataFrame(rows, columns=list(PAIRED_COLUMNS))


def box(**ends: list[float]) -> dict[str, object]:
    """What a browser sends of a box; an end that is left out takes in everything."""
    return {"selection": {"box": {"octave": [0, 12], "q": [-9, 9]} | ends}}


def test_a_headline_of_few_pairs_says_so(checkpoints):
    app = page({"gap": "4"}).run()
    assert not app.exception
    assert [metric.value for metric in app.metric] == ["too few pairs"] * 3
    assert "1 image, 1 pair: too few to say" in said(app)


def test_null_models_of_an_image_are_computed_on_request(checkpoints):
    app = page({"panel": "nulls"}).run()
    assert not [c for c in app.main if c.type == "arrow_vega_lite_chart"]
    (button,) = (one for one in app.button if one.label.startswith("Compute shifted"))
    button.click().run()
    assert not app.exception
    assert "N1 shifted labels: near 0.5" in said(app)
    assert "N2 swapped labels: below 0.5" in said(app)


def test_without_any_checkpoint_the_page_says_what_to_do(runs):
    app = page().run()
    assert not app.exception
    assert "gsto-viz app --checkpoints" in app.info[0].value
    assert not app.metric


def test_one_image_has_values_without_intervals(checkpoints, address):
    app = page().run()
    assert not app.exception
    assert not app.error
    assert [metric.label for metric in app.metric] == ["SCI of A", "SCI of B", "B - A, paired"]
    assert all(-1 <= float(metric.value) <= 1 for metric in app.metric)
    assert said(app).count("No interval") == 1
    assert "--runs DIR" in said(app)
    assert address(app) == {
        "source": "scene",
        "scene": "0",
        "a": PLAIN,
        "b": GATED,
        "size": "area",
        "gap": "1",
        "panel": "regions",
        "order": "data",
        "sheet": "1",
    }


def test_a_box_lists_regions_and_outlines_them(checkpoints):
    app = page().run()
    a, b = (scatter_of(app, letter) for letter in "AB")
    app.session_state[a] = box(octave=[5, 9])
    app.run()
    assert not app.exception
    table = app.dataframe[0].value
    assert (table["size (octaves)"] >= 5).all()
    assert len(table) > 1
    assert f"{len(table)} regions in the box" in said(app)
    assert "regions in the box outlined" in drawn(app)
    # A second box, in the other chart, narrows it.
    middle = float(table["q of B"].median())
    app.session_state[a] = box(octave=[5, 9])
    app.session_state[b] = box(q=[9, middle])
    app.session_state["sizes-list"] = {"selection": {"rows": [0], "columns": []}}
    app.run()
    assert not app.exception
    fewer = app.dataframe[0].value
    assert fewer["region"].tolist() == table[table["q of B"] >= middle]["region"].tolist()
    (link,) = hrefs(app)
    # The address of Explore, not of this page: it is copied and opened in new tabs.
    assert link.startswith("./?")
    assert "pick=region" in link
    assert f"a={PLAIN}" in link
    app.session_state[a] = box(octave=[11, 12])
    app.run()
    assert not app.exception
    assert "No region lies in the box" in said(app)


def test_what_a_browser_says_that_is_no_box_is_none(checkpoints):
    app = page().run()
    app.session_state[scatter_of(app, "A")] = box(octave=["x", None])
    app.run()
    assert not app.exception
    assert "Draw a box in a chart" in said(app)


def test_boxes_travel_in_the_link(checkpoints, address):
    app = page().run()
    app.session_state[scatter_of(app, "B")] = box(octave=[5, 12], q=[-1.23456, 9])
    app.run()
    assert address(app)["box_b"] == "5,12,-1.235,9"
    assert "box_a" not in address(app)
    rows = app.dataframe[0].value
    again = page()
    for name, value in address(app).items():
        again.query_params[name] = value
    again.run()
    assert not again.exception
    assert again.dataframe[0].value.equals(rows)
    assert address(again) == address(app)
    (button,) = (one for one in again.button if one.label == "Take the link's boxes away")
    button.click().run()
    assert "Draw a box in a chart" in said(again)
    assert "box_b" not in address(again)
    again = page()
    for name, value in address(app).items():
        again.query_params[name] = value
    again.run()
    assert again.dataframe[0].value.equals(rows)
    # Another class: the charts begin without a box, and so does the link.
    again.selectbox(key="cls").set_value("Road").run()
    assert "Draw a box in a chart" in said(again)
    assert "box_b" not in address(again)


def test_one_checkpoint_is_enough(checkpoints):
    (checkpoints / GATED).unlink()
    app = page().run()
    assert not app.exception
    assert float(app.metric[2].value) == 0.0


@pytest.mark.parametrize("panel", ["responses", "nulls", "differences", "pairs"])
def test_every_panel_draws_one_image(checkpoints, panel):
    app = page({"scene": "3", "gap": "2", "size": "inscribed", "panel": panel}).run()
    assert not app.exception
    assert not app.error
    if panel == "responses":
        assert len(app.get("vega_lite_chart")) + len(app.get("arrow_vega_lite_chart")) == 2
    elif panel == "pairs":
        assert "in the wrong order" in drawn(app)
    else:
        assert "need many images" in said(app)


def test_an_analysis_has_intervals_that_follow_the_filters(checkpoints, runs, address):
    source = of_report(load_report(runs), "expected")
    app = page({"run": "run"}).run()
    assert not app.exception
    assert not app.error
    assert app.selectbox(key="run").value == "run"
    assert "hrnetv2\\-tiny\\-test" in said(app)
    expected = confusion(source, Choices())
    assert [float(m.value) for m in app.metric[:2]] == pytest.approx(
        [expected.by_model[x].value for x in "AB"], abs=5e-4
    )
    low = expected.by_model["A"].low
    assert f"95 % interval {low:.3f}" in said(app)
    app.selectbox(key="cls").set_value("Tree")
    app.segmented_control(key="size").set_value("inscribed")
    app.slider(key="gap").set_value(1.5)
    app.run()
    assert not app.exception
    narrow = confusion(source, Choices("Tree", "inscribed", 1.5))
    for metric, letter in zip(app.metric, "AB", strict=False):
        value = narrow.by_model[letter].value
        few = narrow.by_model[letter].n_pairs < 20
        told = "too few pairs" if few else f"{value:.3f}"
        assert metric.value == ("none" if value is None else told)
    assert address(app) | {"cls": "Tree", "size": "inscribed", "gap": "1.5", "run": "run"} == (
        address(app)
    )


def test_a_region_of_an_analysis_says_why_it_is_not_opened(checkpoints, runs):
    app = page({"run": "run"}).run()
    app.session_state[scatter_of(app, "A")] = box(octave=[0, 12], q=[-9, 9])
    app.session_state["sizes-list"] = {"selection": {"rows": [2], "columns": []}}
    app.run()
    assert not app.exception
    assert len(app.dataframe[0].value) == min(
        500, region_rows(of_report(load_report(runs), "x"), Choices())["q_A"].notna().sum()
    )
    assert "Not opened in Explore" in said(app)
    assert not hrefs(app)


def test_a_region_of_an_analysis_is_shown_when_its_data_are_open(checkpoints, runs, offer):
    offer(data=load_report(runs).data)
    app = page({"run": "run"}).run()
    app.session_state[scatter_of(app, "B")] = box(octave=[5, 12])
    app.session_state["sizes-list"] = {"selection": {"rows": [0], "columns": []}}
    app.run()
    assert not app.exception
    assert "outlined" in drawn(app)
    assert "are not offered here" in said(app)
    (link,) = hrefs(app)
    assert "source=data" in link
    assert "pick=region" in link


@pytest.mark.parametrize("panel", ["responses", "nulls", "pairs"])
def test_every_panel_draws_an_analysis(checkpoints, runs, panel):
    app = page({"run": "run", "gap": "2", "panel": panel}).run()
    assert not app.exception
    assert not app.error
    if panel == "nulls":
        assert "random weights (N3) give SCI A" in said(app)
        assert len(app.dataframe) == 2
        assert "strict" in said(app)
    else:
        assert "in the wrong order" in drawn(app) or "No centre, span or slope" in said(app)


def test_worst_pairs_open_in_explore_where_their_image_can(checkpoints, runs, offer):
    app = page({"run": "run", "panel": "pairs"}).run()
    assert not app.exception
    pairs = said(app).count("Smaller\\: ")
    assert drawn(app).count("in the wrong order") == pairs > 0
    # The images of the analysis are not open here: nothing is offered.
    assert not hrefs(app)
    assert "are not offered here" not in said(app)
    offer(data=load_report(runs).data)
    app = page({"run": "run", "panel": "pairs"}).run()
    assert not app.exception
    links = hrefs(app)
    assert len(links) == pairs
    assert all("source=data" in link and "pick=region" in link for link in links)
    assert said(app).count("are not offered here") == 1


def test_worst_pairs_of_an_image_link_to_it(checkpoints):
    app = page({"scene": "3", "panel": "pairs"}).run()
    assert not app.exception
    links = hrefs(app)
    assert len(links) == said(app).count("Smaller\\: ") > 0
    assert all("scene=3" in link and f"a={PLAIN}" in link for link in links)


def test_differences_of_an_analysis_are_listed(checkpoints, runs, monkeypatch):
    monkeypatch.setattr(size_cached, "paired_table", made_up_differences)
    streamlit.cache_resource.clear()
    app = page({"run": "run", "panel": "differences"}).run()
    assert not app.exception
    assert app.dataframe[0].value["index"].tolist() == ["SCI", "SCI, 1 to 2 octaves"]
    assert "within 0.05 of 0" in said(app)
    assert "Holm" in said(app)


def test_bad_links_are_said_and_change_nothing(checkpoints, runs):
    for query, count in (
        ({"run": "../../etc", "gap": "99", "size": "<script>"}, 3),
        ({"cls": "No such class"}, 1),
        ({"run": "run", "cls": "x" * 500}, 1),
    ):
        app = page(query).run()
        assert not app.exception
        assert not app.error
        assert len(app.warning) == count
        words = " ".join(note.value for note in app.warning)
        assert not any(word in words for word in ("etc", "script", "xxx", "No such class"))
        assert app.selectbox(key="cls").value == "All classes"
        assert app.slider(key="gap").value == 1.0


def test_an_analysis_that_is_damaged_is_one_sentence(checkpoints, runs, tmp_path, offer):
    place = tmp_path / "runs"
    shutil.copytree(runs, place / "broken")
    (place / "broken" / "regions.parquet").write_bytes(b"junk")
    shutil.copytree(runs, place / "open")
    (place / "open" / "manifest.json").unlink()
    offer(runs=place)
    for key, what in (("broken", "analyze the data again"), ("open", "no finished analysis")):
        app = page({"run": key}).run()
        assert not app.exception
        assert len(app.error) == 1
        assert what in app.error[0].value.replace("\\", "")
        assert not app.metric


def test_an_upload_is_cut_by_what_a_predicts(checkpoints):
    app = page({"source": "upload"}).run()
    pixels = np.random.default_rng(2).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    app.file_uploader(key="uploader").upload("mine.png", buffer.getvalue())
    app.run()
    assert not app.exception
    assert not app.error
    assert any("cut from A's prediction" in note.value for note in app.info)
    assert len(app.metric) == 3 or "large enough" in said(app)


def test_an_analysis_of_one_network_has_no_difference(checkpoints, runs, tmp_path, offer):
    place = tmp_path / "runs"
    shutil.copytree(runs, place / "alone")
    manifest = place / "alone" / "manifest.json"
    values = json.loads(manifest.read_text())
    del values["models"]["B"]
    manifest.write_text(json.dumps(values))
    offer(runs=place)
    # The panel of the link is not there with one network: the first one is open.
    app = page({"run": "alone", "panel": "differences"}).run()
    assert not app.exception
    assert [metric.label for metric in app.metric] == ["SCI of A"]
    assert [tab.label for tab in app.tabs] == [
        "Regions",
        "Response by size",
        "Null models",
        "Worst pairs",
        "Gallery",
    ]
    app.session_state[scatter_of(app, "A")] = box(octave=[0, 12])
    app.run()
    assert not app.exception
    assert "q of A" in app.dataframe[0].value.columns


@pytest.mark.parametrize("query", [{}, {"run": "run"}])
def test_files_are_offered(checkpoints, runs, query):
    app = page(query, export_menu=True).run()
    assert not app.exception
    labels = [button.label for button in app.get("download_button")]
    assert "Regions (CSV)" in labels
    assert ("B - A (CSV)" in labels) == bool(query)
    assert "This view (JSON)" in labels


def test_the_analysis_is_still_there_after_a_visit_to_the_runs(checkpoints, runs, tmp_path, offer):
    place = tmp_path / "runs"
    shutil.copytree(runs, place / "many")
    (place / "trained").mkdir()
    line = {"kind": "train", "step": 1, "epoch": 0, "loss": 1.0}
    (place / "trained" / "log.jsonl").write_text(json.dumps(line) + "\n")
    offer(runs=place)
    app = page({"run": "many"}).run()
    assert app.selectbox(key="run").value == "many"
    app.query_params.clear()
    go_to(app, "runs").run()
    assert not app.exception
    assert app.selectbox(key="run").value == "trained"
    app.query_params.clear()
    go_to(app, "sizes").run()
    assert not app.exception
    assert app.selectbox(key="run").value == "many"
    # A link to a training run is no analysis: the page keeps what it showed.
    app = page({"run": "trained"}).run()
    assert app.selectbox(key="run").value == "This image"
