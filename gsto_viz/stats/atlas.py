r"""What the features of the branches are like: variance, spectral redundancy, similarity.

None of it is evidence of scale awareness; it describes what awareness is read from.

**Disequilibrium.** "Scale" here means magnitude, as in Scale Equalization (Kim and Kim, TMLR 2024,
arXiv:2402.01149). V_r is the variance of branch r after bilinear resizing to the finest grid, and
:math:`DR = \log_2 (\max_r V_r / \min_r V_r)` is 0 in equilibrium. Any gain of a branch changes it.

**Redundancy.** B averages 2x2 blocks and repeats the average over them: an orthogonal projector.
:math:`\rho_r = \|B(F_r - \mu)\|^2 / \|F_r - \mu\|^2`, mean over channels that vary, is the share of
a branch's energy that branch r+1's grid could hold: 0.25 for white noise. Compare it with that of
the picture itself on the same grid: more, on the finest branch, is coarse content.

**Similarity.** Unbiased linear CKA of one pooled vector per object, one object per image:

.. math:: CKA(r, q) = \frac{\sum_b HSIC_1(K_r, K_q)}
          {\sqrt{\sum_b HSIC_1(K_r, K_r) \sum_b HSIC_1(K_q, K_q)}}

with K_r = X_r X_r^T over minibatches b: 0 for independent branches, 1 for branches that agree up to
rotation. Channels are divided by their standard deviation, so that gains do not matter.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.errors import GstoVizError
from gsto_viz.stats.inference import EACH, Estimate, Images, estimate_sums, ratio, stream
from gsto_viz.stats.upsampling import SUMS, resizing, shares_kept
from gsto_viz.types import FloatArray

PICTURE = -1
"""The ``channel`` of the picture itself, brought to the grid of a branch."""
BLOCKS, RESIZED = ("cells", "sum", "squares", "held"), ("up_cells", "up_sum", "up_squares")
BATCH = 64
MIN_OBJECTS = 4
"""Unbiased HSIC divides by n (n - 3)."""


@dataclass(frozen=True, eq=False)
class Atlas:
    """The features of one network; ``n_pairs`` of its estimates counts channels."""

    variance: tuple[Estimate, ...]
    """V_r of every branch, in squared units of the features."""
    disequilibrium: Estimate
    """DR, octaves of variance."""
    redundancy: tuple[Estimate, ...]
    """rho_r of every branch, in [0, 1]."""
    picture: tuple[Estimate, ...]
    """The same of the picture on the grid of each branch."""
    cka: FloatArray
    """(R, R): 1 on the diagonal; NaN when there are too few objects or a branch does not vary."""
    objects: int
    """Objects behind it, each of another image; 64 or more are better."""


def feature_sums(
    features: npt.NDArray[np.floating], size: tuple[int, int], *, align_corners: bool = False
) -> dict[str, FloatArray]:
    """Sum what the atlas needs of one map, channel by channel; sums of images add up.

    Args:
        features: (C, h, w).
        size: (H, W) of the finest grid.
        align_corners: How the network resizes.

    Returns:
        (C,) each: ``cells``, ``sum``, ``squares`` and ``held`` (energy of 2x2 block averages) over
        whole blocks, an odd last row or column left out (0 where there is no block); ``up_cells``,
        ``up_sum`` and ``up_squares`` after bilinear resizing to ``size``.

    Raises:
        GstoVizError: The map is not (C, h, w) or empty, or a value is not finite.
    """
    values = np.asarray(features, dtype=np.float64)
    if values.ndim != 3 or values.size == 0:
        raise GstoVizError(f"features are {values.shape}; give (C, h, w) of one cell or more")
    if not np.isfinite(values).all():
        raise GstoVizError("features hold NaN or infinity; look at the image and the weights")
    channels, height, width = (values.shape[0], *(side // 2 for side in values.shape[1:]))
    whole = values[:, : 2 * height, : 2 * width]
    means = whole.reshape(channels, height, 2, width, 2).mean(axis=(2, 4))
    rows, columns = (
        resizing(values.shape[k + 1], size[k], align_corners=align_corners) for k in (0, 1)
    )
    # <F, A F B> with A = R^T R is the energy of R F C^T, which is never formed.
    resized = rows.T @ rows @ values @ (columns.T @ columns)
    return {
        "cells": np.full(channels, 4.0 * height * width),
        "sum": whole.sum(axis=(1, 2)),
        "squares": (whole**2).sum(axis=(1, 2)),
        "held": 4 * (means**2).sum(axis=(1, 2)),
        "up_cells": np.full(channels, float(size[0] * size[1])),
        "up_sum": rows.sum(axis=0) @ values @ columns.sum(axis=0),
        "up_squares": (values * resized).sum(axis=(1, 2)),
    }


def atlas(rows: pd.DataFrame, *, images: Images = EACH) -> Atlas:
    """Describe the features of one network.

    Args:
        rows: One row per image, branch and channel: ``image``, ``branch``, ``channel``, the sums
            of :func:`feature_sums`, and ``object``, the channel's mean over one object (NaN
            without one). Rows of ``channel`` -1 are of the picture.
    """
    picture = rows["channel"] == PICTURE
    own = rows[~picture]
    branches = range(int(own["branch"].max()) + 1)
    variance = _estimated(own, "branch", RESIZED, _variances, images)

    def shares(table: pd.DataFrame) -> tuple[Estimate, ...]:
        of_branch = (table[table["branch"] == r] for r in branches)
        return tuple(
            _estimated(one, "channel", BLOCKS, _shares_held, images)[0] for one in of_branch
        )

    similarity, objects = _similarity(own, len(branches), images.seed)
    return Atlas(
        variance=variance[:-1],
        disequilibrium=variance[-1],
        redundancy=shares(own),
        picture=shares(rows[picture]),
        cka=similarity,
        objects=objects,
    )


def enlargement(rows: pd.DataFrame, *, images: Images = EACH) -> pd.DataFrame:
    """Compare what bilinear enlargement leaves of the variance of each branch with the law.

    Args:
        rows: One row per image and branch: ``image``, ``branch``, ``height`` and ``width`` of its
            map and the sums of ``gsto_viz.stats.upsampling.SUMS``.

    Returns:
        By ``branch``: ``factor`` along an axis, the commonest ``height`` and ``width``, ``kept``
        (variance after over before) with ``low`` and ``high``, ``predicted`` by the law from the
        products of neighbours, ``correlation`` of neighbours, ``n_images`` and ``reason``.
    """

    def kept(totals: FloatArray) -> FloatArray:
        return shares_kept(totals)[0]

    totals = rows.groupby("branch")[list(SUMS)].sum()
    _, predicted, correlation = shares_kept(totals.to_numpy(dtype=np.float64).T)
    found = []
    for r, one in enumerate(_estimated(rows, "branch", SUMS, kept, images)):
        own, sums = rows[rows["branch"] == r], totals.loc[r]
        (height, width), _ = Counter(zip(own["height"], own["width"], strict=True)).most_common()[0]
        found.append(
            {
                "branch": r,
                "factor": float(np.sqrt(sums["up_cells"] / sums["cells"])),
                "height": int(height),
                "width": int(width),
                "kept": one.value,
                "low": one.low,
                "high": one.high,
                "predicted": float(predicted[r]),
                "correlation": float(correlation[r]),
                "n_images": one.n_images,
                "reason": one.reason,
            }
        )
    return pd.DataFrame(found)


PASSED = ("cells", "sum", "squares", "after_sum", "after_squares")
"""Sums of what enters an equalizer and of what leaves it."""


@dataclass(frozen=True)
class Equalized:
    """The equalizers of one head on the images of an analysis.

    Attributes:
        head: Dotted name of the module.
        sites: Names of its equalizers.
        variance: In front of each.
        mean_after: Behind each: 0 on the images of their estimate.
        variance_after: Behind each: 1 on the images of their estimate.
        disequilibrium: Octaves between the greatest and the least variance in front of them.
        disequilibrium_after: Behind them: 0 on the images of their estimate.
    """

    head: str
    sites: tuple[str, ...]
    variance: tuple[Estimate, ...]
    mean_after: tuple[Estimate, ...]
    variance_after: tuple[Estimate, ...]
    disequilibrium: float | None
    disequilibrium_after: float | None


def equalized(rows: pd.DataFrame, *, images: Images = EACH) -> tuple[Equalized, ...]:
    """Measure what equalizers do.

    Args:
        rows: One row per image and equalizer: ``image``, ``site``, and the sums of ``PASSED``.
    """

    def moments(totals: FloatArray) -> FloatArray:
        before, after = (_variances(totals[..., [0, *k], :]) for k in ((1, 2), (3, 4)))
        mean = totals[..., 3, :] / totals[..., 0, :]
        return np.concatenate([before, mean, after], axis=-1)

    found = []
    # In the order of computation, which the rows of every image have.
    sites = list(dict.fromkeys(rows["site"]))
    for head in dict.fromkeys(site.rpartition(".equalizers.")[0] for site in sites):
        own = tuple(site for site in sites if site.rpartition(".equalizers.")[0] == head)
        numbered = rows[rows["site"].isin(own)]
        numbered = numbered.assign(number=numbered["site"].map(own.index))
        each = _estimated(numbered, "number", PASSED, moments, images)
        n = len(own)
        before, mean, after = each[:n], each[n + 1 : 2 * n + 1], each[2 * n + 1 : 3 * n + 1]
        spread = (each[n].value, each[-1].value)
        found.append(Equalized(head, own, before, mean, after, *spread))
    return tuple(found)


def _estimated(
    rows: pd.DataFrame,
    group: str,
    sums: Sequence[str],
    quantities: Callable[[FloatArray], FloatArray],
    images: Images,
) -> tuple[Estimate, ...]:
    """Estimate functions of sums over images.

    Args:
        rows: ``image``, ``group`` and the sums.
        group: Column to add the sums of an image up by.
        sums: Columns.
        quantities: From (..., sums, groups) to (..., M).
    """
    tables = [
        rows.pivot_table(index="image", columns=group, values=name, aggfunc="sum") for name in sums
    ]
    names, values = tables[0].index.tolist(), np.stack([one.to_numpy() for one in tables], axis=1)
    each = len(rows) // len(names)
    why = "a branch does not vary"
    return estimate_sums(names, values, quantities, each, images, undefined=why)


def _variances(totals: FloatArray) -> FloatArray:
    """Return V_r of every branch, and DR, from ``RESIZED`` sums (..., 3, R)."""
    cells, total, squares = (totals[..., k, :] for k in range(len(RESIZED)))
    variance = np.maximum(squares / cells - (total / cells) ** 2, 0.0)
    low, high = variance.min(axis=-1), variance.max(axis=-1)
    varies = low > 0
    ratio = np.log2(np.where(varies, high, 1.0) / np.where(varies, low, 1.0))
    return np.concatenate([variance, np.where(varies, ratio, np.nan)[..., None]], axis=-1)


def _energies(totals: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return ||B(F - mu)||^2 and ||F - mu||^2, 0 where it is rounding, from sums (..., 4, C)."""
    cells, total, squares, held = (totals[..., k, :] for k in range(len(BLOCKS)))
    offset = total**2 / np.maximum(cells, 1.0)
    energy = squares - offset
    return held - offset, np.where(energy > 1e-12 * squares, energy, 0.0)


def _shares_held(totals: FloatArray) -> FloatArray:
    """Return rho, the mean over channels that vary, (..., 1)."""
    held, energy = _energies(totals)
    there = energy > 0
    shares = np.where(there, held / np.where(there, energy, 1.0), 0.0)
    return ratio(shares.sum(axis=-1), there.sum(axis=-1))[..., None]


def _similarity(rows: pd.DataFrame, branches: int, seed: int) -> tuple[FloatArray, int]:
    """Return CKA between all branches, and the objects behind it."""
    wide = rows.pivot(index="image", columns=["branch", "channel"], values="object").dropna()
    sums = rows.groupby(["branch", "channel"])[list(BLOCKS)].sum().loc[wide.columns]
    spread = np.sqrt(_energies(sums.to_numpy().T)[1] / np.maximum(sums["cells"].to_numpy(), 1.0))
    if len(wide) < MIN_OBJECTS:
        return np.full((branches, branches), np.nan), len(wide)
    scaled = wide.to_numpy(dtype=np.float64) / np.where(spread > 0, spread, np.inf)
    of_branch = wide.columns.get_level_values("branch").to_numpy()
    order = stream("atlas", seed).permutation(len(wide))
    total = np.zeros((branches, branches))
    for batch in np.array_split(order, -(-len(order) // BATCH)):
        total += cka_sums([scaled[batch][:, of_branch == r] for r in range(branches)])
    return cka(total), len(wide)


def hsic(first: FloatArray, second: FloatArray) -> float:
    """Return the unbiased HSIC of two Gram matrices (n, n), n >= 4: 0 on average when independent.

    The estimator of Song et al. (2012), with the diagonals set to 0.
    """
    n = len(first)
    k, m = first - np.diag(np.diag(first)), second - np.diag(np.diag(second))
    totals = k.sum() * m.sum() / ((n - 1) * (n - 2))
    rows = 2 * (k.sum(axis=0) @ m.sum(axis=0)) / (n - 2)
    return float(((k * m).sum() + totals - rows) / (n * (n - 3)))


def cka_sums(vectors: Sequence[FloatArray]) -> FloatArray:
    """Return HSIC between all branches for one minibatch; sums of minibatches add up.

    Args:
        vectors: Per branch, (n, C_r): one vector per object, the same n >= 4 objects in all.

    Returns:
        (R, R), symmetric.
    """
    # Centring changes nothing in exact arithmetic and keeps digits when the mean is large.
    grams = [(a - a.mean(axis=0)) @ (a - a.mean(axis=0)).T for a in vectors]
    return np.array([[hsic(one, other) for other in grams] for one in grams])


def cka(sums: FloatArray) -> FloatArray:
    """Turn added :func:`cka_sums` (R, R) into CKA; NaN where a branch does not vary."""
    own = np.diagonal(sums)
    root = np.sqrt(np.where(own > 0, own, np.nan))
    return sums / (root[:, None] * root)
