"""SIC: planted patterns, invariances, and its spread under noise."""

import numpy as np
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.stats import interaction, scale_interaction
from gsto_viz.stats.information import double_centered, null_variance, zscored_rows

STRIDES, OCTAVES = (4, 8, 16, 32), (3, 4, 5, 6, 7)
PATTERN = np.outer(np.arange(4) - 1.5, np.arange(5) - 2.0)


def test_the_pattern_its_reverse_and_nothing():
    assert interaction(PATTERN, STRIDES, OCTAVES).sic == pytest.approx(1)
    assert interaction(-3 * PATTERN, STRIDES, OCTAVES).sic == pytest.approx(-1)
    additive = np.add.outer([0.3, 0.1, 0.9, 0.4], [0.1, 0.7, 0.2, 0.5, 0.6])
    nothing = interaction(additive, STRIDES, OCTAVES)
    assert nothing.sic is None
    assert nothing.norm < 1e-12
    assert "no interaction" in nothing.reason


def test_it_is_a_correlation_of_double_centred_entries():
    rng = np.random.default_rng(0)
    m = rng.random((4, 5))
    centered = [
        [m[r, b] - m[r].mean() - m[:, b].mean() + m.mean() for b in range(5)] for r in range(4)
    ]
    np.testing.assert_allclose(double_centered(m), centered, atol=1e-15)
    expected = np.corrcoef(np.ravel(centered), PATTERN.ravel())[0, 1]
    assert scale_interaction(m, STRIDES, OCTAVES) == pytest.approx(expected, abs=1e-12)
    moved = 7 * (m + rng.random((4, 1)) + rng.random((1, 5)))
    assert scale_interaction(moved, STRIDES, OCTAVES) == pytest.approx(expected, abs=1e-12)


def test_noise_has_the_analytic_variance():
    draws = np.random.default_rng(1).normal(size=(20_000, 4, 5))
    values = scale_interaction(draws, STRIDES, OCTAVES)
    assert null_variance(4, 5) == 1 / 12
    assert values.mean() == pytest.approx(0, abs=0.01)
    assert values.var() == pytest.approx(1 / 12, rel=0.04)
    assert interaction(draws[0], STRIDES, OCTAVES).null_sd == pytest.approx(np.sqrt(1 / 12))


def test_row_gains_matter_unless_rows_are_standardised():
    m = np.random.default_rng(2).random((4, 5))
    gains = np.array([[1.0], [30.0], [0.1], [2.0]])
    plain = scale_interaction(np.stack([m, gains * m]), STRIDES, OCTAVES)
    assert abs(plain[0] - plain[1]) > 0.01
    standard = scale_interaction(zscored_rows(np.stack([m, gains * m])), STRIDES, OCTAVES)
    assert standard[0] == pytest.approx(standard[1], abs=1e-12)
    assert (zscored_rows(np.full((2, 3), 0.4)) == 0).all()


def test_wrong_shapes_are_named():
    with pytest.raises(GstoVizError, match="does not fit"):
        scale_interaction(np.zeros((3, 5)), STRIDES, OCTAVES)
    with pytest.raises(GstoVizError, match="all strides are equal"):
        scale_interaction(np.zeros((2, 3)), (4, 4), (1, 2, 3))
