"""The page "Attribution" as Streamlit runs it: checkpoints, links, clicks, runs that are kept."""

import time

import numpy as np
import pytest
import streamlit
from explorer_pages import page_app
from streamlit.testing.v1 import AppTest

from gsto_viz.explorer.views import attribution as attribution_cached

GATED, PLAIN = "gated.safetensors", "plain.safetensors"


def page(query: dict[str, str] | None = None) -> AppTest:
    return page_app("attribution", query).run()


def said(app: AppTest) -> str:
    return " ".join(text.value for text in app.markdown).replace("\\", "")


def run_button(app: AppTest):
    return next((b for b in app.button if b.key == "run-method"), None)


def test_without_any_checkpoint_the_page_says_what_to_do():
    app = page()
    assert not app.exception
    assert "gsto-viz app --checkpoints" in app.info[0].value


def test_two_networks_are_explained_and_everything_adds_up(checkpoints, address, viewer_text):
    app = page({"x": "100", "y": "200"})
    assert not app.exception
    assert not app.error
    table = app.dataframe[0].value
    assert list(table["network"]) == ["A"] * 3 + ["B"] * 3
    exact = table[table["must be"].notna()]
    np.testing.assert_allclose(exact["sum"], exact["must be"], atol=1e-4)
    strides = ["/4", "/8", "/16", "/32"]
    np.testing.assert_allclose(table[strides].sum(axis=1), table["sum"], atol=1e-9)
    assert "The Shapley values add up to the difference" in said(app)
    assert viewer_text(app).count("A /") == 4
    assert (address(app)["x"], address(app)["y"], address(app)["method"]) == (
        "100",
        "200",
        "shapley",
    )
    assert run_button(app) is None


def test_a_click_asks_elsewhere(checkpoints, number, address):
    app = page({"x": "10", "y": "20"})
    before = app.dataframe[0].value
    turn = app.session_state["probe_turn"]
    app.session_state["attribution-viewer"] = {"point": {"x": 300, "y": 200, "turn": turn}}
    app.run()
    assert not app.exception
    assert "x 300, y 200" in said(app)
    assert (address(app)["x"], address(app)["y"]) == ("300", "200")
    assert not app.dataframe[0].value.equals(before)
    number(app, "x (").set_value(5)
    app.run()
    assert (address(app)["x"], address(app)["y"]) == ("5", "200")


def test_class_score_absence_and_region_can_be_chosen(checkpoints, address):
    app = page({"x": "256", "y": "200", "pick": "region"})
    assert not app.exception
    assert "at region" in said(app)
    first = app.dataframe[0].value
    app.selectbox(key="target").set_value("Sky")
    app.segmented_control(key="score").set_value("mean")
    app.segmented_control(key="absent").set_value("zero")
    app.run()
    assert not app.exception
    assert "logit of Sky at region" in said(app)
    assert not app.dataframe[0].value.equals(first)
    query = address(app)
    assert (query["target"], query["score"], query["absent"]) == ("Sky", "mean", "zero")


@pytest.mark.parametrize("method", ["gradcam", "gradient", "integrated"])
def test_captums_methods_run_when_asked_and_are_kept(checkpoints, method, viewer_text):
    query = {"x": "64", "y": "100", "method": method, "steps": "8"}
    app = page(query)
    assert not app.exception
    # The tiles never empty: the exact maps stand in, and the page says so.
    assert viewer_text(app).count("A /") == 4
    assert "has no maps here yet; these are exact" in said(app)
    assert "The result is kept" in said(app)
    run_button(app).click()
    app.run()
    assert not app.exception
    assert not app.error
    assert viewer_text(app).count("A /") == viewer_text(app).count("B /") == 4
    assert "has no maps here yet" not in said(app)
    assert ("Convergence delta" in said(app)) == (method == "integrated")
    # Another session finds it.
    again = page(query)
    assert run_button(again) is None
    assert viewer_text(again).count("A /") == 4


def test_the_first_pass_is_not_what_an_estimate_is_made_of(checkpoints, monkeypatch):
    """It warms up: estimates made of it were 4 to 12 times too long."""
    calls, seconds = [], []
    real = attribution_cached.head_pass

    def slow_at_first(*given):
        calls.append(given)
        if len(calls) <= 2:
            time.sleep(1.0)
        return real(*given)

    def record(self, pace, *, forward_s, passes):
        seconds.append(forward_s)
        return forward_s * passes

    streamlit.cache_data.clear()
    streamlit.cache_resource.clear()
    for module in ("views", "values"):
        name = f"gsto_viz.explorer.{module}.attribution.head_pass"
        monkeypatch.setattr(name, slow_at_first)
    monkeypatch.setattr(attribution_cached.Kept, "expected_s", record)
    page({"x": "64", "y": "100", "method": "gradcam"})
    assert len(seconds) == 2
    assert max(seconds) < 1.0
    assert len(calls) == 4


def test_where_no_region_lies_the_maps_stay(checkpoints, monkeypatch, viewer_text):
    monkeypatch.setattr("gsto_viz.explorer.values.attribution.region_at", lambda *_: 0)
    app = page({"x": "64", "y": "100", "pick": "region"})
    assert not app.exception
    assert "No region lies here" in said(app)
    assert viewer_text(app).count("A /") == viewer_text(app).count("B /") == 4


def test_what_does_not_fit_into_memory_is_refused(checkpoints, monkeypatch):
    monkeypatch.setattr(attribution_cached, "free_bytes", lambda: 1000)
    app = page({"x": "1", "y": "2", "method": "integrated"})
    assert not app.exception
    assert "One step would take about" in app.warning[0].value
    assert run_button(app) is None
    assert len(app.dataframe) == 1


def test_one_checkpoint_is_explained_beside_itself(checkpoints):
    (checkpoints / GATED).unlink()
    app = page()
    assert not app.exception
    table = app.dataframe[0].value
    numbers = table.drop(columns="network")
    assert numbers.iloc[:3].reset_index(drop=True).equals(numbers.iloc[3:].reset_index(drop=True))


def test_a_bad_link_changes_nothing_but_is_said(checkpoints, address):
    bad = {"method": "lime", "x": "abc", "y": "1", "steps": "9", "score": "<script>"}
    app = page(bad | {"target": "no such class"})
    assert not app.exception
    assert len(app.warning) == 5
    text = " ".join(note.value for note in app.warning)
    assert not any(word in text for word in ("lime", "abc", "script", "no such class"))
    query = address(app)
    assert (query["method"], query["steps"], query["score"]) == ("shapley", "16", "margin")
    assert "target" not in query
