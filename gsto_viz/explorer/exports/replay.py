"""A saved view again: the image and the checkpoints that it names, then the files of its page.

What a view names is found by SHA-256: pixels, labels, an uploaded file, checkpoints. Anything that
has changed since is refused, so the numbers are those of the page.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from gsto_viz.data import load_data
from gsto_viz.errors import GstoVizError
from gsto_viz.explorer.checkpoints import Choice, list_choices, opened
from gsto_viz.explorer.exports.attribution import replayed_attribution
from gsto_viz.explorer.exports.explore import explore_exports
from gsto_viz.explorer.exports.files import Exports
from gsto_viz.explorer.exports.gates import replayed_gates
from gsto_viz.explorer.exports.runs import replayed_runs
from gsto_viz.explorer.exports.scale_probe import replayed_object
from gsto_viz.explorer.exports.sizes import replayed_analysis, replayed_sizes
from gsto_viz.explorer.exports.view_file import DRAWN, CheckpointRecord, ImageRecord, ViewFile
from gsto_viz.explorer.folders import RunFolder, find_folders
from gsto_viz.explorer.pictures import (
    MAX_BYTES,
    Picture,
    data_picture,
    pixel_key,
    scene_picture,
    upload_fingerprint,
    upload_picture,
)
from gsto_viz.explorer.shown import (
    LETTERS,
    Shown,
    check_classes,
    cut_regions,
    look,
    show_pair,
    stored_inspection,
)
from gsto_viz.explorer.texts import safe_name
from gsto_viz.explorer.values.scale_probe import draw_object, drawn_of, moved_inside
from gsto_viz.explorer.view_state import ViewState
from gsto_viz.files import sha256_of
from gsto_viz.look import Look
from gsto_viz.regions import PreparedRegions

REPLAYED: dict[str, Callable[[Shown, PreparedRegions, ViewState], Exports]] = {
    "explore": explore_exports,
    "attribution": replayed_attribution,
    "gates": replayed_gates,
    "scale-probe": replayed_object,
    "sizes": replayed_sizes,
}
"""By page, what makes its files, where it shows an image."""
OF_FOLDERS: dict[str, Callable[[Sequence[RunFolder], ViewState], Exports]] = {
    "sizes": replayed_analysis,
    "runs": replayed_runs,
}
"""By page, what makes its files, where it shows folders."""


@dataclass(frozen=True)
class Sources:
    """Where to look for what a view names.

    Attributes:
        data: SPEC of the data set of its image, or None.
        image: The file that was uploaded, or None.
        checkpoints: Folder of checkpoints beside the shipped ones, or None.
        runs: Folder of analyses and training runs, or None.
    """

    data: str | None = None
    image: Path | None = None
    checkpoints: Path | None = None
    runs: Path | None = None


@dataclass(frozen=True)
class Agreement:
    """How numbers compare with those that were saved.

    Attributes:
        count: How many numbers were compared.
        largest: Largest difference; of numbers beyond 1, relative to the number.
        others: Places where something that is not a number differs, or is there only once.
    """

    count: int
    largest: float
    others: tuple[str, ...]


def replay(view: ViewFile, sources: Sources) -> Exports:
    """Find image and checkpoints of a view, run the networks, and return the files of its page.

    Args:
        view: What ``read_view`` gave.
        sources: Where to look.

    Raises:
        GstoVizError: The page cannot be replayed, or what it names is missing or has changed.
    """
    if view.folders:
        return _replay_folders(view, sources)
    if sources.runs is not None:
        raise GstoVizError("this view shows no analysis and no training run; leave --runs out")
    if view.page not in REPLAYED or view.image is None:
        raise GstoVizError(
            f"views of the page '{view.page}' cannot be replayed, only those of "
            f"{', '.join(sorted({*REPLAYED, *OF_FOLDERS}))}; open its link in gsto-viz app instead"
        )
    picture = find_picture(view.state, view.image, sources)
    choices = find_checkpoints(view.checkpoints, sources.checkpoints)
    check_classes(choices["A"], choices["B"])
    shown = show_pair(
        picture,
        choices,
        {x: _inspect(choices[x], view.checkpoints[x], picture) for x in LETTERS},
        {x: view.checkpoints[x].sha256 for x in LETTERS},
    )
    labels = shown.sample.labels
    if (None if labels is None else pixel_key(labels)) != view.image.labels_sha256:
        raise GstoVizError(
            f"the labels of image {safe_name(view.image.id)} are not those that the view was saved "
            "with; give the same data"
        )
    return REPLAYED[view.page](shown, cut_regions(shown), view.state)


def _replay_folders(view: ViewFile, sources: Sources) -> Exports:
    """Return the files of a view of an analysis or of training runs."""
    kinds = {"sizes": "analysis", "runs": "training"}
    wrong = [one for one in view.folders if one.kind != kinds.get(view.page)]
    if wrong or (view.page == "sizes" and len(view.folders) > 1):
        raise GstoVizError(
            f"a view of the page '{view.page}' does not show these folders; save the view again"
        )
    given = {"--data": sources.data, "--image": sources.image, "--checkpoints": sources.checkpoints}
    for option, value in given.items():
        if value is not None:
            raise GstoVizError(f"this view needs only --runs; leave {option} out")
    return OF_FOLDERS[view.page](find_folders(view.folders, sources.runs), view.state)


def find_picture(state: ViewState, record: ImageRecord, sources: Sources) -> Picture:
    """Return the image of a view.

    Raises:
        GstoVizError: It is missing or has changed.
    """
    for given, option, source, what in (
        (sources.data, "--data", "data", "of a data set"),
        (sources.image, "--image", "upload", "that was uploaded"),
    ):
        if given is not None and record.source != source:
            raise GstoVizError(f"this view shows no image {what}; leave {option} out")
    if record.source == DRAWN:
        picture = draw_object(moved_inside(drawn_of(state)))
    elif record.source == "scene":
        picture = scene_picture(state.scene)
    elif record.source == "data":
        picture = _data_picture(state, sources.data)
    else:
        picture = _upload_picture(state, sources.image)
    if picture.key != record.pixels_sha256:
        raise GstoVizError(
            f"image {picture.sample.id} has other pixels than the view was saved with; give the "
            "same data, or the version of gsto_viz that saved it"
        )
    return picture


def _data_picture(state: ViewState, spec: str | None) -> Picture:
    name = safe_name(state.image or "")
    if spec is None:
        raise GstoVizError(f"this view shows image {name} of a data set; name it with --data SPEC")
    data = load_data(spec)
    if state.image not in data.ids:
        raise GstoVizError(f"--data {spec} has no image {name}; name the data set of the view")
    return data_picture(data, data.ids.index(state.image))


def _upload_picture(state: ViewState, path: Path | None) -> Picture:
    if path is None:
        raise GstoVizError("this view shows an image that was uploaded; give it with --image FILE")
    if not path.is_file():
        raise GstoVizError(f"--image {path} is not a file; give the image that was uploaded")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if upload_fingerprint(content) != state.upload:
        raise GstoVizError(f"--image {path} is not the file that was uploaded; give that one")
    return upload_picture(content, path.name)


def find_checkpoints(
    records: dict[str, CheckpointRecord], folder: Path | None
) -> dict[str, Choice]:
    """Return the checkpoints of a view, by letter.

    Args:
        records: What the view says of them.
        folder: Where to look beside the shipped ones, one level deep; None: nowhere.

    Raises:
        GstoVizError: One is missing or has changed.
    """
    choices, _ = list_choices(folder)
    return {letter: _checkpoint(records[letter], choices, folder) for letter in LETTERS}


def _checkpoint(record: CheckpointRecord, choices: Sequence[Choice], folder: Path | None) -> Choice:
    """Return the checkpoint of a fingerprint, looking first at the one of the same key."""
    namesake = [choice for choice in choices if choice.key == record.key]
    others = [choice for choice in choices if choice.key != record.key]
    for choice in (*namesake, *(c for c in others if c.network == record.network)):
        if sha256_of(choice.path) == record.sha256:
            return choice
    name = safe_name(record.key, "checkpoint")
    if namesake:
        raise GstoVizError(
            f"checkpoint {name} has changed since the view was saved (another SHA-256); give the "
            "folder of the old one with --checkpoints"
        )
    where = "is not shipped" if folder is None else f"is neither shipped nor in {folder}"
    raise GstoVizError(
        f"checkpoint {name} {where} (SHA-256 {record.sha256[:12]}...); give its folder with "
        "--checkpoints"
    )


def _inspect(choice: Choice, record: CheckpointRecord, picture: Picture) -> Look:
    """Return what a checkpoint shows: stored with the package, as for the page, or run anew."""
    stored = stored_inspection(picture.key, record.sha256)
    if stored is not None:
        return stored
    name = safe_name(record.name, "checkpoint")
    return look(opened(choice.path, name), picture)


def agreement(saved: Any, anew: Any) -> Agreement:
    """Compare JSON values: how many numbers there are, and by how much they differ at most."""
    count, largest, others = 0, 0.0, []
    for place, one, other in _pairs(saved, anew, "numbers"):
        if _is_number(one) and _is_number(other):
            count += 1
            largest = max(largest, abs(one - other) / max(1.0, abs(one), abs(other)))
        elif one != other or type(one) is not type(other):
            others.append(place)
    return Agreement(count, largest, tuple(others))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_ABSENT = object()


def _pairs(one: Any, other: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield the leaves of two JSON values side by side; what is there only once is a leaf."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            left, right = one.get(key, _ABSENT), other.get(key, _ABSENT)
            yield from _pairs(left, right, f"{place}.{key}")
    elif isinstance(one, list) and isinstance(other, list):
        for k, (left, right) in enumerate(zip_longest(one, other, fillvalue=_ABSENT)):
            yield from _pairs(left, right, f"{place}[{k}]")
    else:
        yield place, one, other
