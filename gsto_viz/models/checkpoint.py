"""Our checkpoints: one safetensors file that holds weights, configuration, classes and gains.

Metadata (a JSON text under the key ``gsto_viz``) says everything needed to rebuild the network and
to know where it came from. No pickle is read or written.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gsto_viz.errors import GstoVizError
from gsto_viz.files import atomic_path, sha256_of
from gsto_viz.gains import PREFIX as GAINS_PREFIX
from gsto_viz.gains import Gains, gains_from_tensors, gains_to_tensors
from gsto_viz.models.config import config_from_dict
from gsto_viz.models.hrnet import HRNet
from gsto_viz.models.registry import closest
from gsto_viz.torch_utils import IMAGENET_MEAN, IMAGENET_STD
from gsto_viz.types import ClassInfo, ClassList

METADATA_KEY = "gsto_viz"
SCHEMA_VERSION = 1
MAX_LISTED = 5


@dataclass(frozen=True)
class ModelInfo:
    """What a checkpoint says about its network.

    Attributes:
        name: Shipped name, or the file's stem.
        network: Registered name of the architecture, e.g. ``hrnetv2-w18-small-v1``.
        classes: Classes of the logits.
        mean: Per-channel mean that images are normalised with, on a 0..1 scale, RGB order.
        std: Per-channel standard deviation, likewise.
        gains: Per-channel gains by tap, measured on training images; may be empty.
        notice: What a user must know before using the weights (licence of the data), or None.
        training: Recipe, data, seed, step, scores and versions of the run that made it.
        sha256: Of the file, None before it is saved.
    """

    name: str
    network: str
    classes: ClassList
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    gains: Mapping[str, Gains] = field(default_factory=dict)
    notice: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    sha256: str | None = None


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
    """
    tensors = {
        name: _stored(tensor, half_weights=half_weights)
        for name, tensor in model.state_dict().items()
    }
    metadata = {
        "schema_version": SCHEMA_VERSION,
        "network": info.network,
        "config": model.config.to_dict(),
        "classes": info.classes.to_json(),
        "mean": list(info.mean),
        "std": list(info.std),
        "channel_order": "RGB",
        "notice": info.notice,
        "training": dict(info.training),
    }
    with atomic_path(path) as temporary:
        save_file(
            {**tensors, **gains_to_tensors(info.gains)},
            temporary,
            metadata={METADATA_KEY: json.dumps(metadata, allow_nan=False)},
        )


def _stored(tensor: Tensor, *, half_weights: bool) -> Tensor:
    tensor = tensor.detach().to("cpu")
    if half_weights and tensor.dim() == 4:
        tensor = tensor.to(torch.float16)
    return tensor.contiguous()


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file.

    Returns:
        Tensors by name, and the file's text metadata.

    Raises:
        GstoVizError: Missing, a folder, or not a safetensors file.
    """
    if not path.is_file():
        raise GstoVizError(f"no checkpoint file {path}; check the path")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise GstoVizError(f"{path} is not a readable safetensors file: {error}") from error
    return tensors, metadata


def load_checkpoint(path: str | Path, *, name: str | None = None) -> HRNet:
    """Rebuild a network from one of our checkpoints, in evaluation mode, on the CPU.

    Raises:
        GstoVizError: Not a checkpoint of ours, a newer schema, or tensors that do not fit the
            configuration (which, and how many).
    """
    path = Path(path)
    tensors, metadata = read_tensors(path)
    if METADATA_KEY not in metadata:
        raise GstoVizError(
            f"{path} has no gsto_viz metadata; official files are read with load_official"
        )
    try:
        about = json.loads(metadata[METADATA_KEY])
        version = about["schema_version"]
        if version != SCHEMA_VERSION:
            raise GstoVizError(
                f"{path} has checkpoint schema {version}, this version reads {SCHEMA_VERSION}"
            )
        model = HRNet(config_from_dict(about["config"]))
        info = ModelInfo(
            name=name or path.stem,
            network=about["network"],
            classes=_classes_from(about["classes"]),
            mean=tuple(about["mean"]),
            std=tuple(about["std"]),
            gains=gains_from_tensors(tensors),
            notice=about["notice"],
            training=about["training"],
            sha256=sha256_of(path),
        )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, GstoVizError):
            raise
        raise GstoVizError(f"{path} has damaged gsto_viz metadata: {error!r}") from error
    weights = {k: t for k, t in tensors.items() if not k.startswith(GAINS_PREFIX)}
    load_weights(model, weights, source=str(path))
    model.info = info
    return model.eval()


def _classes_from(value: dict[str, Any]) -> ClassList:
    return ClassList(
        name=value["name"],
        classes=tuple(
            ClassInfo(c["id"], c["name"], tuple(c["color"]), thing=c["kind"] == "thing")
            for c in value["classes"]
        ),
    )


def load_weights(model: HRNet, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Copy tensors into a network whose names and shapes they must match exactly.

    Raises:
        GstoVizError: Which keys are missing, left over or of another shape, and how many; the
            network is unchanged.
    """
    own = model.state_dict()
    missing = [k for k in own if k not in tensors]
    left_over = [k for k in tensors if k not in own]
    other_shape = [k for k in own if k in tensors and own[k].shape != tensors[k].shape]
    problems = [
        f"{len(keys)} {what} ({_some(keys)})"
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
    model.load_state_dict({k: t.to(own[k].dtype) for k, t in tensors.items()})


def _some(keys: Iterable[str]) -> str:
    listed = list(keys)
    more = f", and {len(listed) - MAX_LISTED} more" if len(listed) > MAX_LISTED else ""
    return ", ".join(listed[:MAX_LISTED]) + more


def shipped_checkpoints() -> dict[str, Path]:
    """Return the checkpoints that come with the package: name -> file."""
    folder = Path(str(resources.files("gsto_viz") / "weights"))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def load_model(source: str | Path, **options: Any) -> HRNet:
    """Load a network by a shipped name or from a file.

    Args:
        source: A shipped name (``gsto-viz models`` lists them), a ``.safetensors`` checkpoint of
            ours, or an official HRNet or GSTO file (``.pth``).
        **options: For official files only, passed to ``load_official_model``.

    Returns:
        The network in evaluation mode; ``.info`` says what it is.

    Raises:
        GstoVizError: No such name (the closest are given) or file, or a file that does not fit.
    """
    shipped = shipped_checkpoints()
    text = str(source)
    if text in shipped:
        return load_checkpoint(shipped[text], name=text)
    path = Path(source)
    if path.suffix == ".safetensors" and not options:
        return load_checkpoint(path)
    if path.suffix in (".pth", ".pt", ".safetensors"):
        from gsto_viz.models.official import load_official_model

        return load_official_model(path, **options)
    raise GstoVizError(
        f"no checkpoint '{text}'; {closest(text, shipped)} or give a .safetensors or .pth file"
    )
