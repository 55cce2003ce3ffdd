"""SCI_C against a literal loop over pairs, planted truth, and its invariances."""

import itertools

import numpy as np
import pandas as pd
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.stats import causal_coarseness, sci_c, sci_c_values

STRIDES = (4, 8, 16, 32)


def planted(tuning, images=40, regions=12, noise=1.0, seed=0):
    """Contributions that follow size: branch r gains tuning * lambda_r per octave, plus noise."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(images):
        octave = rng.uniform(3, 8, regions)
        for k, size in enumerate(octave):
            psi = tuning * (size - 5.5) * np.array([-1.5, -0.5, 0.5, 1.5])
            psi = (psi + noise * rng.normal(size=4)) * np.array([1, 10, 3, 0.1]) + 5
            rows.append(
                {
                    "image": f"i{i}",
                    "region": k + 1,
                    "class_id": int(rng.integers(3)),
                    "area_px": round(4**size),
                    "size_octave": size,
                    "max_distance_px": 9.0,
                    "qualifies": bool(rng.random() < 0.9),
                    **{f"psi_{r}": psi[r] for r in range(4)},
                }
            )
    return pd.DataFrame(rows)


def by_hand(table):
    good = table[table["qualifies"]]
    spread = [np.std(good[f"psi_{r}"].to_numpy()) for r in range(4)]
    per_image = {}
    for image, group in good.groupby("image"):
        regions = group.to_dict("records")
        wrong = []
        for x, y in itertools.permutations(regions, 2):
            if y["area_px"] < 4 * x["area_px"]:
                continue
            q = [sum((r - 1.5) * o[f"psi_{r}"] / spread[r] for r in range(4)) for o in (x, y)]
            wrong.append(float(q[1] < q[0]))
        if wrong:
            per_image[image] = np.mean(wrong)
    return per_image


def test_values_are_those_of_a_loop_over_pairs():
    table = planted(0.3)
    expected = by_hand(table)
    found = sci_c_values(table, STRIDES)
    assert found["image"].tolist() == sorted(expected)
    np.testing.assert_allclose(found["value"], [expected[i] for i in sorted(expected)])
    assert sci_c(table, STRIDES).value == pytest.approx(np.mean(list(expected.values())))


@pytest.mark.parametrize(("tuning", "low", "high"), [(3, 0, 0.1), (0, 0.45, 0.55), (-3, 0.9, 1)])
def test_aware_chance_and_reversed(tuning, low, high):
    estimate = sci_c(planted(tuning, images=150), STRIDES)
    assert low <= estimate.value <= high
    assert estimate.low <= estimate.value <= estimate.high


def test_gains_and_offsets_of_branches_change_nothing():
    table = planted(0.3)
    before = sci_c(table, STRIDES)
    gains = {f"psi_{r}": table[f"psi_{r}"] * 10.0 ** (r - 2) - r for r in range(4)}
    assert sci_c(table.assign(**gains), STRIDES) == before


def test_shards_and_unknown_contributions():
    table = planted(0.5)
    whole = causal_coarseness(table, STRIDES)
    parts = [part for _, part in table.groupby("image")]
    pd.testing.assert_frame_equal(causal_coarseness(parts[::-1] + parts[:2], STRIDES), whole)
    table.loc[3, "psi_1"] = np.nan
    holes = causal_coarseness(table, STRIDES)
    assert holes["q_c"].isna().sum() == 1
    assert sci_c(table, STRIDES).n_images == 40


def test_a_branch_that_never_varies_has_no_say():
    table = planted(0.5)
    constant = table.assign(psi_2=7.0)
    values = table[table["qualifies"]]
    expected = sum(
        (r - 1.5) * table[f"psi_{r}"] / np.std(values[f"psi_{r}"].to_numpy()) for r in (0, 1, 3)
    )
    order = causal_coarseness(constant, STRIDES)
    found = order.set_index(["image", "region"])["q_c"]
    expected.index = pd.MultiIndex.from_frame(table[["image", "region"]])
    np.testing.assert_allclose(found, expected.reindex(found.index))


def test_shares_and_errors():
    table = planted(0.5)
    shares = table.rename(columns={f"psi_{r}": f"phi_{r}" for r in range(4)})
    assert sci_c(shares, STRIDES, response="phi") == sci_c(table, STRIDES)
    with pytest.raises(GstoVizError, match="3 strides for 4 branches"):
        sci_c(table, (4, 8, 16))
    with pytest.raises(GstoVizError, match="lacks size_octave"):
        sci_c(table.drop(columns="size_octave"), STRIDES)
    with pytest.raises(GstoVizError, match="no columns phi_0"):
        sci_c(table, STRIDES, response="phi")
    few = sci_c(planted(1, images=3), STRIDES)
    assert few.value is not None
    assert few.low is None
    assert "3 independent images" in few.reason
