"""Mapillary Vistas 1.2 and 2.0, with the classes of the config file that comes with it.

Source of the folders, the config file and the numbers of the maps: Neuhold et al., ICCV 2017, and
the README of the data set.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gsto_viz.data.base import (
    AnnotatedFiles,
    DataSet,
    Entry,
    Purpose,
    default_split,
    pair_up,
)
from gsto_viz.data.classes import class_list_from_json
from gsto_viz.data.coding import Coding
from gsto_viz.data.reader import read_values
from gsto_viz.errors import GstoVizError
from gsto_viz.files import read_json
from gsto_viz.types import IGNORE, ClassList

_PARTS = {"train": "training", "val": "validation"}
_LAYOUTS = (
    ("config_v2.0.json", "v2.0"),
    ("config_v1.2.json", "v1.2"),
    ("config.json", "v1.2"),
    ("config.json", ""),
    ("config_v1.2.json", ""),
)
"""Names of the config file and of the folder with ``labels`` and ``instances``, newest first."""
_PER_LABEL = 256
"""Instance k of label L is 256 L + k in an instance map, k from 0."""


class _Labels(NamedTuple):
    """What a config file says of the numbers in label maps.

    Attributes:
        classes: The labels that are evaluated.
        coding: From their numbers to classes; the others are ignored.
        counted: (256,) bool: the labels whose objects are annotated one by one.
    """

    classes: ClassList
    coding: Coding
    counted: npt.NDArray[np.bool_]


class Mapillary(DataSet):
    """Folders of Mapillary Vistas, and config files in them."""

    def open(
        self, root: str | Path, split: str | None = None, purpose: Purpose = "eval"
    ) -> AnnotatedFiles:
        """Open one split in the newest version that is there, or in that of a config file.

        Raises:
            GstoVizError: Folders or files are missing, or the config file is wrong.
        """
        root, split = Path(root), split or default_split(purpose)
        self.check_split(split)
        config, _ = _layout(self, root, split)
        labels = _read_config(config)
        return AnnotatedFiles(
            f"{self.name}:{root}:{split}",
            labels.classes,
            self.find(self, root, split, purpose),
            labels.coding,
            others=(config,),
            read_instances=partial(_instances, labels.counted),
        )


def find_mapillary(row: DataSet, root: Path, split: str, purpose: Purpose) -> Sequence[Entry]:
    """List ``images`` with ``labels`` and, where they are and not for training, ``instances``."""
    config, maps = _layout(row, root, split)
    images = row.images_in(config.parent / _PARTS[split] / "images")
    entries = row.labelled(images, maps / "labels")
    if purpose == "train" or not (maps / "instances").is_dir():
        return entries
    instances = pair_up(images, maps / "instances", "instance map")
    return [replace(entry, instances=instances[entry.id]) for entry in entries]


def _layout(row: DataSet, root: Path, split: str) -> tuple[Path, Path]:
    """Return the config file, and the folder of the maps of a split."""
    only = root.name if root.is_file() else None
    top = root.parent if only else root
    part = top / _PARTS[split]
    row.check_folders(top, part, part / "images")
    for name, inner in _LAYOUTS:
        if only in (None, name) and (top / name).is_file() and (part / inner / "labels").is_dir():
            return top / name, part / inner
    what = f"labels that go with {root}" if only else "config file with labels that go with it"
    raise GstoVizError(f"no {what} in {part}; {row.tree}")


def _read_config(path: Path) -> _Labels:
    """Read names, colours and flags of the labels; label k is the k-th of the list."""
    content = read_json(path, "the config file")
    labels = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(labels, list) or not 1 <= len(labels) <= _PER_LABEL:
        raise GstoVizError(
            f"{path} has no list 'labels' of 1 to {_PER_LABEL} labels; take the file that comes "
            "with Mapillary Vistas"
        )
    kept = [k for k, label in enumerate(labels) if _flag(path, k, label, "evaluate")]
    if not kept:
        raise GstoVizError(
            f"{path} says 'evaluate' of no label; take the file that comes with Mapillary Vistas"
        )
    things = [k for k in kept if _flag(path, k, labels[k], "instances")]
    names = _names([labels[k] for k in kept])
    classes = [
        {
            "id": label,
            "name": name,
            "color": labels[k].get("color"),
            "kind": "thing" if k in things else "stuff",
        }
        for label, (k, name) in enumerate(zip(kept, names, strict=True))
    ]
    value = {"name": "mapillary", "ignore": IGNORE, "classes": classes}
    counted = np.zeros(_PER_LABEL, dtype=bool)
    counted[things] = True
    others = [k for k in range(len(labels)) if k not in kept]
    return _Labels(
        class_list_from_json(value, source=str(path)),
        Coding.of(kept, *others, expected=f"the labels 0 to {len(labels) - 1}"),
        counted,
    )


def _flag(path: Path, place: int, label: Any, key: str) -> bool:
    """Read ``evaluate`` or ``instances`` of a label."""
    value = label.get(key) if isinstance(label, dict) else None
    if not isinstance(value, bool):
        raise GstoVizError(f"{path}: labels[{place}].{key} is {value!r}; write true or false")
    return value


def _names(labels: Sequence[dict[str, Any]]) -> list[Any]:
    """Return the readable name of each label, or its full one where two read alike."""
    readable = [label.get("readable", label.get("name")) for label in labels]
    folded = [str(name).casefold() for name in readable]
    return [
        name if folded.count(fold) == 1 else label.get("name")
        for name, fold, label in zip(readable, folded, labels, strict=True)
    ]


def _instances(counted: npt.NDArray[np.bool_], path: Path) -> npt.NDArray[np.int32]:
    """Read an instance map: 1 + 256 L + k for instance k of label L, 0 for labels without them.

    Raises:
        GstoVizError: It cannot be read, or holds 8 bits, where label and instance need 16.
    """
    values = read_values(path)
    if values.dtype != np.uint16:
        raise GstoVizError(
            f"{path} has 8 bits a pixel, and instances of Mapillary Vistas have 16 (label and "
            "number); unpack the original again"
        )
    numbers = np.arange(1, counted.size * _PER_LABEL + 1, dtype=np.int32)
    numbers[~np.repeat(counted, _PER_LABEL)] = 0
    return numbers[values]
