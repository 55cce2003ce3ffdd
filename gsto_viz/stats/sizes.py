"""Which object sizes a branch answers for: responses by octave, tuning curves, profiles."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata, theilslopes

from gsto_viz.errors import GstoVizError
from gsto_viz.stats.boundary import GROUPS, BoundaryCounts, merge_counts
from gsto_viz.stats.inference import (
    EACH,
    Estimate,
    Images,
    cluster_sums,
    estimate_sums,
    estimates_of,
    image_mean_interval,
    mean_by_group,
    not_estimated,
    ratio,
    too_few,
    weighted_sums,
)
from gsto_viz.stats.information import scale_interaction
from gsto_viz.stats.pairs import Tables, branch_count, responses
from gsto_viz.types import FloatArray, Stride

SIZE_COLUMNS = {
    "branch": "int64",
    "stride": "int64",
    "octave": "int64",
    "mean": "float64",
    "low": "float64",
    "high": "float64",
    "n_regions": "int64",
    "n_images": "int64",
    "reason": "object",
}
"""Columns of :func:`response_by_octave` and their types."""


def response_by_octave(
    tables: Tables,
    strides: Sequence[Stride] = (4, 8, 16, 32),
    *,
    response: str = "z",
    images: Images = EACH,
) -> pd.DataFrame:
    """Average the percentile response of each branch over regions of each size octave.

    Octave o holds the regions with o <= log2 sqrt(area) < o + 1. Regions are averaged within an
    image first and images then, so an image with many regions does not outweigh others. Only
    regions that qualify count.

    Args:
        strides: Pixels per cell of each branch.
        response: Which responses: ``z`` (core or whole, as each region's ``part`` says),
            ``z_whole``, ``z_core``, ``z_band`` or ``z_matched``.

    Returns:
        One row per branch and octave that has regions, by branch and octave: ``branch`` (0 = the
        finest), ``stride`` (px, or as ``Stride`` has it), ``octave``, ``mean`` in (0, 1), ``low``
        and ``high`` (95 % percentile bootstrap over images, null below 10 of them), ``n_regions``,
        ``n_images``, and ``reason`` (why there is no interval, else null).

    Raises:
        GstoVizError: A column is missing or the number of strides is not that of the branches.
    """
    branches = branch_count(tables, response)
    if len(strides) != branches:
        raise GstoVizError(f"{len(strides)} strides for {branches} branches; give one per branch")
    table, names = responses(tables, response)
    frame = mean_by_group(table, ["octave"], names, images=images)
    branch = frame["measure"].map({name: r for r, name in enumerate(names)}).astype(np.int64)
    frame = frame.assign(branch=branch, stride=np.asarray(strides)[branch])
    types = {**SIZE_COLUMNS, "stride": "int64" if has_octaves(strides) else "str"}
    frame = frame[list(SIZE_COLUMNS)].astype(types)
    return frame.sort_values(["branch", "octave"], ignore_index=True)


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

    strides: tuple[Stride, ...]
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
    """Average responses over the regions of each image and octave that enough images have."""
    table, names = responses(tables, response)
    grouped = table.groupby(["image", "octave"])[names]
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
    return ratio(excess @ middles, excess.sum(axis=-1), above=1e-12)


NO_OCTAVES = "it needs octaves of stride between the branches"


def has_octaves(strides: Sequence[Stride]) -> bool:
    """Return whether all branches have strides and are told apart by them."""
    return not any(isinstance(stride, str) for stride in strides)


def stride_octaves(strides: Sequence[Stride]) -> FloatArray:
    """Return the centred log2 strides: (R,), octaves."""
    octaves = np.log2(np.asarray(strides, dtype=np.float64))
    return np.asarray(octaves - octaves.mean())


def tracking_slope(
    centers: npt.NDArray[np.floating], strides: Sequence[Stride]
) -> npt.NDArray[np.float64]:
    """Return the least-squares slope of centres (..., R) on log2 stride, octaves per octave."""
    steps = stride_octaves(strides)
    return np.asarray(centers, dtype=np.float64) @ steps / (steps @ steps)


def tuning(
    tables: Tables,
    strides: Sequence[Stride] = (4, 8, 16, 32),
    *,
    response: str = "z",
    min_images: int = MIN_IMAGES,
    images: Images = EACH,
) -> Tuning:
    """Measure the tuning of every branch with intervals over images.

    Octaves found in fewer than ``min_images`` are left out.

    Returns:
        Estimates are None, with the reason, when fewer than two octaves are left; slope and SIC
        also where branches are not told apart by their strides.

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
            f"{len(means.octaves)} size octaves are found in {min_images} images or more, "
            "tuning needs 2"
        )
        tuned = [not_estimated(reason, len(means.images))] * (branches + 3)
    else:
        tuned = _tuned(means, strides, images)
    if not has_octaves(strides):
        tuned[branches + 1 :] = [not_estimated(NO_OCTAVES, len(means.images))] * 2
    direct = _direct(tables, response, images)
    return Tuning(
        strides=tuple(strides),
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


def _tuned(means: OctaveMeans, strides: Sequence[Stride], images: Images) -> list[Estimate]:
    """Estimate centres, span, slope and SIC, in this order."""

    def quantities(matrices: FloatArray) -> FloatArray:
        centers = tuning_centers(matrices, means.octaves)
        span = centers[..., -1] - centers[..., 0]
        slope = sic = np.zeros_like(span)
        if has_octaves(strides):
            slope = tracking_slope(centers, strides)
            sic = scale_interaction(matrices, strides, means.octaves)
        rest = np.stack([span, slope, sic], axis=-1)
        return np.concatenate([centers, rest], axis=-1)

    names, shape = list(means.images), means.matrix.shape
    present = (means.regions > 0).astype(np.float64)
    flat = np.concatenate([means.values.reshape(len(names), -1), present], axis=1)
    sums, reason = weighted_sums(names, flat, images)
    # In a replicate an octave may be left without an image; rare with 10 clusters an octave.
    fewest = int((cluster_sums(names, present, images)[1] > 0).sum(axis=0).min())
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
    return list(estimates_of(point, replicates, len(names), regions, reason))


def _direct(tables: Tables, response: str, images: Images) -> tuple[Estimate, ...]:
    """Estimate sum Z l / sum Z of each branch, and the span between first and last."""
    table, columns = responses(tables, response)
    branches = len(columns)
    weighted = table[columns].mul(table["size_octave"], axis=0).add_suffix("_l")
    sums = pd.concat([weighted, table[columns]], axis=1).groupby(table["image"]).sum()
    if sums.empty:
        return (not_estimated("no region qualifies"),) * (branches + 1)

    def quantities(totals: FloatArray) -> FloatArray:
        centers = totals[..., :branches] / totals[..., branches:]
        return np.concatenate([centers, centers[..., -1:] - centers[..., :1]], axis=-1)

    values = sums.to_numpy(dtype=np.float64)
    return estimate_sums(sums.index.tolist(), values, quantities, len(table), images)


def histogram_auc(
    negative: npt.NDArray[np.integer], positive: npt.NDArray[np.integer]
) -> float | None:
    """Return P(positive > negative) + 1/2 P(same bin) from two histograms; None if one is empty."""
    pairs = float(negative.sum()) * float(positive.sum())
    if pairs == 0:
        return None
    below = np.cumsum(negative) - negative
    return float((positive * (below + 0.5 * negative)).sum() / pairs)


def edge_values(counts: BoundaryCounts) -> dict[str, tuple[float, int]]:
    """Compare edges with interiors in one image: value, and pixels or cells behind it.

    Returns:
        those that this image has of ``hf`` (do small regions and bands have more of the fine branch
        than large interiors?), ``lf`` (do cells inside large regions have more of the coarse branch
        than others?), each 1 aware, 0.5 chance, 0 reversed, and ``energy_R`` for every branch R:
        log2(mean squared activity of bands / of cores), above 0 where it is stronger at edges.
        Edges excite untrained filters too.
    """
    small, band, core = (counts.pixels[0][GROUPS.index(k)] for k in ("small", "band", "core"))
    found = {"hf": _auc(core, small + band), "lf": _auc(*counts.cells[-1])}
    found |= {f"energy_{r}": _energy(counts, r) for r in range(len(counts.energy_sum))}
    return {name: value for name, value in found.items() if value is not None}


def _auc(
    negative: npt.NDArray[np.int64], positive: npt.NDArray[np.int64]
) -> tuple[float, int] | None:
    """Return :func:`histogram_auc` and how many pixels or cells are counted."""
    auc = histogram_auc(negative, positive)
    return None if auc is None else (auc, int((negative + positive).sum()))


def _energy(counts: BoundaryCounts, branch: int) -> tuple[float, int] | None:
    """Return log2 of the energy of bands over that of cores of one image, and its pixels."""
    mean = ratio(counts.energy_sum[branch], counts.energy_pixels[branch])
    if not (mean > 0).all():
        return None
    return float(np.log2(mean[0] / mean[1])), int(counts.energy_pixels[branch].sum())


def distance_profile(
    counts: Sequence[BoundaryCounts],
    *,
    images: Images = EACH,
) -> pd.DataFrame:
    """Average percentiles by distance to the edge of the region, per branch and region size.

    Pixels are averaged over all images together, so large regions weigh by their pixels.

    Returns:
        One row per branch, size octave and distance octave with pixels: ``branch``,
        ``size_octave``, ``distance_octave`` (o holds 2^o <= d < 2^(o+1) px), ``mean``, ``low``,
        ``high`` (null below 10 independent images with such pixels), ``pixels``, ``n_images``.
    """
    merged = merge_counts(counts)
    sums = np.stack([one.profile_sum for one in merged])
    pixels = np.stack([one.profile_pixels for one in merged])
    names = np.array([one.image for one in merged], dtype=object)
    both = np.stack([sums, pixels], axis=1)
    rows = []
    for b, o in np.argwhere(pixels.sum(axis=(0, 1)) > 0).tolist():
        seen = (pixels[:, :, b, o] > 0).any(axis=1)
        values = both[seen, ..., b, o]
        found = estimate_sums(names[seen].tolist(), values, _shares, 0, images)
        total = values[:, 1].sum(axis=0)
        for r, one in enumerate(found):
            rows.append((r, b, o, one.value, one.low, one.high, int(total[r]), one.n_images))
    columns = ["branch", "size_octave", "distance_octave", "mean", "low", "high", "pixels"]
    frame = pd.DataFrame(rows, columns=[*columns, "n_images"])
    frame = frame.astype(dict.fromkeys(("mean", "low", "high"), "float64"))
    return frame.sort_values(columns[:3], ignore_index=True)


def _shares(totals: FloatArray) -> FloatArray:
    """Divide sums by pixels, (..., 2, R)."""
    return ratio(totals[..., 0, :], totals[..., 1, :])


MIN_REGIONS = 3
"""A slope and a rank correlation of two regions only repeat their order."""


def size_trend_values(tables: Tables, response: str = "z") -> pd.DataFrame:
    """Measure the trend of each branch's response with size in each image.

    Args:
        response: ``z``, ``z_whole``, ``z_core``, ``z_band`` or ``z_matched``.

    Returns:
        One row per image with at least 3 qualifying regions of more than one size: ``image``,
        ``regions``, and per branch r ``slope_{r}`` (Theil-Sen, percentile per octave) and
        ``spearman_{r}`` (0 when the branch answers all regions alike).
    """
    table, names = responses(tables, response)
    rows = []
    for image, group in table.groupby("image"):
        size = group["size_octave"].to_numpy(dtype=np.float64)
        if len(group) < MIN_REGIONS or np.ptp(size) == 0:
            continue
        row: dict[str, object] = {"image": image, "regions": len(group)}
        for r, name in enumerate(names):
            value = group[name].to_numpy(dtype=np.float64)
            # Of equal values, as of a map of one cell, SciPy computes an interval that is none.
            alike = np.ptp(value) == 0
            row[f"slope_{r}"] = 0.0 if alike else float(theilslopes(value, size).slope)
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
