"""Rare classes of one crop pasted onto another, against a loop over pixels."""

import numpy as np
import numpy.typing as npt

from gsto_viz.data import paste_rare


def by_loops(
    under: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]],
    over: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    (image, labels), (other, others) = under, over
    size: dict[int, int] = {}
    for value in others.ravel().tolist():
        if value != 255:
            size[value] = size.get(value, 0) + 1
    rare = sorted(size, key=lambda k: (size[k], k))[: len(size) // 2]
    image, labels = image.copy(), labels.copy()
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            if others[y, x] in rare:
                image[y, x], labels[y, x] = other[y, x], others[y, x]
    return image, labels


def test_equals_a_loop_over_pixels_and_leaves_both_crops_alone() -> None:
    rng = np.random.default_rng(0)
    for classes in (1, 2, 3, 7):
        values = np.array([*range(classes), 255], dtype=np.uint8)
        made = [
            (
                rng.integers(0, 256, (9, 13, 3), dtype=np.uint8),
                rng.choice(
                    values, (9, 13), p=np.arange(classes + 1, 0, -1) / sum(range(classes + 2))
                ),
            )
            for _ in range(2)
        ]
        kept = [(image.copy(), labels.copy()) for image, labels in made]
        for got, expected in zip(paste_rare(*made), by_loops(*made), strict=True):
            assert got.dtype == np.uint8
            assert np.array_equal(got, expected)
        for pair, before in zip(made, kept, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(pair, before, strict=True))


def test_ignored_pixels_and_the_only_class_do_not_go_over() -> None:
    under = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)
    over = np.full((4, 4, 3), 9, np.uint8), np.full((4, 4), 255, np.uint8)
    over[1][0] = 3
    for got, before in zip(paste_rare(under, over), under, strict=True):
        assert np.array_equal(got, before)


def test_of_equally_rare_classes_the_lower_number_goes_over() -> None:
    under = np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8)
    over = np.full((2, 2, 3), 7, np.uint8), np.array([[4, 4], [2, 2]], np.uint8)
    image, labels = paste_rare(under, over)
    assert labels.tolist() == [[0, 0], [2, 2]]
    assert image[..., 0].tolist() == [[0, 0], [7, 7]]
