"""Read official checkpoints (HRNet, GSTO, ImageNet, timm): plain tensors, whatever wraps them."""

import pickle
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gsto_viz.errors import GstoVizError

WRAPPERS = ("state_dict", "model")
"""Keys under which training scripts put the weights beside other things."""

PREFIXES = ("module.", "model.")
"""Traces of DataParallel and of the official training wrapper."""

LOSS_PREFIX = "loss."
"""Class weights that the official training wrapper saves along."""

# What torch's own reader raises for damaged files and for pickles that are not plain tensors.
UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,
    struct.error,
    SafetensorError,
    OSError,
)


def read_official(source: Mapping[str, Any] | str | Path) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights of an official checkpoint under plain official keys, on the CPU.

    Args:
        source: A ``.pth`` or ``.safetensors`` file, or what such a file holds. ``{"state_dict":
            ...}`` and ``{"model": ...}`` are opened, repeated ``module.`` and ``model.`` in front
            of keys are taken off, ``loss.`` keys are left out.

    Returns:
        Tensors by official key, and the original names of the keys that were left out.

    Raises:
        GstoVizError: No such file, a damaged file, a pickle of more than plain tensors (nothing of
            it is run), or no weights in it.
    """
    what = "the state dict" if isinstance(source, Mapping) else str(source)
    held: Any = source if isinstance(source, Mapping) else _read_file(Path(source))
    while isinstance(held, Mapping):
        inner = next((held[w] for w in WRAPPERS if isinstance(held.get(w), Mapping)), None)
        if inner is None:
            break
        held = inner
    if not isinstance(held, Mapping) or not held:
        raise GstoVizError(f"{what} holds no weights; give a state dict of tensors")
    weights: dict[str, Tensor] = {}
    left_out = []
    for name, value in held.items():
        key = _strip(str(name))
        if key.startswith(LOSS_PREFIX):
            left_out.append(str(name))
        elif not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized:
            raise GstoVizError(
                f"{what}: '{name}' is not a plain tensor; give the state dict of a network"
            )
        elif key in weights:
            raise GstoVizError(
                f"{what} has two tensors for '{key}'; give the weights of one network"
            )
        else:
            weights[key] = value.detach()
    return weights, left_out


def _strip(name: str) -> str:
    while name.startswith(PREFIXES):
        name = name.partition(".")[2]
    return name


def _read_file(path: Path) -> Any:
    if not path.is_file():
        raise GstoVizError(f"no checkpoint file {path}; check the path")
    try:
        if path.suffix == ".safetensors":
            return load_file(path, device="cpu")
        with warnings.catch_warnings():
            # torch warns about odd pickles before it refuses them; our sentence says enough.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise GstoVizError(
            f"{path} is damaged or holds more than plain tensors, which is never loaded;"
            " save the network's state_dict alone"
        ) from error
