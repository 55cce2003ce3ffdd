"""The page "Runs" as Streamlit runs it: runs, damaged logs, checkpoints as A and B, bad links."""

from pathlib import Path

import pytest
from explorer_pages import go_to, page_app
from streamlit.testing.v1 import AppTest

from gsto_viz.train.folder import RunLog

GATED, PLAIN = "gated.safetensors", "plain.safetensors"


@pytest.fixture
def runs(training_runs, offer) -> Path:
    """Two training runs, ``one`` and ``two``, with settings and a checkpoint each."""
    place: Path = training_runs
    with RunLog(place / "two", start=(place / "two" / "log.jsonl").stat().st_size) as log:
        log.write("val", 50, epoch=2, miou=20.0, pixel_accuracy=60.0, mean_accuracy=40.0)
    for name in ("one", "two"):
        (place / name / "config.yaml").write_text(f"recipe: {name}\n")
        (place / name / "best.safetensors").write_bytes(b"not opened")
    offer(runs=place)
    return place


def page(query: dict[str, str] | None = None) -> AppTest:
    return page_app("runs", query)


def said(app: AppTest) -> str:
    return " ".join(text.value for text in app.markdown)


def test_without_any_checkpoint_the_page_says_what_to_do(runs):
    app = page().run()
    assert not app.exception
    assert "gsto-viz app --checkpoints" in app.info[0].value


def test_without_runs_the_page_says_how_to_make_one(checkpoints):
    app = page().run()
    assert not app.exception
    assert "gsto-viz train" in said(app)
    assert app.dataframe[0].value["checkpoint"].tolist() == [GATED, PLAIN]


def test_runs_are_compared(checkpoints, runs, address):
    app = page({"run": "two"}).run()
    assert not app.exception
    assert not app.error
    assert app.selectbox(key="run").value == "two"
    assert app.dataframe[0].value["best mIoU (%)"].tolist() == [20.0]
    assert any("recipe: two" in code.value for code in app.code)
    assert "checkpoints of one, two" in said(app)
    app.multiselect(key="runs-compare").set_value(["one"])
    app.run()
    assert not app.exception
    table = app.dataframe[0].value
    assert table["run"].tolist() == ["two", "one"]
    assert table["best mIoU (%)"].tolist() == [20.0, 30.0]
    assert address(app) == {"run": "two", "others": "one", "a": PLAIN, "b": GATED}
    linked = page({"run": "two", "others": "one"}).run()
    assert linked.multiselect(key="runs-compare").value == ["one"]
    # The run that is shown first leaves the ones that it is compared with.
    app.selectbox(key="run").set_value("one")
    app.run()
    assert not app.exception
    assert app.multiselect(key="runs-compare").value == []


def test_sci_over_training_stands_beside_the_score(checkpoints, runs):
    app = page({"run": "one", "others": "two"}).run()
    assert "Without SCI in the log: one, two." in said(app)
    charts = len(app.get("vega_lite_chart"))
    with RunLog(runs / "one", start=(runs / "one" / "log.jsonl").stat().st_size) as log:
        log.write("sci", 50, epoch=2, sci=0.4, c_fine=0.4, c_coarse=0.5, images=24, pairs=100)
    app.run()
    assert not app.exception
    assert "Without SCI in the log: two." in said(app)
    assert "SCI on the validation images by epoch" in said(app)
    assert len(app.get("vega_lite_chart")) == charts + 1
    assert app.dataframe[0].value["last SCI"].iloc[0] == 0.4


def test_curves_and_view_are_offered(checkpoints, runs):
    app = page({"run": "one", "others": "two"})
    app.session_state["export_menu"] = True
    app.run()
    assert not app.exception
    labels = [button.label for button in app.get("download_button")]
    assert {"Steps (CSV)", "Evaluations (CSV)", "Curves (PDF)", "This view (JSON)"} <= set(labels)


def test_a_log_that_grows_and_is_damaged(checkpoints, runs):
    app = page({"run": "one"}).run()
    assert not app.warning
    with (runs / "one" / "log.jsonl").open("a") as log:
        log.write('not json\n{"kind": "train", "step": 60, "epoch": 3, "loss": 0.5}\n{"kind": "tr')
    app.run()
    assert not app.exception
    assert app.dataframe[0].value["step"].tolist() == [60]
    words = [note.value for note in app.warning]
    assert len(words) == 2
    assert "1 line is damaged" in words[0]
    assert "still being written" in words[1]


def test_a_checkpoint_becomes_a_on_all_pages(checkpoints, runs, address):
    app = page().run()
    assert app.dataframe[1].value["used as"].tolist() == ["B", "A"]
    app.selectbox(key="runs-checkpoint").set_value(GATED)
    app.run()
    assert app.button(key="use-B").disabled
    assert any("for research only" in note.value for note in app.info)
    app.button(key="use-A").click()
    app.run()
    assert not app.exception
    assert app.dataframe[1].value["used as"].tolist() == ["A and B", ""]
    assert address(app)["a"] == GATED
    go_to(app, "explore")
    app.run()
    assert not app.exception
    assert app.selectbox(key="a").value == GATED


def test_a_card_of_a_stranger_is_shown_as_it_is_written(checkpoints):
    (checkpoints / "gated.md").write_text("# Big <b>claims</b> [x](javascript:1)\n")
    app = page().run()
    assert not app.exception
    assert any("<b>claims</b>" in code.value for code in app.code)
    (checkpoints / "gated.md").write_bytes(b"\xff\xfe\x00")
    app.run()
    assert not app.exception
    assert any("is not UTF" in error.value.replace("\\", "") for error in app.error)


def test_bad_links_are_said_and_change_nothing(checkpoints, runs, address):
    app = page({"run": "../../etc/passwd", "a": "<script>", "x": "1"}).run()
    assert not app.exception
    assert len(app.warning) == 3
    words = " ".join(note.value for note in app.warning)
    assert not any(word in words for word in ("passwd", "script"))
    assert app.selectbox(key="run").value == "one"
    assert address(app) == {"run": "one", "a": PLAIN, "b": GATED}


def test_one_checkpoint_is_both(checkpoints):
    (checkpoints / GATED).unlink()
    app = page().run()
    assert not app.exception
    assert app.dataframe[0].value["used as"].tolist() == ["A and B"]
    assert app.button(key="use-A").disabled
