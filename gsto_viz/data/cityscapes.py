"""Cityscapes with its 19 evaluation classes, read from the folders of its download.

Layout, label ids, train ids, names and colours: Cityscapes scripts (Cordts et al., 2016). The data
may be used for non-commercial purposes only.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from gsto_viz.data.base import (
    IMAGE_SUFFIXES,
    MAP_SUFFIXES,
    AnnotatedFiles,
    Entry,
    check_folders,
    check_split,
    list_stems,
)
from gsto_viz.data.reader import label_table, read_instance_map, read_mapped_labels
from gsto_viz.errors import GstoVizError
from gsto_viz.types import ClassInfo, ClassList

SPLITS = ("train", "val", "test", "trainval")
"""``trainval`` is train and val together; the annotation of ``test`` is withheld."""

CITYSCAPES_CLASSES = ClassList(
    name="cityscapes",
    classes=(
        ClassInfo(0, "road", (128, 64, 128), thing=False),
        ClassInfo(1, "sidewalk", (244, 35, 232), thing=False),
        ClassInfo(2, "building", (70, 70, 70), thing=False),
        ClassInfo(3, "wall", (102, 102, 156), thing=False),
        ClassInfo(4, "fence", (190, 153, 153), thing=False),
        ClassInfo(5, "pole", (153, 153, 153), thing=False),
        ClassInfo(6, "traffic light", (250, 170, 30), thing=False),
        ClassInfo(7, "traffic sign", (220, 220, 0), thing=False),
        ClassInfo(8, "vegetation", (107, 142, 35), thing=False),
        ClassInfo(9, "terrain", (152, 251, 152), thing=False),
        ClassInfo(10, "sky", (70, 130, 180), thing=False),
        ClassInfo(11, "person", (220, 20, 60), thing=True),
        ClassInfo(12, "rider", (255, 0, 0), thing=True),
        ClassInfo(13, "car", (0, 0, 142), thing=True),
        ClassInfo(14, "truck", (0, 0, 70), thing=True),
        ClassInfo(15, "bus", (0, 60, 100), thing=True),
        ClassInfo(16, "train", (0, 80, 100), thing=True),
        ClassInfo(17, "motorcycle", (0, 0, 230), thing=True),
        ClassInfo(18, "bicycle", (119, 11, 32), thing=True),
    ),
)
"""The 19 classes that are evaluated, in the order of their train ids. Things have instances."""

LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""For each class its number in ``gtFine_labelIds.png``."""

FIRST_INSTANCE = 1000
"""In ``gtFine_instanceIds.png`` instance k of label id L is 1000 L + k; smaller is no instance."""

_NUM_LABEL_IDS = 34
_IMAGE = "_leftImg8bit"
_TREE = (
    "a Cityscapes folder holds leftImg8bit/SPLIT/CITY/CITY_SEQ_FRAME_leftImg8bit.png and "
    "gtFine/SPLIT/CITY/CITY_SEQ_FRAME_gtFine_labelIds.png, splits train, val and test"
)


class CityscapesDataset(AnnotatedFiles):
    """One split of Cityscapes, 2048 x 1024 pixels.

    Labels come from ``*_gtFine_labelIds.png``, or from ``*_gtFine_labelTrainIds.png`` where an
    image has only that. Instances come from ``*_gtFine_instanceIds.png`` where a city has such
    files: pixels of evaluated classes keep their number 1000 L + k; groups of objects that were
    annotated as one (numbers below 1000) and everything else are 0.

    A sample's group is ``CITY/SEQ``: frames of one recording are not independent of each other.

    Args:
        root: Folder that holds ``leftImg8bit/`` and ``gtFine/``.
        split: ``train``, ``val``, ``test`` (images only) or ``trainval``.
        instances: Whether instance maps are read; training does without them.

    Raises:
        GstoVizError: Unknown split, a folder that is missing or empty, an image without label map.
    """

    def __init__(self, root: str | Path, split: str = "val", *, instances: bool = True) -> None:
        check_split("Cityscapes", split, SPLITS)
        self.root = Path(root)
        self.split = split
        entries = []
        for part in ("train", "val") if split == "trainval" else (split,):
            found = list(_list_part(self.root, part))
            if part != "test":
                found = _annotate(found, self.root / "gtFine" / part, instances=instances)
            entries += found
        self._train_table = label_table(range(len(CITYSCAPES_CLASSES)))
        others = sorted(set(range(_NUM_LABEL_IDS)) - set(LABEL_IDS))
        super().__init__(
            f"cityscapes:{self.root}:{split}",
            CITYSCAPES_CLASSES,
            entries,
            label_table(LABEL_IDS, *others),
            f"the label ids 0 to {_NUM_LABEL_IDS - 1}",
        )

    def _read_labels(self, path: Path) -> npt.NDArray[np.uint8]:
        if path.stem.endswith("TrainIds"):
            return read_mapped_labels(path, self._train_table, "the train ids 0 to 18")
        return super()._read_labels(path)

    def _read_instances(self, path: Path) -> npt.NDArray[np.int32]:
        numbers = read_instance_map(path)
        evaluated = np.zeros(int(numbers.max()) // FIRST_INSTANCE + 1, dtype=bool)
        things = [LABEL_IDS[c.id] for c in CITYSCAPES_CLASSES if c.thing]
        evaluated[[id_ for id_ in things if id_ < evaluated.size]] = True
        return np.where(evaluated[numbers // FIRST_INSTANCE], numbers, 0)


def _list_part(root: Path, part: str) -> list[Entry]:
    """List the images of one split, city by city."""
    folder = root / "leftImg8bit" / part
    check_folders((root, root / "leftImg8bit", folder), _TREE)
    entries = []
    for city in sorted(path for path in folder.iterdir() if path.is_dir()):
        for stem, path in list_stems(city, IMAGE_SUFFIXES).items():
            if stem.endswith(_IMAGE):
                id_ = stem.removesuffix(_IMAGE)
                entries.append(Entry(id_, path, group=_recording(id_, city.name)))
    if not entries:
        raise GstoVizError(f"no *_leftImg8bit.png in the folders of {folder}; {_TREE}")
    return entries


def _recording(id_: str, city: str) -> str:
    """Return ``CITY/SEQ`` of a frame ``CITY_SEQ_FRAME``."""
    return f"{city}/{id_.removeprefix(city + '_').partition('_')[0]}"


def _annotate(entries: list[Entry], folder: Path, *, instances: bool) -> list[Entry]:
    """Find the maps of each image; in a city with instance maps each image must have one."""
    check_folders((folder.parent, folder), _TREE)
    maps: dict[str, dict[str, Path]] = {}
    annotated = []
    for entry in entries:
        city = entry.image.parent.name
        if city not in maps:
            check_folders((folder / city,), _TREE)
            maps[city] = list_stems(folder / city, MAP_SUFFIXES)
        there = maps[city]
        stem = f"{entry.id}_gtFine_"
        labels = there.get(f"{stem}labelIds") or there.get(f"{stem}labelTrainIds")
        if labels is None:
            raise _no_map(entry, folder / city / f"{stem}labelIds.png", "label map")
        objects = None
        if instances and any(name.endswith("_instanceIds") for name in there):
            objects = there.get(f"{stem}instanceIds")
            if objects is None:
                raise _no_map(entry, folder / city / f"{stem}instanceIds.png", "instance map")
        annotated.append(Entry(entry.id, entry.image, labels, objects, entry.group))
    return annotated


def _no_map(entry: Entry, path: Path, what: str) -> GstoVizError:
    return GstoVizError(f"{entry.image} has no {what}; add {path} or remove the image")
