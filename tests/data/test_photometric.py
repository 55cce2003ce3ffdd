"""Hue, saturation, gamma, grey, blur and noise, each by a second road, and what they are drawn."""

import colorsys

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from gsto_viz.data.transforms import (
    Augmentation,
    Photometric,
    add_noise,
    raise_to,
    rotate_hue,
    saturate,
)
from gsto_viz.train.recipe import Recipe
from gsto_viz.train.tasks import augmentation_of
from gsto_viz.types import ClassInfo, ClassList

STEPS = {"hue": 40.0, "saturation": 0.6, "gamma": 0.8, "grey": 0.3, "blur": 2.0, "noise": 0.1}
WHOLE = {"scale_range": (1.0, 1.0), "flip": 0.0}


def picture(height: int = 24, width: int = 30, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("degrees", [-180.0, -77.3, -1.0, 0.4, 25.0, 120.0, 180.0])
def test_hue_pixel_by_pixel(degrees: float) -> None:
    image = picture()
    got = rotate_hue(image, degrees)
    for before, after in zip(image.reshape(-1, 3), got.reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(before / 255))
        expected = 255 * np.array(colorsys.hsv_to_rgb((hue + degrees / 360) % 1, saturation, value))
        assert np.abs(after - expected).max() <= 0.51


def test_hue_of_the_primaries_and_of_grey() -> None:
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 200
    assert rotate_hue(red, 120)[0, 0].tolist() == [0, 200, 0]
    assert rotate_hue(red, -120)[0, 0].tolist() == [0, 0, 200]
    assert rotate_hue(red, 60)[0, 0].tolist() == [200, 200, 0]
    grey = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    assert np.array_equal(rotate_hue(grey, 77), grey)


@pytest.mark.parametrize("factor", [0.0, 0.4, 0.99, 1.3, 2.0])
def test_saturation_pixel_by_pixel(factor: float) -> None:
    image = picture()
    got = saturate(image, factor)
    for before, after in zip(image.reshape(-1, 3), got.reshape(-1, 3), strict=True):
        luma = 0.299 * before[0] + 0.587 * before[1] + 0.114 * before[2]
        for channel in range(3):
            expected = luma + factor * (before[channel] - luma)
            # OpenCV's coefficients are rounded to 1 / 1024 where it computes in whole numbers.
            assert abs(after[channel] - min(max(expected, 0), 255)) <= 0.5 + 3 * 255 / 2048


def test_grey_has_equal_channels_and_is_that_of_opencv() -> None:
    image = picture()
    got = Photometric(grey=1.0)(image, np.random.default_rng(0))
    assert (got == got[..., :1]).all()
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    assert np.abs(got[..., 0].astype(int) - luma).max() <= 1


@pytest.mark.parametrize(("power", "value", "expected"), [(2, 128, 64), (0.5, 64, 128)])
def test_gamma_on_known_values(power: float, value: int, expected: int) -> None:
    image = np.full((3, 4, 3), value, np.uint8)
    assert (raise_to(image, power) == expected).all()
    ends = np.array([[[0, 255, 0]]], np.uint8)
    assert np.array_equal(raise_to(ends, power), ends)


def test_gamma_pixel_by_pixel() -> None:
    image = picture()
    for before, after in zip(image.ravel().tolist(), raise_to(image, 1.7).ravel(), strict=True):
        assert abs(int(after) - 255 * (before / 255) ** 1.7) <= 0.5


def test_blur_is_scipys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every image blurred; the standard deviation is what was drawn."""
    used: list[float] = []
    real = cv2.GaussianBlur

    def blur(image: np.ndarray, size: tuple[int, int], sigma: float) -> np.ndarray:
        used.append(sigma)
        return real(image, size, sigma)

    monkeypatch.setattr(cv2, "GaussianBlur", blur)
    image = picture(60, 70)
    for seed in range(20):
        got = Photometric(blur=3.0, blur_probability=1.0)(image, np.random.default_rng(seed))
        assert used[-1] == pytest.approx(3.0 * np.random.default_rng(seed).random(7)[5])
        if used[-1] < 0.5:
            continue  # the kernel is cut after so few pixels that how it is cut decides
        expected = gaussian_filter(
            image.astype(float), (used[-1], used[-1], 0), mode="mirror", truncate=3.0
        )
        assert np.abs(got - expected).max() <= 2.5
        assert np.abs(got - expected).mean() <= 0.6
    assert min(used) < 0.5
    assert max(used) > 2.5


def test_noise_has_its_standard_deviation_and_no_correlation() -> None:
    flat = np.full((100, 120, 3), 128, np.uint8)
    noise = add_noise(flat, 0.05, np.random.default_rng(3)).astype(float) - 128
    assert noise.mean() == pytest.approx(0, abs=0.3)
    assert noise.std() == pytest.approx(np.hypot(0.05 * 255, 12**-0.5), rel=0.02)
    channels = np.corrcoef(noise.reshape(-1, 3).T)
    assert np.abs(channels[np.triu_indices(3, 1)]).max() < 0.03
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.03
    assert add_noise(np.full((9, 9, 3), 255, np.uint8), 0.1, np.random.default_rng(0)).max() == 255


def test_what_is_drawn_fills_its_range() -> None:
    """A pixel of known hue, saturation and value says what was drawn for each step alone."""
    pixel = np.array([[[180, 100, 60]]], np.uint8)
    luma = float(pixel[0, 0] @ np.array([0.299, 0.587, 0.114]))

    def drawn(count: int = 400, **steps: float) -> np.ndarray:
        step = Photometric(**steps)
        return np.array([step(pixel, np.random.default_rng(k))[0, 0] for k in range(count)], float)

    hues = [colorsys.rgb_to_hsv(*(v / 255))[0] * 360 for v in drawn(hue=20)]
    assert (min(hues), max(hues)) == (pytest.approx(0, abs=1.5), pytest.approx(40, abs=1.5))
    factors = (drawn(saturation=0.5)[:, 0] - luma) / (180 - luma)
    assert (factors.min(), factors.max()) == (
        pytest.approx(0.5, abs=0.02),
        pytest.approx(1.5, abs=0.02),
    )
    powers = np.log(drawn(gamma=1.0) / 255) / np.log(pixel[0, 0] / 255)
    assert (powers.min(), powers.max()) == (
        pytest.approx(0.5, abs=0.02),
        pytest.approx(2, abs=0.03),
    )
    assert np.median(powers) == pytest.approx(1.0, abs=0.1)  # evenly on a logarithmic scale
    grey = (drawn(grey=0.25) == drawn(grey=0.25)[:, :1]).all(axis=1)
    assert grey.mean() == pytest.approx(0.25, abs=0.06)


def test_one_step_changes_nothing_about_the_others_and_nothing_before_them() -> None:
    """Scale, crop, mirror image, brightness: as without; saturation: as without hue or blur."""
    image, labels = picture(50, 70), picture(50, 70, seed=1)[..., 0]
    words = ((32, 48), (0.6, 1.6), 0.5, 0.25, 0.2)
    for seed in range(8):
        plain = Augmentation(*words)(image, labels, np.random.default_rng(seed))
        for steps in [STEPS, *({name: value} for name, value in STEPS.items())]:
            photometric = Photometric(**steps)
            rng = np.random.default_rng(seed)
            got = Augmentation(*words, photometric=photometric)(image, labels, rng)
            assert np.array_equal(got[1], plain[1])
            after = np.random.default_rng(seed)
            Augmentation(*words)(image, labels, after)
            assert np.array_equal(got[0], photometric(plain[0], after))
            assert rng.bit_generator.state == after.bit_generator.state
    seven = np.random.default_rng(5).random(7)
    for steps in ({"saturation": 0.6}, {"saturation": 0.6, "grey": 1e-9, "gamma": 1e-12}):
        got = Photometric(**steps)(image, np.random.default_rng(5))
        assert np.array_equal(got, saturate(image, 1 + 0.6 * (2 * seven[1] - 1)))


def test_off_draws_nothing() -> None:
    image, labels = picture(), picture(seed=1)[..., 0]
    step = Photometric(blur_probability=1.0)
    rng, plain = np.random.default_rng(2), np.random.default_rng(2)
    assert not step.active
    got = Augmentation((24, 30), **WHOLE, photometric=step)(image, labels, rng)
    Augmentation((24, 30), **WHOLE)(image, labels, plain)
    assert np.array_equal(got[0], image)
    assert rng.bit_generator.state == plain.bit_generator.state


def test_the_steps_in_their_order_by_hand() -> None:
    image = picture(40, 50)
    got = Photometric(**STEPS, blur_probability=1.0)(image, np.random.default_rng(11))
    rng = np.random.default_rng(11)
    u = rng.random(7)
    expected = rotate_hue(image, 40 * (2 * u[0] - 1))
    expected = saturate(expected, 0.0 if u[3] < 0.3 else 1 + 0.6 * (2 * u[1] - 1))
    expected = raise_to(expected, 1.8 ** (2 * u[2] - 1))
    expected = cv2.GaussianBlur(expected, (0, 0), 2.0 * u[5])
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(0.1 * u[6] * 255)
    assert np.array_equal(got, np.clip(np.rint(expected + noise), 0, 255).astype(np.uint8))
    assert got.dtype == np.uint8
    assert got.flags.owndata
    assert got.flags.c_contiguous


def test_padding_is_black_until_noise_or_blur() -> None:
    image, labels = picture(20, 30), picture(20, 30, seed=1)[..., 0]
    quiet = {name: STEPS[name] for name in ("hue", "saturation", "gamma", "grey")}
    augment = Augmentation((24, 40), **WHOLE, photometric=Photometric(**quiet))
    got, mask = augment(image, labels, np.random.default_rng(0))
    assert (got[20:] == 0).all()
    assert (got[:, 30:] == 0).all()
    assert (mask[20:] == 255).all()
    noisy = Augmentation((24, 40), **WHOLE, photometric=Photometric(noise=0.2))
    got, mask = noisy(image, labels, np.random.default_rng(0))
    assert (got[20:] > 0).any()
    assert (mask[20:] == 255).all()


def test_a_recipe_says_what_is_drawn() -> None:
    classes = ClassList("one", (ClassInfo(0, "c", (0, 0, 0), thing=False),))
    steps = {**STEPS, "blur_probability": 0.25}
    chosen = augmentation_of(Recipe(model="hrnetv2-tiny", **steps), classes)
    assert chosen.photometric == Photometric(**steps)
    assert not augmentation_of(Recipe(model="hrnetv2-tiny"), classes).photometric.active
