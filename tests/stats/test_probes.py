"""Probes against regressions on raw rows, planted truth, and the maps they must not notice."""

import hashlib

import numpy as np
import pandas as pd
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.stats import (
    ProbeSums,
    add_by_fold,
    balanced_accuracy,
    class_hits,
    cross_image_r2,
    fold_of,
    held_out_fits,
    probe_sums,
    random_projection,
    ridge,
    size_probe,
    size_targets,
    squared_errors,
)
from gsto_viz.stats.probes import FOLDS


def objects(images=40, channels=6, seed=0, signal=1.0, of_class=0.0):
    """A table of objects and pooled features that know size and class as far as told."""
    rng = np.random.default_rng(seed)
    rows = [(f"im{i:02d}", k + 1) for i in range(images) for k in range(rng.integers(2, 7))]
    table = pd.DataFrame(rows, columns=["image", "region"])
    table["class_id"] = rng.integers(0, 3, len(table))
    table["size_octave"] = 4 + table["class_id"] + rng.normal(size=len(table))
    features = rng.normal(size=(len(table), channels))
    features[:, 0] += signal * table["size_octave"]
    features[:, 1] += of_class * table["class_id"]
    return table, features


def folds_of(table, features, targets):
    sums = {
        image: probe_sums(features[rows], targets[rows])
        for image, rows in table.groupby("image").indices.items()
    }
    return add_by_fold(sums)


def test_folds_are_made_of_image_names_by_blake():
    names = [f"im{i}" for i in range(500)]
    folds = [fold_of(name) for name in names]
    for name, fold in list(zip(names, folds, strict=True))[:20]:
        digest = hashlib.blake2b(b"0\x00" + name.encode(), digest_size=8).digest()
        assert fold == int.from_bytes(digest, "little") % 5
    assert min(np.bincount(folds, minlength=FOLDS)) > 70
    assert folds != [fold_of(name, seed=1) for name in names]


@pytest.mark.parametrize("penalty", [0.0, 0.05, 3.0])
def test_ridge_is_the_penalised_fit_of_centred_rows(penalty):
    table, features = objects()
    targets = np.stack([table["size_octave"], table["class_id"] * 2.0], axis=1)
    centred = features - features.mean(axis=0)
    strength = penalty * features.var(axis=0).mean() * len(features)
    # Ridge is least squares on rows extended by the root of the penalty.
    extended = np.vstack([centred, np.sqrt(strength) * np.eye(6)])
    goal = np.vstack([targets - targets.mean(axis=0), np.zeros((6, 2))])
    slopes = np.linalg.lstsq(extended, goal, rcond=None)[0]
    fit = ridge(probe_sums(features, targets), penalty)
    np.testing.assert_allclose(fit[:-1], slopes, atol=1e-10)
    np.testing.assert_allclose(fit[-1], targets.mean(0) - features.mean(0) @ slopes, atol=1e-9)
    residual = targets - features @ fit[:-1] - fit[-1]
    np.testing.assert_allclose(
        squared_errors(probe_sums(features, targets), fit), (residual**2).sum(axis=0), rtol=1e-8
    )


def test_cross_image_r2_is_that_of_raw_rows():
    table, features = objects(seed=1)
    target = table[["size_octave"]].to_numpy()
    fold = np.array([fold_of(name) for name in table["image"]])
    errors = deviations = 0.0
    for k in range(FOLDS):
        seen, held = fold != k, fold == k
        design = np.hstack([features, np.ones((len(table), 1))])
        beta = np.linalg.pinv(design[seen]) @ target[seen]
        errors += ((target[held] - design[held] @ beta) ** 2).sum()
        deviations += ((target[held] - target[seen].mean()) ** 2).sum()
        mine = held_out_fits(folds_of(table, features, target), penalty=0)[k]
        np.testing.assert_allclose(mine, beta, atol=1e-9)
    r2 = cross_image_r2(folds_of(table, features, target), penalty=0)
    assert r2[0] == pytest.approx(1 - errors / deviations, abs=1e-9)
    assert 0 < r2[0] < 1


def test_no_invertible_map_of_the_features_changes_an_unpenalised_probe():
    table, features = objects(seed=2)
    target = table[["size_octave"]].to_numpy()
    mixed = features @ np.random.default_rng(3).normal(size=(6, 6)) + 5
    before = cross_image_r2(folds_of(table, features, target), penalty=0)
    after = cross_image_r2(folds_of(table, mixed, target), penalty=0)
    np.testing.assert_allclose(after, before, atol=1e-8)
    scaled = cross_image_r2(folds_of(table, features * 1e3, target), penalty=0.1)
    np.testing.assert_allclose(scaled, cross_image_r2(folds_of(table, features, target), 0.1))


def test_size_is_selective_only_beyond_class():
    table, aware = objects(signal=1.0)
    _, by_class = objects(signal=0.0, of_class=5.0)
    targets = size_targets(table)
    knows = size_probe(folds_of(table, aware, targets))
    only_class = size_probe(folds_of(table, by_class, targets))
    assert knows.selectivity > 0.2
    assert only_class.r2 > 0.2
    assert abs(only_class.selectivity) < 0.12
    assert knows.selectivity == knows.r2 - knows.shuffled_r2


def test_shuffles_stay_within_class_and_ignore_order():
    table, _ = objects()
    targets = size_targets(table, shuffles=3, seed=4)
    np.testing.assert_array_equal(targets[:, 0], table["size_octave"])
    for k in (1, 2, 3):
        assert not np.array_equal(targets[:, k], targets[:, 0])
        for rows in table.groupby("class_id").indices.values():
            assert sorted(targets[rows, k]) == sorted(targets[rows, 0])
    order = np.random.default_rng(0).permutation(len(table))
    np.testing.assert_array_equal(
        size_targets(table.iloc[order], shuffles=3, seed=4), targets[order]
    )


def test_sums_of_shards_add_up():
    rng = np.random.default_rng(6)
    x, y = rng.integers(-9, 9, (50, 4)), rng.integers(-9, 9, (50, 2))
    whole = probe_sums(x, y)
    parts = probe_sums(x[:13], y[:13]) + probe_sums(x[13:], y[13:])
    for name in ("xx", "xy", "yy"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    assert parts.rows == 50
    sums = {f"im{i}": probe_sums(x[i : i + 5], y[i : i + 5]) for i in range(0, 50, 5)}
    forward, backward = add_by_fold(sums), add_by_fold(dict(reversed(sums.items())))
    assert all(
        (a.xx == b.xx).all() for a, b in zip(forward.values(), backward.values(), strict=True)
    )
    assert sum(fold.rows for fold in forward.values()) == 50


def test_class_hits_are_counted_by_bin_and_class():
    rng = np.random.default_rng(7)
    class_id, size_bin = rng.integers(0, 3, 200), rng.integers(0, 4, 200)
    size_bin[size_bin == 2] = 0
    features = rng.normal(size=(200, 5)) + 2 * (class_id[:, None] == np.arange(5))
    fit = ridge(probe_sums(features, (class_id[:, None] == np.arange(3)).astype(float)))
    counts = class_hits(features, fit, class_id, size_bin, bins=4)
    accuracy = balanced_accuracy(counts)
    for b in range(4):
        recalls = []
        for c in range(3):
            rows = np.flatnonzero((class_id == c) & (size_bin == b))
            scores = [[features[i] @ fit[:-1, k] + fit[-1, k] for k in range(3)] for i in rows]
            hits = sum(int(np.argmax(score)) == c for score in scores)
            assert counts[b, c].tolist() == [hits, len(rows)]
            recalls += [hits / len(rows)] if len(rows) else []
        expected = np.mean(recalls) if recalls else np.nan
        assert accuracy[b] == pytest.approx(expected, nan_ok=True)
    assert accuracy[0] > 0.6
    halves = [class_hits(features[s], fit, class_id[s], size_bin[s], 4) for s in (
        slice(0, 77), slice(77, None))]  # fmt: skip
    np.testing.assert_array_equal(halves[0] + halves[1], counts)


def test_projections_are_orthonormal_and_repeat():
    basis = random_projection(20, 7, seed=1)
    np.testing.assert_allclose(basis.T @ basis, np.eye(7), atol=1e-12)
    np.testing.assert_array_equal(basis, random_projection(20, 7, seed=1))
    assert not np.allclose(basis, random_projection(20, 7, seed=2))


def test_what_cannot_be_probed_is_said():
    with pytest.raises(GstoVizError, match="give \\(n, C\\) and \\(n, K\\)"):
        probe_sums(np.zeros((3, 2)), np.zeros((4, 1)))
    with pytest.raises(GstoVizError, match="NaN"):
        probe_sums(np.full((3, 2), np.nan), np.zeros((3, 1)))
    sums = probe_sums(np.eye(3), np.ones((3, 1)))
    with pytest.raises(GstoVizError, match="1 folds of images have rows"):
        cross_image_r2({0: sums})
    with pytest.raises(GstoVizError, match="do not add up"):
        sums + probe_sums(np.eye(2), np.ones((2, 1)))
    with pytest.raises(GstoVizError, match="no control"):
        size_probe({0: sums, 1: sums})
    with pytest.raises(GstoVizError, match="keep 1 to 3"):
        random_projection(3, 4)
    with pytest.raises(GstoVizError, match="no rows"):
        ridge(ProbeSums(np.zeros((3, 3)), np.zeros((3, 1)), np.zeros(1)))
    assert np.isnan(cross_image_r2({0: sums, 3: sums})).all()
