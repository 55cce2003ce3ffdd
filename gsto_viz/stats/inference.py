"""Estimates with their uncertainty, tests of paired differences, means by group, and seeds.

Pixels, regions and pairs of one image are not independent of each other; images (or blocks of
video frames) are. Each of these clusters gets a Poisson(1) weight in every replicate of the
bootstrap, and one sign in the sign-flip test, drawn from a stream of its own, so the result depends
neither on the order of images nor on how they are split.

Tests start from per-image differences d_i = B - A. An interval over images alone says nothing on
what another training run would give: claims about methods need seeds.
"""

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import false_discovery_control, permutation_test

from gsto_viz.errors import GstoVizError
from gsto_viz.types import FloatArray

REPLICATES = 2000
MIN_CLUSTERS = 10
"""Below this many clusters the percentile interval is not trustworthy and is not given."""
LEVEL = 0.95
NOT_ESTIMATED = "not estimated: "
"""A ``reason`` begins so where there is no value at all."""


@dataclass(frozen=True)
class Images:
    """Which images are independent of each other, and the seed of all that is drawn."""

    clusters: Mapping[str, str] = field(default_factory=dict)
    """Cluster of each image (blocks of video frames); images not named stand for themselves."""
    seed: int = 0
    """Seed of bootstrap weights, signs and shuffles."""


EACH = Images()
"""Every image on its own, seed 0."""


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval and what it was made from."""

    value: float | None
    """None when it is not estimated; ``reason`` then says why."""
    low: float | None
    high: float | None
    """Ends of the interval; None when it is not estimated."""
    n_images: int
    """Images that count."""
    n_pairs: int
    """Pairs compared in these images."""
    reason: str | None = None
    """Why the value or the interval is missing; None when both are there."""


def not_estimated(reason: str, n_images: int = 0, n_pairs: int = 0) -> Estimate:
    """Return an estimate without a value, for a reason."""
    return Estimate(None, None, None, n_images, n_pairs, NOT_ESTIMATED + reason)


def poisson_weights(
    clusters: Sequence[str], replicates: int = REPLICATES, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Draw bootstrap weights, one Poisson(1) stream for each cluster.

    Replicates in which every weight is 0 are drawn again, from the same streams.

    Args:
        clusters: Names, each once.
        replicates: How many.
        seed: Together with a name it fixes that name's stream (never Python's ``hash``).

    Returns:
        (len(clusters), replicates), every column with a positive sum.
    """
    weights = np.stack([_first_draw(name, replicates, seed) for name in clusters]).astype(np.int64)
    empty = weights.sum(axis=0) == 0
    if empty.any():
        streams = [stream(seed, name) for name in clusters]
        for one in streams:
            one.poisson(1.0, replicates)
    while empty.any():
        weights[:, empty] = np.stack([one.poisson(1.0, int(empty.sum())) for one in streams])
        empty = weights.sum(axis=0) == 0
    return weights


@lru_cache(maxsize=4096)
def _first_draw(name: str, replicates: int, seed: int) -> npt.NDArray[np.uint8]:
    """Draw one cluster's weights; hundreds of estimates of one data set ask for the same ones."""
    drawn = stream(seed, name).poisson(1.0, replicates).astype(np.uint8)
    drawn.setflags(write=False)
    return drawn


def stream(*parts: Hashable) -> np.random.Generator:
    """Return a random stream fixed by ``parts`` (seed, name, draw...), never by Python's hash."""
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def cluster_sums(
    names: Sequence[str], values: npt.NDArray[np.floating], images: Images = EACH
) -> tuple[list[str], FloatArray, npt.NDArray[np.int64]]:
    """Add up per-image values within clusters.

    Args:
        names: n images, each once.
        values: (n, M) per-image values, finite.
        images: Their clusters.

    Returns:
        The K cluster names in alphabetical order, their sums (K, M), and their images (K,).
    """
    of_image = [images.clusters.get(name, name) for name in names]
    clusters, index = np.unique(np.array(of_image, dtype=object), return_inverse=True)
    sums = np.zeros((clusters.size, values.shape[1]))
    np.add.at(sums, index, values)
    return clusters.tolist(), sums, np.bincount(index, minlength=clusters.size)


def too_few(clusters: int) -> str | None:
    """Return why so many clusters are too few for an interval or a test; None when they are not.

    The sentence is what ``reason`` holds wherever a number is missing for this cause.
    """
    if clusters >= MIN_CLUSTERS:
        return None
    images = "image" if clusters == 1 else "images"
    return f"{clusters} independent {images}, an interval needs {MIN_CLUSTERS}"


def cause(reason: str | None) -> str:
    """Return a ``reason`` for a sentence that already says that there is no number."""
    return (reason or "undefined").removeprefix(NOT_ESTIMATED)


def weighted_sums(
    names: Sequence[str], values: npt.NDArray[np.floating], images: Images = EACH
) -> tuple[FloatArray, None] | tuple[None, str]:
    """Sum each of M per-image quantities in every bootstrap replicate.

    Ratios, contrasts and other functions of sums get their interval by being applied to each row.

    Args:
        names: n images, each once.
        values: (n, M) per-image values, finite.
        images: Their clusters, and the seed of the weights.

    Returns:
        (REPLICATES, M) and None; or None and the reason, below 10 clusters.
    """
    clusters, sums, _ = cluster_sums(names, values, images)
    reason = too_few(len(clusters))
    if reason is not None:
        return None, reason
    return poisson_weights(clusters, seed=images.seed).T @ sums, None


def percentile_interval(
    replicates: npt.NDArray[np.floating], level: float = LEVEL
) -> tuple[FloatArray, FloatArray]:
    """Return the low and high ends that leave (1 - level)/2 of the replicates (axis 0) outside."""
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(replicates, [tail, 100 - tail], axis=0)
    return low, high


def image_mean_interval(
    names: Sequence[str],
    values: npt.NDArray[np.floating],
    images: Images = EACH,
    level: float = LEVEL,
) -> tuple[FloatArray | None, FloatArray | None, str | None]:
    """Compute the percentile interval of the unweighted mean over images.

    Args:
        names: n images, each once.
        values: (n, M) per-image values of M quantities, finite.
        images: Their clusters, and the seed of the weights.
        level: Level of the interval; every estimate carries the one of 0.95.

    Returns:
        Low and high ends, (M,) each, and None; or None, None and the reason.
    """
    counted = np.column_stack([values, np.ones(len(names))])
    sums, reason = weighted_sums(names, counted, images)
    if sums is None:
        return None, None, reason
    low, high = percentile_interval(sums[:, :-1] / sums[:, -1:], level)
    return low, high, None


def image_mean_estimate(
    names: Sequence[str], values: npt.NDArray[np.floating], n_pairs: int, images: Images = EACH
) -> Estimate:
    """Estimate the unweighted mean over images of one per-image value, (n,)."""
    if len(names) == 0:
        return not_estimated("no image has a pair to compare")
    low, high, reason = image_mean_interval(names, values[:, None], images)
    return Estimate(
        value=float(values.mean()),
        low=None if low is None else float(low[0]),
        high=None if high is None else float(high[0]),
        n_images=len(names),
        n_pairs=n_pairs,
        reason=reason,
    )


def estimate(values: pd.DataFrame, images: Images = EACH) -> Estimate:
    """Estimate the unweighted mean over images of a table ``image``, ``value``, ``pairs``."""
    return image_mean_estimate(
        values["image"].tolist(),
        values["value"].to_numpy(dtype=np.float64),
        int(values["pairs"].sum()),
        images,
    )


def estimates_of(
    point: npt.NDArray[np.floating],
    replicates: npt.NDArray[np.floating] | None,
    n_images: int,
    n_pairs: int,
    reason: str | None,
) -> tuple[Estimate, ...]:
    """Turn M numbers and their bootstrap replicates into estimates.

    Args:
        point: (M,) values; NaN where undefined.
        replicates: (B, M), undefined ones NaN; None when there is no bootstrap.
        n_images: Images that count.
        n_pairs: Pairs, or regions, behind the numbers.
        reason: Why a value or an interval is missing, where one is.
    """
    result = []
    for m, value in enumerate(np.asarray(point, dtype=np.float64).tolist()):
        if np.isnan(value):
            result.append(Estimate(None, None, None, n_images, n_pairs, reason or "undefined"))
            continue
        drawn = np.empty(0) if replicates is None else replicates[:, m]
        drawn = drawn[np.isfinite(drawn)]
        if drawn.size < REPLICATES // 2:
            why = reason or "undefined in most bootstrap replicates"
            result.append(Estimate(value, None, None, n_images, n_pairs, why))
            continue
        low, high = percentile_interval(drawn[:, None])
        result.append(Estimate(value, float(low[0]), float(high[0]), n_images, n_pairs))
    return tuple(result)


def ratio(
    numerator: npt.NDArray[np.floating], denominator: npt.NDArray[Any], above: Any = 0.0
) -> FloatArray:
    """Divide where the denominator is above a limit; NaN elsewhere."""
    some = denominator > above
    return np.where(some, numerator / np.where(some, denominator, 1.0), np.nan)


def estimate_sums(
    names: Sequence[str],
    values: npt.NDArray[np.floating],
    quantities: Callable[[FloatArray], FloatArray],
    n_pairs: int,
    images: Images = EACH,
    *,
    undefined: str | None = None,
) -> tuple[Estimate, ...]:
    """Estimate functions of sums over images, such as ratios.

    Args:
        names: n images, each once.
        values: (n, ...) per-image values, finite.
        quantities: From sums (..., *values.shape[1:]) to (..., M) numbers.
        n_pairs: Pairs, regions or channels behind the numbers.
        undefined: Why a number is NaN, where one is; None: what the bootstrap says.
    """
    drawn, reason = weighted_sums(names, values.reshape(len(names), -1), images)
    replicates = None if drawn is None else quantities(drawn.reshape(-1, *values.shape[1:]))
    point = quantities(values.sum(axis=0))
    if undefined is not None and np.isnan(point).any():
        reason = NOT_ESTIMATED + undefined
    return estimates_of(point, replicates, len(names), n_pairs, reason)


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
        [1.0 - 2.0 * stream(seed, "sign", name).integers(0, 2, flips) for name in names]
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

    Returns:
        One row per group and measure, groups in order: the columns of ``by``, ``measure``,
        ``mean``, ``low``, ``high`` (95 %, null below 10 independent images), ``n_regions``,
        ``n_images``, ``reason`` (why there is no interval, else null).
    """
    keys = [*by, "image"]
    # Sorted, because pandas rounds the sums of a group otherwise where its rows lie apart.
    grouped = rows.sort_values(keys, kind="stable").groupby(keys)
    values = grouped[list(measures)].mean().to_numpy(dtype=np.float64)
    sizes = grouped.size() if counts is None else grouped[counts].sum()
    regions, names = sizes.to_numpy(), sizes.index.get_level_values("image").tolist()
    groups = list(zip(*(sizes.index.get_level_values(name) for name in by), strict=True))
    found: list[list[object]] = []
    for key, places in groupby(range(len(groups)), key=groups.__getitem__):
        at = list(places)
        low, high, reason = image_mean_interval([names[k] for k in at], values[at], images)
        for m, measure in enumerate(measures):
            ends = [np.nan if end is None else float(end[m]) for end in (low, high)]
            mean = float(values[at, m].mean())
            found.append([*key, measure, mean, *ends, int(regions[at].sum()), len(at), reason])
    columns = [*by, "measure", "mean", "low", "high", "n_regions", "n_images", "reason"]
    return pd.DataFrame(found, columns=columns)


MIN_SEEDS = 4
"""With three seeds an arm, no permutation p value can be below .10."""
MAX_SPLITS = 200_000


@dataclass(frozen=True)
class SeedPermutation:
    """Exact permutation test of two arms of training seeds."""

    difference: float
    """Mean of B's seeds minus mean of A's."""
    p: float | None
    """Two-sided; None when the splits cannot all be tried."""
    smallest_p: float
    """What p can be at best with so many seeds: 3 v 3 .10, 4 v 4 .029, 5 v 5 .008."""
    splits: int
    reason: str | None = None


def seed_permutation(a: Sequence[float], b: Sequence[float]) -> SeedPermutation:
    """Test whether two methods differ, by every way to share their seeds' means between them.

    Args:
        a: One number per training seed of method A (its mean over images).
        b: The same for B.

    Returns:
        The test; ``p`` is twice the smaller tail, counting the observed split.

    Raises:
        GstoVizError: An arm has no seed.
    """
    if not len(a) or not len(b):
        raise GstoVizError("an arm has no seed; give the mean of at least one run for A and B")
    splits = comb(len(a) + len(b), len(a))
    difference = float(np.mean(b) - np.mean(a))
    smallest = min(1.0, 2.0 / splits)
    if splits > MAX_SPLITS:
        reason = f"{splits} splits of {len(a)} and {len(b)} seeds are too many to try all"
        return SeedPermutation(difference, None, smallest, splits, reason)
    test = permutation_test(
        (np.asarray(b, dtype=np.float64), np.asarray(a, dtype=np.float64)),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        permutation_type="independent",
        vectorized=True,
        n_resamples=np.inf,
    )
    return SeedPermutation(difference, float(test.pvalue), smallest, splits)


def seed_image_difference(
    names: Sequence[str],
    a: npt.NDArray[np.floating],
    b: npt.NDArray[np.floating],
    images: Images = EACH,
) -> Estimate:
    """Estimate B - A of two methods with an interval over training seeds and images.

    Pigeonhole bootstrap: seeds of A, seeds of B and clusters of images are drawn again
    independently of each other; a cell's weight is the product. With few seeds it is somewhat too
    narrow, for k seeds by about sqrt((k - 1) / k).

    Args:
        names: n images, each once.
        a: (seeds of A, n) per-image values, finite.
        b: (seeds of B, n).
        images: Their clusters, and the seed of the bootstrap.

    Returns:
        ``n_pairs`` is the number of seeds of A and B together; no interval, with the reason, below
        10 clusters or below 4 seeds in an arm.

    Raises:
        GstoVizError: The arrays do not have one column per image.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or {a.shape[1], b.shape[1]} != {len(names)}:
        raise GstoVizError(
            f"values of A {a.shape} and B {b.shape} do not fit {len(names)} images; "
            "give (seeds, images) each"
        )
    if 0 in (*a.shape, *b.shape):
        raise GstoVizError("an arm has no seed or no image; give at least one of each")
    value = float(b.mean() - a.mean())
    clusters, sums, counts = cluster_sums(names, np.concatenate([a, b]).T, images)
    reason = too_few(len(clusters))
    if min(len(a), len(b)) < MIN_SEEDS:
        reason = f"{len(a)} and {len(b)} training seeds, an interval needs {MIN_SEEDS} each"
    seeds = len(a) + len(b)
    if reason is not None:
        return Estimate(value, None, None, len(names), seeds, reason)
    weights = poisson_weights(clusters, seed=images.seed)
    means = (weights.T @ sums) / (weights.T @ counts)[:, None]
    arm_a = (means[:, : len(a)] * _seed_weights("A", len(a), images.seed)).sum(axis=1)
    arm_b = (means[:, len(a) :] * _seed_weights("B", len(b), images.seed)).sum(axis=1)
    low, high = percentile_interval((arm_b - arm_a)[:, None])
    return Estimate(value, float(low[0]), float(high[0]), len(names), seeds)


def _seed_weights(arm: str, count: int, seed: int) -> FloatArray:
    """Draw ``count`` seeds with replacement in every replicate, as shares, (REPLICATES, count)."""
    drawn = stream(seed, "seeds", arm)
    return drawn.multinomial(count, np.full(count, 1 / count), REPLICATES) / count
