import numpy as np
import pandas as pd
import pytest

from gsto_viz.colors import NETWORKS
from gsto_viz.errors import GstoVizError
from gsto_viz.plots import alt_text, figure_sci_by_gap
from gsto_viz.stats import sci_by_gap


def gaps(shift=0.0, interval=True):
    rows = []
    for k, (low, high) in enumerate(((1.0, 2.0), (2.0, 3.0), (3.0, np.inf))):
        for j, classes in enumerate(("all", "same", "different")):
            value = 0.4 - 0.1 * k + 0.02 * j + shift
            spread = 0.05 if interval else np.nan
            ends = (value - spread, value + spread)
            rows.append((low, high, classes, value, *ends, 20, 100 * (k + 1) + j, None))
    columns = ["gap_low", "gap_high", "classes", "value", "low", "high", "n_images", "n_pairs"]
    return pd.DataFrame(rows, columns=[*columns, "reason"])


def filled(ax):
    return [line for line in ax.lines if line.get_marker() not in ("None", "", None)]


def test_each_panel_has_its_pairs_and_each_network_its_values(all_text):
    frames = {"A": gaps(), "B": gaps(0.1)}
    figure = figure_sci_by_gap(frames)
    for ax, classes in zip(figure.axes, ("all", "same", "different"), strict=True):
        for position, frame in enumerate(frames.values()):
            rows = frame[frame["classes"] == classes]
            curve = [line for line in ax.lines if line.get_label() == "curve"][position]
            np.testing.assert_allclose(curve.get_ydata(), rows["value"])
            assert curve.get_color() == NETWORKS[position].color
            np.testing.assert_array_equal(np.round(curve.get_xdata()), [0, 1, 2])
            segments = ax.collections[position].get_segments()
            np.testing.assert_allclose([s[0][1] for s in segments], rows["low"])
            np.testing.assert_allclose([s[1][1] for s in segments], rows["high"])
        assert [t.get_text() for t in ax.get_xticklabels()] == ["1 to 2", "2 to 3", "3 or more"]
        assert ax.get_ylim() == (0, 1)
    texts = all_text(figure)
    assert texts.count("302") == 2  # pairs of different classes in the last bin, A and B
    assert "A:" in texts


def test_one_network_without_intervals_has_hollow_dots(check_text):
    figure = figure_sci_by_gap({"A": gaps(interval=False)}, names={"A": "n" * 200})
    check_text(figure)
    ax = figure.axes[0]
    faces = {line.get_markerfacecolor(): len(line.get_xdata()) for line in filled(ax)}
    assert faces == {NETWORKS[0].color: 0, "white": 3}


def test_what_is_not_estimated_is_left_out(check_text):
    frame = gaps()
    frame.loc[frame["gap_low"] == 3.0, ["value", "low", "high"]] = np.nan
    figure = figure_sci_by_gap({"A": frame, "B": gaps()})
    check_text(figure)
    assert "3 or more octaves not estimated" in alt_text(figure)
    curve = next(line for line in figure.axes[0].lines if line.get_label() == "curve")
    assert np.isnan(curve.get_ydata()).tolist() == [False, False, True]


def test_real_frames_of_few_regions_can_be_drawn():
    table = pd.DataFrame(
        {
            "image": ["i"] * 3,
            "region": [1, 2, 3],
            "area_px": [64, 300, 5000],
            "class_id": [0, 0, 1],
            "qualifies": True,
            "q": [0.1, 0.0, 0.3],
        }
    )
    assert len(figure_sci_by_gap({"A": sci_by_gap(table)}).axes) == 3


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ({}, "nothing to draw"),
        ({"A": gaps().drop(columns="n_pairs")}, "no column 'n_pairs'; give sci_by_gap"),
        ({str(k): gaps() for k in range(9)}, "up to 8 networks"),
    ],
)
def test_unusable_frames_are_refused(frames, words):
    with pytest.raises(GstoVizError, match=words):
        figure_sci_by_gap(frames)


def test_eight_networks_stay_within_their_bin(check_text):
    frames = {f"net {k}": gaps(0.01 * k) for k in range(8)}
    figure = figure_sci_by_gap(frames)
    check_text(figure)
    curves = [one for one in figure.axes[0].lines if one.get_label() == "curve"]
    assert [one.get_color() for one in curves] == [mark.color for mark in NETWORKS]
    for curve in curves:
        assert np.abs(curve.get_xdata() - [0, 1, 2]).max() < 0.5


def test_pairs_of_two_classes_have_no_panel_where_there_are_none(check_text):
    frame = gaps()
    none = frame["classes"] == "different"
    frame.loc[none, "n_pairs"] = 0
    frame.loc[none, ["value", "low", "high"]] = np.nan
    figure = figure_sci_by_gap({"A": frame})
    check_text(figure)
    assert len(figure.axes) == 2
