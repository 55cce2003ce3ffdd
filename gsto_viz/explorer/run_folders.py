"""Which analyses and training runs the explorer offers: those of the folder given at the start."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gsto_viz.explorer.server import RUNS_VARIABLE

MAX_RUNS = 200
Kind = Literal["analysis", "training"]
_MARKS: dict[str, Kind] = {"summary.json": "analysis", "log.jsonl": "training"}


@dataclass(frozen=True)
class RunFolder:
    """A folder that ``gsto-viz analyze`` or ``gsto-viz train`` wrote.

    Attributes:
        key: Path within the folder of runs (``.`` is that folder itself); unique, used in links.
        path: The folder.
        kind: ``analysis`` or ``training``.
    """

    key: str
    path: Path
    kind: Kind


def runs_folder() -> Path | None:
    """Return the folder of ``--runs``, or None."""
    text = os.environ.get(RUNS_VARIABLE)
    return Path(text) if text else None


def list_runs(folder: Path | None) -> tuple[RunFolder, ...]:
    """Return the runs in a folder and in its subfolders, one level deep, by name.

    Args:
        folder: None: there are none.

    Returns:
        At most 200; links and files are not followed out of the folder.
    """
    if folder is None or not folder.is_dir():
        return ()
    root = folder.resolve()
    places = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
    found = []
    for place in places:
        if not place.resolve().is_relative_to(root):
            continue
        for mark, kind in _MARKS.items():
            if (place / mark).is_file():
                found.append(RunFolder(place.relative_to(root).as_posix(), place, kind))
                break
    return tuple(found[:MAX_RUNS])
