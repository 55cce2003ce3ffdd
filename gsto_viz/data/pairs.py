"""Folders that hold images, and folders beside them that hold their maps under the same names."""

import operator
from pathlib import Path
from typing import Any

import numpy.typing as npt

from gsto_viz.errors import GstoVizError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
MAP_SUFFIXES = (".png",)


def list_stems(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """List the files of a folder by stem (the name without its suffix), in sorted order.

    Hidden files (such as ``._x.png``) and files with other suffixes are left out.

    Raises:
        GstoVizError: The folder cannot be read, a name is not UTF-8 (ids are written as text), or
            two files share a stem.
    """
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        reason = error.strerror or str(error)
        raise GstoVizError(f"cannot list folder {folder}: {reason}; check the path") from error
    stems: dict[str, Path] = {}
    for path in paths:
        if path.name.startswith(".") or path.suffix.lower() not in suffixes:
            continue
        if not is_utf8(path.name):
            raise GstoVizError(
                f"{folder} holds {path.name!r}, a name that is not UTF-8; rename the file"
            )
        if path.stem in stems:
            raise GstoVizError(
                f"{stems[path.stem]} and {path.name} have the same name but for the suffix; "
                "remove or rename one"
            )
        stems[path.stem] = path
    return dict(sorted(stems.items()))


def is_utf8(name: str) -> bool:
    """Say whether a name can be written as text; bytes that are not stand in it as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def pair_up(images: dict[str, Path], maps: Path, what: str) -> dict[str, Path]:
    """Find the map of every image; maps without an image are left out.

    Args:
        images: Image files by stem.
        maps: Folder of the maps.
        what: What a map is called in messages, e.g. ``label map``.

    Raises:
        GstoVizError: An image has no map; the message names the first and how many there are.
    """
    found = list_stems(maps, MAP_SUFFIXES)
    missing = [stem for stem in images if stem not in found]
    if missing:
        raise GstoVizError(
            f"{len(missing)} of {len(images)} images have no {what}, first {images[missing[0]]}; "
            f"add {maps / missing[0]}.png or remove the image"
        )
    return {stem: found[stem] for stem in images}


def check_same_size(
    image: npt.NDArray[Any], image_path: Path, other: npt.NDArray[Any], other_path: Path
) -> None:
    """Refuse a map (H, W) that does not have the size of its image (H, W, 3).

    Raises:
        GstoVizError: The sizes differ; the message gives both, as width x height.
    """
    if image.shape[:2] != other.shape[:2]:
        height, width = image.shape[:2]
        raise GstoVizError(
            f"{image_path} is {width} x {height} pixels but {other_path} is "
            f"{other.shape[1]} x {other.shape[0]}; both must have the same size"
        )


def at(index: int, length: int) -> int:
    """Turn an index, which may count from the end, into 0..length-1.

    Raises:
        IndexError: Outside the data set (this ends a plain ``for`` loop, so it is no user error).
    """
    position = operator.index(index)
    if not -length <= position < length:
        raise IndexError(f"sample {position} of a data set with {length} samples")
    return position % length
