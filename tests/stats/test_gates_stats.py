"""Gate statistics against literal loops, ordinary least squares, planted gates and exact values."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy

from gsto_viz.activity import valid_cells
from gsto_viz.errors import GstoVizError
from gsto_viz.regions import find_regions, grid_weights
from gsto_viz.stats import (
    effective_transmission,
    gate_by_octave,
    gate_cells,
    gate_columns,
    gate_description,
    gate_edge,
    gate_ends,
    gate_pair_counts,
    gate_preference,
    gate_selectivity,
    gate_sums,
    variance_explained,
)
from gsto_viz.stats.gates import rescaled

DOWN, UP, SELF = "stage2.m0.gate[0->1]", "stage2.m0.gate.1to0", "stage2.m0.gate[1->1]"


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def released(rng, shape):
    return sigmoid(np.maximum(rng.normal(size=shape), 0)).astype(np.float32)


@pytest.mark.parametrize(
    ("tap", "source", "target", "sign"),
    [
        ("stage3.m0.gate[2->0]", 2, 0, -1),
        ("stage4.m12.gate.0to3", 0, 3, 1),
        ("stage2.m0.gate[1->1]", 1, 1, 0),
        ("transition3.gate", 2, 3, 1),
        ("transition1.gate", 0, 1, 1),
    ],
)
def test_edges_are_read_off_names(tap, source, target, sign):
    edge = gate_edge(tap)
    assert (edge.source, edge.target, edge.sign) == (source, target, sign)


def test_a_tap_that_is_no_gate_is_refused():
    with pytest.raises(GstoVizError, match="'stage4\\.branch0' is not a gate"):
        gate_edge("stage4.branch0")


def test_sums_of_one_map_are_those_of_a_loop():
    rng = np.random.default_rng(1)
    gate, valid = released(rng, (7, 9)), rng.random((7, 9)) < 0.8
    tied = opened = 0
    shares = []
    for i, j in itertools.product(range(7), range(9)):
        if valid[i, j]:
            share = 2 * float(gate[i, j]) - 1
            shares.append(share)
            tied += gate[i, j] == 0.5
            opened += share > 0.1
    sums = gate_sums(gate, valid, (0.5, 1.0))
    assert (sums["cells"], sums["tied"], sums["open"]) == (len(shares), tied, opened)
    described = gate_description(sums)
    assert described["tie_mass"] == tied / len(shares)
    assert described["mean"] == pytest.approx(np.mean(shares))
    assert described["sd"] == pytest.approx(np.std(shares))
    bits = [entropy([s, 1 - s], base=2) for s in shares]
    assert described["entropy"] == pytest.approx(np.mean(bits))
    halves = [
        gate_sums(g, v, (0.5, 1.0)) for g, v in ((gate[:3], valid[:3]), (gate[3:], valid[3:]))
    ]
    added = {name: halves[0][name] + halves[1][name] for name in sums}
    assert added == pytest.approx(sums)


def test_sums_of_all_maps_of_a_grid_are_those_of_each_alone_to_the_last_bit():
    rng = np.random.default_rng(6)
    gates = np.stack([released(rng, (40, 50)) for _ in range(5)] + [np.full((40, 50), 0.5)])
    for valid in (rng.random((40, 50)) < 0.8, np.zeros((40, 50), bool)):
        sums, ends = gate_sums(gates, valid, (0.5, 1.0)), gate_ends(gates, valid)
        for k, gate in enumerate(gates):
            share = rescaled(gate[valid], (0.5, 1.0))
            inner = share[(share > 0) & (share < 1)]
            bits = -(inner * np.log2(inner) + (1 - inner) * np.log2(1 - inner))
            assert sums["g"][k] == share.sum()
            assert sums["g_squared"][k] == (share**2).sum()
            assert sums["entropy"][k] == bits.sum()
            assert {name: one[k] for name, one in sums.items()} == gate_sums(
                gate, valid, (0.5, 1.0)
            )
            expected = [gate[valid].min(), gate[valid].max()] if valid.any() else [np.nan] * 2
            np.testing.assert_array_equal([ends["smallest"][k], ends["largest"][k]], expected)


def test_closed_open_and_undecided_gates():
    valid = np.ones((4, 4), bool)
    closed = gate_description(gate_sums(np.full((4, 4), 0.5), valid, (0.5, 1.0)))
    assert closed == {"tie_mass": 1, "open_fraction": 0, "mean": 0, "sd": 0, "entropy": 0}
    half = gate_description(gate_sums(np.full((4, 4), 0.5), valid, (0.0, 1.0)))
    assert half == {"tie_mass": 0, "open_fraction": 1, "mean": 0.5, "sd": 0, "entropy": 1}
    nothing = gate_description(gate_sums(np.full((4, 4), 0.5), ~valid, (0.0, 1.0)))
    assert np.isnan(list(nothing.values())).all()
    shares = rescaled(np.array([0.5, 0.5 + 1e-7, 0.75, 1.0, np.nan]), (0.5, 1.0))
    assert shares[:4].tolist() == [0, 0, 0.5, 1]
    assert np.isnan(shares[4])
    with pytest.raises(GstoVizError, match="is empty"):
        rescaled(np.zeros(2), (1.0, 0.5))


def test_responses_are_means_over_pixels_on_the_gates_grid():
    rng = np.random.default_rng(2)
    labels = np.zeros((45, 70), np.uint8)
    labels[5:44, 10:60], labels[:4] = 1, 255
    regions = find_regions(labels)
    weights, valid = grid_weights(regions, 8), valid_cells(labels, 8)
    gate = released(rng, weights.shape)
    columns = gate_columns({DOWN: gate}, weights, valid, (0.5, 1.0), regions.part)
    assert set(columns) == {f"{n}/{DOWN}" for n in ("g", "g_whole", "g_core", "g_band")}
    for part, mask in {
        "whole": regions.ids > 0,
        "core": regions.distance_px > 8,
        "band": (regions.ids > 0) & (regions.distance_px <= 8),
    }.items():
        for k in range(len(regions)):
            values = [
                2 * float(gate[y // 8, x // 8]) - 1
                for y, x in zip(*np.nonzero(mask & (regions.ids == k + 1)), strict=True)
                if valid[y // 8, x // 8]
            ]
            expected = np.mean(values) if values else np.nan
            assert columns[f"g_{part}/{DOWN}"][k] == pytest.approx(expected, nan_ok=True)
    for k, part in enumerate(regions.part):
        assert columns[f"g/{DOWN}"][k] == columns[f"g_{part}/{DOWN}"][k]
    with pytest.raises(GstoVizError, match="stride of the gate's source"):
        gate_columns({DOWN: gate[:2]}, weights, valid, (0.5, 1.0), regions.part)
    with pytest.raises(GstoVizError, match="outside \\[0, 1\\]"):
        gate_columns({DOWN: gate * 3}, weights, valid, (0.5, 1.0), regions.part)


def test_all_gates_of_a_grid_at_once_are_the_gates_one_by_one():
    rng = np.random.default_rng(4)
    labels = np.zeros((45, 70), np.uint8)
    labels[5:44, 10:60], labels[:4] = 1, 255
    regions = find_regions(labels)
    weights, valid = grid_weights(regions, 8), valid_cells(labels, 8)
    taps = [f"stage3.m{m}.gate[1->{i}]" for m in range(4) for i in range(3)]
    gates = {tap: released(rng, weights.shape) for tap in taps}
    columns = gate_columns(gates, weights, valid, (0.5, 1.0), regions.part)
    expected = {}
    for tap, gate in gates.items():
        expected |= gate_columns({tap: gate}, weights, valid, (0.5, 1.0), regions.part)
    assert list(columns) == list(expected)
    for name, values in columns.items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)
    assert gate_columns({}, weights, valid, (0.5, 1.0), regions.part) == {}
    gates[taps[3]] = gates[taps[3]][1:]
    with pytest.raises(GstoVizError, match=r"m1.gate\[1->0\] has shape"):
        gate_columns(gates, weights, valid, (0.5, 1.0), regions.part)


def table_of(images, gates, seed=0):
    """Regions with random sizes; ``gates`` gives each gate's value from l, class and noise."""
    rng = np.random.default_rng(seed)
    tables = []
    for i in range(images):
        n = int(rng.integers(3, 10))
        area = (4.0 ** rng.uniform(3, 8, n)).astype(int)
        size, class_id, noise = 0.5 * np.log2(area), rng.integers(0, 3, n), rng.random(n)
        columns = {
            "image": f"im{i:02d}",
            "region": np.arange(1, n + 1),
            "class_id": class_id,
            "area_px": area,
            "size_octave": size,
            "qualifies": rng.random(n) < 0.9,
        }
        for tap, rule in gates.items():
            value = rule(size, class_id, noise)
            columns |= {f"g/{tap}": value, f"g_core/{tap}": value, f"g_band/{tap}": value**2}
        tables.append(pd.DataFrame(columns))
    return tables


def test_preference_is_a_loop_over_pairs_with_and_without_ties():
    tables = table_of(14, {DOWN: lambda size, c, u: np.round(u * 3) / 3})
    counts = gate_pair_counts(tables, [DOWN])
    with_ties, without = [], []
    for table in tables:
        rows = [row for row in table.to_dict("records") if row["qualifies"]]
        won = []
        for x, y in itertools.product(rows, rows):
            if y["area_px"] >= 4 * x["area_px"]:
                a, b = x[f"g/{DOWN}"], y[f"g/{DOWN}"]
                won.append(0.5 if a == b else float(b > a))
        decided = [w for w in won if w != 0.5]
        with_ties += [np.mean(won)] if won else []
        without += [np.mean(decided)] if decided else []
    assert gate_preference(counts).value == pytest.approx(np.mean(with_ties))
    estimate = gate_preference(counts, untied=True)
    assert estimate.value == pytest.approx(np.mean(without))
    assert estimate.n_images == len(without)
    assert estimate.n_pairs == int(counts["pairs"].sum() - counts["ties"].sum())


def test_aware_gates_have_the_sign_of_their_direction():
    rules = {
        DOWN: lambda size, c, u: size / 9,
        UP: lambda size, c, u: 1 - size / 9,
        SELF: lambda size, c, u: 1 - size / 9,
    }
    tables = table_of(12, rules)
    counts = gate_pair_counts(tables, list(rules))
    assert gate_selectivity(counts).value == 1
    assert gate_selectivity(counts, self_edges=True).value == -1
    assert gate_selectivity(counts[counts["tap"] == UP]).value == 1
    back = gate_pair_counts(
        [t.assign(**{f"g/{n}": 1 - t[f"g/{n}"] for n in rules}) for t in tables], list(rules)
    )
    assert gate_selectivity(back).value == -1
    assert gate_selectivity(counts[counts["tap"] == SELF]).value is None


def test_an_increasing_map_of_the_gate_changes_nothing():
    tables = table_of(12, {DOWN: lambda size, c, u: sigmoid(size - 5 + 3 * u)})
    curved = [t.assign(**{f"g/{DOWN}": np.exp(4 * t[f"g/{DOWN}"])}) for t in tables]
    counts = gate_pair_counts(tables, [DOWN])
    pd.testing.assert_frame_equal(counts, gate_pair_counts(curved, [DOWN]))
    assert 0.5 < gate_preference(counts).value < 1


def test_a_constant_gate_is_at_chance_and_explains_nothing():
    table = table_of(12, {DOWN: lambda size, c, u: 0.3 + 1e-17 * u})
    counts = gate_pair_counts(table, [DOWN])
    assert gate_preference(counts).value == 0.5
    assert gate_preference(counts, untied=True).value is None
    assert gate_selectivity(counts).value == 0
    cells = gate_cells(table, DOWN)
    assert variance_explained(cells[cells["part"] == "core"]) == (0, 0)


def test_counts_and_cells_of_shards_concatenate():
    tables = table_of(11, {DOWN: lambda size, c, u: u})
    whole = gate_pair_counts(tables, [DOWN])
    parts = pd.concat([gate_pair_counts(t, [DOWN]) for t in (tables[6:], tables[:6])])
    pd.testing.assert_frame_equal(whole, parts.sort_values("image", ignore_index=True))
    cells = gate_cells(tables, DOWN)
    parts = pd.concat([gate_cells(t, DOWN) for t in (tables[6:], tables[:6])])
    keys = ["image", "octave", "class_id", "part"]
    pd.testing.assert_frame_equal(cells, parts.sort_values(keys, ignore_index=True))


@pytest.mark.parametrize("by_class", [False, True])
def test_means_by_octave_weigh_regions_then_images(by_class):
    tables = table_of(20, {DOWN: lambda size, c, u: 0.05 * size + 0.1 * c + 0.1 * u})
    result = gate_by_octave(gate_cells(tables, DOWN), by_class=by_class)
    seen = 0
    for row in result.to_dict("records"):
        means = []
        for table in tables:
            values = [
                region[f"g_{row['part']}/{DOWN}"]
                for region in table.to_dict("records")
                if region["qualifies"]
                and 4 ** row["octave"] <= region["area_px"] < 4 ** (row["octave"] + 1)
                and (not by_class or region["class_id"] == row["class_id"])
            ]
            seen += len(values)
            means += [np.mean(values)] if values else []
        assert row["mean"] == pytest.approx(np.mean(means))
        assert row["n_images"] == len(means)
        if len(means) >= 10:
            assert row["low"] <= row["mean"] <= row["high"]
        else:
            assert np.isnan(row["low"])
            assert "independent images" in row["reason"]
    assert seen == result["n_regions"].sum() == 2 * sum(t["qualifies"].sum() for t in tables)


def least_squares(rows, columns, value):
    """Residual sum of squares of a regression on indicator columns, from raw rows."""
    design = pd.get_dummies(rows[columns].astype(str)).to_numpy(dtype=float)
    design = np.hstack([design, np.ones((len(rows), 1))])
    fitted = design @ np.linalg.pinv(design) @ value
    return ((value - fitted) ** 2).sum()


def test_explained_variance_is_that_of_a_regression_on_rows():
    tables = table_of(30, {DOWN: lambda size, c, u: 0.05 * size + 0.2 * c + 0.3 * u})
    cells = gate_cells(tables, DOWN)
    for part in ("core", "band"):
        rows = pd.concat(tables)
        rows = rows[rows["qualifies"]].assign(octave=lambda t: np.floor(t["size_octave"]))
        value = rows[f"g_{part}/{DOWN}"].to_numpy()
        eta, partial = variance_explained(cells[cells["part"] == part])
        total = ((value - value.mean()) ** 2).sum()
        assert eta == pytest.approx(1 - least_squares(rows, ["octave"], value) / total)
        of_class = least_squares(rows, ["class_id"], value)
        of_both = least_squares(rows, ["class_id", "octave"], value)
        assert partial == pytest.approx(1 - of_both / of_class)
        assert 0 < eta < partial < 1
        mine = cells[cells["part"] == part]
        assert mine["sum"].sum() == pytest.approx(value.sum())
        assert mine["n"].sum() == len(rows)


def test_a_gate_of_the_class_alone_is_not_explained_by_size_beyond_it():
    tables = table_of(20, {DOWN: lambda size, c, u: 0.2 + 0.3 * c})
    cells = gate_cells(tables, DOWN)
    eta, partial = variance_explained(cells[cells["part"] == "core"])
    assert 0 < eta < 0.5
    assert np.isnan(partial)
    only_size = gate_cells(table_of(20, {DOWN: lambda size, c, u: np.floor(size) / 9}), DOWN)
    assert variance_explained(only_size[only_size["part"] == "core"]) == pytest.approx((1, 1))
    assert np.isnan(variance_explained(only_size.iloc[:0])).all()


def test_transmission_is_a_ratio_of_norms():
    rng = np.random.default_rng(3)
    weight, features = rng.normal(size=(5, 4)), rng.normal(size=(3, 4, 20))
    gated = sum(((weight @ (0.25 * f)) ** 2).sum() for f in features)
    plain = sum(((weight @ f) ** 2).sum() for f in features)
    assert effective_transmission(gated, plain) == pytest.approx(0.25)
    assert effective_transmission(0.0, plain) == 0
    assert effective_transmission(0.0, 0.0) is None
    with pytest.raises(GstoVizError, match="finite"):
        effective_transmission(-1.0, 1.0)


def test_a_network_without_gates_says_so():
    with pytest.raises(GstoVizError, match="no gate was named"):
        gate_pair_counts(table_of(1, {}), [])
