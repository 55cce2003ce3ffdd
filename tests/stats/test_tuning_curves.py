"""Tuning curves and trends against loops, a planted law, and a pedestal that must not matter."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from gsto_viz.errors import GstoVizError
from gsto_viz.stats import Images, response_by_octave, scale_interaction, size_trend, tuning
from gsto_viz.stats.sizes import octave_means, size_trend_values, tracking_slope, tuning_centers

STRIDES = (4, 8, 16, 32)


def planted(images=40, seed=0, pedestal=0.0, noise=0.0, order=(4.0, 5.0, 6.0, 7.0)):
    """Branch r answers with a Gaussian around order[r] octaves, 0.9 octaves wide."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(images):
        for region in range(1, rng.integers(10, 18)):
            area = int(4.0 ** rng.uniform(3, 8))
            size = 0.5 * np.log2(area)
            row = {"image": f"im{i:02d}", "region": region, "size_octave": size, "area_px": area}
            row["qualifies"] = bool(rng.random() < 0.9)
            for r, center in enumerate(order):
                tuned = np.exp(-((size - center) ** 2) / (2 * 0.9**2))
                row[f"z_{r}"] = 0.2 * tuned + pedestal + noise * rng.random()
            rows.append(row)
    return pd.DataFrame(rows)


def test_the_matrix_is_that_of_the_responses_by_octave():
    table = planted(noise=0.3)
    result = tuning(table)
    other = response_by_octave(table)
    for r in range(4):
        for b, octave in enumerate(result.octaves):
            row = other[(other["branch"] == r) & (other["octave"] == octave)].iloc[0]
            assert result.matrix[r, b] == pytest.approx(row["mean"], abs=1e-14)
            assert result.n_images[b] == row["n_images"] >= 30
    expected = scale_interaction(result.matrix, STRIDES, result.octaves)
    assert result.sic.value == pytest.approx(expected, abs=1e-14)
    assert result.sic.low <= result.sic.value <= result.sic.high


def test_centers_are_literal_sums():
    table = planted(noise=0.3)
    result = tuning(table)
    centers = []
    for r in range(4):
        row = result.matrix[r].tolist()
        weights = [value - min(row) for value in row]
        middles = [octave + 0.5 for octave in result.octaves]
        centers.append(sum(w * c for w, c in zip(weights, middles, strict=True)) / sum(weights))
        assert result.centers[r].value == pytest.approx(centers[r], abs=1e-12)
        kept = table[table["qualifies"]]
        direct = (kept[f"z_{r}"] * kept["size_octave"]).sum() / kept[f"z_{r}"].sum()
        assert result.direct_centers[r].value == pytest.approx(direct, abs=1e-12)
    assert result.span.value == pytest.approx(centers[3] - centers[0], abs=1e-12)
    assert result.slope.value == pytest.approx(np.polyfit(range(4), centers, 1)[0], abs=1e-12)
    for one in (*result.centers, result.span, result.slope, *result.direct_centers):
        assert one.low <= one.value <= one.high
        assert one.n_images == 40


def test_a_pedestal_moves_direct_centers_and_no_others():
    bare, raised = tuning(planted()), tuning(planted(pedestal=0.5))
    assert raised.span.value == pytest.approx(bare.span.value, abs=1e-9)
    assert raised.slope.high == pytest.approx(bare.slope.high, abs=1e-9)
    assert raised.direct_span.value < 0.5 * bare.direct_span.value
    table = planted()
    table = table[table["qualifies"]]
    of_branch = [
        ((table[f"z_{r}"] + 0.5) * table["size_octave"]).sum() / (table[f"z_{r}"] + 0.5).sum()
        for r in (0, 3)
    ]
    assert raised.direct_span.value == pytest.approx(of_branch[1] - of_branch[0], abs=1e-9)


def test_tuned_reversed_and_untuned():
    aware = tuning(planted(noise=0.1))
    assert aware.span.low > 1
    assert aware.slope.low > 0.3
    assert aware.sic.low > 0.7
    turned = tuning(planted(noise=0.1, order=(7.0, 6.0, 5.0, 4.0)))
    assert turned.span.high < -1
    assert turned.sic.high < -0.7
    same = tuning(planted(images=60, noise=0.1, order=(5.5,) * 4))
    assert same.span.low < 0 < same.span.high
    assert same.slope.low < 0 < same.slope.high
    assert abs(same.direct_span.value) < 0.05


def test_octaves_of_few_images_are_left_out():
    table = planted(60)
    rare = table["image"].isin(sorted(table["image"].unique())[31:])
    table.loc[(table["size_octave"] >= 7) & rare, "qualifies"] = False
    seen = octave_means(table)
    counts = dict(zip(seen.octaves, (seen.regions > 0).sum(axis=0), strict=True))
    assert 0 < counts[7] < 32
    result = tuning(table, min_images=int(counts[7]) + 1)
    assert set(seen.octaves) - set(result.octaves) == {7}
    alone = tuning(table[table["image"] < "im08"])
    assert alone.span.value is None
    assert "tuning needs 2" in alone.span.reason
    assert alone.direct_span.value is not None
    assert alone.direct_span.low is None


def test_flat_branches_have_no_center():
    table = planted().assign(z_1=0.5)
    result = tuning(table)
    assert result.centers[1].value is None
    assert "all sizes alike" in result.centers[1].reason
    assert result.slope.value is None
    assert result.centers[0].value is not None
    assert np.isnan(tuning_centers(np.full((2, 3), 0.3), (3, 4, 5))).all()
    assert tracking_slope([4.0, 5.0, 6.0], (4, 8, 16)) == pytest.approx(1)


def test_few_clusters_have_values_only():
    table = planted()
    blocks = {name: f"b{int(name[2:]) // 5}" for name in table["image"].unique()}
    result = tuning(table, images=Images(blocks))
    assert result.span.value == tuning(table).span.value
    assert result.span.low is None
    assert "independent images" in result.span.reason


def test_shards_and_order_change_nothing():
    images = [group for _, group in planted(noise=0.2).groupby("image")]
    whole = tuning(images)
    for other in (tuning(images[::-1]), tuning([*images[7:], *images[:12]])):
        assert (other.matrix == whole.matrix).all()
        assert other.span == whole.span
        assert other.direct_centers == whole.direct_centers


def test_wrong_strides_are_named():
    with pytest.raises(GstoVizError, match="2 strides for 4 branches"):
        tuning(planted(3), strides=(4, 8))


def test_trends_are_those_of_each_image():
    table = planted(14, noise=0.3)
    values = size_trend_values(table)
    for row in values.to_dict("records"):
        group = table[(table["image"] == row["image"]) & table["qualifies"]]
        x, y = group["size_octave"].to_numpy(), group["z_2"].to_numpy()
        slopes = [
            (y[j] - y[i]) / (x[j] - x[i]) for i in range(len(x)) for j in range(i) if x[i] != x[j]
        ]
        assert row["slope_2"] == pytest.approx(np.median(slopes), abs=1e-12)
        rho = scipy.stats.spearmanr(x, y).statistic
        assert row["spearman_2"] == pytest.approx(rho, abs=1e-12)
        assert row["regions"] == len(group)
    result = size_trend(table)
    assert result["slope"].tolist() == pytest.approx(
        [values[f"slope_{r}"].mean() for r in range(4)], abs=1e-14
    )
    assert (result["spearman_low"] <= result["spearman"]).all()
    assert result["slope"].iloc[3] > 0 > result["slope"].iloc[0]
    assert result["reason"].isna().all()


def test_trends_need_three_regions_of_two_sizes():
    table = planted(3).groupby("image").head(2)
    result = size_trend(table)
    assert result[["slope", "spearman"]].isna().all(axis=None)
    assert result["reason"].str.contains("not estimated").all()
    few = size_trend(planted(4).assign(z_0=0.5))
    assert few["spearman"].iloc[0] == 0
    assert few["slope_low"].isna().all()
    assert few["reason"].str.contains("needs 10").all()
