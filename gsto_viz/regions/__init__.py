"""Label and instance maps -> regions -> the region table, the one table all statistics read.

``find`` cuts regions and measures them, ``pooling`` weighs them on the grids of the branches, keeps
that for the networks that share an annotation, and ranks their maps; ``columns`` is the data
dictionary and ``table`` puts one image's rows together. NumPy, SciPy, OpenCV and pandas only.
"""

from gsto_viz.regions.columns import Column, region_columns
from gsto_viz.regions.find import (
    MIN_AREA_PX,
    RegionMap,
    coco_bins,
    find_regions,
    number_regions,
    region_distance,
    size_octaves,
)
from gsto_viz.regions.pooling import (
    GridWeights,
    PreparedRegions,
    RankedMaps,
    grid_weights,
    part_means,
    prepare_regions,
    rank_maps,
)
from gsto_viz.regions.table import region_arrays, region_table, table_of_prepared
from gsto_viz.types import BAND_PX

__all__ = [
    "BAND_PX",
    "MIN_AREA_PX",
    "Column",
    "GridWeights",
    "PreparedRegions",
    "RankedMaps",
    "RegionMap",
    "coco_bins",
    "find_regions",
    "grid_weights",
    "number_regions",
    "part_means",
    "prepare_regions",
    "rank_maps",
    "region_arrays",
    "region_columns",
    "region_distance",
    "region_table",
    "size_octaves",
    "table_of_prepared",
]
