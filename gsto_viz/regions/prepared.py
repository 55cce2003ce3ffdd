"""What the region table needs of labels alone, made once per image.

Cutting regions, measuring distances and counting pixels in cells costs far more than reading maps
through them, and does not depend on any network. All networks and all null models that see one
annotation share it.
"""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from gsto_viz.activity import BoolMap, FloatMap, valid_grids
from gsto_viz.errors import GstoVizError
from gsto_viz.regions.find import RegionMap, find_regions
from gsto_viz.regions.pooling import GridWeights, Part, nested_grid_weights
from gsto_viz.types import IGNORE


@dataclass(frozen=True, eq=False)
class PreparedRegions:
    """The regions of one image, weighed on the grid of every branch."""

    regions: RegionMap
    shape: tuple[int, int]
    """(H, W) of the labels."""
    strides: tuple[int, ...]
    """Pixels per cell of each branch, finest first."""
    grids: tuple[GridWeights, ...]
    """Per stride, the pixels of every region in every cell."""
    valid: tuple[BoolMap, ...]
    """Per stride, (h, w): the cells that take part in ranks and weigh anything."""

    def __len__(self) -> int:
        return len(self.regions)


def prepare_regions(
    labels: npt.NDArray[np.integer],
    strides: Sequence[int] = (4, 8, 16, 32),
    instances: npt.NDArray[np.integer] | None = None,
    ignore: int | None = IGNORE,
    *,
    regions: RegionMap | None = None,
) -> PreparedRegions:
    """Cut one image's annotation into regions and weigh them on every grid.

    Args:
        labels: (H, W) class indices at network-input size.
        strides: Pixels per cell of each branch; each a power of two times the one before.
        instances: (H, W) instance numbers, 0 = none; None when nothing is annotated by instance.
        ignore: The label of pixels that belong to no class; None when there is none.
        regions: Regions that are already cut, perhaps moved since (null models) or cut from
            elsewhere; ``instances`` is then not read, and of ``labels`` only what is ignored.

    Raises:
        GstoVizError: The label or instance map is wrong, regions and labels have different sizes,
            or the strides do not grow by powers of two.
    """
    strides = checked_strides(strides)
    labels = np.asarray(labels)
    if regions is None:
        regions = find_regions(labels, instances, ignore)
    if labels.shape != regions.ids.shape:
        raise GstoVizError(
            f"labels have shape {labels.shape} and the regions {regions.ids.shape}; "
            "give both of one image"
        )
    return PreparedRegions(
        regions=regions,
        shape=(labels.shape[0], labels.shape[1]),
        strides=strides,
        grids=nested_grid_weights(regions, strides),
        valid=valid_grids(labels, strides, ignore),
    )


def part_means(
    prepared: PreparedRegions, values: Mapping[str, npt.NDArray[np.floating]], stride: int
) -> dict[str, dict[Part, FloatMap]]:
    """Average any number of maps of one grid over the parts of every region, in one product.

    Args:
        prepared: The regions.
        values: Maps by name, (h, w) each, on the grid of ``stride``; finite in valid cells, the
            others weigh nothing.
        stride: One of ``prepared.strides``.

    Returns:
        For each name, the means over ``whole``, ``core`` and ``band``, (K,) float64 each; NaN for
        a part without a pixel in a valid cell.

    Raises:
        GstoVizError: No grid has this stride, or a map is not on it or not finite.
    """
    if stride not in prepared.strides:
        raise GstoVizError(
            f"no grid of stride {stride} was prepared, only of {prepared.strides}; "
            "name it in prepare_regions"
        )
    if not values:
        return {}
    at = prepared.strides.index(stride)
    grid, valid = prepared.grids[at], prepared.valid[at]
    for name, one in values.items():
        if np.shape(one) != grid.shape:
            raise GstoVizError(
                f"the map '{name}' has shape {np.shape(one)}; stride {stride} needs {grid.shape}"
            )
    means = grid.means(np.stack(list(values.values())), valid)
    return {name: {part: means[part][k] for part in means} for k, name in enumerate(values)}


def checked_strides(strides: Sequence[int]) -> tuple[int, ...]:
    """Return strides as integers, or say what is wrong with them."""
    try:
        checked = tuple(operator.index(stride) for stride in strides)
    except TypeError as error:
        raise GstoVizError(
            f"strides {strides!r} are no whole numbers; give pixels per cell, such as (4, 8)"
        ) from error
    if not checked:
        raise GstoVizError("no stride was given; give pixels per cell, such as (4, 8)")
    steps = [coarse / fine for fine, coarse in pairwise(checked) if fine > 0]
    if min(checked) < 1 or any(step not in (2, 4, 8, 16, 32) for step in steps):
        raise GstoVizError(
            f"strides {checked} do not grow by powers of two; give the finest branch first"
        )
    return checked
