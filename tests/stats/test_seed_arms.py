"""Claims about methods: exact permutation of seeds, and seeds x images against analytic spread."""

import itertools

import numpy as np
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.stats import Images, seed_image_difference, seed_permutation


@pytest.mark.parametrize(("seeds", "smallest"), [(3, 0.10), (4, 0.029), (5, 0.008)])
def test_the_smallest_p_of_separated_arms(seeds, smallest):
    a, b = np.arange(seeds) / 100, 1 + np.arange(seeds) / 90
    result = seed_permutation(a, b)
    assert result.p == pytest.approx(smallest, abs=0.0006)
    assert result.p == pytest.approx(result.smallest_p, abs=1e-15)
    assert result.difference == pytest.approx(b.mean() - a.mean())
    assert seed_permutation(b, a).p == result.p


def test_p_counts_every_split():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 4), rng.normal(0.7, 1, 5)
    pooled, observed = [*a, *b], b.mean() - a.mean()
    totals = []
    for chosen in itertools.combinations(range(9), 5):
        inside = [pooled[k] for k in chosen]
        outside = [pooled[k] for k in range(9) if k not in chosen]
        totals.append(np.mean(inside) - np.mean(outside))
    above = np.mean([t >= observed - 1e-12 for t in totals])
    below = np.mean([t <= observed + 1e-12 for t in totals])
    result = seed_permutation(a, b)
    assert result.p == pytest.approx(min(1.0, 2 * min(above, below)), abs=1e-12)
    assert result.splits == 126


def test_equal_arms_and_hopeless_sizes():
    assert seed_permutation([0.5] * 4, [0.5] * 4).p == 1.0
    many = seed_permutation([0.0] * 12, [1.0] * 12)
    assert many.p is None
    assert "too many" in many.reason
    with pytest.raises(GstoVizError, match="no seed"):
        seed_permutation([], [1.0])


def test_both_factors_enter_the_interval():
    # Pure seed noise, then pure image noise: the spread of the bootstrap is that of the means.
    rng = np.random.default_rng(1)
    images = [f"im{i}" for i in range(60)]
    seeds_a, seeds_b = rng.normal(0, 1, 6), rng.normal(2, 1, 6)
    only_seeds = seed_image_difference(
        images, np.tile(seeds_a[:, None], 60), np.tile(seeds_b[:, None], 60)
    )
    se = np.sqrt(seeds_a.var() / 6 + seeds_b.var() / 6)
    assert only_seeds.high - only_seeds.low == pytest.approx(2 * 1.96 * se, rel=0.1)
    effect = rng.normal(0, 1, 60)
    only_images = seed_image_difference(images, np.zeros((4, 60)), np.tile(effect, (4, 1)))
    se = effect.std() / np.sqrt(60)
    assert only_images.high - only_images.low == pytest.approx(2 * 1.96 * se, rel=0.1)
    assert only_images.value == pytest.approx(effect.mean())
    assert (only_images.n_images, only_images.n_pairs) == (60, 8)


def test_conditions_of_the_interval():
    images = [f"im{i}" for i in range(20)]
    values = np.random.default_rng(2).random((4, 20))
    few_seeds = seed_image_difference(images, values[:3], values)
    assert few_seeds.low is None
    assert "3 and 4 training seeds" in few_seeds.reason
    assert few_seeds.value == pytest.approx(values.mean() - values[:3].mean())
    blocks = {name: f"b{i % 5}" for i, name in enumerate(images)}
    assert "5 independent" in seed_image_difference(images, values, values, Images(blocks)).reason
    with pytest.raises(GstoVizError, match="do not fit"):
        seed_image_difference(images[:3], values, values)
    with pytest.raises(GstoVizError, match="no seed"):
        seed_image_difference(images, values[:0], values)
