"""Spectral redundancy against loops over blocks, Fourier sums, and analytic values."""

import numpy as np
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.stats import block_average, redundancy, spectral_centroid, spectrum_sums


def literal_held(channel):
    """Energy of 2x2 block averages, block by block."""
    height, width = (size // 2 * 2 for size in channel.shape)
    held = total = 0.0
    for y in range(0, height, 2):
        for x in range(0, width, 2):
            block = channel[y : y + 2, x : x + 2]
            held += 4 * block.mean() ** 2
            total += (block**2).sum()
    return held, total


@pytest.mark.parametrize("shape", [(6, 8), (7, 9), (2, 3)])
def test_energies_are_those_of_loops(shape):
    rng = np.random.default_rng(0)
    features, mean = rng.normal(size=(3, *shape)), rng.normal(size=3)
    sums = spectrum_sums(features, mean)
    for c in range(3):
        held, total = literal_held(features[c] - mean[c])
        assert sums.held[c] == pytest.approx(held)
        assert sums.total[c] == pytest.approx(total)
    rho = redundancy(sums)
    assert rho == pytest.approx((sums.held / sums.total).mean())
    live = np.array([True, False, True])
    assert redundancy(sums, live) == pytest.approx((sums.held / sums.total)[live].mean())


def test_the_spectrum_is_the_windowed_fourier_sum():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(5, 6))
    window = np.array(
        [
            [np.sin(np.pi * (y + 1) / 6) ** 2 * np.sin(np.pi * (x + 1) / 7) ** 2 for x in range(6)]
            for y in range(5)
        ]
    )
    values_0 = (values - (values * window).sum() / window.sum()) * window
    moment = power = 0.0
    for u in range(5):
        for v in range(6):
            wave = np.array(
                [
                    [np.exp(-2j * np.pi * (u * y / 5 + v * x / 6)) for x in range(6)]
                    for y in range(5)
                ]
            )
            energy = abs((values_0 * wave).sum()) ** 2 if (u, v) != (0, 0) else 0.0
            power += energy
            moment += energy * np.hypot(min(u, 5 - u) / 5, min(v, 6 - v) / 6)
    sums = spectrum_sums(values[None], np.zeros(1))
    assert sums.power[0] == pytest.approx(power)
    assert sums.moment[0] == pytest.approx(moment)
    assert spectral_centroid(sums, 4) == pytest.approx(moment / power / 4)


def test_block_averages_are_an_orthogonal_projector():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 8, 10))
    np.testing.assert_allclose(block_average(block_average(a)), block_average(a), atol=1e-15)
    assert (block_average(a) * b).sum() == pytest.approx((a * block_average(b)).sum())
    assert ((a - block_average(a)) * block_average(a)).sum() == pytest.approx(0, abs=1e-12)


def test_white_noise_has_one_quarter():
    rng = np.random.default_rng(3)
    noise = spectrum_sums(rng.normal(size=(40, 64, 64)), np.zeros(40))
    # Blocks are independent: the standard error of rho is sqrt(2 * .25 * .75 / cells) or so.
    assert redundancy(noise) == pytest.approx(0.25, abs=4 * np.sqrt(0.375 / (40 * 64**2)))
    mean_distance = (np.sqrt(2) + np.log(1 + np.sqrt(2))) / 6
    assert spectral_centroid(noise, 1) == pytest.approx(mean_distance, abs=0.004)
    assert spectral_centroid(noise, 8) == spectral_centroid(noise, 1) / 8


def test_smooth_maps_are_held_and_checkerboards_are_not():
    rng = np.random.default_rng(4)
    checker = np.indices((8, 8)).sum(axis=0) % 2 * 2.0 - 1
    assert redundancy(spectrum_sums(checker[None], np.zeros(1))) == 0
    blocks = np.kron(rng.normal(size=(4, 4)), np.ones((2, 2)))
    assert redundancy(spectrum_sums(blocks[None], np.zeros(1))) == pytest.approx(1)
    wave = np.cos(2 * np.pi * 0.25 * np.arange(64))[None, None, :] * np.ones((1, 64, 1))
    assert spectral_centroid(spectrum_sums(wave, np.zeros(1)), 1) == pytest.approx(0.25, abs=0.01)


def test_natural_spectra_have_the_share_that_the_box_filter_lets_through():
    # A 2x2 average passes the power cos^2(pi u) cos^2(pi v) of a wave of frequency (u, v).
    rng = np.random.default_rng(8)
    axis = np.fft.fftfreq(64)
    frequency = np.hypot(axis[:, None], axis)
    frequency[0, 0] = np.inf
    passed = np.outer(np.cos(np.pi * axis), np.cos(np.pi * axis)) ** 2
    shares = []
    for slope in (0.5, 1, 1.5):
        spectrum = np.fft.fft2(rng.normal(size=(60, 64, 64))) / frequency**slope
        shares.append(redundancy(spectrum_sums(np.fft.ifft2(spectrum).real, np.zeros(60))))
        power = frequency ** (-2 * slope)
        assert shares[-1] == pytest.approx((power * passed).sum() / power.sum(), abs=0.02)
    assert 0.25 < shares[0] < shares[1] < shares[2] < 1


def test_gains_and_offsets_change_nothing():
    rng = np.random.default_rng(5)
    features, gain, offset = rng.random((4, 12, 14)), rng.random(4) * 9 + 1, rng.normal(size=4)
    mean = features.mean(axis=(1, 2))
    before = spectrum_sums(features, mean)
    moved = features * gain[:, None, None] + offset[:, None, None]
    after = spectrum_sums(moved, mean * gain + offset)
    assert redundancy(after) == pytest.approx(redundancy(before), abs=1e-12)
    assert spectral_centroid(after, 4) == pytest.approx(spectral_centroid(before, 4), abs=1e-12)


def test_images_add_up():
    rng = np.random.default_rng(6)
    maps = [rng.random((3, 6, 8)), rng.random((3, 7, 5))]
    parts = [spectrum_sums(m, np.zeros(3)) for m in maps]
    both = parts[0] + parts[1]
    for name in ("held", "total", "moment", "power"):
        added = getattr(parts[0], name) + getattr(parts[1], name)
        np.testing.assert_array_equal(getattr(both, name), added)
    with pytest.raises(GstoVizError, match="3 and 2 channels"):
        both + spectrum_sums(np.ones((2, 4, 4)), np.zeros(2))


def test_dead_channels_do_not_count():
    features = np.random.default_rng(7).normal(size=(2, 6, 6))
    features[1] = 3.0
    sums = spectrum_sums(features, np.array([0.0, 3.0]))
    assert redundancy(sums) == sums.held[0] / sums.total[0]
    assert np.isnan(redundancy(sums, np.array([False, True])))


def test_wrong_features_are_refused():
    with pytest.raises(GstoVizError, match="at least 2x2"):
        spectrum_sums(np.ones((3, 1, 9)), np.zeros(3))
    with pytest.raises(GstoVizError, match="give \\(C, h, w\\)"):
        spectrum_sums(np.ones((3, 4, 9)), np.zeros(2))
    with pytest.raises(GstoVizError, match="NaN"):
        spectrum_sums(np.full((1, 4, 4), np.inf), np.zeros(1))
