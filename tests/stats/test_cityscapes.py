"""The Cityscapes scores: by hand, and against the definition written as loops over pixels."""

import numpy as np
import pytest

from gsto_viz.data import shipped_classes
from gsto_viz.stats import (
    CITYSCAPES,
    cityscapes_scores,
    confusion_matrix,
    instance_counts,
    is_cityscapes,
)
from gsto_viz.stats.outcome import CATEGORIES

NAMES = list(CITYSCAPES)
ROAD, PERSON, RIDER, CAR, TRUCK = (
    NAMES.index(n) for n in ("road", "person", "rider", "car", "truck")
)


def test_the_nineteen_classes_and_their_categories():
    assert list(shipped_classes("cityscapes").names) == NAMES
    sizes = {name: sum(c.category == name for c in CITYSCAPES.values()) for name in CATEGORIES}
    assert sizes == {
        "flat": 2, "construction": 3, "object": 3, "nature": 2, "sky": 1, "human": 2, "vehicle": 6,
    }  # fmt: skip
    with_instances = [name for name, entry in CITYSCAPES.items() if entry.instance_px]
    assert with_instances == [c.name for c in shipped_classes("cityscapes") if c.thing]
    assert is_cityscapes([name.title() for name in NAMES])
    assert not is_cityscapes(NAMES[:-1])
    assert not is_cityscapes(NAMES[::-1])


def test_iiou_by_hand():
    """Two cars of 8 and 2 pixels; 6 of the first are hit, 1 is called truck; none of the second.

    w = a/8 and a/2 with a = 12794.02...; iTP = 6a/8, iFN = 2a/8 + 2a/2; one road pixel is called
    car, so FP = 1. For the category the truck pixel is a hit: iTP = 7a/8, iFN = 1a/8 + 2a/2.
    """
    labels = np.full((2, 6), ROAD, np.uint8)
    labels[:, :5] = CAR
    instances = np.zeros((2, 6), np.int32)
    instances[:, :4], instances[:, 4] = 26000, 26001
    predicted = np.full((2, 6), ROAD, np.uint8)
    predicted[:, :3] = CAR
    predicted[0, 3] = TRUCK
    predicted[0, 5] = CAR
    rows = instance_counts(labels, instances, predicted)
    assert rows.tolist() == [[CAR, 8, 6, 7], [CAR, 2, 0, 0]]
    scores = cityscapes_scores(confusion_matrix(labels, predicted, 19), rows)
    a = 12794.0202738185
    car = 6 * a / 8 / (6 * a / 8 + 1 + 2 * a / 8 + a)
    vehicle = 7 * a / 8 / (7 * a / 8 + 1 + a / 8 + a)
    assert scores.class_iiou["car"] == pytest.approx(100 * car)
    # A truck that is predicted and not there: no instance, one false positive.
    assert scores.class_iiou["truck"] == 0
    assert scores.class_iiou["bus"] is None
    assert scores.iiou_class == pytest.approx(100 * car / 2)
    assert scores.category_iiou["vehicle"] == pytest.approx(100 * vehicle)
    assert scores.category_iiou["human"] is None
    assert scores.iiou_category == pytest.approx(100 * vehicle)
    assert scores.categories["vehicle"] == pytest.approx(100 * 7 / 11)
    assert scores.categories["flat"] == pytest.approx(100 * 1 / 5)
    assert scores.iou_category == pytest.approx(100 * (7 / 11 + 1 / 5) / 2)


def test_one_size_of_all_instances_gives_the_plain_iou_of_the_class():
    """With instances of average size every weight is 1."""
    rows = np.array([[PERSON, 100, 40, 50], [PERSON, 100, 100, 100]])
    confusion = np.zeros((19, 19), np.int64)
    confusion[PERSON, PERSON], confusion[PERSON, RIDER], confusion[PERSON, ROAD] = 140, 10, 50
    entry = CITYSCAPES["person"]
    assert entry.instance_px is not None
    weight = entry.instance_px / 100
    confusion[ROAD, PERSON] = 30
    scores = cityscapes_scores(confusion, rows)
    assert scores.class_iiou["person"] == pytest.approx(
        100 * 140 * weight / (200 * weight + 30), rel=1e-12
    )


def literal(samples):
    """The benchmark's definition, one pixel after the other, in the numbers of the label files."""
    members = {
        c: [k for k, n in enumerate(NAMES) if CITYSCAPES[n].category == c] for c in CATEGORIES
    }
    groups = {**{n: [k] for k, n in enumerate(NAMES)}, **members}
    result = {}
    for name, group in groups.items():
        tp = fp = fn = 0
        itp = ifn = 0.0
        for labels, instances, predicted in samples:
            height, width = labels.shape
            for y in range(height):
                for x in range(width):
                    true, guess = labels[y, x], predicted[y, x]
                    if true == 255:
                        continue
                    tp += true in group and guess in group
                    fn += true in group and guess not in group
                    fp += true not in group and guess in group
            for number in set(instances.ravel().tolist()) - {0}:
                pixels = list(zip(*np.nonzero(instances == number), strict=True))
                true = labels[pixels[0]]
                if true == 255 or true not in group or not CITYSCAPES[NAMES[true]].instance_px:
                    continue
                weight = CITYSCAPES[NAMES[true]].instance_px / len(pixels)
                hit = sum(predicted[p] in group for p in pixels)
                itp += weight * hit
                ifn += weight * (len(pixels) - hit)
        result[name] = (
            100 * tp / (tp + fp + fn) if tp + fp + fn else None,
            100 * itp / (itp + fp + ifn) if itp + fp + ifn else None,
        )
    return result


def draw(seed):
    """Boxes of every class, most of them instances, an ignored strip, and a shifted prediction."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((24, 30), np.uint8)
    instances = np.zeros((24, 30), np.int32)
    for number in range(1, 30):
        y, x = int(rng.integers(0, 22)), int(rng.integers(0, 28))
        box = slice(y, y + int(rng.integers(2, 9))), slice(x, x + int(rng.integers(2, 9)))
        labels[box] = label = rng.choice([*range(19), 255])
        is_thing = label == 255 or label >= PERSON
        instances[box] = number if is_thing and rng.random() < 0.8 else 0
    predicted = np.roll(labels, 1, 1)
    noise = (rng.random(labels.shape) < 0.2) | (predicted == 255)
    predicted[noise] = rng.integers(0, 19, noise.sum())
    return labels, instances, predicted


def test_scores_are_those_of_loops_over_pixels():
    samples = [draw(seed) for seed in range(3)]
    expected = literal(samples)
    confusion = sum(confusion_matrix(a, c, 19) for a, _, c in samples)
    scores = cityscapes_scores(confusion, np.concatenate([instance_counts(*s) for s in samples]))
    assert scores.categories == pytest.approx({c: expected[c][0] for c in CATEGORIES})
    assert scores.class_iiou == pytest.approx({n: expected[n][1] for n in NAMES[11:]})
    assert scores.category_iiou == pytest.approx({c: expected[c][1] for c in ("human", "vehicle")})


def test_without_instance_maps_there_is_no_iiou():
    confusion = np.diag(np.full(19, 5))
    scores = cityscapes_scores(confusion, None)
    assert (scores.iou_category, scores.iiou_class, scores.iiou_category) == (100, None, None)
    assert scores.class_iiou == scores.category_iiou == {}
    nothing = instance_counts(*(np.zeros((3, 3), int),) * 3)
    assert nothing.shape == (0, 4)
    empty = cityscapes_scores(np.zeros((19, 19), np.int64), nothing)
    assert empty.iou_category is empty.iiou_class is None
