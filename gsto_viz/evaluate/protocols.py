"""How an image goes through a network when it is scored: scales, mirror image, windows, logits.

A protocol says what the papers did, one preset for each data set whose settings differ. Settings
come from HRNet's code, github.com/HRNet/HRNet-Semantic-Segmentation, which GSTO's is made from:
``lib/datasets/{base_dataset,cityscapes,lip,pascal_ctx,ade20k}.py``, ``lib/core/function.py``, the
commands in its README, and the test sizes in ``experiments/``.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gsto_viz.errors import GstoVizError, did_you_mean
from gsto_viz.models.base import ModelInfo
from gsto_viz.models.losses import resize_logits
from gsto_viz.models.outputs import ANY, MAIN, Wanted, class_logits
from gsto_viz.torch_utils import IMAGENET_MEAN, IMAGENET_STD, image_to_tensor, run_network

Size = tuple[int, int]
Span = tuple[int, int]

MAX_SCALE = 8.0


@dataclass(frozen=True)
class Windows:
    """An image that is looked at window by window.

    Attributes:
        size: Height and width of a window in pixels of the scaled image.
        stride: Steps from one window to the next.
        last: A last window that would reach beyond the image is moved inside (``shift``), or stays
            and is filled with black pixels (``pad``), as is an image smaller than a window.
        above_scale: At this scale and below, the whole image is one window.
    """

    size: Size
    stride: Size
    last: Literal["shift", "pad"]
    above_scale: float = 0.0


@dataclass(frozen=True)
class Protocol:
    """One way to score an image; the defaults are: native size, single scale, no flip.

    Class evidence is the sum over scales of exp(logits), without softmax. With ``flip``, the logits
    of a window are the mean of those of the window and, mirrored back, of its mirror image. Windows
    that overlap are averaged after exp. Every resize is bilinear.

    Attributes:
        name: Name of the preset, with what was changed in it.
        scales: Factors by which the image is resized.
        flip: Whether the mirror image is looked at as well.
        input_size: Height and width to which images are resized first; None keeps them.
        short_side: Length to which the short side is resized first; None keeps it.
        long_side: Length of the long side at scale 1; None takes the image's own.
        windows: None looks at the whole image at every scale.
        source: Where the settings come from.
    """

    name: str = "single"
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    input_size: Size | None = None
    short_side: int | None = None
    long_side: int | None = None
    windows: Windows | None = None
    source: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether the network sees the image once, as it is: then logits are all there is."""
        return self == Protocol(self.name, source=self.source)

    @property
    def fixes_size(self) -> bool:
        """Whether the size of the network's input does not depend on that of the image."""
        return any(x is not None for x in (self.input_size, self.short_side, self.long_side))

    def with_changes(
        self, *, scales: tuple[float, ...] | None = None, flip: bool | None = None
    ) -> "Protocol":
        """Return this protocol with other scales, or with or without flip; None changes nothing."""
        new = replace(
            self,
            scales=self.scales if scales is None else scales,
            flip=self.flip if flip is None else flip,
        )
        changed = [
            f"scales {','.join(f'{s:g}' for s in new.scales)}" * (new.scales != self.scales),
            ("flip" if new.flip else "no flip") * (new.flip != self.flip),
        ]
        said = ", ".join(word for word in changed if word)
        return replace(new, name=f"{self.name} with {said}") if said else self

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        settings: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        del settings["source"]
        return settings


SINGLE = Protocol(source="GSTO, tables 1 to 4: single scale, no flip")
CITYSCAPES_MS = Protocol(
    "cityscapes-ms",
    scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75),
    flip=True,
    windows=Windows((1024, 2048), (1024, 2048), "shift", above_scale=1.0),
    source="HRNet README (testing on Cityscapes), cityscapes.py: multi_scale_inference",
)
LIP = Protocol(
    "lip",
    flip=True,
    input_size=(473, 473),
    source="HRNet README (testing on LIP), lip.py: testval images and inference",
)
PASCAL_CONTEXT = Protocol(
    "pascal-context",
    scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0),
    flip=True,
    long_side=520,
    windows=Windows((480, 480), (320, 320), "pad"),
    source="HRNet README (testing on PASCAL-Context), base_dataset.py: multi_scale_inference",
)
ADE20K = Protocol(
    "ade20k",
    scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0),
    flip=True,
    short_side=520,
    long_side=520,
    windows=Windows((520, 520), (346, 346), "pad"),
    source="HRNet-OCR README (testing on ADE20K), ade20k.py, base_dataset.py; its padding to a "
    "multiple of 8, which it does not take off again, is left out",
)
PROTOCOLS = {p.name: p for p in (SINGLE, CITYSCAPES_MS, LIP, PASCAL_CONTEXT, ADE20K)}


def protocol_named(name: str) -> Protocol:
    """Return a preset.

    Raises:
        GstoVizError: There is none of this name; the message lists them.
    """
    if name not in PROTOCOLS:
        choose = f"choose one of {', '.join(PROTOCOLS)}"
        hint = did_you_mean(name.lower(), PROTOCOLS, count=1, cutoff=0.6, quoted=True, then=choose)
        raise GstoVizError(f"no protocol '{name}'; {hint}")
    return PROTOCOLS[name]


def parse_scales(text: str) -> tuple[float, ...]:
    """Turn ``0.5,1,2`` into scale factors.

    Raises:
        GstoVizError: Not numbers with commas, out of (0, 8], or one of them twice.
    """
    try:
        scales = tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise GstoVizError(f"--scales {text}: write numbers, such as 0.5,1,2") from error
    if not all(0 < scale <= MAX_SCALE for scale in scales):
        raise GstoVizError(f"--scales {text}: a scale lies above 0 and is at most {MAX_SCALE:g}")
    if len(set(scales)) != len(scales):
        raise GstoVizError(f"--scales {text}: a scale is given twice; give each once")
    return scales


def scaled_size(size: Size, scale: float, long_side: int | None = None) -> Size:
    """Return the size of an image at a scale; halves are rounded up, as in HRNet's code.

    Args:
        size: Height and width.
        scale: Factor.
        long_side: Length of the long side at scale 1; None takes the image's own.
    """
    longest = max(size)
    target = int((longest if long_side is None else long_side) * scale + 0.5)
    height, width = (int(side * target / longest + 0.5) for side in size)
    return max(1, height), max(1, width)


def short_side_size(size: Size, short_side: int) -> Size:
    """Return the size of an image whose short side gets a given length."""
    height, width = (int(side * short_side / min(size) + 0.5) for side in size)
    return height, width


def spans(length: int, window: int, stride: int, *, last: Literal["shift", "pad"]) -> list[Span]:
    """Return from where to where each window reaches along one side of an image.

    Args:
        length: Pixels of the side.
        window: Pixels of a window.
        stride: Pixels from one window to the next.
        last: ``shift`` moves the last window back so that it ends with the image; ``pad`` cuts it
            there, and what it lacks is filled.
    """
    count = max(math.ceil((length - window) / stride), 0) + 1
    result = []
    for k in range(count):
        stop = min(k * stride + window, length)
        result.append((max(stop - window, 0) if last == "shift" else k * stride, stop))
    return result


def check_input_size(protocol: Protocol, size: Sequence[int] | None) -> None:
    """Refuse a size beside a protocol that has its own.

    Raises:
        GstoVizError: Both are given.
    """
    if size is not None and protocol.fixes_size:
        raise GstoVizError(
            f"protocol {protocol.name} fixes the size of the network's input; leave --size out"
        )


IMAGENET = (IMAGENET_MEAN, IMAGENET_STD)

Precision = Literal["fp32", "bf16", "fp16"]
PRECISIONS: dict[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


class LogitsNotFiniteError(GstoVizError):
    """A network gives NaN or infinity, and no class can be read from that."""


def input_batch(model: nn.Module, image: npt.NDArray[np.uint8]) -> Tensor:
    """Normalise an image (H, W, 3) as a network wants it: (1, 3, H, W) on its device, its dtype.

    Ours say how images are normalised, other networks get ImageNet's values.
    """
    info = getattr(model, "info", None)
    mean, std = (info.mean, info.std) if isinstance(info, ModelInfo) else IMAGENET
    batch = image_to_tensor(image, mean, std).unsqueeze(0)
    parameter = next(model.parameters(), batch)
    return batch.to(parameter.device, parameter.dtype)


def black(model: nn.Module) -> Tensor:
    """Return what a black pixel becomes in ``input_batch``, (1, 3, 1, 1)."""
    return input_batch(model, np.zeros((1, 1, 3), np.uint8))


def aligns_corners(model: nn.Module) -> bool:
    """Return whether a network resizes corner on corner."""
    return bool(getattr(getattr(model, "config", None), "align_corners", False))


def batch_logits(
    model: nn.Module, batch: Tensor, precision: Precision = "fp32", wanted: Wanted = ANY
) -> Tensor:
    """Return the logits of a batch (N, 3, H, W) at its size, (N, K, H, W) float32."""
    with autocast(batch.device, precision):
        output = run_network(model, batch)
    logits = class_logits(output, wanted, batch, last=_ends_in_linear(model))
    size = (int(batch.shape[-2]), int(batch.shape[-1]))
    return resize_logits(logits, size, align_corners=aligns_corners(model))


def _ends_in_linear(model: nn.Module) -> bool:
    """Return whether the last part with weights works on the last axis."""
    parts = [part for part in model.modules() if next(part.parameters(False), None) is not None]
    return bool(parts) and isinstance(parts[-1], nn.Linear | nn.LayerNorm)


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """Let a network compute in a precision where it may."""
    dtype = PRECISIONS[precision]
    return torch.autocast(device.type, dtype, enabled=precision != "fp32")


@torch.inference_mode()
def full_logits(
    model: nn.Module,
    image: npt.NDArray[np.uint8],
    precision: Precision = "fp32",
    wanted: Wanted = ANY,
) -> Tensor:
    """Return the logits of one image at its size.

    Logits are resized bilinearly, with the network's corner convention. The network should be in
    evaluation mode.

    Args:
        model: A network; ours say how images are normalised, others get ImageNet's values.
        image: (H, W, 3) uint8 sRGB.
        precision: What the network computes in where it may (autocast); logits are float32.
        wanted: Which of its outputs, where it has several.

    Returns:
        (K, H, W) float32 on the network's device.
    """
    return batch_logits(model, input_batch(model, image), precision, wanted)[0]


def labels_of(evidence: Tensor) -> npt.NDArray[np.uint8]:
    """Return the class of the greatest evidence: (K, H, W) to (H, W) uint8."""
    if evidence.device.type == "cpu":
        # NumPy takes a sixth of torch's time along the first axis; both give the first of equals.
        labels: npt.NDArray[np.uint8] = evidence.numpy().argmax(axis=0).astype(np.uint8)
        return labels
    return evidence.argmax(dim=0).to("cpu", torch.uint8).numpy()


def predict(
    model: nn.Module, image: npt.NDArray[np.uint8], *, output: str = MAIN
) -> npt.NDArray[np.uint8]:
    """Label one image with the class of the greatest logit; arguments as for ``full_logits``.

    Returns:
        (H, W) uint8 class indices.

    Raises:
        LogitsNotFiniteError: A logit is NaN or infinite.
    """
    return labels_of(finite(full_logits(model, image, wanted=Wanted(output=output))))


FLOAT32_EXPONENT, FLOAT64_EXPONENT = 80.0, 700.0
"""exp() of these is far from the greatest number of its kind, also when it is added up."""


LogitsOf = Callable[[Tensor], Tensor]


@dataclass
class _ExpSum:
    """A sum of exp(logits), held as values * exp(offset) so that large logits do not overflow.

    As long as the greatest logit of every pixel lies between -80 and 80, values are float32 and the
    offset is 0, as in the papers' code; else they are float64, where the device has it.
    """

    values: Tensor
    offset: float = 0.0

    def add(self, other: "_ExpSum", at: tuple[Any, ...] = (...,)) -> None:
        """Add another sum at some cells of this one."""
        dtype = torch.promote_types(self.values.dtype, other.values.dtype)
        offset = max(self.offset, other.offset)
        self._hold(dtype, offset)
        other._hold(dtype, offset)
        self.values[at] += other.values

    def _hold(self, dtype: torch.dtype, offset: float) -> None:
        self.values = self.values.to(dtype)
        if offset != self.offset:
            self.values = self.values * math.exp(self.offset - offset)
            self.offset = offset


def _exponential(logits: Tensor) -> _ExpSum:
    """Return exp of logits (1, K, h, w)."""
    peaks = logits.amax(dim=1)
    high, low = float(peaks.max()), float(peaks.min())
    if low >= -FLOAT32_EXPONENT and high <= FLOAT32_EXPONENT:
        return _ExpSum(torch.exp(logits))
    wide = logits.device.type != "mps"
    limit = FLOAT64_EXPONENT if wide else FLOAT32_EXPONENT
    offset = max(0.0, high - limit)
    return _ExpSum(torch.exp((logits.double() if wide else logits) - offset), offset)


@torch.inference_mode()
def class_evidence(
    model: nn.Module,
    image: npt.NDArray[np.uint8],
    protocol: Protocol,
    *,
    size: Size | None = None,
    flip_order: Sequence[int] | None = None,
    precision: Precision = "fp32",
    wanted: Wanted = ANY,
) -> Tensor:
    """Return how much speaks for each class at each pixel; the greatest is the prediction.

    Args:
        model: A network in evaluation mode.
        image: (H, W, 3) uint8 sRGB.
        protocol: What is done with the image. The plain one gives logits; every other one the sum
            of exp(logits), up to one positive factor for the whole image.
        size: Height and width of the result; None takes the image's.
        flip_order: For each class the class that it is in a mirror image; None changes none.
        precision: What the network computes in where it may (autocast).
        wanted: Which of its outputs, where it has several.

    Returns:
        (K, *size) float32 or float64 on the network's device.

    Raises:
        LogitsNotFiniteError: A logit is NaN or infinite.
        RefusedImageError: The network does not take the image, as where it is small at a scale.
    """
    size = size or (image.shape[0], image.shape[1])
    if protocol.is_plain and size == image.shape[:2]:
        return finite(full_logits(model, image, precision, wanted))
    batch = input_batch(model, _first_resize(image, protocol))
    shape = (int(batch.shape[-2]), int(batch.shape[-1]))
    align = aligns_corners(model)
    logits_of = partial(
        _window_logits,
        partial(batch_logits, model, precision=precision, wanted=wanted),
        flip=protocol.flip,
        flip_order=flip_order,
    )
    total: _ExpSum | None = None
    for scale in protocol.scales:
        part = _scale_evidence(logits_of, black(model), batch, scale, protocol)
        part.values = _resize(part.values, shape, align)
        if total is None:
            total = part
            continue
        total.add(part)
    if total is None:
        raise GstoVizError(f"protocol {protocol.name} has no scale; give at least one")
    return _resize(total.values, size, align)[0]


def _window_logits(
    logits_of: LogitsOf, window: Tensor, *, flip: bool, flip_order: Sequence[int] | None
) -> Tensor:
    """Return the logits of a window (1, 3, h, w), averaged with its mirror image's if so asked."""
    logits = with_mirror_image(logits_of, window, flip_order) if flip else logits_of(window)
    return finite(logits)


def with_mirror_image(
    logits_of: LogitsOf, batch: Tensor, flip_order: Sequence[int] | None = None, shift: int = 0
) -> Tensor:
    """Return the mean of the logits of a batch and, mirrored back, of its mirror image.

    Args:
        logits_of: The network.
        batch: (N, 3, H, W).
        flip_order: For each class the class that it is in a mirror image; None changes none.
        shift: Cells by which those of the mirror image are moved to the right; its first columns
            stay as they are.
    """
    logits = logits_of(batch)
    mirrored = logits_of(batch.flip(-1)).flip(-1)
    if flip_order is not None:
        mirrored = mirrored[:, list(flip_order)]
    if shift:
        mirrored = torch.cat((mirrored[..., :shift], mirrored[..., :-shift]), dim=-1)
    return (logits + mirrored) * 0.5


def finite(logits: Tensor) -> Tensor:
    """Return logits, or refuse them.

    Raises:
        LogitsNotFiniteError: One is NaN or infinite.
    """
    if not bool(torch.isfinite(logits).all()):
        raise LogitsNotFiniteError(
            "the network's logits are not finite for this image: its weights are damaged, or "
            "numbers overflow in half precision"
        )
    return logits


def _first_resize(image: npt.NDArray[np.uint8], protocol: Protocol) -> npt.NDArray[np.uint8]:
    """Bring an image to the protocol's own input size; OpenCV's bilinear, 8 bits, as in HRNet."""
    size = protocol.input_size
    if protocol.short_side is not None:
        size = short_side_size((image.shape[0], image.shape[1]), protocol.short_side)
    if size is None or size == image.shape[:2]:
        return image
    resized = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.uint8)


def _resize(values: Tensor, size: Size, align: bool) -> Tensor:
    if values.shape[-2:] == size:
        return values
    return F.interpolate(values, size=size, mode="bilinear", align_corners=align)


def _scale_evidence(
    logits_of: LogitsOf, dark: Tensor, batch: Tensor, scale: float, protocol: Protocol
) -> _ExpSum:
    """Return the evidence of one scale at its own size, (1, K, h, w)."""
    shape = (int(batch.shape[-2]), int(batch.shape[-1]))
    size = scaled_size(shape, scale, protocol.long_side)
    if size != shape:
        # Pixel centres on pixel centres whatever the network's convention: the image is resized
        # before the network, by OpenCV's bilinear in the papers' code.
        batch = F.interpolate(batch, size=size, mode="bilinear", align_corners=False)
    windows = protocol.windows
    try:
        if windows is None or scale <= windows.above_scale:
            return _exponential(logits_of(batch))
        return _windows_evidence(logits_of, dark, batch, windows)
    except LogitsNotFiniteError:
        raise
    except GstoVizError as error:
        raise type(error)(f"at scale {scale:g}: {error}") from error


def _windows_evidence(
    logits_of: LogitsOf, dark: Tensor, batch: Tensor, windows: Windows
) -> _ExpSum:
    """Average the evidence of all windows over each pixel, (1, K, h, w)."""
    height, width = (int(side) for side in batch.shape[-2:])
    if windows.last == "pad":
        batch = _filled(dark, batch, windows.size)
    total: _ExpSum | None = None
    count = torch.zeros(1, 1, *batch.shape[-2:], device=batch.device)
    for rows, columns in _grid((int(batch.shape[-2]), int(batch.shape[-1])), windows):
        window = batch[..., rows, columns]
        seen = (int(window.shape[-2]), int(window.shape[-1]))
        if windows.last == "pad":
            window = _filled(dark, window, windows.size)
        part = _exponential(logits_of(window))
        if total is None:
            total = _ExpSum(part.values.new_zeros(1, part.values.shape[1], *batch.shape[-2:]))
        part.values = part.values[..., : seen[0], : seen[1]]
        total.add(part, (..., rows, columns))
        count[..., rows, columns] += 1
    assert total is not None  # an image has at least one window
    total.values = (total.values / count)[..., :height, :width]
    return total


def _grid(size: Size, windows: Windows) -> Iterator[tuple[slice, slice]]:
    """Give rows and columns of every window."""
    vertical, horizontal = (
        spans(*sides, last=windows.last)
        for sides in zip(size, windows.size, windows.stride, strict=True)
    )
    for top, bottom in vertical:
        for left, right in horizontal:
            yield slice(top, bottom), slice(left, right)


def _filled(dark: Tensor, batch: Tensor, size: Size) -> Tensor:
    """Add black pixels at the bottom and on the right until a batch has at least a size."""
    height, width = (int(side) for side in batch.shape[-2:])
    if height >= size[0] and width >= size[1]:
        return batch
    shape = (1, 3, max(height, size[0]), max(width, size[1]))
    filled = dark.to(batch).expand(shape).clone()
    filled[..., :height, :width] = batch
    return filled
