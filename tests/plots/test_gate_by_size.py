import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from gsto_viz.colors import BRANCHES
from gsto_viz.errors import GstoVizError
from gsto_viz.plots import alt_text, figure_gate_by_size, gate_by_size_data
from gsto_viz.plots.gates import NO_GATES

STRIDES = (4, 8, 16, 32)


def opening(level=0.2, interval=True):
    rows = []
    for part, octaves in (("band", range(3, 8)), ("core", range(4, 8))):
        for octave in octaves:
            mean = level + 0.01 * octave
            spread = 0.02 if interval else np.nan
            rows.append((part, octave, mean, mean - spread, mean + spread, 40, 15, None))
    columns = ["part", "octave", "mean", "low", "high", "n_regions", "n_images", "reason"]
    return pd.DataFrame(rows, columns=columns)


def gates(modules=("stage3.m0", "stage4.m1"), branches=4, stages=(2, 3)):
    taps = [f"transition{stage}.gate" for stage in stages]
    for module in modules:
        for source, target in itertools.product(range(branches), repeat=2):
            taps.append(f"{module}.gate[{source}->{target}]")
    return {tap: opening(0.01 * k) for k, tap in enumerate(taps)}


def part(ax, name):
    return next(line for line in ax.lines if line.get_label() == name)


def test_each_gate_of_the_last_module_is_drawn_core_and_band():
    frames = gates()
    figure = figure_gate_by_size({"A": {}, "B": frames}, strides=dict.fromkeys("AB", STRIDES))
    drawn = {ax.get_label(): ax for ax in figure.axes}
    assert set(drawn) == {tap for tap in frames if not tap.startswith("stage3")}
    for tap, ax in drawn.items():
        frame = frames[tap]
        for name, dash in (("core", "-"), ("band", "--")):
            rows = frame[frame["part"] == name]
            line = part(ax, name)
            np.testing.assert_allclose(line.get_ydata(), rows["mean"])
            np.testing.assert_allclose(line.get_xdata(), rows["octave"] + 0.5)
            assert line.get_linestyle() == dash
        assert ax.get_ylim() == (0, 0.6)  # the least listed limit above 0.35 + 0.07 + 0.02
        assert ax.get_xlim() == (3, 8)
    color = to_hex(part(drawn["stage4.m1.gate[2->0]"], "core").get_color())
    assert color == BRANCHES[2].color.lower()


def test_rows_are_sources_and_columns_targets():
    figure = figure_gate_by_size({"B": gates()}, strides={"B": STRIDES})
    place = {ax.get_label(): ax.get_position() for ax in figure.axes}
    for target in range(3):
        here, right = (place[f"stage4.m1.gate[1->{t}]"] for t in (target, target + 1))
        assert here.x1 < right.x0
        assert here.y0 == right.y0
    assert place["stage4.m1.gate[0->1]"].y0 > place["stage4.m1.gate[1->1]"].y1
    assert place["transition2.gate"].x0 > place["stage4.m1.gate[0->3]"].x1


@pytest.mark.parametrize(
    ("frames", "strides"),
    [
        ({"A": {}, "B": gates()}, STRIDES),
        ({"A": gates(("stage2.m0",), 2, (1,))}, (4, 8)),
        ({"A": gates((), 4), "B": gates(stages=())}, STRIDES),
        ({"A": gates(("stage6.m0",), 6, (1, 2, 3, 4, 5))}, (2, 4, 8, 16, 32, 64)),
    ],
)
def test_no_text_overlaps(frames, strides, check_text):
    names = dict.fromkeys(frames, "a-long-name-" * 15)
    figure = figure_gate_by_size(frames, strides=dict.fromkeys(frames, strides), names=names)
    check_text(figure)


def test_networks_and_edges_without_gates_say_so(all_text):
    frames = gates()
    del frames["stage4.m1.gate[2->2]"]
    figure = figure_gate_by_size(
        {"A": {}, "B": frames}, strides=dict.fromkeys("AB", STRIDES), names={"A": "plain"}
    )
    texts = all_text(figure)
    assert f"A  plain: {NO_GATES}" in texts
    assert texts.count("no gate") == 1
    assert "B: 15 gates of stage4.m1" in alt_text(figure)


def test_without_intervals_and_with_few_regions_points_are_grey_and_ribbons_gone():
    frame = opening(interval=False).assign(n_regions=3)
    figure = figure_gate_by_size({"A": {"transition1.gate": frame}}, strides={"A": (4, 8)})
    (ax,) = [ax for ax in figure.axes if ax.get_label() == "transition1.gate"]
    grey = [line for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert {to_hex(line.get_color()) for line in grey} == {"#9a9a9a"}
    assert all(not c.get_paths() or not len(c.get_paths()[0].vertices) for c in ax.collections)


def test_names_of_transitions_stay_clear_of_the_ticks_above_them():
    figure = figure_gate_by_size({"B": gates()}, strides={"B": STRIDES})
    FigureCanvasAgg(figure).draw()
    names = [text for text in figure.texts if text.get_text().startswith("transition")]
    panels = [ax for ax in figure.axes if ax.get_label().startswith("transition")]
    assert len(names) == len(panels) > 1
    for ax, name in zip(panels[:-1], names[1:], strict=True):
        tick = ax.xaxis.majorTicks[0].get_pad() * figure.dpi / 72
        assert name.get_window_extent().y1 < ax.bbox.y0 - tick


def test_data_has_the_gates_of_all_modules_with_their_edges():
    frames = gates()
    data = gate_by_size_data({"A": {}, "B": frames})
    assert set(data["tap"]) == set(frames)
    row = data[data["tap"] == "stage3.m0.gate[3->1]"].iloc[0]
    assert (row["source"], row["target"], row["model"]) == (3, 1, "B")
    assert len(gate_by_size_data({"A": {}})) == 0


@pytest.mark.parametrize(
    ("frames", "strides", "words"),
    [
        ({"A": {}}, {"A": STRIDES}, "no network has gates"),
        ({"A": {"neck.mask": opening()}}, {"A": STRIDES}, "'neck.mask' is not a gate"),
        ({"A": gates() | {"mask": opening()}}, {"A": STRIDES}, "'mask' is not a gate"),
        ({"A": gates()}, {}, "'A' has no strides"),
        ({"A": {"transition1.gate": opening().drop(columns="part")}}, {"A": (4, 8)}, "'part'"),
    ],
)
def test_unusable_input_is_refused(frames, strides, words):
    with pytest.raises(GstoVizError, match=words):
        figure_gate_by_size(frames, strides=strides)
