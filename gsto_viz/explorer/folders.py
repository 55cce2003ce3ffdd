"""Which analyses and training runs are offered, and views of them in a saved view."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer.exports.view_file import FolderRecord, ViewFile, view_bytes
from gsto_viz.explorer.server import RUNS_VARIABLE
from gsto_viz.explorer.texts import safe_name
from gsto_viz.explorer.view_state import ViewState
from gsto_viz.files import sha256_of

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


MARKS: dict[Kind, str] = {"analysis": "manifest.json", "training": "log.jsonl"}
"""By kind, the file whose fingerprint stands for the folder."""


def folder_record(run: RunFolder) -> FolderRecord:
    """Return how a saved view names a folder.

    Raises:
        GstoVizError: It holds no such file any more.
    """
    path = run.path / MARKS[run.kind]
    if not path.is_file():
        raise GstoVizError(f"{run.key} has lost its {path.name}; choose another run")
    return FolderRecord(run.key, run.kind, sha256_of(path))


def folder_view(
    page: str, state: ViewState, runs: Sequence[RunFolder], numbers: Mapping[str, Any]
) -> bytes:
    """Return a view of folders as a file that ``gsto-viz export --runs`` replays."""
    view = ViewFile(
        page=page,
        state=state,
        image=None,
        checkpoints={},
        numbers=dict(numbers),
        folders=tuple(folder_record(run) for run in runs),
    )
    return view_bytes(view, {"notices": {}})


def find_folders(records: Sequence[FolderRecord], folder: Path | None) -> list[RunFolder]:
    """Return the folders of a view.

    Args:
        records: What the view says of them.
        folder: Where to look; None: nowhere.

    Raises:
        GstoVizError: One is missing or has changed since.
    """
    runs: dict[tuple[str, str], RunFolder] = {(run.key, run.kind): run for run in list_runs(folder)}
    return [_found(record, runs, folder) for record in records]


def _found(
    record: FolderRecord, runs: Mapping[tuple[str, str], RunFolder], folder: Path | None
) -> RunFolder:
    name = safe_name(record.key, "run")
    if folder is None:
        raise GstoVizError(f"this view shows the {record.kind} {name}; name its folder with --runs")
    run = runs.get((record.key, record.kind))
    if run is None:
        raise GstoVizError(
            f"--runs {folder} has no {record.kind} {name}; give the folder that the explorer was "
            "started with"
        )
    if folder_record(run).sha256 != record.sha256:
        raise GstoVizError(
            f"{record.kind} {name} has changed since the view was saved (its {MARKS[run.kind]} has "
            "another SHA-256); save the view again"
        )
    return run
