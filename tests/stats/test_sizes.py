"""Responses by size octave against loops over plain lists, and what the bootstrap promises."""

import numpy as np
import pandas as pd
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.stats import Images, image_mean_interval, poisson_weights, response_by_octave, stream


def planted(images, seed=0, branches=4):
    """A table of random regions; three of ten do not qualify."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(images):
        for region in range(1, rng.integers(2, 9)):
            area = int(4.0 ** rng.uniform(3, 8))
            row = {"image": f"im{i}", "region": region, "size_octave": 0.5 * np.log2(area)}
            row["area_px"] = area
            row["qualifies"] = bool(rng.random() < 0.7)
            row |= {f"z_{r}": rng.random() for r in range(branches)}
            rows.append(row)
    return pd.DataFrame(rows)


def test_means_weigh_objects_then_images():
    table = planted(15)
    result = response_by_octave(table)
    seen = 0
    for row in result.to_dict("records"):
        per_image = {}
        for region in table.to_dict("records"):
            inside = 4 ** row["octave"] <= region["area_px"] < 4 ** (row["octave"] + 1)
            if inside and region["qualifies"]:
                per_image.setdefault(region["image"], []).append(region[f"z_{row['branch']}"])
        assert row["n_images"] == len(per_image) > 0
        assert row["n_regions"] == sum(map(len, per_image.values()))
        means = [sum(values) / len(values) for values in per_image.values()]
        assert row["mean"] == pytest.approx(sum(means) / len(means), abs=1e-14)
        assert row["stride"] == (4, 8, 16, 32)[row["branch"]]
        if row["n_images"] < 10:
            assert np.isnan([row["low"], row["high"]]).all()
            assert f"{row['n_images']} independent images" in row["reason"]
        else:
            assert row["low"] <= row["mean"] <= row["high"]
            assert pd.isna(row["reason"])
        seen += row["n_regions"]
    assert seen == 4 * table["qualifies"].sum()
    assert not result.duplicated(["branch", "octave"]).any()


def test_octave_bins_are_closed_below():
    table = pd.DataFrame(
        {
            "image": "a",
            "region": [1, 2, 3, 4],
            "size_octave": 0.5 * np.log2([64, 255, 256, 1023]),
            "qualifies": True,
            "z_0": [0.1, 0.3, 0.5, 0.7],
        }
    )
    result = response_by_octave(table, strides=(4,))
    assert result[["octave", "mean", "n_regions"]].to_numpy().tolist() == [[3, 0.2, 2], [4, 0.6, 2]]


def test_order_and_repeated_shards_change_nothing():
    table = planted(24, 3)
    images = [group for _, group in table.groupby("image")]
    whole = response_by_octave(table)
    pd.testing.assert_frame_equal(whole, response_by_octave(images[::-1]))
    pd.testing.assert_frame_equal(whole, response_by_octave([*images[5:], *images[:9]]))
    shuffled = table.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(whole, response_by_octave(shuffled))


def test_interval_covers_as_an_interval_of_means_should():
    images = 40
    rng = np.random.default_rng(5)
    table = pd.DataFrame(
        {
            "image": [f"im{i}" for i in range(images)],
            "region": 1,
            "size_octave": 5.0,
            "qualifies": True,
            "z_0": rng.random(images),
        }
    )
    row = response_by_octave(table, strides=(4,)).iloc[0]
    half = 1.96 * table["z_0"].std() / np.sqrt(images)
    assert row["high"] - row["low"] == pytest.approx(2 * half, rel=0.12)
    other = response_by_octave(table, strides=(4,), images=Images(seed=1)).iloc[0]
    assert other["mean"] == row["mean"]
    assert other["low"] != row["low"]


def test_clusters_decide_about_the_interval():
    table = planted(40, 6)
    blocks = {f"im{i}": f"block{i // 5}" for i in range(40)}
    result = response_by_octave(table, images=Images(blocks))
    assert result["low"].isna().all()
    assert result["reason"].str.contains("independent images").all()
    alone = response_by_octave(table)
    pd.testing.assert_series_equal(result["mean"], alone["mean"])


def test_interval_is_a_loop_over_replicates_of_unequal_clusters():
    rng = np.random.default_rng(4)
    images = [f"im{i}" for i in range(30)]
    values = rng.random((30, 2)) + np.arange(30)[:, None] / 10
    block_of = {image: f"block{min(i, 11)}" for i, image in enumerate(images)}
    low, high, reason = image_mean_interval(images, values, Images(block_of))
    blocks = sorted(set(block_of.values()))
    draws = []
    for weights in poisson_weights(blocks).T.tolist():
        repeated = []
        for image, value in zip(images, values, strict=True):
            repeated += [value] * weights[blocks.index(block_of[image])]
        draws.append(np.mean(repeated, axis=0))
    np.testing.assert_allclose(low, np.quantile(draws, 0.025, axis=0), rtol=1e-12)
    np.testing.assert_allclose(high, np.quantile(draws, 0.975, axis=0), rtol=1e-12)
    assert reason is None


def test_nothing_that_qualifies_gives_an_empty_table():
    table = planted(3).assign(qualifies=False)
    result = response_by_octave(table)
    assert len(result) == 0
    assert list(result.columns) == list(response_by_octave(planted(3)).columns)


def test_other_responses_skip_nulls():
    table = planted(4, branches=2).rename(columns={"z_0": "z_core_0", "z_1": "z_core_1"})
    table["qualifies"] = True
    table.loc[0, "z_core_0"] = np.nan
    result = response_by_octave(table, strides=(4, 8), response="z_core")
    assert result["n_regions"].sum() == 2 * (len(table) - 1)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda t: response_by_octave(t, strides=(4, 8)), "2 strides for 4 branches"),
        (lambda t: response_by_octave(t, response="y"), "no columns y_0"),
        (lambda t: response_by_octave(t.drop(columns="qualifies")), "lacks qualifies"),
        (lambda t: response_by_octave([]), "no columns"),
        (lambda t: response_by_octave([t, t.assign(z_0=0.5)]), "two different rows for region 1"),
    ],
)
def test_wrong_tables_are_named(call, match):
    with pytest.raises(GstoVizError, match=match):
        call(planted(3))


def test_poisson_weights_depend_on_the_name_only():
    weights = poisson_weights([f"c{i}" for i in range(30)], replicates=4000)
    assert weights.mean() == pytest.approx(1, abs=0.01)
    assert weights.var() == pytest.approx(1, abs=0.03)
    fewer = poisson_weights(["c7", "c3", *[f"d{i}" for i in range(28)]], replicates=4000)
    same = weights[[7, 3]] == fewer[:2]
    assert same.mean() > 0.999


def test_replicates_without_weight_are_drawn_again():
    weights = poisson_weights(["a", "b"], replicates=3000)
    assert (weights.sum(axis=0) > 0).all()
    # Poisson(2) given that it is not 0 has the mean 2 / (1 - e^-2).
    assert weights.sum(axis=0).mean() == pytest.approx(2 / (1 - np.exp(-2)), abs=0.08)


def test_weights_are_drawn_from_the_streams_of_the_names_however_often_they_are_asked_for():
    names = ["a", "b"]
    streams = [stream(3, name) for name in names]
    expected = np.array([stream.poisson(1.0, 500) for stream in streams])
    while not expected.sum(axis=0).all():
        empty = expected.sum(axis=0) == 0
        expected[:, empty] = [stream.poisson(1.0, empty.sum()) for stream in streams]
    for _ in range(2):
        weights = poisson_weights(names, 500, seed=3)
        np.testing.assert_array_equal(weights, expected)
        weights[:] = 0  # a caller's own copy
    np.testing.assert_array_equal(poisson_weights(names[:1], 500, seed=3) > 0, True)
