"""Pairs of regions: the Scale Confusion Index, size preference, and all pair indices of an image.

All of them compare pairs of regions within one image whose sizes differ by an octave or more, ask
which of the two has the larger value of one column, average the answers within each image, and
then over images.

``sci`` and its companions read tables of many images; null models need the same numbers hundreds of
times per image, so here they come from one comparison of all pairs of the image's regions.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.errors import GstoVizError
from gsto_viz.stats.inference import Estimate, estimate

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
_ROWS_AT_ONCE = 256


def pair_counts(
    tables: Tables,
    column: str,
    *,
    gap: tuple[float, float] = OCTAVE_GAP,
    same_class: bool | None = None,
    size: Size = "area_px",
) -> pd.DataFrame:
    """Count, per image, how often the larger region of a pair has the larger value.

    Pairs are (x, y) with gap[0] <= l_y - l_x < gap[1] octaves, among regions that qualify.

    Args:
        tables: One region table or a sequence of them.
        column: What to compare, e.g. ``q`` or ``z_0``; regions where it is null are left out.
        gap: Smallest and (excluded) largest difference of size, octaves.
        same_class: Only pairs of one class (True), of different classes (False), or all (None).
        size: What is compared to find pairs.

    Returns:
        ``image``, ``wins`` (the larger has the larger value), ``ties``, ``pairs``: whole numbers,
        one row per image that has a pair. Counts of shards of images simply concatenate.
    """
    return all_pair_counts(tables, [column], gap=gap, same_class=same_class, size=size)[column]


def all_pair_counts(
    tables: Tables,
    columns: Sequence[str],
    *,
    gap: tuple[float, float] = OCTAVE_GAP,
    same_class: bool | None = None,
    size: Size = "area_px",
) -> dict[str, pd.DataFrame]:
    """Return the :func:`pair_counts` of several columns, whose pairs are found once."""
    size_column = "area_px" if size == "area_px" else "max_distance_px"
    table = merge_tables(tables, [size_column, "class_id", "qualifies", *columns])
    table = table[table["qualifies"].astype(bool)].dropna(subset=[size_column])
    squared = table[size_column].to_numpy(dtype=np.float64)
    if size != "area_px":
        # Squares of distances between pixel centres are whole numbers.
        squared = np.rint(squared**2)
    class_id = table["class_id"].to_numpy()
    values = {column: table[column].to_numpy(dtype=np.float64) for column in columns}
    rows: dict[str, list[tuple[str, int, int, int]]] = {column: [] for column in values}
    # Rows are sorted by image.
    images, starts = np.unique(table["image"].to_numpy(dtype=object), return_index=True)
    for image, (start, end) in zip(images, pairwise([*starts, len(table)]), strict=True):
        of = slice(start, end)
        pairs = list(_pairs(squared[of], class_id[of], gap, same_class))
        for column, value in values.items():
            rows[column].append((image, *_count_pairs(value[of], pairs)))
    names = ["image", "wins", "ties", "pairs"]
    counts = {column: pd.DataFrame(each, columns=names) for column, each in rows.items()}
    return {name: one[one["pairs"] > 0].reset_index(drop=True) for name, one in counts.items()}


def _pairs(
    area: npt.NDArray[np.float64],
    class_id: npt.NDArray[np.integer],
    gap: tuple[float, float],
    same_class: bool | None,
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Give the pairs of one image, a few hundred larger regions at once: larger and smaller."""
    # l_y - l_x >= g is area_y >= 4^g area_x; squares decide exactly where logarithms would round.
    least, most = 4.0 ** gap[0], 4.0 ** gap[1]
    for start in range(0, len(area), _ROWS_AT_ONCE):
        larger = slice(start, start + _ROWS_AT_ONCE)
        counted = (area[larger, None] >= least * area) & (area[larger, None] < most * area)
        if same_class is not None:
            counted &= (class_id[larger, None] == class_id) == same_class
        of_larger, of_smaller = np.nonzero(counted)
        yield of_larger + start, of_smaller


def _count_pairs(
    value: npt.NDArray[np.float64],
    pairs: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]],
) -> tuple[int, int, int]:
    """Return wins, ties and pairs of one image; a pair with a null value is none."""
    wins = ties = known = 0
    for larger, smaller in pairs:
        difference = value[larger] - value[smaller]
        tied = np.abs(difference) <= TIE
        wins += int((~tied & (difference > 0)).sum())
        ties += int(tied.sum())
        known += difference.size - int(np.isnan(difference).sum())
    return wins, ties, known


def _share_won(counts: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return P(larger has more) + 1/2 P(tie) of each image."""
    won = counts["wins"].to_numpy() + 0.5 * counts["ties"].to_numpy()
    return won / counts["pairs"].to_numpy()


def sci_values(
    tables: Tables,
    *,
    response: str = "q",
    gap: tuple[float, float] = OCTAVE_GAP,
    same_class: bool | None = None,
    size: Size = "area_px",
) -> pd.DataFrame:
    """Give SCI of each image that has a pair: ``image``, ``value``, ``pairs``; see :func:`sci`."""
    counts = pair_counts(tables, response, gap=gap, same_class=same_class, size=size)
    return counts[["image", "pairs"]].assign(value=1.0 - _share_won(counts))


def concordance_values(
    tables: Tables,
    branch: int,
    *,
    response: str = "z",
    gap: tuple[float, float] = OCTAVE_GAP,
    same_class: bool | None = None,
) -> pd.DataFrame:
    """Give A_r of each image that has a pair: ``image``, ``value``, ``pairs``."""
    counts = pair_counts(tables, f"{response}_{branch}", gap=gap, same_class=same_class)
    return counts[["image", "pairs"]].assign(value=_share_won(counts))


def sci(
    tables: Tables,
    *,
    response: str = "q",
    gap: tuple[float, float] = OCTAVE_GAP,
    same_class: bool | None = None,
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Estimate:
    r"""Estimate the Scale Confusion Index.

    .. math:: SCI = \frac{1}{n} \sum_i \mathrm{mean}_{(x, y) \in P_i}
              ( 1[q(y) < q(x)] + \tfrac12 1[q(y) = q(x)] )

    over the n images that have a pair, where P_i holds the pairs of regions of image i with y an
    octave or more larger than x, and q is coarseness at matched resolution: the probability that
    two objects of one image are ordered the wrong way round by the branches.

    Args:
        tables: One region table or a sequence of them.
        response: ``q`` (core or whole, as each region's ``part`` says) or ``q_whole``.
        gap: Smallest and (excluded) largest difference of size, octaves.
        same_class: Only pairs of one class (True), of different classes (False), or all (None).
        clusters: Cluster of each image for the interval (blocks of video frames).
        seed: Of the bootstrap.

    Returns:
        Value in [0, 1]: 0 aware, 0.5 chance, 1 reversed. ``low`` and ``high`` are None below 10
        independent images, and ``value`` too when no image has a pair; ``reason`` says why.
    """
    values = sci_values(tables, response=response, gap=gap, same_class=same_class)
    return estimate(values, clusters, seed)


def concordance(
    tables: Tables,
    branch: int,
    *,
    response: str = "z",
    gap: tuple[float, float] = OCTAVE_GAP,
    same_class: bool | None = None,
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Estimate:
    """Estimate A_r = P(Z_r(larger) > Z_r(smaller)) + 1/2 P(tie), the size preference of a branch.

    Above 0.5 the branch prefers larger objects. One branch alone proves nothing: small objects may
    be more salient, and a coarse grid shows small objects weakly.

    Args:
        tables: One region table or a sequence of them.
        branch: r, counted from 0 at the finest branch.
        response: ``z``, ``z_matched`` (all branches on the coarsest grid) or ``z_whole``.
        gap: Smallest and (excluded) largest difference of size, octaves.
        same_class: Only pairs of one class (True), of different classes (False), or all (None).
        clusters: Cluster of each image for the interval (blocks of video frames).
        seed: Of the bootstrap.

    Returns:
        Value in [0, 1]; as for :func:`sci` when it is not estimated.
    """
    values = concordance_values(tables, branch, response=response, gap=gap, same_class=same_class)
    return estimate(values, clusters, seed)


def c_fine(tables: Tables, *, clusters: Mapping[str, str] | None = None, seed: int = 0) -> Estimate:
    """Estimate c_fine = A of the finest branch: how often it prefers the larger of two regions.

    The first failure mode, large interiors that fire on the fine branch: 0 aware, 0.5 chance,
    1 reversed. Small but salient regions make it small without any awareness.
    """
    return concordance(tables, 0, clusters=clusters, seed=seed)


def c_coarse(
    tables: Tables, *, clusters: Mapping[str, str] | None = None, seed: int = 0
) -> Estimate:
    """Estimate c_coarse = 1 - A of the coarsest branch: how often it prefers the smaller region.

    The second failure mode, large regions that are weak on the coarse branch: 0 aware, 0.5 chance,
    1 reversed. Pooling alone brings it below 0.5, because a coarse grid cannot show small regions.
    """
    values = concordance_values(tables, branch_count(tables, "z") - 1)
    return estimate(values.assign(value=1.0 - values["value"]), clusters, seed)


def sci_by_gap(
    tables: Tables,
    *,
    response: str = "q",
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Estimate SCI by how far apart the two sizes are, for pairs of one and of different classes.

    Data sets have different mixes of gaps; they are compared at equal gaps.

    Returns:
        Nine rows: ``gap_low``, ``gap_high`` (octaves, excluded; infinity at the end), ``classes``
        (``all``, ``same`` or ``different``), then as in an estimate ``value``, ``low``, ``high``
        (null where not estimated), ``n_images``, ``n_pairs``, ``reason``.
    """
    columns = ["area_px", "class_id", "qualifies", response]
    table = merge_tables(tables, columns)
    rows = []
    for gap in GAP_BINS:
        for classes, same in (("all", None), ("same", True), ("different", False)):
            result = sci(
                table, response=response, gap=gap, same_class=same, clusters=clusters, seed=seed
            )
            row = {"gap_low": gap[0], "gap_high": gap[1], "classes": classes}
            rows.append(row | asdict(result))
    numbers = ["gap_low", "gap_high", "value", "low", "high"]
    return pd.DataFrame(rows).astype(dict.fromkeys(numbers, "float64"))


def sci_edge_values(tables: Tables, *, min_depth_px: float = EDGE_DEPTH_PX) -> pd.DataFrame:
    """Give SCI_edge of each image with a region that counts: ``image``, ``value``, ``pairs``."""
    table = merge_tables(tables, ["qualifies", "max_distance_px", "q_core", "q_band"])
    deep = table["qualifies"].astype(bool) & (table["max_distance_px"] >= min_depth_px)
    table = table[deep].dropna(subset=["q_core", "q_band"])
    difference = table["q_core"] - table["q_band"]
    wrong = (difference < -TIE) + 0.5 * (difference.abs() <= TIE)
    by_image = wrong.groupby(table["image"])
    return pd.DataFrame({"value": by_image.mean(), "pairs": by_image.size()}).reset_index()


def sci_edge(
    tables: Tables,
    *,
    min_depth_px: float = EDGE_DEPTH_PX,
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Estimate:
    """Estimate SCI_edge: how often a region's core is finer than its own band.

    Pairs are (band, core) of one region; wrong is q(core) < q(band). Untrained networks are below
    0.5 too, because edges excite their filters.

    Args:
        tables: One region table or a sequence of them.
        min_depth_px: Smallest ``max_distance_px`` of a region that counts: the coarsest stride.
        clusters: Cluster of each image for the interval (blocks of video frames).
        seed: Of the bootstrap.

    Returns:
        Value in [0, 1]; ``n_pairs`` is the number of regions.
    """
    return estimate(sci_edge_values(tables, min_depth_px=min_depth_px), clusters, seed)


INDICES = (
    "sci",
    "sci_edge",
    "c_fine",
    "c_coarse",
    "a_first_matched",
    "a_last",
    "sci_same_class",
    "sci_whole",
)
"""What is estimated of every model and of every null model."""

Columns = Mapping[str, npt.NDArray]
Value = tuple[float, int]
"""A value of one image, and the pairs behind it."""


def index_columns(branches: int) -> tuple[str, ...]:
    """Return the columns of the region table that :func:`image_indices` reads."""
    responses = ("z_0", "z_matched_0", f"z_{branches - 1}", "q", "q_whole", "q_core", "q_band")
    return ("area_px", "class_id", "qualifies", "max_distance_px", *dict.fromkeys(responses))


def image_indices(
    columns: Columns, branches: int, *, min_depth_px: float = EDGE_DEPTH_PX
) -> dict[str, Value]:
    """Compute every index of one image.

    Args:
        columns: Columns of the region table of one image (see :func:`index_columns`), (K,) each.
        branches: R.
        min_depth_px: For ``sci_edge``: the coarsest stride.

    Returns:
        By index, its value and its number of pairs (of regions for ``sci_edge``); an index without
        any pair is left out. The values are those of ``sci``, ``sci_edge``, ``c_fine``,
        ``c_coarse`` and ``concordance`` on this image.
    """
    kept = np.asarray(columns["qualifies"], dtype=bool)
    used = {name: np.asarray(columns[name])[kept] for name in index_columns(branches)}
    area = used["area_px"].astype(np.float64)
    larger = area[:, None] >= 4.0 ** OCTAVE_GAP[0] * area
    same = larger & (used["class_id"][:, None] == used["class_id"])
    last = f"z_{branches - 1}"
    found = {
        "sci": _reversed(_won(used["q"], larger)),
        "sci_edge": _edge(used, min_depth_px),
        "c_fine": _won(used["z_0"], larger),
        "c_coarse": _reversed(_won(used[last], larger)),
        "a_first_matched": _won(used["z_matched_0"], larger),
        "a_last": _won(used[last], larger),
        "sci_same_class": _reversed(_won(used["q"], same)),
        "sci_whole": _reversed(_won(used["q_whole"], larger)),
    }
    return {name: value for name, value in found.items() if value is not None}


def _won(values: npt.NDArray, pairs: npt.NDArray[np.bool_]) -> Value | None:
    """Return P(larger has more) + 1/2 P(tie) over the pairs [larger, smaller], and their number."""
    known = ~np.isnan(values)
    counted = pairs & known[:, None] & known
    count = int(counted.sum())
    if count == 0:
        return None
    difference = (values[:, None] - values)[counted]
    won = int((difference > TIE).sum()) + 0.5 * int((np.abs(difference) <= TIE).sum())
    return won / count, count


def _reversed(value: Value | None) -> Value | None:
    return None if value is None else (1.0 - value[0], value[1])


def _edge(columns: Columns, min_depth_px: float) -> Value | None:
    """Return how often the core of a deep region is finer than its band."""
    # A region that is the whole image has no depth: NaN is not deep.
    deep = columns["max_distance_px"] >= min_depth_px
    difference = (columns["q_core"] - columns["q_band"])[deep]
    difference = difference[~np.isnan(difference)]
    if difference.size == 0:
        return None
    wrong = (difference < -TIE) + 0.5 * (np.abs(difference) <= TIE)
    return float(wrong.mean()), int(difference.size)
