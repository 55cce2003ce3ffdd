import numpy as np
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.plots import CostPoint, alt_text, costs_data, figure_costs
from gsto_viz.stats import Estimate

A = CostPoint("A", "plain", 31.1, 46.3, Estimate(0.232, 0.192, 0.276, 40, 900))
B = CostPoint("B", "gated", 33.7, 48.3, Estimate(0.25, None, None, 4, 90, "few"), 47.0, 50.0)
C = CostPoint("C", "bare", None, None, Estimate(None, None, None, 0, 0, "no pairs"))


def dots(ax):
    return [
        (line.get_xdata()[0], line.get_ydata()[0])
        for line in ax.lines
        if len(line.get_xdata()) == 1
    ]


def test_every_network_is_a_dot_with_its_bars():
    figure = figure_costs([A, B])
    miou, sci, both = figure.axes
    assert dots(miou) == [(31.1, 46.3), (33.7, 48.3)]
    assert dots(sci) == [(31.1, 0.232), (33.7, 0.25)]
    assert dots(both) == [(46.3, 0.232), (48.3, 0.25)]
    bars = [
        c.get_segments()[0]
        for ax in (miou, sci)
        for c in ax.collections
        if hasattr(c, "get_segments")
    ]
    np.testing.assert_allclose(bars, [[[33.7, 47.0], [33.7, 50.0]], [[31.1, 0.192], [31.1, 0.276]]])
    for ax in figure.axes:
        assert {text.get_text() for text in ax.texts} == {"A", "B"}
        (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
        assert all(left <= x <= right and low <= y <= high for x, y in dots(ax))
    assert sci.get_xlim()[0] == sci.get_ylim()[0] == 0
    assert sci.get_ylim()[1] >= 0.57
    assert np.ptp(miou.get_ylim()) >= 10  # a small difference shall look small


def test_what_lacks_a_number_is_named_and_left_out(check_text):
    figure = figure_costs([A, C])
    check_text(figure)
    for ax in figure.axes:
        assert len(dots(ax)) == 1
        assert ax.get_title() == "not estimated: C"
    assert "C (bare): no macs_gi, no miou, no sci" in alt_text(figure)


@pytest.mark.parametrize("points", [[A], [C], [A, B, C] * 2])
def test_no_text_overlaps_with_one_to_six_networks(points, check_text):
    spread = [
        CostPoint(f"{p.key}{k}", "n" * 60, p.macs_gi and p.macs_gi * (k + 1), p.miou, p.sci)
        for k, p in enumerate(points)
    ]
    check_text(figure_costs(spread))


def test_data_is_one_row_per_network():
    data = costs_data([A, B, C])
    assert data["model"].tolist() == ["A", "B", "C"]
    assert data.loc[0, ["macs_gi", "miou", "sci", "sci_low", "sci_high"]].tolist() == [
        31.1, 46.3, 0.232, 0.192, 0.276,
    ]  # fmt: skip
    assert data["miou_high"].isna().tolist() == [True, False, True]
    assert data["reason"].tolist()[1:] == ["few", "no pairs"]


def test_unusable_input_is_refused():
    with pytest.raises(GstoVizError, match="nothing to draw"):
        figure_costs([])
    with pytest.raises(GstoVizError, match="up to 8"):
        figure_costs([A] * 9)
