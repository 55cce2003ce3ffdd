"""Which analyses and training runs are offered, their images, and views of them in a saved view."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer.exports.view_file import FolderRecord, ViewFile, view_bytes
from gsto_viz.explorer.texts import safe_name
from gsto_viz.explorer.view_state import MAX_SCENE, ViewState
from gsto_viz.files import sha256_of
from gsto_viz.types import Dataset

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


def stamp_of(folder: Path) -> str:
    """Return path, time and size of an analysis' manifest as one text.

    Raises:
        GstoVizError: There is no manifest: it is not finished.
    """
    try:
        status = (folder / "manifest.json").stat()
    except OSError as error:
        raise GstoVizError(
            f"{folder.name} holds no finished analysis; resume it with gsto-viz analyze --resume"
        ) from error
    return f"{folder} {status.st_mtime_ns} {status.st_size}"


_SCENE = re.compile(r"scene-1000000-([0-9]{5,})")
_SCENES_SPEC = re.compile(r"scenes:count=[0-9]+,seed=(?:0|1000000),size=256x512")


@dataclass(frozen=True)
class Place:
    """An image that "Explore" can show.

    Attributes:
        source: ``scene`` or ``data``.
        scene: Number of the scene.
        image: Id in the data set.
    """

    source: str
    scene: int = 0
    image: str | None = None

    def query(self) -> dict[str, str]:
        """Return what a link to it holds."""
        if self.source == "scene":
            return {"source": "scene", "scene": str(self.scene)}
        return {"source": "data", "image": str(self.image)}


def place_of(image: str, spec: str, resized: bool, data: Dataset | None) -> Place | str:
    """Find an image of an analysis among those that "Explore" can show.

    Args:
        image: Its id.
        spec: SPEC of the data of the analysis.
        resized: The analysis was made at another size (``--size``).
        data: The data set given at the start, or None.

    Returns:
        Where it is, or one sentence that says why it cannot be shown.
    """
    if resized:
        return "This analysis was made at another image size (--size), which Explore does not show."
    if data is not None and data.name == spec and image in data.ids:
        return Place("data", image=image)
    if spec.startswith("scenes:"):
        return _scene_place(image, spec)
    if data is not None and data.name.partition(":")[0] == spec.partition(":")[0]:
        # The same data may lie elsewhere now; ids are unique within a data set.
        if image in data.ids:
            return Place("data", image=image)
        return "The data set given by --data does not have this image (another split?)."
    kind = spec.partition(":")[0]
    return f"Open the explorer with --data {kind}:PATH[:SPLIT] to see the images of this analysis."


def _scene_place(image: str, spec: str) -> Place | str:
    found = _SCENE.fullmatch(image)
    if found is None or _SCENES_SPEC.fullmatch(spec) is None:
        return (
            "Explore shows ordinary scenes of seed 0 at 256x512, these are others; open the "
            "explorer with --data and the SPEC of this analysis to see them."
        )
    number = int(found[1])
    if number > MAX_SCENE:
        return f"Explore shows the scenes 0 to {MAX_SCENE}."
    return Place("scene", scene=number)
