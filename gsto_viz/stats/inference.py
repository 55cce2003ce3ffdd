"""Estimates with their uncertainty: the Poisson bootstrap over images or clusters of images.

Pixels, regions and pairs of one image are not independent of each other; images (or blocks of
video frames) are. Each of these clusters gets a Poisson(1) weight in every replicate, drawn from a
stream of its own, so the result depends neither on the order of images nor on how they are split.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd

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
    """Of bootstrap weights, signs and shuffles."""


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
        streams = [named_stream(name, seed) for name in clusters]
        for stream in streams:
            stream.poisson(1.0, replicates)
    while empty.any():
        weights[:, empty] = np.stack([stream.poisson(1.0, int(empty.sum())) for stream in streams])
        empty = weights.sum(axis=0) == 0
    return weights


@lru_cache(maxsize=4096)
def _first_draw(name: str, replicates: int, seed: int) -> npt.NDArray[np.uint8]:
    """Draw one cluster's weights; hundreds of estimates of one data set ask for the same ones."""
    drawn = named_stream(name, seed).poisson(1.0, replicates).astype(np.uint8)
    drawn.setflags(write=False)
    return drawn


def named_stream(name: str, seed: int) -> np.random.Generator:
    """Return the random stream that belongs to a name and a seed, the same on every machine."""
    digest = hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=16).digest()
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
    """Say that so many clusters are too few for an interval or a test, or None when they are not.

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
    """Give the percentile interval of the unweighted mean over images.

    Args:
        names: n images, each once.
        values: (n, M) per-image values of M quantities, finite.
        images: Their clusters, and the seed of the weights.
        level: Of the interval; 0.95 is what every estimate carries.

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
        return Estimate(None, None, None, 0, 0, f"{NOT_ESTIMATED}no image has a pair to compare")
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
