r"""Redundancy between branches: unbiased linear CKA over minibatches of objects.

.. math:: CKA(r, q) = \frac{\sum_b HSIC_1(K_r, K_q)}
          {\sqrt{\sum_b HSIC_1(K_r, K_r) \sum_b HSIC_1(K_q, K_q)}}

where K_r = X_r X_r^T of a minibatch of one pooled vector per object, and at most one object per
image, so that no image counts twice within a batch. 0 for independent branches, 1 for branches that
agree up to rotation and gain. It is undirected, and never evidence of scale awareness on its own.
Divide channels by their standard deviation first when gains must not matter.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gsto_viz.activity import FloatMap
from gsto_viz.errors import GstoVizError
from gsto_viz.stats.nulls import stream

MIN_OBJECTS = 4
"""The unbiased estimator divides by n (n - 3)."""
BATCH_OBJECTS = 64


def object_batches(
    images: Sequence[str], size: int = BATCH_OBJECTS, seed: int = 0
) -> list[npt.NDArray[np.int64]]:
    """Deal objects into minibatches with at most one object of each image.

    Args:
        images: Image of each object.
        size: Most objects of a batch.
        seed: Of the dealing.

    Returns:
        Indices of the objects of each batch, at least 4 in each; objects of images that have many
        more than the others may stay out.

    Raises:
        GstoVizError: ``size`` is below 4.
    """
    if size < MIN_OBJECTS:
        raise GstoVizError(f"batches of {size} objects are too small for CKA; give at least 4")
    names = np.array(images, dtype=object)
    rounds: dict[int, list[int]] = {}
    for image in sorted(set(images)):
        rows = np.flatnonzero(names == image)
        for turn, row in enumerate(stream("batches", seed, image).permutation(rows).tolist()):
            rounds.setdefault(turn, []).append(row)
    batches = []
    for turn, members in sorted(rounds.items()):
        order = stream("batches", seed, turn).permutation(np.array(members))
        # Parts of equal size, so that no small remainder is thrown away.
        batches += np.array_split(order, -(-len(order) // size))
    return [batch for batch in batches if len(batch) >= MIN_OBJECTS]


def hsic(first: FloatMap, second: FloatMap) -> float:
    """Return the unbiased HSIC of two Gram matrices (n, n): 0 on average when independent.

    The estimator of Song et al. (2012), with the diagonals set to 0.

    Raises:
        GstoVizError: n is below 4, or the shapes differ.
    """
    n = len(first)
    if first.shape != (n, n) or second.shape != (n, n):
        raise GstoVizError(f"Gram matrices of {first.shape} and {second.shape}; give two of (n, n)")
    if n < MIN_OBJECTS:
        raise GstoVizError(f"not estimated: {n} objects in a batch, unbiased CKA needs 4")
    k, m = first - np.diag(np.diag(first)), second - np.diag(np.diag(second))
    trace = (k * m).sum()
    totals = k.sum() * m.sum() / ((n - 1) * (n - 2))
    rows = 2 * (k.sum(axis=0) @ m.sum(axis=0)) / (n - 2)
    return float((trace + totals - rows) / (n * (n - 3)))


def cka_sums(vectors: Sequence[npt.NDArray[np.floating]]) -> FloatMap:
    """Return HSIC between all branches for one minibatch; sums of minibatches add up.

    Args:
        vectors: Per branch, (n, C_r): one pooled vector per object, the same objects in all.

    Returns:
        (R, R), symmetric.

    Raises:
        GstoVizError: Numbers of objects differ or are below 4, or a value is not finite.
    """
    arrays = [np.asarray(v, dtype=np.float64) for v in vectors]
    if any(a.ndim != 2 or len(a) != len(arrays[0]) for a in arrays):
        raise GstoVizError(
            f"vectors of shapes {[a.shape for a in arrays]}; give (n, C) of the same n objects"
        )
    if not all(np.isfinite(a).all() for a in arrays):
        raise GstoVizError("pooled vectors hold NaN or infinity; leave such objects out")
    # Centring changes nothing in exact arithmetic and keeps digits when the mean is large.
    grams = [(a - a.mean(axis=0)) @ (a - a.mean(axis=0)).T for a in arrays]
    sums = np.zeros((len(grams), len(grams)))
    for r, first in enumerate(grams):
        for q, second in enumerate(grams[: r + 1]):
            sums[r, q] = sums[q, r] = hsic(first, second)
    return sums


def cka(sums: npt.NDArray[np.floating]) -> FloatMap:
    """Turn added :func:`cka_sums` into CKA.

    Args:
        sums: (..., R, R), e.g. one matrix per size bin.

    Returns:
        The same shape; near 0 independent (single values may be below 0), 1 on the diagonal; NaN
        where a branch does not vary over the objects.
    """
    sums = np.asarray(sums, dtype=np.float64)
    own = np.diagonal(sums, axis1=-2, axis2=-1)
    root = np.sqrt(np.where(own > 0, own, np.nan))
    return sums / (root[..., :, None] * root[..., None, :])
