"""A view as a JSON file: what was shown, of what, with which numbers; and reading it back.

The file names image and checkpoints by SHA-256 and holds no path, so it can be passed on.
``gsto-viz export --view`` replays it (``replay``).
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer.pictures import pixel_key
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.view_state import MAX_OTHERS, PAGES, SOURCES, ViewState, state_from_json
from gsto_viz.files import read_small_text, versions

SCHEMA = "gsto_viz.view"
SCHEMA_VERSION = 1
DRAWN = "drawn"
"""Source of an image that the view itself describes: the object of the scale probe."""
KEYS = {
    "schema", "schema_version", "page", "time", "view", "image", "checkpoints", "display",
    "numbers", "versions", "folders",
}  # fmt: skip
MAX_FOLDERS = 1 + MAX_OTHERS
"""A run, and those that it is compared with."""
_KINDS = ("analysis", "training")
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True)
class ImageRecord:
    """Which image a view shows.

    Attributes:
        source: One of ``SOURCES``, or ``DRAWN``.
        id: Its name.
        pixels_sha256: Of shape and pixels as the networks get them (``pixel_key``).
        labels_sha256: Likewise of the labels; None without.
        height_px: Height as the networks get it.
        width_px: Width.
    """

    source: str
    id: str
    pixels_sha256: str
    labels_sha256: str | None
    height_px: int
    width_px: int


@dataclass(frozen=True)
class CheckpointRecord:
    """Which checkpoint a view shows: its key in the explorer's list, and the file's SHA-256."""

    key: str
    name: str
    network: str
    sha256: str


@dataclass(frozen=True)
class FolderRecord:
    """Which folder of ``--runs`` a view shows.

    Attributes:
        key: Its path within that folder.
        kind: ``analysis`` or ``training``.
        sha256: Of the file that stands for it (``folder_views``).
    """

    key: str
    kind: str
    sha256: str


Described = TypeVar("Described", ImageRecord, CheckpointRecord, FolderRecord)


@dataclass(frozen=True)
class ViewFile:
    """A saved view.

    Attributes:
        page: One of ``PAGES``.
        state: The whole view.
        image: The image; None for pages that show none.
        checkpoints: ``A`` and ``B``; none for pages that show folders.
        numbers: What the page showed, as JSON values.
        folders: The folders; none for pages that show an image.
    """

    page: str
    state: ViewState
    image: ImageRecord | None
    checkpoints: dict[str, CheckpointRecord]
    numbers: dict[str, Any]
    folders: tuple[FolderRecord, ...] = ()


def image_record(shown: Shown, state: ViewState) -> ImageRecord:
    """Return which image is shown."""
    labels = shown.sample.labels
    height, width = shown.size
    return ImageRecord(
        source=state.source,
        id=shown.sample.id,
        pixels_sha256=shown.picture.key,
        labels_sha256=None if labels is None else pixel_key(labels),
        height_px=height,
        width_px=width,
    )


def checkpoint_records(shown: Shown) -> dict[str, CheckpointRecord]:
    """Return which checkpoints are shown, by letter."""
    return {
        letter: CheckpointRecord(
            key=shown.choices[letter].key,
            name=shown.inspections[letter].name,
            network=shown.inspections[letter].network,
            sha256=shown.fingerprints[letter],
        )
        for letter in LETTERS
    }


def view_bytes(view: ViewFile, display: Mapping[str, Any]) -> bytes:
    """Return a view as a file: strict JSON with the time (UTC) and the versions of now.

    Args:
        view: The view.
        display: How its numbers are shown: scale, limits, reduction.
    """
    from gsto_viz.report.folder import plain

    record = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "page": view.page,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "view": view.state.to_json(),
        "image": plain(view.image),
        "checkpoints": plain(view.checkpoints),
        "folders": plain(list(view.folders)),
        "display": plain(dict(display)),
        "numbers": plain(view.numbers),
        "versions": versions(),
    }
    return (json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()


def read_view(path: str | Path) -> ViewFile:
    """Read a file that ``view_bytes`` made, trusting nothing in it.

    Raises:
        GstoVizError: It cannot be read, is larger than 1 MiB, no JSON, no view, of a newer schema,
            or holds something unknown or impossible.
    """
    record = _object(_parsed(read_small_text(path, "the view"), path), f"{path}")
    if record.get("schema") != SCHEMA:
        raise GstoVizError(
            f"{path} is not a view of the explorer; save one with Export, view (JSON)"
        )
    version = record.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        what = "a newer schema" if newer else "no schema that is known"
        raise GstoVizError(
            f"{path} has {what} (this version reads {SCHEMA_VERSION}); replay it with the version "
            "that saved it"
        )
    # Views saved before there were views of folders do not have this entry.
    record.setdefault("folders", [])
    _check_keys(record, KEYS, "the view")
    if record["page"] not in tuple(PAGES):
        raise GstoVizError(f"{path} is of a page that this version does not know; update gsto_viz")
    listed = _list(record["folders"], "folders")
    folders = tuple(_described(FolderRecord, one, "folder") for one in listed)
    held = _object(record["checkpoints"], "checkpoints")
    _check_keys(held, set() if folders else set(LETTERS), "checkpoints")
    return ViewFile(
        page=record["page"],
        state=state_from_json(_object(record["view"], "view")),
        image=None
        if record["image"] is None
        else _described(ImageRecord, record["image"], "image"),
        checkpoints={
            letter: _described(CheckpointRecord, one, f"checkpoint {letter}")
            for letter, one in held.items()
        },
        numbers=_object(record["numbers"], "numbers"),
        folders=folders,
    )


def _parsed(text: str, path: str | Path) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise GstoVizError(f"{path} is not JSON, or damaged; save the view again") from error


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is not JSON")


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise GstoVizError(f"{what} is not a JSON object; save the view again")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list) or len(value) > MAX_FOLDERS:
        raise GstoVizError(f"{what} is not a list of at most {MAX_FOLDERS}; save the view again")
    return value


def _check_keys(record: Mapping[str, Any], keys: set[str], what: str) -> None:
    missing, unknown = keys - set(record), set(record) - keys
    if unknown:
        raise GstoVizError(
            f"{what} has {len(unknown)} entries that this version does not know; replay it with "
            "the version that saved it"
        )
    if missing:
        raise GstoVizError(f"{what} lacks '{min(missing)}'; save the view again")


def _described(kind: type[Described], value: Any, what: str) -> Described:
    """Read a record, each of whose fields must be as ``_FIELDS`` says."""
    record = _object(value, what)
    _check_keys(record, {one.name for one in fields(kind)}, what)
    if not all(_FIELDS[name](held) for name, held in record.items()):
        raise GstoVizError(f"the view's {what} is not described as it must be; save the view again")
    return kind(**record)


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_FIELDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("id", "key", "name", "network"), _is_text),
    **dict.fromkeys(("sha256", "pixels_sha256"), _is_sha256),
    **dict.fromkeys(("height_px", "width_px"), _is_whole),
    "labels_sha256": lambda value: value is None or _is_sha256(value),
    "source": lambda value: value in (*SOURCES, DRAWN),
    "kind": lambda value: value in _KINDS,
}
"""By field of the records, whether it may hold a value."""
