"""Categories in cells against counting pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gsto_viz.activity import cell_counts, grid_shape


def count_pixels(categories, number, stride):
    height, width = categories.shape
    h, w = grid_shape(height, width, stride)
    counts = np.zeros((number, h * w), int)
    for (y, x), category in np.ndenumerate(categories):
        if category >= 0:
            counts[category, y // stride * w + x // stride] += 1
    return counts


@given(
    st.integers(0, 10_000),
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(1, 6),
    st.sampled_from([(1,), (4,), (3, 6), (4, 8, 16, 32), (2, 16), (1, 2, 8)]),
)
@settings(max_examples=60, deadline=None)
def test_every_pixel_is_counted_in_its_cell_on_every_grid(seed, height, width, number, strides):
    rng = np.random.default_rng(seed)
    # Patches, so that some cells lie within one category and others do not.
    coarse = rng.integers(-1, number, (-(-height // 5), -(-width // 5)))
    categories = np.kron(coarse, np.ones((5, 5), int))[:height, :width]
    for stride, counts in zip(strides, cell_counts(categories, number, strides), strict=True):
        expected = count_pixels(categories, number, stride)
        assert counts.shape == expected.shape
        np.testing.assert_array_equal(counts.toarray(), expected)
        assert (counts.data > 0).all()
        for start, end in zip(counts.indptr[:-1], counts.indptr[1:], strict=True):
            assert (np.diff(counts.indices[start:end]) > 0).all()


@pytest.mark.parametrize("shape", [(0, 0), (0, 7), (9, 0), (6, 7)])
def test_nothing_to_count(shape):
    (counts,) = cell_counts(np.full(shape, -3), 2, (4,))
    assert counts.shape == (2, np.prod(grid_shape(*shape, 4)))
    assert counts.nnz == 0
