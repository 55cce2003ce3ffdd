"""The Scale Interaction Coefficient of any branch x size matrix.

Main effects (a branch that answers more, a size that is more salient) are removed first; what is
left is compared with the one pattern "coarse goes with large".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gsto_viz.errors import GstoVizError
from gsto_viz.stats.inference import FloatArray


@dataclass(frozen=True)
class Interaction:
    """Direction and amount of interaction in a [branches, bins] matrix."""

    sic: float | None
    """1 all of it is "coarse goes with large", 0 undirected, -1 reversed; None without any."""
    norm: float
    """Frobenius norm of the double-centred matrix, in the matrix's own unit."""
    null_sd: float
    """Standard deviation of SIC when all entries are independent noise; its mean is then 0."""
    reason: str | None = None


def double_centered(matrices: npt.NDArray[np.floating]) -> FloatArray:
    """Subtract row and column means and add the grand mean, (..., R, B)."""
    matrices = np.asarray(matrices, dtype=np.float64)
    rows = matrices.mean(axis=-1, keepdims=True)
    columns = matrices.mean(axis=-2, keepdims=True)
    return matrices - rows - columns + rows.mean(axis=-2, keepdims=True)


def zscored_rows(matrices: npt.NDArray[np.floating]) -> FloatArray:
    """Give every row mean 0 and standard deviation 1, (..., R, B); rows without spread become 0.

    For matrices whose rows have units of their own, such as drops of different losses.
    """
    matrices = np.asarray(matrices, dtype=np.float64)
    centered = matrices - matrices.mean(axis=-1, keepdims=True)
    spread = centered.std(axis=-1, keepdims=True)
    flat = spread <= 1e-12 * np.abs(matrices).max(axis=-1, keepdims=True)
    return np.where(flat, 0.0, centered / np.where(flat, 1.0, spread))


def scale_interaction(
    matrices: npt.NDArray[np.floating], strides: Sequence[int], octaves: Sequence[float]
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
    some = norm > 1e-12 * scale
    return np.where(some, along / np.where(some, norm, 1.0), np.nan)


def _unit(values: FloatArray, what: str) -> FloatArray:
    centered = values - values.mean()
    length = np.linalg.norm(centered)
    if length == 0:
        raise GstoVizError(f"all {what} are equal; an interaction needs two different ones")
    return centered / length


def null_variance(branches: int, bins: int) -> float:
    """Return the variance of SIC for independent noise: 1 / ((R - 1)(B - 1))."""
    return 1.0 / ((branches - 1) * (bins - 1))


def interaction(
    matrix: npt.NDArray[np.floating], strides: Sequence[int], octaves: Sequence[float]
) -> Interaction:
    """Describe the interaction in one [branches, bins] matrix; see :func:`scale_interaction`.

    With 4 branches and 5 bins, |SIC| below .56 (1.96 standard deviations of the null) is no
    evidence.
    """
    value = float(scale_interaction(matrix, strides, octaves))
    norm = float(np.linalg.norm(double_centered(matrix)))
    null_sd = float(np.sqrt(null_variance(len(strides), len(octaves))))
    if np.isnan(value):
        return Interaction(None, norm, null_sd, "not estimated: there is no interaction at all")
    return Interaction(value, norm, null_sd)
