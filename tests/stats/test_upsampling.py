"""The variance law of bilinear enlargement: fractions, enumeration of all outputs, simulation."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gsto_viz.errors import GstoVizError
from gsto_viz.stats import kept_along, kept_variance, neighbour_sums
from gsto_viz.stats.upsampling import READS, SUMS, shares_kept

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


def summed(maps: list[np.ndarray], size: tuple[int, int], *, corners: bool = False) -> np.ndarray:
    """Sums over images of one branch as ``shares_kept`` takes them, (16, 1)."""
    total = np.zeros((len(SUMS), 1))
    for one in maps:
        up = enlarged(one, size, corners=corners)
        own = neighbour_sums(one, size, align_corners=corners)
        own |= {"up_cells": up.size, "up_sum": up.sum(), "up_squares": (up**2).sum()}
        total[:, 0] += [own[name] for name in SUMS]
    return total


def enlarged(one: np.ndarray, size: tuple[int, int], *, corners: bool = False) -> np.ndarray:
    given = torch.from_numpy(one)[None]
    return F.interpolate(given, size=size, mode="bilinear", align_corners=corners)[0].numpy()


def test_products_of_neighbours_are_those_of_loops() -> None:
    x = np.random.default_rng(0).normal(1, 2, size=(2, 3, 4))
    found = neighbour_sums(x, (6, 8))
    steps = {"down": [(1, 0)], "across": [(0, 1)], "diagonal": [(1, 1), (1, -1)]}
    for name, each in steps.items():
        products = [
            x[c, i, j] * x[c, i + down, j + across]
            for down, across in each
            for c in range(2)
            for i in range(3)
            for j in range(4)
            if i + down < 3 and 0 <= j + across < 4
        ]
        assert found[f"{name}_pairs"] == len(products)
        assert found[name] == pytest.approx(sum(products))
    assert found["cells"] == 24
    assert found["sum"] == pytest.approx(x.sum())
    assert found["squares"] == pytest.approx((x**2).sum())


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize(
    ("shape", "size"), [((3, 4), (6, 8)), ((4, 3), (11, 24)), ((1, 5), (8, 5))]
)
def test_reads_are_those_of_every_output(
    shape: tuple[int, int], size: tuple[int, int], corners: bool
) -> None:
    """What outputs read of a product of two samples, counted output by output."""
    cells = [(i, j) for i in range(shape[0]) for j in range(shape[1])]
    units = np.zeros((len(cells), *shape))
    for k, (i, j) in enumerate(cells):
        units[k, i, j] = 1
    weights = enlarged(units, size, corners=corners)
    reads = dict.fromkeys(((0, 0), (1, 0), (0, 1), (1, 1)), 0.0)
    for a, (i, j) in enumerate(cells):
        for b, (k, m) in enumerate(cells):
            product = float((weights[a] * weights[b]).sum())
            if product:
                reads[abs(i - k), abs(j - m)] += product
    found = neighbour_sums(np.ones((3, *shape)), size, align_corners=corners)
    for name, expected in zip(READS, reads.values(), strict=True):
        assert found[name] == pytest.approx(3 * expected, abs=1e-9)
    assert sum(found[name] for name in READS) == pytest.approx(3 * size[0] * size[1])


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_white_noise_is_predicted_as_the_closed_form_has_it(factor: int) -> None:
    size = (5 * factor, 7 * factor)
    one = neighbour_sums(np.ones((1, 5, 7)), size)
    share = one["self_reads"] / (size[0] * size[1])
    assert share == pytest.approx(kept_variance(factor, (5, 7)), abs=1e-12)


def test_shares_of_correlated_features_are_measured_and_predicted() -> None:
    """Rows with a correlation of 0.8, channels with means of their own, two sizes of image."""
    draw = np.random.default_rng(1)
    maps, ups = [], []
    for height, width in [(40, 60), (60, 40)] * 8:
        x = draw.standard_normal((6, height, width))
        for row in range(1, height):
            x[:, row] = 0.8 * x[:, row - 1] + 0.6 * x[:, row]
        x += np.arange(6)[:, None, None] / 2
        maps.append(x)
        ups.append(enlarged(x, (2 * height, 2 * width)).ravel())
    totals = sum(summed([x], (2 * x.shape[1], 2 * x.shape[2])) for x in maps)
    kept, predicted, correlation = (float(one[0]) for one in shares_kept(totals))
    values = np.concatenate([x.ravel() for x in maps])
    assert kept == pytest.approx(np.concatenate(ups).var() / values.var(), rel=1e-9)
    assert predicted == pytest.approx(kept, rel=2e-3)
    # The means of channels are the same everywhere: they add to every correlation.
    between = np.var(np.arange(6) / 2)
    expected = ((0.8 + between) + (0.0 + between)) / 2 / (1 + between)
    assert correlation == pytest.approx(expected, abs=0.01)


def test_maps_of_one_cell_keep_all_and_constant_ones_have_no_share() -> None:
    pooled = [np.full((3, 1, 1), value) for value in (1.0, 2.0, 4.0)]
    kept, predicted, correlation = shares_kept(summed(pooled, (6, 6)))
    assert kept[0] == pytest.approx(1)
    assert predicted[0] == pytest.approx(1)
    assert np.isnan(correlation[0])
    assert all(np.isnan(one[0]) for one in shares_kept(summed([np.full((2, 4, 4), 3.0)], (8, 8))))
