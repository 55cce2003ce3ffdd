"""Estimates with their uncertainty: the Poisson bootstrap over images or clusters of images.

Pixels, regions and pairs of one image are not independent of each other; images (or blocks of
video frames) are. Each of these clusters gets a Poisson(1) weight in every replicate, drawn from a
stream of its own, so the result depends neither on the order of images nor on how they are split.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

REPLICATES = 2000
MIN_CLUSTERS = 10
"""Below this many clusters the percentile interval is not trustworthy and is not given."""
LEVEL = 0.95


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
    streams = [_stream(name, seed) for name in clusters]
    weights = np.stack([stream.poisson(1.0, replicates) for stream in streams])
    while (empty := weights.sum(axis=0) == 0).any():
        weights[:, empty] = np.stack([stream.poisson(1.0, int(empty.sum())) for stream in streams])
    return weights


def _stream(name: str, seed: int) -> np.random.Generator:
    digest = hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def image_mean_interval(
    images: Sequence[str],
    values: npt.NDArray[np.floating],
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
) -> tuple[npt.NDArray[np.float64] | None, npt.NDArray[np.float64] | None, str | None]:
    """Give the 95 % percentile interval of the unweighted mean over images.

    Args:
        images: n names, each once.
        values: (n, M) per-image values of M quantities, finite.
        clusters: Cluster of each image; images not named, and None, stand for themselves.
        seed: Of the weights.

    Returns:
        Low and high ends, (M,) each, and None; or None, None and the reason.
    """
    of_image = [(clusters or {}).get(image, image) for image in images]
    names, index = np.unique(np.array(of_image, dtype=object), return_inverse=True)
    if names.size < MIN_CLUSTERS:
        return None, None, f"{names.size} independent images, an interval needs {MIN_CLUSTERS}"
    sums = np.zeros((names.size, values.shape[1]))
    np.add.at(sums, index, values)
    weights = poisson_weights(names.tolist(), seed=seed)
    means = (weights.T @ sums) / (weights.T @ np.bincount(index))[:, None]
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    return low, high, None


def image_mean_estimate(
    images: Sequence[str],
    values: npt.NDArray[np.floating],
    n_pairs: int,
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Estimate:
    """Estimate the unweighted mean over images of one per-image value, (n,)."""
    if len(images) == 0:
        return Estimate(None, None, None, 0, 0, "not estimated: no image has a pair to compare")
    low, high, reason = image_mean_interval(images, values[:, None], clusters, seed)
    return Estimate(
        value=float(values.mean()),
        low=None if low is None else float(low[0]),
        high=None if high is None else float(high[0]),
        n_images=len(images),
        n_pairs=n_pairs,
        reason=reason,
    )
