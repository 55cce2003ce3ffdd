"""What pixels listen to, against loops over image pixels, cells and heads."""

import math

import numpy as np
import pandas as pd
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.regions.pooling import prepare_regions
from gsto_viz.stats.listening import (
    MEASURES,
    entropy,
    leaving,
    listen,
    listening_columns,
    listening_means,
    window_cells,
    window_distances,
)

STRIDE = 4
SIZE = (75, 61)
"""Of the image, (19, 16) pixels and (10, 8) cells: neither divides."""
PIXELS = (19, 16)
CELLS = (10, 8)


@pytest.fixture(scope="module")
def prepared():
    rows, columns = np.indices(SIZE)
    labels = np.zeros(SIZE, np.uint8)
    labels[30:] = 1
    labels[(rows - 40) ** 2 + (columns - 30) ** 2 < 400] = 2
    labels[5:12, 40:61] = 255
    instances = np.zeros(SIZE, np.int32)
    instances[50:75, 0:20] = 7
    labels[50:75, 0:20] = 3
    return prepare_regions(labels, (STRIDE, 2 * STRIDE), instances)


def drawn(window: int, heads: int = 3, seed: int = 0, size=PIXELS) -> np.ndarray:
    """Random weights of the cells on the map, float64."""
    raw = np.random.default_rng(seed).exponential(size=(heads, window**2, *size)) ** 2
    raw *= window_cells(size, window) >= 0
    return raw / raw.sum(axis=1, keepdims=True)


def around(y: int, x: int, window: int):
    """Yield place in the window, row and column of each cell on the map."""
    for place in range(window**2):
        v = y // 2 + place // window - window // 2
        u = x // 2 + place % window - window // 2
        if 0 <= v < CELLS[0] and 0 <= u < CELLS[1]:
            yield place, v, u


def by_loops(weights: np.ndarray, prepared) -> dict[tuple[int, str], dict[str, float]]:
    """Average over the image pixels of each region's core and band, one after the other."""
    heads, count = weights.shape[:2]
    window = round(count**0.5)
    ids, distance = prepared.regions.ids, prepared.regions.distance_px
    sums: dict[tuple[int, str], list[dict[str, float]]] = {}
    side = 2 * STRIDE
    share = {}
    for v in range(CELLS[0]):
        for u in range(CELLS[1]):
            cell = ids[v * side : (v + 1) * side, u * side : (u + 1) * side]
            for region in range(1, len(prepared) + 1):
                share[v, u, region] = float((cell == region).mean())
    for row in range(SIZE[0]):
        for column in range(SIZE[1]):
            region = int(ids[row, column])
            y, x = row // STRIDE, column // STRIDE
            if region == 0 or not prepared.valid[0][y, x]:
                continue
            near = list(around(y, x, window))
            mean = [sum(weights[h, j, y, x] for h in range(heads)) / heads for j in range(count)]
            far = {
                j: math.dist(
                    ((y + 0.5) * STRIDE, (x + 0.5) * STRIDE), ((v + 0.5) * side, (u + 0.5) * side)
                )
                for j, v, u in near
            }

            def spread(values, near=near):
                most = math.log(len(near)) if len(near) > 1 else math.nan
                return -sum(w * math.log(w) for w in values if w > 0) / most

            each = [spread([weights[h, j, y, x] for j, _, _ in near]) for h in range(heads)]
            sums.setdefault((region, "core" if distance[row, column] > 8 else "band"), []).append(
                {
                    "entropy": spread([mean[j] for j, _, _ in near]),
                    "head_entropy": sum(each) / heads,
                    "offset_px": sum(mean[j] * far[j] for j in far),
                    "offset_uniform_px": sum(far.values()) / len(far),
                    "outside": sum(mean[j] * (1 - share[v, u, region]) for j, v, u in near),
                    "outside_uniform": sum(1 - share[v, u, region] for _, v, u in near) / len(near),
                }
            )
    return {
        key: {name: sum(one[name] for one in rows) / len(rows) for name in rows[0]}
        | {"pixels": len(rows)}
        for key, rows in sums.items()
    }


@pytest.mark.parametrize("window", [1, 3, 5])
def test_numbers_are_those_of_loops_over_image_pixels(prepared, window):
    weights = drawn(window)
    found = pd.DataFrame(listening_columns({"t": listen(weights, STRIDE)}, prepared))
    expected = by_loops(weights, prepared)
    assert set(zip(found["region"], found["part"], strict=True)) == set(expected)
    assert {"core", "band"} == set(found["part"])
    for row in found.to_dict("records"):
        of = expected[row["region"], row["part"]]
        assert row["pixels"] == of["pixels"]
        assert (row["tap"], row["stride"]) == ("t", STRIDE)
        for name in MEASURES:
            assert row[name] == pytest.approx(of[name], abs=1e-12, nan_ok=window == 1), name


def test_one_cell_alone_and_all_alike(prepared):
    inside = window_cells(PIXELS, 3) >= 0
    alone = np.zeros((2, 9, *PIXELS))
    alone[:, 4] = 1
    alike = np.repeat((inside / inside.sum(axis=0))[None], 2, axis=0)
    one, all_ = (
        listening_columns({"t": listen(weights, STRIDE)}, prepared) for weights in (alone, alike)
    )
    assert not one["entropy"].any()
    assert not one["head_entropy"].any()
    # The covering cell is centred half a pixel down and across, everywhere.
    np.testing.assert_allclose(one["offset_px"], STRIDE / 2**0.5)
    assert all_["entropy"] == pytest.approx(1)
    for name in ("outside", "offset"):
        end = "_px" * (name == "offset")
        np.testing.assert_allclose(all_[f"{name}{end}"], all_[f"{name}_uniform{end}"], atol=1e-12)
    for name in ("outside_uniform", "offset_uniform_px"):
        np.testing.assert_array_equal(one[name], all_[name])
    # With all weight on the covering cell, what is outside is what the cell has of others.
    fine, coarse = prepared.grids
    share = coarse.pixels.toarray().reshape(len(prepared), 2, -1).sum(axis=1) / coarse.cell_area
    y, x = np.divmod(fine.cell, PIXELS[1])
    own = share[fine.region, (y // 2) * CELLS[1] + x // 2]
    np.testing.assert_allclose(leaving(listen(alone, STRIDE), fine, coarse)[0], 1 - own)


def test_shares_and_offsets_add_over_heads_and_entropy_does_not(prepared):
    weights = drawn(3, heads=4)
    together = listening_columns({"t": listen(weights, STRIDE)}, prepared)
    each = [
        listening_columns({"t": listen(weights[h : h + 1], STRIDE)}, prepared) for h in range(4)
    ]
    for name in ("outside", "offset_px"):
        np.testing.assert_allclose(together[name], np.mean([one[name] for one in each], axis=0))
    mean = np.mean([one["entropy"] for one in each], axis=0)
    np.testing.assert_allclose(together["head_entropy"], mean)
    assert (together["entropy"] > mean).all()
    # Two heads that hear one cell each: sharp, and broad together.
    two = np.zeros((2, 9, 6, 6))
    two[0, 4], two[1, 8] = 1, 1
    two[1, 8, 4:, :], two[1, 4, 4:, :] = 0, 1
    two[1, 8, :, 4:], two[1, 4, :, 4:] = 0, 1
    heard = listen(two, STRIDE)
    assert not heard.head_entropy.any()
    assert heard.maps["entropy"][2, 2] == pytest.approx(math.log(2) / math.log(9))
    assert heard.maps["entropy"][0, 0] == pytest.approx(math.log(2) / math.log(4))


def test_cells_of_a_window_and_their_distances():
    cells = window_cells((5, 4), 3)
    assert cells.shape == (9, 5, 4)
    # Rows of the window from the upper left, around the cell that covers the pixel.
    assert cells[:, 2, 1].tolist() == [-1, 0, 1, -1, 2, 3, -1, 4, 5]
    assert cells[:, 4, 3].tolist() == [2, 3, -1, 4, 5, -1, -1, -1, -1]
    distance = window_distances((5, 4), 3, 4)
    # The pixel is centred at (10, 6) and the cells around it at (4, 12, 20) and (-4, 4, 12).
    assert distance[4, 2, 1] == pytest.approx(math.dist((10, 6), (12, 4)))
    assert distance[8, 2, 1] == pytest.approx(math.dist((10, 6), (20, 12)))


def test_what_are_not_weights_is_refused(prepared):
    with pytest.raises(GstoVizError, match=r"'tap' have shape \(9, 4, 4\)"):
        listen(np.ones((9, 4, 4)), STRIDE, "tap")
    with pytest.raises(GstoVizError, match="odd k"):
        listen(np.full((1, 4, 4, 4), 0.25), STRIDE)
    with pytest.raises(GstoVizError, match="not shares of the cells"):
        listen(np.full((1, 9, 4, 4), 1 / 9), STRIDE)
    wrong = drawn(3)
    wrong[0, 4, 3, 3] = np.nan
    with pytest.raises(GstoVizError, match="tap the output of the softmax"):
        listen(wrong, STRIDE)
    with pytest.raises(GstoVizError, match="take one image"):
        listening_columns({"t": listen(drawn(3, size=(18, 16)), STRIDE)}, prepared)
    with pytest.raises(GstoVizError, match="'t' leads from stride 16 to 8"):
        listening_columns({"t": listen(drawn(3, size=(10, 8)), 8)}, prepared)


def test_regions_without_a_valid_cell_and_images_without_regions():
    labels = np.full((32, 32), 255, np.uint8)
    heard = {"t": listen(drawn(3, size=(8, 8)), STRIDE)}
    nothing = listening_columns(heard, prepare_regions(labels, (STRIDE, 2 * STRIDE)))
    assert {len(values) for values in nothing.values()} == {0}
    labels[0, 0] = 1  # one pixel of 16 is known: the cell is not valid
    labels[16:24, 16:24] = 2
    found = listening_columns(heard, prepare_regions(labels, (STRIDE, 2 * STRIDE)))
    assert found["region"].tolist() == [2]
    assert listening_columns({}, prepare_regions(labels, (STRIDE, 2 * STRIDE))) == {}


def test_entropy_is_that_of_scipy_and_lies_between_0_and_1():
    from scipy.stats import entropy as outside

    weights = drawn(5, size=(7, 9))
    inside = (window_cells((7, 9), 5) >= 0).sum(axis=0)
    np.testing.assert_allclose(entropy(weights), outside(weights, axis=1) / np.log(inside))
    assert 0 < entropy(weights).min() < entropy(weights).max() < 1


def test_means_weigh_images_alike():
    rows = pd.DataFrame(
        [
            ("none", image, "t", 4, "band", octave, 0.5, 0.25, 3.0, outside, 2.0, 0.5)
            for image, octave, outside in (("a", 3, 0.1), ("a", 3, 0.3), ("a", 4, 0.5), ("b", 3, 1))
        ],
        columns=["null", "image", "tap", "stride", "part", "octave", "entropy", "head_entropy",
                 "offset_px", "outside", "offset_uniform_px", "outside_uniform"],
    )  # fmt: skip
    found = listening_means(rows, ["octave"]).set_index(["octave", "measure"])
    assert found.loc[(3, "outside"), "mean"] == pytest.approx((0.2 + 1) / 2)
    assert found.loc[(3, "outside_excess"), "mean"] == pytest.approx((0.2 + 1) / 2 - 0.5)
    assert found.loc[(3, "offset_excess_px"), "mean"] == pytest.approx(1)
    assert found.loc[(3, "outside"), ["n_regions", "n_images"]].tolist() == [3, 2]
    assert found.loc[(4, "outside"), "mean"] == 0.5
    alone = listening_means(rows.assign(entropy=np.nan, head_entropy=np.nan))
    assert not set(alone["measure"]) & {"entropy", "head_entropy"}
