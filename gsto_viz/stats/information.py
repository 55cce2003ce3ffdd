"""What the strongest branch tells about the size of a region, and the interaction coefficient.

A diagnostic only: information does not see order. A network whose fine branch answers for large
regions has as much of it as a tuned one; the octave error tells them apart.

Main effects (a branch that answers more, a size that is more salient) are removed first; what is
left is compared with the one pattern "coarse goes with large".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.errors import GstoVizError
from gsto_viz.stats.inference import (
    EACH,
    Estimate,
    Images,
    estimates_of,
    not_estimated,
    ratio,
    weighted_sums,
)
from gsto_viz.stats.pairs import Tables, branch_count, responses
from gsto_viz.types import FloatArray, Stride

NULL_DRAWS = 100


@dataclass(frozen=True)
class NullRange:
    """What a statistic gives when sizes are shuffled among the regions of each image."""

    mean: float
    low: float
    high: float
    """Ends of the middle 95 % of the draws."""
    draws: int


@dataclass(frozen=True, eq=False)
class Assignment:
    """Branch that answers most x size bin; ``n_pairs`` of its estimates counts regions."""

    counts: npt.NDArray[np.int64]
    """(B, R) regions by size bin (small first) and branch."""
    edges: FloatArray
    """(B + 1,) sizes between the quantile bins, octaves."""
    one_minus_u: Estimate
    """1 - I(bin; branch) / H(bin): 0 the branch gives the bin away, 1 chance (a little above 1
    is possible: the correction of the bias of I is right on average only)."""
    bin_error: Estimate
    """Mean distance between the branch's number and the bin's; needs as many bins as branches."""
    null_one_minus_u: NullRange | None
    null_bin_error: NullRange | None


def assign_branches(
    tables: Tables, bins: int | None = None, response: str = "z"
) -> tuple[pd.DataFrame, FloatArray]:
    """Assign each region the branch with the largest z-scored response, and a size bin.

    Quantile bins (as many as branches when None) and z-scores are those of the whole table, so it
    must be complete.

    Returns:
        ``image``, ``region``, ``bin`` (0 = smallest), ``branch`` of the regions that qualify, and
        the (bins + 1,) edges, octaves.

    Raises:
        GstoVizError: Fewer than two bins or branches.
    """
    branches = branch_count(tables, response)
    bins = branches if bins is None else bins
    if bins < 2 or branches < 2:
        raise GstoVizError(f"{bins} bins and {branches} branches; assignment needs two of each")
    table, names = responses(tables, response)
    if table.empty:
        empty = table[["image", "region"]].assign(bin=0, branch=0)
        return empty, np.full(bins + 1, np.nan)
    size = table["size_octave"].to_numpy(dtype=np.float64)
    values = table[names].to_numpy(dtype=np.float64)
    spread = values.std(axis=0)
    scores = (values - values.mean(axis=0)) / np.where(spread > 1e-12, spread, np.inf)
    edges = np.quantile(size, np.linspace(0, 1, bins + 1))
    assigned = table[["image", "region"]].assign(
        bin=np.searchsorted(edges[1:-1], size, side="right"), branch=scores.argmax(axis=1)
    )
    return assigned.reset_index(drop=True), edges


def information_share(
    counts: npt.NDArray[np.integer] | FloatArray, corrected: bool = True
) -> FloatArray:
    r"""Compute U = I(row; column) / H(row) of tables of counts.

    The plug-in information is too large by about (K_rows - 1)(K_columns - 1) / 2N; Miller and
    Madow's correction adds :math:`(K_{row} + K_{column} - K_{cell} - 1) / 2N` (nats), with K the
    numbers of non-empty rows, columns and cells.

    Args:
        counts: (..., B, R), not negative.
        corrected: With Miller and Madow's correction.

    Returns:
        (...): 0 chance, 1 the column gives the row away; NaN when one row holds everything.
    """
    counts = np.asarray(counts, dtype=np.float64)
    total = counts.sum(axis=(-2, -1))
    rows, columns = counts.sum(axis=-1), counts.sum(axis=-2)
    h_row, h_column = _entropy(rows, total), _entropy(columns, total)
    cells = counts.reshape(*counts.shape[:-2], -1)
    information = h_row + h_column - _entropy(cells, total)
    if corrected:
        filled = [(part > 0).sum(axis=-1) for part in (rows, columns, cells)]
        extra = filled[0] + filled[1] - filled[2] - 1
        information = information + extra / (2.0 * np.maximum(total, 1.0))
    return ratio(information, h_row, above=1e-12)


def _entropy(counts: FloatArray, total: FloatArray) -> FloatArray:
    """Return the entropy over the last axis, nats; 0 log 0 = 0."""
    p = counts / np.maximum(total, 1.0)[..., None]
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1)


def mean_bin_error(counts: npt.NDArray[np.integer] | FloatArray) -> FloatArray:
    """Return the mean of abs(column - row) over tables of counts (..., B, B); NaN without any."""
    counts = np.asarray(counts, dtype=np.float64)
    number = np.arange(counts.shape[-1])
    error = (counts * np.abs(number - number[:, None])).sum(axis=(-2, -1))
    return ratio(error, counts.sum(axis=(-2, -1)))


def assignment(
    tables: Tables,
    *,
    bins: int | None = None,
    response: str = "z",
    images: Images = EACH,
    draws: int = NULL_DRAWS,
) -> Assignment:
    """Measure what the branch that answers most tells about size, beside its null.

    The tables must be complete, since bins are quantiles. The null shuffles sizes among the regions
    of each image, ``draws`` times.

    Returns:
        Counts, estimates and nulls. Resampling adds information of its own, so the interval of
        ``one_minus_u`` is that of the replicates, shifted to the estimate.
    """
    branches = branch_count(tables, response)
    bins = branches if bins is None else bins
    assigned, edges = assign_branches(tables, bins, response)
    image_code, names = pd.factorize(assigned["image"])
    row, column = assigned["bin"].to_numpy(), assigned["branch"].to_numpy()

    def count(row: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        cell = (image_code * bins + row) * branches + column
        counts = np.bincount(cell, minlength=len(names) * bins * branches)
        return counts.reshape(len(names), bins, branches)

    def quantities(counts: FloatArray | npt.NDArray[np.int64]) -> FloatArray:
        error = mean_bin_error(counts) if bins == branches else np.full(counts.shape[:-2], np.nan)
        return np.stack([1.0 - information_share(counts), error], axis=-1)

    per_image = count(row)
    if len(names) == 0:
        nothing = not_estimated("no region qualifies")
        return Assignment(per_image.sum(axis=0), edges, nothing, nothing, None, None)
    point = quantities(per_image.sum(axis=0))
    flat = per_image.reshape(len(names), -1).astype(np.float64)
    sums, reason = weighted_sums(list(names), flat, images)
    if np.isnan(point[0]):
        reason = "not estimated: all regions fall into one size bin"
    replicates = None
    if sums is not None and not np.isnan(point[0]):
        replicates = quantities(sums.reshape(-1, bins, branches))
        replicates[:, 0] += point[0] - np.nanmean(replicates[:, 0])
    regions = len(assigned)
    share = estimates_of(point[:1], replicates, len(names), regions, reason)[0]
    error = estimates_of(
        point[1:],
        None if replicates is None else replicates[:, 1:],
        len(names),
        regions,
        reason if bins == branches else f"not estimated: {bins} bins for {branches} branches",
    )[0]
    shuffled = [
        quantities(count(_shuffled(row, image_code, images.seed + k)).sum(axis=0))
        for k in range(draws)
    ]
    nulls = [_null_range(np.array(shuffled)[:, k]) if draws else None for k in range(2)]
    return Assignment(per_image.sum(axis=0), edges, share, error, nulls[0], nulls[1])


def _shuffled(
    row: npt.NDArray[np.int64], image_code: npt.NDArray[np.int64], seed: int
) -> npt.NDArray[np.int64]:
    """Permute the bins among the regions of each image (regions are sorted by image)."""
    keys = np.random.default_rng(seed).random(row.size)
    return row[np.lexsort((keys, image_code))]


def _null_range(values: FloatArray) -> NullRange | None:
    if np.isnan(values).all():
        return None
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return NullRange(float(np.nanmean(values)), float(low), float(high), values.size)


def double_centered(matrices: npt.NDArray[np.floating]) -> FloatArray:
    """Subtract row and column means and add the grand mean, (..., R, B)."""
    matrices = np.asarray(matrices, dtype=np.float64)
    rows = matrices.mean(axis=-1, keepdims=True)
    columns = matrices.mean(axis=-2, keepdims=True)
    return matrices - rows - columns + rows.mean(axis=-2, keepdims=True)


def scale_interaction(
    matrices: npt.NDArray[np.floating], strides: Sequence[Stride], octaves: Sequence[float]
) -> FloatArray:
    r"""Compute SIC of one matrix or of many.

    .. math:: SIC = \langle \tilde M, \lambda \nu^T \rangle_F / \|\tilde M\|_F

    with M~ the double-centred matrix, lambda and nu the centred unit vectors of log2 stride and of
    octaves. Row shifts, column shifts and a common gain change nothing; gains of single rows do.

    Args:
        matrices: (..., R, B), finite.
        strides: R pixels per cell, not all equal.
        octaves: B sizes, octaves, not all equal.

    Returns:
        (...) in [-1, 1]; NaN where there is no interaction at all.

    Raises:
        GstoVizError: Sizes do not fit, or an axis has no spread.
    """
    matrices = np.asarray(matrices, dtype=np.float64)
    if matrices.shape[-2:] != (len(strides), len(octaves)):
        raise GstoVizError(
            f"a matrix {matrices.shape} does not fit {len(strides)} strides and "
            f"{len(octaves)} octaves; give (branches, bins)"
        )
    coarse = _unit(np.log2(np.asarray(strides, dtype=np.float64)), "strides")
    large = _unit(np.asarray(octaves, dtype=np.float64), "octaves")
    centered = double_centered(matrices)
    norm = np.linalg.norm(centered, axis=(-2, -1))
    scale = np.abs(matrices).max(axis=(-2, -1))
    along = np.einsum("...rb,r,b->...", centered, coarse, large)
    return ratio(along, norm, above=1e-12 * scale)


def _unit(values: FloatArray, what: str) -> FloatArray:
    centered = values - values.mean()
    length = np.linalg.norm(centered)
    if length == 0:
        raise GstoVizError(f"all {what} are equal; an interaction needs two different ones")
    return centered / length
