"""Augmentation: what happens to the image happens to its labels, and nothing else does."""

import cv2
import numpy as np
import pytest

from gsto_viz.data.transforms import Augmentation, adjust

FIXED = {"scale_range": (1.0, 1.0), "flip": 0.0}


def scene(height: int = 40, width: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    labels = rng.choice([0, 3, 7, 255], (height, width)).astype(np.uint8)
    return image, labels


@pytest.mark.parametrize("seed", range(6))
def test_shapes_types_values_and_the_generator_decides_all(seed: int) -> None:
    image, labels = scene()
    before = image.copy(), labels.copy()
    augment = Augmentation((48, 32), (0.5, 2.0), 0.5, brightness=0.3, contrast=0.3)
    first = augment(image, labels, np.random.default_rng(seed))
    again = augment(image, labels, np.random.default_rng(seed))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert first[0].shape == (48, 32, 3)
    assert first[1].shape == (48, 32)
    for array in first:
        assert array.dtype == np.uint8
        assert array.flags.c_contiguous
    assert set(np.unique(first[1])) <= {0, 3, 7, 255}
    assert np.array_equal(image, before[0])
    assert np.array_equal(labels, before[1])


def test_other_numbers_give_other_crops() -> None:
    image, labels = scene()
    augment = Augmentation((16, 16), (1.0, 1.0))
    results = {augment(image, labels, np.random.default_rng(s))[0].tobytes() for s in range(20)}
    assert len(results) == 20


def test_nothing_to_do_is_the_image_itself() -> None:
    image, labels = scene()
    got = Augmentation((40, 60), **FIXED)(image, labels, np.random.default_rng(0))
    assert np.array_equal(got[0], image)
    assert np.array_equal(got[1], labels)


def test_what_a_crop_lacks_is_black_and_ignored() -> None:
    image, labels = scene(20, 30)
    image = np.maximum(image, 1)
    got, mask = Augmentation((33, 40), **FIXED)(image, labels, np.random.default_rng(0))
    assert np.array_equal(got[:20, :30], image)
    assert np.array_equal(mask[:20, :30], labels)
    outside = np.ones((33, 40), bool)
    outside[:20, :30] = False
    assert (got[outside] == 0).all()
    assert (mask[outside] == 255).all()


def test_a_crop_may_be_wider_than_the_image_and_lower() -> None:
    image, labels = scene(20, 30)
    got, mask = Augmentation((10, 40), **FIXED)(image, labels, np.random.default_rng(0))
    assert (mask[:, 30:] == 255).all()
    tops = [t for t in range(11) if np.array_equal(image[t : t + 10], got[:, :30])]
    assert len(tops) == 1
    assert np.array_equal(mask[:, :30], labels[tops[0] : tops[0] + 10])


def test_a_mirror_image_mirrors_both() -> None:
    image, labels = scene()
    got, mask = Augmentation((40, 60), (1.0, 1.0), flip=1.0)(
        image, labels, np.random.default_rng(0)
    )
    assert np.array_equal(got, image[:, ::-1])
    assert np.array_equal(mask, labels[:, ::-1])


def test_every_position_of_a_crop_occurs_corners_included() -> None:
    labels = np.arange(5 * 6, dtype=np.uint8).reshape(5, 6)
    image = np.repeat(labels[..., None], 3, axis=2)
    augment = Augmentation((3, 4), **FIXED)
    seen = {int(augment(image, labels, np.random.default_rng(s))[1][0, 0]) for s in range(200)}
    assert seen == {6 * top + left for top in range(3) for left in range(3)}


@pytest.mark.parametrize("factor", [0.6, 0.75, 1.0, 1.3, 1.6])
@pytest.mark.parametrize(("top", "left"), [(0, 0), (37, 61), (60, 100)])
def test_labels_stay_on_their_objects(factor: float, top: int, left: int) -> None:
    """A bright square labelled 1: where its image is half bright, its label must end."""
    image = np.zeros((100, 140, 3), np.uint8)
    labels = np.zeros((100, 140), np.uint8)
    image[top : top + 40, left : left + 40] = 250
    labels[top : top + 40, left : left + 40] = 1
    size = (round(100 * factor), round(140 * factor))
    got, mask = Augmentation(size, (factor, factor), flip=0.0)(
        image, labels, np.random.default_rng(0)
    )
    bright = (got[..., 0] >= 125).astype(np.uint8)
    apart = bright != mask
    # They may differ on the outline of the square, one pixel wide, and nowhere else.
    outline = cv2.dilate(mask, np.ones((3, 3))) - cv2.erode(mask, np.ones((3, 3)))
    assert not apart[outline == 0].any()
    ys, xs = np.nonzero(mask)
    for values, start in ((ys, top), (xs, left)):
        assert values.mean() + 0.5 == pytest.approx((start + 20) * factor, abs=0.75)
        assert len(set(values.tolist())) == pytest.approx(40 * factor, abs=1)


@pytest.mark.parametrize(("gain", "spread"), [(1.25, 1.0), (0.75, 0.8), (1.2, 1.2), (1.0, 1.0)])
def test_brightness_and_contrast_pixel_by_pixel(gain: float, spread: float) -> None:
    image, _ = scene(9, 11)
    mean = sum(int(v) for v in image.ravel()) / image.size
    got = adjust(image, gain, spread)
    for value, result in zip(image.ravel().tolist(), got.ravel().tolist(), strict=True):
        expected = gain * (mean + spread * (value - mean))
        assert abs(result - min(max(expected, 0), 255)) <= 0.5 + 1e-9


def test_brightness_is_drawn_from_its_whole_range() -> None:
    image = np.full((4, 4, 3), 100, np.uint8)
    labels = np.zeros((4, 4), np.uint8)
    augment = Augmentation((4, 4), (1.0, 1.0), flip=0.0, brightness=0.25)
    values = [int(augment(image, labels, np.random.default_rng(s))[0][0, 0, 0]) for s in range(300)]
    assert min(values) in (75, 76)
    assert max(values) in (124, 125)
    assert np.mean(values) == pytest.approx(100, abs=3)
