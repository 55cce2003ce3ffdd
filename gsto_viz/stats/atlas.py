r"""Spectral redundancy, similarity and disequilibrium of branches.

B averages 2x2 blocks and repeats the average over them: an orthogonal projector.
:math:`\rho_r = \|B(F_r - \mu)\|^2 / \|F_r - \mu\|^2` is the share of a branch's energy that branch
r+1's grid could represent. White noise gives 0.25; compare with the image itself on that grid. A
high value on the finest branch means that it carries coarse content.

.. math:: CKA(r, q) = \frac{\sum_b HSIC_1(K_r, K_q)}
          {\sqrt{\sum_b HSIC_1(K_r, K_r) \sum_b HSIC_1(K_q, K_q)}}

where K_r = X_r X_r^T of a minibatch of one pooled vector per object, and at most one object per
image, so that no image counts twice within a batch. 0 for independent branches, 1 for branches that
agree up to rotation and gain. It is undirected, and never evidence of scale awareness on its own.
Divide channels by their standard deviation first when gains must not matter.

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

from gsto_viz.activity import BoolMap, FloatMap
from gsto_viz.errors import GstoVizError
from gsto_viz.stats.nulls import stream


@dataclass(frozen=True, eq=False)
class SpectrumSums:
    """Energies per channel, (C,) each; those of images add up."""

    held: FloatMap
    """||B(F - mu)||^2, what the next coarser grid can hold."""
    total: FloatMap
    """||F - mu||^2 over the same cells."""
    moment: FloatMap
    """Sum over frequencies of power times frequency, in cycles per cell."""
    power: FloatMap
    """Sum over frequencies of power, without frequency 0."""

    def __add__(self, other: "SpectrumSums") -> "SpectrumSums":
        """Return the energies of both."""
        if self.total.shape != other.total.shape:
            raise GstoVizError(
                f"energies of {self.total.size} and {other.total.size} channels do not add up; "
                "they are of different branches"
            )
        return SpectrumSums(
            self.held + other.held,
            self.total + other.total,
            self.moment + other.moment,
            self.power + other.power,
        )


def block_average(values: npt.NDArray[np.floating]) -> FloatMap:
    """Apply B: replace every 2x2 block of the last two (even) axes by its average."""
    *lead, height, width = values.shape
    blocks = np.asarray(values, dtype=np.float64).reshape(*lead, height // 2, 2, width // 2, 2)
    average = blocks.mean(axis=(-3, -1), keepdims=True)
    return np.broadcast_to(average, blocks.shape).reshape(values.shape)


def spectrum_sums(
    features: npt.NDArray[np.floating], mean: npt.NDArray[np.floating]
) -> SpectrumSums:
    """Measure the energies of one image's map.

    Args:
        features: (C, h, w); an odd last row or column is cropped, so that blocks are whole.
        mean: (C,) mean of each channel over the data set: without it, the offset that ReLU leaves
            would count as coarse content.

    Returns:
        Energies per channel. The spectrum is that of the whole map under a Hann window, without its
        mean, so that image borders do not look like fine detail.

    Raises:
        GstoVizError: Shapes do not fit, the map is below 2x2 cells, or a value is not finite.
    """
    features = np.asarray(features, dtype=np.float64)
    mean = np.asarray(mean, dtype=np.float64)
    if features.ndim != 3 or mean.shape != features.shape[:1] or min(features.shape[1:]) < 2:
        raise GstoVizError(
            f"features {features.shape} and mean {mean.shape}; give (C, h, w) of at least 2x2 "
            "cells, and (C,)"
        )
    centred = features - mean[:, None, None]
    if not np.isfinite(centred).all():
        raise GstoVizError("features or means hold NaN or infinity; look at the image and weights")
    height, width = (size - size % 2 for size in centred.shape[1:])
    even = centred[:, :height, :width]
    power, frequency = _power(centred)
    return SpectrumSums(
        held=(block_average(even) ** 2).sum(axis=(1, 2)),
        total=(even**2).sum(axis=(1, 2)),
        moment=(power * frequency).sum(axis=(1, 2)),
        power=power.sum(axis=(1, 2)),
    )


def _power(values: FloatMap) -> tuple[FloatMap, FloatMap]:
    """Return windowed power (C, h, w), 0 at frequency 0, and the frequencies in cycles per cell."""
    height, width = values.shape[1:]
    # The inner points of a Hann window: none of them is 0, so that 2x2 cells still have a spectrum.
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    level = (values * window).sum(axis=(1, 2), keepdims=True) / window.sum()
    power = np.abs(np.fft.fft2((values - level) * window)) ** 2
    power[:, 0, 0] = 0.0
    return power, np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))


def redundancy(sums: SpectrumSums, live: BoolMap | None = None) -> float:
    """Return rho_r, the mean over live channels, in [0, 1]; NaN without a channel that varies.

    Args:
        sums: Of all images.
        live: (C,) channels that count; all that vary when None.
    """
    return _mean_ratio(sums.held, sums.total, live)


def spectral_centroid(sums: SpectrumSums, stride: int, live: BoolMap | None = None) -> float:
    """Return the power-weighted mean frequency, in cycles per image pixel, mean over channels.

    At most sqrt(0.5) / stride; white noise gives 0.3826 / stride. NaN without power.
    """
    return _mean_ratio(sums.moment, sums.power, live) / stride


def _mean_ratio(top: FloatMap, bottom: FloatMap, live: BoolMap | None) -> float:
    """Average top / bottom over live channels where bottom is above 0."""
    there = bottom > 0
    if live is not None:
        there = there & live
    return float((top[there] / bottom[there]).mean()) if there.any() else np.nan


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
