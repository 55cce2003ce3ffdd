"""Crops of persons: geometry by three points, content where joints are, draws by hand."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from gsto_viz.data import PersonCrop, Photometric, PoseAugmentation, person_crop
from gsto_viz.errors import GstoVizError
from gsto_viz.joints import COCO_JOINTS
from gsto_viz.types import Person

SIZE = (64, 48)
ORDER = COCO_JOINTS.classes.flip_order


def three_points(crop: PersonCrop) -> np.ndarray:
    """HRNet's way: the centre, the middle of the upper edge, and a right angle to both."""
    height, width = crop.size
    turn = math.radians(crop.rotation)
    cx, cy = crop.center
    edge = (cx + crop.extent / 2 * math.sin(turn), cy - crop.extent / 2 * math.cos(turn))
    here = [(cx, cy), edge]
    there = [(width / 2, height / 2), (width / 2, height / 2 - width / 2)]
    for (ax, ay), (bx, by), points in ((*here, here), (*there, there)):
        points.append((bx - (ay - by), by + (ax - bx)))
    return cv2.getAffineTransform(np.float32(here), np.float32(there))


def person(seed: int = 0, annotated: int = 17) -> Person:
    rng = np.random.default_rng(seed)
    joints = np.zeros((17, 3), np.float32)
    joints[:annotated, :2] = rng.uniform((40, 20), (80, 100), (annotated, 2))
    joints[:annotated, 2] = rng.integers(1, 3, annotated)
    return Person(joints, (38.0, 18.0, 44.0, 84.0), 1500.0)


def noise(height: int = 120, width: int = 140) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("rotation", [0.0, 30.0, -90.0, 77.7])
def test_the_matrix_is_that_of_three_points(rotation: float) -> None:
    crop = replace(person_crop((10, 20, 30, 80), SIZE), rotation=rotation)
    np.testing.assert_allclose(crop.forward, three_points(crop), atol=1e-4)


@pytest.mark.parametrize("box", [(10, 20, 30, 80), (10, 20, 90, 80), (-3.5, 2.25, 30, 40)])
def test_a_box_becomes_a_frame_of_the_crop_s_shape(box: tuple[float, ...]) -> None:
    x, y, width, height = box
    wide, high = width, height
    if wide > high * 0.75:
        high = wide / 0.75
    else:
        wide = high * 0.75
    crop = person_crop(box, SIZE)
    assert crop.extent == pytest.approx(1.25 * wide)
    assert crop.area == pytest.approx(1.25**2 * wide * high)
    corners = crop.to_image(np.array([(0, 0), (48, 64)]))
    middle = np.array([x + width / 2, y + height / 2])
    half = 1.25 / 2 * np.array([wide, high])
    np.testing.assert_allclose(corners, [middle - half, middle + half], atol=1e-9)


def test_there_and_back() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        crop = PersonCrop(
            (rng.uniform(-50, 3000), rng.uniform(0, 3000)),
            rng.uniform(3, 2000),
            (384, 288),
            rng.uniform(-90, 90),
            bool(rng.integers(2)),
        )
        points = rng.uniform(-100, 4000, (9, 2))
        assert np.abs(crop.to_image(crop.to_crop(points)) - points).max() < 1e-8
        points = points.astype(np.float32)
        assert np.abs(crop.to_crop(crop.to_image(points)) - points).max() < 1e-4


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0.0, 40.0, -85.0])
def test_a_bright_spot_lands_where_its_joint_does(rotation: float, mirrored: bool) -> None:
    crop = replace(person_crop((30, 10, 60, 90), SIZE), rotation=rotation, mirrored=mirrored)
    for x, y in ((60, 55), (52, 40), (70, 66)):
        image = np.zeros((120, 140, 3), np.uint8)
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
        joints = np.zeros((17, 3), np.float32)
        joints[5] = x, y, 2
        placed = crop.place(joints, ORDER)
        row = 6 if mirrored else 5
        assert np.flatnonzero(placed[:, 2]).tolist() == [row]
        light = crop.cut(image)[..., 0].astype(np.float64)
        ys, xs = np.mgrid[:64, :48]
        found = [(light * axis).sum() / light.sum() for axis in (xs, ys)]
        np.testing.assert_allclose(found, placed[row, :2], atol=0.25)


def test_a_mirrored_crop_is_the_crop_of_the_mirror_image() -> None:
    image, one = noise(), person()
    image = cv2.GaussianBlur(image, (0, 0), 3)
    crop = replace(person_crop(one.box, SIZE), rotation=20.0, mirrored=True)
    cx, cy = crop.center
    turned = replace(crop, center=(139 - cx, cy), mirrored=False)
    other = turned.cut(np.ascontiguousarray(image[:, ::-1]))
    assert np.abs(crop.cut(image).astype(int) - other).max() <= 4
    swapped = one.joints.copy()
    for a, b in COCO_JOINTS.classes.flip_pairs:
        swapped[[a, b]] = one.joints[[b, a]]
    swapped[:, 0] = 139 - swapped[:, 0]
    np.testing.assert_allclose(
        crop.place(one.joints, ORDER), turned.place(swapped, ORDER), atol=1e-4
    )


def test_what_is_beside_the_image_is_black_and_the_image_stays() -> None:
    image = np.full((40, 40, 3), 200, np.uint8)
    image.flags.writeable = False
    crop = person_crop((20, 0, 40, 40), (40, 40), padding=1.0).cut(image)
    assert (crop[:, :19] == 200).all()
    assert (crop[:, 21:] == 0).all()


def test_joints_outside_are_as_if_not_annotated() -> None:
    crop = person_crop((0, 0, 48, 64), SIZE, padding=1.0)
    joints = np.zeros((17, 3), np.float32)
    joints[:6, 2] = 2
    joints[:6, :2] = (-0.5, 0), (-0.6, 0), (47.4, 63.4), (47.5, 0), (0, 63.5), (20, -5)
    joints[6, :2] = 10, 10  # not annotated, whatever its place
    placed = crop.place(joints, ORDER)
    assert placed.dtype == np.float32
    assert placed[:, 2].tolist() == [2, 0, 2] + [0] * 14
    np.testing.assert_allclose(placed[[0, 2]], joints[[0, 2]], atol=1e-5)
    assert not placed[placed[:, 2] == 0].any()


@pytest.mark.parametrize("box", [(3, 4, 0, 0), (3, 4, math.nan, 5), (math.inf, 4, 5, 5)])
def test_a_box_without_extent_is_refused(box: tuple[float, ...]) -> None:
    with pytest.raises(GstoVizError, match="cannot be cropped; give one with width and height"):
        person_crop(box, SIZE)


def drawn_by_hand(one: Person, rng: np.random.Generator) -> PersonCrop:
    """The published numbers, one after the other."""
    halved, upper, rotated, flipped = (rng.random() for _ in range(4))
    scale, turn = rng.standard_normal(), rng.standard_normal()
    x, y, width, height = one.box
    center, wide = (x + width / 2, y + height / 2), 1.25 * max(width, 0.75 * height)
    seen = [k for k in range(17) if one.joints[k, 2] > 0]
    if len(seen) > 8 and halved < 0.3:
        above, below = [k for k in seen if k < 11], [k for k in seen if k >= 11]
        if upper < 0.5 + math.erf(0.5 / math.sqrt(2)) / 2 and len(above) > 2:
            chosen = above
        else:
            chosen = below if len(below) > 2 else above
        xs, ys = one.joints[chosen, 0], one.joints[chosen, 1]
        center = (float(np.mean(xs, dtype=float)), float(np.mean(ys, dtype=float)))
        wide = 1.5 * max(float(xs.max() - xs.min()), 0.75 * float(ys.max() - ys.min()))
    wide *= max(0.65, min(1.35, scale * 0.35 + 1))
    angle = max(-90.0, min(90.0, 45 * turn)) if rotated < 0.6 else 0.0
    return PersonCrop(center, wide, SIZE, angle, flipped < 0.5)


@pytest.mark.parametrize("annotated", [17, 14, 13, 8])
def test_the_draws_are_the_published_numbers(annotated: int) -> None:
    one = person(3, annotated)
    augment = PoseAugmentation(SIZE)
    halves = 0
    for seed in range(60):
        got = augment.draw(one, np.random.default_rng(seed))
        expected = drawn_by_hand(one, np.random.default_rng(seed))
        assert got.center == pytest.approx(expected.center, abs=1e-4)
        assert got.extent == pytest.approx(expected.extent, rel=1e-5)
        assert got.rotation == pytest.approx(expected.rotation, abs=1e-12)
        assert got.mirrored == expected.mirrored
        halves += got.center != person_crop(one.box, SIZE).center
    assert (halves > 5) == (annotated > 8)


def test_a_half_that_is_a_point_is_not_framed() -> None:
    one = person()
    one.joints[:, :2] = 50, 60
    augment = PoseAugmentation(SIZE, half_body=1.0, scale=0.0, rotated=0.0, flip=0.0)
    assert augment.draw(one, np.random.default_rng(0)) == person_crop(one.box, SIZE)
    one.joints[:, 0] = np.arange(17)  # a line has an extent
    assert augment.draw(one, np.random.default_rng(0)) != person_crop(one.box, SIZE)


def test_the_generator_decides_all_and_nothing_given_changes() -> None:
    image, one = noise(), person()
    before = image.copy(), one.joints.copy()
    augment = PoseAugmentation(
        SIZE, brightness=0.3, contrast=0.2, photometric=Photometric(hue=20.0, noise=0.05)
    )
    results = set()
    for seed in range(8):
        first, joints = augment(image, one, np.random.default_rng(seed))
        again = augment(image, one, np.random.default_rng(seed))
        assert np.array_equal(first, again[0])
        assert np.array_equal(joints, again[1])
        assert (first.shape, first.dtype) == ((64, 48, 3), np.uint8)
        assert (joints.shape, joints.dtype) == ((17, 3), np.float32)
        results.add(first.tobytes())
    assert len(results) == 8
    assert np.array_equal(image, before[0])
    assert np.array_equal(one.joints, before[1])


def test_nothing_to_do_is_the_crop_of_evaluation() -> None:
    image, one = noise(), person()
    plain = PoseAugmentation(SIZE, scale=0.0, rotated=0.0, flip=0.0, half_body=0.0)
    crop, joints = plain(image, one, np.random.default_rng(0))
    frame = person_crop(one.box, SIZE)
    assert np.array_equal(crop, frame.cut(image))
    assert np.array_equal(joints, frame.place(one.joints, ORDER))


def test_light_changes_pixels_after_the_frame_is_drawn() -> None:
    image, one = noise(), person()
    bright = PoseAugmentation(SIZE, brightness=0.5)
    crop, joints = bright(image, one, np.random.default_rng(4))
    rng = np.random.default_rng(4)
    frame = PoseAugmentation(SIZE).draw(one, rng)
    gain = rng.uniform(0.5, 1.5)
    rng.uniform(1, 1)
    expected = np.clip(np.rint(gain * frame.cut(image).astype(float)), 0, 255)
    assert np.abs(crop - expected).max() <= 1  # the mean is added and taken off again
    assert np.array_equal(joints, frame.place(one.joints, ORDER))
