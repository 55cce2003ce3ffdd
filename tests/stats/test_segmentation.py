"""Scores against literal pixel loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gsto_viz.errors import GstoVizError
from gsto_viz.stats import confusion_matrix, scores_of

IGNORED = 255


def literal_iou(labels: list[int], guess: list[int], k: int) -> float | None:
    """Intersection over union of the two sets of pixel positions."""
    counted = [i for i, label in enumerate(labels) if label != IGNORED]
    true = {i for i in counted if labels[i] == k}
    said = {i for i in counted if guess[i] == k}
    return 100 * len(true & said) / len(true | said) if true | said else None


pixels = st.lists(
    st.tuples(st.sampled_from([0, 1, 2, 3, IGNORED]), st.integers(0, 3)), min_size=1, max_size=60
)


@given(pixels)
def test_scores_are_those_of_sets_of_pixels(pairs: list[tuple[int, int]]) -> None:
    labels, guess = [a for a, _ in pairs], [b for _, b in pairs]
    if all(a == IGNORED for a in labels):
        with pytest.raises(GstoVizError, match="no labelled pixel"):
            scores_of(confusion_matrix(np.array(labels), np.array(guess), 4))
        return
    matrix = confusion_matrix(np.array(labels, np.uint8), np.array(guess, np.uint8), 4)
    for a in range(4):
        for b in range(4):
            assert matrix[a, b] == sum(1 for p in pairs if p == (a, b))
    scores = scores_of(matrix)
    expected = [literal_iou(labels, guess, k) for k in range(4)]
    assert [v is None for v in scores.iou] == [v is None for v in expected]
    present = [v for v in expected if v is not None]
    assert scores.miou == pytest.approx(sum(present) / len(present))
    counted = [p for p in pairs if p[0] != IGNORED]
    assert scores.pixel_accuracy == pytest.approx(
        100 * sum(a == b for a, b in counted) / len(counted)
    )
    recalls = []
    for k in range(4):
        of_class = [b for a, b in counted if a == k]
        assert scores.pixels[k] == len(of_class)
        if of_class:
            recalls.append(100 * of_class.count(k) / len(of_class))
            assert scores.accuracy[k] == pytest.approx(recalls[-1])
        else:
            assert scores.accuracy[k] is None
    assert scores.mean_accuracy == pytest.approx(sum(recalls) / len(recalls))


def test_matrices_of_images_add_up() -> None:
    rng = np.random.default_rng(1)
    labels, guess = rng.integers(0, 5, (2, 8, 9)), rng.integers(0, 5, (2, 8, 9))
    whole = confusion_matrix(labels, guess, 5)
    assert np.array_equal(
        whole, sum(confusion_matrix(a, b, 5) for a, b in zip(labels, guess, strict=True))
    )
    assert whole.dtype == np.int64


def test_one_matrix_is_not_a_mean_over_images() -> None:
    """Two images: the class fills one and is a pixel of the other, which is missed."""
    labels = np.array([[1, 1, 1, 1], [1, 0, 0, 0]])
    guess = np.array([[1, 1, 1, 1], [0, 0, 0, 0]])
    iou = scores_of(confusion_matrix(labels, guess, 2)).iou
    assert iou == pytest.approx((75.0, 80.0))


def test_what_cannot_be_counted() -> None:
    with pytest.raises(GstoVizError, match=r"labels are \(2,\) and predictions \(3,\)"):
        confusion_matrix(np.zeros(2, int), np.zeros(3, int), 2)
    with pytest.raises(GstoVizError, match="labels go from 0 to 7"):
        confusion_matrix(np.array([0, 7]), np.array([0, 0]), 2)
    with pytest.raises(GstoVizError, match="predictions go from -1 to 0"):
        confusion_matrix(np.array([0, 1]), np.array([0, -1]), 2)
    # What is said about ignored pixels does not matter.
    assert confusion_matrix(np.array([255, 1]), np.array([99, 1]), 2)[1, 1] == 1
