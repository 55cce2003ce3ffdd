"""Activity maps against literal loops, SciPy-free ranks and torch's own pooling."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gsto_viz.activity import (
    cell_areas,
    grid_shape,
    matched_pool,
    percentile_map,
    valid_cells,
)
from gsto_viz.errors import GstoVizError


@given(st.integers(1, 13), st.integers(1, 13))
@settings(max_examples=40, deadline=None)
def test_matched_pool_is_torch_average_pooling_in_ceil_mode(height, width):
    activity = np.random.default_rng(height * 100 + width).normal(size=(height, width))
    expected = torch.nn.functional.avg_pool2d(
        torch.from_numpy(activity)[None, None], 2, ceil_mode=True, count_include_pad=False
    )[0, 0].numpy()
    pooled = matched_pool(activity)
    assert pooled.shape == expected.shape
    np.testing.assert_allclose(pooled, expected, rtol=1e-14, atol=1e-15)


def test_matched_pool_cascades_over_odd_grids():
    shapes, activity = [], np.ones((45, 60), np.float32)
    for _ in range(3):
        activity = matched_pool(activity)
        shapes.append(activity.shape)
        assert activity.dtype == np.float64
        assert (activity == 1).all()
    assert shapes == [(23, 30), (12, 15), (6, 8)]


def test_matched_pool_refuses_channels():
    with pytest.raises(GstoVizError, match=r"\(2, 3, 4\)"):
        matched_pool(np.ones((2, 3, 4)))


@given(st.integers(1, 23), st.integers(1, 23), st.sampled_from([1, 2, 4, 8, 32]), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_cells_count_their_own_pixels(height, width, stride, seed):
    labels = np.random.default_rng(seed).choice([3, 255], size=(height, width))
    area = np.zeros(grid_shape(height, width, stride), int)
    known = np.zeros_like(area)
    for y in range(height):
        for x in range(width):
            area[y // stride, x // stride] += 1
            known[y // stride, x // stride] += labels[y, x] != 255
    np.testing.assert_array_equal(cell_areas(height, width, stride), area)
    np.testing.assert_array_equal(valid_cells(labels, stride), known >= area / 2)
    assert valid_cells(labels, stride, ignore=None).all()


def test_half_a_cell_is_enough():
    labels = np.array([[0, 255, 255, 255], [255, 0, 0, 255]])
    np.testing.assert_array_equal(valid_cells(labels, 2), [[True, False]])


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_percentiles_are_mid_ranks_counted_by_hand(values, seed):
    activity = np.array(values, float)[None]
    valid = np.random.default_rng(seed).random(activity.shape) < 0.8
    result = percentile_map(activity, valid)
    inside = activity[valid]
    for value, ok, u in zip(activity[0], valid[0], result[0], strict=True):
        if ok:
            below, same = (inside < value).sum(), (inside == value).sum()
            assert u == pytest.approx((below + (same + 1) / 2 - 0.5) / inside.size, abs=1e-15)
            assert 0 < u < 1
        else:
            assert np.isnan(u)
    if valid.any():
        assert np.nanmean(result) == pytest.approx(0.5, abs=1e-12)


def test_percentiles_see_only_the_order():
    activity = np.random.default_rng(2).random((9, 11))
    valid = np.ones_like(activity, bool)
    before = percentile_map(activity, valid)
    np.testing.assert_array_equal(before, percentile_map(np.exp(5 * activity), valid))
    np.testing.assert_allclose(before, 1 - percentile_map(-activity, valid), atol=1e-15)
    assert (percentile_map(np.ones((4, 5)), np.ones((4, 5), bool)) == 0.5).all()


def test_percentiles_without_valid_cells_are_null():
    assert np.isnan(percentile_map(np.ones((2, 3)), np.zeros((2, 3), bool))).all()


def test_percentiles_refuse_nan_where_valid_only():
    activity = np.array([[1.0, np.nan]])
    assert percentile_map(activity, np.array([[True, False]]))[0, 0] == 0.5
    with pytest.raises(GstoVizError, match="NaN or infinity"):
        percentile_map(activity, np.array([[True, True]]))
    with pytest.raises(GstoVizError, match="differ"):
        percentile_map(activity, np.ones((2, 2), bool))
