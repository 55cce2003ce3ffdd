"""What SCI must say on planted pixels: tuning, noise, layout, class; and its analytic values."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from gsto_viz.activity import grid_shape
from gsto_viz.regions import find_regions, region_table
from gsto_viz.stats import LayoutMean, index_values, sci, sci_values

STRIDES = (4, 8, 16, 32)
CENTERS = (4.0, 5.0, 6.0, 7.0)


def pooled(field, stride):
    """Average a field of pixels over the cells of a stride."""
    height, width = grid_shape(*field.shape, stride)
    return field.reshape(height, stride, width, stride).mean(axis=(1, 3))


def scene(rng, size=256, objects=12):
    """Rectangles of 16 px and more on a ground, the large ones first, classes 1 and up."""
    labels = np.zeros((size, size), np.uint8)
    for k, side in enumerate(np.sort(2 ** rng.uniform(4, 7, objects))[::-1]):
        height, width = (int(min(side * rng.uniform(0.8, 1.25), 0.6 * size)) for _ in range(2))
        y, x = rng.integers(0, size - height), rng.integers(0, size - width)
        labels[y : y + height, x : x + width] = k + 1
    return labels


def tuned_maps(labels, kappa, rng, noise=0.3, reverse=False):
    """Branch r answers for sizes around its centre; the share kappa does not depend on size."""
    regions = find_regions(labels)
    salience = rng.random(len(regions))
    maps = []
    for center, stride in zip(CENTERS[:: -1 if reverse else 1], STRIDES, strict=True):
        tuned = np.exp(-((regions.size_octave - center) ** 2) / (2 * 0.9**2))
        answer = (1 - kappa) * tuned + kappa * salience
        cells = pooled(answer[regions.ids - 1], stride)
        maps.append(cells + noise * rng.normal(size=cells.shape))
    return maps


def tables_of(kappa, scenes, seed=0, **options):
    tables = []
    for i in range(scenes):
        labels = scene(np.random.default_rng([seed, i]))
        maps = tuned_maps(labels, kappa, np.random.default_rng([seed, i, 1]), **options)
        tables.append(region_table(labels, maps, image=f"im{i:03d}"))
    return pd.concat(tables)


def standard_error(estimate):
    return (estimate.high - estimate.low) / (2 * 1.96)


@pytest.mark.parametrize(
    ("alpha", "noted"),
    [(0.0, 0.5), (0.25, 0.343), (0.5, 0.219), (1.0, 0.0835), (2.0, 0.0118), (-1.0, 0.917)],
)
def test_object_level_values_are_those_of_the_formula(alpha, noted):
    # q = alpha l + noise: a pair of gap D is wrong with probability Phi(-alpha D / sqrt 2).
    rng = np.random.default_rng(11)
    rows, expected = [], {}
    for i in range(250):
        areas = np.round(4.0 ** rng.uniform(3, 8, 9))
        sizes = 0.5 * np.log2(areas)
        rows.append(
            pd.DataFrame(
                {
                    "image": f"im{i:03d}",
                    "region": np.arange(9),
                    "class_id": 0,
                    "area_px": areas,
                    "qualifies": True,
                    "q": alpha * sizes + rng.normal(size=9),
                }
            )
        )
        gaps = (sizes[:, None] - sizes)[areas[:, None] >= 4 * areas]
        if gaps.size:
            expected[f"im{i:03d}"] = norm.cdf(-alpha * gaps / np.sqrt(2)).mean()
    values = sci_values(pd.concat(rows))
    assert values["image"].tolist() == list(expected)
    residual = values["value"].to_numpy() - np.array(list(expected.values()))
    assert abs(residual.mean()) < 3 * residual.std(ddof=1) / np.sqrt(len(residual))
    # Another mix of gaps than the noted one: the same order of magnitude.
    assert values["value"].mean() == pytest.approx(noted, abs=0.04)


def noise_table(scenes, skew=0.0):
    tables = []
    for i in range(scenes):
        rng = np.random.default_rng([5, i])
        labels = scene(rng, size=128, objects=8)
        noise = [rng.normal(size=grid_shape(128, 128, s)) for s in STRIDES]
        maps = [np.exp(skew * one) for one in noise] if skew else noise
        tables.append(region_table(labels, maps, image=f"im{i:03d}"))
    return pd.concat(tables)


def check_chance(table):
    values = index_values(table, min_depth_px=16)
    for name in ("sci", "sci_edge", "a_first_matched", "a_last", "c_fine"):
        value = values[name]["value"]
        assert value.mean() == pytest.approx(0.5, abs=3 * value.std() / np.sqrt(len(value))), name


def test_noise_is_at_chance():
    check_chance(noise_table(100))


@pytest.mark.slow
def test_noise_is_at_chance_to_the_second_digit():
    table = noise_table(700)
    check_chance(table)
    assert sci(table).value == pytest.approx(0.5, abs=0.02)
    skewed = sci(noise_table(300, skew=2.0))
    assert skewed.value == pytest.approx(0.5, abs=3 * standard_error(skewed))


def test_tuned_and_reversed_branches_lie_on_their_sides():
    aware, turned = sci(tables_of(0.0, 12)), sci(tables_of(0.0, 12, reverse=True))
    assert aware.high < 0.25
    assert turned.low > 0.75


@pytest.mark.slow
def test_sci_grows_with_the_share_that_is_not_tuned():
    kappas = (0.0, 0.25, 0.5, 0.75, 1.0)
    found = [sci(tables_of(kappa, 60)) for kappa in kappas]
    values = [one.value for one in found]
    print(
        {
            k: (round(v.value, 3), round(standard_error(v), 3))
            for k, v in zip(kappas, found, strict=True)
        }
    )
    for k in range(len(values) - 1):
        assert values[k] < values[k + 1] + 2 * standard_error(found[k]), values
    assert values[0] < 0.2
    assert values[0] < values[2] < values[3] < values[4]
    assert values[4] == pytest.approx(0.5, abs=3 * standard_error(found[4]))
    turned = sci(tables_of(0.0, 60, reverse=True))
    assert turned.value > 0.8


def layout_scenes(scenes):
    """Large objects lie low, and the branches know nothing but the row."""
    pairs = []
    for i in range(scenes):
        rng = np.random.default_rng([9, i])
        labels = np.zeros((192, 256), np.uint8)
        for k, y in enumerate((4, 24, 50, 90)):
            side = (10, 20, 34, 70)[k]
            for j in range(2):
                x = j * 128 + rng.integers(0, 128 - side)
                labels[y + rng.integers(4) :, x : x + side][:side] = 2 * k + j + 1
        row = np.broadcast_to(np.linspace(0, 1, 192)[:, None], (192, 256))
        signs = (-1.0, -0.3, 0.3, 1.0)
        maps = []
        for sign, stride in zip(signs, STRIDES, strict=True):
            cells = pooled(sign * row, stride)
            maps.append(cells + 0.05 * rng.normal(size=cells.shape))
        pairs.append((labels, maps))
    return pairs


@pytest.mark.slow
def test_labels_of_another_image_expose_a_layout_prior():
    pairs = layout_scenes(40)
    n = len(pairs)
    layout = LayoutMean()
    for _, maps in pairs:
        layout.update(maps)
    kept = {"plain": [], "swapped": [], "adjusted": []}
    for i, (labels, maps) in enumerate(pairs):
        other = pairs[(i + n // 2) % n][0]
        name = f"im{i:03d}"
        kept["plain"].append(region_table(labels, maps, image=name))
        kept["swapped"].append(region_table(other, maps, image=name))
        kept["adjusted"].append(region_table(labels, layout.adjust(maps), image=name))
    found = {key: sci(tables) for key, tables in kept.items()}
    print({key: (round(one.value, 3), one.low, one.high) for key, one in found.items()})
    assert found["plain"].high < 0.3
    assert found["swapped"].high < 0.3
    adjusted = found["adjusted"]
    assert adjusted.value == pytest.approx(0.5, abs=3 * standard_error(adjusted))


def class_tables(scenes):
    """Objects on the coarsest grid; class 1 is mostly small, class 2 large; branches see class."""
    tables = []
    for i in range(scenes):
        rng = np.random.default_rng([13, i])
        labels, ids = np.zeros((384, 384), np.uint8), np.zeros((384, 384), np.int32)
        for k in range(8):
            y, x = 96 * (k // 4) * 2, 96 * (k % 4)
            class_id = 1 + int(rng.random() < 0.5)
            sides = (32, 64) if class_id == 1 else (64, 192)
            height = sides[int(rng.random() < (0.3 if class_id == 1 else 0.7))]
            width = min(height, 96)  # 96 x 192 is an octave above 64 x 64
            labels[y : y + height, x : x + width] = class_id
            ids[y : y + height, x : x + width] = k + 1
        maps = []
        for answer, stride in zip(
            ((0.5, 1, 0), (0.5, 0.7, 0.3), (0.5, 0.3, 0.7), (0.5, 0, 1)), STRIDES, strict=True
        ):
            cells = pooled(np.array(answer)[labels], stride)
            maps.append(cells + 0.3 * rng.normal(size=cells.shape))
        tables.append(region_table(labels, maps, instances=ids, image=f"im{i:03d}"))
    return pd.concat(tables)


@pytest.mark.slow
def test_class_alone_looks_aware_and_same_class_pairs_tell():
    table = class_tables(100)
    table = table[table["instance_id"] > 0]
    every, same = sci(table), sci(table, same_class=True)
    print(every, same)
    assert every.high < 0.3
    assert same.value == pytest.approx(0.5, abs=3 * standard_error(same))
    assert sci(table, same_class=False).value < every.value
    assert len(index_values(table, min_depth_px=16)["sci_edge"]) > 30
