"""The drawn object of the page "Scale probe": its place, and its numbers by loops over pixels."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gsto_viz.activity import matched_pool
from gsto_viz.explorer.values.scale_probe import (
    CURVE,
    HEIGHT,
    OBJECTS,
    SIZES,
    WIDTH,
    DrawnObject,
    Response,
    curve_objects,
    curve_table,
    draw_object,
    drawn_side,
    moved_inside,
    nearest_size,
    object_number,
    object_regions,
    object_response,
    object_share,
    sizes_that_fit,
    trades_places,
)
from gsto_viz.look import Look

STRIDES = (4, 8, 16, 32)


def planted(maps) -> Look:
    return Look(
        name="planted",
        network="hrnetv2-tiny",
        strides=STRIDES,
        prediction=np.zeros((HEIGHT, WIDTH), np.uint8),
        raw=maps,
        activity=maps,
        gates={},
        gate_range=None,
    )


def random_maps(seed=0):
    rng = np.random.default_rng(seed)
    return tuple(rng.random((HEIGHT // s, WIDTH // s)).astype(np.float32) for s in STRIDES)


def test_sizes_are_steps_of_octaves():
    assert (SIZES[0], SIZES[-1], CURVE[0], CURVE[-1], len(CURVE)) == (4, 256, 4, 256, 9)
    # Whole pixels are a tenth of an octave away at most, at the smallest sizes.
    steps = np.diff(np.log2(CURVE))
    assert np.abs(steps - 0.75).max() < 0.1
    assert np.diff(np.log2(SIZES)).max() < 0.35
    assert nearest_size(200, (4, 128, 300)) == 300
    # 7 is nearer to 4 in pixels and to 12 in octaves.
    assert nearest_size(7, (4, 12)) == 12


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("corner", [(0, 0), (511, 255)])
def test_an_object_in_a_corner_is_moved_into_the_image(name, corner):
    for side in (SIZES[0], 19, sizes_that_fit(name)[-1]):
        drawn = moved_inside(DrawnObject(name, side, *corner))
        sample = draw_object(drawn).sample
        rows, columns = np.nonzero(sample.instances == 1)
        assert drawn_side(sample) == pytest.approx(side, rel=0.05)
        middle = (columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2
        assert middle == pytest.approx((drawn.x, drawn.y), abs=2 + 0.03 * side)
        # As near as it can be: a few pixels, or a little of a large object, from the edge.
        gap = columns.min() if corner[0] == 0 else WIDTH - 1 - columns.max()
        assert gap <= 5 + 0.06 * (np.ptp(columns) + 1)


def test_what_fits_stays_where_it_is():
    drawn = DrawnObject("Car", 32, 200, 140)
    assert moved_inside(drawn) == drawn
    assert sizes_that_fit("Car") == SIZES
    assert 32 in sizes_that_fit("Pole")
    assert 64 not in sizes_that_fit("Pole")
    objects = curve_objects(DrawnObject("Tree", 8, 3, 128))
    assert [one.side for one in objects] == [side for side in CURVE if side <= 128]
    assert objects[-1].x > objects[0].x >= 3


@pytest.mark.parametrize("side", [5, 40])
def test_the_response_by_loops(side):
    sample = draw_object(DrawnObject("Pedestrian", side, 250, 130)).sample
    maps = random_maps()
    regions = object_regions(sample, STRIDES)
    k = object_number(regions) - 1
    inside = sample.instances == 1
    assert (regions.regions.ids == k + 1).tolist() == inside.tolist()
    if regions.regions.part[k] == "core":
        inside = inside & (regions.regions.distance_px > 8)
    rows, columns = (index.tolist() for index in np.nonzero(inside))

    def mean_rank(values, stride):
        flat = sorted(values.ravel().tolist())
        ranks = {v: (n + 0.5) / len(flat) for n, v in enumerate(flat)}
        picked = [
            ranks[float(values[y // stride, x // stride])]
            for y, x in zip(rows, columns, strict=True)
        ]
        return math.fsum(picked) / len(picked)

    found = object_response(planted(maps), sample)
    assert found.side == math.sqrt((sample.instances == 1).sum())
    doubles = [m.astype(np.float64) for m in maps]
    z = [mean_rank(m, s) for m, s in zip(doubles, STRIDES, strict=True)]
    assert found.percentiles == pytest.approx(z)
    down = [mean_rank(matched_pool(m), 2 * s) for m, s in zip(doubles, STRIDES, strict=True)]
    assert found.q == pytest.approx(sum(z[r + 1] - down[r] for r in range(3)))


def test_branches_that_are_pooled_copies_have_no_coarseness():
    sample = draw_object(DrawnObject("Car", 45, 250, 130)).sample
    maps = [random_maps(3)[0].astype(np.float64)]
    for _ in STRIDES[1:]:
        maps.append(matched_pool(maps[-1]))
    assert object_response(planted(tuple(maps)), sample).q == 0


def test_pixels_that_are_labelled_right(made_up):
    picture = draw_object(DrawnObject("Car", 32, 200, 140))
    shown = made_up()
    inside = picture.sample.instances == 1
    car = shown.classes.names.index("Car")
    half = np.where(np.cumsum(inside).reshape(inside.shape) % 2 == 0, car, 0).astype(np.uint8)
    inspections = {
        "A": replace(planted(random_maps()), prediction=half),
        "B": replace(planted(random_maps()), prediction=np.full_like(half, car)),
    }
    shown = replace(shown, inspections=inspections)
    share = object_share(shown, picture.sample, "Car")
    right = sum(int(half[y, x]) == car for y, x in zip(*np.nonzero(inside), strict=True))
    assert share == {"A": right / inside.sum(), "B": 1}
    assert 0.4 < share["A"] < 0.6
    assert object_share(shown, picture.sample, "Zebra") is None


def curve(fine, coarse):
    sides = [4.0, 16.0, 64.0]
    responses = []
    for side, f, c in zip(sides, fine, coarse, strict=True):
        response = Response(side, (f, 0.5, 0.5, c), 0.25)
        responses.append(("A", STRIDES, DrawnObject("Car", int(side), 1, 2), response))
    return curve_table(responses)


@pytest.mark.parametrize(
    ("fine", "coarse", "words"),
    [
        ((0.9, 0.5, 0.1), (0.2, 0.6, 0.8), "more than /4 at 16, 64 px, and less"),
        ((0.9, 0.9, 0.9), (0.2, 0.6, 0.8), "less than /4 at every size"),
        ((0.1, 0.1, 0.1), (0.2, 0.6, 0.8), "more than /4 at every size"),
    ],
)
def test_where_branches_trade_places_is_said(fine, coarse, words):
    table = curve(fine, coarse)
    assert isinstance(table, pd.DataFrame)
    assert len(table) == 3 * 4
    assert table[table["side"] == 16]["percentile"].tolist() == [fine[1], 0.5, 0.5, coarse[1]]
    assert set(table["q"]) == {0.25}
    assert words in trades_places(table)
    # The order of the rows does not matter.
    assert trades_places(table.iloc[::-1]) == trades_places(table)
