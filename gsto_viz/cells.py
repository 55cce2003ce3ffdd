"""How many pixels of each category lie in each cell of a grid, for any number of categories.

Most cells lie within one category and are counted whole; only the pixels of the others are looked
at. Coarser grids are counted from finer ones. NumPy and SciPy on one image.
"""

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from gsto_viz.activity import grid_shape


def cell_counts(
    categories: npt.NDArray[np.integer], number: int, strides: Sequence[int]
) -> tuple[csr_array, ...]:
    """Count the pixels of every category in every cell, on one grid per stride.

    Args:
        categories: (H, W) integers; 0..number-1, anything below 0 is counted nowhere.
        number: C, how many categories there are.
        strides: Pixels per cell of each grid, each a multiple of the one before; cell k covers the
            pixels [k stride, (k+1) stride) inside the image.

    Returns:
        (C, h * w) whole numbers as float64 for each grid, cells row by row; no explicit zeros,
        cells of a row in order.
    """
    height, width = categories.shape
    counts = [_finest_counts(categories, number, strides[0])]
    for fine, coarse in pairwise(strides):
        rows, columns = (np.arange(n) // (coarse // fine) for n in grid_shape(height, width, fine))
        shape = grid_shape(height, width, coarse)
        cells = (rows[:, None] * shape[1] + columns).ravel()
        within = csr_array(
            (np.ones(cells.size), cells, np.arange(cells.size + 1)),
            shape=(cells.size, shape[0] * shape[1]),
        )
        added = counts[-1] @ within
        added.sort_indices()
        counts.append(added)
    return tuple(counts)


def _finest_counts(categories: npt.NDArray[np.integer], number: int, stride: int) -> csr_array:
    """Count on one grid: one entry for each run of equal categories in a cell's sorted pixels."""
    height, width = categories.shape
    h, w = grid_shape(height, width, stride)
    padded = np.full((h * stride, w * stride), -1, dtype=np.int32)
    padded[:height, :width] = categories
    low, high = (_over_cells(padded, stride, take) for take in (np.minimum, np.maximum))
    pure, mixed = (np.flatnonzero(same) for same in (low == high, low != high))
    row, column = np.divmod(mixed, max(w, 1))
    pixels = padded.reshape(h, stride, w, stride)[row, :, column]
    pixels = np.sort(pixels.reshape(mixed.size, stride * stride), axis=1)
    new = np.ones(pixels.shape, dtype=bool)
    np.not_equal(pixels[:, 1:], pixels[:, :-1], out=new[:, 1:])
    starts = np.flatnonzero(new)
    category = np.concatenate([low.ravel()[pure], pixels.ravel()[starts]])
    cell = np.concatenate([pure, mixed[starts // (stride * stride)]])
    count = np.ones(category.size)
    count[: pure.size] = stride * stride
    count[pure.size :] = np.diff(starts, append=pixels.size)
    there = category >= 0
    entries = (count[there], (category[there], cell[there]))
    counts = csr_array(entries, shape=(number, h * w))
    counts.sort_indices()
    return counts


def _over_cells(
    values: npt.NDArray[np.int32], stride: int, take: np.ufunc
) -> npt.NDArray[np.int32]:
    """Reduce (h * stride, w * stride) over its cells, (h, w)."""
    rows = reduce(take, (values[k::stride] for k in range(stride)))
    return np.asarray(reduce(take, (rows[:, k::stride] for k in range(stride))))
