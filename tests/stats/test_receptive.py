"""Effective receptive fields of maps with known moments, and planted slopes."""

import numpy as np
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.stats import effective_size, erf_slope


def test_sizes_of_known_maps():
    points = np.zeros((9, 9))
    points[4, 1] = points[4, 7] = 1  # three pixels to either side: variance 9 and 0
    assert effective_size(points, (4, 4)) == pytest.approx(2 * np.sqrt(9 / 2))
    rng = np.random.default_rng(0)
    g = rng.random((7, 11))
    loop = sum(g[y, x] * ((y - 2.5) ** 2 + (x - 6) ** 2) for y in range(7) for x in range(11))
    assert effective_size(g, (2.5, 6)) == pytest.approx(2 * np.sqrt(loop / (2 * g.sum())))
    axis = np.arange(201) - 100
    bell = np.exp(-(axis**2) / (2 * 6.0**2))
    assert effective_size(np.outer(bell, bell), (100, 100)) == pytest.approx(12, rel=1e-6)
    for wrong in (np.zeros((3, 3)), -points, np.ones(4)):
        with pytest.raises(GstoVizError, match="must be \\(H, W\\), not negative"):
            effective_size(wrong, (0, 0))


def test_slopes():
    strides = (4, 8, 16, 32)
    assert erf_slope(np.array([10, 20, 40, 80]), strides) == pytest.approx(1)
    assert erf_slope(np.array([[50, 50, 50, 50], [8, 4, 2, 1]]), strides) == pytest.approx([0, -1])
    with pytest.raises(GstoVizError, match="give one size per stride"):
        erf_slope(np.ones(3), strides)
