"""The only copy of: evaluation mode and its undoing, device choice, image -> tensor."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from gsto_viz.errors import GstoVizError, RefusedImageError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)
"""What holds a network as its ``module``."""


@dataclass
class _Hold:
    """How many blocks hold a module in evaluation mode, and the flag that it had before them."""

    blocks: int
    training: bool


_HOLDS: WeakKeyDictionary[nn.Module, _Hold] = WeakKeyDictionary()
_HOLDS_LOCK = threading.RLock()
"""Guards ``_HOLDS`` and the flags; reentrant, because ``model.eval()`` may be anyone's code."""


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[nn.Module]:
    """Put every submodule in evaluation mode and restore each one's own flag afterwards.

    Blocks on the same network, or on networks that share parts, may overlap in any order and in
    any threads: a module is in evaluation mode until the last block that holds it ends, and then
    gets the flag that it had before the first.
    """
    held: list[tuple[nn.Module, _Hold]] = []
    try:
        with _HOLDS_LOCK:
            for module in model.modules():
                hold = _HOLDS.setdefault(module, _Hold(0, module.training))
                hold.blocks += 1
                held.append((module, hold))
            model.eval()
        yield model
    finally:
        with _HOLDS_LOCK:
            for module, hold in held:
                _release(module, hold)


def _release(module: nn.Module, hold: _Hold) -> None:
    """Count one block less; the last one gives the module its own flag back."""
    hold.blocks -= 1
    if hold.blocks == 0:
        # A block that nobody ended is collected with its network, whose entry is gone by then.
        _HOLDS.pop(module, None)
        module.training = hold.training


def unwrap(model: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """Take off the wrappers of ``torch.compile``, of parallelism and averages, and a ``Network``.

    Returns:
        The network itself and the names of the wrappers, outermost first.
    """
    wrappers: list[str] = []
    if not isinstance(model, nn.Module):
        model = model.module
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, WRAPPERS):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model, tuple(wrappers)
        wrappers.append(type(model).__name__)
        model = inner


def check_hookable(network: nn.Module) -> None:
    """Refuse TorchScript, into which nobody can look.

    Raises:
        GstoVizError: It is.
    """
    if isinstance(network, torch.jit.ScriptModule):
        raise GstoVizError(
            "a TorchScript module has no submodules that could be hooked; make the network of its "
            "Python code in a factory file and load its weights there"
        )


def pick_device(name: str = "auto") -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps`` into a device that is really there.

    Raises:
        GstoVizError: The device is unknown or not available on this machine.
    """
    counts = {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }
    if name == "auto":
        name = next(kind for kind, count in counts.items() if count)
    kind, colon, index = name.partition(":")
    if kind not in counts or (colon and not index.isdecimal()):
        raise GstoVizError(f"unknown device '{name}'; choose auto, cpu, cuda or mps")
    if int(index or 0) >= counts[kind]:
        raise GstoVizError(f"device '{name}' is not available here; use --device cpu")
    return torch.device(name)


def image_to_tensor(
    image: npt.NDArray[np.uint8],
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> Tensor:
    """Normalise an sRGB image for a network.

    Args:
        image: (H, W, 3) uint8.
        mean: Subtracted from values scaled to 0..1, per channel.
        std: Divides afterwards, per channel.

    Returns:
        (3, H, W) float32, contiguous.

    Raises:
        GstoVizError: The image is of another shape or type.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise GstoVizError(
            f"the image is {image.dtype} of shape {image.shape}; give uint8 of shape (H, W, 3), "
            "values 0..255"
        )
    # A read-only image (a memory map, a view) is as good as any: torch only wants it writable.
    values = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)
    return normalize(values, mean, std).contiguous()


_OF_DEVICE = tuple(
    getattr(torch, name)
    for name in ("OutOfMemoryError", "AcceleratorError")
    if hasattr(torch, name)
)
"""What says nothing of the size of an image, though it is a ``RuntimeError``."""


def run_network(model: nn.Module, batch: Tensor) -> Any:
    """Run a network on a copy of a batch (N, 3, H, W), which it may change; return what it returns.

    Raises:
        RefusedImageError: The network does not take images of this size. Foreign networks say that
            with errors of their own.
        GstoVizError: Its code fails in another way.
    """
    try:
        return model(batch.clone())
    except (GstoVizError, MemoryError, *_OF_DEVICE):
        raise
    except (RuntimeError, ValueError, AssertionError, ArithmeticError, IndexError) as error:
        size = "x".join(str(int(side)) for side in batch.shape[-2:])
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RefusedImageError(
            f"the network does not take an image of {size} (height x width): {reason}"
        ) from error
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise GstoVizError(
            f"the network's own code fails ({type(error).__name__}: {said}); mend it"
        ) from error


def elements(value: Any) -> dict[str, Any]:
    """Return the elements of a list, tuple, named tuple, mapping or dataclass by their key."""
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, list | tuple):
        by_index = {str(index): item for index, item in enumerate(value)}
        fields = getattr(value, "_fields", ())
        return by_index | {name: getattr(value, name) for name in fields}
    return {name: getattr(value, name) for name in getattr(value, "__dataclass_fields__", ())}


def as_batch(image: Tensor) -> Tensor:
    """Return (N, 3, H, W) for a normalised image (3, H, W) or a batch of them.

    Raises:
        GstoVizError: It is something else.
    """
    if not isinstance(image, Tensor) or image.ndim not in (3, 4):
        shape = tuple(getattr(image, "shape", ()))
        raise GstoVizError(
            f"a calibration image is a {type(image).__name__} of shape {shape}, not a normalised "
            "tensor (3, H, W); make it with gsto_viz.torch_utils.image_to_tensor"
        )
    return image[None] if image.ndim == 3 else image


def normalize(values: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return ``(values / 255 - mean) / std``; values (..., 3, H, W) float32, 0..255."""
    scale = torch.tensor(std, dtype=torch.float32, device=values.device).view(3, 1, 1) * 255.0
    offset = torch.tensor(mean, dtype=torch.float32, device=values.device).view(3, 1, 1) * 255.0
    return (values - offset) / scale


def images_to_batch(
    images: Tensor, device: torch.device, memory_format: torch.memory_format
) -> Tensor:
    """Normalise sRGB images with ImageNet's values, on the device where they are needed.

    Args:
        images: (N, H, W, 3) uint8; in this form a quarter of the bytes travel.
        device: Where to.
        memory_format: Layout of the result.

    Returns:
        (N, 3, H, W) float32; the values are those of ``image_to_tensor`` for each image.
    """
    values = images.to(device, non_blocking=True).permute(0, 3, 1, 2).float()
    return normalize(values, IMAGENET_MEAN, IMAGENET_STD).contiguous(memory_format=memory_format)
