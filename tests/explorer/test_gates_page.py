"""The page "Gates" as Streamlit runs it: none, one and two gated networks, clicks, bad links."""

from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from gsto_viz.explorer import entry

GATED, PLAIN = "gated.safetensors", "plain.safetensors"
FIRST, OTHER = "stage4.m0.gate[3->0]", "stage3.m1.gate[0->2]"


@pytest.fixture(scope="module", autouse=True)
def empty_caches():
    """Leave nothing behind; the tests of this file share what is keyed on content anyway."""
    yield
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def gates(open_app):
    """Opens the page with the settings of a link."""
    return lambda **query: open_app("gates.py", **query)


def said(app) -> str:
    return " ".join(text.value for text in (*app.markdown, *app.header))


def viewer_text(app) -> str:
    return str(app.get("bidi_component")[0].proto)


def test_without_any_checkpoint_the_page_says_what_to_do(gates):
    app = gates().run()
    assert not app.exception
    assert "gsto-viz app --checkpoints" in app.info[0].value


def test_the_gates_of_b_are_shown_beside_a_baseline(checkpoints, gates, address):
    app = gates().run()
    assert not app.exception
    assert not app.error
    assert app.selectbox(key="gate").value == FIRST
    assert len(app.selectbox(key="gate").options) == 41
    assert "A: plain has no gate: plain HRNet transfer" in said(app).replace("\\", "")
    assert f"{FIRST} of B in this image" in said(app)
    table = app.dataframe[-1].value
    assert len(table) == 40
    assert (table["lowest"] >= 0.5).all()
    assert "What changes" not in said(app)
    assert len(app.get("vega_lite_chart")) == 3
    query = address(app)
    expected = {"source": "scene", "scene": "0", "a": PLAIN, "b": GATED}
    expected |= {"gate": FIRST, "force": "0", "value": "1"}
    assert {k: v for k, v in query.items() if k not in ("x", "y")} == expected


def test_the_page_is_among_the_pages(checkpoints):
    app = AppTest.from_file(str(Path(entry.__file__)), default_timeout=120).switch_page(
        "views/gates.py"
    )
    app.run()
    assert not app.exception
    assert app.title[0].value == "What do the gates let through?"


def test_a_click_chooses_a_gate_once(checkpoints, gates, address):
    app = gates().run()
    turn = app.session_state["probe_turn"]
    click = {"x": 30, "y": 40, "turn": turn, "tile": f"gate-B-{OTHER}"}
    app.session_state["gates-viewer"] = {"point": click}
    app.run()
    assert not app.exception
    assert app.selectbox(key="gate").value == OTHER
    query = address(app)
    assert (query["gate"], query["x"], query["y"]) == (OTHER, "30", "40")
    # The same click does not win over the list afterwards.
    app.selectbox(key="gate").set_value(FIRST)
    app.run()
    assert app.selectbox(key="gate").value == FIRST
    turn = app.session_state["probe_turn"]
    strange = {"x": 3, "y": 40, "turn": turn, "tile": "gate-B-nonsense"}
    app.session_state["gates-viewer"] = {"point": strange}
    app.run()
    assert not app.exception
    assert app.selectbox(key="gate").value == FIRST
    app.session_state["gates-viewer"] = {"point": strange | {"tile": {"a": 1}}}
    app.run()
    assert not app.exception
    app.number_input(key="x").set_value(100)
    app.run()
    assert address(app)["x"] == "100"


def test_a_held_gate_is_compared(checkpoints, gates):
    app = gates(force="1", value="0.25", gate=OTHER).run()
    assert not app.exception
    assert not app.warning
    assert f"What changes: B with {OTHER} held at 0.25" in said(app)
    assert "of the pixels get another class" in said(app)
    assert "never leaves 0.5 to 1" in app.info[-1].value
    table = app.dataframe[0].value
    assert table["before"].sum() == table["after"].sum() == 256 * 512
    assert table["left"].sum() == table["joined"].sum()
    assert f"B with {OTHER} held at 0.25" in viewer_text(app)
    app.button(key="hold-mean").click()
    app.run()
    assert 0.5 <= app.slider(key="value").value < 1
    app.toggle(key="force").set_value(False)
    app.run()
    assert "What changes" not in said(app)


def test_all_gates_at_once(checkpoints, gates):
    app = gates(force="1", value="1", gate="*").run()
    assert not app.exception
    assert "B with all 40 gates held at 1" in said(app)
    assert "All gates of B in this image" in said(app)


def test_only_a_is_gated(checkpoints, gates):
    app = gates(a=GATED, b=PLAIN, force="1", value="0.5").run()
    assert not app.exception
    assert f"What changes: A with {FIRST} held at 0.5" in said(app)
    assert "B: plain has no gate" in said(app).replace("\\", "")


def test_both_are_gated(checkpoints, gates):
    app = gates(a=GATED, b=GATED).run()
    assert not app.exception
    assert f"{FIRST} of A and B in this image" in said(app)
    assert len(app.dataframe[-1].value) == len(app.dataframe[-2].value) == 40
    assert "no gate" not in said(app)


def test_neither_is_gated(checkpoints, gates, address):
    (checkpoints / GATED).unlink()
    app = gates(gate=FIRST).run()
    assert not app.exception
    assert any("Neither A nor B has gates" in note.value for note in app.info)
    assert address(app)["a"] == PLAIN


def test_a_bad_link_changes_nothing_but_is_said(checkpoints, gates, address):
    app = gates(gate="<script>alert(1)</script>", force="yes", value="1e9", x="1").run()
    assert not app.exception
    assert not app.error
    notices = [note.value for note in app.warning]
    assert len(notices) == 3
    assert "not in this network" in notices[-1]
    assert "script" not in " ".join(notices)
    query = address(app)
    assert (query["gate"], query["force"], query["value"]) == (FIRST, "0", "1")


def test_an_upload_has_regions_of_a_prediction(checkpoints, gates, png_file):
    app = gates(source="upload").run()
    assert not app.exception
    app.file_uploader(key="uploader").upload("photo.png", png_file)
    app.run()
    assert not app.exception
    assert "cut from A's prediction" in said(app)
    app.toggle(key="force").set_value(True)
    app.run()
    assert not app.exception
    assert "Right pixels" not in said(app)
