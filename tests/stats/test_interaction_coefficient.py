"""SIC: planted patterns, invariances, and its spread under noise."""

import numpy as np
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.stats import scale_interaction
from gsto_viz.stats.information import double_centered

STRIDES, OCTAVES = (4, 8, 16, 32), (3, 4, 5, 6, 7)
PATTERN = np.outer(np.arange(4) - 1.5, np.arange(5) - 2.0)


def test_the_pattern_its_reverse_and_nothing():
    assert scale_interaction(PATTERN, STRIDES, OCTAVES) == pytest.approx(1)
    assert scale_interaction(-3 * PATTERN, STRIDES, OCTAVES) == pytest.approx(-1)
    additive = np.add.outer([0.3, 0.1, 0.9, 0.4], [0.1, 0.7, 0.2, 0.5, 0.6])
    assert np.isnan(scale_interaction(additive, STRIDES, OCTAVES))


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
    assert values.mean() == pytest.approx(0, abs=0.01)
    assert values.var() == pytest.approx(1 / 12, rel=0.04)


def test_wrong_shapes_are_named():
    with pytest.raises(GstoVizError, match="does not fit"):
        scale_interaction(np.zeros((3, 5)), STRIDES, OCTAVES)
    with pytest.raises(GstoVizError, match="all strides are equal"):
        scale_interaction(np.zeros((2, 3)), (4, 4), (1, 2, 3))
