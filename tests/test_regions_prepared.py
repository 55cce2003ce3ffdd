"""Prepared regions: shared by networks, the same numbers as the table, many maps at once."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gsto_viz.activity import grid_shape, percentile_map, valid_cells
from gsto_viz.errors import GstoVizError
from gsto_viz.regions import (
    find_regions,
    part_means,
    prepare_regions,
    rank_maps,
    region_arrays,
    region_columns,
    region_table,
    table_of_prepared,
)

STRIDES = (4, 8, 16, 32)


def scene(seed=0, height=75, width=110):
    rng = np.random.default_rng(seed)
    labels = np.zeros((height, width), np.uint8)
    for _ in range(12):
        y, x = rng.integers(0, height), rng.integers(0, width)
        labels[y : y + rng.integers(2, 50), x : x + rng.integers(2, 50)] = rng.integers(0, 5)
    labels[-30:, :20] = 255
    return labels


def random_maps(shape, seed=0, strides=STRIDES):
    rng = np.random.default_rng(seed)
    return [rng.random(grid_shape(*shape, s)).astype(np.float32) for s in strides]


def test_networks_that_share_an_annotation_get_their_own_tables():
    labels = scene(1)
    prepared = prepare_regions(labels)
    for seed in range(3):
        maps = random_maps(labels.shape, seed)
        arrays = region_arrays(prepared, maps)
        assert ["image", *arrays] == [column.name for column in region_columns(4)]
        table = region_table(labels, maps, image="a")
        for name, values in arrays.items():
            assert values.shape == (len(prepared),), name
            np.testing.assert_array_equal(values, table[name].to_numpy(), err_msg=name)


def test_maps_that_are_ranked_once_serve_all_regions_of_the_same_valid_cells():
    labels = scene(2)
    maps = random_maps(labels.shape)
    prepared = prepare_regions(labels)
    ranked = rank_maps(prepared, maps)
    for r, stride in enumerate(STRIDES):
        expected = percentile_map(maps[r], valid_cells(labels, stride))
        np.testing.assert_array_equal(ranked.native[r], expected)
    for name, values in region_arrays(prepared, ranked).items():
        np.testing.assert_array_equal(values, region_arrays(prepared, maps)[name])
    # Other regions over the same ignored pixels: a prediction, say.
    other = np.where(labels == 255, 255, scene(9)).astype(np.uint8)
    swapped = prepare_regions(other)
    table = region_table(other, maps)
    for name, values in region_arrays(swapped, ranked).items():
        np.testing.assert_array_equal(values, table[name].to_numpy())


def test_regions_cut_elsewhere_keep_their_pixels():
    labels = scene(3)
    maps = random_maps(labels.shape)
    regions = find_regions(labels)
    moved = replace(
        regions,
        ids=np.roll(regions.ids, (32, 16), (0, 1)),
        distance_px=np.roll(regions.distance_px, (32, 16), (0, 1)),
    )
    shifted = np.roll(labels, (32, 16), (0, 1))
    prepared = prepare_regions(shifted, regions=moved)
    assert prepared.regions is moved
    assert prepared.shape == labels.shape
    table = table_of_prepared(prepared, maps)
    for name, values in region_arrays(prepared, maps).items():
        np.testing.assert_array_equal(values, table[name].to_numpy())


@pytest.mark.parametrize("stride", STRIDES)
def test_many_maps_at_once_are_means_over_pixels(stride):
    labels = scene(4)
    prepared = prepare_regions(labels)
    regions, valid = prepared.regions, valid_cells(labels, stride)
    shape = grid_shape(*labels.shape, stride)
    rng = np.random.default_rng(stride)
    values = {f"gate {k}": rng.random(shape).astype(np.float32) for k in range(5)}
    values["gate 0"] = np.where(valid, values["gate 0"], np.nan)
    means = part_means(prepared, values, stride)
    assert list(means) == list(values)
    rows, columns = np.indices(labels.shape) // stride
    masks = {
        "whole": regions.ids > 0,
        "core": regions.distance_px > 8,
        "band": (regions.ids > 0) & (regions.distance_px <= 8),
    }
    for name, value in values.items():
        by_pixel, counts = value[rows, columns], valid[rows, columns]
        for part, mask in masks.items():
            for k in range(len(regions)):
                inside = by_pixel[mask & counts & (regions.ids == k + 1)].astype(np.float64)
                expected = inside.mean() if inside.size else np.nan
                assert means[name][part][k] == pytest.approx(expected, abs=1e-12, nan_ok=True)
    alone = part_means(prepared, {"x": values["gate 3"]}, stride)["x"]
    for part in masks:
        np.testing.assert_array_equal(alone[part], means["gate 3"][part])
    assert part_means(prepared, {}, stride) == {}


def test_what_does_not_fit_is_said():
    labels = scene(5)
    prepared = prepare_regions(labels, (4, 8))
    with pytest.raises(GstoVizError, match="no grid of stride 16"):
        part_means(prepared, {"a": np.zeros((5, 7))}, 16)
    with pytest.raises(GstoVizError, match=r"map 'a' has shape \(5, 7\); stride 8"):
        part_means(prepared, {"a": np.zeros((5, 7))}, 8)
    with pytest.raises(GstoVizError, match="NaN or infinity in a valid cell"):
        part_means(prepared, {"a": np.full(grid_shape(*labels.shape, 8), np.nan)}, 8)
    with pytest.raises(GstoVizError, match="4 maps and 2 strides"):
        region_arrays(prepared, random_maps(labels.shape))
    ranked = rank_maps(prepare_regions(labels), random_maps(labels.shape))
    with pytest.raises(GstoVizError, match="4 maps and 2 strides"):
        region_arrays(prepared, ranked)
    with pytest.raises(GstoVizError, match="no stride was given"):
        prepare_regions(labels, ())
    with pytest.raises(GstoVizError, match="give both of one image"):
        prepare_regions(labels[1:], regions=prepared.regions)


def test_no_region_at_all():
    labels = np.full((40, 50), 255, np.uint8)
    maps = random_maps(labels.shape)
    prepared = prepare_regions(labels)
    arrays = region_arrays(prepared, maps)
    assert {values.shape for values in arrays.values()} == {(0,)}
    means = part_means(prepared, {"a": maps[1]}, 8)
    assert {part: values.shape for part, values in means["a"].items()} == {
        "whole": (0,),
        "core": (0,),
        "band": (0,),
    }
    pd.testing.assert_index_equal(
        region_table(labels, maps).columns, region_table(scene(0), random_maps((75, 110))).columns
    )
