"""Any annotated images in a folder: ``images/ labels/ [instances/] classes.json``."""

import json
from pathlib import Path
from typing import Any

from gsto_viz.data.classes import class_list_from_json
from gsto_viz.data.pairs import IMAGE_SUFFIXES, at, check_same_size, list_stems, pair_up
from gsto_viz.data.reader import read_image, read_instance_map, read_label_map
from gsto_viz.errors import GstoVizError
from gsto_viz.files import read_small_text
from gsto_viz.types import ClassList, Sample

_TREE = "images/*.png|jpg labels/*.png [instances/*.png] classes.json"


class FolderDataset:
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
        self._classes, self._ignore = _read_classes(base, self.root)
        for folder in (base / "images", base / "labels"):
            if not folder.is_dir():
                raise GstoVizError(f"no folder {folder}; an annotated folder holds {_TREE}")
        images = list_stems(base / "images", IMAGE_SUFFIXES)
        if not images:
            raise GstoVizError(f"no images in {base / 'images'}; put .png or .jpg files there")
        labels = pair_up(images, base / "labels", "label map")
        self._ids = tuple(images)
        self._images = tuple(images.values())
        self._labels = tuple(labels.values())
        self._instances: tuple[Path, ...] | None = None
        if (base / "instances").is_dir():
            instances = pair_up(images, base / "instances", "instance map")
            self._instances = tuple(instances.values())

    @property
    def name(self) -> str:
        """The SPEC that makes this data set, ``folder:PATH[:SPLIT]``."""
        return f"folder:{self.root}" + ("" if self.split is None else f":{self.split}")

    @property
    def classes(self) -> ClassList:
        """What ``classes.json`` says."""
        return self._classes

    @property
    def ids(self) -> tuple[str, ...]:
        """File names without suffix, sorted."""
        return self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> Sample:
        """Read one image with its maps.

        Raises:
            GstoVizError: An unreadable file, a label that is no class, or sizes that differ.
            IndexError: No such sample.
        """
        i = at(index, len(self))
        image = read_image(self._images[i])
        labels = read_label_map(
            self._labels[i], num_classes=len(self._classes), source_ignore=self._ignore
        )
        check_same_size(image, self._images[i], labels, self._labels[i])
        if self._instances is None:
            return Sample(id=self._ids[i], image=image, labels=labels)
        instances = read_instance_map(self._instances[i])
        check_same_size(image, self._images[i], instances, self._instances[i])
        return Sample(id=self._ids[i], image=image, labels=labels, instances=instances)


def _read_classes(base: Path, root: Path) -> tuple[ClassList, int]:
    """Read ``classes.json`` of the split or else of the whole; return also its ignore value."""
    for folder in dict.fromkeys((root, base)):
        if not folder.is_dir():
            raise GstoVizError(f"no folder {folder}; an annotated folder holds {_TREE}")
    path = next((p for p in (base / "classes.json", root / "classes.json") if p.is_file()), None)
    if path is None:
        raise GstoVizError(f"no file {base / 'classes.json'}; an annotated folder holds {_TREE}")
    value = _read_json(path)
    classes = class_list_from_json(value, source=str(path))
    return classes, value["ignore"]


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
