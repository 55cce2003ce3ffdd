"""Any annotated images in a folder: ``images/ labels/ [instances/] classes.json``."""

import json
from pathlib import Path
from typing import Any

from gsto_viz.data.base import (
    IMAGE_SUFFIXES,
    AnnotatedFiles,
    Entry,
    check_folders,
    list_stems,
    pair_up,
)
from gsto_viz.data.classes import class_list_from_json
from gsto_viz.data.reader import label_table
from gsto_viz.errors import GstoVizError
from gsto_viz.files import read_small_text
from gsto_viz.types import ClassList

_TREE = "an annotated folder holds images/*.png|jpg labels/*.png [instances/*.png] classes.json"


class FolderDataset(AnnotatedFiles):
    """Annotated images in the layout that ``gsto-viz scenes`` writes.

    Args:
        root: Folder that holds ``images/`` (.png or .jpg), ``labels/`` (.png, same names, class ids
            or the ignore value), optionally ``instances/`` (.png, same names, 0 = none), and
            ``classes.json``.
        split: When given, all this lies in ``root/split/``; ``classes.json`` may lie in ``root``.

    Raises:
        GstoVizError: A folder is missing or empty, an image has no label or instance map, or
            ``classes.json`` is wrong.
    """

    def __init__(self, root: str | Path, split: str | None = None) -> None:
        self.root = Path(root)
        self.split = split
        base = self.root if split is None else self.root / split
        classes, ignore, source = _read_classes(base, self.root)
        check_folders((base / "images", base / "labels"), _TREE)
        images = list_stems(base / "images", IMAGE_SUFFIXES)
        if not images:
            raise GstoVizError(f"no images in {base / 'images'}; put .png or .jpg files there")
        labels = pair_up(images, base / "labels", "label map")
        instances: dict[str, Path] = {}
        if (base / "instances").is_dir():
            instances = pair_up(images, base / "instances", "instance map")
        super().__init__(
            f"folder:{self.root}" + ("" if split is None else f":{split}"),
            classes,
            (Entry(stem, images[stem], labels[stem], instances.get(stem)) for stem in images),
            label_table(range(len(classes)), ignore),
            f"the classes 0 to {len(classes) - 1}",
            others=(source,),
        )


def _read_classes(base: Path, root: Path) -> tuple[ClassList, int, Path]:
    """Read ``classes.json`` of the split or else of the whole; return its ignore value and path."""
    check_folders((root, base), _TREE)
    path = next((p for p in (base / "classes.json", root / "classes.json") if p.is_file()), None)
    if path is None:
        raise GstoVizError(f"no file {base / 'classes.json'}; {_TREE}")
    value = _read_json(path)
    classes = class_list_from_json(value, source=str(path))
    return classes, value["ignore"], path


def _read_json(path: Path) -> Any:
    """Parse a small JSON file.

    Raises:
        GstoVizError: Unreadable, too large, or no JSON.
    """
    content = read_small_text(path, "the class list")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:  # not JSON, or nested without end
        reason = " ".join(str(error).split())
        raise GstoVizError(f"{path} is not valid JSON ({reason}); correct it") from error
