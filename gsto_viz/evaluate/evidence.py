"""Class evidence of an image under a protocol: the sum over scales of exp(logits)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate.protocols import (
    LogitsNotFiniteError,
    Precision,
    Protocol,
    Size,
    Windows,
    aligns_corners,
    batch_logits,
    black,
    full_logits,
    input_batch,
    scaled_size,
    short_side_size,
    spans,
)

FLOAT32_EXPONENT, FLOAT64_EXPONENT = 80.0, 700.0
"""exp() of these is far from the greatest number of its kind, also when it is added up."""


@dataclass
class _ExpSum:
    """A sum of exp(logits), held as values * exp(offset) so that large logits do not overflow.

    As long as the greatest logit of every pixel lies between -80 and 80, values are float32 and the
    offset is 0, as in the papers' code; else they are float64, where the device has it.
    """

    values: Tensor
    offset: float = 0.0

    def add(self, other: "_ExpSum", place: tuple[Any, ...] = (...,)) -> None:
        """Add another sum at a place of this one."""
        dtype = torch.promote_types(self.values.dtype, other.values.dtype)
        offset = max(self.offset, other.offset)
        self._hold(dtype, offset)
        other._hold(dtype, offset)
        self.values[place] += other.values

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

    Returns:
        (K, *size) float32 or float64 on the network's device.

    Raises:
        LogitsNotFiniteError: A logit is NaN or infinite.
        GstoVizError: The network cannot take the image, e.g. because it is too small at a scale.
    """
    size = size or (image.shape[0], image.shape[1])
    if protocol.is_plain and size == image.shape[:2]:
        return _finite(full_logits(model, image, precision))
    batch = input_batch(model, _first_resize(image, protocol))
    shape = (int(batch.shape[-2]), int(batch.shape[-1]))
    look = _Look(model, flip_order, protocol.flip, precision)
    total: _ExpSum | None = None
    for scale in protocol.scales:
        part = _scale_evidence(look, batch, scale, protocol)
        part.values = _resize(part.values, shape, look.align)
        if total is None:
            total = part
            continue
        total.add(part)
    if total is None:
        raise GstoVizError(f"protocol {protocol.name} has no scale; give at least one")
    return _resize(total.values, size, look.align)[0]


@dataclass(frozen=True)
class _Look:
    """How a network looks at one window."""

    model: nn.Module
    flip_order: Sequence[int] | None
    flip: bool
    precision: Precision

    @property
    def align(self) -> bool:
        return aligns_corners(self.model)

    def __call__(self, window: Tensor) -> Tensor:
        """Return the logits of a window (1, 3, h, w), averaged with its mirror image's."""
        logits = batch_logits(self.model, window, self.precision)
        if self.flip:
            mirrored = batch_logits(self.model, window.flip(-1), self.precision).flip(-1)
            if self.flip_order is not None:
                mirrored = mirrored[:, list(self.flip_order)]
            logits = (logits + mirrored) * 0.5
        return _finite(logits)


def _finite(logits: Tensor) -> Tensor:
    if not bool(torch.isfinite(logits).all()):
        raise LogitsNotFiniteError("the network's logits are not finite; its weights are damaged")
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


def _scale_evidence(look: _Look, batch: Tensor, scale: float, protocol: Protocol) -> _ExpSum:
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
            return _exponential(look(batch))
        return _windows_evidence(look, batch, windows)
    except LogitsNotFiniteError:
        raise
    except GstoVizError as error:
        raise GstoVizError(f"at scale {scale:g}: {error}") from error


def _windows_evidence(look: _Look, batch: Tensor, windows: Windows) -> _ExpSum:
    """Average the evidence of all windows over each pixel, (1, K, h, w)."""
    height, width = (int(side) for side in batch.shape[-2:])
    if windows.last == "pad":
        batch = _filled(look.model, batch, windows.size)
    total: _ExpSum | None = None
    count = torch.zeros(1, 1, *batch.shape[-2:], device=batch.device)
    for rows, columns in _grid((int(batch.shape[-2]), int(batch.shape[-1])), windows):
        window = batch[..., rows, columns]
        seen = (int(window.shape[-2]), int(window.shape[-1]))
        if windows.last == "pad":
            window = _filled(look.model, window, windows.size)
        part = _exponential(look(window))
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


def _filled(model: nn.Module, batch: Tensor, size: Size) -> Tensor:
    """Add black pixels at the bottom and on the right until a batch has at least a size."""
    height, width = (int(side) for side in batch.shape[-2:])
    if height >= size[0] and width >= size[1]:
        return batch
    shape = (1, 3, max(height, size[0]), max(width, size[1]))
    filled = black(model).to(batch).expand(shape).clone()
    filled[..., :height, :width] = batch
    return filled
