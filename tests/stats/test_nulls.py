"""Null models against literal loops, exact values, and what each must and must not change."""

import numpy as np
import pandas as pd
import pytest

from gsto_viz.activity import percentile_map, valid_cells
from gsto_viz.errors import GstoVizError
from gsto_viz.regions import find_regions, grid_weights, region_table
from gsto_viz.stats import (
    common_maps,
    index_values,
    permute_sizes,
    sci,
    shift_map,
    shift_regions,
    stream,
    swapped_labels,
    toroidal_shift,
)

STRIDES = (4, 8, 16, 32)


def draw_labels(rng, shape=(180, 240), count=9):
    labels = np.zeros(shape, np.uint8)
    for _ in range(count):
        y, x, s = rng.integers(0, shape[0]), rng.integers(0, shape[1]), rng.integers(4, 90)
        labels[y : y + s, x : x + s] = rng.integers(0, 5)
    return labels


def test_streams_are_fixed_by_their_names():
    assert stream("a", 1).integers(1 << 40) == stream("a", 1).integers(1 << 40)
    assert stream("a", 1).integers(1 << 40) != stream("a", 2).integers(1 << 40)
    # Written down once: the same on every machine and in every process.
    assert stream("toroidal", 0, "im0", 0).integers(1 << 20) == 175574


@pytest.mark.parametrize("shape", [(64, 64), (33, 200), (360, 480), (20, 66)])
def test_shifts_are_at_least_as_long_as_asked(shape):
    seen = set()
    for draw in range(60):
        dy, dx = toroidal_shift(shape, 32, image="a", draw=draw)
        assert 0 <= dy < shape[0]
        assert 0 <= dx < shape[1]
        nearest = min(
            np.hypot(dy + shape[0] * i, dx + shape[1] * j) for i in (-1, 0) for j in (-1, 0)
        )
        assert nearest >= 32
        seen.add((dy, dx))
    assert len(seen) > 2
    assert toroidal_shift(shape, 32, image="a") == toroidal_shift(shape, 32, image="a")
    assert seen != {toroidal_shift(shape, 32, image="b", draw=draw) for draw in range(60)}


def test_an_image_too_small_to_shift_is_named():
    with pytest.raises(GstoVizError, match="image 'tiny' of 32x32"):
        toroidal_shift((32, 32), 32, image="tiny")


def test_regions_are_shifted_and_not_cut_anew():
    rng = np.random.default_rng(1)
    labels = draw_labels(rng)
    labels[40:60, 30:50] = 255
    regions = find_regions(labels)
    dy, dx = shift = toroidal_shift(labels.shape, 32, image="a")
    moved = shift_regions(regions, shift)
    for y in range(0, 180, 7):
        for x in range(0, 240, 7):
            there = (y + dy) % 180, (x + dx) % 240
            assert moved.ids[there] == regions.ids[y, x]
            assert moved.distance_px[there] == regions.distance_px[y, x]
            assert shift_map(labels, shift)[there] == labels[y, x]
    assert moved.area_px is regions.area_px
    assert (moved.part == regions.part).all()
    assert (np.bincount(moved.ids[moved.core]) == np.bincount(regions.ids[regions.core])).all()
    assert len(find_regions(shift_map(labels, shift))) != len(regions)  # cutting anew differs
    assert not moved.ids.flags.writeable


def test_shifting_labels_and_maps_together_changes_no_response():
    # Whole cells on an image of whole cells: the response of every region stays to the last bit.
    rng = np.random.default_rng(2)
    labels = draw_labels(rng, (128, 192))
    activity = rng.random((16, 24))
    regions, shift = find_regions(labels), (64, 40)
    whole = valid_cells(labels, 8)
    ranked = percentile_map(activity, whole)
    before = grid_weights(regions, 8).means(ranked[None], whole)["core"][0]
    moved = percentile_map(np.roll(activity, (8, 5), (0, 1)), np.ones((16, 24), bool))
    after = grid_weights(shift_regions(regions, shift), 8).means(moved[None], whole)["core"][0]
    np.testing.assert_allclose(after, before, atol=1e-15)


def test_labels_come_from_the_far_image_of_the_same_size():
    a, b, c = (360, 480), (100, 100), (7, 7)
    assert swapped_labels([a, b, a, c, a, b, a]) == [4, 5, 6, None, 0, 1, 2]
    assert swapped_labels([a, a, a]) == [1, 2, 0]
    assert swapped_labels([a]) == [None]
    assert swapped_labels([]) == []


def table_of(images, seed=0):
    rng = np.random.default_rng(seed)
    tables = []
    for i in range(images):
        n = int(rng.integers(4, 12))
        area = (4.0 ** rng.uniform(2, 8, n)).astype(int)
        tables.append(
            pd.DataFrame(
                {
                    "image": f"im{i:02d}",
                    "region": np.arange(1, n + 1),
                    "class_id": rng.integers(0, 2, n),
                    "area_px": area,
                    "size_octave": 0.5 * np.log2(area),
                    "qualifies": area >= 64,
                    "q": 0.5 * np.log2(area),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


@pytest.mark.parametrize("within_class", [False, True])
def test_sizes_are_permuted_among_regions_that_qualify(within_class):
    table = table_of(20)
    null = permute_sizes(table, within_class=within_class)
    assert not null["area_px"].equals(table["area_px"])
    for name in ("image", "region", "class_id", "qualifies", "q"):
        assert null[name].equals(table[name])
    np.testing.assert_array_equal(null["size_octave"], 0.5 * np.log2(null["area_px"]))
    small = ~table["qualifies"]
    assert null.loc[small, "area_px"].equals(table.loc[small, "area_px"])
    by = ["image", "class_id", "qualifies"] if within_class else ["image", "qualifies"]
    for key, rows in table.groupby(by):
        there = np.logical_and.reduce([null[n] == v for n, v in zip(by, key, strict=True)])
        assert sorted(null.loc[there, "area_px"]) == sorted(rows["area_px"])


def test_permuted_sizes_do_not_depend_on_order_or_shards():
    table = table_of(12)
    null = permute_sizes(table, seed=3)
    shuffled = permute_sizes(table.sample(frac=1, random_state=0), seed=3)
    pd.testing.assert_frame_equal(null, shuffled)
    shards = [table[table["image"].isin([f"im{i:02d}" for i in part])] for part in ([0, 5], [7, 1])]
    merged = pd.concat([permute_sizes(shard, seed=3) for shard in shards])
    whole = null[null["image"].isin(["im00", "im05", "im07", "im01"])]
    pd.testing.assert_frame_equal(
        merged.sort_values(["image", "region"], ignore_index=True), whole.reset_index(drop=True)
    )
    assert not null.equals(permute_sizes(table, seed=4))
    assert not null.equals(permute_sizes(table, seed=3, draw=1))


def test_permuted_sizes_bring_a_perfect_index_to_chance():
    table = table_of(30, seed=5)
    assert sci(table).value == 0
    values = [sci(permute_sizes(table, draw=d)).value for d in range(16)]
    assert np.mean(values) == pytest.approx(0.5, abs=4 * np.std(values) / 4)


@pytest.mark.parametrize("shape", [(180, 240), (97, 131)])
def test_common_maps_leave_chance_bit_for_bit(shape):
    rng = np.random.default_rng(3)
    tables, naive = [], []
    for i in range(12):
        labels = draw_labels(rng, shape)
        labels[20:50, 30:70] = 255
        valid = [valid_cells(labels, s) for s in STRIDES]
        ranks = [percentile_map(rng.random(v.shape), v) for v in valid]
        maps = common_maps(ranks, shape, STRIDES)
        tables.append(region_table(labels, maps, image=f"im{i}"))
        naive.append(region_table(labels, [rng.random(v.shape) for v in valid], image=f"im{i}"))
    estimate = sci(tables)
    assert estimate.n_pairs > 20
    assert (estimate.value, estimate.low, estimate.high) == (0.5, 0.5, 0.5)
    assert (index_values(tables, min_depth_px=12)["sci_edge"]["value"] == 0.5).all()
    assert (pd.concat(tables)["q_band"].dropna() == 0).all()
    assert sci(naive).value != 0.5


def test_the_common_map_is_the_mean_of_percentiles():
    rng = np.random.default_rng(4)
    shape, strides = (21, 30), (2, 8)
    fine, coarse = rng.random((11, 15)), rng.random((3, 4))
    fine[3, 4] = coarse[0, 1] = coarse[2, 2] = np.nan
    maps = common_maps([fine, coarse], shape, strides)
    for i in range(11):
        for j in range(15):
            values = [v for v in (fine[i, j], coarse[i // 4, j // 4]) if not np.isnan(v)]
            expected = sum(values) / len(values) if values else 0.5
            assert maps[0][i, j] == pytest.approx(expected, abs=1e-15)
    assert maps[0][3, 4] == 0.5
    assert [m.shape for m in maps] == [(11, 15), (3, 4)]


def test_wrong_maps_are_refused():
    with pytest.raises(GstoVizError, match="powers of two"):
        common_maps([np.zeros((4, 4))] * 2, (16, 16), (4, 12))
    with pytest.raises(GstoVizError, match="need \\(2, 2\\)"):
        common_maps([np.zeros((4, 4))] * 2, (16, 16), (4, 8))
    with pytest.raises(GstoVizError, match="lacks class_id"):
        permute_sizes(table_of(1).drop(columns="class_id"))
