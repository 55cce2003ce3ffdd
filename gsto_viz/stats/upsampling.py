r"""What bilinear enlargement leaves of a map's variance: the law that equalizers answer.

An output between two samples is (1 - t) a + t b, which has :math:`(1 - t)^2 + t^2` of the variance
of white noise. Over the places t of an s-fold enlargement (corners not aligned) that is on average

.. math:: r_s = \frac23 - \frac{1}{6 s^2} \;(s \text{ even}), \qquad
          r_s = \frac23 + \frac{1}{3 s^2} \;(s \text{ odd}),

and :math:`r_s^2` over both axes: 0.391, 0.431, 0.441 for 2, 4, 8. Twofold enlargement takes most.
Neighbours with a correlation :math:`\rho` keep :math:`r_s + (1 - r_s) \rho`, and of the s n outputs
along n samples s copy the first or the last one, which keeps all. Derived here; Kim and Kim (TMLR
2024, arXiv:2402.01149) simulate it.

Features of a network are not white. On average an output has the share r of its two samples along
an axis twice in one sample and :math:`1 - r` in two neighbours, so that a map with correlations
:math:`\rho` of neighbours below, beside and diagonal keeps

.. math:: r_y r_x + (1 - r_y) r_x \rho_{below} + r_y (1 - r_x) \rho_{beside}
          + (1 - r_y)(1 - r_x) \rho_{diagonal},

whatever r comes from: any two sizes, borders, and corners aligned or not.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gsto_viz.errors import GstoVizError
from gsto_viz.types import FloatArray


def kept_along(factor: int, samples: int | None = None, correlation: float = 0.0) -> float:
    """Return the mean share of variance that linear enlargement keeps along one axis, in (0, 1].

    Args:
        factor: s, outputs for each sample.
        samples: n, after which the map ends; None: it has no end.
        correlation: Of neighbouring samples, -1 to 1.

    Raises:
        GstoVizError: A value is out of range.
    """
    if factor < 1 or (samples is not None and samples < 1) or not -1 <= correlation <= 1:
        raise GstoVizError(
            f"factor {factor}, samples {samples}, correlation {correlation}: factor and samples "
            "are whole numbers from 1 on, a correlation goes from -1 to 1"
        )
    white = 2 / 3 + (1 / 3 if factor % 2 else -1 / 6) / factor**2
    inside = white + (1 - white) * correlation
    return inside if samples is None else inside + (1 - inside) / samples


def kept_variance(
    factor: int,
    size: tuple[int, int] | None = None,
    correlation: tuple[float, float] = (0.0, 0.0),
) -> float:
    """Return the mean share of variance that bilinear enlargement keeps, in (0, 1].

    Mean over all outputs of their variance, over that of the samples; ``align_corners`` off.

    Args:
        factor: s, of height and width.
        size: Height and width of the map that is enlarged, in cells; None: it has no border.
        correlation: Of neighbours below each other and beside each other; their product is that
            of diagonal neighbours.

    Raises:
        GstoVizError: A value is out of range.
    """
    height, width = (None, None) if size is None else size
    down, across = correlation
    return kept_along(factor, height, down) * kept_along(factor, width, across)


def resizing(size_in: int, size_out: int, *, align_corners: bool) -> FloatArray:
    """Return linear resizing along one axis as a matrix, (size_out, size_in)."""
    k = np.arange(size_out)
    if align_corners:
        place = k * (size_in - 1) / max(size_out - 1, 1)
    else:
        place = (k + 0.5) * size_in / size_out - 0.5
    place = np.clip(place, 0, size_in - 1)
    first = np.minimum(place.astype(np.int64), size_in - 1)
    matrix = np.zeros((size_out, size_in))
    np.add.at(matrix, (k, first), 1 - (place - first))
    np.add.at(matrix, (k, np.minimum(first + 1, size_in - 1)), place - first)
    return matrix


RAW = ("cells", "sum", "squares")
PRODUCTS = ("down", "across", "diagonal")
PAIRS = tuple(f"{name}_pairs" for name in PRODUCTS)
READS = tuple(f"{name}_reads" for name in ("self", *PRODUCTS))


def neighbour_sums(
    features: npt.NDArray[np.floating], size: tuple[int, int], *, align_corners: bool = False
) -> dict[str, float]:
    """Sum what the law needs of one map, over its channels; sums of images add up.

    Args:
        features: (C, h, w), finite.
        size: (H, W) to which the map is enlarged.
        align_corners: How the network resizes.

    Returns:
        ``cells``, ``sum`` and ``squares`` of all values; ``down``, ``across`` and ``diagonal``, the
        sums of products of neighbours in that direction (both diagonals), with their numbers
        ``..._pairs``; and, summed over all outputs, how much of a product of two samples they read
        is that of a sample with itself (``self_reads``) or with such a neighbour (``..._reads``).
    """
    x = np.asarray(features, dtype=np.float64)
    pairs: dict[str, Sequence[tuple[FloatArray, FloatArray]]] = {
        "down": [(x[:, 1:], x[:, :-1])],
        "across": [(x[..., 1:], x[..., :-1])],
        "diagonal": [
            (x[:, 1:, 1:], x[:, :-1, :-1]),
            (x[:, 1:, :-1], x[:, :-1, 1:]),
        ],
    }
    down, across = (
        float((resizing(n, m, align_corners=align_corners) ** 2).sum() / m)
        for n, m in zip(x.shape[1:], size, strict=True)
    )
    shares = (down * across, (1 - down) * across, down * (1 - across), (1 - down) * (1 - across))
    outputs = float(len(x) * size[0] * size[1])
    return {
        "cells": float(x.size),
        "sum": float(x.sum()),
        "squares": float((x**2).sum()),
        **{name: float(sum((a * b).sum() for a, b in each)) for name, each in pairs.items()},
        **{f"{name}_pairs": float(sum(a.size for a, _ in each)) for name, each in pairs.items()},
        **{name: outputs * share for name, share in zip(READS, shares, strict=True)},
    }


def shares_kept(totals: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return of maps the share of variance kept, measured and predicted, and the correlation.

    Args:
        totals: (..., 16, R) sums over images in the order of ``SUMS``; R branches.

    Returns:
        (..., R) each: variance of all enlarged values over that of all values; the same as the law
        predicts it from neighbours; mean correlation of neighbours below and beside each other. NaN
        where values do not vary, or have no such neighbours.
    """
    of = {name: totals[..., k, :] for k, name in enumerate(SUMS)}
    mean, square = of["sum"] / of["cells"], of["squares"] / of["cells"]
    up = of["up_squares"] / of["up_cells"] - (of["up_sum"] / of["up_cells"]) ** 2
    variance = square - mean**2
    variance = np.where(variance > 1e-12 * square, variance, np.nan)
    predicted = of["self_reads"] / of["up_cells"] * square - mean**2
    correlations = {}
    for name in PRODUCTS:
        there = of[f"{name}_pairs"] > 0
        product = of[name] / np.where(there, of[f"{name}_pairs"], 1.0)
        # Where there are no neighbours, no output reads any.
        predicted = predicted + of[f"{name}_reads"] / of["up_cells"] * product
        correlations[name] = np.where(there, (product - mean**2) / variance, np.nan)
    correlation = (correlations["down"] + correlations["across"]) / 2
    return up / variance, predicted / variance, correlation


SUMS = (*RAW, *PRODUCTS, *PAIRS, *READS, "up_cells", "up_sum", "up_squares")
"""What is summed of the maps of a branch (``neighbour_sums``, and after resizing)."""
