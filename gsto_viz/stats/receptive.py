r"""Effective receptive fields: how far around a cell the image matters to it.

.. math:: \mathrm{ERF} = 2 \sqrt{ \sum_p g(p) |p - c|^2 / (2 \sum_p g(p)) }

with g the squared gradient of the cell with respect to the image, summed over channels, and c the
cell's centre: twice the standard deviation per axis, in pixels. Its slope against stride says
whether branches see different scales at all: 1 like a pyramid, 0 all the same.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.errors import GstoVizError
from gsto_viz.stats.inference import Estimate, image_mean_estimate


class Sized(Protocol):
    """A measured receptive field."""

    @property
    def erf_px(self) -> float:
        """ERF, pixels."""

    @property
    def stride(self) -> int:
        """Pixels per cell of its branch."""


def effective_size(gradient: npt.NDArray[np.floating], centre: tuple[float, float]) -> float:
    """Return ERF in pixels.

    Args:
        gradient: (H, W), not negative.
        centre: Row and column of c, pixels.

    Raises:
        GstoVizError: The map is negative somewhere or 0 everywhere.
    """
    gradient = np.asarray(gradient, dtype=np.float64)
    total = gradient.sum()
    if gradient.ndim != 2 or gradient.min() < 0 or not total > 0:
        raise GstoVizError(
            f"a gradient map {gradient.shape} must be (H, W), not negative and not 0 everywhere; "
            "the cell does not depend on the image"
        )
    rows, columns = (np.arange(n) - c for n, c in zip(gradient.shape, centre, strict=True))
    squares = (gradient.sum(axis=1) @ rows**2) + (gradient.sum(axis=0) @ columns**2)
    return float(2.0 * np.sqrt(squares / (2.0 * total)))


def erf_slope(sizes: npt.NDArray[np.floating], strides: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return the least-squares slope of log2 ERF on log2 stride, (..., R) -> (...)."""
    sizes = np.asarray(sizes, dtype=np.float64)
    if sizes.shape[-1] != len(strides) or len(set(strides)) < 2:
        raise GstoVizError(
            f"{sizes.shape[-1]} sizes and strides {tuple(strides)}; give one size per stride, at "
            "least two strides"
        )
    steps = np.log2(np.asarray(strides, dtype=np.float64))
    steps = steps - steps.mean()
    return np.asarray(np.log2(sizes) @ steps / (steps @ steps))


def fields_slope(fields: Sequence[Sized]) -> float:
    """Return the slope of the fields of one cell, one per branch."""
    sizes = np.array([field.erf_px for field in fields])
    return float(erf_slope(sizes, [field.stride for field in fields]))


def erf_estimate(
    fields: pd.DataFrame, *, clusters: Mapping[str, str] | None = None, seed: int = 0
) -> Estimate:
    """Estimate the slope of log2 ERF on log2 stride, mean over images.

    Args:
        fields: One row per image, cell and branch: ``image``, ``stride``, ``erf_px``; the ERF of a
            branch in an image is the geometric mean over its cells.
        clusters: Cluster of each image for the interval.
        seed: Of the bootstrap.
    """
    logs = fields.assign(log=np.log2(fields["erf_px"].astype(np.float64)))
    means = logs.groupby(["image", "stride"])["log"].mean().unstack("stride").dropna()
    strides = [int(stride) for stride in means.columns]
    slopes = erf_slope(2.0 ** means.to_numpy(), strides)
    return image_mean_estimate(means.index.tolist(), slopes, len(fields), clusters, seed)
