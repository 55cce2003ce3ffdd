"""How often intervals cover and tests reject, on simulated images with a known truth."""

import numpy as np
import pytest
from scipy.stats import norm

from gsto_viz.stats import (
    Images,
    image_mean_estimate,
    image_mean_interval,
    seed_image_difference,
    sign_flip,
)

SIZES = np.array([3.0, 4.2, 5.1, 5.8, 7.0, 7.6])
GAPS = SIZES[:, None] - SIZES
PAIRS = GAPS >= 1


def sci_of_images(images, alpha, rng, spread=0.0):
    """SCI of images with the same six sizes and q = alpha l + noise, (images,)."""
    slope = alpha + spread * rng.normal(size=(images, 1))
    q = slope * SIZES + rng.normal(size=(images, SIZES.size))
    wrong = q[:, :, None] < q[:, None, :]
    return wrong[:, PAIRS].mean(axis=1)


@pytest.mark.slow
@pytest.mark.parametrize(("images", "times"), [(30, 1500), (80, 500)])
def test_intervals_of_sci_cover(images, times):
    truth = norm.cdf(-0.5 * GAPS[PAIRS] / np.sqrt(2)).mean()
    names = [f"im{i}" for i in range(images)]
    rng = np.random.default_rng(21)
    covered = []
    for seed in range(times):
        values = sci_of_images(images, 0.5, rng)
        one = image_mean_estimate(names, values, 1, Images(seed=seed))
        covered.append(one.low <= truth <= one.high)
    print(images, np.mean(covered))
    assert 0.92 <= np.mean(covered) <= 0.97


@pytest.mark.slow
def test_intervals_over_blocks_cover_and_over_frames_do_not():
    # 25 blocks of 4 frames that share most of their deviation.
    names = [f"im{i:03d}" for i in range(100)]
    blocks = {name: f"b{i // 4}" for i, name in enumerate(names)}
    rng = np.random.default_rng(22)
    by_block, by_frame = [], []
    for seed in range(400):
        values = np.repeat(rng.normal(size=25), 4) + 0.5 * rng.normal(size=100)
        low, high, _ = image_mean_interval(names, values[:, None], Images(blocks, seed))
        by_block.append(low[0] <= 0 <= high[0])
        low, high, _ = image_mean_interval(names, values[:, None], Images(seed=seed))
        by_frame.append(low[0] <= 0 <= high[0])
    print(np.mean(by_block), np.mean(by_frame))
    assert 0.91 <= np.mean(by_block) <= 0.97
    assert np.mean(by_frame) < 0.8


def rejections(images, differences, times):
    """How often the test of equal models rejects at .05."""
    names = [f"im{i}" for i in range(images)]
    seeds = range(times)
    tests = (sign_flip(names, differences(), Images(seed=s), flips=999) for s in seeds)
    return np.mean([test.p <= 0.05 for test in tests])


@pytest.mark.slow
def test_sign_flips_reject_equal_models_one_time_in_twenty():
    rng = np.random.default_rng(23)

    def differences():
        return sci_of_images(50, 0.4, rng) - sci_of_images(50, 0.4, rng)

    assert 0.03 <= rejections(50, differences, 1000) <= 0.07


@pytest.mark.slow
def test_few_images_keep_the_level_and_ties_only_make_it_smaller():
    # All 4096 patterns of 12 images are tried. SCI of an image is a multiple of 1 / pairs, so sums
    # of differences tie often; ties count as "as large", which can only raise p.
    rng = np.random.default_rng(25)
    assert 0.035 <= rejections(12, lambda: rng.normal(size=12), 2000) <= 0.065

    def tied():
        return sci_of_images(12, 0.4, rng) - sci_of_images(12, 0.4, rng)

    assert rejections(12, tied, 1000) <= 0.065


@pytest.mark.slow
def test_sign_flips_of_blocks_keep_their_level_and_of_frames_do_not():
    names = [f"im{i:03d}" for i in range(100)]
    blocks = {name: f"b{i // 4}" for i, name in enumerate(names)}
    rng = np.random.default_rng(24)
    by_block, by_frame = [], []
    for seed in range(600):
        d = np.repeat(rng.normal(size=25), 4) + 0.5 * rng.normal(size=100)
        by_block.append(sign_flip(names, d, Images(blocks, seed), flips=999).p <= 0.05)
        by_frame.append(sign_flip(names, d, Images(seed=seed), flips=999).p <= 0.05)
    print(np.mean(by_block), np.mean(by_frame))
    assert 0.03 <= np.mean(by_block) <= 0.07
    assert np.mean(by_frame) > 0.2


@pytest.mark.slow
def test_a_method_needs_its_seeds_in_the_interval():
    # Spread of seeds .016, of images .006 (standard errors): an interval of images alone is blind.
    names = [f"im{i}" for i in range(40)]
    rng = np.random.default_rng(25)
    both, images_only = [], []
    for k in range(300):
        arms = []
        for _ in range(2):
            seeds = 0.016 * rng.normal(size=(5, 1))
            arms.append(0.5 + seeds + 0.006 * np.sqrt(40) * rng.normal(size=(5, 40)))
        one = seed_image_difference(names, *arms, Images(seed=k))
        both.append(one.low <= 0 <= one.high)
        between = (arms[1][0] - arms[0][0])[:, None]
        low, high, _ = image_mean_interval(names, between, Images(seed=k))
        images_only.append(low[0] <= 0 <= high[0])
    print(np.mean(both), np.mean(images_only))
    assert np.mean(both) > 0.82
    assert np.mean(images_only) < 0.65
