"""Augmentation: what happens to the image happens to its labels, and nothing else does."""

import cv2
import numpy as np
import pytest

from gsto_viz.data import Augmentation, BaseSize
from gsto_viz.data.transforms import adjust
from gsto_viz.errors import GstoVizError

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


@pytest.mark.parametrize("seed", range(8))
def test_the_draws_in_their_order_and_each_step_by_hand(seed: int) -> None:
    """Runs repeat only while the same numbers are drawn in the same order for the same things."""
    image, labels = scene(31, 45, seed)
    augment = Augmentation((24, 40), (0.5, 2.1), 0.5, brightness=0.3, contrast=0.2)
    got, mask = augment(image, labels, np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    factor = rng.uniform(0.5, 2.1)
    size = (round(45 * factor), round(31 * factor))
    image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT)
    top = int(rng.integers(0, max(size[1] - 24, 0) + 1))
    left = int(rng.integers(0, max(size[0] - 40, 0) + 1))
    padded, ignored = np.zeros((24, 40, 3), np.uint8), np.full((24, 40), 255, np.uint8)
    part = image[top : top + 24, left : left + 40]
    padded[: part.shape[0], : part.shape[1]] = part
    ignored[: part.shape[0], : part.shape[1]] = labels[top : top + 24, left : left + 40]
    if rng.random() < 0.5:
        padded, ignored = padded[:, ::-1], ignored[:, ::-1]
    gain, spread = rng.uniform(0.7, 1.3), rng.uniform(0.8, 1.2)
    mean = padded.mean()
    expected = gain * (mean + spread * (padded.astype(np.float64) - mean))
    assert np.array_equal(mask, ignored)
    assert np.array_equal(got, np.clip(np.rint(expected), 0, 255).astype(np.uint8))


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


def test_a_mirror_image_swaps_left_and_right_classes() -> None:
    """Image columns turn round; the label 3 (a left arm) becomes 7 (a right arm) and back."""
    image, labels = scene(8, 10)
    labels[0, 0], labels[1, 9] = 3, 7
    augment = Augmentation((8, 10), (1.0, 1.0), flip=1.0, flip_pairs=((3, 7), (40, 41)))
    got, mask = augment(image, labels, np.random.default_rng(0))
    partner = {0: 0, 3: 7, 7: 3, 255: 255}
    for y in range(8):
        for x in range(10):
            assert mask[y, x] == partner[int(labels[y, 9 - x])]
            assert (got[y, x] == image[y, 9 - x]).all()
    never = Augmentation((8, 10), **FIXED, flip_pairs=((3, 7),))
    assert np.array_equal(never(image, labels, np.random.default_rng(0))[1], labels)


def test_the_result_is_never_the_input_itself() -> None:
    image, labels = scene()
    image.flags.writeable = labels.flags.writeable = False
    for window_first in (False, True):
        augment = Augmentation((40, 60), **FIXED, window_first=window_first)
        got, mask = augment(image, labels, np.random.default_rng(0))
        assert np.array_equal(got, image)
        assert np.array_equal(mask, labels)
        got[:], mask[:] = 1, 1
    assert image.max() > 1


def test_steps_of_the_scale_factor() -> None:
    """HRNet's factors 0.5, 0.6, ... 2.1: a white image shows its scaled size before the padding."""
    image, labels = np.full((50, 100, 3), 255, np.uint8), np.zeros((50, 100), np.uint8)
    augment = Augmentation((110, 220), (0.5, 2.1), flip=0.0, scale_step=0.1)
    widths = set()
    for seed in range(300):
        got, mask = augment(image, labels, np.random.default_rng(seed))
        width = int((mask[0] == 0).sum())
        assert width == 2 * int((mask[:, 0] == 0).sum())
        assert (got[..., 0] == 255).sum() == width * width // 2
        widths.add(width)
    assert widths == {round(100 * (0.5 + k / 10)) for k in range(17)}


@pytest.mark.parametrize("window_first", [False, True])
@pytest.mark.parametrize(
    ("base", "size"),
    [
        (BaseSize(long=120), (80, 120)),
        (BaseSize(short=20), (20, 30)),
        (BaseSize(exact=(50, 33)), (50, 33)),
    ],
)
def test_base_sizes(base: BaseSize, size: tuple[int, int], window_first: bool) -> None:
    labels = np.zeros((40, 60), np.uint8)
    labels[:, 30:] = 1
    image = np.repeat(labels[..., None] * 200, 3, axis=2)
    augment = Augmentation((90, 130), **FIXED, base=base, window_first=window_first)
    got, mask = augment(image, labels, np.random.default_rng(0))
    inside = mask != 255
    assert inside[: size[0], : size[1]].all()
    assert inside.sum() == size[0] * size[1]
    right = (mask == 1)[0].nonzero()[0]
    assert right.min() in (size[1] // 2, (size[1] + 1) // 2)
    assert got[0, size[1] - 1, 0] == 200
    half = Augmentation((90, 130), (0.5, 0.5), 0.0, base=base, window_first=window_first)
    mask = half(image, labels, np.random.default_rng(0))[1]
    assert (mask != 255).sum() == round(size[0] / 2) * round(size[1] / 2)


@pytest.mark.parametrize(
    "wrong", [{}, {"long": 4, "short": 4}, {"long": 0}, {"exact": (4, 0)}, {"short": -1}]
)
def test_wrong_base_sizes(wrong: dict[str, int]) -> None:
    with pytest.raises(GstoVizError, match="is not a base size; give one of long, short and exact"):
        BaseSize(**wrong)


@pytest.mark.parametrize("seed", range(12))
def test_window_first_shows_what_the_slow_way_shows(seed: int) -> None:
    """On a ramp every value tells its place: the two ways agree to about a pixel of the image."""
    height, width = 90, 160
    y, x = np.mgrid[:height, :width]
    image = np.stack([y * 2, x, np.zeros_like(x)], axis=2).astype(np.uint8)
    labels = (x // 10).astype(np.uint8)
    options = {"crop": (48, 64), "scale_range": (0.4, 2.1), "flip": 0.5}
    slow, slow_mask = Augmentation(**options)(image, labels, np.random.default_rng(seed))
    fast, mask = Augmentation(**options, window_first=True)(
        image, labels, np.random.default_rng(seed)
    )
    assert fast.shape == slow.shape
    inside = slow_mask != 255
    assert np.array_equal(inside, mask != 255)
    apart = np.abs(fast.astype(int) - slow)[inside]
    assert apart[:, 0].max() <= 2 * 1.3
    assert apart[:, 1].max() <= 1.3
    # Both label what they show: the label is the tenth of the column that the image names.
    for picture, labelled in ((fast, mask), (slow, slow_mask)):
        column = picture[..., 1].astype(int)
        off = (labelled != column // 10) & (labelled != 255)
        distance = np.minimum(column % 10, 9 - column % 10)
        assert distance[off].max(initial=0) <= 1


def test_window_first_reaches_every_position_and_all_scales() -> None:
    image = np.zeros((30, 40, 3), np.uint8)
    labels = np.arange(30 * 40, dtype=np.uint32).reshape(30, 40)
    for channel in range(2):
        image[..., channel] = labels // 256**channel % 256
    augment = Augmentation((28, 37), (1.0, 1.0), flip=0.0, window_first=True)
    seen = set()
    for seed in range(200):
        got, _ = augment(image, np.zeros((30, 40), np.uint8), np.random.default_rng(seed))
        seen.add(int(got[0, 0, 0]) + 256 * int(got[0, 0, 1]))
    assert seen == {40 * top + left for top in range(3) for left in range(4)}
    tiny = Augmentation((5, 5), (40.0, 40.0), window_first=True)
    got, mask = tiny(image, np.full((30, 40), 4, np.uint8), np.random.default_rng(0))
    assert got.shape == (5, 5, 3)
    assert (mask == 4).all()
