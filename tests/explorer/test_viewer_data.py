"""What the viewer gets is exact: decoded again, it is the arrays that were sent."""

import base64
import io
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from gsto_viz.activity import HeatMap
from gsto_viz.explorer.shown import cut_regions
from gsto_viz.explorer.values.probe import image_objects, region_numbers
from gsto_viz.explorer.values.tiles import (
    answer_row,
    difference_map,
    object_words,
    viewer_data,
)
from gsto_viz.plots.tiles import color_table, map_tile, run_lengths
from gsto_viz.words import RAW_BADGE


def unpacked(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype)


def unrolled(runs: dict[str, str], shape: tuple[int, int]) -> np.ndarray:
    out: list[int] = []
    values, lengths = unpacked(runs["values"], "<u2"), unpacked(runs["lengths"], "<u4")
    for value, length in zip(values, lengths, strict=True):
        out += [int(value)] * int(length)
    return np.array(out).reshape(shape)


@given(hnp.arrays(np.int32, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.integers(0, 3)))
def test_runs_bring_the_map_back(values):
    np.testing.assert_array_equal(unrolled(run_lengths(values), values.shape), values)


def test_every_tile_holds_its_numbers(made_up):
    shown = made_up()
    regions = cut_regions(shown)
    data = viewer_data(shown, regions, mode="percentile", difference=True)
    assert json.loads(json.dumps(data)) == data
    objects = image_objects(shown, regions, region_numbers(shown, regions))
    rows = [*data["rows"], answer_row(shown, objects, "q")]
    tiles = {tile["key"]: tile for row in rows for tile in row["tiles"]}
    assert list(tiles)[:5] == ["input", "truth", "predictionA", "predictionB", "right"]
    assert list(tiles)[-2:] == ["answersA", "answersB"]
    assert len(tiles) == 5 + 4 + 4 + 4 + 2
    for letter in "AB":
        known = [q for q in tiles[f"answers{letter}"]["numbers"] if q is not None]
        np.testing.assert_allclose(known, objects[f"q_{letter}"].dropna(), atol=1e-4)
    words = object_words(objects)
    assert len(words) == len(objects)
    assert all(
        said.startswith(f"{name}, ") for said, name in zip(words, objects["class"], strict=True)
    )
    image = np.array(Image.open(io.BytesIO(base64.b64decode(tiles["input"]["png"]))))
    np.testing.assert_array_equal(image, shown.sample.image)
    np.testing.assert_array_equal(unrolled(tiles["truth"], shown.size), shown.sample.labels)
    np.testing.assert_array_equal(unrolled(data["regions"], shown.size), regions.regions.ids)
    right = unrolled(tiles["right"], shown.size)
    names = [one["name"] for one in tiles["right"]["names"]] + ["ignored"]
    for at in np.ndindex(shown.size):
        label = shown.sample.labels[at]
        a, b = (shown.inspections[letter].prediction[at] == label for letter in "AB")
        said = "both right" if a and b else "only A right" if a else "only B right"
        said = said if a or b else "neither right"
        assert names[min(right[at], 4)] == ("ignored" if label == 255 else said)
    for letter in "AB":
        for raw, stride in zip(shown.inspections[letter].raw, (4, 8, 16, 32), strict=True):
            tile = tiles[f"{letter}{stride}"]
            assert (tile["height"], tile["width"]) == raw.shape
            np.testing.assert_array_equal(unpacked(tile["raw"], "<f4"), raw.ravel())
            ranks = unpacked(tile["numbers"], "<f4")
            known = ranks[~np.isnan(ranks)]
            assert ((known > 0) & (known < 1)).all()
            assert (tile["low"], tile["high"], tile["badge"]) == (0, 1, "")
    down = unpacked(tiles["D16"]["numbers"], "<f4")
    a, b = (unpacked(tiles[f"{letter}16"]["numbers"], "<f4") for letter in "AB")
    np.testing.assert_allclose(down, b - a, atol=1e-6)


def test_the_strongest_branch_is_that_of_the_greatest_percentile(made_up):
    shown = made_up()
    row = answer_row(shown, pd.DataFrame(), "branch")
    for letter, tile in zip("AB", row["tiles"][1:], strict=True):
        best = unrolled(tile, shown.size)
        maps = shown.inspections[letter].activity
        for y, x in [(0, 0), (45, 70), (89, 149), (33, 101)]:
            ranks = [
                np.mean(m < m[y // s, x // s]) + np.mean(m == m[y // s, x // s]) / 2
                for m, s in zip(maps, (4, 8, 16, 32), strict=True)
            ]
            assert best[y, x] == np.argmax(ranks)


def test_without_labels_the_tile_shows_where_the_networks_differ(made_up):
    shown = made_up(labelled=False)
    data = viewer_data(shown, cut_regions(shown), mode="percentile", difference=False)
    tiles = {tile["key"]: tile for row in data["rows"] for tile in row["tiles"]}
    differ = unrolled(tiles["disagreement"], shown.size)
    for at in [(0, 0), (45, 70), (89, 149)]:
        a, b = (shown.inspections[letter].prediction[at] for letter in "AB")
        assert differ[at] == (255 if a == b else b)


def test_the_same_view_gives_the_same_bytes(made_up):
    first, second = (
        json.dumps(viewer_data(shown, cut_regions(shown), mode="shared", difference=False))
        for shown in (made_up(), made_up())
    )
    assert first == second


@pytest.mark.parametrize("mode", ["shared", "per_map"])
def test_raw_modes_carry_the_badge_and_their_limits(mode, made_up):
    shown = made_up(labelled=False)
    data = viewer_data(shown, cut_regions(shown), mode=mode, difference=False)
    a, b = (data["rows"][k]["tiles"][2] for k in (1, 2))
    raws = [shown.inspections[letter].raw[2] for letter in "AB"]
    assert a["badge"] == RAW_BADGE
    assert "raw" not in a
    if mode == "shared":
        assert a["low"] == b["low"] == min(raw.min() for raw in raws)
    else:
        assert (b["low"], b["high"]) == (raws[1].min(), raws[1].max())


def test_a_constant_map_and_clipped_values_are_said():
    flat = HeatMap(np.full((2, 2), 3.0), 2, 4, mode="per_map", label="", raw=True, stride=4)
    wild = HeatMap(np.array([[0.0, 5.0]]), 2, 4, mode="per_map", label="", raw=True, stride=4)
    assert map_tile("a", "a", flat)["constant"] is True
    assert map_tile("a", "a", flat)["clipped"] == 0
    assert map_tile("a", "a", wild)["clipped"] == 1
    down = difference_map(flat, flat)
    assert (down.low, down.high) == (-2, 2)
    assert not down.values.any()


def test_colors_are_matplotlibs_ends():
    table = unpacked(color_table("gray"), np.uint8).reshape(256, 3)
    np.testing.assert_array_equal(table, np.repeat(np.arange(256)[:, None], 3, axis=1))


def test_maps_on_pooled_grids_are_sent_as_small_square_cells() -> None:
    size = (50, 84)
    values = np.arange(6.0).reshape(2, 3) / 10
    heat = HeatMap(values, 0.0, 1.0, "percentile", "rank", raw=False, stride="2x3")
    tile = map_tile("A2x3", "A /2x3", heat, raw=values, size=size)
    assert (tile["stride"], tile["height"], tile["width"]) == (4, 13, 21)
    for key in ("numbers", "raw"):
        sent = np.frombuffer(base64.b64decode(tile[key]), "<f4").reshape(13, 21)
        for row in range(13):
            for column in range(21):
                y = 4 * row >= 25
                x = sum(4 * column >= edge for edge in (28, 56))
                assert sent[row, column] == np.float32(values[int(y), x])
