import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure

from gsto_viz.colors import BRANCHES
from gsto_viz.errors import GstoVizError
from gsto_viz.plots import (
    alt_text,
    figure_tuning_fan,
    join_frames,
    plot_sizes,
    tuning_fan_data,
)
from gsto_viz.plots.page import FEW


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
        assert to_hex(line.get_color()) == BRANCHES[branch].color.lower()
        markers = [item for item in ax.lines if item.get_marker() == BRANCHES[branch].marker]
        faces = {to_hex(item.get_markerfacecolor()): len(item.get_xdata()) for item in markers}
        assert faces == {BRANCHES[branch].color.lower(): 6, FEW.lower(): 1}


def test_ribbons_are_the_intervals():
    frame = responses()
    ax = plot_sizes(frame, ax=Figure().add_subplot())
    assert len(ax.collections) == 4
    box = ax.collections[2].get_paths()[0].get_extents()
    rows = frame[frame["branch"] == 2]
    assert (box.y0, box.y1) == pytest.approx((rows["low"].min(), rows["high"].max()))
    assert to_rgba(ax.collections[2].get_facecolor()[0])[:3] == to_rgba(BRANCHES[2].color)[:3]
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
    figure = figure_tuning_fan(frames, width=width)
    check_text(figure)
    first, second = figure.axes
    assert first.get_xlim() == second.get_xlim()
    assert first.get_ylim() == second.get_ylim() == (0, 1)


def test_alt_text_names_each_branchs_best_octave():
    frame = responses(octaves=range(3, 5), few=())
    frame.loc[(frame["branch"] == 1) & (frame["octave"] == 4), "mean"] = 0.91
    assert "stride 8 is highest at octave 4 (0.91)" in alt_text(figure_tuning_fan({"A": frame}))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: figure_tuning_fan({}), "nothing to draw"),
        (lambda: figure_tuning_fan({"A": responses().drop(columns="low")}), "no column 'low'"),
        (lambda: figure_tuning_fan({"A": responses().iloc[:0]}), "no region qualifies"),
    ],
)
def test_unusable_frames_are_refused(make, words):
    with pytest.raises(GstoVizError, match=words):
        make()


def random_draws(count=5):
    return [responses().assign(mean=lambda f, k=k: f["mean"] / 2 + 0.02 * k) for k in range(count)]


def lines_of(ax, label):
    return [line for line in ax.lines if line.get_label() == label]


def test_fan_draws_the_mean_of_random_draws_dashed_and_every_draw_below():
    draws = random_draws(3)
    figure = figure_tuning_fan({"A": responses(), "B": responses()}, random={"A": draws})
    top, _, below, empty = figure.axes
    for ax in (top, below):
        dashed = lines_of(ax, "random mean")
        assert [line.get_linestyle() for line in dashed] == ["--"] * 4
        for branch, line in enumerate(dashed):
            by_hand = [
                sum(
                    d.loc[(d["branch"] == branch) & (d["octave"] == o), "mean"].item()
                    for d in draws
                )
                / 3
                for o in range(2, 9)
            ]
            np.testing.assert_allclose(line.get_ydata(), by_hand)
            assert to_hex(line.get_color()) == BRANCHES[branch].color.lower()
    assert not lines_of(top, "random draw")
    assert len(lines_of(below, "random draw")) == 12
    assert not lines_of(empty, "random mean")
    assert empty.get_title(loc="left") == "no draws of random weights"
    assert top.get_xlim() == below.get_xlim() == empty.get_xlim()


def test_fan_says_who_has_no_draws(all_text, check_text):
    figure = figure_tuning_fan({"A": responses()}, names={"A": "a net"})
    texts = " ".join(" ".join(all_text(figure)).split())
    assert "No draws of random weights for A." in texts
    assert "A  a net" in [ax.get_title(loc="left") for ax in figure.axes]
    assert len(figure.axes) == 1
    check_text(figure)
    with_draws = figure_tuning_fan({"A": responses(range(10))}, random={"A": random_draws(1)})
    check_text(with_draws)
    assert "(1 draw of A)" in " ".join(" ".join(all_text(with_draws)).split())


@pytest.mark.parametrize("branches", [2, 6])
def test_fan_draws_two_to_six_branches(branches, check_text):
    parts = [
        responses(range(3, 6)).query("branch == 0").assign(branch=r, stride=4 * 2**r)
        for r in range(branches)
    ]
    frame = pd.concat(parts)
    figure = figure_tuning_fan({"A": frame, "B": frame}, random={"B": [frame]})
    check_text(figure)
    strides = {f"stride {4 * 2**r}" for r in range(branches)}
    assert strides <= {line.get_label() for line in figure.axes[0].lines}


def test_fan_data_holds_every_frame_once():
    draws = random_draws(2)
    data = tuning_fan_data({"A": responses(), "B": responses()}, {"B": draws})
    assert list(data.columns[:3]) == ["model", "weights", "draw"]
    assert len(data) == 4 * len(draws[0])
    trained = data[data["weights"] == "trained"]
    assert trained["draw"].isna().all()
    assert set(trained["model"]) == {"A", "B"}
    back = data[(data["model"] == "B") & (data["draw"] == 1)]
    np.testing.assert_array_equal(back["mean"], draws[1]["mean"])
    with pytest.raises(GstoVizError, match="nothing to draw"):
        tuning_fan_data({})


def test_fan_refuses_draws_of_a_network_that_is_not_there():
    with pytest.raises(GstoVizError, match="draws of 'B'"):
        figure_tuning_fan({"A": responses()}, random={"B": random_draws(1)})


def test_join_frames_puts_the_network_first():
    joined = join_frames({"A": responses(), "B": responses().iloc[:2]})
    assert joined.columns[0] == "model"
    assert joined["model"].tolist() == ["A"] * 28 + ["B"] * 2
    with pytest.raises(GstoVizError, match="nothing to join"):
        join_frames({})


@pytest.mark.parametrize("count", [3, 6, 8])
def test_more_networks_take_further_rows(check_text, count):
    names = ["plain", "gated", "wide", "deep", "fifth", "sixth", "seventh", "eighth"][:count]
    frames = {name: responses() for name in names}
    figure = figure_tuning_fan(frames, random={"gated": random_draws()})
    check_text(figure)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert [title for title in titles if title in names] == names
    # Only the row of networks with draws of random weights has their charts.
    assert sum("random weights" in title for title in titles) == 3
    assert len({round(ax.get_position().width, 6) for ax in figure.axes}) == 1
