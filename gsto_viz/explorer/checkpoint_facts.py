"""What a checkpoint's header says of its training, for the table of checkpoints, and its card."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer.checkpoints import Choice, read_about
from gsto_viz.files import read_small_text
from gsto_viz.models import shipped_checkpoints

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
