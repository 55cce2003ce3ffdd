"""The page "Scale probe" as Streamlit runs it: none, one and two networks, clicks, bad links."""

import pytest
import streamlit as st

from gsto_viz.errors import GstoVizError

GATED, PLAIN = "gated.safetensors", "plain.safetensors"


@pytest.fixture(scope="module", autouse=True)
def empty_caches():
    """Leave nothing behind; the tests of this file share what is keyed on content anyway."""
    yield
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def probe(open_app):
    """Opens the page with the settings of a link."""
    return lambda **query: open_app("scale_probe.py", **query)


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
    assert any("an illustration, not an estimate" in note.value for note in app.info)
    assert "What the branches say of this Car" in said(app)
    assert "q (coarseness" in said(app)
    assert len(app.get("vega_lite_chart")) == 1
    assert address(app) == {
        "a": PLAIN, "b": GATED, "object": "Car", "side": "32", "ox": "0.5", "oy": "0.5",
    }  # fmt: skip


def test_a_click_moves_the_object_once(checkpoints, probe, address):
    app = probe(side="64").run()
    turn = app.session_state["probe_turn"]
    app.session_state["object-viewer"] = {"point": {"x": 128, "y": 192, "turn": turn}}
    app.run()
    assert not app.exception
    assert (app.number_input(key="object-ox").value, app.number_input(key="object-oy").value) == (
        128,
        192,
    )
    assert (address(app)["ox"], address(app)["oy"]) == ("0.25", "0.75")
    assert "does not fit where it was put" not in said(app)
    # The same click does not win over the inputs afterwards.
    app.number_input(key="object-ox").set_value(3)
    app.run()
    assert app.number_input(key="object-ox").value == 3
    assert "does not fit where it was put" in said(app)
    assert app.session_state["probe_turn"] > turn


def test_curves_are_measured_on_demand_and_kept(checkpoints, probe):
    app = probe(object="Pole").run()
    assert "A Pole larger than 45 px" in said(app)
    assert len(app.get("vega_lite_chart")) == 1
    app.button(key="measure-curves").click()
    app.run()
    assert not app.exception
    assert len(app.get("vega_lite_chart")) == 4
    assert "answers" in said(app)
    app.select_slider(key="side").set_value(16)
    app.run()
    assert len(app.get("vega_lite_chart")) == 4
    assert not [button for button in app.button if button.key == "measure-curves"]
    app.number_input(key="object-ox").set_value(100)
    app.run()
    assert app.button(key="measure-curves").label.startswith("Measure A and B at")


def test_a_size_that_cannot_be_drawn_is_left_out(checkpoints, probe, monkeypatch):
    from gsto_viz.explorer import object_cached

    real = object_cached.response

    def refuse(choice, drawn):
        if drawn.side == 19:
            raise GstoVizError("a Sign cannot be drawn [here]")
        return real(choice, drawn)

    monkeypatch.setattr(object_cached, "response", refuse)
    app = probe(object="SignSymbol").run()
    app.button(key="measure-curves").click()
    app.run()
    assert not app.exception
    assert "Left out: a Sign cannot be drawn" in said(app)
    assert len(app.get("vega_lite_chart")) == 4


def test_another_object_keeps_a_size_that_it_can_have(checkpoints, probe, address):
    app = probe(side="250").run()
    assert app.select_slider(key="side").value == 256
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
    assert any("same network" in note.value for note in app.info)


def test_a_bad_link_changes_nothing_but_is_said(checkpoints, probe, address):
    app = probe(object="<b>x</b>", side="99999", ox="2", oy="abc").run()
    assert not app.exception
    assert not app.error
    notices = [note.value for note in app.warning]
    assert len(notices) == 4
    assert "<b>" not in " ".join(notices)
    query = address(app)
    assert (query["object"], query["side"], query["ox"]) == ("Car", "32", "0.5")
