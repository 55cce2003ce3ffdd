"""The region table of one image: one row per region, the input of every statistic."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.activity import FloatMap
from gsto_viz.regions.columns import region_columns
from gsto_viz.regions.find import RegionMap
from gsto_viz.regions.pooling import (
    PARTS,
    Maps,
    Part,
    PreparedRegions,
    RankedMaps,
    check_count,
    prepare_regions,
    rank_maps,
)
from gsto_viz.types import IGNORE, Stride

TEXTS = ("image", "coco_bin", "part")
"""Columns of words; a table without rows keeps their type."""


def region_table(
    labels: npt.NDArray[np.integer],
    maps: Maps,
    strides: Sequence[Stride] = (4, 8, 16, 32),
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
        strides: Pixels per cell of each branch; each a power of two times the one before (see
            ``checked_strides`` for dilated and pooled branches).
        instances: (H, W) instance numbers, 0 = none, -1 = crowd; None when nothing is annotated by
            instance.
        ignore: The label of pixels that belong to no class; None when there is none.
        image: Name of the image; must differ between the tables of one data set.

    Returns:
        One row per region, in the order of :func:`find_regions`; the columns are described by
        ``region_columns(len(maps))``. No rows, but all columns, when there is no region.

    Raises:
        GstoVizError: The label or instance map is wrong, the number of maps and strides differ,
            or a map has the wrong shape or type or holds NaN or infinity.
    """
    _check_strides(maps, strides)
    return _frame(region_arrays(prepare_regions(labels, strides, instances, ignore), maps), image)


def table_of_prepared(
    prepared: PreparedRegions, maps: Maps | RankedMaps, image: str = "id"
) -> pd.DataFrame:
    """Measure how strongly each branch answers for prepared regions.

    Args:
        prepared: As for :func:`region_arrays`.
        maps: As for :func:`region_arrays`.
        image: As for :func:`region_table`.

    Returns:
        The table of :func:`region_table`, one row per region of ``prepared``.

    Raises:
        GstoVizError: As :func:`region_arrays`.
    """
    return _frame(region_arrays(prepared, maps), image)


def region_arrays(
    prepared: PreparedRegions, maps: Maps | RankedMaps
) -> dict[str, npt.NDArray[Any]]:
    """Measure one network on prepared regions: the table of :func:`region_table` as plain arrays.

    Args:
        prepared: The regions of the image, shared by all networks that see it.
        maps: As for :func:`region_table`, or the result of :func:`rank_maps` with these or with
            other regions of the same valid cells, so that nothing is ranked twice.

    Returns:
        Every column of ``region_columns(R)`` but ``image``, in that order, (K,) each.

    Raises:
        GstoVizError: The number of maps is not that of the strides, or a map has the wrong shape
            or type or holds NaN or infinity.
    """
    ranked = maps if isinstance(maps, RankedMaps) else rank_maps(prepared, maps)
    check_count(ranked.branches, len(prepared.strides))
    columns = _geometry(prepared.regions)
    columns |= {f"purity_{r}": grid.purity.copy() for r, grid in enumerate(prepared.grids)}
    columns |= _responses(prepared, ranked)
    # NaN in any of these marks a part without weight on some grid, which does not qualify.
    weighed = [~np.isnan(columns[f"z_{r}"]) for r in range(ranked.branches)]
    columns["qualifies"] = np.logical_and.reduce([prepared.regions.qualifies, *weighed])
    order = (column.name for column in region_columns(ranked.branches))
    return {name: columns[name] for name in order if name != "image"}


def _check_strides(maps: Maps, strides: Sequence[Stride]) -> None:
    """Refuse numbers of maps and strides that differ; what is not a sequence is refused later."""
    if isinstance(strides, Sequence):
        check_count(len(maps), len(strides))


def _frame(columns: dict[str, npt.NDArray[Any]], image: str) -> pd.DataFrame:
    """Make a table of arrays, with the name of the image in front."""
    count = columns["region"].size
    texts = {name: columns[name].tolist() for name in TEXTS if name in columns}
    series = {name: pd.Series(values, dtype=str) for name, values in texts.items()}
    return pd.DataFrame({"image": pd.Series([image] * count, dtype=str), **columns, **series})


def _geometry(regions: RegionMap) -> dict[str, npt.NDArray[Any]]:
    """Return the columns that do not depend on any map."""
    whole_image = np.isinf(regions.max_distance_px)
    return {
        "region": np.arange(1, len(regions) + 1),
        "class_id": regions.class_id,
        "instance_id": regions.instance_id,
        "area_px": regions.area_px,
        "size_octave": regions.size_octave,
        "inscribed_octave": np.where(whole_image, np.nan, regions.inscribed_octave),
        "equivalent_diameter_px": regions.equivalent_diameter_px,
        "coco_bin": regions.coco_bin,
        "border": regions.border,
        "part": regions.part,
        "core_area_px": regions.core_area_px,
        "max_distance_px": np.where(whole_image, np.nan, regions.max_distance_px),
    }


def _responses(prepared: PreparedRegions, ranked: RankedMaps) -> dict[str, FloatMap]:
    """Return Z and q of the whole region, the core, the band and the chosen part."""
    branches = ranked.branches
    last = branches - 1
    means: dict[Part, dict[tuple[int, int], FloatMap]] = {part: {} for part in PARTS}
    for g, (grid, valid) in enumerate(zip(prepared.grids, prepared.valid, strict=True)):
        keys = [key for key in ranked.percentiles if key[1] == g]
        of_grid = grid.means(np.stack([ranked.percentiles[key] for key in keys]), valid)
        for part in PARTS:
            means[part] |= dict(zip(keys, of_grid[part], strict=True))
    takes_core = prepared.regions.part == "core"
    chosen = {
        key: np.where(takes_core, means["core"][key], means["whole"][key])
        for key in ranked.percentiles
    }
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
