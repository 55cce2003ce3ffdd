"""Regions against literal loops: breadth-first search, all-pairs distances, analytic shapes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from gsto_viz.errors import GstoVizError
from gsto_viz.regions import find as distance
from gsto_viz.regions import find_regions, region_distance
from gsto_viz.regions.find import color_regions


def components_by_search(labels, instances, ignore):
    """Flood fill pixel by pixel; instances with the same number are one region."""
    height, width = labels.shape
    ids, count, of_instance = np.zeros(labels.shape, int), 0, {}
    for y in range(height):
        for x in range(width):
            if labels[y, x] == ignore or ids[y, x]:
                continue
            if instances[y, x] > 0:
                if instances[y, x] not in of_instance:
                    count += 1
                    of_instance[instances[y, x]] = count
                ids[y, x] = of_instance[instances[y, x]]
                continue
            count += 1
            queue = [(y, x)]
            ids[y, x] = count
            while queue:
                cy, cx = queue.pop()
                for ny in range(max(cy - 1, 0), min(cy + 2, height)):
                    for nx in range(max(cx - 1, 0), min(cx + 2, width)):
                        if (
                            not ids[ny, nx]
                            and labels[ny, nx] == labels[y, x]
                            and instances[ny, nx] == 0
                        ):
                            ids[ny, nx] = count
                            queue.append((ny, nx))
    return ids


def distance_by_pairs(ids):
    """Compare each pixel with every pixel outside its region."""
    yy, xx = np.indices(ids.shape)
    result = np.zeros(ids.shape)
    for y, x in np.argwhere(ids > 0):
        outside = ids != ids[y, x]
        squares = (yy[outside] - y) ** 2 + (xx[outside] - x) ** 2
        result[y, x] = np.sqrt(squares.min()) if squares.size else np.inf
    return result


def random_scene(seed, height=24, width=31):
    """Blobs of three classes, some ignored pixels, and instances in several parts."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 3, (-(-height // 4), -(-width // 4)))
    labels = np.kron(coarse, np.ones((4, 4), int))[:height, :width]
    speckle = rng.random(labels.shape)
    labels[speckle < 0.05] = rng.integers(0, 3, labels.shape)[speckle < 0.05]
    labels[speckle > 0.97] = 255
    blocks = rng.choice([0, 0, 0, 4, 9], size=coarse.shape)
    return labels, np.kron(blocks, np.ones((4, 4), int))[:height, :width]


@pytest.mark.parametrize("with_instances", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_regions_are_those_of_a_literal_search(seed, with_instances):
    labels, instances = random_scene(seed)
    if not with_instances:
        instances = np.zeros_like(instances)
    ids = components_by_search(labels, instances, 255)
    regions = find_regions(labels.astype(np.uint8), instances if with_instances else None)
    np.testing.assert_array_equal(regions.ids, ids)
    assert regions.ids.dtype == np.int32
    distance = distance_by_pairs(ids)
    np.testing.assert_array_equal(regions.distance_px, distance)
    for k in range(1, ids.max() + 1):
        mask = ids == k
        classes = [int((labels[mask] == c).sum()) for c in range(3)]
        rows, columns = np.nonzero(mask)
        assert regions.class_id[k - 1] == classes.index(max(classes))
        assert {regions.instance_id[k - 1]} == set(instances[mask])
        assert regions.area_px[k - 1] == mask.sum()
        assert regions.max_distance_px[k - 1] == distance[mask].max()
        assert regions.core_area_px[k - 1] == (distance[mask] > 8).sum()
        at_border = {0, 23} & set(rows) or {0, 30} & set(columns)
        assert regions.border[k - 1] == bool(at_border)


@given(st.integers(0, 10_000), st.integers(1, 20), st.integers(1, 20), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_distance_is_exact_for_any_map(seed, height, width, numbers):
    # Numbers are scattered, so regions have parts and touch in every way.
    ids = np.random.default_rng(seed).integers(0, numbers + 1, (height, width))
    ids = np.unique(ids, return_inverse=True)[1].reshape(ids.shape) + int(ids.min() > 0)
    np.testing.assert_array_equal(region_distance(ids), distance_by_pairs(ids))


@pytest.mark.parametrize("images", [0, 0.5, 2, 1e9])
@pytest.mark.parametrize("seed", range(4))
def test_distance_is_exact_with_boxes_and_with_colors(seed, images, monkeypatch):
    monkeypatch.setattr(distance, "BOXED_IMAGES", images)
    monkeypatch.setattr(distance, "BOX_OVERHEAD_PX", 0)
    labels, instances = random_scene(seed, 30, 41)
    ids = find_regions(labels, instances).ids
    np.testing.assert_array_equal(region_distance(ids), distance_by_pairs(ids))


def test_distance_is_exact_far_inside_large_regions():
    ids = np.ones((1200, 1600), np.int32)
    ids[3, 5] = ids[1100, 30] = 2
    expected = distance_transform_edt(ids == 1)
    assert expected.max() > 1024
    np.testing.assert_array_equal(region_distance(ids)[ids == 1], expected[ids == 1])


def test_touching_regions_get_different_colors():
    labels, _ = random_scene(3, 40, 40)
    ids = find_regions(labels).ids
    colors = color_regions(ids)
    assert colors[0] == 0
    assert colors.max() < 10
    for y in range(39):
        for x in range(39):
            block = {int(v) for v in ids[y : y + 2, x : x + 2].ravel() if v}
            assert len({int(colors[v]) for v in block}) == len(block)


@pytest.mark.parametrize("radius", [5, 12, 40])
def test_disc(radius):
    yy, xx = np.indices((101, 103))
    inside = (yy - 50) ** 2 + (xx - 51) ** 2 <= radius**2
    regions = find_regions(inside.astype(np.uint8))
    background, disc = 0, 1
    assert len(regions) == 2
    # The centre's nearest outside pixel: the smallest a^2 + b^2 beyond the radius.
    outside = min(a * a + b * b for a in range(50) for b in range(50) if a * a + b * b > radius**2)
    assert regions.max_distance_px[disc] == np.sqrt(outside)
    assert regions.equivalent_diameter_px[disc] == pytest.approx(2 * radius, rel=0.03)
    assert regions.size_octave[disc] == pytest.approx(np.log2(np.sqrt(np.pi) * radius), abs=0.03)
    assert regions.inscribed_octave[disc] == pytest.approx(1 + 0.5 * np.log2(outside))
    assert regions.part[disc] == ("core" if radius > 12 else "whole")
    assert not regions.border[disc]
    assert regions.border[background]


@pytest.mark.parametrize(
    ("side", "qualifies", "core", "part", "coco"),
    [
        (7, False, 0, "whole", "small"),
        (8, True, 0, "whole", "small"),
        (16, True, 0, "whole", "small"),
        (17, True, 1, "whole", "small"),
        (23, True, 49, "whole", "small"),
        (24, True, 64, "core", "small"),
        (32, True, 256, "core", "medium"),
        (96, True, 6400, "core", "large"),
    ],
)
def test_squares_have_known_sizes(side, qualifies, core, part, coco):
    labels = np.zeros((120, 130), np.uint8)
    labels[11 : 11 + side, 9 : 9 + side] = 1
    regions = find_regions(labels)
    assert regions.area_px[1] == side**2
    assert regions.size_octave[1] == pytest.approx(np.log2(side), abs=1e-15)
    assert regions.max_distance_px[1] == (side + 1) // 2
    assert (regions.qualifies[1], regions.core_area_px[1]) == (qualifies, core)
    assert (regions.part[1], regions.coco_bin[1]) == (part, coco)


def test_border_does_not_bound_the_distance():
    labels = np.zeros((20, 60), np.uint8)
    labels[:, 50:] = 1
    regions = find_regions(labels)
    np.testing.assert_array_equal(regions.distance_px[7], [*range(50, 0, -1), *range(1, 11)])
    assert regions.border.all()


def test_ignored_pixels_bound_but_belong_to_none():
    labels = np.zeros((9, 40), np.int64)
    labels[:, 20] = 11
    regions = find_regions(labels, ignore=11)
    assert len(regions) == 2
    assert (regions.ids[:, 20] == 0).all()
    assert (regions.distance_px[:, 20] == 0).all()
    assert regions.distance_px[4, 0] == 20
    assert len(find_regions(labels, ignore=None)) == 3


def test_diagonal_neighbours_are_connected():
    labels = np.array([[1, 0, 2, 0], [0, 1, 0, 2], [3, 0, 1, 0], [0, 3, 0, 1]], np.uint8)
    np.testing.assert_array_equal(find_regions(labels).area_px, [4, 8, 2, 2])


def test_instance_joins_parts_and_takes_the_majority_class():
    labels = np.array([[1, 1, 0, 2, 2, 255], [1, 1, 0, 2, 7, 255]])
    instances = np.array([[5, 5, 0, 5, 5, 5], [5, 5, 0, 5, 5, 5]])
    regions = find_regions(labels, instances)
    np.testing.assert_array_equal(regions.area_px, [8, 2])
    np.testing.assert_array_equal(regions.class_id, [1, 0])
    np.testing.assert_array_equal(regions.instance_id, [5, 0])
    tie = find_regions(np.array([[2, 1]]), np.array([[4, 4]]))
    assert tie.class_id[0] == 1


def test_same_class_beside_an_instance_stays_apart():
    labels = np.full((4, 9), 3)
    instances = np.zeros((4, 9), int)
    instances[:, 4] = 1
    regions = find_regions(labels, instances)
    np.testing.assert_array_equal(regions.area_px, [16, 4, 16])


def test_one_region_over_the_whole_image_is_all_core():
    regions = find_regions(np.full((10, 12), 4, np.uint8))
    assert np.isinf(regions.distance_px).all()
    assert np.isinf(regions.max_distance_px[0])
    assert regions.core_area_px[0] == 120
    assert regions.part[0] == "core"


@pytest.mark.parametrize("shape", [(6, 7), (0, 0), (0, 5)])
def test_nothing_known_gives_no_regions(shape):
    regions = find_regions(np.full(shape, 255, np.uint8))
    assert len(regions) == 0
    assert regions.ids.shape == shape
    assert regions.coco_bin.shape == (0,)


def test_instance_numbers_and_turning_do_not_matter():
    labels, instances = random_scene(11)
    one = find_regions(labels, instances)
    other = find_regions(labels, np.where(instances == 4, 2**31 - 1, instances))
    np.testing.assert_array_equal(one.ids, other.ids)
    turned = find_regions(labels[::-1, ::-1].T, instances[::-1, ::-1].T)
    for name in ("area_px", "max_distance_px", "core_area_px", "border", "class_id"):
        assert sorted(getattr(one, name)) == sorted(getattr(turned, name))
    np.testing.assert_array_equal(turned.distance_px.T[::-1, ::-1], one.distance_px)


def test_inputs_stay_and_results_are_read_only():
    labels, instances = random_scene(12)
    before = labels.copy(), instances.copy()
    regions = find_regions(labels, instances)
    np.testing.assert_array_equal(labels, before[0])
    np.testing.assert_array_equal(instances, before[1])
    assert labels.flags.writeable
    assert instances.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        regions.area_px[0] = 1


@pytest.mark.parametrize(
    ("labels", "instances", "match"),
    [
        (np.zeros((4, 4)), None, "dtype float64"),
        (np.zeros((4, 4), bool), None, "dtype bool"),
        (np.zeros((4, 4, 3), np.uint8), None, r"shape \(4, 4, 3\)"),
        (np.array([[0, -1]]), None, "holds -1"),
        (np.array([[0, 2**40]]), None, "holds 1099511627776"),
        (np.zeros((4, 4), int), np.zeros((4, 5), int), r"\(4, 4\).*\(4, 5\)"),
        (np.zeros((4, 4), int), np.full((4, 4), -3), "instance map holds -3"),
        (np.zeros((4, 4), int), np.zeros((4, 4)), "instance map has dtype float64"),
    ],
)
def test_wrong_maps_are_named(labels, instances, match):
    with pytest.raises(GstoVizError, match=match):
        find_regions(labels, instances)


def test_a_negative_ignore_value_is_no_error():
    regions = find_regions(np.array([[0, -1], [0, -1]]), ignore=-1)
    np.testing.assert_array_equal(regions.area_px, [2])
