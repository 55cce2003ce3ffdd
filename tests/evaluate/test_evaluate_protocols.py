"""Protocols against the papers' procedure written out in NumPy and OpenCV, pixel after pixel."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate import (
    PROTOCOLS,
    LogitsNotFiniteError,
    Protocol,
    class_evidence,
    full_logits,
    protocol_named,
)
from gsto_viz.evaluate.protocols import (
    Windows,
    check_input_size,
    labels_of,
    parse_scales,
    scaled_size,
    short_side_size,
    spans,
)
from gsto_viz.torch_utils import IMAGENET_MEAN, IMAGENET_STD

MEAN, STD = np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32)


class Toy(nn.Module):
    """Stride-2 logits of four classes that depend on the neighbourhood of a pixel."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(4)
            self.conv = nn.Conv2d(3, 4, 5, stride=2, padding=2)
        self.gain = gain
        self.sizes: list[tuple[int, int]] = []

    def forward(self, image: Tensor) -> Tensor:
        self.sizes.append((int(image.shape[-2]), int(image.shape[-1])))
        return self.conv(image) * self.gain


def photo(height: int, width: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 6 + 1, width // 6 + 1, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def resized(array: Any, height: int, width: int) -> Any:
    return cv2.resize(array, (width, height), interpolation=cv2.INTER_LINEAR)


def look(model: nn.Module, window: Any, flip: bool, swaps: Any = ()) -> Any:
    """exp of the logits of a window (h, w, 3), averaged with those of its mirror image."""

    def logits(values: Any) -> Any:
        batch = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1))[None])
        with torch.no_grad():
            out = model(batch)[0].numpy().transpose(1, 2, 0)
        return resized(np.ascontiguousarray(out), *values.shape[:2])

    result = logits(window)
    if flip:
        mirrored = logits(window[:, ::-1])[:, ::-1]
        swapped = mirrored.copy()
        for a, b in swaps:
            swapped[..., a], swapped[..., b] = mirrored[..., b], mirrored[..., a]
        result = (result + swapped) / 2
    return np.exp(result)


def normal(image: Any) -> Any:
    return ((image.astype(np.float32) / 255 - MEAN) / STD).astype(np.float32)


def assert_evidence(got: Tensor, expected: Any) -> None:
    np.testing.assert_allclose(got.numpy().transpose(1, 2, 0), expected, rtol=2e-4, atol=2e-5)


def test_the_presets_are_what_the_papers_did() -> None:
    six = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    rows = {
        "single": ((1.0,), False, None, None, None, None),
        "cityscapes-ms": (
            six, True, None, None, None, Windows((1024, 2048), (1024, 2048), "shift", 1.0),
        ),
        "lip": ((1.0,), True, (473, 473), None, None, None),
        "pascal-context": (
            (*six, 2.0), True, None, None, 520, Windows((480, 480), (320, 320), "pad"),
        ),
        "ade20k": ((*six, 2.0), True, None, 520, 520, Windows((520, 520), (346, 346), "pad")),
    }  # fmt: skip
    assert list(PROTOCOLS) == list(rows)
    for name, row in rows.items():
        p = protocol_named(name)
        assert row == (p.scales, p.flip, p.input_size, p.short_side, p.long_side, p.windows)
        assert p.source
        assert p.is_plain == (name == "single")
    with pytest.raises(GstoVizError, match="no protocol 'cityscape'; did you mean 'cityscapes-ms'"):
        protocol_named("cityscape")


def test_changes_of_a_preset_are_in_its_name() -> None:
    lip = PROTOCOLS["lip"]
    assert lip.with_changes() is lip
    assert lip.with_changes(flip=True, scales=(1.0,)).name == "lip"
    changed = lip.with_changes(flip=False, scales=(0.5, 2.0))
    assert (changed.name, changed.flip, changed.scales) == (
        "lip with scales 0.5,2, no flip", False, (0.5, 2.0),
    )  # fmt: skip
    assert changed.input_size == (473, 473)
    assert not Protocol().with_changes(flip=True).is_plain
    assert Protocol().with_changes(flip=True).to_json() == {
        "name": "single with flip", "scales": [1.0], "flip": True, "input_size": None,
        "short_side": None, "long_side": None, "windows": None,
    }  # fmt: skip
    assert PROTOCOLS["ade20k"].to_json()["windows"]["stride"] == [346, 346]


def test_words_that_are_no_scales() -> None:
    assert parse_scales("0.5,1,2") == (0.5, 1.0, 2.0)
    for text in ("", "1;2", "1,,2", "one"):
        with pytest.raises(GstoVizError, match="write numbers, such as"):
            parse_scales(text)
    for text in ("0", "-1", "9", "nan", "1,inf"):
        with pytest.raises(GstoVizError, match="above 0 and is at most 8"):
            parse_scales(text)
    with pytest.raises(GstoVizError, match="given twice"):
        parse_scales("1,1.0")


def test_sizes_at_a_scale() -> None:
    """Long side first, halves rounded up: 333 * 0.5 = 166.5 -> 167, 500 -> 250."""
    assert scaled_size((333, 500), 0.5) == (167, 250)
    assert scaled_size((500, 333), 1.0, 520) == (520, 346)
    assert scaled_size((1024, 2048), 1.75, 2048) == (1792, 3584)
    assert scaled_size((3, 4000), 0.5) == (2, 2000)
    assert short_side_size((400, 600), 520) == (520, 780)
    assert short_side_size((601, 400), 520) == (781, 520)
    for name in ("lip", "pascal-context", "ade20k"):
        with pytest.raises(GstoVizError, match=f"protocol {name} fixes the size"):
            check_input_size(PROTOCOLS[name], (32, 32))
        check_input_size(PROTOCOLS[name], None)
    check_input_size(PROTOCOLS["cityscapes-ms"], (32, 32))


@pytest.mark.parametrize(("window", "stride"), [(4, 4), (5, 3), (6, 2), (3, 1)])
def test_windows_cover_every_pixel(window: int, stride: int) -> None:
    for length in range(1, 25):
        starts = [0]
        while starts[-1] + window < length:
            starts.append(starts[-1] + stride)
        padded = [(s, min(s + window, length)) for s in starts]
        assert spans(length, window, stride, last="pad") == padded
        shifted = [(max(0, min(s, length - window)), min(s + window, length)) for s in starts]
        assert spans(length, window, stride, last="shift") == shifted
        for found in (padded, shifted):
            assert {k for start, stop in found for k in range(start, stop)} == set(range(length))


def test_scales_and_flip_on_whole_images() -> None:
    model, image = Toy(), photo(41, 58)
    protocol = Protocol(scales=(0.75, 1.0, 1.5), flip=True)
    expected = np.zeros((41, 58, 4))
    for height, width in ((31, 44), (41, 58), (62, 87)):
        expected += resized(look(model, resized(normal(image), height, width), True), 41, 58)
    got = class_evidence(model, image, protocol)
    assert_evidence(got, expected)
    assert got.dtype == torch.float32
    assert model.sizes.count((62, 87)) == 4  # each scale and its mirror image, here and above


def test_plain_evidence_is_the_logits_and_flip_alone_averages() -> None:
    model, image = Toy(), photo(33, 40)
    assert torch.equal(class_evidence(model, image, Protocol()), full_logits(model, image))
    got = class_evidence(model, image, Protocol(flip=True))
    assert_evidence(got, look(model, normal(image), True))


def test_cityscapes_windows_end_with_the_image() -> None:
    """In small: whole image up to scale 1, above it windows side by side, the last moved inside."""
    model, image = Toy(), photo(48, 80)
    protocol = replace(
        PROTOCOLS["cityscapes-ms"], windows=Windows((48, 80), (48, 80), "shift", above_scale=1.0)
    )
    expected = np.zeros((48, 80, 4))
    for scale in protocol.scales:
        height, width = int(48 * scale + 0.5), int(80 * scale + 0.5)
        scaled = resized(normal(image), height, width)
        if scale <= 1:
            evidence = look(model, scaled, True)
        else:
            evidence, count = np.zeros((height, width, 4)), np.zeros((height, width, 1))
            for top in range(0, height, 48):
                for left in range(0, width, 80):
                    bottom, right = min(top + 48, height), min(left + 80, width)
                    box = slice(bottom - 48, bottom), slice(right - 80, right)
                    evidence[box] += look(model, scaled[box], True)
                    count[box] += 1
            evidence /= count
        expected += resized(evidence, 48, 80)
    assert_evidence(class_evidence(model, image, protocol), expected)
    assert set(model.sizes) == {(24, 40), (36, 60), (48, 80)}


@pytest.mark.parametrize("shape", [(40, 60), (70, 44), (52, 52)])
def test_pascal_context_windows_are_filled_with_black(shape: tuple[int, int]) -> None:
    """In small: long side 52 times the scale, windows of 48 with stride 32, black beyond."""
    model, image = Toy(), photo(*shape)
    protocol = replace(
        PROTOCOLS["pascal-context"], long_side=52, windows=Windows((48, 48), (32, 32), "pad")
    )
    assert_evidence(class_evidence(model, image, protocol), literal_windows(model, image, protocol))
    assert set(model.sizes) == {(48, 48)}


def literal_windows(model: nn.Module, image: Any, protocol: Protocol, crop: int = 48) -> Any:
    """Base class of HRNet's data sets: crop ``crop``, stride two thirds, long side 52 * scale."""
    stride = crop * 2 // 3
    black = (-MEAN / STD).astype(np.float32)

    def fill(values: Any) -> Any:
        height, width = max(values.shape[0], crop), max(values.shape[1], crop)
        filled = np.tile(black, (height, width, 1))
        filled[: values.shape[0], : values.shape[1]] = values
        return filled

    shape = image.shape[:2]
    total = np.zeros((*shape, 4))
    for scale in protocol.scales:
        long_side = int(52 * scale + 0.5)
        height, width = (int(side * long_side / max(shape) + 0.5) for side in shape)
        scaled = fill(resized(normal(image), height, width))
        evidence, count = np.zeros((*scaled.shape[:2], 4)), np.zeros((*scaled.shape[:2], 1))
        top = 0
        while True:
            left = 0
            while True:
                part = scaled[top : top + crop, left : left + crop]
                h, w = part.shape[:2]
                evidence[top : top + h, left : left + w] += look(model, fill(part), True)[:h, :w]
                count[top : top + h, left : left + w] += 1
                if left + crop >= scaled.shape[1]:
                    break
                left += stride
            if top + crop >= scaled.shape[0]:
                break
            top += stride
        total += resized((evidence / count)[:height, :width], *shape)
    return total


def test_ade20k_goes_through_the_short_side() -> None:
    model, image = Toy(), photo(38, 61)
    protocol = replace(
        PROTOCOLS["ade20k"],
        short_side=52, long_side=52, windows=Windows((52, 52), (34, 34), "pad"),
    )  # fmt: skip
    first = resized(image, 52, int(61 * 52 / 38 + 0.5))
    expected = resized(literal_windows(model, first, protocol, crop=52), 38, 61)
    assert_evidence(class_evidence(model, image, protocol), expected)


def test_lip_looks_at_473_pixels_and_swaps_left_and_right() -> None:
    model, image = Toy(), photo(60, 45)
    got = class_evidence(model, image, PROTOCOLS["lip"], size=(60, 45), flip_order=(0, 2, 1, 3))
    small = resized(image, 473, 473)
    expected = resized(look(model, normal(small), True, swaps=[(1, 2)]), 60, 45)
    assert_evidence(got, expected)
    assert set(model.sizes) == {(473, 473)}
    unswapped = class_evidence(model, image, PROTOCOLS["lip"], size=(60, 45))
    assert not torch.allclose(unswapped, got, rtol=1e-2)


def bilinear(count: int, length: int) -> Any:
    """Weights (count, length) of a bilinear resize, pixel centres on pixel centres, by hand."""
    weights = np.zeros((count, length), np.longdouble)
    for k in range(count):
        at = min(max((k + 0.5) * length / count - 0.5, 0), length - 1)
        low = int(at)
        weights[k, low] += 1 - (at - low)
        weights[k, min(low + 1, length - 1)] += at - low
    return weights


@pytest.mark.parametrize(("gain", "shift"), [(150.0, 0.0), (150.0, 500.0), (1.0, -300.0)])
def test_large_logits_do_not_overflow(gain: float, shift: float) -> None:
    """exp(500) is too large for float32 and exp(-300) too small: NumPy's long double knows."""
    model, image = Toy(gain), photo(40, 50)
    with torch.no_grad():
        model.conv.bias += shift / gain
    total = np.zeros((4, 40, 50), np.longdouble)
    for height, width in ((40, 50), (50, 63)):
        batch = torch.from_numpy(resized(normal(image), height, width).transpose(2, 0, 1))[None]
        with torch.no_grad():
            both = [model(batch)[0].numpy(), model(batch.flip(-1))[0].numpy()]
        full = [
            bilinear(height, b.shape[1]) @ b.astype(np.longdouble) @ bilinear(width, b.shape[2]).T
            for b in both
        ]
        evidence = np.exp((full[0] + full[1][..., ::-1]) / 2)
        total += bilinear(40, height) @ evidence @ bilinear(50, width).T
    assert abs(np.log(total.max(axis=0))).max() > 89
    got = class_evidence(model, image, Protocol(scales=(1.0, 1.25), flip=True))
    assert torch.isfinite(got).all()
    assert np.array_equal(labels_of(got), total.argmax(axis=0))
    share = got.numpy() / got.numpy().sum(axis=0)
    np.testing.assert_allclose(share, (total / total.sum(axis=0)).astype(float), atol=5e-3)


def test_windows_of_large_logits_are_those_of_small_ones_times_a_factor() -> None:
    """A constant added to all logits of all windows is one factor."""
    image = photo(40, 50)
    windows = Windows((40, 40), (30, 30), "pad")
    protocol = Protocol(scales=(1.0, 1.25), flip=True, windows=windows)
    plain, moved = Toy(), Toy()
    with torch.no_grad():
        moved.conv.bias += 900.0
    small, large = (class_evidence(m, image, protocol).double() for m in (plain, moved))
    assert torch.isfinite(large).all()
    ratio = large / small
    assert torch.allclose(ratio, ratio.mean(), rtol=2e-3)


def test_what_is_no_number_or_too_small_is_said() -> None:
    model, image = Toy(float("nan")), photo(40, 50)
    for protocol in (Protocol(), Protocol(flip=True), PROTOCOLS["lip"]):
        with pytest.raises(LogitsNotFiniteError, match="not finite"):
            class_evidence(model, image, protocol)

    class Picky(Toy):
        def forward(self, image: Tensor) -> Tensor:
            if image.shape[-1] < 32:
                raise GstoVizError("the image is too small")
            return super().forward(image)

    with pytest.raises(GstoVizError, match=r"at scale 0\.5: the image is too small"):
        class_evidence(Picky(), image, Protocol(scales=(1.0, 0.5)))
    with pytest.raises(GstoVizError, match="has no scale"):
        class_evidence(Toy(), image, Protocol(scales=()))


def test_half_precision_is_near_and_float32() -> None:
    model, image = Toy(), photo(40, 50)
    for protocol in (Protocol(), Protocol(flip=True)):
        whole = class_evidence(model, image, protocol)
        half = class_evidence(model, image, protocol, precision="bf16")
        assert half.dtype == torch.float32
        assert not torch.equal(half, whole)
        assert torch.allclose(half, whole, rtol=0.1, atol=0.05)
