"""Branches that are dilated, or pooled to so many cells: by literal loops over pixels."""

import math

import numpy as np
import pytest

from gsto_viz.activity import cell_at, cell_counts, cell_edges, grid_shape, pool_to, valid_by_stride
from gsto_viz.errors import GstoVizError
from gsto_viz.plots import figure_tuning_fan
from gsto_viz.regions import prepare_regions, region_table
from gsto_viz.regions.pooling import checked_strides
from gsto_viz.stats import index_values, response_by_octave, sci, tuning
from gsto_viz.stats.nulls import common_maps, shift_length
from gsto_viz.stats.pairs import edge_depth, indices_at, unmeasured
from gsto_viz.types import (
    cells_of,
    coarsest_pixels,
    pixels_per_cell,
    stride_words,
)

PPM = (8, "6x6", "3x3", "2x2", "1x1")
ASPP = (8, "8r6", "8r12", "1x1")
SIZES = [(48, 96), (50, 83), (64, 96)]


def scene(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Boxes of four classes, and some pixels of none."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(size, np.uint8)
    for k in range(12):
        side = int(rng.integers(4, 30))
        y, x = (int(rng.integers(n - 3)) for n in size)
        labels[y : y + side, x : x + side] = 1 + k % 3
    labels[: size[0] // 5, : size[1] // 4] = 255
    return labels


def cell_of(y: int, x: int, size: tuple[int, int], stride: int | str) -> tuple[int, int]:
    """Return the cell of a pixel: the last one that begins at or above and left of it."""
    if isinstance(stride, str) and "x" in stride:
        place = []
        for at, pixels, cells in zip((y, x), size, map(int, stride.split("x")), strict=True):
            place.append(max(k for k in range(cells) if k * pixels // cells <= at))
        return place[0], place[1]
    pixels = int(str(stride).partition("r")[0])
    return y // pixels, x // pixels


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [8, "8r12", "6x6", "2x3", "1x1"])
def test_cells_counts_and_valid_cells_are_those_of_single_pixels(size, stride) -> None:
    labels = scene(size)
    categories = labels.astype(np.int64)
    categories[labels == 255] = -1
    counts = np.zeros((4, *grid_shape(*size, stride)), np.int64)
    known, all_of = (np.zeros(counts.shape[1:], np.int64) for _ in range(2))
    for y in range(size[0]):
        for x in range(size[1]):
            cell = cell_of(y, x, size, stride)
            assert cell_at(y, x, size, stride) == cell
            all_of[cell] += 1
            if labels[y, x] != 255:
                counts[labels[y, x], *cell] += 1
                known[cell] += 1
    (found,) = cell_counts(categories, 4, (stride,))
    assert np.array_equal(found.toarray().reshape(counts.shape), counts)
    assert np.array_equal(valid_by_stride(labels, (stride,))[stride], 2 * known >= all_of)
    rows, columns = cell_edges(*size, stride)
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (0, size[0], 0, size[1])


@pytest.mark.parametrize("size", SIZES)
def test_counts_of_several_grids_are_those_of_each(size) -> None:
    categories = scene(size).astype(np.int64) % 255
    for strides in (PPM, ASPP, (4, 8, "8r3", 16, "2x2")):
        together = cell_counts(categories, 4, strides)
        for stride, one in zip(strides, together, strict=True):
            (alone,) = cell_counts(categories, 4, (stride,))
            assert np.array_equal(one.toarray(), alone.toarray())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("fine", "coarse"), [(8, "6x6"), ("6x6", "3x3"), ("3x3", "2x2"), (1, "2x2")]
)
def test_pooling_averages_the_pixels_that_cells_share(size, fine, coarse) -> None:
    values = np.random.default_rng(1).normal(size=grid_shape(*size, fine))
    total, count = (np.zeros(grid_shape(*size, coarse)) for _ in range(2))
    for y in range(size[0]):
        for x in range(size[1]):
            cell = cell_of(y, x, size, coarse)
            total[cell] += values[cell_of(y, x, size, fine)]
            count[cell] += 1
    np.testing.assert_allclose(pool_to(values, size, fine, coarse), total / count, rtol=1e-12)


def test_responses_on_pooled_grids_are_means_over_pixels() -> None:
    size = (48, 96)
    labels = scene(size)
    rng = np.random.default_rng(2)
    maps = [rng.normal(size=grid_shape(*size, s)).astype(np.float32) for s in PPM]
    table = region_table(labels, maps, PPM)
    ids = prepare_regions(labels, PPM).regions.ids
    for r, stride in enumerate(PPM):
        valid = valid_by_stride(labels, (stride,))[stride]
        known = np.sort(maps[r][valid])
        for row in table.itertuples():
            ranks = []
            for y, x in np.argwhere(ids == row.region):
                cell = cell_of(int(y), int(x), size, stride)
                if valid[cell]:
                    place = np.searchsorted(known, maps[r][cell])
                    ranks.append((place + 0.5) / known.size)
            expected = np.mean(ranks) if ranks else math.nan
            assert getattr(row, f"z_whole_{r}") == pytest.approx(expected, nan_ok=True)
    assert set(table["z_4"].dropna()) == {0.5}


@pytest.mark.parametrize("strides", [PPM, ASPP, (8, "6x6", "2x2")])
def test_one_common_map_is_exactly_at_chance(strides) -> None:
    size = (50, 83)
    labels = scene(size)
    rng = np.random.default_rng(3)
    ranked = [rng.uniform(size=grid_shape(*size, s)) for s in strides]
    table = region_table(labels, common_maps(ranked, size, strides), strides)
    assert (table["q"].dropna() == 0).all()
    assert sci(table).value == 0.5


@pytest.mark.parametrize("strides", [PPM, ASPP])
def test_larger_objects_on_coarser_branches_are_aware(strides) -> None:
    """Planted: the finest branch answers for the small box, the others for the large one."""
    size = (96, 96)
    labels = np.zeros(size, np.uint8)
    labels[8:16, 72:80], labels[48:96, 0:48] = 1, 2
    maps = []
    for r, stride in enumerate(strides):
        shape = grid_shape(*size, stride)
        small, large = (np.zeros(size) for _ in range(2))
        small[labels == 1], large[labels == 2] = 1.0, 1.0
        maps.append(pool_to(small if r == 0 else large, size, 1, stride).reshape(shape))
    table = region_table(labels, maps, strides)
    found = indices_at({k: table[k].to_numpy() for k in table}, strides)
    assert found["c_fine"][0] < 0.5
    assert found["sci"][0] < 0.5


def test_what_the_grids_do_not_allow_is_left_out_with_the_reason() -> None:
    assert unmeasured((4, 8, 16, 32)) == {}
    assert set(unmeasured((8, "8r6", "8r12"))) == set()
    assert set(unmeasured((8, "6x6", "2x2"))) == {"sci_edge"}
    last = {"c_coarse", "a_last", "a_first_matched"}
    assert set(unmeasured(ASPP)) == last
    assert set(unmeasured(PPM)) == last | {"sci_edge"}
    assert "6x6 cells have no stride" in unmeasured(PPM)["sci_edge"]
    assert unmeasured(ASPP)["a_last"] == "the coarsest map has one cell, and so one rank"
    assert [edge_depth(s) for s in ((4, 8, 32), ASPP, PPM)] == [32.0, 8.0, math.inf]
    size = (96, 96)
    rng = np.random.default_rng(4)
    maps = [rng.normal(size=grid_shape(*size, s)) for s in PPM]
    table = region_table(scene(size, 1), maps, PPM)
    found = indices_at({k: table[k].to_numpy() for k in table}, PPM)
    everything = {k for k, one in index_values(table).items() if len(one)} - set(unmeasured(PPM))
    assert set(found) == everything
    assert "sci" in found


def test_tuning_without_octaves_of_stride_has_no_slope() -> None:
    size = (96, 96)
    tables = []
    for k in range(4):
        rng = np.random.default_rng(k)
        maps = [rng.normal(size=grid_shape(*size, s)) for s in (8, "8r6", "8r12")]
        tables.append(region_table(scene(size, k), maps, (8, "8r6", "8r12"), image=str(k)))
    found = tuning(tables, (8, "8r6", "8r12"), min_images=1)
    for one in (found.slope, found.sic):
        assert one.value is None
        assert one.reason.startswith("not estimated: it needs octaves of stride")
    assert found.span.value is not None


@pytest.mark.parametrize(
    "wrong",
    [("6x6", 8), ("3x3", "6x6"), ("8r6", 8), (8, 8), (8, "8x"), ("6x6", "6x6"), ("0x3",), ("8r0",)],
)
def test_grids_in_another_order_or_of_no_meaning_are_refused(wrong) -> None:
    with pytest.raises(GstoVizError, match=r"powers of two|whole numbers"):
        checked_strides(wrong)


def test_grids_in_words() -> None:
    assert [stride_words(s) for s in (8, "8r12", "6x6")] == [
        "stride 8",
        "stride 8, rate 12",
        "6x6 cells",
    ]
    assert [pixels_per_cell(s) for s in (8, "8r12", "6x6")] == [8, 8, None]
    assert [cells_of(s) for s in (8, "8r12", "6x3")] == [None, None, (6, 3)]
    assert coarsest_pixels(PPM) == 8
    assert coarsest_pixels(("2x2",)) == 1


def test_shifts_are_as_long_as_a_cell_or_a_quarter_of_the_image() -> None:
    assert shift_length((64, 96), (4, 8, 16, 32)) == 32
    assert shift_length((64, 96), PPM) == 16
    assert shift_length((20, 30), ASPP) == 8


def test_responses_of_pyramids_and_of_strides_are_drawn_in_one_figure() -> None:
    labels = scene((64, 96), 3)
    rng = np.random.default_rng(1)
    frames = {}
    for key, strides in {"ppm": PPM, "aspp": ASPP, "hr": (4, 8, 16, 32)}.items():
        maps = [rng.random(grid_shape(*labels.shape, one)) for one in strides]
        table = region_table(labels, maps, strides, image="a")
        frames[key] = response_by_octave([table], strides)
    assert frames["ppm"]["stride"].tolist().count("8") == frames["ppm"]["octave"].nunique()
    figure = figure_tuning_fan(frames)
    words = {text.get_text() for one in figure.legends for text in one.get_texts()}
    assert {"stride 4", "stride 8", "stride 8, rate 12", "6x6 cells", "1x1 cells"} <= words
