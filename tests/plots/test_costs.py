import numpy as np
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.plots import alt_text, costs_data, figure_costs

A = {"model": "A", "name": "plain", "macs_gi": 31.1, "miou": 46.3, "n_images": 40}
A |= {"sci": 0.232, "sci_low": 0.192, "sci_high": 0.276}
B = {"model": "B", "name": "gated", "macs_gi": 33.7, "miou": 48.3, "n_images": 4}
B |= {"sci": 0.25, "reason": "few", "miou_low": 47.0, "miou_high": 50.0}
C = {"model": "C", "name": "bare", "sci": None, "n_images": 0, "reason": "no pairs"}


def drawn(*rows):
    return figure_costs(costs_data(rows))


def dots(ax):
    return [
        (line.get_xdata()[0], line.get_ydata()[0])
        for line in ax.lines
        if len(line.get_xdata()) == 1
    ]


def test_every_network_is_a_dot_with_its_bars():
    figure = drawn(A, B)
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
    figure = drawn(A, C)
    check_text(figure)
    for ax in figure.axes:
        assert len(dots(ax)) == 1
        assert ax.get_title() == "not estimated: C"
    assert "C (bare): no macs_gi, no miou, no sci" in alt_text(figure)


@pytest.mark.parametrize("points", [[A], [A, B, C] * 2])
def test_no_text_overlaps_with_one_to_six_networks(points, check_text):
    spread = [
        {
            "model": f"{row['model']}{k}",
            "name": "n" * 60,
            "macs_gi": row["macs_gi"] * (k + 1) if "macs_gi" in row else None,
            **{name: row.get(name) for name in ("miou", "sci", "sci_low", "sci_high")},
        }
        for k, row in enumerate(points)
    ]
    check_text(drawn(*spread))


def test_panels_that_nothing_stands_in_are_left_out(check_text):
    """Networks for pose have no mIoU."""
    figure = drawn(*({**row, "miou": None} for row in (A, B)))
    check_text(figure)
    (sci,) = figure.axes
    assert dots(sci) == [(31.1, 0.232), (33.7, 0.25)]
    said = " ".join(" ".join(text.get_text().split()) for text in figure.texts)
    assert said.endswith("No network here has an mIoU.")


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
        drawn()
    with pytest.raises(GstoVizError, match="no network has two of cost, mIoU and SCI"):
        drawn(C)
    with pytest.raises(GstoVizError, match="up to 8"):
        drawn(*[A] * 9)
