r"""Spectral redundancy: how much of a branch's map the next coarser grid could have held.

B averages 2x2 blocks and repeats the average over them: an orthogonal projector.
:math:`\rho_r = \|B(F_r - \mu)\|^2 / \|F_r - \mu\|^2` is the share of a branch's energy that branch
r+1's grid could represent. White noise gives 0.25; compare with the image itself on that grid. A
high value on the finest branch means that it carries coarse content.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gsto_viz.activity import BoolMap, FloatMap
from gsto_viz.errors import GstoVizError


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
