"""What a link to the explorer holds, and reading it without trusting it."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

MODES = ("percentile", "shared", "per_map")
"""Normalisations that the page offers, the comparable one first."""
MAX_SCENE = 9999
"""Scenes are numbered 0..9999, all of evaluation seed 0: no network was trained on any."""


@dataclass(frozen=True)
class ViewState:
    """One view of the page.

    Attributes:
        scene: Number of the procedural scene, 0..9999.
        a: Key of checkpoint A, None when there is none to choose.
        b: Key of checkpoint B.
        mode: One of ``MODES``.
        upload: First 16 hexadecimal digits of the SHA-256 of the uploaded file; None: a scene. A
            link cannot carry the image, only say which one it was.
    """

    scene: int = 0
    a: str | None = None
    b: str | None = None
    mode: str = MODES[0]
    upload: str | None = None

    def to_query(self) -> dict[str, str]:
        """Return the parameters of a link to this view."""
        values = {
            "scene": str(self.scene),
            "a": self.a,
            "b": self.b,
            "mode": self.mode,
            "upload": self.upload,
        }
        return {key: value for key, value in values.items() if value is not None}


def parse_query(
    query: Mapping[str, str], default: ViewState, checkpoints: Collection[str]
) -> tuple[ViewState, tuple[str, ...]]:
    """Read a link; what is wrong with it changes nothing and is said.

    The notices never repeat what the link holds: it may be anything.

    Args:
        query: Parameters of the link, of any content.
        default: What holds where the link says nothing, or nothing usable.
        checkpoints: Keys that may be chosen.

    Returns:
        The view, and one sentence for each parameter that was left out.
    """
    readers: dict[str, tuple[Callable[[str], str | int | None], str]] = {
        "scene": (_scene, f"is no whole number from 0 to {MAX_SCENE}"),
        "a": (partial(_one_of, options=checkpoints), "names no checkpoint that is offered here"),
        "b": (partial(_one_of, options=checkpoints), "names no checkpoint that is offered here"),
        "mode": (partial(_one_of, options=MODES), f"is none of {', '.join(MODES)}"),
        "upload": (_fingerprint, "is no fingerprint of an image"),
    }
    changes: dict[str, Any] = {}
    notices = []
    for key, (read, problem) in readers.items():
        if key in query:
            value = read(query[key])
            if value is None:
                notices.append(f"The link's setting '{key}' {problem}; it was left out.")
            else:
                changes[key] = value
    unknown = len(set(query) - set(readers))
    if unknown:
        what = "a setting" if unknown == 1 else f"{unknown} settings"
        notices.append(f"The link has {what} that this page does not know; left out.")
    return replace(default, **changes), tuple(notices)


def _scene(text: str) -> int | None:
    # The pattern bounds the length, too: a number of a million digits is never converted.
    if re.fullmatch(r"[0-9]{1,4}", text, re.ASCII) is None:
        return None
    return int(text)


def _one_of(text: str, options: Collection[str]) -> str | None:
    return text if text in options else None


def _fingerprint(text: str) -> str | None:
    return text if re.fullmatch(r"[0-9a-f]{16}", text, re.ASCII) else None
