"""The Scale Confusion Index against loops over pairs, analytic values and exact nulls."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from gsto_viz.activity import matched_pool
from gsto_viz.errors import GstoVizError
from gsto_viz.regions import region_table
from gsto_viz.stats import (
    Estimate,
    Images,
    directions,
    find_pairs,
    image_indices,
    index_columns,
    pair_counts,
    sci,
    squared_sizes,
    wrong_pairs,
)


def table_of(sizes, q, image="a", **columns):
    """Make one image's table from sizes in octaves and coarseness values."""
    sizes = np.asarray(sizes, float)
    return pd.DataFrame(
        {
            "image": image,
            "region": np.arange(1, len(sizes) + 1),
            "class_id": 0,
            "area_px": 4.0**sizes,
            "qualifies": True,
            "q": q,
        }
        | columns
    )


def random_tables(images, seed=0):
    rng = np.random.default_rng(seed)
    tables = []
    for i in range(images):
        n = rng.integers(1, 9)
        table = table_of(rng.integers(6, 17, n) / 2, rng.integers(-3, 4, n) / 4, f"im{i}")
        table["class_id"] = rng.integers(0, 3, n)
        table["qualifies"] = rng.random(n) < 0.8
        table["z_0"] = rng.integers(1, 5, n) / 5
        tables.append(table)
    return tables


def pairs_of(tables, **choices):
    return pair_counts(tables, ["q"], **choices)["q"]


def sci_by_loops(tables, column="q", least=1.0, most=np.inf, keep=lambda x, y: True):
    values, pairs = [], 0
    for table in tables:
        wrong = []
        rows = [row for row in table.to_dict("records") if row["qualifies"]]
        for x, y in itertools.product(rows, rows):
            gap = np.log2(np.sqrt(y["area_px"])) - np.log2(np.sqrt(x["area_px"]))
            if least <= gap < most and keep(x, y):
                wrong.append(0.5 if x[column] == y[column] else float(y[column] < x[column]))
        if wrong:
            values.append(sum(wrong) / len(wrong))
            pairs += len(wrong)
    return np.mean(values), len(values), pairs


@pytest.mark.parametrize("seed", range(3))
def test_sci_is_a_loop_over_pairs(seed):
    tables = random_tables(25, seed)
    value, images, pairs = sci_by_loops(tables)
    estimate = sci(tables)
    assert isinstance(estimate, Estimate)
    assert estimate.value == pytest.approx(value, abs=1e-14)
    assert (estimate.n_images, estimate.n_pairs) == (images, pairs)
    assert estimate.low <= estimate.value <= estimate.high
    assert estimate.reason is None
    wrong, images, pairs = sci_by_loops(tables, "z_0")
    counts = pair_counts(tables, ["z_0"])["z_0"]
    preference = (counts["wins"] + counts["ties"] / 2) / counts["pairs"]
    assert preference.mean() == pytest.approx(1 - wrong, abs=1e-14)
    assert (len(counts), counts["pairs"].sum()) == (images, pairs)


def test_gap_and_class_select_pairs():
    tables = random_tables(25, 4)
    for gap in ((1, 2), (2, 3), (3, np.inf), (0.5, np.inf)):
        value, images, pairs = sci_by_loops(tables, least=gap[0], most=gap[1])
        estimate = sci(tables, gap=gap)
        assert estimate.value == pytest.approx(value, abs=1e-14)
        assert (estimate.n_images, estimate.n_pairs) == (images, pairs)
    for same in (True, False):
        value, _, pairs = sci_by_loops(
            tables,
            keep=lambda x, y, same=same: (x["class_id"] == y["class_id"]) == same,
        )
        estimate = sci(tables, same_class=same)
        assert estimate.value == pytest.approx(value, abs=1e-14)
        assert estimate.n_pairs == pairs
    both = [pairs_of(tables, same_class=same)["pairs"].sum() for same in (True, False)]
    assert sum(both) == pairs_of(tables)["pairs"].sum()


def test_columns_are_counted_together_as_each_alone_and_null_values_make_no_pair():
    rng = np.random.default_rng(8)
    tables = [
        table_of(rng.integers(6, 17, n) / 2, 0.0, f"im{n}", class_id=rng.integers(0, 2, n))
        for n in (290, 3, 12)
    ]
    names = ["g/one", "g/two", "g/none"]
    for table in tables:
        for name in names[:2]:
            table[name] = rng.integers(0, 4, len(table)) / 4
            table.loc[rng.random(len(table)) < 0.2, name] = np.nan
        table["g/none"] = np.nan
    counts = pair_counts(tables, names, same_class=False)
    assert list(counts) == names
    for name in names:
        expected = []
        for table in sorted(tables, key=lambda one: one["image"][0]):
            rows = list(table[["area_px", "class_id", name]].itertuples(index=False))
            pairs = [
                larger[2] - smaller[2]
                for larger, smaller in itertools.product(rows, rows)
                if larger[0] >= 4 * smaller[0]
                and larger[1] != smaller[1]
                and not np.isnan([larger[2], smaller[2]]).any()
            ]
            wins, ties = sum(d > 0 for d in pairs), sum(d == 0 for d in pairs)
            if pairs:
                expected.append((table["image"][0], wins, ties, len(pairs)))
        assert list(counts[name].itertuples(index=False, name=None)) == expected
        alone = pair_counts(tables, [name], same_class=False)
        pd.testing.assert_frame_equal(alone[name], counts[name])
    assert counts["g/none"].empty


@pytest.mark.parametrize("gap", [(1.0, np.inf), (0.5, 2.0), (2.0, 3.0)])
@pytest.mark.parametrize("same_class", [None, True, False])
def test_pairs_are_those_that_whole_numbers_decide(gap, same_class):
    rng = np.random.default_rng(5)
    area = np.concatenate([7 * 4 ** rng.integers(0, 5, 150), rng.integers(1, 600, 150)])
    class_id = rng.integers(0, 3, area.size)
    q = rng.integers(0, 9, area.size) / 8 + rng.choice([0, 1e-10], area.size)
    q[rng.random(area.size) < 0.1] = np.nan
    # Of areas a gap of half an octave is a factor of two.
    least, most = (round(4.0**g) if np.isfinite(g) else 10**9 for g in gap)
    expected = [
        (y, x)
        for y in range(area.size)
        for x in range(area.size)
        if int(area[x]) * least <= int(area[y]) < int(area[x]) * most
        and (same_class is None or (class_id[x] == class_id[y]) == same_class)
    ]
    found = find_pairs(squared_sizes(area), gap, class_id=class_id, same_class=same_class)
    assert list(zip(*(one.tolist() for one in found), strict=True)) == expected
    if same_class is None:
        wrong = [(y, x) for y, x in expected if q[x] - q[y] > 1e-9]
        found = wrong_pairs(squared_sizes(area), q, gap)
        assert list(zip(*(one.tolist() for one in found), strict=True)) == wrong


def test_inscribed_sizes_are_squares_of_whole_numbers():
    depth = np.sqrt(np.arange(1, 400, dtype=np.float64))
    squares = squared_sizes(depth, "inscribed")
    np.testing.assert_array_equal(squares, np.arange(1, 400))
    larger, smaller = find_pairs(squares)
    np.testing.assert_array_equal(larger + 1 >= 4 * (smaller + 1), True)
    assert (27, 6) in set(zip(larger.tolist(), smaller.tolist(), strict=True))


def test_the_way_round_ties_and_nulls():
    values = [0.3, -0.3, 9e-10, -9e-10, 0.0, np.nan, 2e-9, -2e-9]
    np.testing.assert_array_equal(directions(np.array(values)), [1, -1, 0, 0, 0, np.nan, 1, -1])


def test_exactly_one_octave_is_a_pair_for_every_area():
    areas = np.arange(64, 4000, 41)
    for area in areas:
        table = table_of([3, 4], [0.0, 1.0]).assign(area_px=[area, 4 * area])
        assert sci(table).n_pairs == 1
        assert sci(table.assign(area_px=[area, 4 * area - 1])).n_pairs == 0


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.5, 1.0, 2.0, -1.0])
def test_linear_coarseness_has_the_analytic_value(alpha):
    # q = alpha l + noise: a pair of gap D is wrong with probability Phi(-alpha D / sqrt 2).
    rng = np.random.default_rng(7)
    images, expected = [], []
    for i in range(600):
        sizes = rng.uniform(3, 8, 9)
        images.append(table_of(sizes, alpha * sizes + rng.normal(size=9), f"im{i}"))
        gaps = sizes[:, None] - sizes
        if (gaps >= 1).any():
            expected.append(norm.cdf(-alpha * gaps[gaps >= 1] / np.sqrt(2)).mean())
    estimate = sci(images)
    error = (estimate.high - estimate.low) / (2 * 1.96)
    assert estimate.value == pytest.approx(np.mean(expected), abs=3.5 * error)
    assert error < 0.01


def test_many_regions_in_one_image():
    rng = np.random.default_rng(6)
    table = table_of(rng.uniform(3, 9, 300), rng.integers(0, 50, 300) / 7)
    value, _, pairs = sci_by_loops([table])
    estimate = sci(table)
    assert estimate.value == pytest.approx(value, abs=1e-14)
    assert estimate.n_pairs == pairs


def test_aware_reversed_and_tied():
    sizes = [3, 4.5, 6, 8]
    assert sci(table_of(sizes, [0, 1, 2, 3])).value == 0
    assert sci(table_of(sizes, [3, 2, 1, 0])).value == 1
    assert sci(table_of(sizes, [0.25] * 4)).value == 0.5
    assert sci(table_of(sizes, np.array([0, 1, 2, 3]) * 1e-10)).value == 0.5


def test_branches_that_differ_by_pooling_are_at_chance_exactly():
    # The null of a common map: no tolerance, in the estimate, its interval and at the edges.
    rng = np.random.default_rng(3)
    tables = []
    for i in range(12):
        labels = np.zeros((180, 240), np.uint8)
        for _ in range(9):
            y, x, s = rng.integers(0, 160), rng.integers(0, 220), rng.integers(4, 90)
            labels[y : y + s, x : x + s] = rng.integers(0, 5)
        maps = [rng.random((45, 60)).astype(np.float32)]
        while len(maps) < 4:
            maps.append(matched_pool(maps[-1]))
        tables.append(region_table(labels, maps, image=f"im{i}"))
    estimate = sci(tables)
    assert estimate.n_pairs > 20
    assert (estimate.value, estimate.low, estimate.high) == (0.5, 0.5, 0.5)
    assert sci(tables, response="q_whole").value == 0.5
    values = [edges(table, min_depth_px=12) for table in tables]
    assert {value for value, _ in filter(None, values)} == {0.5}


def test_gains_change_nothing_to_twelve_digits():
    rng = np.random.default_rng(8)
    labels = np.zeros((128, 128), np.uint8)
    labels[10:30, 10:40], labels[50:120, 20:110] = 1, 2
    maps = [rng.random((128 // s, 128 // s)) for s in (4, 8, 16, 32)]
    before = sci(region_table(labels, maps))
    after = sci(
        region_table(labels, [m * g for m, g in zip(maps, (0.3, 7, 1e-4, 90), strict=True)])
    )
    assert abs(before.value - after.value) < 1e-12


def test_order_and_repeated_shards_change_nothing():
    tables = random_tables(30, 9)
    assert sci(tables) == sci(tables[::-1]) == sci(pd.concat([*tables[10:], *tables[:20]]))
    counts = [pairs_of(tables[:11]), pairs_of(tables[11:])]
    merged = pd.concat(counts).sort_values("image", ignore_index=True)
    pd.testing.assert_frame_equal(merged, pairs_of(tables))


def test_few_images_have_a_value_and_no_interval():
    estimate = sci(random_tables(9, 1))
    assert estimate.value is not None
    assert estimate.low is None
    assert estimate.high is None
    assert "an interval needs 10" in estimate.reason


def test_clusters_count_not_images():
    tables = random_tables(40, 2)
    blocks = {f"im{i}": f"block{i // 5}" for i in range(40)}
    estimate = sci(tables, images=Images(blocks))
    assert estimate.low is None
    assert estimate.value == sci(tables).value
    pairs_of_images = {f"im{i}": f"block{i // 2}" for i in range(40)}
    assert sci(tables, images=Images(pairs_of_images)).low is not None


def test_no_pair_is_not_estimated():
    estimate = sci(table_of([3, 3.5], [0, 1]))
    assert estimate == Estimate(None, None, None, 0, 0, estimate.reason)
    assert "not estimated" in estimate.reason
    assert sci(table_of([], [])).value is None
    assert edges(table_of([3], [0], max_distance_px=50.0, q_core=np.nan, q_band=0.1)) is None


def edges(table, min_depth_px=32):
    """SCI_edge of one image; the columns of the other indices do not matter."""
    columns = {name: table.get(name, pd.Series(0.0, table.index)) for name in index_columns(4)}
    return image_indices(columns, 4, min_depth_px=min_depth_px).get("sci_edge")


def test_edges_compare_core_and_band_of_deep_regions():
    columns = {
        "max_distance_px": [40.0, 33.0, 31.0, 50.0],
        "q_core": [1.0, 0.2, 0.0, 0.5],
        "q_band": [0.5, 0.4, 1.0, 0.5],
    }
    value, regions = edges(table_of([6, 6, 6, 6], [0, 0, 0, 0], **columns))
    assert value == pytest.approx((0 + 1 + 0.5) / 3)
    assert regions == 3


def test_two_images_of_one_name_are_refused():
    with pytest.raises(GstoVizError, match="own name"):
        sci([table_of([3, 5], [0, 1]), table_of([3, 5], [1, 0])])
    with pytest.raises(GstoVizError, match="no region table"):
        sci([])
