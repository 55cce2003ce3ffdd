"""The atlas against loops, torch's own resizing, analytic values and planted features."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from gsto_viz.errors import GstoVizError
from gsto_viz.stats import (
    PICTURE,
    Images,
    atlas,
    cka,
    cka_sums,
    enlargement,
    equalized,
    feature_sums,
    hsic,
    neighbour_sums,
)
from gsto_viz.stats.atlas import PASSED


@pytest.mark.parametrize("shape", [(6, 8), (7, 9), (2, 3)])
def test_block_sums_are_those_of_loops(shape):
    features = np.random.default_rng(0).normal(size=(3, *shape))
    sums = feature_sums(features, shape)
    height, width = (side // 2 * 2 for side in shape)
    for c in range(3):
        blocks = [
            features[c, y : y + 2, x : x + 2]
            for y in range(0, height, 2)
            for x in range(0, width, 2)
        ]
        assert sums["cells"][c] == 4 * len(blocks)
        assert sums["sum"][c] == pytest.approx(sum(b.sum() for b in blocks))
        assert sums["squares"][c] == pytest.approx(sum((b**2).sum() for b in blocks))
        assert sums["held"][c] == pytest.approx(sum(4 * b.mean() ** 2 for b in blocks))


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("shape", "size"), [((5, 6), (10, 18)), ((7, 3), (28, 45)), ((9, 9), (9, 9)), ((2, 2), (16, 5))]
)
def test_resized_sums_are_those_of_torch(shape, size, align_corners):
    features = np.random.default_rng(1).normal(3, 1, size=(4, *shape))
    up = F.interpolate(
        torch.from_numpy(features)[None], size=size, mode="bilinear", align_corners=align_corners
    )[0].numpy()
    sums = feature_sums(features, size, align_corners=align_corners)
    assert (sums["up_cells"] == size[0] * size[1]).all()
    np.testing.assert_allclose(sums["up_sum"], up.sum(axis=(1, 2)), rtol=1e-10)
    np.testing.assert_allclose(sums["up_squares"], (up**2).sum(axis=(1, 2)), rtol=1e-10)


def test_wrong_features_are_refused():
    for wrong in (np.ones((3, 0, 9)), np.ones((4, 9))):
        with pytest.raises(GstoVizError, match="one cell or more"):
            feature_sums(wrong, (4, 9))
    with pytest.raises(GstoVizError, match="NaN"):
        feature_sums(np.full((1, 4, 4), np.inf), (4, 4))


def test_a_map_of_one_cell_has_no_blocks_and_a_constant_resized_map():
    sums = feature_sums(np.array([[[3.0]], [[-1.0]]]), (4, 6))
    for name in ("cells", "sum", "squares", "held"):
        assert sums[name].tolist() == [0, 0]
    assert sums["up_cells"].tolist() == [24, 24]
    assert sums["up_sum"].tolist() == [72, -24]
    assert sums["up_squares"].tolist() == [24 * 9, 24]


def rows_of(images, objects=None, align_corners=False):
    """The atlas rows of images, each a list of features per branch, the finest first."""
    rows = []
    for i, branches in enumerate(images):
        size = branches[0].shape[1:]
        for r, features in enumerate(branches):
            sums = feature_sums(features, size, align_corners=align_corners)
            vector = np.nan if objects is None else objects[r][i]
            frame = pd.DataFrame({"channel": np.arange(len(features)), **sums, "object": vector})
            rows.append(frame.assign(image=f"im{i:02d}", branch=r))
            sums = feature_sums(features[:1] ** 2, size)
            frame = pd.DataFrame({"channel": [PICTURE], **sums, "object": np.nan})
            rows.append(frame.assign(image=f"im{i:02d}", branch=r))
    return pd.concat(rows, ignore_index=True)


def noise(rng, images=12, size=(32, 40), channels=(6, 8, 5)):
    return [
        [rng.normal(size=(c, size[0] >> r, size[1] >> r)) for r, c in enumerate(channels)]
        for _ in range(images)
    ]


def test_variance_and_redundancy_of_white_noise():
    found = atlas(rows_of(noise(np.random.default_rng(2))))
    # Resizing n samples by s keeps k + (1 - k) / n of the variance of white noise along an axis,
    # with k = 2/3 - 1/(6 s^2); the second term is the border.
    for r, one in enumerate(found.variance):
        k = 2 / 3 - 1 / (6 * 4**r) if r else 1.0
        expected = np.prod([k + (1 - k) / n for n in (32 >> r, 40 >> r)])
        assert one.value == pytest.approx(expected, rel=0.05)
        assert one.low < one.value < one.high
        assert (one.n_images, one.n_pairs) == (12, 19)
    spread = max(v.value for v in found.variance) / min(v.value for v in found.variance)
    assert found.disequilibrium.value == pytest.approx(np.log2(spread))
    for one in found.redundancy:
        assert one.value == pytest.approx(0.25, abs=0.02)
        assert one.low < one.value < one.high


def test_variances_are_those_of_all_resized_values():
    images = noise(np.random.default_rng(3), images=4)
    images = [[3 + 2 * one for one in image] for image in images]
    found = atlas(rows_of(images))
    for r in range(3):
        ups = [
            F.interpolate(torch.from_numpy(image[r])[None], size=(32, 40), mode="bilinear")
            for image in images
        ]
        values = torch.cat([up.ravel() for up in ups]).numpy()
        assert found.variance[r].value == pytest.approx(values.var(), rel=1e-9)
        assert found.variance[r].low is None
        assert "needs 10" in found.variance[r].reason


def test_redundancy_is_a_mean_over_channels_that_vary_and_sees_no_gain():
    rng = np.random.default_rng(4)
    images = noise(rng)
    for image in images:
        image[0] = F.avg_pool2d(torch.from_numpy(image[0]), 3, 1, 1).numpy()
        image[0][2] = 5.0
        image[1] = np.kron(rng.normal(size=(8, 8, 10)), np.ones((2, 2)))
        image[2][:] = np.indices(image[2].shape[1:]).sum(axis=0) % 2
    found = atlas(rows_of(images))
    stacked = np.stack([image[0] for image in images])
    ratios = []
    for c in (0, 1, 3, 4, 5):
        centred = stacked[:, c] - stacked[:, c].mean()
        blocks = centred.reshape(12, 16, 2, 20, 2).mean(axis=(2, 4))
        ratios.append(4 * (blocks**2).sum() / (centred**2).sum())
    assert found.redundancy[0].value == pytest.approx(np.mean(ratios), rel=1e-9)
    assert found.redundancy[1].value == pytest.approx(1)
    assert found.redundancy[2].value == pytest.approx(0, abs=1e-9)
    assert found.picture[1].value > 0.99
    gains = [rng.uniform(0.1, 9, size=(len(one), 1, 1)) for one in images[0]]
    offsets = [rng.uniform(-3, 3, size=(len(one), 1, 1)) for one in images[0]]
    moved = [
        [g * one + o for one, g, o in zip(image, gains, offsets, strict=True)] for image in images
    ]
    for one, other in zip(found.redundancy, atlas(rows_of(moved)).redundancy, strict=True):
        assert other.value == pytest.approx(one.value, abs=1e-9)
    dead = [[np.full_like(one, 2.0) for one in image] for image in images]
    assert atlas(rows_of(dead)).redundancy[0].value is None
    assert "does not vary" in atlas(rows_of(dead)).disequilibrium.reason


def test_objects_of_planted_similarity():
    rng = np.random.default_rng(5)
    images = noise(rng, images=200, size=(8, 8), channels=(6, 6, 5))
    first, other = rng.normal(size=(200, 6)), rng.normal(size=(200, 5))
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    found = atlas(rows_of(images, (first, first @ turn, other)), images=Images(seed=3))
    assert found.objects == 200
    np.testing.assert_allclose(np.diag(found.cka), 1)
    assert found.cka[0, 1] == pytest.approx(1, abs=0.05)
    assert abs(found.cka[0, 2]) < 0.06
    some = first.copy()
    some[3:] = np.nan
    few = atlas(rows_of(images, (some, some, other)))
    assert few.objects == 3
    assert np.isnan(few.cka).all()


def literal_hsic(k, m):
    """The U-statistic: averages over tuples of distinct objects, one by one."""
    n = len(k)
    pairs = np.mean([k[i, j] * m[i, j] for i, j in itertools.permutations(range(n), 2)])
    fours = np.mean([k[i, j] * m[a, b] for i, j, a, b in itertools.permutations(range(n), 4)])
    threes = np.mean([k[i, j] * m[i, a] for i, j, a in itertools.permutations(range(n), 3)])
    return pairs + fours - 2 * threes


@pytest.mark.parametrize("n", [4, 5, 7])
def test_hsic_is_a_mean_over_distinct_objects(n):
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(n, 3)), rng.normal(size=(n, 2))
    assert hsic(x @ x.T, y @ y.T) == pytest.approx(literal_hsic(x @ x.T, y @ y.T))
    assert cka_sums([x, y])[0, 1] == pytest.approx(literal_hsic(x @ x.T, y @ y.T))


def test_rotations_and_gains_change_no_cka():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(30, 6)), rng.normal(size=(30, 4))
    y[:, 0] += x[:, 0]
    basis = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    before = cka(cka_sums([x, y]))
    after = cka(cka_sums([7 * x @ basis + 100, 0.01 * y - 3]))
    np.testing.assert_allclose(after, before, atol=1e-10)
    assert np.isnan(cka(cka_sums([x, np.full((30, 2), 4.0)]))[0, 1])


def test_independent_branches_are_at_zero_where_the_plug_in_value_is_not():
    rng = np.random.default_rng(2)
    sums, plug_in, singles = np.zeros((2, 2)), [], []
    for _ in range(150):
        x, y = rng.normal(size=(16, 12)), rng.normal(size=(16, 12))
        part = cka_sums([x, y])
        sums += part
        singles.append(part[0, 1])
        xc, yc = x - x.mean(0), y - y.mean(0)
        norms = np.linalg.norm(xc.T @ xc) * np.linalg.norm(yc.T @ yc)
        plug_in.append(np.linalg.norm(xc.T @ yc) ** 2 / norms)
    error = np.std(singles) * np.sqrt(150) / np.sqrt(sums[0, 0] * sums[1, 1])
    assert abs(cka(sums)[0, 1]) < 4 * error
    assert error < 0.03
    assert np.mean(plug_in) > 0.3


def test_equalizers_are_measured_head_by_head():
    rng = np.random.default_rng(0)
    sites = ["t.p.equalizers.0", "t.p.equalizers.1", "head.equalizers.0", "head.equalizers.10"]
    given = {site: rng.normal(k, k + 1, size=(12, 50 * (k + 1))) for k, site in enumerate(sites)}
    rows = []
    for image in range(12):
        for site, values in given.items():
            x, y = values[image], 3 * values[image] - 1
            sums = (x.size, x.sum(), (x**2).sum(), y.sum(), (y**2).sum())
            rows.append({"image": f"{image}", "site": site, **dict(zip(PASSED, sums, strict=True))})
    first, second = equalized(pd.DataFrame(rows))
    assert (first.head, second.head) == ("t.p", "head")
    for one in (first, second):
        variances = [given[site].var() for site in one.sites]
        spread = np.log2(max(variances) / min(variances))
        assert one.disequilibrium == pytest.approx(spread)
        assert one.disequilibrium_after == pytest.approx(spread)
        for r, site in enumerate(one.sites):
            assert one.variance[r].value == pytest.approx(variances[r])
            assert one.variance_after[r].value == pytest.approx(9 * variances[r])
            assert one.mean_after[r].value == pytest.approx(3 * given[site].mean() - 1)
            assert one.variance[r].low < one.variance[r].value < one.variance[r].high
    assert second.sites == ("head.equalizers.0", "head.equalizers.10")


def test_enlargement_of_branches():
    rng = np.random.default_rng(1)
    sizes = [(8, 12)] * 7 + [(12, 8)] * 5
    rows, stacks = [], [[] for _ in range(2)]
    for image, (height, width) in enumerate(sizes):
        for r in range(2):
            x = rng.normal(2, 1, size=(3, height >> r, width >> r))
            up = F.interpolate(
                torch.from_numpy(x)[None], size=(height, width), mode="bilinear"
            ).numpy()
            stacks[r].append((x.ravel(), up.ravel()))
            sums = neighbour_sums(x, (height, width))
            sums |= {"up_cells": up.size, "up_sum": up.sum(), "up_squares": (up**2).sum()}
            place = {"branch": r, "height": height >> r, "width": width >> r}
            rows.append({"image": f"{image}", **place, **sums})
    found = enlargement(pd.DataFrame(rows))
    assert found["factor"].to_list() == [1, 2]
    assert found[["height", "width"]].to_numpy().tolist() == [[8, 12], [4, 6]]
    for r in range(2):
        before, after = (np.concatenate(each) for each in zip(*stacks[r], strict=True))
        assert found["kept"][r] == pytest.approx(after.var() / before.var())
        assert found["low"][r] <= found["kept"][r] <= found["high"][r]
        assert found["n_images"][r] == 12
    assert found["predicted"][0] == pytest.approx(1)
    assert found["predicted"][1] == pytest.approx(found["kept"][1], rel=0.1)
    dead = pd.DataFrame(rows)
    dead.loc[dead["branch"] == 1, ["sum", "squares"]] = dead.loc[dead["branch"] == 1, ["cells"]]
    found = enlargement(dead)
    assert pd.isna(found["kept"][1])
    assert "does not vary" in found["reason"][1]
    assert found["kept"][0] == pytest.approx(1)
