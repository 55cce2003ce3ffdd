"""Tests of paired differences, means by group, and trends within images.

Everything starts from per-image differences d_i = B - A. Images of one cluster keep one sign in
the sign-flip test, as they keep one weight in the bootstrap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import false_discovery_control, rankdata, theilslopes

from gsto_viz.errors import GstoVizError
from gsto_viz.stats.inference import (
    EACH,
    Images,
    cluster_sums,
    image_mean_interval,
    named_stream,
    too_few,
)
from gsto_viz.stats.pairs import Tables, branch_count, merge_tables

FLIPS = 9999
P_FLOOR = 1 / (1 + FLIPS)
"""No p of a sampled test is smaller: there it only says that p is this or less."""
EXACT_CLUSTERS = 13
"""Up to here all 2^K sign patterns are fewer than FLIPS and are all tried."""
MARGIN = 0.05
"""Differences within 5 points of probability count as equivalent."""
EQUIVALENCE_LEVEL = 0.90
"""Two one-sided tests at 5 % are one 90 % interval inside the margin."""


@dataclass(frozen=True)
class SignFlip:
    """The outcome of a sign-flip test of a mean difference against 0."""

    p: float | None
    """Two-sided; None when it is not estimated."""
    patterns: int
    """Sign patterns looked at."""
    exact: bool
    """All patterns were looked at, not a sample of them."""
    reason: str | None = None


@dataclass(frozen=True)
class Equivalence:
    """Whether a difference is small enough not to matter."""

    equivalent: bool | None
    """The 90 % interval lies inside (-margin, margin); None when it is not estimated."""
    low: float | None
    high: float | None
    """Ends of the 90 % interval."""
    margin: float
    reason: str | None = None


def sign_flip(
    names: Sequence[str],
    differences: npt.NDArray[np.floating],
    images: Images = EACH,
    flips: int = FLIPS,
) -> SignFlip:
    r"""Test whether the mean of paired differences is 0 by flipping the signs of whole clusters.

    If A and B are exchangeable, every d_i is as likely as -d_i. With up to 13 clusters all
    patterns are tried and p is the share with at least the observed :math:`|\sum d_i|`; above,
    p = (1 + exceedances) / (1 + flips). Each cluster has a sign stream of its own, so the order
    of images does not matter.

    Args:
        names: n images, each once.
        differences: (n,) d_i = B - A, finite.
        images: Their clusters, and the seed of the signs.
        flips: Random patterns when there are too many to try all.

    Returns:
        p with what it was made from; without p and with the reason below 10 clusters.
    """
    clusters, sums, _ = cluster_sums(names, np.asarray(differences)[:, None], images)
    reason = too_few(len(clusters))
    if reason is not None:
        return SignFlip(None, 0, False, reason.replace("an interval", "a test"))
    exact = len(clusters) <= EXACT_CLUSTERS
    signs = _all_signs(len(clusters)) if exact else _random_signs(clusters, flips, images.seed)
    observed = abs(float(sums.sum()))
    # Equal totals may differ in the last bits by the order of their terms.
    rounding = 1e-12 * float(np.abs(sums).sum())
    reached = int((np.abs(signs.T @ sums[:, 0]) >= observed - rounding).sum())
    patterns = signs.shape[1]
    p = reached / patterns if exact else (1 + reached) / (1 + patterns)
    return SignFlip(p, patterns, exact)


def _all_signs(count: int) -> npt.NDArray[np.float64]:
    """Return every pattern of ``count`` signs, (count, 2^count)."""
    bits = np.arange(2**count) >> np.arange(count)[:, None] & 1
    return 1.0 - 2.0 * bits.astype(np.float64)


def _random_signs(names: Sequence[str], flips: int, seed: int) -> npt.NDArray[np.float64]:
    """Return random signs, one stream per name, (len(names), flips)."""
    return np.stack(
        [1.0 - 2.0 * named_stream(f"sign\0{name}", seed).integers(0, 2, flips) for name in names]
    )


def d_z(differences: npt.NDArray[np.floating]) -> float | None:
    """Return mean / standard deviation (n - 1) of paired differences; None when it is undefined."""
    values = np.asarray(differences, dtype=np.float64)
    if values.size < 2 or np.ptp(values) <= 1e-12 * np.abs(values).max():
        return None
    return float(values.mean() / values.std(ddof=1))


def cliffs_delta(sci: float) -> float:
    """Return Cliff's delta = 1 - 2 SCI: share of pairs ordered rightly minus wrongly, [-1, 1]."""
    return 1.0 - 2.0 * sci


def equivalence(
    names: Sequence[str],
    differences: npt.NDArray[np.floating],
    images: Images = EACH,
    margin: float = MARGIN,
) -> Equivalence:
    """Test whether the mean difference lies within the margin (two one-sided tests at 5 %).

    Args:
        names: n images, each once.
        differences: (n,) d_i = B - A, finite.
        images: Their clusters, and the seed of the bootstrap.
        margin: Largest difference that does not matter, above 0.

    Returns:
        ``equivalent`` is None, with the reason, below 10 clusters.
    """
    if margin <= 0:
        raise GstoVizError(f"the equivalence margin is {margin}; give a number above 0")
    values = np.asarray(differences)[:, None]
    low, high, reason = image_mean_interval(names, values, images, EQUIVALENCE_LEVEL)
    if low is None or high is None:
        return Equivalence(None, None, None, margin, reason)
    inside = bool(low[0] > -margin and high[0] < margin)
    return Equivalence(inside, float(low[0]), float(high[0]), margin)


def holm(p: Sequence[float]) -> list[float]:
    """Adjust p values so that the chance of any false rejection among them stays below the level.

    Holm's step-down: the k-th smallest of m is multiplied by m - k + 1, made non-decreasing and
    cut at 1.
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(values.size, 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted.tolist()


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Adjust p values so that the expected share of false rejections stays below the level."""
    return np.asarray(false_discovery_control(list(p))).tolist() if len(p) else []


def mean_by_group(
    rows: pd.DataFrame,
    by: Sequence[str],
    measures: Sequence[str],
    *,
    counts: str | None = None,
    images: Images = EACH,
) -> pd.DataFrame:
    """Average measures over the regions of an image, then over images.

    An image with many regions does not outweigh others.

    Args:
        rows: ``image``, the columns of ``by`` and the measures, one row per region.
        by: What makes a group.
        measures: Which columns are averaged.
        counts: Column that says of how many regions a row is the mean; None: of one.
        images: Which images are independent, and the seed.

    Returns:
        One row per group and measure, groups in order: the columns of ``by``, ``measure``,
        ``mean``, ``low``, ``high`` (95 %, null below 10 independent images), ``n_regions``,
        ``n_images``, ``reason`` (why there is no interval, else null).
    """
    found: list[list[object]] = []
    for key, group in rows.groupby(list(by)):
        by_image = group.groupby("image")[list(measures)].mean()
        values = by_image.to_numpy(dtype=np.float64)
        low, high, reason = image_mean_interval(by_image.index.tolist(), values, images)
        sizes = [len(group) if counts is None else int(group[counts].sum()), len(by_image)]
        for k, measure in enumerate(measures):
            ends = [np.nan if end is None else float(end[k]) for end in (low, high)]
            found.append([*key, measure, float(values[:, k].mean()), *ends, *sizes, reason])
    columns = [*by, "measure", "mean", "low", "high", "n_regions", "n_images", "reason"]
    return pd.DataFrame(found, columns=columns)


MIN_REGIONS = 3
"""A slope and a rank correlation of two regions only repeat their order."""


def size_trend_values(tables: Tables, response: str = "z") -> pd.DataFrame:
    """Measure the trend of each branch's response with size in each image.

    Args:
        tables: One region table or a sequence of them.
        response: ``z``, ``z_whole``, ``z_core``, ``z_band`` or ``z_matched``.

    Returns:
        One row per image with at least 3 qualifying regions of more than one size: ``image``,
        ``regions``, and per branch r ``slope_{r}`` (Theil-Sen, percentile per octave) and
        ``spearman_{r}`` (0 when the branch answers all regions alike).
    """
    names = [f"{response}_{r}" for r in range(branch_count(tables, response))]
    table = merge_tables(tables, ["size_octave", "qualifies", *names])
    table = table[table["qualifies"].astype(bool)].dropna(subset=names)
    rows = []
    for image, group in table.groupby("image"):
        size = group["size_octave"].to_numpy(dtype=np.float64)
        if len(group) < MIN_REGIONS or np.ptp(size) == 0:
            continue
        row: dict[str, object] = {"image": image, "regions": len(group)}
        for r, name in enumerate(names):
            value = group[name].to_numpy(dtype=np.float64)
            row[f"slope_{r}"] = float(theilslopes(value, size).slope)
            row[f"spearman_{r}"] = _spearman(size, value)
        rows.append(row)
    trends = [f"{what}_{r}" for r in range(len(names)) for what in ("slope", "spearman")]
    return pd.DataFrame(rows, columns=["image", "regions", *trends])


def _spearman(size: npt.NDArray[np.float64], value: npt.NDArray[np.float64]) -> float:
    """Return the correlation of ranks; 0 when all values are equal."""
    ranks = rankdata(size) - (size.size + 1) / 2, rankdata(value) - (size.size + 1) / 2
    norms = np.sqrt((ranks[0] @ ranks[0]) * (ranks[1] @ ranks[1]))
    return float(ranks[0] @ ranks[1] / norms) if norms > 0 else 0.0


def size_trend(
    tables: Tables,
    *,
    response: str = "z",
    images: Images = EACH,
) -> pd.DataFrame:
    """Average the trends of :func:`size_trend_values` over images.

    Returns:
        One row per branch: ``branch``, ``slope``, ``slope_low``, ``slope_high`` (percentile per
        octave), ``spearman``, ``spearman_low``, ``spearman_high``, ``n_images``, ``reason`` (why a
        number is null). No number when no image has a trend.
    """
    values = size_trend_values(tables, response)
    branches = branch_count(tables, response)
    order = [f"{what}_{r}" for what in ("slope", "spearman") for r in range(branches)]
    numbers = values[order].to_numpy(dtype=np.float64)
    nothing = np.full(len(order), np.nan)
    if len(values) == 0:
        reason: str | None = "not estimated: no image has 3 regions of different sizes"
        mean, low, high = nothing, nothing, nothing
    else:
        mean = numbers.mean(axis=0)
        ends = image_mean_interval(values["image"].tolist(), numbers, images)
        low, high = [nothing if end is None else end for end in ends[:2]]
        reason = ends[2]
    columns: dict[str, object] = {"branch": np.arange(branches)}
    for k, what in enumerate(("slope", "spearman")):
        part = slice(k * branches, (k + 1) * branches)
        columns |= {what: mean[part], f"{what}_low": low[part], f"{what}_high": high[part]}
    return pd.DataFrame(columns | {"n_images": len(values), "reason": reason})
