"""The data dictionary of the region table: name, unit, range and meaning of every column.

The table writes exactly these columns in this order; the documentation prints this list.
"""

from dataclasses import dataclass, replace
from functools import cache


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    """``{r}`` stands for a branch number, counted from 0 at the finest branch."""
    unit: str
    range: str
    null: str
    """When the value is null (NaN); "never" otherwise."""
    meaning: str
    branches: str = "none"
    """Which r exist: ``none`` (one column), ``all`` (0..R-1) or ``pairs`` (0..R-2)."""


NO_WEIGHT = "the part has no pixel in a valid cell of the grid"
NO_CORE = "the region has no core pixel in a valid cell"
NO_BAND = "the region has no band pixel in a valid cell"
ANY_NULL = "one of its terms is null, or there is only one branch"

_GEOMETRY = (
    Column("image", "name", "any text", "never", "image the region belongs to"),
    Column("region", "number", "1..K", "never", "number of the region within its image"),
    Column("class_id", "index", "0 and up", "never", "class; the majority class of an instance"),
    Column(
        "instance_id",
        "number",
        "-1 and up",
        "never",
        "number in the instance map; 0 = none, -1 = crowd (does not qualify)",
    ),
    Column("area_px", "px", "1 and up", "never", "pixels of the region at network-input size"),
    Column("size_octave", "octave", "0 and up", "never", "l = log2 sqrt(area_px)"),
    Column(
        "inscribed_octave",
        "octave",
        "1 and up",
        "the region is the whole image",
        "t = log2(2 max_distance_px)",
    ),
    Column(
        "equivalent_diameter_px",
        "px",
        "above 1.1",
        "never",
        "diameter of the disc of the same area",
    ),
    Column(
        "coco_bin",
        "word",
        "small, medium, large",
        "never",
        "area below 32^2 px, below 96^2 px, or more",
    ),
    Column("border", "truth", "True, False", "never", "touches the border; its size may be cut"),
    Column(
        "qualifies",
        "truth",
        "True, False",
        "never",
        "at least 64 px, and its part has weight on every grid: enters statistics",
    ),
    Column(
        "part",
        "word",
        "core, whole",
        "never",
        "what z, z_dn, z_matched and q read: the core if it has at least 64 px",
    ),
    Column("core_area_px", "px", "0 and up", "never", "pixels farther than 8 px from the outside"),
    Column(
        "max_distance_px",
        "px",
        "1 and up",
        "the region is the whole image",
        "largest distance of a pixel to the nearest pixel outside the region",
    ),
)

_RESPONSES = (
    Column(
        "purity_{r}",
        "share",
        "(0, 1]",
        "never",
        "sum m^2 / sum m of the whole region on the grid of branch r, m = its share of a cell",
        "all",
    ),
    Column("z_{r}", "percentile", "(0, 1)", NO_WEIGHT, "response of branch r on the part", "all"),
    Column(
        "z_dn_{r}",
        "percentile",
        "(0, 1)",
        NO_WEIGHT,
        "response of branch r pooled to the grid of branch r+1, on the part",
        "pairs",
    ),
    Column(
        "z_matched_{r}",
        "percentile",
        "(0, 1)",
        NO_WEIGHT,
        "response of branch r pooled to the coarsest grid, on the part",
        "all",
    ),
    Column(
        "z_whole_{r}",
        "percentile",
        "(0, 1)",
        "the region has no pixel in a valid cell",
        "response of branch r on the whole region",
        "all",
    ),
    Column(
        "z_core_{r}", "percentile", "(0, 1)", NO_CORE, "response of branch r on the core", "all"
    ),
    Column(
        "z_band_{r}", "percentile", "(0, 1)", NO_BAND, "response of branch r on the band", "all"
    ),
)

_COARSENESS = (
    Column(
        "q",
        "percentile",
        "[-(R-1), R-1]",
        ANY_NULL,
        "coarseness at matched resolution, sum over r of z_{r+1} - z_dn_{r}, on the part",
    ),
    Column("q_whole", "percentile", "[-(R-1), R-1]", ANY_NULL, "the same on the whole region"),
    Column("q_core", "percentile", "[-(R-1), R-1]", ANY_NULL, "the same on the core"),
    Column("q_band", "percentile", "[-(R-1), R-1]", ANY_NULL, "the same on the band"),
)

REGION_COLUMNS = (*_GEOMETRY, *_RESPONSES, *_COARSENESS)
"""Every column of the region table; branch columns are written once, with ``{r}``."""


@cache
def region_columns(branches: int) -> tuple[Column, ...]:
    """Return the columns of a table with ``branches`` branches, in order, ``{r}`` filled in."""
    last = {"none": 1, "all": branches, "pairs": branches - 1}
    return tuple(
        column
        if column.branches == "none"
        else replace(column, name=column.name.replace("{r}", str(r)))
        for column in REGION_COLUMNS
        for r in range(last[column.branches])
    )
