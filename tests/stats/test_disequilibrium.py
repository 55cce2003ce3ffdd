"""Disequilibrium against NumPy, torch's own interpolation, and the published values."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gsto_viz.errors import GstoVizError
from gsto_viz.stats import (
    Moments,
    bilinear_closed_form,
    bilinear_variance_ratio,
    disequilibrium,
    gradient_rms,
    moments,
)


def test_moments_add_up_to_those_of_all_values():
    rng = np.random.default_rng(0)
    parts = [rng.normal(1e4, 2, size=n) for n in (1, 50, 7, 300)]
    total = sum((moments(p) for p in parts), Moments())
    values = np.concatenate(parts)
    assert total.count == values.size
    assert total.mean == pytest.approx(values.mean())
    assert total.variance == pytest.approx(values.var(), rel=1e-10)
    assert np.isnan(Moments().variance)
    assert moments(np.zeros((0, 3))) == Moments() + Moments()


def test_equilibrium_is_zero_and_gains_count_double():
    assert disequilibrium([3.0, 3.0, 3.0]) == 0
    rng = np.random.default_rng(1)
    branches = [rng.normal(size=500) for _ in range(3)]
    branches[1] = branches[0] * 4
    branches[2] = branches[0] * 2
    assert disequilibrium([moments(b).variance for b in branches]) == pytest.approx(4)
    with pytest.raises(GstoVizError, match="not estimated"):
        disequilibrium([1.0, 0.0])
    with pytest.raises(GstoVizError, match="two or more"):
        disequilibrium([1.0])
    with pytest.raises(GstoVizError, match="NaN"):
        moments(np.array([np.nan]))


def axis_weights(size_in, size_out, align_corners):
    """The interpolation matrix itself, out of torch: column i is what sample i becomes."""
    unit = torch.eye(size_in, dtype=torch.float64)[None]
    out = F.interpolate(unit, size=size_out, mode="linear", align_corners=align_corners)
    return out[0].numpy().T


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("size_in", "size_out"), [(5, 10), (6, 18), (7, 28), (12, 45), (1, 4), (9, 9), (2, 16)]
)
@pytest.mark.parametrize("correlation", [0.0, 0.5, -0.3])
def test_ratios_are_those_of_the_interpolation_matrix(
    size_in, size_out, align_corners, correlation
):
    weights = axis_weights(size_in, size_out, align_corners)
    gap = np.abs(np.subtract.outer(np.arange(size_in), np.arange(size_in)))
    covariance = np.where(gap == 0, 1.0, np.where(gap == 1, correlation, 0.0))
    expected = np.mean([row @ covariance @ row for row in weights])
    ratio = bilinear_variance_ratio(
        size_in, size_out, align_corners=align_corners, correlation=correlation
    )
    assert ratio == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("size", [1, 2, 9, 128])
@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_the_formula_is_the_mean_over_outputs(factor, size, correlation):
    exact = bilinear_variance_ratio(size, size * factor, correlation=correlation)
    assert bilinear_closed_form(factor, size, correlation) == pytest.approx(exact, abs=1e-12)


def test_published_values():
    interior = {2: 25 / 64, 3: 0.495199, 4: 441 / 1024, 8: 7225 / 16384, 16: 0.443577}
    for factor, value in interior.items():
        assert bilinear_closed_form(factor) ** 2 == pytest.approx(value, abs=1e-6)
    for factor, value in {2: 0.394296, 4: 0.434196, 8: 0.444472}.items():
        assert bilinear_variance_ratio(128, 128 * factor) ** 2 == pytest.approx(value, abs=1e-6)
    for factor, value in {2: 0.446189, 4: 0.445315, 8: 0.444879}.items():
        ratio = bilinear_variance_ratio(128, 128 * factor, align_corners=True)
        assert ratio**2 == pytest.approx(value, abs=1e-6)
    for factor, value in {2: 0.6625, 8: 0.6944}.items():
        assert bilinear_closed_form(factor, 128, 0.5) ** 2 == pytest.approx(value, abs=1e-4)


def test_upsampled_noise_has_the_variance_that_is_foretold():
    rng = np.random.default_rng(2)
    noise = torch.from_numpy(rng.normal(size=(2, 16, 40, 56)))
    for factor in (2, 4):
        up = F.interpolate(noise, scale_factor=factor, mode="bilinear", align_corners=False)
        ratio = moments(up.numpy()).variance / moments(noise.numpy()).variance
        axes = bilinear_variance_ratio(40, 40 * factor), bilinear_variance_ratio(56, 56 * factor)
        assert ratio == pytest.approx(axes[0] * axes[1], abs=0.006)


def test_gradients_are_per_weight():
    np.testing.assert_allclose(gradient_rms([4.0, 0.0], [16, 3]), [0.5, 0])
    with pytest.raises(GstoVizError, match="per branch"):
        gradient_rms([1.0], [0])
    with pytest.raises(GstoVizError, match="at least 1"):
        bilinear_closed_form(0)
    with pytest.raises(GstoVizError, match="upsampling 4 to 2"):
        bilinear_variance_ratio(4, 2)
