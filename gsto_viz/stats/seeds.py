"""Claims about a method, not about two checkpoints: training seeds and images both vary.

An interval over images alone says nothing on what another training run would give.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
import numpy.typing as npt
from scipy.stats import permutation_test

from gsto_viz.errors import GstoVizError
from gsto_viz.stats.inference import (
    REPLICATES,
    Estimate,
    FloatArray,
    cluster_sums,
    named_stream,
    percentile_interval,
    poisson_weights,
    too_few,
)

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
    images: Sequence[str],
    a: npt.NDArray[np.floating],
    b: npt.NDArray[np.floating],
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Estimate:
    """Estimate B - A of two methods with an interval over training seeds and images.

    Pigeonhole bootstrap: seeds of A, seeds of B and clusters of images are drawn again
    independently of each other; a cell's weight is the product. With few seeds it is somewhat too
    narrow, for k seeds by about sqrt((k - 1) / k).

    Args:
        images: n names, each once.
        a: (seeds of A, n) per-image values, finite.
        b: (seeds of B, n).
        clusters: Cluster of each image; images not named, and None, stand for themselves.
        seed: Of the bootstrap.

    Returns:
        ``n_pairs`` is the number of seeds of A and B together; no interval, with the reason, below
        10 clusters or below 4 seeds in an arm.

    Raises:
        GstoVizError: The arrays do not have one column per image.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or {a.shape[1], b.shape[1]} != {len(images)}:
        raise GstoVizError(
            f"values of A {a.shape} and B {b.shape} do not fit {len(images)} images; "
            "give (seeds, images) each"
        )
    if 0 in (*a.shape, *b.shape):
        raise GstoVizError("an arm has no seed or no image; give at least one of each")
    value = float(b.mean() - a.mean())
    names, sums, counts = cluster_sums(images, np.concatenate([a, b]).T, clusters)
    reason = too_few(len(names))
    if min(len(a), len(b)) < MIN_SEEDS:
        reason = f"{len(a)} and {len(b)} training seeds, an interval needs {MIN_SEEDS} each"
    seeds = len(a) + len(b)
    if reason is not None:
        return Estimate(value, None, None, len(images), seeds, reason)
    weights = poisson_weights(names, seed=seed)
    means = (weights.T @ sums) / (weights.T @ counts)[:, None]
    arm_a = (means[:, : len(a)] * _seed_weights("A", len(a), seed)).sum(axis=1)
    arm_b = (means[:, len(a) :] * _seed_weights("B", len(b), seed)).sum(axis=1)
    low, high = percentile_interval((arm_b - arm_a)[:, None])
    return Estimate(value, float(low[0]), float(high[0]), len(images), seeds)


def _seed_weights(arm: str, count: int, seed: int) -> FloatArray:
    """Draw ``count`` seeds with replacement in every replicate, as shares, (REPLICATES, count)."""
    stream = named_stream(f"seeds\0{arm}", seed)
    return stream.multinomial(count, np.full(count, 1 / count), REPLICATES) / count
