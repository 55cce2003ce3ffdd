"""The region table against a literal reading of its definition, planted maps, and odd sizes."""

import numpy as np
import pandas as pd
import pytest

from gsto_viz.activity import grid_shape, matched_pool
from gsto_viz.errors import GstoVizError
from gsto_viz.regions import (
    find_regions,
    grid_weights,
    prepare_regions,
    region_columns,
    region_table,
    table_of_prepared,
)

STRIDES = (4, 8, 16, 32)


def scene(seed=0, height=67, width=101):
    """Rectangles on rectangles, an ignored strip and a two-part instance."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((height, width), np.uint8)
    for _ in range(14):
        y, x = rng.integers(0, height), rng.integers(0, width)
        labels[y : y + rng.integers(2, 45), x : x + rng.integers(2, 45)] = rng.integers(0, 6)
    labels[rng.integers(0, height), :] = 255
    labels[-9:, -13:] = 255
    instances = np.zeros(labels.shape, np.int32)
    instances[5:15, 5:15] = instances[30:44, 60:70] = 3
    return labels, instances


def random_maps(shape, seed=0, strides=STRIDES, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return [rng.random(grid_shape(*shape, s)).astype(dtype) for s in strides]


def ranks_by_counting(activity, labels, stride, ignore):
    """U of each valid cell by comparing it with all others; a dict from cell to U."""
    known, area = {}, {}
    for y, x in np.ndindex(labels.shape):
        cell = (y // stride, x // stride)
        area[cell] = area.get(cell, 0) + 1
        known[cell] = known.get(cell, 0) + (labels[y, x] != ignore)
    cells = [cell for cell in area if known[cell] >= area[cell] / 2]
    values = np.array([activity[cell] for cell in cells])
    mid = [(values < v).sum() + ((values == v).sum() + 1) / 2 for v in values]
    return {cell: (rank - 0.5) / len(cells) for cell, rank in zip(cells, mid, strict=True)}


def mean_by_pixels(mask, ranks, stride):
    """Walk over the pixels of a mask and average U of the cells they lie in."""
    hits = [ranks.get((y // stride, x // stride)) for y, x in np.argwhere(mask)]
    hits = [u for u in hits if u is not None]
    return sum(hits) / len(hits) if hits else np.nan


def pool_by_hand(activity):
    height, width = activity.shape
    out = np.zeros(grid_shape(height, width, 2))
    for y, x in np.ndindex(out.shape):
        out[y, x] = activity[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean()
    return out


def test_table_is_a_literal_reading_of_its_definition():
    labels, instances = scene(5)
    maps = random_maps(labels.shape, 5, dtype=np.float64)
    table = region_table(labels, maps, STRIDES, instances, image="a")
    regions = find_regions(labels, instances)
    pooled = {(r, r): activity for r, activity in enumerate(maps)}
    for r in range(4):
        for g in range(r + 1, 4):
            pooled[r, g] = pool_by_hand(pooled[r, g - 1])
    ranks = {
        key: ranks_by_counting(activity, labels, STRIDES[key[1]], 255)
        for key, activity in pooled.items()
    }
    assert len(table) == len(regions) == table["region"].max()
    assert set(table["part"]) == {"core", "whole"}
    for k, row in enumerate(table.to_dict("records")):
        masks = {"whole": regions.ids == k + 1}
        masks["core"] = masks["whole"] & (regions.distance_px > 8)
        masks["band"] = masks["whole"] & ~masks["core"]
        part = masks[row["part"]]

        def z(mask, r, g):
            return mean_by_pixels(mask, ranks[r, g], STRIDES[g])

        expected = {f"z_{r}": z(part, r, r) for r in range(4)}
        expected |= {f"z_dn_{r}": z(part, r, r + 1) for r in range(3)}
        expected |= {f"z_matched_{r}": z(part, r, 3) for r in range(4)}
        for name, mask in [*masks.items(), ("", part)]:
            middle = f"_{name}" if name else ""
            expected |= {f"z{middle}_{r}": z(mask, r, r) for r in range(4)}
            expected[f"q{middle}"] = sum(
                z(mask, r + 1, r + 1) - z(mask, r, r + 1) for r in range(3)
            )
        for r, stride in enumerate(STRIDES):
            shares = []
            for cy, cx in np.ndindex(grid_shape(*labels.shape, stride)):
                cell = np.s_[cy * stride : (cy + 1) * stride, cx * stride : (cx + 1) * stride]
                shares.append(masks["whole"][cell].mean())
            expected[f"purity_{r}"] = sum(m * m for m in shares) / sum(shares)
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, abs=1e-12, nan_ok=True), name
        weighs = not any(np.isnan(expected[f"z_{r}"]) for r in range(4))
        assert row["qualifies"] == (masks["whole"].sum() >= 64 and weighs)


def test_columns_follow_the_data_dictionary():
    labels, _ = scene()
    table = region_table(labels, random_maps(labels.shape))
    names = [column.name for column in region_columns(4)]
    assert list(table.columns) == names
    assert len(set(names)) == len(names)
    assert all("{" not in c.name and c.unit and c.range and c.meaning for c in region_columns(4))
    never_null = [c.name for c in region_columns(4) if c.null == "never"]
    assert table[never_null].notna().all(axis=None)
    responses = table.filter(regex=r"^z_").to_numpy()
    responses = responses[~np.isnan(responses)]
    assert (responses > 0).all()
    assert (responses < 1).all()
    assert (table.loc[table["qualifies"], ["q", "q_whole"]].abs() <= 3).all(axis=None)


@pytest.mark.parametrize(("height", "width"), [(67, 101), (180, 240), (33, 200)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_branches_that_differ_by_pooling_have_no_coarseness_at_all(height, width, dtype):
    labels, instances = scene(2, height, width)
    maps = [random_maps(labels.shape, 9, STRIDES[:1], dtype)[0]]
    while len(maps) < 4:
        maps.append(matched_pool(maps[-1]))
    table = region_table(labels, maps, instances=instances)
    good = table[table["qualifies"]]
    assert len(good) >= 2
    for name in ("q", "q_whole"):
        assert (good[name] == 0.0).all()
    for name in ("q_core", "q_band"):
        assert (table[name].dropna() == 0.0).all()
    for r in range(3):
        np.testing.assert_array_equal(good[f"z_matched_{r}"], good["z_3"])


def test_a_map_that_marks_one_object_puts_it_on_top():
    labels = np.zeros((128, 128), np.uint8)
    labels[32:64, 64:96] = 1
    maps = []
    for stride in STRIDES:
        activity = np.zeros((128 // stride, 128 // stride))
        activity[32 // stride : 64 // stride, 64 // stride : 96 // stride] = 1
        maps.append(activity)
    table = region_table(labels, maps).set_index("class_id")
    share = 1 / 16  # of the image, hence of the cells of every grid
    for r in range(4):
        # Mid-ranks: the object's cells share the top 1/16, all others the lower 15/16.
        assert table.loc[1, f"z_whole_{r}"] == pytest.approx(1 - share / 2, abs=1e-12)
        assert table.loc[0, f"z_whole_{r}"] == pytest.approx((1 - share) / 2, abs=1e-12)
        assert table.loc[1, f"purity_{r}"] == 1
    assert table.loc[1, "q_whole"] == pytest.approx(0, abs=1e-12)


def test_coarse_branch_that_fires_on_the_large_object_raises_its_coarseness():
    labels = np.zeros((128, 256), np.uint8)
    labels[:, 128:] = 2
    labels[40:56, 40:56] = 1
    fine, coarse = np.zeros((32, 64)), np.zeros((16, 32))
    fine[10:14, 10:14] = 1
    coarse[:, 16:] = 1
    table = region_table(labels, [fine, coarse], (4, 8)).set_index("class_id")
    assert table.loc[1, "q"] < 0 < table.loc[2, "q"]


def test_positive_gain_and_increasing_maps_per_branch():
    labels, _ = scene(7)
    maps = random_maps(labels.shape, 7, dtype=np.float64)
    gained = [activity * 4.0 ** (r - 1) for r, activity in enumerate(maps)]
    pd.testing.assert_frame_equal(region_table(labels, maps), region_table(labels, gained))
    powers = region_table(labels, [activity**3 for activity in maps])
    native = [f"z_{r}" for r in range(4)]
    pd.testing.assert_frame_equal(region_table(labels, maps)[native], powers[native])


def test_permuting_classes_changes_only_the_class():
    labels, instances = scene(8)
    maps = random_maps(labels.shape, 8)
    renamed = np.where(labels == 255, 255, 200 - labels)
    one = region_table(labels, maps, instances=instances)
    other = region_table(renamed, maps, instances=instances)
    apart = one["instance_id"] == 0
    assert (other.loc[apart, "class_id"] == 200 - one.loc[apart, "class_id"]).all()
    pd.testing.assert_frame_equal(one.drop(columns="class_id"), other.drop(columns="class_id"))


def test_ignored_cells_take_no_part_in_ranks():
    labels = np.zeros((64, 64), np.uint8)
    labels[:, 32:] = 255
    labels[:32, :16] = 1
    maps = random_maps((64, 64), 4, dtype=np.float64)
    table = region_table(labels, maps)
    loud = [activity.copy() for activity in maps]
    loud[0][:, 8:] = 1e9
    native = ["z_0", "z_whole_0", "z_1", "z_2", "z_3"]
    pd.testing.assert_frame_equal(table[native], region_table(labels, loud)[native])


def test_region_without_weight_on_a_grid_does_not_qualify():
    labels = np.full((96, 96), 255, np.uint8)
    labels[:, :48] = 0
    labels[64:74, 70:80] = 1  # 100 px; its stride-32 cell is ignored for the most part
    row = region_table(labels, random_maps(labels.shape)).set_index("class_id").loc[1]
    assert row["area_px"] >= 64
    assert np.isnan(row["z_3"])
    assert not np.isnan(row["z_0"])
    assert np.isnan(row["q"])
    assert not row["qualifies"]


@pytest.mark.parametrize("shape", [(64, 96), (0, 0)])
def test_no_region_gives_no_rows_but_all_columns(shape):
    table = region_table(np.full(shape, 255, np.uint8), random_maps(shape))
    assert len(table) == 0
    labels, _ = scene()
    full = region_table(labels, random_maps(labels.shape))
    assert list(table.columns) == list(full.columns)
    assert table.dtypes.to_dict() == full.dtypes.to_dict()


def test_whole_image_region_has_null_depth():
    row = region_table(np.zeros((64, 64), np.uint8), random_maps((64, 64))).iloc[0]
    assert np.isnan(row["max_distance_px"])
    assert np.isnan(row["inscribed_octave"])
    assert row["part"] == "core"
    assert row["z_0"] == pytest.approx(0.5)
    assert np.isnan(row["z_band_0"])


def test_one_branch_has_no_coarseness_and_wide_steps_cascade():
    labels, _ = scene(3)
    single = region_table(labels, random_maps(labels.shape, strides=(8,)), (8,))
    assert single["q"].isna().all()
    assert single["qualifies"].any()
    fine = random_maps(labels.shape, strides=(4,), dtype=np.float64)[0]
    wide = region_table(labels, [fine, matched_pool(matched_pool(fine))], (4, 16))
    assert (wide.loc[wide["qualifies"], "q"] == 0).all()


def test_weights_count_every_pixel_once():
    labels, instances = scene(6)
    regions = find_regions(labels, instances)
    for stride in STRIDES:
        grid = grid_weights(regions, stride)
        for part, area in (("whole", regions.area_px), ("core", regions.core_area_px)):
            pixels = np.bincount(grid.region, grid.counts[part], minlength=len(regions))
            np.testing.assert_array_equal(pixels, area)
        assert grid.cell_area.sum() == labels.size
        assert (grid.counts["whole"] > 0).all()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"shape": (1, 9, 13)}, r"branch 1 has shape \(9, 12\).*need \(9, 13\)"),
        ({"nan": 2}, "branch 2 holds NaN"),
        ({"dtype": np.float16}, "float16"),
        ({"dtype": np.int64}, "int64"),
        ({"strides": (4, 8, 16)}, "4 maps and 3 strides"),
        ({"strides": (32, 16, 8, 4)}, "finest branch first"),
        ({"strides": (4, 8, 16, 48)}, "powers of two"),
        ({"strides": (0, 8, 16, 32)}, "powers of two"),
        ({"strides": ("a", 8, 16, 32)}, "are not whole numbers; give pixels per cell"),
        ({"strides": (4.5, 8, 16, 32)}, "are not whole numbers"),
        ({"strides": 4}, "are not whole numbers"),
    ],
)
def test_wrong_maps_are_named(change, match):
    labels, _ = scene()
    maps = random_maps(labels.shape)
    strides = change.get("strides", STRIDES)
    if "shape" in change:
        maps[1] = maps[1][:, :-1]
    if "nan" in change:
        maps[2][0, 0] = np.nan
    if "dtype" in change:
        maps = [activity.astype(change["dtype"]) for activity in maps]
    with pytest.raises(GstoVizError, match=match):
        region_table(labels, maps, strides)


def test_finished_regions_give_the_same_table():
    labels, instances = scene(2)
    maps = random_maps(labels.shape)
    regions = find_regions(labels, instances)
    table = table_of_prepared(prepare_regions(labels, regions=regions), maps, image="a")
    pd.testing.assert_frame_equal(table, region_table(labels, maps, STRIDES, instances, image="a"))
    # Measured against other labels, the same regions only see other valid cells.
    other = np.where(labels == 255, 255, 0).astype(np.uint8)
    again = table_of_prepared(prepare_regions(other, regions=regions), maps, image="a")
    pd.testing.assert_frame_equal(table, again)
    with pytest.raises(GstoVizError, match=r"labels have shape \(67, 100\) and the regions"):
        prepare_regions(labels[:, :-1], regions=regions)


def test_no_maps_is_an_error():
    with pytest.raises(GstoVizError, match="0 maps and 0 strides"):
        region_table(np.zeros((8, 8), np.uint8), [], ())


def test_label_dtype_does_not_matter():
    labels, instances = scene(4)
    maps = random_maps(labels.shape)
    one = region_table(labels, maps, instances=instances)
    for dtype in (np.int16, np.int32, np.int64):
        other = region_table(labels.astype(dtype), maps, instances=instances.astype(np.uint16))
        pd.testing.assert_frame_equal(one, other)
