"""Activity maps as percentiles on the grids where the region table reads them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

from gsto_viz.activity import FloatMap, grid_shape, matched_pool, percentile_map
from gsto_viz.errors import GstoVizError
from gsto_viz.regions.prepared import PreparedRegions

Maps = Sequence[npt.NDArray[np.floating]]


@dataclass(frozen=True, eq=False)
class RankedMaps:
    """The percentile maps of one network for one image."""

    percentiles: dict[tuple[int, int], FloatMap]
    """(branch, grid) -> (h, w) of that grid, in (0, 1), NaN where not valid: each branch on its own
    grid, on the next coarser one and on the coarsest."""

    @property
    def branches(self) -> int:
        """R, the number of branches."""
        return 1 + max(branch for branch, _ in self.percentiles)

    @property
    def native(self) -> tuple[FloatMap, ...]:
        """U_r of every branch on its own grid, finest first."""
        return tuple(self.percentiles[r, r] for r in range(self.branches))


def rank_maps(prepared: PreparedRegions, maps: Maps) -> RankedMaps:
    """Pool each branch to the grids where it is compared, and rank it there over the valid cells.

    Args:
        prepared: The regions of the image; only its valid cells matter here.
        maps: One activity map per branch, finest first, (ceil(H/s), ceil(W/s)) float32 or
            float64 each; taken as already gain-fixed.

    Raises:
        GstoVizError: The number of maps is not that of the strides, or a map has the wrong shape
            or type or holds NaN or infinity.
    """
    check_count(len(maps), len(prepared.strides))
    ranked = {}
    last = len(maps) - 1
    for r, activity in enumerate(maps):
        pooled = _checked_map(activity, r, prepared.shape, prepared.strides[r])
        for g in range(r, last + 1):
            if g > r:
                pooled = _pooled(pooled, prepared.strides[g] // prepared.strides[g - 1])
            if g in (r, r + 1, last):
                ranked[r, g] = percentile_map(pooled, prepared.valid[g])
    return RankedMaps(ranked)


def check_count(maps: int, strides: int) -> None:
    """Refuse another number of maps than of strides."""
    if maps == 0 or maps != strides:
        raise GstoVizError(f"{maps} maps and {strides} strides; give one stride per map")


def _pooled(activity: FloatMap, factor: int) -> FloatMap:
    """Bring a map to a grid that is ``factor`` times coarser, by cascaded 2x2 averages."""
    return reduce(lambda x, _: matched_pool(x), range(factor.bit_length() - 1), activity)


def _checked_map(
    activity: npt.NDArray[np.floating], branch: int, shape: tuple[int, int], stride: int
) -> FloatMap:
    """Return an activity map as float64, or say what is wrong with it."""
    activity = np.asarray(activity)
    expected = grid_shape(*shape, stride)
    if activity.dtype not in (np.float32, np.float64):
        raise GstoVizError(
            f"the map of branch {branch} has dtype {activity.dtype}; give float32 or float64"
        )
    if activity.shape != expected:
        raise GstoVizError(
            f"the map of branch {branch} has shape {activity.shape}; "
            f"labels {shape} at stride {stride} need {expected}"
        )
    if not np.isfinite(activity).all():
        raise GstoVizError(f"the map of branch {branch} holds NaN or infinity; check the network")
    return activity.astype(np.float64)
