"""Paired comparison, headline, strict verdict and specification curve on planted tables."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.stats import (
    Estimate,
    Specification,
    compare_tables,
    compare_values,
    comparison_table,
    default_specifications,
    estimate,
    headline,
    holm,
    index_values,
    pair_counts,
    sci,
    sci_by_gap,
    sign_flip,
    specification_curve,
    strict_verdict,
    table_curve,
)
from gsto_viz.stats.compare import specified_values

INDICES = {"sci", "sci_edge", "a_first_matched", "a_last"}


def planted(alpha, images=30, seed=0, noise_seed=1):
    """Coarseness and the outer branches follow size with slope ``alpha``, plus noise."""
    rng, noise = np.random.default_rng(seed), np.random.default_rng(noise_seed)
    rows = []
    for i in range(images):
        for region in range(1, 9):
            size = rng.uniform(2, 8)
            depth = 4.0**size // 16 + 1
            row = {"image": f"im{i:02d}", "region": region, "class_id": int(rng.integers(3))}
            row |= {"area_px": int(4.0**size), "size_octave": size, "qualifies": size > 3}
            row |= {"max_distance_px": np.sqrt(depth), "border": rng.random() < 0.2}
            row |= {"part": "core" if size > 5 else "whole", "purity_3": rng.random()}
            row |= {name: alpha * size + noise.normal() for name in ("q", "q_whole", "q_core")}
            row["q_band"] = row["q_core"] - alpha * 6 + noise.normal()
            for r, sign in enumerate((-1, -0.5, 0.5, 1)):
                value = alpha * sign * size + noise.normal()
                row |= {f"z_{r}": value, f"z_matched_{r}": value + 0.1}
            rows.append(row)
    return pd.DataFrame(rows)


def test_gap_bins_are_single_indices():
    table = planted(0.5)
    frame = sci_by_gap(table)
    assert len(frame) == 9
    for row in frame.to_dict("records"):
        same = {"all": None, "same": True, "different": False}[row["classes"]]
        one = sci(table, gap=(row["gap_low"], row["gap_high"]), same_class=same)
        assert (row["value"], row["low"], row["n_pairs"]) == (one.value, one.low, one.n_pairs)
    of_all = frame[frame["classes"] == "all"]
    assert of_all["n_pairs"].sum() == pair_counts(table, ["q"])["q"]["pairs"].sum()
    assert of_all["value"].is_monotonic_decreasing


def test_confusion_rates_are_the_outer_branches():
    found = headline(planted(0.5))
    assert found.c_coarse.value == pytest.approx(1 - found.a_last.value, abs=1e-14)
    assert found.c_coarse.low == pytest.approx(1 - found.a_last.high, abs=1e-12)
    assert found.c_fine.high < 0.5 > found.c_coarse.high


def test_headline_collects_what_single_functions_give():
    table = planted(0.5)
    result = headline(table, min_depth_px=16)
    assert result.sci == sci(table)
    values = index_values(table, min_depth_px=16)
    for name, one in values.items():
        assert getattr(result, name) == estimate(one)
    assert result.sci_same_class == sci(table, same_class=True)
    both = total = 0
    for _, group in table[table["qualifies"]].groupby("image"):
        for x, y in itertools.product(group.to_dict("records"), repeat=2):
            if y["area_px"] >= 4 * x["area_px"]:
                total += 1
                both += x["part"] == y["part"] == "core"
    assert result.core_pair_share == pytest.approx(both / total, abs=1e-14)
    assert headline(table.assign(qualifies=False)).core_pair_share is None


def test_comparison_is_b_minus_a_per_image():
    a, b = planted(0.2, noise_seed=1), planted(0.7, noise_seed=2)
    found = {one.index: one for one in compare_tables(a, b, min_depth_px=16)}
    one = found["sci"]
    images = sorted(a["image"].unique())
    d = np.array([sci(b[b["image"] == k]).value - sci(a[a["image"] == k]).value for k in images])
    assert one.difference.value == pytest.approx(d.mean(), abs=1e-14)
    assert one.difference.value == pytest.approx(one.b - one.a, abs=1e-14)
    assert one.difference.low < one.difference.value < one.difference.high < 0
    assert one.test.p == sign_flip(images, d).p
    assert one.d_z == pytest.approx(d.mean() / d.std(ddof=1), abs=1e-12)
    assert one.cliffs_delta_b == pytest.approx(1 - 2 * sci(b).value)
    assert one.equivalence.equivalent is False
    assert one.n_unpaired == 0
    assert {k for k, v in found.items() if v.family == "confirmatory"} == INDICES
    p = [v.test.p for v in found.values() if v.family == "confirmatory"]
    adjusted = [v.p_adjusted for v in found.values() if v.family == "confirmatory"]
    assert adjusted == holm(p)
    assert all(v.p_adjusted >= v.test.p for v in found.values())


def test_a_model_is_equivalent_to_itself():
    table = planted(0.5)
    for one in compare_tables(table, table, min_depth_px=16):
        assert (one.difference.value, one.difference.low, one.test.p) == (0, 0, 1)
        assert one.equivalence.equivalent is True
        assert one.d_z is None


def test_causal_indices_join_the_confirmatory_family():
    a, b = planted(0.2), planted(0.6)
    values = pd.DataFrame({"image": a["image"].unique(), "value": 0.5, "pairs": 3})
    extra = {"sci_c": (values, values.assign(value=0.4))}
    found = compare_tables(a, b, min_depth_px=16, confirmatory=extra)
    assert [one.index for one in found if one.family == "confirmatory"][-1] == "sci_c"
    table = comparison_table(found)
    row = table[table["index"] == "sci_c"].iloc[0]
    assert row["difference"] == pytest.approx(-0.1)
    assert row["p_adjusted"] == pytest.approx(5 * row["p"])
    assert len(table) == len(found) == table["index"].nunique()


def test_images_of_one_model_only_are_left_out_and_counted():
    a, b = planted(0.2), planted(0.6)
    one = compare_tables(a[a["image"] > "im04"], b[b["image"] < "im25"], min_depth_px=16)[0]
    assert one.n_unpaired == 10
    assert one.difference.n_images == 20


def test_missing_numbers_have_reasons():
    a, b = planted(0.2, images=6), planted(0.6, images=6)
    few = compare_tables(a, b, min_depth_px=16)
    assert all(one.test.p is None and one.p_adjusted is None for one in few)
    assert all("needs 10" in one.difference.reason for one in few)
    assert few[0].difference.value < 0
    none = compare_tables(a, b.assign(image="other" + b["image"]), min_depth_px=16)
    table = comparison_table(none)
    assert table["a"].isna().all()
    assert table["reason"].str.contains("not estimated").all()
    nothing = pd.DataFrame({"image": [], "value": [], "pairs": []})
    assert compare_values("x", nothing, nothing).difference.value is None


def around(value, half=0.02):
    return Estimate(value, value - half, value + half, 50, 500)


FEW = Estimate(0.3, None, None, 5, 50, "5 independent images, an interval needs 10")


@pytest.mark.parametrize(
    ("index", "draws", "first", "last", "states"),
    [
        (0.2, [0.4] * 5, 0.3, 0.7, "holds holds holds"),
        (0.42, [0.5] * 5, 0.3, 0.7, "fails holds holds"),
        (0.3, [0.5, 0.5, 0.31, 0.5, 0.5], 0.3, 0.7, "holds fails holds"),
        (0.3, [0.5] * 4, 0.3, 0.7, "holds notjudged holds"),
        (0.2, [0.4] * 5, 0.49, 0.7, "holds holds fails"),
        (0.2, [0.4] * 5, 0.3, 0.51, "holds holds fails"),
        (0.2, [0.4] * 5, 0.7, 0.3, "holds holds fails"),
    ],
)
def test_each_condition_decides_alone(index, draws, first, last, states):
    verdict = strict_verdict(around(index), draws, around(first), around(last))
    assert [c.state.replace(" ", "") for c in verdict.conditions] == states.split()
    if "fails" in states:
        assert verdict.state == "fails"
        assert "not make it confused" in verdict.words
        for state in ("holds", "fails"):
            names = [c.name for c in verdict.conditions if c.state == state]
            assert f"{state}: {', '.join(names)}" in verdict.words
    else:
        assert verdict.state == ("not judged" if "not" in states else "holds")
    if verdict.state == "holds":
        assert verdict.words.startswith("Scale-aware in the strict sense")
    assert all(c.why for c in verdict.conditions)


def test_values_without_intervals_are_not_judged():
    verdict = strict_verdict(FEW, [0.4] * 5, FEW, around(0.7))
    assert [c.state for c in verdict.conditions] == ["not judged"] * 3
    assert "needs 10" in verdict.cross_over.why
    assert "could not be judged (not judged: interval" in verdict.words
    mixed = strict_verdict(around(0.2), [0.4], around(0.3), around(0.7))
    assert mixed.words.endswith(
        "(holds: interval of SCI below 0.43, cross-over at matched resolution; "
        "not judged: interval of SCI below random weights)."
    )
    nothing = replace(FEW, value=None, reason="not estimated: no image has a pair")
    why = strict_verdict(nothing, [], FEW, FEW).below_false_signal.why
    assert why == "SCI has no interval: no image has a pair"
    assert strict_verdict(around(0.5), [], FEW, FEW).state == "fails"


def test_planted_awareness_is_found_and_chance_is_not():
    aware, chance = planted(0.8), planted(0.0)
    for table, state in ((aware, "holds"), (chance, "fails")):
        h = headline(table, min_depth_px=16)
        assert strict_verdict(h.sci, [0.45] * 5, h.a_first_matched, h.a_last).state == state


def test_inscribed_sizes_make_other_pairs():
    table = planted(0.5, images=5)
    depth = table["max_distance_px"] ** 2
    counts = pair_counts(table.assign(area_px=np.rint(depth).astype(int)), ["q"])["q"]
    pd.testing.assert_frame_equal(pair_counts(table, ["q"], size="inscribed")["q"], counts)


def test_specifications_filter_regions():
    table = planted(0.5, images=5)
    for one, kept in (
        (Specification(min_area_px=256), table["qualifies"] & (table["area_px"] >= 256)),
        (Specification(inside=True), table["qualifies"] & ~table["border"]),
        (Specification(pure=True), table["qualifies"] & (table["purity_3"] > 0.5)),
        (Specification(min_area_px=16), table["area_px"] >= 16),
        (Specification(), table["qualifies"]),
    ):
        expected = pair_counts(table.assign(qualifies=kept), ["q"])["q"]["pairs"]
        assert specified_values(table, one)["pairs"].tolist() == expected.tolist()


def test_curve_counts_signs_like_the_headline():
    values = pd.DataFrame({"image": [f"im{i:02d}" for i in range(12)], "value": 0.5, "pairs": 2})
    few = values.iloc[:0]
    curve = specification_curve(
        [
            ({"gap": 1}, values, values.assign(value=0.4)),
            ({"gap": 2}, values, values.assign(value=0.3)),
            ({"gap": 3}, values, values.assign(value=0.6)),
            ({"gap": 4}, values, values),
            ({"gap": 5}, few, few),
        ]
    )
    assert (curve.same_sign, curve.estimated) == (0.5, 4)
    assert curve.table["difference"].tolist()[:4] == pytest.approx([-0.1, -0.2, 0.1, 0])
    assert "not estimated" in curve.table["reason"].iloc[4]
    nothing = specification_curve([({}, values, values), ({}, values, values.assign(value=0))])
    assert nothing.same_sign is None
    assert "is 0" in nothing.reason
    assert "not estimated" in specification_curve([({}, few, few)]).reason
    with pytest.raises(GstoVizError, match="headline's first"):
        specification_curve([])


def test_curve_of_planted_models_never_turns():
    chosen = [one for one in default_specifications() if one.min_area_px == 64]
    curve = table_curve(planted(0.1), planted(0.8), specifications=chosen)
    assert curve.estimated == len(chosen) == 15
    assert curve.same_sign == 1.0
    assert default_specifications()[0] == Specification()
    assert len(set(default_specifications())) == len(default_specifications())
