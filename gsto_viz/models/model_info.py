"""What a checkpoint says about its network, and the safetensors files that carry it."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from gsto_viz.errors import GstoVizError
from gsto_viz.files import atomic_path
from gsto_viz.gains import Gains
from gsto_viz.torch_utils import IMAGENET_MEAN, IMAGENET_STD
from gsto_viz.types import ClassInfo, ClassList

SCHEMA_VERSION = 1


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


def info_to_json(info: ModelInfo) -> dict[str, Any]:
    """Return what a checkpoint's metadata holds beside the network's configuration.

    Name and fingerprint belong to the file and the gains are tensors: they are not in it.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "network": info.network,
        "classes": info.classes.to_json(),
        "mean": list(info.mean),
        "std": list(info.std),
        "channel_order": "RGB",
        "notice": info.notice,
        "training": dict(info.training),
    }


def info_from_json(
    about: Any, *, name: str, gains: Mapping[str, Gains], sha256: str, source: str
) -> ModelInfo:
    """Check the metadata of a checkpoint and make a ``ModelInfo`` of it.

    Args:
        about: The parsed JSON.
        name: Name of the checkpoint.
        gains: Read from its tensors.
        sha256: Of its file.
        source: File name for messages.

    Raises:
        GstoVizError: A newer schema, or a key that is missing or holds something else than it must;
            the message names the key.
    """
    if not isinstance(about, dict):
        raise _damaged(source, "it is no object")
    version = about.get("schema_version")
    if version != SCHEMA_VERSION:
        raise GstoVizError(
            f"{source} has checkpoint schema {version!r} and this version of gsto_viz reads "
            f"{SCHEMA_VERSION}; update gsto_viz or take another copy"
        )
    network, notice, training = (about.get(key) for key in ("network", "notice", "training"))
    if not isinstance(network, str):
        raise _damaged(source, "'network' is no name")
    if not (notice is None or isinstance(notice, str)):
        raise _damaged(source, "'notice' is no text")
    if not isinstance(training, dict):
        raise _damaged(source, "'training' is no object")
    if about.get("channel_order") != "RGB":
        raise _damaged(source, "'channel_order' is not RGB")
    return ModelInfo(
        name=name,
        network=network,
        classes=_classes(about.get("classes"), source),
        mean=_channels(about, "mean", source),
        std=_channels(about, "std", source),
        gains=gains,
        notice=notice,
        training=training,
        sha256=sha256,
    )


def _damaged(source: str, what: str) -> GstoVizError:
    return GstoVizError(f"{source} has damaged gsto_viz metadata: {what}; take another copy")


def _channels(about: Mapping[str, Any], key: str, source: str) -> tuple[float, ...]:
    """Return the three numbers under ``mean`` or ``std``; a deviation is above 0."""
    values = about.get(key)
    if not isinstance(values, list) or len(values) != 3 or not all(map(_is_number, values)):
        raise _damaged(source, f"'{key}' is not three numbers")
    if key == "std" and min(values) <= 0:
        raise _damaged(source, "'std' is not above 0")
    return tuple(float(v) for v in values)


def _is_number(value: Any) -> bool:
    # A JSON integer may be beyond float: compared, not converted. NaN fails every comparison.
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max


def _classes(value: Any, source: str) -> ClassList:
    """Read what ``ClassList.to_json`` gave: ids 0..K-1 in order."""
    entries = value.get("classes") if isinstance(value, dict) else None
    if not isinstance(entries, list) or not isinstance(value.get("name"), str):
        raise _damaged(source, "'classes' is no class list")
    classes = tuple(_class(e, i, source) for i, e in enumerate(entries))
    pairs = value.get("flip_pairs", [])
    whole = isinstance(pairs, list) and all(isinstance(p, list) and len(p) == 2 for p in pairs)
    members = [id_ for pair in pairs for id_ in pair] if whole else []
    known = all(type(m) is int and m in range(len(classes)) for m in members)
    if not whole or not known or len(set(members)) < len(members):
        raise _damaged(source, "'flip_pairs' is not made of pairs of classes")
    return ClassList(value["name"], classes, tuple((pair[0], pair[1]) for pair in pairs))


def _class(entry: Any, index: int, source: str) -> ClassInfo:
    where = f"'classes[{index}]'"
    if not isinstance(entry, dict) or entry.get("id") != index:
        raise _damaged(source, f"{where} is not the class with id {index}")
    name, color, kind = entry.get("name"), entry.get("color"), entry.get("kind")
    if not isinstance(name, str) or kind not in ("thing", "stuff"):
        raise _damaged(source, f"{where} has no name or is neither thing nor stuff")
    if not isinstance(color, list) or len(color) != 3 or not all(type(c) is int for c in color):
        raise _damaged(source, f"{where} has no colour of three whole numbers")
    if not 0 <= min(color) <= max(color) <= 255:
        raise _damaged(source, f"{where} has a colour outside 0..255")
    return ClassInfo(index, name, (color[0], color[1], color[2]), thing=kind == "thing")


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file.

    Args:
        path: Where it shall appear.
        tensors: Any device and layout; stored contiguous, values and types as they are.
        metadata: Texts by name.

    Raises:
        GstoVizError: The operating system refused the write; what was there before is intact.
    """
    stored = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    # Not safetensors' own save_file: that puts a second temporary file, readable by its owner
    # alone, in the place of ours, and reports a full disk as an error of its own kind.
    content = save(stored, dict(metadata))
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file.

    Returns:
        Tensors by name, and the file's text metadata.

    Raises:
        GstoVizError: Missing, a folder, or not a whole safetensors file.
    """
    if not path.is_file():
        raise GstoVizError(f"no file {path}; check the path")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise GstoVizError(
            f"{path} is not a readable safetensors file ({error}); take another copy"
        ) from error
    return tensors, metadata


def read_metadata(path: Path) -> dict[str, str]:
    """Read the texts of a safetensors file without its tensors; errors as in ``read_tensors``."""
    if not path.is_file():
        raise GstoVizError(f"no file {path}; check the path")
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise GstoVizError(
            f"{path} is not a readable safetensors file ({error}); take another copy"
        ) from error
