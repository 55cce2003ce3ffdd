import numpy as np
import pandas as pd
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.plots import alt_text, figure_specification
from gsto_viz.plots.specifications import HEADLINE
from gsto_viz.stats import SpecificationCurve, default_specifications, specification_curve


def values(shift=0.0, count=12):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "image": [f"i{k}" for k in range(count)],
            "value": rng.uniform(0.2, 0.4, count) + shift,
            "pairs": 5,
        }
    )


def curve(shifts=(-0.03, 0.05, -0.08, 0.01), count=12, settings=None):
    settings = settings or [{"gap": float(k), "same_class": None, "fixed": 1} for k in range(4)]
    return specification_curve(
        (one, values(0, count), values(shift, count))
        for one, shift in zip(settings, shifts, strict=True)
    )


def axes(figure):
    return {ax.get_label(): ax for ax in figure.axes}


def test_differences_are_sorted_and_the_headline_stands_out():
    figure = figure_specification(curve())
    ax = axes(figure)["curve"]
    dots = [
        (x, round(y, 9), line.get_color())
        for line in ax.lines
        if line.get_marker() == "o"
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]
    assert [y for _, y, _ in sorted(dots)] == [-0.08, -0.03, 0.01, 0.05]
    assert [(x, y) for x, y, color in dots if color == HEADLINE] == [(1, -0.03)]
    low, high = ax.get_ylim()
    assert low == -high
    assert any(list(line.get_ydata()) == [0, 0] for line in ax.lines)
    assert "the headline's -0.030" in alt_text(figure)
    assert "2 of 4 have the sign" in alt_text(figure)


def test_choices_stand_below_their_difference_and_constant_settings_are_left_out(all_text):
    figure = figure_specification(curve())
    ax = axes(figure)["choices"]
    squares = {
        (int(x), int(y))
        for line in ax.lines
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    }
    # sorted by difference, the gaps are 2, 0, 3, 1; one line per gap
    assert squares == {(0, 2), (1, 0), (2, 3), (3, 1)}
    texts = all_text(figure)
    assert "least gap, octaves" in texts
    assert "fixed" not in texts
    assert "pairs" not in texts


def test_bars_are_the_intervals_and_few_images_give_hollow_dots():
    drawn = curve()
    ax = axes(figure_specification(drawn))["curve"]
    segments = {round(s[0][0]): s[:, 1] for c in ax.collections for s in c.get_segments()}
    rows = drawn.table.sort_values("difference")
    for x, row in enumerate(rows.itertuples()):
        np.testing.assert_allclose(segments[x], [row.low, row.high])
    bare = axes(figure_specification(curve(count=4)))["curve"]
    faces = {
        line.get_markerfacecolor()
        for line in bare.lines
        if len(line.get_xdata()) and line.get_marker() == "o"
    }
    assert faces == {"white"}


@pytest.mark.parametrize("width", [7.0, 10.0])
def test_the_default_specifications_fit_a_page(width, check_text):
    settings = [vars(one) for one in default_specifications()]
    shifts = np.linspace(-0.1, 0.1, len(settings))
    figure = figure_specification(curve(shifts, settings=settings), width=width)
    check_text(figure)


def test_one_specification_and_missing_ones(check_text, all_text):
    alone = figure_specification(curve((0.02,), settings=[{"gap": 1.0}]))
    check_text(alone)
    full = curve()
    table = full.table.copy()
    table.loc[2, ["difference", "low", "high"]] = np.nan
    table["reason"] = table["reason"].astype(object)
    table.loc[2, "reason"] = "no image has a pair"
    figure = figure_specification(SpecificationCurve(table, 1 / 3, 3))
    check_text(figure)
    caption = " ".join(" ".join(all_text(figure)).split())
    assert "1 of 3 have the sign" in caption
    assert "1 more: not estimated: no image has a pair." in caption


def test_unusable_curves_are_refused():
    table = curve().table
    nothing = table.assign(difference=np.nan, reason="no image has a pair")
    with pytest.raises(GstoVizError, match="no specification is estimated: no image"):
        figure_specification(SpecificationCurve(nothing, None, 0, "why"))
    with pytest.raises(GstoVizError, match="no column 'p'"):
        figure_specification(SpecificationCurve(table.drop(columns="p"), None, 0))
