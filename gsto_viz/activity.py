"""Activity maps: matched pooling, valid cells, percentile maps.

A channel of a feature map may be multiplied by any positive number when the next layer divides by
it: the network stays the same, its channel average does not. Channels are therefore divided by
their standard deviation over a data set before they are averaged (the capture does that, with the
reduction ``gain_fixed``), and an activity map is read through its ranks within the image.
Everything here works on one image.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from gsto_viz.errors import GstoVizError
from gsto_viz.types import IGNORE

FloatMap = npt.NDArray[np.float64]
BoolMap = npt.NDArray[np.bool_]


def grid_shape(height: int, width: int, stride: int) -> tuple[int, int]:
    """Return (ceil(height / stride), ceil(width / stride)): the grid of a branch, in cells."""
    return -(-height // stride), -(-width // stride)


def cell_areas(height: int, width: int, stride: int) -> npt.NDArray[np.int64]:
    """Return the pixels of each cell that lie inside the image, (ceil(H/s), ceil(W/s)) int64."""
    rows = np.minimum(stride, height - np.arange(0, height, stride))
    columns = np.minimum(stride, width - np.arange(0, width, stride))
    return np.outer(rows, columns)


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


def valid_cells(
    labels: npt.NDArray[np.integer], stride: int, ignore: int | None = IGNORE
) -> BoolMap:
    """Tell which cells take part in the ranks: at least half of their pixels are not ignored.

    Args:
        labels: (H, W) integers.
        stride: Pixels per cell; cell k covers pixels [k stride, (k+1) stride) inside the image.
        ignore: The label of pixels that belong to no class; None when there is none.

    Returns:
        (ceil(H/stride), ceil(W/stride)) booleans.
    """
    return valid_grids(labels, (stride,), ignore)[0]


def valid_grids(
    labels: npt.NDArray[np.integer], strides: Sequence[int], ignore: int | None = IGNORE
) -> tuple[BoolMap, ...]:
    """Return :func:`valid_cells` for several grids of one image."""
    labels = np.asarray(labels)
    height, width = labels.shape
    known = np.ones(labels.shape, bool) if ignore is None else labels != ignore
    if known.all():
        return tuple(np.ones(grid_shape(height, width, stride), bool) for stride in strides)
    # Entry (y, x) counts the known pixels above and left of pixel (y, x).
    sums = cv2.integral(known.view(np.uint8))
    grids = []
    for stride in strides:
        rows, columns = (np.minimum(np.arange(0, n + stride, stride), n) for n in (height, width))
        inside = np.diff(np.diff(sums[np.ix_(rows, columns)], axis=0), axis=1)
        grids.append(2 * inside >= cell_areas(height, width, stride))
    return tuple(grids)


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
