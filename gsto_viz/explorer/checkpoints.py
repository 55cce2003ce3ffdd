"""What a checkpoint's header says of its training, for the table of checkpoints, and its card."""

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import SafetensorError, safe_open

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer.texts import safe_name
from gsto_viz.files import RUN_STATE, read_small_text
from gsto_viz.gains import PREFIX as GAINS_PREFIX
from gsto_viz.models import SegmentationNetwork, shipped_checkpoints
from gsto_viz.models.base import NetworkConfig
from gsto_viz.models.checkpoint import METADATA_KEY, info_from_json, read_config
from gsto_viz.network import open_network
from gsto_viz.report.folder import GAINS
from gsto_viz.types import ClassList

SHIPPED_PAIR = ("scenes-hrnetv2-w18-small-v1", "scenes-gsto-hrnet-w18-small-v1")
"""The first view, where both are there: trained on scenes, free of licence conditions."""
MAX_FILES = 200
OTHERS = (RUN_STATE, GAINS)
"""Names of files that training and analyses write beside checkpoints; nobody chooses one."""


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
        there = sorted([*folder.glob("*.safetensors"), *folder.glob("*/*.safetensors")])
        files = [path for path in there if path.name not in OTHERS]
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


MAX_HASHED_BYTES = 32 * 2**20
"""Larger files are not hashed for the table, only when they are chosen."""
SHORT_HASH = 12
MAX_STEP = 2**53
FREE, UNSTATED = "MIT, as the code", "none stated in the file"
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_RECIPE = {"epochs": "{} epochs", "batch_size": "batches of {}", "lr": "rate {}", "seed": "seed {}"}


@dataclass(frozen=True)
class Facts:
    """What is known of a checkpoint without reading its weights; None: its header does not say.

    Attributes:
        choice: The checkpoint.
        data: Training data.
        recipe: The recipe in a few words.
        step: Steps trained.
        epoch: Epochs trained.
        miou: Percent, on ``val``.
        ap: As ``miou``, of networks for pose.
        val: Validation data.
        settings: The whole recipe by name.
    """

    choice: Choice
    data: str | None
    recipe: str | None
    step: int | None
    epoch: int | None
    miou: float | None
    val: str | None
    settings: Mapping[str, Any]
    ap: float | None = None


def facts_of(choice: Choice) -> Facts:
    """Read the header of a checkpoint.

    Raises:
        GstoVizError: It cannot be read any more.
    """
    found = read_about(choice.key, choice.path).get("training")
    training = found if isinstance(found, dict) else {}
    settings = training.get("recipe")
    settings = settings if isinstance(settings, dict) else {}
    words = [text.format(settings[k]) for k, text in _RECIPE.items() if _is_number(settings.get(k))]
    return Facts(
        choice=choice,
        data=_text(training.get("data")),
        recipe=", ".join(words) or None,
        step=_whole(training.get("step")),
        epoch=_whole(training.get("epoch")),
        miou=_percent(training.get("miou")),
        val=_text(training.get("val")),
        settings=settings,
        ap=_percent(training.get("ap")),
    )


def checkpoint_table(
    facts: Sequence[Facts], fingerprint: Callable[[Choice], str], a: str | None, b: str | None
) -> pd.DataFrame:
    """Lay checkpoints out, one row each.

    Args:
        facts: Of each.
        fingerprint: Returns the SHA-256 of a file.
        a: Key of checkpoint A.
        b: Key of checkpoint B.

    Returns:
        ``used as``, ``checkpoint``, ``network``, ``trained on``, ``recipe``, ``step``, ``epoch``,
        ``mIoU (%)`` (and ``AP (%)``, where a network for pose has it), ``measured on``,
        ``size (MB)``, ``SHA-256`` (its beginning; empty for large files), ``licence``.
    """
    rows = []
    pose = any(one.ap is not None for one in facts)
    for one in facts:
        choice = one.choice
        used = [letter for letter, key in (("A", a), ("B", b)) if key == choice.key]
        small = choice.stamp[1] <= MAX_HASHED_BYTES
        rows.append(
            {
                "used as": " and ".join(used),
                "checkpoint": choice.key,
                "network": choice.network,
                "trained on": one.data or "",
                "recipe": one.recipe or "",
                "step": one.step,
                "epoch": one.epoch,
                "mIoU (%)": one.miou,
                **({"AP (%)": one.ap} if pose else {}),
                "measured on": one.val or "",
                "size (MB)": choice.stamp[1] / 1e6,
                "SHA-256": fingerprint(choice)[:SHORT_HASH] if small else "",
                "licence": licence_of(choice),
            }
        )
    types = {"step": "Int64", "epoch": "Int64", "mIoU (%)": "float64"}
    types |= {"AP (%)": "float64"} if pose else {}
    return pd.DataFrame(rows).astype(types)


def licence_of(choice: Choice) -> str:
    """Return under which conditions a checkpoint may be used, as far as that is known."""
    if choice.notice:
        return choice.notice
    return FREE if shipped_checkpoints().get(choice.key) == choice.path else UNSTATED


def card_of(choice: Choice) -> str | None:
    """Return the card beside a checkpoint, links taken out; None without one.

    Raises:
        GstoVizError: It is there and cannot be read.
    """
    path = choice.path.with_suffix(".md")
    if not path.is_file():
        return None
    return _LINK.sub(r"\1", read_small_text(path, "the card"))


def card_or_reason(choice: Choice) -> tuple[str | None, str | None]:
    """Return the card of a checkpoint, and why it cannot be shown."""
    try:
        return card_of(choice), None
    except GstoVizError as error:
        return None, str(error)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _percent(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and _is_number(value) else None


def _whole(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value < MAX_STEP else None


def _text(value: object) -> str | None:
    return value[:200] if isinstance(value, str) else None
