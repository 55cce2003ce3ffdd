"""Tuning curves: which size each branch answers for most, and whether that follows its stride."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.errors import GstoVizError
from gsto_viz.stats.inference import (
    Estimate,
    FloatArray,
    cluster_sums,
    estimates_of,
    too_few,
    weighted_sums,
)
from gsto_viz.stats.interaction import scale_interaction
from gsto_viz.stats.tables import Tables, branch_count, merge_tables

MIN_IMAGES = 30
"""Size octaves found in fewer images are too noisy for the minimum that centres subtract."""


@dataclass(frozen=True, eq=False)
class OctaveMeans:
    """Mean response per image, branch and size octave: what images add to the tuning matrix."""

    images: tuple[str, ...]
    octaves: tuple[int, ...]
    """B octaves; octave o holds o <= log2 sqrt(area) < o + 1."""
    values: FloatArray
    """(n, R, B); 0 where the image has no such region."""
    regions: npt.NDArray[np.int64]
    """(n, B): regions of the image in the octave."""

    @property
    def matrix(self) -> FloatArray:
        """(R, B): mean over regions within images, then over images."""
        return self.values.sum(axis=0) / (self.regions > 0).sum(axis=0)


@dataclass(frozen=True, eq=False)
class Tuning:
    """Tuning of every branch; ``n_pairs`` of its estimates counts regions."""

    strides: tuple[int, ...]
    octaves: tuple[int, ...]
    """Octaves found in enough images; the others are left out."""
    matrix: FloatArray
    """(R, B) mean percentile response."""
    n_images: tuple[int, ...]
    """Images behind each octave."""
    centers: tuple[Estimate, ...]
    """Per branch, octaves; after the branch's smallest response is subtracted."""
    span: Estimate
    """Centre of the coarsest branch minus that of the finest, octaves; 0 without tuning."""
    slope: Estimate
    """Octaves of centre per octave of stride: 1 ideal, 0 none, below 0 reversed."""
    direct_centers: tuple[Estimate, ...]
    """Response-weighted mean size, octaves; a constant in the response pulls them together."""
    direct_span: Estimate
    sic: Estimate
    """Scale Interaction Coefficient of the matrix."""


def octave_means(tables: Tables, response: str = "z", min_images: int = 1) -> OctaveMeans:
    """Average responses over the regions of each image and octave.

    Args:
        tables: One region table or a sequence of them.
        response: ``z``, ``z_whole``, ``z_core``, ``z_band`` or ``z_matched``.
        min_images: Octaves found in fewer images are left out.
    """
    table, names = _regions(tables, response)
    octave = np.floor(table["size_octave"]).astype(np.int64)
    grouped = table.groupby([table["image"], octave])[names]
    means, sizes = grouped.mean(), grouped.size()
    images = tuple(sorted(table["image"].unique()))
    counts = sizes.groupby(level=1).size()
    octaves = tuple(int(o) for o in counts.index[counts >= min_images])
    values = np.zeros((len(images), len(names), len(octaves)))
    regions = np.zeros((len(images), len(octaves)), dtype=np.int64)
    for b, o in enumerate(octaves):
        at = pd.Index(images).get_indexer(means.xs(o, level=1).index)
        values[at, :, b] = means.xs(o, level=1).to_numpy()
        regions[at, b] = sizes.xs(o, level=1).to_numpy()
    return OctaveMeans(images, octaves, values, regions)


def _regions(tables: Tables, response: str) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows that qualify and have every response, and the names of the responses."""
    names = [f"{response}_{r}" for r in range(branch_count(tables, response))]
    table = merge_tables(tables, ["size_octave", "qualifies", *names])
    return table[table["qualifies"].astype(bool)].dropna(subset=names), names


def tuning_centers(
    matrices: npt.NDArray[np.floating], octaves: Sequence[int]
) -> npt.NDArray[np.float64]:
    r"""Compute the centres of tuning curves.

    .. math:: \mu_r = \sum_b (T_{rb} - \min_b T_r) c_b / \sum_b (T_{rb} - \min_b T_r)

    with c_b the middle of octave bin b. A constant added to a branch's responses changes nothing.

    Args:
        matrices: (..., R, B).
        octaves: Lower ends of the B bins.

    Returns:
        (..., R) octaves; NaN for a branch that answers all sizes alike.
    """
    middles = np.asarray(octaves, dtype=np.float64) + 0.5
    matrices = np.asarray(matrices, dtype=np.float64)
    excess = matrices - matrices.min(axis=-1, keepdims=True)
    total = excess.sum(axis=-1)
    tuned = total > 1e-12
    return np.where(tuned, (excess @ middles) / np.where(tuned, total, 1.0), np.nan)


def tracking_slope(
    centers: npt.NDArray[np.floating], strides: Sequence[int]
) -> npt.NDArray[np.float64]:
    """Return the least-squares slope of centres (..., R) on log2 stride, octaves per octave."""
    steps = np.log2(np.asarray(strides, dtype=np.float64))
    steps = steps - steps.mean()
    return np.asarray(centers, dtype=np.float64) @ steps / (steps @ steps)


def tuning(
    tables: Tables,
    strides: Sequence[int] = (4, 8, 16, 32),
    *,
    response: str = "z",
    min_images: int = MIN_IMAGES,
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Tuning:
    """Measure the tuning of every branch with intervals over images.

    Args:
        tables: One region table or a sequence of them.
        strides: Pixels per cell of each branch.
        response: Which responses, as in :func:`octave_means`.
        min_images: Octaves found in fewer images are left out.
        clusters: Cluster of each image (blocks of video frames).
        seed: Of the bootstrap.

    Returns:
        Estimates are None, with the reason, when fewer than two octaves are left.

    Raises:
        GstoVizError: The number of strides is not that of the branches, or there is only one.
    """
    means = octave_means(tables, response, min_images)
    branches = means.values.shape[1]
    if len(strides) != branches or branches < 2:
        raise GstoVizError(
            f"{len(strides)} strides for {branches} branches; give one per branch, two or more"
        )
    if len(means.octaves) < 2:
        reason = (
            f"not estimated: {len(means.octaves)} size octaves are found in {min_images} images "
            "or more, tuning needs 2"
        )
        tuned = [Estimate(None, None, None, len(means.images), 0, reason)] * (branches + 3)
    else:
        tuned = _tuned(means, strides, clusters, seed)
    direct = _direct(tables, response, clusters, seed)
    return Tuning(
        strides=tuple(int(stride) for stride in strides),
        octaves=means.octaves,
        matrix=means.matrix,
        n_images=tuple((means.regions > 0).sum(axis=0).tolist()),
        centers=tuple(tuned[:branches]),
        span=tuned[branches],
        slope=tuned[branches + 1],
        sic=tuned[branches + 2],
        direct_centers=direct[:branches],
        direct_span=direct[branches],
    )


def _tuned(
    means: OctaveMeans, strides: Sequence[int], clusters: Mapping[str, str] | None, seed: int
) -> list[Estimate]:
    """Estimate centres, span, slope and SIC, in this order."""

    def quantities(matrices: FloatArray) -> FloatArray:
        centers = tuning_centers(matrices, means.octaves)
        span = centers[..., -1] - centers[..., 0]
        sic = scale_interaction(matrices, strides, means.octaves)
        rest = np.stack([span, tracking_slope(centers, strides), sic], axis=-1)
        return np.concatenate([centers, rest], axis=-1)

    images, shape = list(means.images), means.matrix.shape
    present = (means.regions > 0).astype(np.float64)
    flat = np.concatenate([means.values.reshape(len(images), -1), present], axis=1)
    sums, reason = weighted_sums(images, flat, clusters, seed)
    # In a replicate an octave may be left without an image; rare with 10 clusters an octave.
    fewest = int((cluster_sums(images, present, clusters)[1] > 0).sum(axis=0).min())
    if too_few(fewest) is not None:
        sums, reason = None, f"an octave has {too_few(fewest)}"
    replicates = None
    if sums is not None:
        counts = sums[:, -shape[1] :]
        kept = (counts > 0).all(axis=1)
        totals = sums[kept, : -shape[1]].reshape(-1, *shape)
        replicates = quantities(totals / counts[kept, None])
    point = quantities(means.matrix)
    if np.isnan(point).any():
        reason = "not estimated: a branch answers all sizes alike"
    regions = int(means.regions.sum())
    return list(estimates_of(point, replicates, len(images), regions, reason))


def _direct(
    tables: Tables, response: str, clusters: Mapping[str, str] | None, seed: int
) -> tuple[Estimate, ...]:
    """Estimate sum Z l / sum Z of each branch, and the span between first and last."""
    table, names = _regions(tables, response)
    branches = len(names)
    weighted = table[names].mul(table["size_octave"], axis=0).add_suffix("_l")
    sums = pd.concat([weighted, table[names]], axis=1).groupby(table["image"]).sum()

    def quantities(totals: FloatArray) -> FloatArray:
        centers = totals[..., :branches] / totals[..., branches:]
        return np.concatenate([centers, centers[..., -1:] - centers[..., :1]], axis=-1)

    if sums.empty:
        why = "not estimated: no region qualifies"
        return (Estimate(None, None, None, 0, 0, why),) * (branches + 1)
    images, values = sums.index.tolist(), sums.to_numpy(dtype=np.float64)
    drawn, reason = weighted_sums(images, values, clusters, seed)
    replicates = None if drawn is None else quantities(drawn)
    point = quantities(values.sum(axis=0))
    return estimates_of(point, replicates, len(images), len(table), reason)
