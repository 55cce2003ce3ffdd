import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from gsto_viz.colors import BRANCHES
from gsto_viz.errors import GstoVizError
from gsto_viz.plots import alt_text, figure_distance_profile

STRIDES = (4, 8, 16, 32)


def profile(branches=4, sizes=(4, 6, 7), depth=6, interval=True, shift=0.0):
    rows = []
    for branch in range(branches):
        for size in sizes:
            for distance in range(depth):
                mean = 0.3 + 0.05 * branch + 0.02 * distance + 0.01 * size + shift
                spread = 0.03 if interval else np.nan
                rows.append((branch, size, distance, mean, mean - spread, mean + spread, 500, 12))
    columns = ["branch", "size_octave", "distance_octave", "mean", "low", "high", "pixels"]
    return pd.DataFrame(rows, columns=[*columns, "n_images"])


def line(ax, network, branch):
    label = f"network {network} branch {branch}"
    return next(one for one in ax.lines if one.get_label() == label)


def test_finest_and_coarsest_branch_of_large_regions_are_drawn():
    frames = {"A": profile(), "B": profile(shift=0.1)}
    figure = figure_distance_profile(frames, strides=dict.fromkeys("AB", STRIDES))
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "regions of 64 to 128 px",
        "regions of 128 to 256 px",
    ]
    for ax, size in zip(figure.axes, (6, 7), strict=True):
        for network, frame in enumerate(frames.values()):
            for branch in (0, 3):
                one = line(ax, network, branch)
                chosen = (frame["branch"] == branch) & (frame["size_octave"] == size)
                np.testing.assert_allclose(one.get_ydata(), frame.loc[chosen, "mean"])
                np.testing.assert_allclose(one.get_xdata(), np.arange(6) + 0.5)
                assert to_hex(one.get_color()) == BRANCHES[branch].color.lower()
                assert one.get_linestyle() == ("-", "--")[network]
        assert not [one for one in ax.lines if one.get_label().endswith("branch 1")]
        assert any(list(one.get_xdata()) == [3.0, 3.0] for one in ax.lines)  # the band's 8 px
        assert ax.get_xlim() == (0, 6)
        assert ax.get_ylim() == (0, 1)
        assert ax.get_xticklabels()[3].get_text() == "3\n8"


@pytest.mark.parametrize(
    ("frames", "strides"),
    [
        ({"A": profile(interval=False, depth=12)}, {"A": STRIDES}),
        ({"A": profile(2, sizes=range(6, 12)), "B": profile()}, {"A": (4, 8), "B": STRIDES}),
        (dict.fromkeys("AB", profile(6, depth=9)), dict.fromkeys("AB", (2, 4, 8, 16, 32, 64))),
    ],
)
def test_no_text_overlaps(frames, strides, check_text):
    names = dict.fromkeys(frames, "a-long-name-" * 9)
    figure = figure_distance_profile(frames, strides=strides, names=names)
    check_text(figure)
    assert len(figure.axes) <= 4


def test_rows_without_value_and_absent_sizes_leave_gaps():
    frame = profile(sizes=(6,))
    frame.loc[(frame["branch"] == 0) & (frame["distance_octave"] == 2), "mean"] = np.nan
    figure = figure_distance_profile(
        {"A": frame, "B": profile(sizes=(7,))}, strides=dict.fromkeys("AB", STRIDES)
    )
    first, second = figure.axes
    assert 2.5 not in line(first, 0, 0).get_xdata()
    assert len(line(first, 1, 0).get_xdata()) == len(line(second, 0, 0).get_xdata()) == 0
    assert "B stride 4 from" in alt_text(figure)


@pytest.mark.parametrize(
    ("frames", "strides", "words"),
    [
        ({}, {}, "nothing to draw"),
        ({"A": profile()}, {}, "'A' has no strides"),
        ({"A": profile().drop(columns="pixels")}, {"A": STRIDES}, "no column 'pixels'"),
        ({"A": profile(sizes=(3,))}, {"A": STRIDES}, "no region reaches 64 px"),
    ],
)
def test_unusable_frames_are_refused(frames, strides, words):
    with pytest.raises(GstoVizError, match=words):
        figure_distance_profile(frames, strides=strides)


@pytest.mark.parametrize(("count", "rows"), [(2, 1), (3, 1), (6, 3)])
def test_of_many_networks_two_share_a_row(check_text, count, rows):
    frames = {f"net {k}": profile(shift=0.01 * k) for k in range(count)}
    figure = figure_distance_profile(frames, strides=dict.fromkeys(frames, STRIDES))
    check_text(figure)
    assert len(figure.axes) == 2 * rows
    for position in range(count):
        ax = figure.axes[2 * (position * rows // count)]
        mean = frames[f"net {position}"].query("branch == 3 and size_octave == 6")["mean"]
        np.testing.assert_allclose(line(ax, position, 3).get_ydata(), mean)
