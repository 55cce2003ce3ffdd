"""Outcome by size against loops over pixels, repeated erosion, and planted predictions."""

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

from gsto_viz.errors import GstoVizError
from gsto_viz.regions import find_regions, region_table
from gsto_viz.stats import (
    annotate,
    class_scores,
    confusion_matrix,
    count_outcome,
    image_scores,
    outcome_by_size,
    outcome_counts,
)
from gsto_viz.stats.nulls import FEW, _words, boundary_width, near_other
from gsto_viz.stats.outcome import outcome_scores


def draw(seed, shape=(40, 56), classes=4, wrong=0.1):
    """Rectangles with a strip that is ignored, and a prediction: shifted, with wrong pixels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    for _ in range(9):
        y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        labels[y : y + rng.integers(2, 20), x : x + rng.integers(2, 20)] = rng.integers(0, classes)
    predicted = np.roll(labels, (1, 2), (0, 1))
    noise = rng.random(shape) < wrong
    predicted[noise] = rng.integers(0, classes + 1, noise.sum())
    labels[:3, 5:30] = 255
    return labels, predicted


def boundary(mask, width):
    return mask & near_other(mask.astype(np.uint8), width)


@pytest.mark.parametrize("width", [1, 2, 5])
def test_boundaries_are_what_repeated_erosion_takes_away(width):
    mask = np.random.default_rng(0).random((20, 30)) < 0.97
    mask[:, 12:17] = True
    eroded = binary_erosion(mask, np.ones((3, 3)), iterations=width, border_value=0)
    np.testing.assert_array_equal(boundary(mask, width), mask & ~eroded)
    assert boundary(np.ones((9, 9), bool), 2).sum() == 81 - 25
    assert not boundary(np.zeros((9, 9), bool), 2).any()


def test_the_boundary_is_a_share_of_the_diagonal():
    assert boundary_width((300, 400)) == 10
    assert boundary_width((300, 400), 0.005) == 2
    assert boundary_width((10, 10)) == 1


@pytest.mark.parametrize("seed", range(4))
def test_counts_are_those_of_loops_over_pixels(seed):
    labels, predicted = draw(seed)
    regions = find_regions(labels)
    outcome = outcome_counts(regions.ids, regions.class_id, predicted, image="a", ratio=0.04)
    rows = outcome.regions.set_index("region")
    known = labels != 255
    width = boundary_width(labels.shape, 0.04)
    assert width == 3
    edges = {
        (name, c): boundary((m == c) & known, width)
        for name, m in (("true", labels), ("guess", predicted))
        for c in range(5)
    }
    sure = np.zeros((len(regions) + 1, 6), int)
    perhaps = np.zeros((len(regions) + 1, 6), int)
    places = [np.argwhere(regions.ids == k + 1) for k in range(len(regions))]
    for y, x in np.argwhere(known):
        own, c, guess = regions.ids[y, x], labels[y, x], predicted[y, x]
        at_true, at_guess = edges["true", c][y, x], edges["guess", guess][y, x]
        sure[own] += [1, c == guess, 0, at_true, at_true and edges["guess", c][y, x], 0]
        sure[own, 5] += c == guess and at_guess and not at_true
        if c != guess:
            away = [
                (((p - (y, x)) ** 2).sum(1).min(), k + 1)
                for k, p in enumerate(places)
                if regions.class_id[k] == guess
            ]
            nearest = [k for d, k in away if d == min(away)[0]]
            for k in nearest:
                (sure if len(nearest) == 1 else perhaps)[k] += [0, 0, 1, 0, 0, at_guess]
    counts = rows.drop(columns="image").to_numpy()
    assert (sure[1:] <= counts).all()
    assert (counts <= (sure + perhaps)[1:]).all()
    np.testing.assert_array_equal(counts[:, [0, 1, 3, 4]], sure[1:][:, [0, 1, 3, 4]])
    assert sure[:, 2].sum() > 0.5 * counts[:, 2].sum() > 0


@pytest.mark.parametrize("seed", range(3))
def test_classes_are_those_of_the_confusion_matrix(seed):
    labels, predicted = draw(seed)
    regions = find_regions(labels)
    outcome = outcome_counts(regions.ids, regions.class_id, predicted, image="a")
    confusion = confusion_matrix(labels, predicted, 5)
    union = confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    scores = class_scores(outcome.classes).set_index("class_id")
    for c in np.flatnonzero(union):
        assert scores.loc[c, "iou"] == pytest.approx(confusion[c, c] / union[c])
        true = (labels == c) & (labels != 255)
        guess = (predicted == c) & (labels != 255)
        width = boundary_width(labels.shape)
        a, b = boundary(true, width), boundary(guess, width)
        assert scores.loc[c, "boundary_iou"] == pytest.approx((a & b).sum() / (a | b).sum())
    there = union > 0
    expected = (np.diag(confusion)[there] / union[there]).mean()
    assert image_scores(outcome.classes)["miou"].tolist() == pytest.approx([expected])
    assert np.isnan(scores.loc[4, "recall"])  # predicted, never annotated
    # Regions of a class add up to the class.
    for c, rows in outcome.regions.groupby(regions.class_id):
        total = outcome.classes.set_index("class_id").loc[c].drop("image")
        assert rows[total.index].sum().tolist() == total.tolist()


def test_a_perfect_prediction_and_a_missed_one():
    labels, _ = draw(7)
    regions = find_regions(labels)
    right = outcome_counts(regions.ids, regions.class_id, labels, image="a")
    assert (outcome_scores(right.regions) == 1).all(axis=None)
    missed = outcome_counts(regions.ids, regions.class_id, np.full_like(labels, 9), image="a")
    assert (outcome_scores(missed.regions) == 0).all(axis=None)
    assert missed.classes.set_index("class_id").loc[9, "false_positives"] == (labels != 255).sum()
    assert missed.regions["false_positives"].sum() == 0


def nearest_regions(nearest, asked):
    """The regions nearest to each asked pixel, from whole squared distances to all places."""
    found = []
    for y, x in zip(*np.divmod(asked, nearest.shape[1]), strict=True):
        squares = ((nearest.places - (y, x)) ** 2).sum(axis=1)
        found.append(set(nearest.numbers[squares == squares.min()].tolist()))
    return found


@pytest.mark.parametrize("specks", [1, 2, 3, 6, 11, 60])
@pytest.mark.parametrize("share", [1.0, 0.1, 0.02])
def test_the_nearest_region_is_that_of_whole_distances_and_among_equals_of_the_tree(specks, share):
    rng = np.random.default_rng(specks)
    labels = np.zeros((97, 131), np.uint8)
    labels[rng.choice(48, specks) * 2, rng.choice(65, specks) * 2] = 1
    labels[40:60, 100:110] = 1
    regions = find_regions(labels)
    nearest = annotate(regions.ids, regions.class_id).nearest[1]
    outside = np.flatnonzero(labels != 1)
    asked = np.sort(rng.choice(outside, int(share * outside.size), replace=False))
    assert (asked.size > FEW) == (share >= 0.1)
    expected = nearest_regions(nearest, asked)
    found = nearest.region(asked)
    assert all(one in among for one, among in zip(found.tolist(), expected, strict=True))
    tree = cKDTree(nearest.places)
    at = tree.query(np.stack(np.divmod(asked, 131), axis=1))[1]
    np.testing.assert_array_equal(found, nearest.numbers[at])
    if share == 1.0 and specks > 1:
        assert max(map(len, expected)) > 1


def test_numbers_of_regions_may_be_unsigned():
    labels, predicted = draw(3, (60, 80), wrong=0.8)
    regions = find_regions(labels)
    assert len(regions) < 256
    one, other = (
        outcome_counts(regions.ids.astype(dtype), regions.class_id, predicted, image="a")
        for dtype in (np.int32, np.uint8)
    )
    pd.testing.assert_frame_equal(one.regions, other.regions)
    pd.testing.assert_frame_equal(one.classes, other.classes)


def test_far_regions_are_told_apart():
    labels = np.zeros((30, 6000), np.uint8)
    labels[7, 11] = labels[7, 4711] = labels[23, 5990] = 1
    regions = find_regions(labels)
    nearest = annotate(regions.ids, regions.class_id).nearest[1]
    asked = np.flatnonzero(labels == 0)
    rows, columns = np.divmod(asked, 6000)
    squares = [(rows - y) ** 2 + (columns - x) ** 2 for y, x in ((7, 11), (7, 4711), (23, 5990))]
    unique = np.sum(squares == np.min(squares, axis=0), axis=0) == 1
    places = ((7, 11), (7, 4711), (23, 5990))
    number = np.array([regions.ids[at] for at in places])
    found = nearest.region(asked)[unique]
    np.testing.assert_array_equal(found, number[np.argmin(squares, axis=0)][unique])
    assert not unique.all()


@pytest.mark.parametrize("count", [2, 3, 4, 7, 20, 21])
def test_two_things_are_together_in_more_sets_than_one(count):
    words = _words(count)
    size = words[:, 0].sum()
    assert (words.sum(axis=0) == size).all()
    assert all((words[:, a] | words[:, b]).sum() > size for a in range(count) for b in range(a))


def test_false_positives_go_to_the_nearest_region_of_their_class():
    labels = np.zeros((20, 40), np.uint8)
    labels[8:12, 4:8], labels[8:12, 30:34] = 1, 1
    predicted = labels.copy()
    predicted[9, 8:15] = 1  # seven pixels, all nearer to the left square
    predicted[8:12, 30:32] = 0  # half of the right one missed
    regions = find_regions(labels)
    rows = outcome_counts(regions.ids, regions.class_id, predicted, image="a").regions
    scores = outcome_scores(rows)
    assert rows["false_positives"].tolist() == [8, 7, 0]
    assert scores["recall"].tolist() == [pytest.approx((800 - 32 - 7) / 768), 1, 0.5]
    assert scores["iou"].tolist()[1:] == [16 / 23, 0.5]


def test_networks_share_the_annotation():
    labels, _ = draw(3)
    regions = find_regions(labels)
    shared = annotate(regions.ids, regions.class_id)
    for seed in range(3):
        predicted = draw(seed + 20)[1]
        one = count_outcome(shared, predicted, image="a")
        other = outcome_counts(regions.ids, regions.class_id, predicted, image="a")
        pd.testing.assert_frame_equal(one.regions, other.regions)
        pd.testing.assert_frame_equal(one.classes, other.classes)
    with pytest.raises(GstoVizError, match="classes from 0"):
        count_outcome(shared, np.full(labels.shape, -1), image="a")


@pytest.mark.parametrize("factor", [1, 100, 70_000])
def test_numbers_of_classes_do_not_matter(factor):
    labels, predicted = (one.astype(np.int64) for one in draw(5))
    wide = np.where(labels == 255, -1, labels * factor)
    regions = find_regions(wide, ignore=-1)
    outcome = outcome_counts(regions.ids, regions.class_id, predicted * factor, image="a")
    plain = find_regions(labels)
    expected = outcome_counts(plain.ids, plain.class_id, predicted, image="a")
    pd.testing.assert_frame_equal(outcome.regions, expected.regions)
    assert outcome.classes["class_id"].tolist() == (expected.classes["class_id"] * factor).tolist()
    rest = ["class_id"]
    pd.testing.assert_frame_equal(
        outcome.classes.drop(columns=rest), expected.classes.drop(columns=rest)
    )


def test_many_classes_have_exact_boundaries():
    rng = np.random.default_rng(6)
    labels = np.kron(np.arange(20 * 20).reshape(20, 20), np.ones((5, 5), int))
    predicted = np.where(rng.random(labels.shape) < 0.1, labels + 1, labels)
    regions = find_regions(labels, ignore=None)
    outcome = outcome_counts(regions.ids, regions.class_id, predicted, image="a")
    rows = outcome.classes.set_index("class_id")
    width = boundary_width(labels.shape)
    for c in (0, 17, 254, 255, 256, 300, 399):
        true, guess = boundary(labels == c, width), boundary(predicted == c, width)
        assert rows.loc[c, "boundary_px"] == true.sum()
        assert rows.loc[c, "boundary_hits"] == (true & guess).sum()
        assert rows.loc[c, "boundary_false_positives"] == (guess & ~true).sum()


def outcomes(images):
    counts, tables, classes = [], [], []
    for i in range(images):
        labels, predicted = draw(i)
        regions = find_regions(labels)
        result = outcome_counts(regions.ids, regions.class_id, predicted, image=f"im{i:02d}")
        counts.append(result.regions)
        classes.append(result.classes)
        maps = [np.zeros((-(-40 // s), -(-56 // s))) for s in (4, 8)]
        tables.append(region_table(labels, maps, (4, 8), image=f"im{i:02d}"))
    return counts, tables, classes


def test_scores_by_size_average_regions_then_images():
    counts, tables, _ = outcomes(12)
    for by in ("octave", "coco_bin"):
        result = outcome_by_size(pd.concat(counts), tables, by=by)
        seen = 0
        for row in result.to_dict("records"):
            per_image = []
            for table, count in zip(tables, counts, strict=True):
                scores = outcome_scores(count)[row["measure"]]
                size = np.floor(table["size_octave"]) if by == "octave" else table["coco_bin"]
                chosen = scores[table["qualifies"] & (size == row[by])]
                seen += len(chosen)
                per_image += [chosen.mean()] if len(chosen) else []
            assert row["mean"] == pytest.approx(np.mean(per_image))
            assert row["n_images"] == len(per_image)
            if row["n_images"] >= 10:
                assert row["low"] <= row["mean"] <= row["high"]
            else:
                assert "independent images" in row["reason"]
        assert seen == 3 * sum(table["qualifies"].sum() for table in tables)


def test_shards_merge_to_the_same_numbers():
    counts, tables, classes = outcomes(11)
    whole = outcome_by_size(pd.concat(counts), tables)
    again = outcome_by_size(pd.concat([*counts[6:], *counts[:8]]), tables[::-1])
    pd.testing.assert_frame_equal(whole, again)
    total = class_scores(pd.concat(classes))
    pd.testing.assert_frame_equal(total, class_scores(pd.concat(classes[::-1])))
    assert all(dtype == np.int64 for dtype in pd.concat(counts).dtypes.iloc[1:])


def test_what_does_not_fit_is_said():
    counts, tables, _ = outcomes(2)
    with pytest.raises(GstoVizError, match="of image 'im01' has no counts"):
        outcome_by_size(counts[0], tables)
    with pytest.raises(GstoVizError, match="choose octave or coco_bin"):
        outcome_by_size(pd.concat(counts), tables, by="area")
    with pytest.raises(GstoVizError, match="do not fit"):
        outcome_counts(np.ones((4, 4), int), np.array([0]), np.zeros((4, 5), int), image="a")
    with pytest.raises(GstoVizError, match="do not fit"):
        outcome_counts(np.full((4, 4), 2), np.array([0]), np.zeros((4, 4), int), image="a")
    empty = outcome_counts(
        np.zeros((4, 4), int), np.zeros(0, int), np.zeros((4, 4), int), image="a"
    )
    assert empty.regions.empty
    assert empty.classes.empty
