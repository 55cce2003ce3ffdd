"""The page "Gates" as Streamlit runs it: none, one and two gated networks, clicks, bad links."""

import json

import pytest
from explorer_pages import page_app

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer.checkpoints import list_choices
from gsto_viz.explorer.exports.gates import gates_exports
from gsto_viz.explorer.exports.replay import Sources, replay
from gsto_viz.explorer.exports.view_file import read_view
from gsto_viz.explorer.pictures import scene_picture
from gsto_viz.explorer.shown import cut_regions, look, show_pair
from gsto_viz.explorer.values.gates import gate_choice, hold
from gsto_viz.files import sha256_of
from gsto_viz.models import load_checkpoint

GATED, PLAIN = "gated.safetensors", "plain.safetensors"
FIRST, OTHER = "stage4.m0.gate[3->0]", "stage3.m1.gate[0->2]"
FIRST_WORDS, OTHER_WORDS = "/32 → /4, stage 4, module 0", "/4 → /16, stage 3, module 1"


@pytest.fixture
def gates(open_app):
    """Opens the page with the settings of a link."""
    return lambda **query: open_app("gates", **query)


def said(app) -> str:
    return " ".join(text.value for text in (*app.markdown, *app.header))


def test_without_any_checkpoint_the_page_says_what_to_do(gates):
    app = gates().run()
    assert not app.exception
    assert "gsto-viz app --checkpoints" in app.info[0].value


def test_the_gates_of_b_are_shown_beside_a_baseline(checkpoints, gates, address):
    app = gates().run()
    assert not app.exception
    assert not app.error
    assert app.selectbox(key="gate").value == FIRST
    assert len(app.selectbox(key="gate").options) == 1 + 3 + 4 + 10 + 40
    assert "A: plain has no gate maps on its transfers" in said(app).replace("\\", "")
    assert f"{FIRST_WORDS}, of B in this image" in said(app)
    table = app.dataframe[-1].value
    assert len(table) == 40
    assert (table["lowest"] >= 0.5).all()
    assert "What changes" not in said(app)
    assert len(app.get("vega_lite_chart")) == 4
    assert "This image: **G = " in said(app)
    assert "No analysis with these gates is at hand" in said(app)
    query = address(app)
    expected = {"source": "scene", "scene": "0", "a": PLAIN, "b": GATED}
    expected |= {"gate": FIRST, "force": "0", "value": "1"}
    assert {k: v for k, v in query.items() if k not in ("x", "y")} == expected


def test_the_page_is_among_the_pages(checkpoints):
    app = page_app("gates").run()
    assert not app.exception
    assert app.title[0].value == "What do the gates let through?"


def test_a_click_chooses_a_gate_once(checkpoints, gates, address, number):
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
    number(app, "x (").set_value(100)
    app.run()
    assert address(app)["x"] == "100"


def test_a_held_gate_is_compared(checkpoints, gates, viewer_text):
    app = gates(force="1", value="0.25", gate=OTHER).run()
    assert not app.exception
    assert not app.warning
    assert f"What changes: B with {OTHER_WORDS} held at 0.25" in said(app)
    assert "of the pixels get another class" in said(app)
    assert "never leaves 0.5 to 1" in app.info[-1].value
    table = app.dataframe[1].value
    assert table["before"].sum() == table["after"].sum() == 256 * 512
    assert table["left"].sum() == table["joined"].sum()
    assert "stage 3, module 1 held at 0.25" in viewer_text(app)
    app.button(key="hold-mean").click()
    app.run()
    assert 0.5 <= app.slider(key="value").value < 1
    app.toggle(key="force").set_value(False)
    app.run()
    assert "What changes" not in said(app)
    # Whoever moves the slider wants to see the gate held there.
    app.slider(key="value").set_value(0.75)
    app.run()
    assert app.toggle(key="force").value
    assert f"What changes: B with {OTHER_WORDS} held at 0.75" in said(app)


def test_all_gates_at_once(checkpoints, gates):
    app = gates(force="1", value="1", gate="*").run()
    assert not app.exception
    assert "B with all 40 gates held at 1" in said(app)
    assert "All gates of B in this image" in said(app)
    assert "SCI of this image goes from" in said(app)


def test_a_group_is_held_from_a_link(checkpoints, gates, address):
    app = gates(force="1", value="0.5", gate="up").run()
    assert not app.exception
    assert not app.warning
    assert "What changes: B with coarse to fine, 13 gates held at 0.5" in said(app)
    assert list(app.dataframe[0].value.columns) == ["size", "regions", "before", "after"]
    assert address(app)["gate"] == "up"


def test_only_a_is_gated(checkpoints, gates):
    app = gates(a=GATED, b=PLAIN, force="1", value="0.5").run()
    assert not app.exception
    assert f"What changes: A with {FIRST_WORDS} held at 0.5" in said(app)
    assert "B: plain has no gate" in said(app).replace("\\", "")


def test_both_are_gated(checkpoints, gates):
    app = gates(a=GATED, b=GATED).run()
    assert not app.exception
    assert f"{FIRST_WORDS}, of A and B in this image" in said(app)
    assert len(app.dataframe[-1].value) == len(app.dataframe[-2].value) == 40
    assert "no gate" not in said(app)


def test_neither_is_gated(checkpoints, gates, address):
    (checkpoints / GATED).unlink()
    app = gates(gate=FIRST).run()
    assert not app.exception
    assert any("Neither A nor B has gate maps" in note.value for note in app.info)
    assert address(app)["a"] == PLAIN


def test_a_bad_link_changes_nothing_but_is_said(checkpoints, gates, address):
    app = gates(gate="<script>alert(1)</script>", force="yes", value="1e9", x="1").run()
    assert not app.exception
    assert not app.error
    notices = [note.value for note in app.warning]
    assert len(notices) == 4
    assert any("only one of 'x' and 'y'" in notice for notice in notices)
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


def test_a_saved_view_is_replayed_with_its_gate_held(checkpoints, gates, tmp_path):
    app = gates(force="1", value="0.25", gate=OTHER, scene="4", x="50", y="60").run()
    app.session_state["export_menu"] = True
    app.run()
    assert not app.exception
    labels = [button.label for button in app.get("download_button")]
    assert {"All gates (CSV)", "What changes (CSV)", "This view (JSON)"} <= set(labels)
    state = app.session_state["view_held"]
    shown = show_of(checkpoints, state)
    choice = gate_choice(shown, state)
    held = hold(shown, choice, load_checkpoint(checkpoints / GATED))
    made = gates_exports(shown, cut_regions(shown), state, choice, lambda: held)
    (file,) = (file for file in made.files if file.name == "view.json")
    view = tmp_path / "view.json"
    view.write_bytes(file.make())
    again = replay(read_view(view), Sources(checkpoints=checkpoints))
    files = {file.name: file for file in again.files}
    anew = json.loads(files["view.json"].make())
    assert anew["numbers"] == json.loads(view.read_text())["numbers"]
    assert f"B with {OTHER_WORDS} held at 0.25" in files["held.csv"].make().decode()
    view.write_text(
        view.read_text().replace(f'"gate": "{OTHER}"', '"gate": "stage9.m0.gate[0->0]"')
    )
    with pytest.raises(GstoVizError, match="in neither network"):
        replay(read_view(view), Sources(checkpoints=checkpoints))


def show_of(checkpoints, state):
    choices = {choice.key: choice for choice in list_choices(checkpoints)[0]}
    pair = {"A": choices[state.a], "B": choices[state.b]}
    picture = scene_picture(state.scene)
    models = {x: load_checkpoint(choice.path, name=choice.name) for x, choice in pair.items()}
    inspections = {x: look(model, picture) for x, model in models.items()}
    prints = {x: sha256_of(choice.path) for x, choice in pair.items()}
    return show_pair(picture, pair, inspections, prints)
