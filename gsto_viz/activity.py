"""Activity maps: matched pooling, valid cells, percentile maps.

A channel of a feature map may be multiplied by any positive number when the next layer divides by
it: the network stays the same, its channel average does not. Channels are therefore divided by
their standard deviation over a data set before they are averaged (the capture does that, with the
reduction ``gain_fixed``), and an activity map is read through its ranks within the image.
Everything here is NumPy on one image.
"""

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from gsto_viz.errors import GstoVizError
from gsto_viz.types import IGNORE

FloatMap = npt.NDArray[np.float64]
BoolMap = npt.NDArray[np.bool_]


def grid_shape(height: int, width: int, stride: int) -> tuple[int, int]:
    """Return (ceil(height / stride), ceil(width / stride)): the grid of a branch, in cells."""
    return -(-height // stride), -(-width // stride)


def _block_sums(values: npt.NDArray, size: int) -> npt.NDArray:
    """Sum ``values`` (H, W) over size x size blocks; the last ones are clipped to the array."""
    height, width = values.shape
    if values.size == 0:
        return np.zeros(grid_shape(height, width, size), dtype=values.dtype)
    rows = np.add.reduceat(values, np.arange(0, height, size), axis=0)
    return np.add.reduceat(rows, np.arange(0, width, size), axis=1)


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
    return _block_sums(activity, 2) / cell_areas(height, width, 2)


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
    labels = np.asarray(labels)
    height, width = labels.shape
    known = np.ones(labels.shape, bool) if ignore is None else labels != ignore
    return 2 * _block_sums(known.astype(np.int64), stride) >= cell_areas(height, width, stride)


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
    values = activity[valid]
    if not np.isfinite(values).all():
        raise GstoVizError("the activity map holds NaN or infinity; ranks are not defined there")
    percentiles = np.full(activity.shape, np.nan)
    if values.size:
        percentiles[valid] = (rankdata(values, method="average") - 0.5) / values.size
    return percentiles
