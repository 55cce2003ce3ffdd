"""Our checkpoints: one safetensors file that holds weights, configuration, classes and gains.

Metadata (a JSON text under the key ``gsto_viz``) says everything needed to rebuild the network and
to know where it came from. No pickle is read or written.
"""

import functools
import json
import logging
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gsto_viz.errors import GstoVizError, did_you_mean
from gsto_viz.files import sha256_of
from gsto_viz.gains import PREFIX as GAINS_PREFIX
from gsto_viz.gains import gains_from_tensors, gains_to_tensors
from gsto_viz.models.config import HRNetConfig, config_from_dict
from gsto_viz.models.hrnet import HRNet, some_keys
from gsto_viz.models.model_info import (
    ModelInfo,
    info_from_json,
    info_to_json,
    read_metadata,
    read_tensors,
    write_tensors,
)

__all__ = [
    "ModelInfo",
    "load_checkpoint",
    "load_model",
    "load_weights",
    "save_checkpoint",
    "shipped_checkpoints",
]

METADATA_KEY = "gsto_viz"
BYTES_OF_NAME = 120
"""What a file says of each tensor: its name, shape and place."""

logger = logging.getLogger(__name__)


def save_checkpoint(
    path: str | Path, model: HRNet, info: ModelInfo, *, half_weights: bool = False
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: Ends in ``.safetensors``.
        model: The network; its tensors are copied to the CPU.
        info: What to say about it.
        half_weights: Store convolution weights (four-dimensional tensors) as float16. Everything
            else, batch-norm statistics above all, keeps its precision.

    Raises:
        GstoVizError: The file cannot be written, or a weight is beyond float16.
    """
    tensors = dict(model.state_dict())
    if half_weights:
        tensors.update({k: _halved(k, t) for k, t in tensors.items() if t.dim() == 4})
    about = {**info_to_json(info), "config": model.config.to_dict()}
    write_tensors(
        path,
        {**tensors, **gains_to_tensors(info.gains)},
        {METADATA_KEY: json.dumps(about, allow_nan=False)},
    )


def checkpoint_bytes(model: HRNet, *, half_weights: bool = False) -> int:
    """Return about how large ``save_checkpoint`` makes a file without gains."""
    tensors = model.state_dict().values()
    return sum(
        BYTES_OF_NAME + t.numel() * (2 if half_weights and t.dim() == 4 else t.element_size())
        for t in tensors
    )


def _halved(name: str, tensor: Tensor) -> Tensor:
    half = tensor.detach().to(torch.float16)
    if not torch.isfinite(half).all():
        raise GstoVizError(f"{name} holds values beyond float16; save without half_weights")
    return half


def load_checkpoint(path: str | Path, *, name: str | None = None) -> HRNet:
    """Rebuild a network from one of our checkpoints, in evaluation mode, on the CPU.

    Torch's generator is left as it was.

    Args:
        path: The file.
        name: For ``.info.name``; None takes the file's stem.

    Raises:
        GstoVizError: Not a checkpoint of ours, a newer schema, damaged metadata, or tensors that do
            not fit the configuration (which, and how many).
    """
    path = Path(path)
    tensors, metadata = read_tensors(path)
    if METADATA_KEY not in metadata:
        raise GstoVizError(
            f"{path} has no gsto_viz metadata; official files are read with load_official"
        )
    try:
        about = json.loads(metadata[METADATA_KEY])
    except (ValueError, RecursionError) as error:
        raise GstoVizError(f"{path} has damaged gsto_viz metadata: no JSON ({error})") from error
    info = info_from_json(
        about,
        name=name or path.stem,
        gains=gains_from_tensors(tensors),
        sha256=sha256_of(path),
        source=str(path),
    )
    config = _config(about.get("config"), source=str(path))
    if config.num_classes != len(info.classes):
        raise GstoVizError(
            f"{path} has damaged gsto_viz metadata: {len(info.classes)} classes for "
            f"{config.num_classes} logits; take another copy"
        )
    weights = {k: t for k, t in tensors.items() if not k.startswith(GAINS_PREFIX)}
    model = _empty_network(config, weights, source=str(path))
    load_weights(model, weights, source=str(path))
    model.info = info
    return model.eval()


def _config(values: Any, *, source: str) -> HRNetConfig:
    try:
        return config_from_dict(values)
    except GstoVizError as error:
        raise GstoVizError(f"{source} has a damaged network configuration: {error}") from error


def _empty_network(config: HRNetConfig, tensors: Mapping[str, Tensor], *, source: str) -> HRNet:
    """Make the network without drawing weights, and no larger than the file can fill.

    A file may claim any size, so a claim is compared with what it holds before memory is taken.
    """
    blocks = config.stage1_blocks + sum(config.modules) * config.blocks
    widest = max(*config.widths, config.stage1_planes, config.num_classes)
    if blocks > len(tensors) or widest > max((t.numel() for t in tensors.values()), default=0):
        raise GstoVizError(
            f"{source} holds {len(tensors)} tensors, too few for the network that it describes; "
            "take another copy"
        )
    with torch.device("meta"):
        model = HRNet(config)
    _check_fit(model, tensors, source=source)
    return model.to_empty(device="cpu")


def load_weights(model: HRNet, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Copy tensors into a network whose names and shapes they must match exactly.

    Raises:
        GstoVizError: Which keys are missing, left over or of another shape, and how many; the
            network is unchanged.
    """
    _check_fit(model, tensors, source=source)
    model.load_state_dict(dict(tensors))


def _check_fit(model: HRNet, tensors: Mapping[str, Tensor], *, source: str) -> None:
    own = model.state_dict()
    missing = [k for k in own if k not in tensors]
    left_over = [k for k in tensors if k not in own]
    other_shape = [k for k in own if k in tensors and own[k].shape != tensors[k].shape]
    problems = [
        f"{len(keys)} {what} ({some_keys(keys)})"
        for what, keys in (
            ("missing", missing),
            ("left over", left_over),
            ("of another shape", other_shape),
        )
        if keys
    ]
    if problems:
        raise GstoVizError(
            f"{source} does not fit this network: {'; '.join(problems)}; it belongs to another "
            "architecture or class count"
        )


def shipped_checkpoints() -> dict[str, Path]:
    """Return the checkpoints that come with the package: name -> file."""
    folder = Path(str(resources.files("gsto_viz") / "weights"))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def load_model(source: str | Path, **options: Any) -> HRNet:
    """Load a network by a shipped name or from a file.

    A checkpoint with a notice (the licence of its training data) says it once in a process, as a
    warning of the logger ``gsto_viz``: on stderr, unless logging is set up otherwise.

    Args:
        source: A shipped name (``gsto-viz models`` lists them), a ``.safetensors`` checkpoint of
            ours, or an official HRNet or GSTO file (``.pth``).
        **options: For official files only, passed to ``load_official_model``.

    Returns:
        The network in evaluation mode; ``.info`` says what it is.

    Raises:
        GstoVizError: No such name (the closest are given) or file, a file that does not fit, or
            options for a checkpoint of ours, which says its own network.
    """
    shipped = shipped_checkpoints()
    text = str(source)
    path = Path(source)
    if options and (text in shipped or _is_ours(path)):
        words = ", ".join("--" + name.replace("_", "-") for name in options)
        raise GstoVizError(
            f"{text} says itself which network it is: {words} is for official files only, leave it "
            "out"
        )
    if text in shipped:
        model = load_checkpoint(shipped[text], name=text)
    elif path.suffix == ".safetensors" and not options:
        model = load_checkpoint(path)
    elif path.suffix in (".pth", ".pt", ".safetensors"):
        from gsto_viz.models.official import load_official_model

        return load_official_model(path, **options)
    else:
        hint = "none are shipped with this version;"
        if shipped:
            hint = did_you_mean(text, shipped, otherwise=f"valid: {', '.join(shipped)}", then="or")
        raise GstoVizError(f"no checkpoint '{text}'; {hint} give a .safetensors or .pth file")
    if model.info is not None and model.info.notice:
        _say_notice(model.info.name, model.info.notice)
    return model


def _is_ours(path: Path) -> bool:
    return path.suffix == ".safetensors" and METADATA_KEY in read_metadata(path)


@functools.cache
def _say_notice(name: str, notice: str) -> None:
    """Log a notice; the cache makes it once for each checkpoint and process."""
    logger.warning("%s: %s", name, notice)
