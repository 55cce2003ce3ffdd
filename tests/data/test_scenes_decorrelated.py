"""Decorrelated scenes: a class says nothing about a size, everything else is as in any scene."""

import hashlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.stats.contingency import association

from gsto_viz.data.scenes import SceneDataset, render_scene
from gsto_viz.data.scenes.buildings import Building
from gsto_viz.data.scenes.camera import BUILDING, PAVEMENT, ROAD, SKY, THINGS, Camera, sample_light
from gsto_viz.data.scenes.canvas import Canvas, View
from gsto_viz.data.scenes.decorrelated import DECORRELATED, Scaled
from gsto_viz.data.scenes.traffic import Pedestrian
from gsto_viz.regions import find_regions

SCENES = 40
OCTAVES = range(3, 7)
SMALL = (96, 160)


def regions_of(count, *, decorrelated):
    """Return the region maps of the first scenes of the usual size."""
    data = SceneDataset(count, seed=11, decorrelated=decorrelated)
    return [find_regions(s.labels, s.instances) for s in (data[k] for k in range(count))]


@pytest.fixture(scope="module")
def regions():
    return regions_of(SCENES, decorrelated=True)


def contingency(maps):
    """Count the objects of at least 64 px by class (row) and size octave (column), one by one."""
    counts = np.zeros((len(DECORRELATED), len(OCTAVES)), dtype=int)
    for found in maps:
        for label, octave, area in zip(
            found.class_id, found.size_octave, found.area_px, strict=True
        ):
            if area >= 64 and label in DECORRELATED and int(octave) in OCTAVES:
                counts[DECORRELATED.index(label), int(octave) - OCTAVES[0]] += 1
    return counts


def corrected_v(counts):
    """Return Cramér's V without the part that chance alone gives (Bergsma 2013)."""
    (rows, columns), n = counts.shape, counts.sum()
    phi2 = association(counts, method="cramer") ** 2 * (min(rows, columns) - 1)
    phi2 = max(0.0, phi2 - (rows - 1) * (columns - 1) / (n - 1))
    rows, columns = (k - (k - 1) ** 2 / (n - 1) for k in (rows, columns))
    return float(np.sqrt(phi2 / (min(rows, columns) - 1)))


def digest(*maps):
    return hashlib.sha256(b"".join(np.ascontiguousarray(m).tobytes() for m in maps)).hexdigest()


def test_class_and_octave_are_independent_and_in_ordinary_scenes_they_are_not(regions):
    """Four sets of 40 scenes gave 0.00 to 0.04 and, ordinary, 0.17 to 0.19: 0.10 lies between.

    Half as many ordinary scenes do, which hold more than twice as many objects each.
    """
    assert corrected_v(contingency(regions)) < 0.10
    assert corrected_v(contingency(regions_of(SCENES // 2, decorrelated=False))) > 0.10


def test_the_statistic_knows_planted_tables():
    rng = np.random.default_rng(0)
    label, octave = rng.integers(0, 8, 480), rng.integers(0, 4, 480)
    for mixed, low, high in ((0.0, 0.0, 0.06), (0.3, 0.2, 0.4), (1.0, 0.97, 1.01)):
        bound = rng.random(480) < mixed
        counts = np.zeros((8, 4), dtype=int)
        np.add.at(counts, (label, np.where(bound, label // 2, octave)), 1)
        assert low <= corrected_v(counts) <= high, mixed


def test_every_class_occurs_in_every_octave(regions):
    counts = contingency(regions)
    assert (counts >= 3).all(), counts
    assert counts.sum(axis=1).max() - counts.sum(axis=1).min() <= SCENES // 2, counts


def test_objects_are_whole_and_nothing_hides_them(regions):
    """Twelve objects a scene; one of 8 px may come out a pixel short of 64."""
    counts = contingency(regions).sum()
    assert 12 * SCENES - 5 <= counts <= 12 * SCENES
    for found in regions:
        thing = np.isin(found.class_id, DECORRELATED)
        assert not found.border[thing].any()
        assert thing.sum() == 12


def test_sizes_are_uniform_in_octaves(regions):
    sizes = [
        float(octave)
        for found in regions
        for label, octave in zip(found.class_id, found.size_octave, strict=True)
        if label in DECORRELATED
    ]
    span = np.log2(0.45 * 256) - 3
    share = (np.sort(sizes) - 3) / span
    assert np.abs(share - (np.arange(len(share)) + 0.5) / len(share)).max() < 0.03


def test_the_background_holds_no_object():
    for index in range(4):
        scene = render_scene(1_000_000, index, decorrelated=True)
        background = (scene.instances == 0) & ~np.isin(scene.labels, DECORRELATED)
        assert set(np.unique(scene.labels[background])) <= {SKY, ROAD, PAVEMENT}
        assert (np.isin(scene.labels, THINGS) == (scene.instances > 0)).all()


def test_one_seed_gives_the_same_bits_and_another_gives_others():
    def bits(seed, index):
        scene = render_scene(seed, index, *SMALL, decorrelated=True)
        return digest(scene.image, scene.labels, scene.instances)

    first = [bits(5, k) for k in range(3)]
    assert [bits(5, k) for k in reversed(range(3))] == first[::-1]
    assert len({*first, bits(6, 0)}) == 4


def test_ordinary_scenes_are_what_they_were():
    """Written down before decorrelated scenes were added."""
    scenes = [render_scene(5, k) for k in range(6)]
    assert (
        digest(*(m for s in scenes for m in (s.labels, s.instances)))
        == "caca42e6e2b173b637d0fb0f8f406c4b075910eb7046e0ad3d9f795bff6b5ca7"
    )


def test_twice_the_size_is_the_same_scene():
    small, large = (render_scene(4, 1, *s, decorrelated=True) for s in ((128, 256), (512, 1024)))
    assert (small.labels == large.labels[2::4, 2::4]).mean() > 0.97
    assert small.instances.max() == large.instances.max()


@pytest.mark.parametrize("size", [(64, 64), (67, 101), (129, 65)])
def test_any_shape_holds_objects(size):
    scene = render_scene(4, 1, *size, decorrelated=True)
    assert scene.image.shape == (*size, 3)
    assert len(set(np.unique(scene.labels)) & set(DECORRELATED)) >= 3


def camera_at(height_m, pitch):
    return Camera.looking(
        (0.0, height_m, 0.0),
        heading=0.0,
        pitch=pitch,
        roll=0.0,
        focal_px=300.0,
        center_px=(160.0, 120.0),
    )


def picture(item, camera):
    """Draw one item on an empty canvas and return it."""
    canvas = Canvas(240, 320)
    canvas.piece(SKY, (0.0, 0.0, 0.0), depth=0.0)
    item.draw(View(canvas, camera, sample_light(np.random.default_rng(0))))
    return canvas


@pytest.mark.parametrize("factor", [0.25, 1.0, 2.5])
def test_scaled_is_what_a_larger_object_looks_like(factor):
    person = Pedestrian.sample(np.random.default_rng(3), (0.7, 9.0))
    giant = replace(person, height=factor * person.height, stride=factor * person.stride)
    camera = camera_at(1.6, 0.1)
    scaled = picture(Scaled(person.spot, person, factor), camera)
    drawn = picture(giant, camera)
    assert (scaled.pieces > 0).sum() > 20
    assert (scaled.pieces == drawn.pieces).mean() > 0.9999
    assert np.allclose(scaled.table()["depth"], drawn.table()["depth"])


@pytest.mark.parametrize("roof", [0.0, 3.0])
def test_a_house_seen_from_above_has_a_roof(roof):
    """It is convex, so that its picture is the convex hull of its projected corners."""
    base = np.array([[-4.0, 17.0], [4.0, 18.0], [3.0, 26.0], [-5.0, 25.0]])
    house = replace(Building.sample(np.random.default_rng(1), base, 2), roof=roof)
    ridge = np.array([(base[0] + base[3]) / 2, (base[1] + base[2]) / 2])
    heights = [0.0] * 4 + [house.height] * 4 + [house.height + roof] * 2
    ground = np.concatenate([base, base, ridge])
    corners = np.stack([ground[:, 0], heights, ground[:, 1]], axis=1)
    camera = camera_at(30.0, 0.9)
    outline = cv2.convexHull(camera.project(corners)[0].astype(np.float32))
    hull = np.zeros((240, 320), np.uint8)
    cv2.fillConvexPoly(hull, np.rint(outline - 0.5).astype(np.int32), 1)
    canvas = picture(house, camera)
    mask = canvas.table()["label"][canvas.pieces] == BUILDING
    assert hull.sum() > 500
    assert (mask != hull).sum() < 0.04 * hull.sum()
