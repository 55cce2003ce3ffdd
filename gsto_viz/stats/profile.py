"""Estimates from boundary counts: areas under the curve, distance profile, energy ratio."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.stats.boundary import BoundaryCounts, merge_counts
from gsto_viz.stats.boundary_pixels import GROUPS
from gsto_viz.stats.inference import Estimate, estimate, estimates_of, weighted_sums


def histogram_auc(
    negative: npt.NDArray[np.integer], positive: npt.NDArray[np.integer]
) -> float | None:
    """Return P(positive > negative) + 1/2 P(same bin) from two histograms; None if one is empty."""
    pairs = float(negative.sum()) * float(positive.sum())
    if pairs == 0:
        return None
    below = np.cumsum(negative) - negative
    return float((positive * (below + 0.5 * negative)).sum() / pairs)


def hf_auc(
    counts: Sequence[BoundaryCounts],
    *,
    branch: int = 0,
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Estimate:
    """Estimate HF: do small regions and bands have more of the fine branch than large interiors?

    Returns:
        Area under the curve of a pixel's percentile, per image and then averaged: 1 aware, 0.5
        chance, 0 reversed. ``n_pairs`` counts pixels. Edges excite untrained filters too.
    """
    rows = [(one.image, _hf(one, branch)) for one in merge_counts(counts)]
    return _mean(rows, clusters, seed)


def lf_auc(
    counts: Sequence[BoundaryCounts],
    *,
    branch: int = -1,
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Estimate:
    """Estimate LF: do cells inside large regions have more of the coarse branch than others?

    Returns:
        Area under the curve of a cell's percentile, cells with more than half of their pixels in
        cores of large regions against the others, per image and then averaged: 1 aware, 0.5
        chance, 0 reversed. ``n_pairs`` counts cells.
    """
    rows = [(one.image, _lf(one, branch)) for one in merge_counts(counts)]
    return _mean(rows, clusters, seed)


def edge_values(counts: BoundaryCounts) -> dict[str, tuple[float, int]]:
    """Return what one image adds to the estimates: value, and pixels or cells behind it.

    Returns:
        ``hf`` (:func:`hf_auc`), ``lf`` (:func:`lf_auc`) and ``energy_R`` for every branch R
        (:func:`energy_ratio`), those that this image has.
    """
    found = {"hf": _hf(counts, 0), "lf": _lf(counts, -1)}
    found |= {f"energy_{r}": _energy(counts, r) for r in range(len(counts.energy_sum))}
    return {name: value for name, value in found.items() if value is not None}


def _hf(counts: BoundaryCounts, branch: int) -> tuple[float, int] | None:
    """Return HF of one image and its pixels."""
    small, band, core = (counts.pixels[branch][GROUPS.index(k)] for k in ("small", "band", "core"))
    auc = histogram_auc(core, small + band)
    return None if auc is None else (auc, int((small + band + core).sum()))


def _lf(counts: BoundaryCounts, branch: int) -> tuple[float, int] | None:
    """Return LF of one image and its cells."""
    others, inside = counts.cells[branch]
    auc = histogram_auc(others, inside)
    return None if auc is None else (auc, int(others.sum() + inside.sum()))


def _energy(counts: BoundaryCounts, branch: int) -> tuple[float, int] | None:
    """Return log2 of the energy of bands over that of cores of one image, and its pixels."""
    mean = _ratio(counts.energy_sum[branch], counts.energy_pixels[branch])
    if not (mean > 0).all():
        return None
    return float(np.log2(mean[0] / mean[1])), int(counts.energy_pixels[branch].sum())


def _mean(
    values: Sequence[tuple[str, tuple[float, int] | None]],
    clusters: Mapping[str, str] | None,
    seed: int,
) -> Estimate:
    """Average the values of images that have one."""
    rows = [(image, *value) for image, value in values if value is not None]
    if not rows:
        why = "not estimated: no image has both large interiors and the rest"
        return Estimate(None, None, None, 0, 0, why)
    return estimate(pd.DataFrame(rows, columns=["image", "value", "pairs"]), clusters, seed)


def distance_profile(
    counts: Sequence[BoundaryCounts],
    *,
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
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
    images = np.array([one.image for one in merged], dtype=object)
    rows = []
    for b, o in np.argwhere(pixels.sum(axis=(0, 1)) > 0).tolist():
        seen = (pixels[:, :, b, o] > 0).any(axis=1)
        both = np.concatenate([sums[seen, :, b, o], pixels[seen, :, b, o]], axis=1)
        branches = sums.shape[1]
        drawn, reason = weighted_sums(images[seen].tolist(), both, clusters, seed)
        replicates = None if drawn is None else _ratio(drawn[:, :branches], drawn[:, branches:])
        total = both.sum(axis=0)
        point = _ratio(total[:branches], total[branches:])
        found = estimates_of(point, replicates, int(seen.sum()), 0, reason)
        for r, one in enumerate(found):
            rows.append(
                {
                    "branch": r,
                    "size_octave": b,
                    "distance_octave": o,
                    "mean": one.value,
                    "low": one.low,
                    "high": one.high,
                    "pixels": int(total[branches + r]),
                    "n_images": one.n_images,
                }
            )
    names = ["branch", "size_octave", "distance_octave", "mean", "low", "high", "pixels"]
    frame = pd.DataFrame(rows, columns=[*names, "n_images"])
    frame = frame.astype(dict.fromkeys(("mean", "low", "high"), "float64"))
    return frame.sort_values(names[:3], ignore_index=True)


def _ratio(
    numerator: npt.NDArray[np.floating], denominator: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Divide; NaN where nothing was counted."""
    some = denominator > 0
    return np.where(some, numerator / np.where(some, denominator, 1.0), np.nan)


def energy_ratio(
    counts: Sequence[BoundaryCounts],
    *,
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
) -> tuple[Estimate, ...]:
    """Estimate log2(mean squared activity of bands / of cores) per branch, mean over images.

    Returns:
        One estimate per branch, octaves of energy: above 0 the branch is stronger at edges.
        Empty when the counts were made without activity maps. Images without a core, or without
        any energy in one of the two parts, are left out; ``n_pairs`` counts pixels.
    """
    merged = merge_counts(counts)
    return tuple(
        _mean([(one.image, _energy(one, r)) for one in merged], clusters, seed)
        for r in range(len(merged[0].energy_sum))
    )
