"""Boundary counts against loops over pixels, and areas under the curve against pairs."""

import math
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from gsto_viz.activity import percentile_map, valid_cells
from gsto_viz.errors import GstoVizError
from gsto_viz.regions import find_regions
from gsto_viz.stats import (
    DISTANCES,
    SIZES,
    boundary_counts,
    boundary_pixels,
    distance_profile,
    edge_values,
    estimate,
)
from gsto_viz.stats.boundary import GROUPS, merge_counts
from gsto_viz.stats.sizes import histogram_auc

STRIDES = (4, 16)


def scene(seed, height=150, width=170):
    """A large square, a middle one, small ones and an ignored strip."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((height, width), np.uint8)
    labels[20:130, 10:120] = 1
    labels[60:100, 125:165] = 2
    for _ in range(4):
        y, x = rng.integers(0, height - 12), rng.integers(0, width - 12)
        labels[y : y + rng.integers(3, 12), x : x + 10] = 3
    labels[:7, 100:] = 255
    return labels


def maps_of(labels, seed):
    rng = np.random.default_rng(seed)
    height, width = labels.shape
    activity = [rng.random((-(-height // s), -(-width // s))) + 0.1 for s in STRIDES]
    ranked = [
        percentile_map(a, valid_cells(labels, s)) for a, s in zip(activity, STRIDES, strict=True)
    ]
    return activity, ranked


def group_of(regions, k, d):
    big = regions.coco_bin[k]
    if not regions.qualifies[k]:
        return "other"
    if big == "small":
        return "small"
    if d <= 8:
        return "band"
    return "core" if big == "large" else "other"


def known_pixels(regions):
    for (y, x), number in np.ndenumerate(regions.ids):
        if number > 0:
            yield y, x, number - 1, regions.distance_px[y, x]


def literal_pixels(regions, activity, ranked):
    """Histograms, profile and energies by a loop over pixels."""
    pixels = np.zeros((2, 4, 256), int)
    sums, counts = np.zeros((2, SIZES, DISTANCES)), np.zeros((2, SIZES, DISTANCES), int)
    energy, energy_n = np.zeros((2, 2)), np.zeros((2, 2), int)
    has_core = [(regions.distance_px[regions.ids == k + 1] > 8).any() for k in range(len(regions))]
    for y, x, k, d in known_pixels(regions):
        for r, stride in enumerate(STRIDES):
            u = ranked[r][y // stride, x // stride]
            if np.isnan(u):
                continue
            group = GROUPS.index(group_of(regions, k, d))
            pixels[r, group, math.floor(u * 256)] += 1
            if not regions.qualifies[k]:
                continue
            place = r, int(regions.size_octave[k]), math.floor(math.log2(d))
            sums[place] += u
            counts[place] += 1
            if has_core[k]:
                energy[r, int(d > 8)] += activity[r][y // stride, x // stride] ** 2
                energy_n[r, int(d > 8)] += 1
    return pixels, sums, counts, energy, energy_n


def literal_cells(regions, ranked):
    cells = np.zeros((2, 2, 256), int)
    for r, stride in enumerate(STRIDES):
        core = np.zeros(ranked[r].shape, int)
        for y, x, k, d in known_pixels(regions):
            core[y // stride, x // stride] += group_of(regions, k, d) == "core"
        for (i, j), u in np.ndenumerate(ranked[r]):
            tile = regions.ids[i * stride : (i + 1) * stride, j * stride : (j + 1) * stride]
            if not np.isnan(u):
                cells[r, int(core[i, j] > tile.size / 2), math.floor(u * 256)] += 1
    return cells


def test_counts_are_loops_over_pixels():
    labels = scene(0, 110, 130)
    activity, ranked = maps_of(labels, 1)
    regions = find_regions(labels)
    result = boundary_counts("a", boundary_pixels(regions, STRIDES), ranked, activity)
    pixels, sums, counts, energy, energy_n = literal_pixels(regions, activity, ranked)
    cells = literal_cells(regions, ranked)
    assert (result.pixels == pixels).all()
    assert (result.pixels.sum(axis=2) > 0).all()
    assert (result.cells == cells).all()
    assert (result.cells.sum(axis=2) > 0).all()
    assert (result.profile_pixels == counts).all()
    np.testing.assert_allclose(result.profile_sum, sums, rtol=1e-12)
    assert (result.energy_pixels == energy_n).all()
    np.testing.assert_allclose(result.energy_sum, energy, rtol=1e-12)


def test_networks_share_the_sorted_pixels():
    labels = scene(1, 110, 130)
    regions = find_regions(labels)
    pixels = boundary_pixels(regions, STRIDES)
    for seed in range(2):
        activity, ranked = maps_of(labels, seed)
        shared = boundary_counts("a", pixels, ranked, activity)
        alone = boundary_counts("a", boundary_pixels(regions, STRIDES), ranked, activity)
        for field in fields(shared):
            np.testing.assert_array_equal(
                getattr(shared, field.name), getattr(alone, field.name), err_msg=field.name
            )


def test_distances_at_the_edges_of_octaves_and_of_everything():
    labels = np.zeros((90, 90), np.uint8)
    labels[40:, :] = 255
    activity, ranked = maps_of(labels, 3)
    counts = boundary_counts("a", boundary_pixels(find_regions(labels), STRIDES), ranked, activity)
    expected = np.zeros(DISTANCES, int)
    for d in range(1, 41):  # rows of 90 px
        expected[math.floor(math.log2(d))] += 90
    assert counts.profile_pixels[0, 5].tolist() == expected.tolist()
    assert counts.energy_pixels[0].tolist() == [8 * 90, 32 * 90]
    whole = np.zeros((64, 64), np.uint8)  # the border bounds nothing: infinitely deep
    activity, ranked = maps_of(whole, 3)
    counts = boundary_counts("a", boundary_pixels(find_regions(whole), STRIDES), ranked, activity)
    assert counts.profile_pixels[0, 6, DISTANCES - 1] == 64 * 64
    assert counts.energy_pixels[0].tolist() == [0, 64 * 64]


def test_auc_of_histograms_counts_pairs():
    rng = np.random.default_rng(2)
    negative, positive = rng.integers(0, 20, 40), rng.integers(6, 30, 50)
    auc = histogram_auc(np.bincount(negative, minlength=32), np.bincount(positive, minlength=32))
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert auc == pytest.approx(np.mean(pairs), abs=1e-14)
    u = scipy.stats.mannwhitneyu(positive, negative).statistic
    assert auc == pytest.approx(u / (40 * 50), abs=1e-12)
    assert histogram_auc(np.zeros(4, int), np.ones(4, int)) is None


def planted(sign, images=12, noise=0.0):
    """Fine branch = edges and small regions, coarse branch = large interiors, times ``sign``."""
    counts = []
    for i in range(images):
        labels = scene(i)
        regions = find_regions(labels)
        large = np.append(regions.coco_bin == "large", False)[regions.ids - 1]
        deep = (regions.distance_px > 8) & large
        rng = np.random.default_rng(i)
        activity, ranked = [], []
        for stride, wanted in ((4, ~deep), (16, deep)):
            tiles = np.array(
                [
                    [
                        wanted[y : y + stride, x : x + stride].mean()
                        for x in range(0, labels.shape[1], stride)
                    ]
                    for y in range(0, labels.shape[0], stride)
                ]
            )
            one = 2 + sign * tiles + noise * rng.normal(size=tiles.shape)
            activity.append(one)
            ranked.append(percentile_map(one, valid_cells(labels, stride)))
        counts.append(
            boundary_counts(f"im{i:02d}", boundary_pixels(regions, STRIDES), ranked, activity)
        )
    return counts


def over_images(counts, name):
    """One of the values of edges, per image and then averaged, as ``analyze`` does it."""
    rows = [(one.image, *edge_values(one)[name]) for one in counts]
    return estimate(pd.DataFrame(rows, columns=["image", "value", "pairs"]))


def test_aware_chance_and_reversed():
    aware, turned = planted(1, noise=0.01), planted(-1, noise=0.01)
    assert over_images(aware, "hf").low > 0.9
    assert over_images(aware, "lf").low > 0.95
    assert over_images(turned, "hf").high < 0.1
    assert over_images(turned, "lf").high < 0.05
    chance = planted(0, images=14, noise=1.0)
    for name in ("hf", "lf"):
        one = over_images(chance, name)
        assert one.value == pytest.approx(0.5, abs=4 * (one.high - one.low) / 3.92)
        assert one.n_images == 14
    assert over_images(aware, "energy_0").low > 0.5
    assert over_images(aware, "energy_1").high < -0.3
    assert over_images(turned, "energy_0").high < 0


def test_values_of_one_image_are_those_of_literal_counts():
    def repeated(histogram):
        return np.repeat(np.arange(256), histogram)

    def auc(negative, positive):
        wins = np.searchsorted(np.sort(negative), positive, "left").sum()
        ties = np.searchsorted(np.sort(negative), positive, "right").sum() - wins
        return (wins + 0.5 * ties) / (negative.size * positive.size)

    for one in planted(1, images=3, noise=0.2):
        small, band, core, _ = (repeated(group) for group in one.pixels[0])
        others, inside = (repeated(group) for group in one.cells[-1])
        values = edge_values(one)
        fine = np.concatenate([small, band])
        assert values["hf"][0] == pytest.approx(auc(core, fine), abs=1e-12)
        assert values["hf"][1] == fine.size + core.size
        assert values["lf"][0] == pytest.approx(auc(others, inside), abs=1e-12)
        assert values["lf"][1] == others.size + inside.size
        for r in range(2):
            mean = one.energy_sum[r] / one.energy_pixels[r]
            assert values[f"energy_{r}"][0] == pytest.approx(np.log2(mean[0] / mean[1]), abs=1e-12)
            assert values[f"energy_{r}"][1] == one.energy_pixels[r].sum()
    labels = np.zeros((64, 64), np.uint8)
    _, ranked = maps_of(labels, 0)
    assert (
        edge_values(boundary_counts("a", boundary_pixels(find_regions(labels), STRIDES), ranked))
        == {}
    )


def test_profile_is_a_ratio_of_sums():
    counts = planted(1, noise=0.3)
    profile = distance_profile(counts)
    for row in profile.to_dict("records"):
        at = row["branch"], row["size_octave"], row["distance_octave"]
        total = sum(one.profile_sum[at] for one in counts)
        pixels = sum(one.profile_pixels[at] for one in counts)
        assert row["mean"] == pytest.approx(total / pixels, abs=1e-12)
        assert row["pixels"] == pixels
        if row["n_images"] >= 10:
            assert row["low"] <= row["mean"] <= row["high"]
        else:
            assert np.isnan(row["low"])
    large = profile[(profile["branch"] == 0) & (profile["size_octave"] == 6)]
    assert large["mean"].iloc[0] > large["mean"].iloc[-1]


def test_merging_drops_repeats_and_names_clashes():
    counts = planted(1, images=3, noise=0.1)
    merged = merge_counts([*counts[::-1], counts[0]])
    assert [one.image for one in merged] == ["im00", "im01", "im02"]
    pd.testing.assert_frame_equal(
        distance_profile([*counts[::-1], counts[1]]), distance_profile(counts)
    )
    other = planted(-1, images=1, noise=0.1)
    with pytest.raises(GstoVizError, match="image 'im00'"):
        merge_counts([*counts, *other])
    with pytest.raises(GstoVizError, match="no boundary counts"):
        merge_counts([])


def test_no_large_region():
    labels = np.zeros((64, 64), np.uint8)
    labels[:, 32:] = 1
    _, ranked = maps_of(labels, 0)
    assert (
        edge_values(boundary_counts("a", boundary_pixels(find_regions(labels), STRIDES), ranked))
        == {}
    )


def test_wrong_maps_are_named():
    labels = scene(0)
    activity, ranked = maps_of(labels, 0)
    regions = boundary_pixels(find_regions(labels), STRIDES)
    with pytest.raises(GstoVizError, match="1 percentile maps and 2 strides"):
        boundary_counts("a", regions, ranked[:1])
    with pytest.raises(GstoVizError, match="percentile map of branch 1"):
        boundary_counts("a", regions, [ranked[0], ranked[0]])
    with pytest.raises(GstoVizError, match="activity map of branch 0"):
        boundary_counts("a", regions, ranked, activity[::-1])
    with pytest.raises(GstoVizError, match="at stride 8 need"):
        boundary_counts("a", boundary_pixels(find_regions(labels), (4, 8)), ranked)
    with pytest.raises(GstoVizError, match="finest branch first"):
        boundary_pixels(find_regions(labels), (16, 4))


def test_nothing_but_ignored_pixels():
    labels = np.full((32, 32), 255, np.uint8)
    _, ranked = maps_of(labels, 0)
    result = boundary_counts("a", boundary_pixels(find_regions(labels), STRIDES), ranked)
    assert result.pixels.sum() == result.cells.sum() == result.profile_pixels.sum() == 0
