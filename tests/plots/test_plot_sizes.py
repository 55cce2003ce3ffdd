import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure

from gsto_viz.errors import GstoVizError
from gsto_viz.plots import alt_text, figure_sizes, plot_sizes
from gsto_viz.plots.colors import BRANCH_COLORS, BRANCH_MARKERS, FEW


def responses(octaves=range(2, 9), intervals=True, few=(8,)):
    rows = []
    for branch, stride in enumerate((4, 8, 16, 32)):
        for octave in octaves:
            mean = 0.3 + 0.05 * ((octave + branch) % 7)
            spread = 0.04 if intervals else np.nan
            rows.append(
                {
                    "branch": branch,
                    "stride": stride,
                    "octave": octave,
                    "mean": mean,
                    "low": mean - spread,
                    "high": mean + spread,
                    "n_regions": 3 if octave in few else 1234,
                    "n_images": 12,
                    "reason": None,
                }
            )
    return pd.DataFrame(rows)


def test_each_branch_is_a_line_in_its_colour_and_marker_at_the_middle_of_octaves():
    frame = responses()
    ax = plot_sizes(frame, ax=Figure().add_subplot())
    for branch in range(4):
        rows = frame[frame["branch"] == branch]
        line = next(item for item in ax.lines if item.get_label() == f"stride {4 * 2**branch}")
        np.testing.assert_allclose(line.get_xdata(), rows["octave"] + 0.5)
        np.testing.assert_allclose(line.get_ydata(), rows["mean"])
        assert to_hex(line.get_color()) == BRANCH_COLORS[branch].lower()
        markers = [item for item in ax.lines if item.get_marker() == BRANCH_MARKERS[branch]]
        faces = {to_hex(item.get_markerfacecolor()): len(item.get_xdata()) for item in markers}
        assert faces == {BRANCH_COLORS[branch].lower(): 6, FEW.lower(): 1}


def test_ribbons_are_the_intervals():
    frame = responses()
    ax = plot_sizes(frame, ax=Figure().add_subplot())
    assert len(ax.collections) == 4
    box = ax.collections[2].get_paths()[0].get_extents()
    rows = frame[frame["branch"] == 2]
    assert (box.y0, box.y1) == pytest.approx((rows["low"].min(), rows["high"].max()))
    assert to_rgba(ax.collections[2].get_facecolor()[0])[:3] == to_rgba(BRANCH_COLORS[2])[:3]
    bare = plot_sizes(responses(intervals=False), ax=Figure().add_subplot())
    assert all(not c.get_paths() or not len(c.get_paths()[0].vertices) for c in bare.collections)


def test_axis_has_octaves_and_pixels_and_counts():
    ax = plot_sizes(responses(octaves=range(2, 5), few=()), ax=Figure().add_subplot())
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels == ["2\n4", "3\n8", "4\n16", "5\n32"]
    assert ax.get_xlim() == (2, 5)
    assert ax.get_ylim() == (0, 1)
    assert [text.get_text() for text in ax.texts] == ["n =", "1234", "1234", "1234"]
    assert any(list(line.get_ydata()) == [0.5, 0.5] for line in ax.lines)


@pytest.mark.parametrize("width", [7.0, 10.0])
@pytest.mark.parametrize("octaves", [range(10), range(4, 6)])
def test_no_text_overlaps(check_text, width, octaves):
    frames = {"A  " + "long-name-" * 12: responses(octaves), "B  net": responses(range(3, 7))}
    figure = figure_sizes(frames, width=width)
    check_text(figure)
    first, second = figure.axes
    assert first.get_xlim() == second.get_xlim()
    assert first.get_ylim() == second.get_ylim() == (0, 1)


def test_alt_text_names_each_branchs_best_octave():
    frame = responses(octaves=range(3, 5), few=())
    frame.loc[(frame["branch"] == 1) & (frame["octave"] == 4), "mean"] = 0.91
    assert "stride 8 is highest at octave 4 (0.91)" in alt_text(figure_sizes({"A": frame}))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: figure_sizes({}), "nothing to draw"),
        (lambda: figure_sizes({"A": responses().drop(columns="low")}), "no column 'low'"),
        (lambda: figure_sizes({"A": responses().iloc[:0]}), "no region qualifies"),
    ],
)
def test_unusable_frames_are_refused(make, words):
    with pytest.raises(GstoVizError, match=words):
        make()
