"""The variance law of bilinear enlargement: fractions, enumeration of all outputs, simulation."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gsto_viz.errors import GstoVizError
from gsto_viz.stats import kept_along, kept_variance

FACTORS = (1, 2, 3, 4, 5, 8, 16)


def weights(factor: int, samples: int) -> np.ndarray:
    """Weight of each sample in each output, as torch interpolates: (s n, n)."""
    units = torch.eye(samples, dtype=torch.float64)[:, None]
    return F.interpolate(units, scale_factor=factor, mode="linear").squeeze(1).numpy().T


@pytest.mark.parametrize(
    ("factor", "share"),
    [(2, Fraction(25, 64)), (4, Fraction(441, 1024)), (8, Fraction(7225, 16384))],
)
def test_shares_without_border(factor: int, share: Fraction) -> None:
    assert kept_variance(factor) == pytest.approx(float(share), abs=1e-15)


@pytest.mark.parametrize(("factor", "share"), [(2, 0.394296), (4, 0.434196), (8, 0.444472)])
def test_shares_of_128_cells(factor: int, share: float) -> None:
    assert kept_variance(factor, (128, 128)) == pytest.approx(share, abs=5e-7)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("samples", [1, 2, 3, 7, 16])
@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.5, 0.9])
def test_every_output_is_enumerated(factor: int, samples: int, rho: float) -> None:
    w = weights(factor, samples)
    apart = np.abs(np.subtract.outer(np.arange(samples), np.arange(samples)))
    variances = [row @ rho**apart @ row for row in w]
    assert kept_along(factor, samples, rho) == pytest.approx(np.mean(variances), abs=1e-12)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_both_axes_are_enumerated(factor: int) -> None:
    height, width = 3, 5
    units = torch.eye(height * width, dtype=torch.float64).view(-1, 1, height, width)
    up = F.interpolate(units, scale_factor=factor, mode="bilinear", align_corners=False)
    share = float(up.square().sum(dim=0).mean())
    assert kept_variance(factor, (height, width)) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_noise_is_enlarged(factor: int, rho: float) -> None:
    """White noise, and noise whose rows are correlated, at 64x64 cells."""
    draw = np.random.default_rng(factor)
    x = draw.standard_normal((192, 64, 64))
    for row in range(1, 64):
        x[:, row] = rho * x[:, row - 1] + np.sqrt(1 - rho**2) * x[:, row]
    up = F.interpolate(torch.from_numpy(x)[None], scale_factor=factor, mode="bilinear")
    share = float(up.square().mean())
    assert kept_variance(factor, (64, 64), (rho, 0.0)) == pytest.approx(share, rel=0.01)


def test_twofold_enlargement_takes_most() -> None:
    shares = [kept_variance(factor) for factor in (2, 4, 8, 16, 64)]
    assert shares == sorted(shares)
    assert shares[-1] < 4 / 9
    assert kept_variance(1) == pytest.approx(1)


@pytest.mark.parametrize("bad", [(0, 4, 0.0), (2, 0, 0.0), (2, 4, 1.5), (2, 4, float("nan"))])
def test_bad_input(bad: tuple[int, int, float]) -> None:
    with pytest.raises(GstoVizError, match="from 1 on, a correlation goes from -1 to 1"):
        kept_along(*bad)
