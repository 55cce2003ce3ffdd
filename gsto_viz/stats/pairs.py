"""Pairs of regions: which are an octave apart, which of them are the wrong way round, and indices.

All indices compare pairs of regions within one image whose sizes differ by an octave or more, ask
which of the two has the larger value of one column, average the answers within each image, and
then over images. What a pair is and what the wrong way round is are decided here and nowhere else.

``image_indices`` works on the columns of one image, because null models need it hundreds of times
per image; ``index_values``, ``pair_counts`` and ``sci`` apply the same to tables of many images.
"""

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.errors import GstoVizError
from gsto_viz.stats.inference import EACH, Estimate, Images, estimate
from gsto_viz.types import FloatArray, Stride, cells_of, pixels_per_cell
from gsto_viz.words import INDICES, load_function

Tables = pd.DataFrame | Sequence[pd.DataFrame]
KEY = ["image", "region"]


def merge_tables(tables: Tables, columns: Iterable[str]) -> pd.DataFrame:
    """Concatenate region tables, drop rows that occur twice, and order them by image and region.

    Merging the same shard again changes nothing, and neither does the order of the tables.

    Args:
        tables: One region table, or any number of them.
        columns: Columns that the caller reads besides ``image`` and ``region``.

    Returns:
        The rows with only those columns, sorted.

    Raises:
        GstoVizError: No table is given, a column is missing, or two tables claim the same region
            of the same image with different values.
    """
    parts = [tables] if isinstance(tables, pd.DataFrame) else list(tables)
    wanted = list(dict.fromkeys([*KEY, *columns]))
    if not parts:
        raise GstoVizError("no region table was given; make at least one with region_table")
    for part in parts:
        missing = [name for name in wanted if name not in part.columns]
        if missing:
            raise GstoVizError(
                f"the region table lacks {', '.join(missing)}; make it with region_table"
            )
    filled = [part[wanted] for part in parts if len(part)] or [parts[0][wanted]]
    merged = pd.concat(filled, ignore_index=True)
    clash = merged.duplicated(KEY)
    if clash.any():
        merged = merged.drop_duplicates()
        clash = merged.duplicated(KEY)
    if clash.any():
        image, region = merged.loc[clash, KEY].iloc[0]
        raise GstoVizError(
            f"two different rows for region {region} of image '{image}'; "
            "give every image its own name in region_table(image=...)"
        )
    return merged.sort_values(KEY, ignore_index=True)


def branch_count(tables: Tables, response: str) -> int:
    """Return how many branches have a column ``{response}_{r}``.

    Raises:
        GstoVizError: There is no such column.
    """
    first = tables if isinstance(tables, pd.DataFrame) else next(iter(tables), pd.DataFrame())
    names = [name for name in first.columns if re.fullmatch(rf"{re.escape(response)}_\d+", name)]
    if not names:
        raise GstoVizError(
            f"the region table has no columns {response}_0, {response}_1, ...; "
            "choose z, z_whole, z_core, z_band or z_matched"
        )
    return len(names)


def qualifying(tables: Tables, columns: Sequence[str], known: Sequence[str] = ()) -> pd.DataFrame:
    """Return the rows of :func:`merge_tables` that qualify and have a value in ``known`` columns.

    With the column ``size_octave`` comes ``octave``, its floor.
    """
    table = merge_tables(tables, columns)
    table = table[table["qualifies"].astype(bool)]
    if known:
        table = table.dropna(subset=list(known))
    if "size_octave" not in table:
        return table
    return table.assign(octave=np.floor(table["size_octave"]).astype(np.int64))


def responses(tables: Tables, response: str) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows that qualify and have every response, and the names of the responses."""
    names = [f"{response}_{r}" for r in range(branch_count(tables, response))]
    return qualifying(tables, ["size_octave", "qualifies", *names], names), names


TIE = 1e-9
"""Values that differ by no more than this are equal: their order is rounding."""
OCTAVE_GAP = (1.0, np.inf)
"""An octave is the step between neighbouring branches: only such pairs should change branch."""
GAP_BINS = ((1.0, 2.0), (2.0, 3.0), (3.0, np.inf))
"""Octaves between the two sizes at which indices are compared across data sets."""
EDGE_DEPTH_PX = 32.0
"""SCI_edge needs regions deeper than one cell of the coarsest branch."""
Size = Literal["area_px", "inscribed"]
"""Size by the square root of the area, or by the diameter of the inscribed disc."""
SIZE_COLUMNS: dict[Size, str] = {"area_px": "area_px", "inscribed": "max_distance_px"}
Indices = npt.NDArray[np.int64]
Columns = Mapping[str, npt.NDArray]
Value = tuple[float, int]
"""A value of one image, and the pairs behind it."""
_ROWS_AT_ONCE = 256


def squared_sizes(values: npt.NDArray, size: Size = "area_px") -> FloatArray:
    """Return the squares of linear sizes, whole numbers, from the column that says the size."""
    values = np.asarray(values, dtype=np.float64)
    # Squares of distances between pixel centres are whole numbers.
    return values if size == "area_px" else np.rint(values**2)


def find_pairs(
    squares: FloatArray,
    gap: tuple[float, float] = OCTAVE_GAP,
    *,
    class_id: npt.NDArray[np.integer] | None = None,
    same_class: bool | None = None,
) -> tuple[Indices, Indices]:
    """Find the pairs of regions of one image whose sizes differ by so many octaves.

    l_y - l_x >= g is s_y >= 4^g s_x for the squares s of sizes. They are whole numbers and decide
    exactly where logarithms round: 28 px against 7 px is one octave.

    Args:
        squares: (K,) of :func:`squared_sizes`; NaN is in no pair.
        gap: Smallest and (excluded) largest difference of size, octaves.
        class_id: (K,) class of each region; only needed with ``same_class``.
        same_class: Only pairs of one class (True), of different classes (False), or all (None).

    Returns:
        Index of the larger and of the smaller region of each pair, in order of both.
    """
    least, most = 4.0 ** gap[0], 4.0 ** gap[1]
    found = []
    for start in range(0, len(squares), _ROWS_AT_ONCE):
        some = slice(start, start + _ROWS_AT_ONCE)
        counted = (squares[some, None] >= least * squares) & (squares[some, None] < most * squares)
        if same_class is not None:
            assert class_id is not None
            counted &= (class_id[some, None] == class_id) == same_class
        larger, smaller = np.nonzero(counted)
        found.append((larger + start, smaller))
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    larger, smaller = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return larger, smaller


def directions(differences: npt.NDArray[np.floating]) -> FloatArray:
    """Return 1, 0 (a tie) or -1 for each difference of two values; NaN stays.

    For a pair it is the larger region's value minus the smaller one's: -1 of q is the wrong way
    round.
    """
    return np.where(np.abs(differences) <= TIE, 0.0, np.sign(differences))


def wrong_pairs(
    squares: FloatArray, q: FloatArray, gap: tuple[float, float] = OCTAVE_GAP
) -> tuple[Indices, Indices]:
    """Find the pairs of :func:`find_pairs` whose larger region has the smaller coarseness."""
    larger, smaller = find_pairs(squares, gap)
    wrong = directions(q[larger] - q[smaller]) < 0
    return larger[wrong], smaller[wrong]


def _tally(differences: FloatArray) -> tuple[int, int, int]:
    """Count the differences above 0, the ties, and all that are not null."""
    signs = directions(differences)
    known = differences.size - int(np.isnan(signs).sum())
    return int((signs > 0).sum()), int((signs == 0).sum()), known


def win_share(wins: Any, ties: Any, pairs: Any) -> Any:
    """Return P(win) + 1/2 P(tie) from counts, numbers or arrays."""
    return (wins + 0.5 * ties) / pairs


def _share(differences: FloatArray) -> Value | None:
    """Return P(above 0) + 1/2 P(tie), and how many are not null; None when none is."""
    wins, ties, known = _tally(differences)
    return (win_share(wins, ties, known), known) if known else None


def _reversed(value: Value | None) -> Value | None:
    return None if value is None else (1.0 - value[0], value[1])


ONE_CELL = "the coarsest map has one cell, and so one rank"


def edge_depth(strides: Sequence[Stride]) -> float:
    """Return how deep a region must be for SCI_edge, px; infinite where strides do not say it."""
    deepest = [pixels_per_cell(one) for one in strides if cells_of(one) != (1, 1)]
    pixels = [one for one in deepest if one is not None]
    return float(pixels[-1]) if len(pixels) == len(deepest) and pixels else np.inf


def unmeasured(strides: Sequence[Stride]) -> dict[str, str]:
    """Return which indices the grids of the branches do not allow, with the reason.

    The map of one cell has one rank, whatever it shows. Its terms of q are 0 for all regions, so
    indices that read q are those of the other branches.
    """
    found = {}
    if np.isinf(edge_depth(strides)):
        pooled = next(one for one in strides if pixels_per_cell(one) is None)
        found["sci_edge"] = f"{pooled} cells have no stride, which says how deep a core must be"
    if cells_of(strides[-1]) == (1, 1):
        for key, row in INDICES.items():
            if {"z_{last}", "z_matched_0"} & set(row.reads):
                found[key] = ONE_CELL
    return found


class Objects:
    """The regions of one image that qualify: what an index is computed from.

    Attributes:
        columns: Of the region table (see :func:`index_columns`), (K,) each, rows that qualify.
        last: Number of the coarsest branch.
        min_depth_px: Least depth of a region that has a core and a band.
    """

    def __init__(self, columns: Columns, branches: int, min_depth_px: float = EDGE_DEPTH_PX):
        """Keep the rows that qualify."""
        kept = np.asarray(columns["qualifies"], dtype=bool)
        self.columns = {name: np.asarray(columns[name])[kept] for name in index_columns(branches)}
        self.last = branches - 1
        self.min_depth_px = min_depth_px

    @cached_property
    def pairs(self) -> tuple[Indices, Indices]:
        """The pairs an octave or more apart: (P,) the larger and the smaller region of each."""
        return find_pairs(squared_sizes(self.columns["area_px"]))

    @cached_property
    def pairs_in_class(self) -> tuple[Indices, Indices]:
        """Those of one class."""
        squares, class_id = squared_sizes(self.columns["area_px"]), self.columns["class_id"]
        return find_pairs(squares, class_id=class_id, same_class=True)

    def preference(self, name: str, pairs: tuple[Indices, Indices] | None = None) -> Value | None:
        """Return P(larger has more of a column) + 1/2 P(tie) over pairs; None without a pair."""
        larger, smaller = self.pairs if pairs is None else pairs
        values = self.columns[name]
        return _share(values[larger] - values[smaller])


def wrong_order(of: Objects) -> Value | None:
    """Return SCI: the share of pairs that q orders the wrong way round, a tie one half."""
    return _reversed(of.preference("q"))


def wrong_order_in_class(of: Objects) -> Value | None:
    """Return SCI of the pairs of one class."""
    return _reversed(of.preference("q", of.pairs_in_class))


def wrong_order_of_whole(of: Objects) -> Value | None:
    """Return SCI of whole masks instead of cores."""
    return _reversed(of.preference("q_whole"))


def finer_core(of: Objects) -> Value | None:
    """Return SCI_edge: how often q of a deep region's core is below that of its own band.

    Untrained networks are below 0.5 too, because edges excite their filters.
    """
    # A region that is the whole image has no depth: NaN is not deep.
    deep = of.columns["max_distance_px"] >= of.min_depth_px
    return _share((of.columns["q_band"] - of.columns["q_core"])[deep])


def finest_prefers_larger(of: Objects) -> Value | None:
    """Return c_fine, a failure mode: A of the finest branch, 0 aware, 0.5 chance, 1 reversed.

    A_r = P(Z_r(larger) > Z_r(smaller)) + 1/2 P(tie) is the size preference of branch r. One branch
    alone proves nothing, because small regions may be more salient and a coarse grid shows them
    weakly.
    """
    return of.preference("z_0")


def matched_finest_prefers_larger(of: Objects) -> Value | None:
    """Return A of the finest branch on the coarsest grid, which stands beside the coarsest's."""
    return of.preference("z_matched_0")


def coarsest_prefers_larger(of: Objects) -> Value | None:
    """Return A of the coarsest branch."""
    return of.preference(f"z_{of.last}")


def coarsest_prefers_smaller(of: Objects) -> Value | None:
    """Return c_coarse, the other failure mode: 1 - A of the coarsest branch."""
    return _reversed(coarsest_prefers_larger(of))


def index_columns(branches: int) -> tuple[str, ...]:
    """Return the columns of the region table that the indices read."""
    read = [name.format(last=branches - 1) for row in INDICES.values() for name in row.reads]
    return tuple(dict.fromkeys(["area_px", "class_id", "qualifies", *read]))


def image_indices(
    columns: Columns,
    branches: int,
    *,
    min_depth_px: float = EDGE_DEPTH_PX,
    without: Container[str] = (),
) -> dict[str, Value]:
    """Compute every index of one image.

    Args:
        columns: Columns of the region table of one image (see :func:`index_columns`), (K,) each.
        branches: R.
        min_depth_px: For ``sci_edge``: the coarsest stride (``edge_depth``).
        without: Indices that are left out (``unmeasured``).

    Returns:
        By index, its value in [0, 1] and its number of pairs (of regions for ``sci_edge``); an
        index without any pair is left out.
    """
    objects = Objects(columns, branches, min_depth_px)
    found = {
        name: load_function(row.function)(objects)
        for name, row in INDICES.items()
        if name not in without
    }
    return {name: value for name, value in found.items() if value is not None}


def indices_at(columns: Columns, strides: Sequence[Stride]) -> dict[str, Value]:
    """Compute the indices of one image that the grids of its branches allow."""
    return image_indices(
        columns,
        len(strides),
        min_depth_px=edge_depth(strides),
        without=unmeasured(strides),
    )


def _by_image(table: pd.DataFrame) -> Iterator[tuple[str, slice]]:
    """Yield the rows of each image of a table that is sorted by image."""
    names, starts = np.unique(table["image"].to_numpy(dtype=object), return_index=True)
    for name, (start, end) in zip(names, pairwise([*starts, len(table)]), strict=True):
        yield name, slice(start, end)


def index_values(tables: Tables, min_depth_px: float = EDGE_DEPTH_PX) -> dict[str, pd.DataFrame]:
    """Compute every index of every image, by index: ``image``, ``value``, ``pairs``."""
    branches = branch_count(tables, "z")
    table = merge_tables(tables, index_columns(branches))
    columns = {name: table[name].to_numpy() for name in index_columns(branches)}
    rows: dict[str, list[tuple[str, float, int]]] = {name: [] for name in INDICES}
    for image, of in _by_image(table):
        one = {name: values[of] for name, values in columns.items()}
        for name, value in image_indices(one, branches, min_depth_px=min_depth_px).items():
            rows[name].append((image, *value))
    names = ["image", "value", "pairs"]
    return {name: pd.DataFrame(each, columns=names) for name, each in rows.items()}


def pair_counts(
    tables: Tables,
    columns: Sequence[str],
    *,
    gap: tuple[float, float] = OCTAVE_GAP,
    same_class: bool | None = None,
    size: Size = "area_px",
) -> dict[str, pd.DataFrame]:
    """Count, per image, how often the larger region of a pair has the larger value.

    Pairs are those of :func:`find_pairs` among regions that qualify.

    Args:
        columns: What to compare, e.g. ``q`` and ``z_0``; regions where it is null are left out.
        gap: Smallest and (excluded) largest difference of size, octaves.
        same_class: Only pairs of one class (True), of different classes (False), or all (None).
        size: What is compared to find pairs.

    Returns:
        By column ``image``, ``wins`` (the larger has the larger value), ``ties``, ``pairs``: whole
        numbers, one row per image that has a pair. Counts of shards of images simply concatenate.
    """
    size_column = SIZE_COLUMNS[size]
    table = qualifying(tables, [size_column, "class_id", "qualifies", *columns], [size_column])
    squares = squared_sizes(table[size_column].to_numpy(), size)
    class_id = table["class_id"].to_numpy()
    values = {column: table[column].to_numpy(dtype=np.float64) for column in columns}
    rows: dict[str, list[tuple[str, int, int, int]]] = {column: [] for column in values}
    for image, of in _by_image(table):
        larger, smaller = find_pairs(squares[of], gap, class_id=class_id[of], same_class=same_class)
        for column, value in values.items():
            rows[column].append((image, *_tally(value[of][larger] - value[of][smaller])))
    names = ["image", "wins", "ties", "pairs"]
    counts = {column: pd.DataFrame(each, columns=names) for column, each in rows.items()}
    return {name: one[one["pairs"] > 0].reset_index(drop=True) for name, one in counts.items()}


def sci_values(
    tables: Tables,
    *,
    response: str = "q",
    gap: tuple[float, float] = OCTAVE_GAP,
    same_class: bool | None = None,
    size: Size = "area_px",
) -> pd.DataFrame:
    """Compute SCI of each image with a pair: ``image``, ``value``, ``pairs``; see :func:`sci`."""
    counts = pair_counts(tables, [response], gap=gap, same_class=same_class, size=size)[response]
    won = win_share(counts["wins"], counts["ties"], counts["pairs"])
    return counts[["image", "pairs"]].assign(value=1.0 - won)


def sci(
    tables: Tables,
    *,
    response: str = "q",
    gap: tuple[float, float] = OCTAVE_GAP,
    same_class: bool | None = None,
    images: Images = EACH,
) -> Estimate:
    r"""Estimate the Scale Confusion Index.

    .. math:: SCI = \frac{1}{n} \sum_i \mathrm{mean}_{(x, y) \in P_i}
              ( 1[q(y) < q(x)] + \tfrac12 1[q(y) = q(x)] )

    over the n images that have a pair, where P_i holds the pairs of regions of image i with y an
    octave or more larger than x, and q is coarseness at matched resolution: the probability that
    two objects of one image are ordered the wrong way round by the branches.

    Args:
        response: ``q`` (core or whole, as each region's ``part`` says) or ``q_whole``.
        gap: Smallest and (excluded) largest difference of size, octaves.
        same_class: Only pairs of one class (True), of different classes (False), or all (None).
        images: Which images are independent (blocks of video frames), and the seed.

    Returns:
        Value in [0, 1]: 0 aware, 0.5 chance, 1 reversed. ``low`` and ``high`` are None below 10
        independent images, and ``value`` too when no image has a pair; ``reason`` says why.
    """
    return estimate(sci_values(tables, response=response, gap=gap, same_class=same_class), images)


def sci_by_gap(tables: Tables, *, response: str = "q", images: Images = EACH) -> pd.DataFrame:
    """Estimate SCI by how far apart the two sizes are, for pairs of one and of different classes.

    Data sets have different mixes of gaps; they are compared at equal gaps.

    Returns:
        Nine rows: ``gap_low``, ``gap_high`` (octaves, excluded; infinity at the end), ``classes``
        (``all``, ``same`` or ``different``), then as in an estimate ``value``, ``low``, ``high``
        (null where not estimated), ``n_images``, ``n_pairs``, ``reason``.
    """
    table = merge_tables(tables, ["area_px", "class_id", "qualifies", response])
    rows = []
    for gap in GAP_BINS:
        for classes, same in (("all", None), ("same", True), ("different", False)):
            result = sci(table, response=response, gap=gap, same_class=same, images=images)
            row = {"gap_low": gap[0], "gap_high": gap[1], "classes": classes}
            rows.append(row | asdict(result))
    numbers = ["gap_low", "gap_high", "value", "low", "high"]
    return pd.DataFrame(rows).astype(dict.fromkeys(numbers, "float64"))
