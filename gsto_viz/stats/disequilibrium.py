r"""Scale disequilibrium: branches of different variance where they are put together.

"Scale" here means magnitude, as in Scale Equalization (Kim and Kim, TMLR 2024, arXiv:2402.01149),
and is kept apart from scale awareness: the Scale Confusion Index does not see it, and any gain of a
branch changes it. V_r is the variance of branch r after resizing to the finest grid;
:math:`DR = \log_2 (\max_r V_r / \min_r V_r)` is 0 in equilibrium.

Bilinear upsampling alone lowers the variance, and by how much is known exactly for input of known
neighbour correlation: :func:`bilinear_variance_ratio` is the check of what is measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gsto_viz.errors import GstoVizError


@dataclass(frozen=True)
class Moments:
    """Count, mean and squared deviations of all values of one branch; those of images add up."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """Sum of squared deviations from the mean."""

    def __add__(self, other: "Moments") -> "Moments":
        """Return the moments of both (Chan, Golub and LeVeque, 1979)."""
        count = self.count + other.count
        if count == 0:
            return Moments()
        step = other.mean - self.mean
        return Moments(
            count,
            self.mean + step * other.count / count,
            self.squares + other.squares + step**2 * self.count * other.count / count,
        )

    @property
    def variance(self) -> float:
        """Population variance; NaN without values."""
        return self.squares / self.count if self.count else np.nan


def moments(features: npt.NDArray[np.floating]) -> Moments:
    """Measure all values of one image's resized branch, any shape.

    Raises:
        GstoVizError: A value is not finite.
    """
    values = np.asarray(features, dtype=np.float64)
    if not np.isfinite(values).all():
        raise GstoVizError("features hold NaN or infinity; look at the image and the weights")
    if values.size == 0:
        return Moments()
    mean = values.mean()
    return Moments(values.size, float(mean), float(((values - mean) ** 2).sum()))


def disequilibrium(variances: Sequence[float]) -> float:
    """Return DR = log2 of the largest over the smallest variance: 0 in equilibrium.

    Raises:
        GstoVizError: There are fewer than two branches, or one does not vary.
    """
    values = np.asarray(variances, dtype=np.float64)
    if values.size < 2 or not (np.isfinite(values).all() and (values > 0).all()):
        raise GstoVizError(
            f"not estimated: variances {[float(v) for v in values]}; disequilibrium compares two "
            "or more branches that vary"
        )
    return float(np.log2(values.max() / values.min()))


def gradient_rms(squares: Sequence[float], weights: Sequence[int]) -> npt.NDArray[np.float64]:
    r"""Return :math:`\|dL/dW_r\|_F / \sqrt{\#W_r}` of each branch's block of the next layer.

    Args:
        squares: Sum of squared gradients of each block, averaged over batches.
        weights: Number of weights of each block.
    """
    top, bottom = np.asarray(squares, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if top.shape != bottom.shape or not ((top >= 0).all() and (bottom > 0).all()):
        raise GstoVizError(
            "give one sum of squares, from 0 up, and one number of weights, from 1 up, per branch"
        )
    return np.sqrt(top / bottom)


def bilinear_variance_ratio(
    size_in: int, size_out: int, *, align_corners: bool = False, correlation: float = 0.0
) -> float:
    r"""Return how much of the variance linear resizing along one axis keeps, borders included.

    Output k is :math:`(1 - t) x_i + t x_{i+1}`, so its variance is that of the input times
    :math:`(1-t)^2 + t^2 + 2 t (1-t) \rho`, averaged over outputs. For an image, multiply the ratios
    of both axes (the correlation must then be separable).

    Args:
        size_in: Samples of the input.
        size_out: Samples of the output, at least ``size_in``.
        align_corners: Whether the end samples of input and output coincide; if not, outputs beyond
            the centre of an end sample repeat it.
        correlation: Of neighbouring input samples, in [-1, 1]; 0 for white noise.

    Returns:
        A number in [0, 1].

    Raises:
        GstoVizError: Sizes or correlation are out of range.
    """
    if not 1 <= size_in <= size_out or not -1 <= correlation <= 1:
        raise GstoVizError(
            f"upsampling {size_in} to {size_out} at correlation {correlation}: sizes grow from 1 "
            "up, correlations lie in [-1, 1]"
        )
    k = np.arange(size_out)
    if align_corners:
        position = k * (size_in - 1) / max(size_out - 1, 1)
    else:
        position = (k + 0.5) * size_in / size_out - 0.5
    t = np.clip(position, 0, size_in - 1) % 1.0
    return float(((1 - t) ** 2 + t**2 + 2 * t * (1 - t) * correlation).mean())


def bilinear_closed_form(factor: int, size_in: float = np.inf, correlation: float = 0.0) -> float:
    r"""Return the same for a whole factor and corners not aligned, as a formula.

    :math:`r_s = 2/3 - 1/(6 s^2)` for even s and :math:`2/3 + 1/(3 s^2)` for odd s; with n samples
    and neighbour correlation :math:`\rho`,

    .. math:: r = r_s + (1 - r_s)\,\bigl[ 1/n + (1 - 1/n) \rho \bigr]

    because s of the n s outputs repeat an end sample.

    Args:
        factor: s, at least 1.
        size_in: n; infinity leaves the borders out.
        correlation: Of neighbouring input samples.
    """
    if factor < 1 or size_in < 1:
        raise GstoVizError(f"factor {factor} and size {size_in} must be at least 1")
    inner = 2 / 3 + (1 / (3 * factor**2) if factor % 2 else -1 / (6 * factor**2))
    return inner + (1 - inner) * (1 / size_in + (1 - 1 / size_in) * correlation)
