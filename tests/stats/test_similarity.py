"""Unbiased CKA against its definition as a mean over distinct objects, and exact cases."""

import itertools

import numpy as np
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.stats import cka, cka_sums, hsic, object_batches


def literal_hsic(k, m):
    """The U-statistic: averages over tuples of distinct objects, one by one."""
    n = len(k)
    pairs = np.mean([k[i, j] * m[i, j] for i, j in itertools.permutations(range(n), 2)])
    fours = np.mean([k[i, j] * m[a, b] for i, j, a, b in itertools.permutations(range(n), 4)])
    threes = np.mean([k[i, j] * m[i, a] for i, j, a in itertools.permutations(range(n), 3)])
    return pairs + fours - 2 * threes


@pytest.mark.parametrize("n", [4, 5, 7])
def test_hsic_is_a_mean_over_distinct_objects(n):
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(n, 3)), rng.normal(size=(n, 2))
    assert hsic(x @ x.T, y @ y.T) == pytest.approx(literal_hsic(x @ x.T, y @ y.T))
    assert cka_sums([x, y])[0, 1] == pytest.approx(literal_hsic(x @ x.T, y @ y.T))


def test_three_objects_are_refused():
    with pytest.raises(GstoVizError, match="3 objects in a batch"):
        cka_sums([np.eye(3), np.eye(3)])
    with pytest.raises(GstoVizError, match="same n objects"):
        cka_sums([np.ones((5, 2)), np.ones((6, 2))])
    with pytest.raises(GstoVizError, match="NaN"):
        cka_sums([np.full((5, 2), np.nan)])
    with pytest.raises(GstoVizError, match="too small"):
        object_batches(["a"] * 9, size=3)


def test_rotations_and_gains_change_nothing():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(30, 6)), rng.normal(size=(30, 4))
    y[:, 0] += x[:, 0]
    basis = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    before = cka(cka_sums([x, y]))
    after = cka(cka_sums([7 * x @ basis + 100, 0.01 * y - 3]))
    np.testing.assert_allclose(after, before, atol=1e-10)
    assert cka(cka_sums([x, x @ basis]))[0, 1] == pytest.approx(1)
    np.testing.assert_allclose(np.diag(before), 1)
    np.testing.assert_array_equal(before, before.T)


def test_independent_branches_are_at_zero_where_the_plug_in_value_is_not():
    rng = np.random.default_rng(2)
    sums, plug_in = np.zeros((2, 2)), []
    singles = []
    for _ in range(150):
        x, y = rng.normal(size=(16, 12)), rng.normal(size=(16, 12))
        part = cka_sums([x, y])
        sums += part
        singles.append(part[0, 1])
        xc, yc = x - x.mean(0), y - y.mean(0)
        norms = np.linalg.norm(xc.T @ xc) * np.linalg.norm(yc.T @ yc)
        plug_in.append(np.linalg.norm(xc.T @ yc) ** 2 / norms)
    scale = np.sqrt(sums[0, 0] * sums[1, 1])
    error = np.std(singles) * np.sqrt(150) / scale
    assert abs(cka(sums)[0, 1]) < 4 * error
    assert error < 0.03
    assert np.mean(plug_in) > 0.3


def test_permuted_objects_are_independent():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(200, 5))
    values = [cka(cka_sums([x, x[rng.permutation(200)]]))[0, 1] for _ in range(20)]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(20)


def test_bins_are_stacked_and_dead_branches_are_missing():
    rng = np.random.default_rng(4)
    batches = [[rng.normal(size=(8, 3)), rng.normal(size=(8, 2))] for _ in range(3)]
    stacked = cka(np.stack([cka_sums(b) for b in batches]))
    for matrix, batch in zip(stacked, batches, strict=True):
        np.testing.assert_array_equal(matrix, cka(cka_sums(batch)))
    dead = cka(cka_sums([batches[0][0], np.full((8, 2), 4.0)]))
    assert np.isnan(dead[0, 1])
    assert dead[0, 0] == pytest.approx(1)


def test_batches_hold_one_object_of_an_image():
    rng = np.random.default_rng(5)
    images = [f"im{i:02d}" for i in rng.integers(0, 40, 300)]
    batches = object_batches(images, size=16, seed=1)
    used = np.concatenate(batches)
    assert len(set(used.tolist())) == len(used) > 250
    for batch in batches:
        assert 4 <= len(batch) <= 16
        names = [images[k] for k in batch]
        assert len(set(names)) == len(names)
    again = object_batches(images, size=16, seed=1)
    assert all((a == b).all() for a, b in zip(batches, again, strict=True))
    assert object_batches(["a"] * 50) == []
    assert object_batches([]) == []
