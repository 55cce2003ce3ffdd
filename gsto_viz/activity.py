"""Activity maps: pooling, valid cells, percentiles, and the same maps made ready for display.

A channel of a feature map may be multiplied by any positive number when the next layer divides by
it: the network stays the same, its channel average does not. Channels are therefore divided by
their standard deviation over a data set before they are averaged (the capture does that, with the
reduction ``gain_fixed``), and an activity map is read through its ranks within the image.
Everything here works on one image.

Most cells lie within one category and are counted whole; only the pixels of the others are looked
at. Coarser grids are counted from finer ones. NumPy and SciPy on one image.

A raw channel mean can take any size without the network changing, so raw maps of two networks or
two branches must not be compared by eye. The percentile map is the comparable form and the default;
the raw modes exist to reproduce the paper's pictures and are marked as raw. NumPy only.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from gsto_viz.errors import GstoVizError, did_you_mean
from gsto_viz.look import Look
from gsto_viz.types import IGNORE, Stride, cells_of, pixels_per_cell
from gsto_viz.words import GATE, MODES

FloatMap = npt.NDArray[np.float64]
BoolMap = npt.NDArray[np.bool_]


def grid_shape(height: int, width: int, stride: Stride) -> tuple[int, int]:
    """Return (ceil(height / stride), ceil(width / stride)), or the cells of a pooled grid."""
    pixels = pixels_per_cell(stride)
    if pixels is None:
        cells = cells_of(stride)
        assert cells is not None
        return cells
    return -(-height // pixels), -(-width // pixels)


def cell_edges(
    height: int, width: int, stride: Stride
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return where the cells of a grid begin and end: (h + 1,) rows and (w + 1,) columns, pixels.

    Cell k of stride s covers the pixels [k s, (k + 1) s) inside the image. Cell k of b pooled cells
    covers [k n / b, (k + 1) n / b) of n pixels, rounded down. (Cells of adaptive pooling overlap by
    up to one cell of the map that is pooled, where b does not divide its cells; this is not
    corrected.)
    """
    edges = []
    for size, cells in zip((height, width), grid_shape(height, width, stride), strict=True):
        pixels = pixels_per_cell(stride)
        numbers = np.arange(cells + 1, dtype=np.int64)
        edges.append(
            numbers * size // cells if pixels is None else np.minimum(numbers * pixels, size)
        )
    return edges[0], edges[1]


def grid_stride(size: tuple[int, int], grid: tuple[int, int]) -> int | None:
    """Return the stride of a grid of (h, w) cells over an image of (H, W) pixels.

    Returns:
        The least power of two s with ``grid_shape(H, W, s)`` = (h, w), else the least s; None where
        none fits.
    """
    # ceil(full / s) = cells: s from full / cells up to, but not at, full / (cells - 1).
    least = max(-(-full // cells) for full, cells in zip(size, grid, strict=True))
    fitting = (s for s in (1 << (least - 1).bit_length(), least) if grid_shape(*size, s) == grid)
    return next(fitting, None)


def cell_at(
    row: npt.NDArray[np.integer] | int,
    column: npt.NDArray[np.integer] | int,
    size: tuple[int, int],
    stride: Stride,
) -> tuple[Any, Any]:
    """Return the row and column of the cells that hold pixels of an image of (H, W) pixels."""
    pixels = pixels_per_cell(stride)
    if pixels is not None:
        return row // pixels, column // pixels
    rows, columns = cell_edges(*size, stride)
    return (
        np.searchsorted(rows, row, side="right") - 1,
        np.searchsorted(columns, column, side="right") - 1,
    )


def cell_areas(height: int, width: int, stride: Stride) -> npt.NDArray[np.int64]:
    """Return the pixels of each cell that lie inside the image, (h, w) int64."""
    rows, columns = cell_edges(height, width, stride)
    return np.outer(np.diff(rows), np.diff(columns))


def cell_area(size: Sequence[int], stride: Stride) -> float:
    """Return the pixels of a whole cell, of pooled ones the mean, over an image (H, W)."""
    cells = cells_of(stride)
    if cells is not None:
        return float(size[0] * size[1]) / (cells[0] * cells[1])
    pixels = pixels_per_cell(stride) or 1
    return float(pixels * pixels)


def matched_pool(activity: npt.NDArray[np.floating]) -> FloatMap:
    """Bring a map to the next coarser grid: 2x2 average, ceil mode, padding not counted.

    Repeated calls cascade (45x60 -> 23x30 -> 12x15). The same call makes the common map of the
    null model, so that branches which differ only by pooling agree bit for bit.

    Args:
        activity: (h, w).

    Returns:
        (ceil(h/2), ceil(w/2)) float64.
    """
    activity = np.asarray(activity, dtype=np.float64)
    if activity.ndim != 2:
        raise GstoVizError(f"matched pooling needs an (h, w) map, got shape {activity.shape}")
    height, width = activity.shape
    rows = activity[::2].copy()
    rows[: height // 2] += activity[1::2]
    sums = rows[:, ::2].copy()
    sums[:, : width // 2] += rows[:, 1::2]
    return sums / cell_areas(height, width, 2)


def pool_to(
    activity: npt.NDArray[np.floating], size: tuple[int, int], fine: Stride, coarse: Stride
) -> FloatMap:
    """Bring a map of one grid to a coarser one, as each branch is seen on the next one's.

    From stride to stride by cascaded 2x2 averages; to and between pooled grids by averages over the
    shared pixels.

    Args:
        activity: (h, w) on the grid ``fine``.
        size: (H, W) of the image.
        fine: Its grid.
        coarse: The other one; a stride is a power of two times that of ``fine``.
    """
    pooled = np.asarray(activity, dtype=np.float64)
    a, b = pixels_per_cell(fine), pixels_per_cell(coarse)
    if a is not None and b is not None:
        for _ in range((b // a).bit_length() - 1):
            pooled = matched_pool(pooled)
        return pooled
    (rows, columns), (to_rows, to_columns) = (cell_edges(*size, one) for one in (fine, coarse))
    down, across = _shared(rows, to_rows), _shared(columns, to_columns)
    summed: FloatMap = down @ pooled @ across.T
    return summed / np.outer(down.sum(axis=1), across.sum(axis=1))


def _shared(fine: npt.NDArray[np.int64], coarse: npt.NDArray[np.int64]) -> FloatMap:
    """Return how many pixels each coarse cell shares with each fine one, along one axis."""
    ends = np.minimum(coarse[1:, None], fine[None, 1:])
    starts = np.maximum(coarse[:-1, None], fine[None, :-1])
    return np.maximum(ends - starts, 0).astype(np.float64)


def valid_cells(
    labels: npt.NDArray[np.integer], stride: Stride, ignore: int | None = IGNORE
) -> BoolMap:
    """Return which cells take part in the ranks: at least half of their pixels are not ignored.

    Args:
        labels: (H, W) integers.
        stride: Pixels per cell; cell k covers pixels [k stride, (k+1) stride) inside the image.
        ignore: The label of pixels that belong to no class; None when there is none.

    Returns:
        (ceil(H/stride), ceil(W/stride)) booleans.
    """
    return valid_by_stride(labels, (stride,), ignore)[stride]


def valid_by_stride(
    labels: npt.NDArray[np.integer], strides: Sequence[Stride], ignore: int | None = IGNORE
) -> dict[Stride, BoolMap]:
    """Return :func:`valid_cells` for several grids of one image, by their strides."""
    labels = np.asarray(labels)
    height, width = labels.shape
    known = np.ones(labels.shape, bool) if ignore is None else labels != ignore
    if known.all():
        return {stride: np.ones(grid_shape(height, width, stride), bool) for stride in strides}
    # Entry (y, x) counts the known pixels above and left of pixel (y, x).
    sums = cv2.integral(known.view(np.uint8))
    grids = {}
    for stride in strides:
        rows, columns = cell_edges(height, width, stride)
        inside = np.diff(np.diff(sums[np.ix_(rows, columns)], axis=0), axis=1)
        grids[stride] = 2 * inside >= cell_areas(height, width, stride)
    return grids


def percentile_map(activity: npt.NDArray[np.floating], valid: BoolMap) -> FloatMap:
    """Replace each value by its percentile among the valid cells of the image.

    U = (mid-rank - 1/2) / N with mid-ranks from 1 to N over the N valid cells; equal values get
    equal percentiles, and the mean of U over the valid cells is 1/2.

    Args:
        activity: (h, w), finite where ``valid``.
        valid: (h, w) booleans.

    Returns:
        (h, w) float64 in (0, 1); NaN where not valid.

    Raises:
        GstoVizError: The shapes differ or a valid cell is NaN or infinite.
    """
    activity, valid = np.asarray(activity), np.asarray(valid)
    if activity.shape != valid.shape or activity.ndim != 2:
        raise GstoVizError(
            f"map {activity.shape} and valid cells {valid.shape} differ; give two (h, w) arrays"
        )
    values = activity[valid].astype(np.float64)
    if not np.isfinite(values).all():
        raise GstoVizError("the activity map holds NaN or infinity; ranks are not defined there")
    percentiles = np.full(activity.shape, np.nan)
    if values.size:
        percentiles[valid] = _percentiles(values)
    return percentiles


def _percentiles(values: FloatMap) -> FloatMap:
    """Return (mid-rank - 1/2) / N of N >= 1 finite values, (N,)."""
    order = np.argsort(values)
    ordered = values[order]
    starts = np.concatenate([[0], 1 + np.flatnonzero(ordered[1:] != ordered[:-1])])
    ends = np.append(starts[1:], values.size)
    # Equal values have the ranks start + 1 .. end.
    percentiles = np.empty(values.size)
    percentiles[order] = np.repeat(0.5 * (starts + ends) / values.size, ends - starts)
    return percentiles


def cell_counts(
    categories: npt.NDArray[np.integer], number: int, strides: Sequence[Stride]
) -> tuple[csr_array, ...]:
    """Count the pixels of every category in every cell, on one grid per stride.

    Args:
        categories: (H, W) integers; 0..number-1, anything below 0 is counted nowhere.
        number: C, how many categories there are.
        strides: The grids, finest first; pixels per cell are multiples of those before.

    Returns:
        (C, h * w) whole numbers as float64 for each grid, cells row by row; no explicit zeros,
        cells of a row in order.
    """
    height, width = categories.shape
    first = pixels_per_cell(strides[0])
    counts = [
        _pooled_counts(categories, number, strides[0])
        if first is None
        else _finest_counts(categories, number, first)
    ]
    for fine, coarse in pairwise(strides):
        steps = pixels_per_cell(fine), pixels_per_cell(coarse)
        if steps[0] is None or steps[1] is None:
            counts.append(_pooled_counts(categories, number, coarse))
        elif steps[0] == steps[1]:
            counts.append(counts[-1])
        else:
            counts.append(_merged_counts(counts[-1], height, width, (steps[0], steps[1])))
    return tuple(counts)


def _merged_counts(
    counts: csr_array, height: int, width: int, strides: tuple[int, int]
) -> csr_array:
    """Add up the cells of one stride within those of a multiple of it."""
    fine, coarse = strides
    rows, columns = (np.arange(n) // (coarse // fine) for n in grid_shape(height, width, fine))
    shape = grid_shape(height, width, coarse)
    cells = (rows[:, None] * shape[1] + columns).ravel()
    within = csr_array(
        (np.ones(cells.size), cells, np.arange(cells.size + 1)),
        shape=(cells.size, shape[0] * shape[1]),
    )
    added = counts @ within
    added.sort_indices()
    return added


def _pooled_counts(categories: npt.NDArray[np.integer], number: int, stride: Stride) -> csr_array:
    """Count on a grid of few cells, pixel by pixel."""
    height, width = categories.shape
    rows, columns = (
        np.repeat(np.arange(edges.size - 1), np.diff(edges))
        for edges in cell_edges(height, width, stride)
    )
    h, w = grid_shape(height, width, stride)
    there = categories >= 0
    place = categories.astype(np.int64) * (h * w) + rows[:, None] * w + columns
    found, count = np.unique(place[there], return_counts=True)
    entries = (count.astype(np.float64), np.divmod(found, h * w))
    counts = csr_array(entries, shape=(number, h * w))
    counts.sort_indices()
    return counts


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


ZSCORE_LIMIT = 3.0
"""The z-score bar runs from -3 to 3 for every map; values beyond take the end colours."""


@dataclass(frozen=True, eq=False)
class HeatMap:
    """One map as it will be drawn.

    Attributes:
        values: (h, w) float64, read-only; NaN in cells that do not count.
        low: Lower end of the colour bar, in the units of ``values``.
        high: Upper end, above ``low``.
        mode: Key of ``gsto_viz.words.MODES``, or ``gate``.
        label: What the numbers are, for the colour bar.
        raw: True when the size of the numbers is arbitrary; drawings then carry a badge.
        stride: Its grid: cell k of stride s covers pixels [k s, (k+1) s) of the image.
        colors: Name of a Matplotlib colour map; None: the fixed one of the mode.

    Raises:
        GstoVizError: The map is not (h, w) with h, w > 0, the limits are not finite and in order,
            or the stride is below 1.
    """

    values: FloatMap
    low: float
    high: float
    mode: str
    label: str
    raw: bool
    stride: Stride
    colors: str | None = None

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float64)
        if values.ndim != 2 or values.size == 0:
            raise GstoVizError(f"a heat map is (h, w) and not empty, got {values.shape}; give that")
        if not (np.isfinite([self.low, self.high]).all() and self.low < self.high):
            raise GstoVizError(
                f"a colour bar cannot run from {self.low:g} to {self.high:g}; give low < high"
            )
        if isinstance(self.stride, int) and self.stride < 1:
            raise GstoVizError(f"stride {self.stride} is not possible; give pixels per cell, >= 1")
        values.setflags(write=False)
        object.__setattr__(self, "values", values)

    @property
    def clipped(self) -> tuple[bool, bool]:
        """Whether values lie below ``low`` and above ``high``."""
        known = self.values[np.isfinite(self.values)]
        return bool((known < self.low).any()), bool((known > self.high).any())


def check_mode(mode: str, modes: Collection[str] = MODES) -> None:
    """Refuse a normalisation that does not exist, naming the closest one."""
    if mode not in modes:
        choose = f"choose {', '.join(modes)}"
        hint = did_you_mean(mode, modes, count=1, cutoff=0.6, quoted=True, then=choose)
        raise GstoVizError(f"unknown normalisation '{mode}'; {hint}")


def normalise(
    inspections: Sequence[Look],
    mode: str = "percentile",
    valid: Mapping[Stride, BoolMap] | None = None,
) -> tuple[tuple[HeatMap, ...], ...]:
    """Make the branch maps of networks that saw one image ready for display.

    ``percentile``
        U in (0, 1) of the gain-fixed activity within its image; the bar always runs from 0 to 1.
    ``zscore``
        Gain-fixed activity minus its mean, divided by its population standard deviation over the
        image's cells; the bar always runs from -3 to 3.
    ``shared``
        Raw channel means; for each branch, one pair of limits for all networks.
    ``per_map``
        Raw channel means; each map has its own limits, as in GSTO's figures.

    Args:
        inspections: What each network shows for the image, A first.
        mode: Key of ``gsto_viz.words.MODES``.
        valid: By stride, (h, w) True for the cells that count (``valid_by_stride``); the others
            become NaN and take no part in ranks and limits. None: all cells count.

    Returns:
        For each inspection, one map per branch.

    Raises:
        GstoVizError: Unknown mode; a stride without valid cells; shapes that differ; a value that
            is not finite; ``shared`` with networks of different strides.
    """
    check_mode(mode)
    if mode == "shared" and len({inspection.strides for inspection in inspections}) > 1:
        raise GstoVizError(
            "networks with different branch strides have no shared scale; use percentile"
        )
    rows = [_masked_maps(inspection, MODES[mode].raw, valid) for inspection in inspections]
    branches = list(zip(*rows, strict=True)) if mode == "shared" else None
    return tuple(
        tuple(
            _finish(values, mode, stride, branches[r] if branches else (values,))
            for r, (values, stride) in enumerate(zip(row, inspection.strides, strict=True))
        )
        for row, inspection in zip(rows, inspections, strict=True)
    )


def normalise_map(
    values: npt.NDArray[np.floating],
    *,
    stride: Stride,
    mode: str = "percentile",
    valid: BoolMap | None = None,
) -> HeatMap:
    """Make one map of any tap ready for display; for single maps ``shared`` does not exist.

    Args:
        values: (h, w), finite.
        stride: Pixels per cell.
        mode: ``percentile``, ``zscore`` or ``per_map``.
        valid: (h, w) True for the cells that count; None: all.
    """
    check_mode(mode, ("percentile", "per_map", "zscore"))
    masked = _mask(values, valid, f"map of stride {stride}")
    return _finish(masked, mode, stride, (masked,))


def gate_map(
    values: npt.NDArray[np.floating], *, stride: Stride, limits: tuple[float, float]
) -> HeatMap:
    """Make a gate map ready for display; the bar runs over what the gate's form allows.

    Args:
        values: (h, w) gate values, finite.
        stride: Pixels per cell.
        limits: Infimum and supremum of the form: (0, 1) paper, (0.5, 1) released.
    """
    masked = _mask(values, None, "gate map")
    return HeatMap(masked, *limits, mode="gate", label=GATE.axis, raw=False, stride=stride)


def saturated_share(
    values: npt.NDArray[np.floating], limits: tuple[float, float], tolerance: float = 1e-6
) -> float:
    """Return the share of cells, 0..1, whose gate is as closed as its form allows.

    Args:
        values: (h, w) gate values.
        limits: Infimum and supremum of the form.
        tolerance: A gate within this distance of the infimum counts as closed.
    """
    return float(np.mean(np.asarray(values, dtype=np.float64) <= limits[0] + tolerance))


def check_grid(values: npt.NDArray, stride: Stride, size: tuple[int, int], what: str) -> None:
    """Refuse a map that does not lie on the grid of ``stride`` for an image of (H, W) pixels."""
    expected = grid_shape(*size, stride)
    if values.shape != expected:
        raise GstoVizError(
            f"{what} is {values.shape}, but stride {stride} on a {size[0]}x{size[1]} image makes "
            f"{expected}; give maps and image of one forward pass"
        )


def _finish(values: FloatMap, mode: str, stride: Stride, together: Sequence[FloatMap]) -> HeatMap:
    """Turn a masked map into what is drawn; raw maps share the limits of those ``together``."""
    if mode == "percentile":
        values, (low, high) = percentile_map(values, ~np.isnan(values)), (0.0, 1.0)
    elif mode == "zscore":
        values, (low, high) = _standardised(values), (-ZSCORE_LIMIT, ZSCORE_LIMIT)
    else:
        low, high = _limits(np.concatenate([one[np.isfinite(one)] for one in together]))
    row = MODES[mode]
    return HeatMap(values, low, high, mode=mode, label=row.axis, raw=row.raw, stride=stride)


def _masked_maps(
    inspection: Look, raw: bool, valid: Mapping[Stride, BoolMap] | None
) -> list[FloatMap]:
    """Return the network's maps in float64 with NaN where a cell does not count."""
    maps = inspection.raw if raw else inspection.activity
    if len(maps) != len(inspection.strides):
        raise GstoVizError(
            f"'{inspection.name}' has {len(maps)} maps for {len(inspection.strides)} strides; "
            "give one map per branch"
        )
    masked = []
    for r, (values, stride) in enumerate(zip(maps, inspection.strides, strict=True)):
        if valid is not None and stride not in valid:
            raise GstoVizError(f"no valid cells for stride {stride}; make them with its stride")
        mask = None if valid is None else valid[stride]
        masked.append(_mask(values, mask, f"branch {r} of '{inspection.name}'"))
    return masked


def _mask(values: npt.NDArray[np.floating], valid: BoolMap | None, what: str) -> FloatMap:
    """Copy ``values`` to float64 and put NaN where not ``valid``."""
    copy = np.array(values, dtype=np.float64)
    if copy.ndim != 2 or (valid is not None and valid.shape != copy.shape):
        cells = "" if valid is None else f" and its valid cells are {valid.shape}"
        raise GstoVizError(f"{what} is {copy.shape}{cells}; give (h, w) arrays of one shape")
    mask = np.ones(copy.shape, bool) if valid is None else valid
    if not np.isfinite(copy[mask]).all():
        raise GstoVizError(f"{what} holds NaN or infinity; look at the image and the weights")
    copy[~mask] = np.nan
    return copy


def _limits(values: FloatMap) -> tuple[float, float]:
    """Return minimum and maximum; a constant map gets limits around it and is drawn mid-scale."""
    if values.size == 0:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if low < high:
        return low, high
    margin = 0.5 * abs(low) if low else 0.5
    return low - margin, low + margin


def _standardised(values: FloatMap) -> FloatMap:
    """Return z-scores over the cells that count; 0 for a constant map."""
    known = values[np.isfinite(values)]
    # The spread of equal numbers can come out as 1e-17; ask for equality, not for a small spread.
    if known.size == 0 or known.min() == known.max():
        return np.where(np.isnan(values), np.nan, 0.0)
    standardised: FloatMap = (values - known.mean()) / known.std()
    return standardised
