"""The page "Scale probe" as Streamlit runs it: none, one and two networks, clicks, bad links."""

import csv
import io
import json
import xml.etree.ElementTree as ET
import zipfile

import numpy as np
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer.checkpoints import list_choices
from gsto_viz.explorer.exports.replay import Sources, replay
from gsto_viz.explorer.exports.scale_probe import replayed_object
from gsto_viz.explorer.exports.view_file import read_view
from gsto_viz.explorer.shown import cut_regions, look, show_pair
from gsto_viz.explorer.values.scale_probe import draw_object, drawn_of, moved_inside
from gsto_viz.explorer.view_state import ViewState
from gsto_viz.files import sha256_of
from gsto_viz.models import load_checkpoint

GATED, PLAIN = "gated.safetensors", "plain.safetensors"


@pytest.fixture(autouse=True)
def short_curves(monkeypatch):
    """Four sizes are enough to see a curve."""
    monkeypatch.setattr("gsto_viz.explorer.values.scale_probe.CURVE", (4, 19, 32, 64))


@pytest.fixture
def probe(open_app):
    """Opens the page with the settings of a link."""
    return lambda **query: open_app("scale-probe", **query)


def made_side(picture) -> float:
    return float(np.sqrt(np.count_nonzero(picture.sample.instances == 1)))


def said(app) -> str:
    return " ".join(text.value for text in (*app.markdown, *app.header))


def test_without_any_checkpoint_the_page_says_what_to_do(probe):
    app = probe().run()
    assert not app.exception
    assert "gsto-viz app --checkpoints" in app.info[0].value


def test_an_object_is_drawn_and_measured(checkpoints, probe, address):
    app = probe().run()
    assert not app.exception
    assert not app.error
    assert "an illustration, not an estimate" in said(app)
    assert "What the branches say of this Car" in said(app)
    assert "q (coarseness" in said(app)
    # What is quick is measured unasked, and its answer stands above the tiles.
    assert len(app.get("vega_lite_chart")) == 4
    words = [text.value for text in app.markdown]
    verdict = next(k for k, text in enumerate(words) if text.startswith("**A**: /32 answers"))
    assert verdict < next(k for k, text in enumerate(words) if "Click a tile" in text)
    assert address(app) == {
        "a": PLAIN, "b": GATED, "object": "Car", "side": "32", "ox": "0.5", "oy": "0.5",
        "curves": "1",
    }  # fmt: skip


def test_a_click_moves_the_object_once(checkpoints, probe, address, number):
    app = probe(side="64").run()
    turn = app.session_state["probe_turn"]
    app.session_state["object-viewer"] = {"point": {"x": 128, "y": 192, "turn": turn}}
    app.run()
    assert not app.exception
    assert (number(app, "x (").value, number(app, "y (").value) == (
        128,
        192,
    )
    assert (address(app)["ox"], address(app)["oy"]) == ("0.25", "0.75")
    assert "does not fit where it was put" not in said(app)
    # The same click does not win over the inputs afterwards.
    number(app, "x (").set_value(3)
    app.run()
    assert number(app, "x (").value == 3
    assert "does not fit where it was put" in said(app)
    assert app.session_state["probe_turn"] > turn


def test_sizes_are_played_to_the_largest(checkpoints, probe, address):
    app = probe(object="Pole", side="23").run()
    assert app.button(key="play-sizes").label == "Play the sizes"
    app.button(key="play-sizes").click()
    app.run()
    assert not app.exception
    assert app.button(key="play-sizes").label == "Stop"
    assert app.select_slider(key="side").value == 23
    # The next sizes of the curve (the fixture's, as far as a pole fits), then the end.
    for side, label in ((32, "Stop"), (32, "Play the sizes")):
        app.session_state["object_play_at"] = 1.0
        app.run()
        assert not app.exception
        assert app.select_slider(key="side").value == side
        assert app.button(key="play-sizes").label == label
        assert address(app)["side"] == ("23" if label == "Stop" else "32")
    # At the largest it begins anew, at the smallest.
    app.button(key="play-sizes").click()
    app.run()
    assert app.select_slider(key="side").value == 4
    app.button(key="play-sizes").click()
    app.run()
    assert "object_play_at" not in app.session_state
    assert address(app)["side"] == "4"


def test_playing_runs_no_network_twice(checkpoints, probe, monkeypatch):
    from gsto_viz.explorer import cached

    app = probe(object="Tree", side="19").run()
    calls = []
    real = cached.look
    monkeypatch.setattr(cached, "look", lambda *given: calls.append(given) or real(*given))
    for side in ("4", "32", "64"):
        app.select_slider(key="side").set_value(int(side))
        app.run()
        assert not app.exception
    assert calls == []


def test_a_link_brings_measured_curves_back(checkpoints, probe, address):
    app = probe(object="Pole", curves="1").run()
    assert not app.exception
    assert not app.warning
    assert len(app.get("vega_lite_chart")) == 4
    assert address(app)["curves"] == "1"


def test_slow_curves_are_measured_on_demand_and_kept(
    checkpoints, probe, number, address, monkeypatch
):
    monkeypatch.setattr("gsto_viz.explorer.views.scale_probe.QUICK_S", -1.0)
    app = probe(object="Pole").run()
    assert "A Pole larger than 45 px" in said(app)
    assert len(app.get("vega_lite_chart")) == 1
    app.button(key="measure-curves").click()
    app.run()
    assert not app.exception
    assert len(app.get("vega_lite_chart")) == 4
    assert address(app)["curves"] == "1"
    assert "answers" in said(app)
    app.select_slider(key="side").set_value(16)
    app.run()
    assert len(app.get("vega_lite_chart")) == 4
    assert not [button for button in app.button if button.key == "measure-curves"]
    number(app, "x (").set_value(100)
    app.run()
    assert app.button(key="measure-curves").label.startswith("Measure A and B at")
    assert address(app)["curves"] == "0"


def test_a_size_that_cannot_be_drawn_is_left_out(checkpoints, probe, monkeypatch):
    from gsto_viz.explorer.views import scale_probe as object_cached

    real = object_cached.drawn_response

    def refuse(choice, drawn):
        if drawn.side == 19:
            raise GstoVizError("a Sign cannot be drawn [here]")
        return real(choice, drawn)

    monkeypatch.setattr(object_cached, "drawn_response", refuse)
    app = probe(object="SignSymbol").run()
    assert not app.exception
    assert "Left out: a Sign cannot be drawn \\[here\\]" in said(app)
    assert len(app.get("vega_lite_chart")) == 4


def test_another_object_keeps_a_size_that_it_can_have(checkpoints, probe, address):
    app = probe(side="250").run()
    assert app.select_slider(key="side").value == 256
    assert ["cannot be drawn at 250 px" in note.value for note in app.warning] == [True]
    app.selectbox(key="object").set_value("Pedestrian")
    app.run()
    assert not app.exception
    # A pedestrian of 128 px is nearly as high as the image.
    assert app.select_slider(key="side").value == 108
    assert address(app)["side"] == "108"


def test_one_checkpoint_is_shown_beside_itself(checkpoints, probe):
    (checkpoints / GATED).unlink()
    app = probe().run()
    assert not app.exception
    assert any("same network" in text.help for text in app.markdown if text.help)


def test_a_bad_link_changes_nothing_but_is_said(checkpoints, probe, address):
    app = probe(object="<b>x</b>", side="99999", ox="2", oy="abc").run()
    assert not app.exception
    assert not app.error
    notices = [note.value for note in app.warning]
    assert len(notices) == 4
    assert "<b>" not in " ".join(notices)
    query = address(app)
    assert (query["object"], query["side"], query["ox"]) == ("Car", "32", "0.5")


def test_a_saved_view_is_replayed(checkpoints, probe, tmp_path):
    app = probe(object="Bicyclist", side="45", ox="0.01", oy="0.9").run()
    app.session_state["export_menu"] = True
    app.run()
    assert not app.exception
    labels = [button.label for button in app.get("download_button")]
    assert {"Profile (CSV)", "Curves (CSV)", "This view (JSON)"} <= set(labels)
    state: ViewState = app.session_state["view_held"]
    choices = {choice.key: choice for choice in list_choices(checkpoints)[0]}
    pair = {"A": choices[state.a], "B": choices[state.b]}
    picture = draw_object(moved_inside(drawn_of(state)))
    models = {x: load_checkpoint(choice.path, name=choice.name) for x, choice in pair.items()}
    inspections = {x: look(model, picture) for x, model in models.items()}
    prints = {x: sha256_of(choice.path) for x, choice in pair.items()}
    shown = show_pair(picture, pair, inspections, prints)
    made = replayed_object(shown, cut_regions(shown), state)
    files = {file.name: file.make for file in made.files}
    view = tmp_path / "view.json"
    view.write_bytes(files["view.json"]())
    again = replay(read_view(view), Sources(checkpoints=checkpoints))
    anew = {file.name: file.make for file in again.files}
    assert json.loads(anew["view.json"]())["numbers"] == json.loads(view.read_text())["numbers"]
    assert anew["profile.csv"]() == files["profile.csv"]()
    rows = list(csv.DictReader(io.StringIO(files["profile.csv"]().decode())))
    assert [row["stride (px)"] for row in rows] == ["4", "8", "16", "32"] * 2
    assert {row["object"] for row in rows} == {"Bicyclist"}
    table = app.markdown
    said_q = next(text.value for text in table if text.value.startswith("q (coarseness"))
    for letter, row in (("A", rows[0]), ("B", rows[4])):
        assert f"{letter} {float(row['q']):+.3f}" in said_q
    text = " ".join("".join(ET.fromstring(files["view.svg"]()).itertext()).split())
    x, y = (moved_inside(drawn_of(state)).x, moved_inside(drawn_of(state)).y)
    assert f"Bicyclist of {made_side(picture):.1f} px" in text
    assert f"Cross: the probe at x {x}, y {y}. Outline: the region that is probed." in text
    with np.load(io.BytesIO(files["maps.npz"]()), allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["object"], picture.sample.instances == 1)
    curves = list(csv.DictReader(io.StringIO(files["curves.csv"]().decode())))
    assert len({row["size (px)"] for row in curves}) == len(curves) / 8


def test_downloads_need_no_session(checkpoints, probe, buttons, monkeypatch):
    monkeypatch.setattr("gsto_viz.explorer.exports.files._figure", lambda *_: b"drawn")
    app = probe(object="Pole", side="16").run()
    app.session_state["export_menu"] = True
    app.run()
    assert not app.exception
    (make,) = (make for name, make in buttons.items() if name.endswith("-curves.csv"))
    rows = list(csv.DictReader(io.StringIO(make().decode())))
    assert {row["model"] for row in rows} == {"A", "B"}
    (make,) = (make for name, make in buttons.items() if name.endswith("-all.zip"))
    with zipfile.ZipFile(io.BytesIO(make())) as archive:
        assert archive.testzip() is None
        assert sum(name.endswith("/curves.csv") for name in archive.namelist()) == 1
