"""The region table of one image: one row per region, the input of every statistic."""

import operator
from collections.abc import Sequence
from functools import reduce
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.activity import FloatMap, grid_shape, matched_pool, percentile_map, valid_cells
from gsto_viz.errors import GstoVizError
from gsto_viz.regions.columns import region_columns
from gsto_viz.regions.find import RegionMap, find_regions
from gsto_viz.regions.pooling import PARTS, GridWeights, Part, grid_weights
from gsto_viz.types import IGNORE

Maps = Sequence[npt.NDArray[np.floating]]


def region_table(
    labels: npt.NDArray[np.integer],
    maps: Maps,
    strides: Sequence[int] = (4, 8, 16, 32),
    instances: npt.NDArray[np.integer] | None = None,
    ignore: int | None = IGNORE,
    image: str = "id",
) -> pd.DataFrame:
    r"""Measure how strongly each branch answers for each region of one image.

    The response of branch r to region x is the mean percentile of its activity over the region's
    part, Z_r(x) = sum m U_r / sum m, with m the region's pixels in each cell and U_r the ranks of
    the map over the valid cells of the image. Z_r^dn(x) is the response of branch r averaged onto
    the grid of branch r+1 and ranked there; coarseness at matched resolution is

    .. math:: q(x) = \sum_{r=1}^{R-1} [ Z_{r+1}(x) - Z_r^{dn}(x) ]

    which is 0 for every region when the branches differ by pooling only.

    Args:
        labels: (H, W) class indices at network-input size.
        maps: One activity map per branch, finest first, (ceil(H/s), ceil(W/s)) float32 or
            float64 each; taken as already gain-fixed.
        strides: Pixels per cell of each branch; each a power of two times the one before.
        instances: (H, W) instance numbers, 0 = none; None when nothing is annotated by instance.
        ignore: The label of pixels that belong to no class; None when there is none.
        image: Name of the image; must differ between the tables of one data set.

    Returns:
        One row per region, in the order of :func:`find_regions`; the columns are described by
        ``region_columns(len(maps))``. No rows, but all columns, when there is no region.

    Raises:
        GstoVizError: The label or instance map is wrong, the number of maps and strides differ,
            or a map has the wrong shape or type or holds NaN or infinity.
    """
    regions = find_regions(labels, instances, ignore)
    return table_of_regions(regions, labels, maps, strides, ignore, image)


def table_of_regions(
    regions: RegionMap,
    labels: npt.NDArray[np.integer],
    maps: Maps,
    strides: Sequence[int] = (4, 8, 16, 32),
    ignore: int | None = IGNORE,
    image: str = "id",
) -> pd.DataFrame:
    """Measure how strongly each branch answers for regions that are already cut.

    Args:
        regions: The regions of this image, from :func:`find_regions` or moved since.
        labels: (H, W) class indices at network-input size; only which pixels are ignored counts.
        maps: As for :func:`region_table`.
        strides: As for :func:`region_table`.
        ignore: As for :func:`region_table`.
        image: As for :func:`region_table`.

    Returns:
        The table of :func:`region_table`, one row per region of ``regions``.

    Raises:
        GstoVizError: Regions and labels have different sizes, the number of maps and strides
            differ, or a map has the wrong shape or type or holds NaN or infinity.
    """
    labels = np.asarray(labels)
    if labels.shape != regions.ids.shape:
        raise GstoVizError(
            f"labels have shape {labels.shape} and the regions {regions.ids.shape}; "
            "give both of one image"
        )
    strides = _checked_strides(strides, len(maps))
    native = [
        _checked_map(activity, r, labels.shape, stride)
        for r, (activity, stride) in enumerate(zip(maps, strides, strict=True))
    ]
    grids = [grid_weights(regions, stride) for stride in strides]
    valid = [valid_cells(labels, stride, ignore) for stride in strides]
    pooled = _cascades(native, strides)
    ranked = {
        (r, g): percentile_map(activity, valid[g])
        for r, steps in enumerate(pooled)
        for g, activity in steps.items()
    }
    columns = _geometry(regions, image)
    columns |= {f"purity_{r}": grid.purity() for r, grid in enumerate(grids)}
    columns |= _responses(ranked, grids, regions)
    # NaN in any of these marks a part without weight on some grid, which does not qualify.
    weighed = [~np.isnan(columns[f"z_{r}"]) for r in range(len(maps))]
    columns["qualifies"] = np.logical_and.reduce([regions.qualifies, *weighed])
    return pd.DataFrame({column.name: columns[column.name] for column in region_columns(len(maps))})


def _checked_strides(strides: Sequence[int], count: int) -> tuple[int, ...]:
    """Return the strides, or say why these and ``count`` maps do not go together."""
    try:
        checked = tuple(operator.index(stride) for stride in strides)
    except TypeError as error:
        raise GstoVizError(
            f"strides {strides!r} are no whole numbers; give pixels per cell, such as (4, 8)"
        ) from error
    if count == 0 or len(checked) != count:
        raise GstoVizError(f"{count} maps and {len(checked)} strides; give one stride per map")
    steps = [coarse / fine for fine, coarse in pairwise(checked) if fine > 0]
    if min(checked) < 1 or any(step not in (2, 4, 8, 16, 32) for step in steps):
        raise GstoVizError(
            f"strides {checked} do not grow by powers of two; give the finest branch first"
        )
    return checked


def _checked_map(
    activity: npt.NDArray[np.floating], branch: int, shape: tuple[int, ...], stride: int
) -> FloatMap:
    """Return an activity map as float64, or say what is wrong with it."""
    activity = np.asarray(activity)
    expected = grid_shape(shape[0], shape[1], stride)
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


def _cascades(native: list[FloatMap], strides: tuple[int, ...]) -> list[dict[int, FloatMap]]:
    """Pool each branch to every coarser grid, step by step; entry r maps grid -> branch r there."""
    cascades = []
    for r, activity in enumerate(native):
        steps = {r: activity}
        for g in range(r + 1, len(native)):
            halvings = (strides[g] // strides[g - 1]).bit_length() - 1
            steps[g] = reduce(lambda x, _: matched_pool(x), range(halvings), steps[g - 1])
        cascades.append(steps)
    return cascades


def _geometry(regions: RegionMap, image: str) -> dict[str, npt.NDArray | pd.Series]:
    """Return the columns that do not depend on any map."""
    whole_image = np.isinf(regions.max_distance_px)
    return {
        "image": pd.Series([image] * len(regions), dtype=str),
        "region": np.arange(1, len(regions) + 1),
        "class_id": regions.class_id,
        "instance_id": regions.instance_id,
        "area_px": regions.area_px,
        "size_octave": regions.size_octave,
        "inscribed_octave": np.where(whole_image, np.nan, regions.inscribed_octave),
        "equivalent_diameter_px": regions.equivalent_diameter_px,
        "coco_bin": pd.Series(regions.coco_bin.tolist(), dtype=str),
        "border": regions.border,
        "part": pd.Series(regions.part.tolist(), dtype=str),
        "core_area_px": regions.core_area_px,
        "max_distance_px": np.where(whole_image, np.nan, regions.max_distance_px),
    }


def _responses(
    ranked: dict[tuple[int, int], FloatMap], grids: list[GridWeights], regions: RegionMap
) -> dict[str, FloatMap]:
    """Return Z and q of the whole region, the core, the band and the chosen part."""
    branches = len(grids)
    last = branches - 1
    means: dict[Part, dict[tuple[int, int], FloatMap]] = {
        part: {key: grids[key[1]].mean(values, part) for key, values in ranked.items()}
        for part in PARTS
    }
    takes_core = regions.part == "core"
    chosen = {key: np.where(takes_core, means["core"][key], means["whole"][key]) for key in ranked}
    columns = {f"z_{r}": chosen[r, r] for r in range(branches)}
    columns |= {f"z_dn_{r}": chosen[r, r + 1] for r in range(last)}
    columns |= {f"z_matched_{r}": chosen[r, last] for r in range(branches)}
    for part in PARTS:
        columns |= {f"z_{part}_{r}": means[part][r, r] for r in range(branches)}
        columns[f"q_{part}"] = _coarseness(means[part], branches)
    columns["q"] = _coarseness(chosen, branches)
    return columns


def _coarseness(means: dict[tuple[int, int], FloatMap], branches: int) -> FloatMap:
    """Return q = sum over r of Z_{r+1} - Z_r^dn, (K,); NaN for a single branch."""
    terms = [means[r + 1, r + 1] - means[r, r + 1] for r in range(branches - 1)]
    return sum(terms, np.zeros_like(means[0, 0])) if terms else np.full_like(means[0, 0], np.nan)
