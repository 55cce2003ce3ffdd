"""Which checkpoints the page offers: the shipped ones, and those of the folder given at the start.

Only headers are read here. A page never opens a path that a link or an upload names: it takes keys
of this list.
"""

import functools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer.safe_text import safe_name
from gsto_viz.explorer.server import FOLDER_VARIABLE
from gsto_viz.gains import PREFIX as GAINS_PREFIX
from gsto_viz.models import SegmentationNetwork, shipped_checkpoints
from gsto_viz.models.base import NetworkConfig
from gsto_viz.models.checkpoint import METADATA_KEY, info_from_json, read_config
from gsto_viz.network import open_network
from gsto_viz.types import ClassList

SHIPPED_PAIR = ("scenes-hrnetv2-w18-small-v1", "scenes-gsto-hrnet-w18-small-v1")
"""The first view, where both are there: trained on scenes, free of licence conditions."""
MAX_FILES = 200


@dataclass(frozen=True)
class Choice:
    """A checkpoint that may be chosen.

    Attributes:
        key: Shipped name, or path within the folder; unique in a list, used in links.
        path: The file.
        stamp: Time of change (ns) and size (bytes) of the file: another stamp, another file.
        network: Registered name of the architecture, and that it is equalized where it is.
        classes: Its classes.
        gated: Whether it has gates.
        notice: What must be shown to who uses it (licence of the data), or None.
        task: What it is for: ``segmentation`` or ``pose``.
    """

    key: str
    path: Path
    stamp: tuple[int, int]
    network: str
    classes: ClassList
    gated: bool
    notice: str | None
    task: str = NetworkConfig.task

    @property
    def name(self) -> str:
        """The key without its suffix, harmless in file names and figures."""
        return safe_name(self.key.removesuffix(".safetensors"), "checkpoint")


def given_folder() -> Path | None:
    """Return the folder of ``--checkpoints``, or None."""
    text = os.environ.get(FOLDER_VARIABLE)
    return Path(text) if text else None


def list_choices(folder: Path | None) -> tuple[tuple[Choice, ...], tuple[str, ...]]:
    """Return what may be chosen, shipped ones first, and why the others may not.

    Args:
        folder: ``.safetensors`` files in it and in its subfolders are offered; None: no folder.

    Returns:
        Choices, and one sentence for each file that was left out.
    """
    found: list[tuple[str, Path]] = list(shipped_checkpoints().items())
    left_out: list[str] = []
    if folder is not None:
        files = sorted([*folder.glob("*.safetensors"), *folder.glob("*/*.safetensors")])
        if len(files) > MAX_FILES:
            left_out.append(f"{folder} has {len(files)} checkpoints; only {MAX_FILES} are offered.")
        found += [(path.relative_to(folder).as_posix(), path) for path in files[:MAX_FILES]]
    choices = []
    for key, path in found:
        try:
            status = path.stat()
            choices.append(_choice(key, path, (status.st_mtime_ns, status.st_size)))
        except OSError as error:
            left_out.append(f"{key} cannot be read: {error.strerror or error}.")
        except GstoVizError as error:
            left_out.append(f"{error}.")
    return tuple(choices), tuple(left_out)


def opened(path: Path, name: str = "") -> SegmentationNetwork:
    """Open the network of a checkpoint; ``name`` is what pages and figures call it.

    Raises:
        GstoVizError: The file does not hold what its header promised.
    """
    model = open_network(path).module
    if not isinstance(model, SegmentationNetwork) or model.info is None:
        raise GstoVizError(f"{name or path} says nothing of itself; give another checkpoint")
    model.info = replace(model.info, name=name or model.info.name)
    return model


@functools.lru_cache(maxsize=4 * MAX_FILES)
def _choice(key: str, path: Path, stamp: tuple[int, int]) -> Choice:
    """Read a file's header; the stamp makes the memory forget files that changed."""
    metadata, names = _header(key, path)
    about = _parsed(key, metadata)
    info = info_from_json(about, name=key, gains={}, sha256="", source=key)
    if not any(name.startswith(GAINS_PREFIX) for name in names):
        raise GstoVizError(
            f"{key} has no per-channel gains, so its maps would be arbitrary (training writes them "
            "when it ends)"
        )
    config = read_config(about, source=key)
    return Choice(
        key=key,
        path=path,
        stamp=stamp,
        network=config.named(info.network),
        classes=info.classes,
        gated=config.gated,
        notice=info.notice,
        task=config.task,
    )


def read_about(key: str, path: Path) -> dict[str, Any]:
    """Read what a checkpoint's header says of it; the weights stay unread.

    Args:
        key: What the checkpoint is called, for messages.
        path: The file.

    Raises:
        GstoVizError: No readable checkpoint of this package.
    """
    return _parsed(key, _header(key, path)[0])


def _parsed(key: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    if METADATA_KEY not in metadata:
        raise GstoVizError(
            f"{key} is not a checkpoint of gsto_viz (it has no metadata); official files are "
            "given by gsto-viz app --model NAME=FILE"
        )
    try:
        about: Any = json.loads(metadata[METADATA_KEY])
    except (ValueError, RecursionError) as error:
        raise GstoVizError(f"{key} has damaged metadata (no JSON)") from error
    if not isinstance(about, dict):
        raise GstoVizError(f"{key} has damaged metadata (no object)")
    return about


def _header(key: str, path: Path) -> tuple[dict[str, str], list[str]]:
    """Return the texts and the tensor names of a safetensors file."""
    try:
        with safe_open(path, framework="np") as file:
            return file.metadata() or {}, list(file.keys())
    except (SafetensorError, OSError, ValueError) as error:
        raise GstoVizError(f"{key} is not a readable safetensors file") from error


def default_pair(choices: Sequence[Choice]) -> tuple[str, str] | None:
    """Return the keys of the first view's A and B, or None without any choice.

    The shipped scenes pair if it is there. Else A is the first choice, a network without gates
    before others, and B the first gated one of the same classes (else the next one, else A).
    """
    keys = {choice.key for choice in choices}
    if keys.issuperset(SHIPPED_PAIR):
        return SHIPPED_PAIR
    if not choices:
        return None
    a = min(choices, key=lambda choice: choice.gated)
    others = [c for c in choices if c is not a and c.classes.names == a.classes.names]
    b = min(others, key=lambda choice: not choice.gated, default=a)
    return a.key, b.key
