r"""The Scale Confusion Index and the size preference of single branches.

All of them compare pairs of regions within one image whose sizes differ by an octave or more, ask
which of the two has the larger value of one column, average the answers within each image, and
then over images.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.stats.inference import Estimate, image_mean_estimate
from gsto_viz.stats.tables import Tables, merge_tables

TIE = 1e-9
"""Values that differ by no more than this are equal: their order is rounding."""
OCTAVE_GAP = (1.0, np.inf)
"""An octave is the step between neighbouring branches: only such pairs should change branch."""
EDGE_DEPTH_PX = 32.0
"""SCI_edge needs regions deeper than one cell of the coarsest branch."""
_ROWS_AT_ONCE = 256


def pair_counts(
    tables: Tables,
    column: str,
    *,
    gap: tuple[float, float] = OCTAVE_GAP,
    same_class: bool | None = None,
) -> pd.DataFrame:
    """Count, per image, how often the larger region of a pair has the larger value.

    Pairs are (x, y) with gap[0] <= l_y - l_x < gap[1] octaves, among regions that qualify.

    Args:
        tables: One region table or a sequence of them.
        column: What to compare, e.g. ``q`` or ``z_0``; regions where it is null are left out.
        gap: Smallest and (excluded) largest difference of size, octaves.
        same_class: Only pairs of one class (True), of different classes (False), or all (None).

    Returns:
        ``image``, ``wins`` (the larger has the larger value), ``ties``, ``pairs``: whole numbers,
        one row per image that has a pair. Counts of shards of images simply concatenate.
    """
    table = merge_tables(tables, ["area_px", "class_id", "qualifies", column])
    table = table[table["qualifies"].astype(bool)].dropna(subset=[column])
    rows = [
        (image, *_count_pairs(group, column, gap, same_class))
        for image, group in table.groupby("image")
    ]
    counts = pd.DataFrame(rows, columns=["image", "wins", "ties", "pairs"])
    return counts[counts["pairs"] > 0].reset_index(drop=True)


def _count_pairs(
    group: pd.DataFrame, column: str, gap: tuple[float, float], same_class: bool | None
) -> tuple[int, int, int]:
    """Return wins, ties and pairs among the regions of one image."""
    area = group["area_px"].to_numpy(dtype=np.float64)
    value = group[column].to_numpy(dtype=np.float64)
    class_id = group["class_id"].to_numpy()
    # l_y - l_x >= g is area_y >= 4^g area_x; areas decide exactly where logarithms would round.
    least, most = 4.0 ** gap[0], 4.0 ** gap[1]
    wins = ties = pairs = 0
    for start in range(0, len(group), _ROWS_AT_ONCE):
        larger = slice(start, start + _ROWS_AT_ONCE)
        ratio_ok = (area[larger, None] >= least * area) & (area[larger, None] < most * area)
        if same_class is not None:
            ratio_ok &= (class_id[larger, None] == class_id) == same_class
        difference = value[larger, None] - value
        tied = np.abs(difference) <= TIE
        wins += int((ratio_ok & ~tied & (difference > 0)).sum())
        ties += int((ratio_ok & tied).sum())
        pairs += int(ratio_ok.sum())
    return wins, ties, pairs


def _share_won(counts: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return P(larger has more) + 1/2 P(tie) of each image."""
    won = counts["wins"].to_numpy() + 0.5 * counts["ties"].to_numpy()
    return won / counts["pairs"].to_numpy()


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
    counts = pair_counts(tables, response, gap=gap, same_class=same_class)
    values = 1.0 - _share_won(counts)
    pairs = int(counts["pairs"].sum())
    return image_mean_estimate(counts["image"].tolist(), values, pairs, clusters, seed)


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
    counts = pair_counts(tables, f"{response}_{branch}", gap=gap, same_class=same_class)
    pairs = int(counts["pairs"].sum())
    values = _share_won(counts)
    return image_mean_estimate(counts["image"].tolist(), values, pairs, clusters, seed)


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
    table = merge_tables(tables, ["qualifies", "max_distance_px", "q_core", "q_band"])
    deep = table["qualifies"].astype(bool) & (table["max_distance_px"] >= min_depth_px)
    table = table[deep].dropna(subset=["q_core", "q_band"])
    difference = table["q_core"] - table["q_band"]
    wrong = (difference < -TIE) + 0.5 * (difference.abs() <= TIE)
    by_image = wrong.groupby(table["image"]).mean()
    values = by_image.to_numpy(dtype=np.float64)
    return image_mean_estimate(by_image.index.tolist(), values, len(table), clusters, seed)
