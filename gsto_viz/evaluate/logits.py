"""From one image to the logits or labels of one network, at the size of the image."""

from contextlib import AbstractContextManager
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gsto_viz.errors import GstoVizError
from gsto_viz.models.losses import resize_logits
from gsto_viz.models.model_info import ModelInfo
from gsto_viz.torch_utils import IMAGENET_MEAN, IMAGENET_STD, image_to_tensor

IMAGENET = (IMAGENET_MEAN, IMAGENET_STD)

Precision = Literal["fp32", "bf16", "fp16"]
PRECISIONS: dict[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


class LogitsNotFiniteError(GstoVizError):
    """A network gives NaN or infinity, and no class can be read from that."""


def model_logits(output: Any) -> Tensor:
    """Return the main logits of a network's output: ours, a tensor, or the first of a sequence."""
    if isinstance(output, Tensor):
        return output
    logits = getattr(output, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    if isinstance(output, (list, tuple)) and output and isinstance(output[0], Tensor):
        return output[0]
    raise GstoVizError(
        f"the network returns a {type(output).__name__}; a tensor of logits, or something with a "
        "field 'logits', is needed"
    )


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
    """Say whether a network resizes corner on corner."""
    return bool(getattr(getattr(model, "config", None), "align_corners", False))


def batch_logits(model: nn.Module, batch: Tensor, precision: Precision = "fp32") -> Tensor:
    """Return the logits of a batch (N, 3, H, W) at its size, (N, K, H, W) float32."""
    with _autocast(batch.device, precision):
        logits = model_logits(model(batch))
    size = (int(batch.shape[-2]), int(batch.shape[-1]))
    return resize_logits(logits, size, align_corners=aligns_corners(model))


def _autocast(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    dtype = PRECISIONS[precision]
    return torch.autocast(device.type, dtype, enabled=precision != "fp32")


@torch.inference_mode()
def full_logits(
    model: nn.Module, image: npt.NDArray[np.uint8], precision: Precision = "fp32"
) -> Tensor:
    """Return the logits of one image at its size.

    Logits are resized bilinearly, with the network's corner convention. The network should be in
    evaluation mode.

    Args:
        model: A network; ours say how images are normalised, others get ImageNet's values.
        image: (H, W, 3) uint8 sRGB.
        precision: What the network computes in where it may (autocast); logits are float32.

    Returns:
        (K, H, W) float32 on the network's device.
    """
    return batch_logits(model, input_batch(model, image), precision)[0]


def labels_of(evidence: Tensor) -> npt.NDArray[np.uint8]:
    """Return the class of the greatest evidence: (K, H, W) to (H, W) uint8."""
    if evidence.device.type == "cpu":
        # NumPy takes a sixth of torch's time along the first axis; both give the first of equals.
        labels: npt.NDArray[np.uint8] = evidence.numpy().argmax(axis=0).astype(np.uint8)
        return labels
    return evidence.argmax(dim=0).to("cpu", torch.uint8).numpy()


def predict(model: nn.Module, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Label one image with the class of the greatest logit; arguments as for ``full_logits``.

    Returns:
        (H, W) uint8 class indices.
    """
    return labels_of(full_logits(model, image))
