r"""What bilinear enlargement leaves of a map's variance: the law that equalizers answer.

An output between two samples is (1 - t) a + t b, which has :math:`(1 - t)^2 + t^2` of the variance
of white noise. Over the places t of an s-fold enlargement (corners not aligned) that is on average

.. math:: r_s = \frac23 - \frac{1}{6 s^2} \;(s \text{ even}), \qquad
          r_s = \frac23 + \frac{1}{3 s^2} \;(s \text{ odd}),

and :math:`r_s^2` over both axes: 0.391, 0.431, 0.441 for 2, 4, 8. Twofold enlargement takes most.
Neighbours with a correlation :math:`\rho` keep :math:`r_s + (1 - r_s) \rho`, and of the s n outputs
along n samples s copy the first or the last one, which keeps all. Derived here; Kim and Kim (TMLR
2024, arXiv:2402.01149) simulate it.
"""

from gsto_viz.errors import GstoVizError


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
