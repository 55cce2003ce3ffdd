import numpy as np
import pytest

from gsto_viz.activity import (
    HeatMap,
    gate_map,
    normalise,
    normalise_map,
    saturated_share,
    valid_by_stride,
)
from gsto_viz.errors import GstoVizError
from gsto_viz.look import Look
from gsto_viz.words import MODES, RAW_BADGE


def inspection(raw, activity, strides=(4, 8), name="net"):
    as_maps = [tuple(np.asarray(m, dtype=np.float32) for m in maps) for maps in (raw, activity)]
    prediction = np.zeros((8, 8), np.uint8)
    return Look(name, "n", strides, prediction, *as_maps, gates={}, gate_range=None)


RNG = np.random.default_rng(3)
A = inspection([RNG.random((2, 2)), [[3.0]]], [RNG.random((2, 2)), [[0.2]]], name="A")
B = inspection([5 + RNG.random((2, 2)), [[-1.0]]], [RNG.random((2, 2)), [[0.7]]], name="B")


def literal_percentiles(values):
    flat = [float(v) for v in values.ravel()]
    ranks = [sum(w < v for w in flat) + (sum(w == v for w in flat) + 1) / 2 for v in flat]
    return np.reshape([(rank - 0.5) / len(flat) for rank in ranks], values.shape)


def test_badge_is_the_contracts_words():
    assert RAW_BADGE == "raw: the size of these numbers is arbitrary"


def test_percentile_is_the_default_and_comes_from_the_gain_fixed_activity():
    for row, source in zip(normalise([A, B]), (A, B), strict=True):
        for heatmap, activity, stride in zip(row, source.activity, (4, 8), strict=True):
            np.testing.assert_allclose(heatmap.values, literal_percentiles(activity), rtol=1e-12)
            assert (heatmap.low, heatmap.high, heatmap.stride) == (0.0, 1.0, stride)
            assert (heatmap.mode, heatmap.raw) == ("percentile", False)


def test_shared_limits_span_both_networks_per_branch():
    (a0, a1), (b0, b1) = normalise([A, B], "shared")
    everything = [*A.raw[0].ravel(), *B.raw[0].ravel()]
    assert a0.low == b0.low == pytest.approx(min(everything))
    assert a0.high == b0.high == pytest.approx(max(everything))
    assert (a1.low, a1.high, b1.low, b1.high) == (-1.0, 3.0, -1.0, 3.0)
    np.testing.assert_array_equal(b0.values, B.raw[0])
    assert a0.raw
    assert b1.raw


def test_per_map_limits_are_each_maps_own():
    (a0, _), (b0, _) = normalise([A, B], "per_map")
    assert (a0.low, a0.high) == (A.raw[0].min(), A.raw[0].max())
    assert (b0.low, b0.high) == (B.raw[0].min(), B.raw[0].max())
    assert a0.raw


def test_zscore_has_mean_0_and_spread_1_and_symmetric_limits():
    heatmap = normalise([A], "zscore")[0][0]
    assert heatmap.values.mean() == pytest.approx(0, abs=1e-12)
    assert np.sqrt((heatmap.values**2).mean()) == pytest.approx(1)
    assert heatmap.low == -heatmap.high
    assert not heatmap.raw


def test_zscore_tells_when_values_lie_beyond_the_bar():
    values = np.zeros((5, 5))
    values[0, 0] = 1.0
    assert normalise_map(values, stride=4, mode="zscore").clipped == (False, True)
    assert normalise_map(-values, stride=4, mode="zscore").clipped == (True, False)
    assert normalise_map(values, stride=4).clipped == (False, False)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e-30])
def test_constant_maps_are_drawn_mid_scale(mode, value):
    flat = inspection([np.full((2, 2), value), [[value]]], [np.full((2, 2), value), [[value]]])
    for heatmap in normalise([flat, flat], mode)[1]:
        middle = (heatmap.low + heatmap.high) / 2
        np.testing.assert_allclose(heatmap.values, middle, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_cells_that_do_not_count_become_nan_and_change_nothing_else(mode):
    mask = np.array([[True, True], [True, False]])
    valid = {4: mask, 8: np.array([[True]])}
    spoiled = [m.copy() for m in (A.raw[0], A.activity[0])]
    for m in spoiled:
        m[1, 1] = np.nan  # the network may say anything there
    other = inspection([spoiled[0], A.raw[1]], [spoiled[1], A.activity[1]])
    first, second = (normalise([x], mode, valid)[0][0] for x in (A, other))
    np.testing.assert_array_equal(np.isnan(first.values), ~mask)
    np.testing.assert_array_equal(first.values, second.values)
    assert (first.low, first.high) == (second.low, second.high)


@pytest.mark.parametrize("mode", MODES)
def test_an_image_without_any_annotation_gives_grey_maps_with_numbers(mode):
    valid = valid_by_stride(np.full((8, 8), 255, np.uint8), (4, 8))
    for heatmap in normalise([A], mode, valid)[0]:
        assert np.isnan(heatmap.values).all()
        assert heatmap.low < heatmap.high


def test_valid_cells_need_half_of_their_pixels():
    labels = np.zeros((5, 6), np.uint8)
    labels[:3, :4] = 255  # 12 of 16 pixels of cell (0, 0)
    labels[4, 4] = 255  # 1 of 2 pixels of the clipped cell (1, 1)
    np.testing.assert_array_equal(valid_by_stride(labels, [4])[4], [[False, True], [True, True]])


def test_a_gain_changes_raw_maps_and_percentiles_not():
    scaled = inspection([100 * m for m in A.raw], [100 * m for m in A.activity])
    for mode, same in (("percentile", True), ("zscore", True), ("per_map", False)):
        before, after = normalise([A], mode)[0][0].values, normalise([scaled], mode)[0][0].values
        assert np.allclose(before, after, rtol=1e-5) == same


def test_gates_run_over_the_range_of_their_form():
    values = np.array([[0.5, 0.5 + 5e-7], [0.5 + 2e-6, 0.9]])
    heatmap = gate_map(values, stride=8, limits=(0.5, 1.0))
    assert (heatmap.low, heatmap.high, heatmap.mode, heatmap.raw) == (0.5, 1.0, "gate", False)
    assert saturated_share(values, (0.5, 1.0)) == 0.5
    assert saturated_share(values, (0.0, 1.0)) == 0.0


def test_maps_cannot_be_written_to_and_are_copies():
    source = np.zeros((2, 2))
    heatmap = HeatMap(source, 0, 1, "percentile", MODES["percentile"].axis, False, 4)
    source[0, 0] = 9
    assert heatmap.values[0, 0] == 0
    with pytest.raises(ValueError, match="read-only"):
        heatmap.values[0, 0] = 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: normalise([A], "percentil"), "did you mean 'percentile'"),
        (lambda: normalise_map(np.zeros((2, 2)), stride=4, mode="shared"), "choose percentile"),
        (lambda: normalise([A], "zscore", {8: np.array([[True]])}), "stride 4"),
        (lambda: normalise([A], "zscore", {4: np.ones((3, 3), bool)}), "branch 0 of 'A'"),
        (lambda: normalise([inspection([[[1.0]]], [[[np.nan]]], (4,))]), "NaN or infinity"),
        (lambda: normalise([inspection([[[1.0]]], [[[1.0]]])]), "1 maps for 2 strides"),
        (
            lambda: normalise([A, inspection([[[1.0]]], [[[1.0]]], (4,))], "shared"),
            "different branch strides",
        ),
        (lambda: HeatMap(np.zeros(3), 0, 1, "gate", "", False, 4), "(3,)"),
        (lambda: HeatMap(np.zeros((0, 3)), 0, 1, "gate", "", False, 4), "not empty"),
        (lambda: HeatMap(np.zeros((1, 1)), 1, 1, "gate", "", False, 4), "low < high"),
        (lambda: HeatMap(np.zeros((1, 1)), 0, np.inf, "gate", "", False, 4), "low < high"),
        (lambda: HeatMap(np.zeros((1, 1)), 0, 1, "gate", "", False, 0), "stride 0"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(make, words):
    with pytest.raises(GstoVizError) as caught:
        make()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
