"""What a pixel listens to: the weights that relations between two maps give to coarse cells.

A pixel of a fine map (a cell of s image pixels) has weights over a window of k x k cells of 2 s,
around the coarse cell that covers it. They add up to 1; cells off the map have 0. Three numbers
describe them: how widely they spread (``entropy``), how far away they lie (``offset_px``), and how
much of them leaves the pixel's own object (``outside``). Each stands beside what equal weights in
the same window would give, since a window that is larger than an object must leave it.

The m heads are averaged first. Each takes as many channels as every other, so the mean weight of a
cell is its share of what the pixel takes over. Offset and share are linear, and therefore also the
means over heads. Entropy is not: heads that hear one cell each, and not the same, are broad
together. ``head_entropy`` is the mean of theirs, and never larger.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import entr

from gsto_viz.activity import FloatMap
from gsto_viz.errors import GstoVizError
from gsto_viz.regions.pooling import GridWeights, Part, PreparedRegions
from gsto_viz.stats.inference import EACH, Images, mean_by_group
from gsto_viz.types import FloatArray

SUM_TOLERANCE = 1e-3
"""Weights in half precision add up to 1 this well."""
HEARD_PARTS: tuple[Part, ...] = ("core", "band")
BESIDE = {"outside": "outside_uniform", "offset_px": "offset_uniform_px"}
"""Measures by what equal weights give in their place; the entropy of those is 1."""
EXCESS = {"outside": "outside_excess", "offset_px": "offset_excess_px"}
"""The same measures by their difference to that: negative where less than by chance."""
MEASURES = ("entropy", "head_entropy", *BESIDE, *BESIDE.values())


def window_cells(size: tuple[int, int], window: int) -> npt.NDArray[np.int64]:
    """Return which coarse cells each pixel of a fine map of ``size`` (H, W) chooses from.

    Args:
        size: Of the fine map; the coarse one has ceil(H/2) x ceil(W/2) cells.
        window: k.

    Returns:
        (k*k, H, W) flat index of each cell of the window, rows of the window from the upper left;
        -1 off the map.
    """
    rows, columns = (window_along(length, window) for length in size)
    cells = rows[:, None, :, None] * -(-size[1] // 2) + columns[None, :, None, :]
    inside = (rows >= 0)[:, None, :, None] & (columns >= 0)[None, :, None, :]
    return np.where(inside, cells, -1).reshape(window**2, *size)


def window_along(length: int, window: int) -> npt.NDArray[np.int64]:
    """Return the coarse rows (or columns) that each fine one chooses from; -1 off the map.

    Args:
        length: Rows of the fine map; the coarse one has ceil(length / 2).
        window: k.

    Returns:
        (k, length), around the coarse row that covers it.
    """
    cells = np.arange(length) // 2 + np.arange(window)[:, None] - window // 2
    return np.where((cells >= 0) & (cells < -(-length // 2)), cells, -1)


def window_distances(size: tuple[int, int], window: int, stride: int) -> FloatMap:
    """Return how far the centres of the cells are from the centre of each pixel.

    Cell k of a grid of s image pixels is centred at (k + 1/2) s, also where the image ends in it.

    Args:
        size: (H, W) of the fine map.
        window: k.
        stride: s, image pixels per pixel of the fine map.

    Returns:
        (k*k, H, W), image pixels.
    """
    place = np.arange(window)[:, None] - window // 2
    down, across = (
        ((np.arange(length) // 2 + place + 0.5) * 2 - (np.arange(length) + 0.5)) * stride
        for length in size
    )
    distance = np.hypot(down[:, None, :, None], across[None, :, None, :])
    return distance.reshape(window**2, *size)


@dataclass(frozen=True, eq=False)
class Heard:
    """What the pixels of one fine map listen to.

    Attributes:
        weights: (k*k, H, W) mean over heads, float64.
        head_entropy: (H, W) mean over heads of the entropy of each, 0 to 1; NaN for k = 1.
        stride: s, image pixels per pixel of the fine map; coarse cells have 2 s.
    """

    weights: FloatMap
    head_entropy: FloatMap
    stride: int

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the fine map."""
        return self.weights.shape[1], self.weights.shape[2]

    @property
    def window(self) -> int:
        """Cells along one side of the window, k."""
        return round(len(self.weights) ** 0.5)

    @cached_property
    def cells(self) -> npt.NDArray[np.int64]:
        """See :func:`window_cells`."""
        return window_cells(self.size, self.window)

    @cached_property
    def uniform(self) -> FloatMap:
        """Equal weights for the cells of each window that lie on the map, (k*k, H, W)."""
        inside = self.cells >= 0
        return inside / inside.sum(axis=0)

    @cached_property
    def maps(self) -> dict[str, FloatMap]:
        """What needs no regions, (H, W) each: both entropies and both offsets."""
        distance = window_distances(self.size, self.window, self.stride)
        return {
            "entropy": entropy(self.weights),
            "head_entropy": self.head_entropy,
            "offset_px": (self.weights * distance).sum(axis=0),
            "offset_uniform_px": (self.uniform * distance).sum(axis=0),
        }


def entropy(weights: npt.NDArray[np.floating]) -> FloatMap:
    """Return how widely each pixel listens: entropy over its largest, that of equal weights.

    Args:
        weights: (..., k*k, H, W), over the cells of each window.

    Returns:
        (..., H, W): 0 for one cell alone, 1 for all that lie on the map alike; NaN for k = 1.
    """
    window = round(weights.shape[-3] ** 0.5)
    number = (window_cells(weights.shape[-2:], window) >= 0).sum(axis=0)
    most = np.log(np.where(number > 1, number, np.nan))
    return entr(np.asarray(weights, dtype=np.float64)).sum(axis=-3) / most


def listen(weights: npt.NDArray[np.floating], stride: int, name: str = "relation") -> Heard:
    """Take up the weights of a relation for one image.

    Args:
        weights: (m, k*k, H, W), the output of an attention tap.
        stride: Image pixels per pixel of the fine map.
        name: Of the tap, for messages.

    Raises:
        GstoVizError: Not such weights: the window is not square, or its weights are negative, do
            not add up to 1, or lie off the map.
    """
    shape = np.shape(weights)
    window = round(shape[1] ** 0.5) if len(shape) == 4 else 0
    if len(shape) != 4 or window**2 != shape[1] or window % 2 == 0:
        raise GstoVizError(
            f"the weights of '{name}' have shape {shape}; they are (heads, k*k, height, width) "
            "with an odd k"
        )
    each = np.asarray(weights, dtype=np.float64)
    inside = window_cells(shape[2:], window) >= 0
    off = np.abs(np.where(inside, each, 0.0).sum(axis=1) - 1)
    if not (each >= 0).all() or not (off <= SUM_TOLERANCE).all():
        raise GstoVizError(
            f"the weights of '{name}' are not shares of the cells of each window: they are 0 or "
            "more, and add up to 1 over those on the map; tap the output of the softmax"
        )
    return Heard(each.mean(axis=0), entropy(each).mean(axis=0), stride)


def leaving(heard: Heard, fine: GridWeights, coarse: GridWeights) -> tuple[FloatArray, FloatArray]:
    """Return how much of what a region's pixels listen to lies outside of it.

    A coarse cell that lies partly in the region counts with the share of its area that does not;
    ignored pixels are outside of every region.

    Args:
        heard: The weights.
        fine: The regions on the grid of the pixels.
        coarse: The same regions on the grid of the cells.

    Returns:
        For each of the E entries of ``fine`` (a region and a pixel in which it lies), the share of
        the pixel's weight, and that of equal weights, in [0, 1].

    Raises:
        GstoVizError: A grid is not that of the weights.
    """
    cells = heard.cells.reshape(len(heard.cells), -1)
    expected = heard.size, tuple(-(-length // 2) for length in heard.size)
    if (fine.shape, coarse.shape) != expected:
        raise GstoVizError(
            f"regions on grids of {fine.shape} and {coarse.shape} cells, and weights of pixels "
            f"and cells of {expected[0]} and {expected[1]}; take one image"
        )
    chosen = cells[:, fine.cell]
    out = np.where(chosen >= 0, 1 - _covered(coarse, fine.region, chosen), 0.0)
    weights, uniform = (
        one.reshape(len(cells), -1)[:, fine.cell] for one in (heard.weights, heard.uniform)
    )
    return (weights * out).sum(axis=0), (uniform * out).sum(axis=0)


def _covered(
    grid: GridWeights, region: npt.NDArray[np.int64], cells: npt.NDArray[np.int64]
) -> FloatArray:
    """Return the share of cells (k*k, E) that the regions (E,) cover; 0 off the map."""
    number = grid.cell_area.size
    # Sorted, since entries come region by region and cell by cell.
    known = grid.region * number + grid.cell
    asked = region * number + np.maximum(cells, 0)
    place = np.minimum(np.searchsorted(known, asked), known.size - 1)
    found = (known[place] == asked) & (cells >= 0)
    return np.where(found, grid.counts["whole"][place] / grid.cell_area[grid.cell[place]], 0.0)


def listening_columns(
    heard: Mapping[str, Heard], prepared: PreparedRegions
) -> dict[str, npt.NDArray]:
    """Describe what the regions of one image listen to, in each relation, in core and in band.

    An image pixel listens as the pixel of the fine map does that it lies in; cells that are mostly
    ignored weigh nothing.

    Args:
        heard: By tap.
        prepared: The regions.

    Returns:
        One row for each region, tap and part with an image pixel in a valid cell: ``region``,
        ``tap``, ``stride`` (of the fine map), ``part``, ``pixels`` (image pixels behind the row)
        and the means of ``MEASURES`` over them.

    Raises:
        GstoVizError: Weights do not lie on the grid of their stride, or the regions were not
            prepared on both grids.
    """
    rows: list[dict[str, npt.NDArray]] = []
    for tap, one in heard.items():
        ends = one.stride, 2 * one.stride
        if not set(ends) <= set(prepared.strides):
            raise GstoVizError(
                f"'{tap}' leads from stride {ends[1]} to {ends[0]}, and regions were prepared at "
                f"{prepared.strides}; name both in prepare_regions"
            )
        at, to = map(prepared.strides.index, ends)
        fine = prepared.grids[at]
        own, uniform = leaving(one, fine, prepared.grids[to])
        values = {name: values.ravel()[fine.cell] for name, values in one.maps.items()}
        values |= {"outside": own, "outside_uniform": uniform}
        valid = prepared.valid[at].ravel()[fine.cell]
        for part in HEARD_PARTS:
            count = np.where(valid, fine.counts[part], 0)
            pixels = np.bincount(fine.region, count, minlength=fine.regions)
            there = pixels > 0
            number = int(there.sum())
            rows.append(
                {
                    "region": np.flatnonzero(there) + 1,
                    "tap": np.full(number, tap),
                    "stride": np.full(number, one.stride),
                    "part": np.full(number, part),
                    "pixels": pixels[there].astype(np.int64),
                }
                | {
                    name: np.bincount(fine.region, count * values[name], fine.regions)[there]
                    / pixels[there]
                    for name in MEASURES
                }
            )
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]} if rows else {}


def listening_means(
    rows: pd.DataFrame,
    by: Sequence[str] = (),
    *,
    measures: Sequence[str] = (*MEASURES, *EXCESS.values()),
    images: Images = EACH,
) -> pd.DataFrame:
    """Average what regions listen to: over regions, then over images.

    Args:
        rows: ``null``, ``image``, and the columns of :func:`listening_columns`, of regions that
            qualify.
        by: Further columns that make groups.
        measures: Out of ``MEASURES`` and their differences to equal weights, ``EXCESS``.
        images: Which images are independent, and the seed.

    Returns:
        As ``mean_by_group``: ``null``, ``tap``, ``stride``, ``part``, those of ``by``, ``measure``,
        ``mean``, ``low``, ``high``, ``n_regions``, ``n_images``, ``reason``. Measures that are not
        defined (entropies in a window of one cell) are left out.
    """
    differences = {name: rows[key] - rows[BESIDE[key]] for key, name in EXCESS.items()}
    rows = rows.assign(**differences)
    known = [name for name in measures if rows[name].notna().any()]
    return mean_by_group(rows, ["null", "tap", "stride", "part", *by], known, images=images)
