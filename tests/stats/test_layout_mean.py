"""The running mean map against a loop, in any order and over shards."""

import numpy as np
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.stats import LayoutMean


def maps(seed, shapes=((6, 9), (3, 5))):
    rng = np.random.default_rng(seed)
    return [rng.random(shape).astype(np.float32) for shape in shapes]


def test_the_mean_is_subtracted_branch_by_branch():
    layout = LayoutMean()
    for seed in range(5):
        layout.update(maps(seed))
    adjusted = layout.adjust(maps(2))
    for r, one in enumerate(adjusted):
        mean = sum(maps(seed)[r].astype(float) for seed in range(5)) / 5
        np.testing.assert_allclose(one, maps(2)[r] - mean, atol=1e-15)
        assert one.dtype == np.float64


def test_order_and_shards_change_no_bit():
    whole, parts = LayoutMean(), [LayoutMean(), LayoutMean(), LayoutMean()]
    for seed in range(60):
        whole.update(maps(seed))
    for seed in reversed(range(60)):
        parts[seed % 2].update(maps(seed))
    parts[2].merge(parts[1])
    parts[2].merge(parts[0])
    parts[2].merge(LayoutMean())
    assert parts[2].count == whole.count == 60
    for one, other in zip(whole.adjust(maps(7)), parts[2].adjust(maps(7)), strict=True):
        assert (one == other).all()


def test_only_one_size_and_only_after_an_image():
    layout = LayoutMean()
    with pytest.raises(GstoVizError, match="call update first"):
        layout.adjust(maps(0))
    layout.update(maps(0))
    before = [one.copy() for one in layout.sums]
    other_size = maps(1, ((6, 8), (3, 4)))
    with pytest.raises(GstoVizError, match="images of one size"):
        layout.update(other_size)
    with pytest.raises(GstoVizError, match="images of one size"):
        layout.adjust(other_size)
    wrong = LayoutMean()
    wrong.update(other_size)
    with pytest.raises(GstoVizError, match="images of one size"):
        layout.merge(wrong)
    assert layout.count == 1
    assert all((one == two).all() for one, two in zip(before, layout.sums, strict=True))
