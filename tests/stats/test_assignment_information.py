"""Assignment information: analytic values, its blindness to order, its bias, its null."""

import numpy as np
import pandas as pd
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.stats import assignment
from gsto_viz.stats.information import assign_branches, information_share, mean_bin_error


def regions(images, choose, seed=0, per_image=8):
    """Regions of four sizes; ``choose(bin, rng)`` says which branch answers most."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(images):
        for region in range(1, per_image + 1):
            size_bin = int(rng.integers(4))
            z = rng.random(4) * 0.1
            z[choose(size_bin, rng)] = 0.9
            rows.append(
                {
                    "image": f"im{i:03d}",
                    "region": region,
                    "size_octave": 3.5 + size_bin + rng.uniform(-0.4, 0.4),
                    "qualifies": True,
                }
                | {f"z_{r}": z[r] for r in range(4)}
            )
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("kappa", "expected"), [(0.0, 1.0), (0.5, 0.226), (1.0, 0.0)])
def test_planted_assignment_has_the_analytic_share(kappa, expected):
    joint = 1e6 * ((1 - kappa) * np.eye(4) + kappa / 4)
    assert information_share(joint) == pytest.approx(expected, abs=0.0005)
    assert information_share(joint, corrected=False) == pytest.approx(expected, abs=0.0005)


def test_share_is_a_literal_sum_over_cells():
    counts = np.random.default_rng(0).integers(0, 9, (4, 3))
    p = counts / counts.sum()
    information = 0.0
    for b in range(4):
        for r in range(3):
            if p[b, r] > 0:
                information += p[b, r] * np.log(p[b, r] / p[b].sum() / p[:, r].sum())
    entropy = -sum(x * np.log(x) for x in p.sum(axis=1))
    plain = information_share(counts, corrected=False)
    assert plain == pytest.approx(information / entropy, abs=1e-12)
    extra = (4 + 3 - (counts > 0).sum() - 1) / (2 * counts.sum())
    assert information_share(counts) == pytest.approx((information + extra) / entropy, abs=1e-12)


def test_miller_and_madow_remove_the_bias_of_small_samples():
    rng = np.random.default_rng(1)
    of_bin = [rng.multinomial(regions, np.full(4, 0.25), 4000) for regions in (13, 12, 13, 12)]
    tables = np.stack(of_bin, axis=1)
    plain = 1 - information_share(tables, corrected=False)
    assert plain.mean() < 0.94
    assert (1 - information_share(tables)).mean() == pytest.approx(1, abs=0.015)
    larger = np.stack([rng.multinomial(50, np.full(4, 0.25), 4000) for _ in range(4)], axis=1)
    assert (1 - information_share(larger)).mean() == pytest.approx(1, abs=0.002)


def test_information_does_not_see_order_and_the_error_does():
    aware = assignment(regions(40, lambda b, rng: b), draws=20)
    turned = assignment(regions(40, lambda b, rng: 3 - b), draws=20)
    assert turned.one_minus_u.value == pytest.approx(aware.one_minus_u.value, abs=1e-12)
    assert aware.one_minus_u.value < 0.2
    assert aware.bin_error.value < 0.15
    assert turned.bin_error.value > 1.7
    assert (aware.counts == turned.counts[:, ::-1]).all()


def test_chance_lies_in_its_null_and_tuning_outside():
    chance = assignment(regions(60, lambda b, rng: rng.integers(4)), draws=60)
    assert chance.null_one_minus_u.low <= chance.one_minus_u.value <= chance.null_one_minus_u.high
    assert chance.null_one_minus_u.mean == pytest.approx(1, abs=0.01)
    assert chance.null_bin_error.mean == pytest.approx(1.25, abs=0.05)
    half = assignment(
        regions(60, lambda b, rng: b if rng.random() < 0.5 else rng.integers(4)), draws=60
    )
    assert half.one_minus_u.high < half.null_one_minus_u.low
    assert half.one_minus_u.low < 1 - 0.226 < half.one_minus_u.high
    assert half.bin_error.high < half.null_bin_error.low
    assert half.null_bin_error.draws == 60


def test_assignment_is_a_loop_over_regions():
    table = regions(12, lambda b, rng: rng.integers(4), seed=3)
    table.loc[::5, "qualifies"] = False
    kept = table[table["qualifies"]]
    mean = {r: kept[f"z_{r}"].mean() for r in range(4)}
    sd = {r: kept[f"z_{r}"].std(ddof=0) for r in range(4)}
    edges = np.quantile(kept["size_octave"], [0.25, 0.5, 0.75])
    counts, errors = np.zeros((4, 4), int), []
    for row in kept.to_dict("records"):
        scores = [(row[f"z_{r}"] - mean[r]) / sd[r] for r in range(4)]
        size_bin = sum(row["size_octave"] >= edge for edge in edges)
        counts[size_bin, scores.index(max(scores))] += 1
        errors.append(abs(size_bin - scores.index(max(scores))))
    result = assignment(table, draws=0)
    assert (result.counts == counts).all()
    assert result.bin_error.value == pytest.approx(np.mean(errors), abs=1e-12)
    assert result.one_minus_u.value == pytest.approx(1 - information_share(counts), abs=1e-12)
    assert result.one_minus_u.n_pairs == len(kept)
    assert result.null_one_minus_u is None


def test_shards_and_order_change_nothing():
    table = regions(15, lambda b, rng: rng.integers(4))
    images = [group for _, group in table.groupby("image")]
    whole, other = assignment(images, draws=5), assignment([*images[3:], *images[:6]], draws=5)
    assert (whole.counts == other.counts).all()
    assert (whole.one_minus_u, whole.bin_error) == (other.one_minus_u, other.bin_error)
    assert whole.null_bin_error == other.null_bin_error


def test_conditions():
    table = regions(15, lambda b, rng: b)
    more = assignment(table, bins=6, draws=3)
    assert more.counts.shape == (6, 4)
    assert more.bin_error.value is None
    assert "6 bins for 4 branches" in more.bin_error.reason
    assert more.null_bin_error is None
    few = assignment(table[table["image"] < "im005"], draws=0)
    assert few.one_minus_u.value is not None
    assert few.one_minus_u.low is None
    assert "needs 10" in few.one_minus_u.reason
    same = assignment(table.assign(size_octave=5.0), draws=2)
    assert same.one_minus_u.value is None
    assert "one size bin" in same.one_minus_u.reason
    nothing = assignment(table.assign(qualifies=False), draws=2)
    assert nothing.one_minus_u.value is None
    assert "no region" in nothing.one_minus_u.reason
    with pytest.raises(GstoVizError, match="two of each"):
        assign_branches(table, bins=1)
    assert np.isnan(mean_bin_error(np.zeros((4, 4))))
