"""The data sets that lie in a folder: how each is laid out on disk, and the register of them.

A new data set is one function that lists the samples of a split, and one row of ``DATA_SETS``. From
the rows derive the SPECs, the help of the command line, error messages, the notices of weights, and
the table of ``docs/data_sets.md``.

Sources of the layouts and label values: SegNet tutorial (CamVid); Cityscapes scripts, Cordts et
al., 2016; Gong et al., CVPR 2017 (LIP); Mottaghi et al., CVPR 2014, in the numbering of the Detail
API, and MMSegmentation's folders (Pascal-Context); Zhou et al., CVPR 2017 (ADE20K).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from gsto_viz.data.base import (
    IMAGE_SUFFIXES,
    MAP_SUFFIXES,
    AnnotatedFiles,
    DataSet,
    Entry,
    MissingMapError,
    Purpose,
    default_split,
    list_stems,
    pair_up,
)
from gsto_viz.data.classes import read_class_list, shipped_classes
from gsto_viz.data.coco import Coco, find_coco
from gsto_viz.data.coco_people import CocoKeypoints
from gsto_viz.data.coding import Coding
from gsto_viz.data.mapillary import Mapillary, find_mapillary
from gsto_viz.data.masks import decode_mask
from gsto_viz.data.reader import read_values, write_png
from gsto_viz.errors import GstoVizError
from gsto_viz.files import read_json, read_small_text, write_text

_BLOCK = {"train": 25, "val": 25, "trainval": 25, "eval": 5, "test": 5}
"""CamVid's frames per group: nearer in time (val has 15 frames a second) means longer blocks."""


def _camvid(row: DataSet, root: Path, split: str, purpose: Purpose) -> list[Entry]:
    """List ``{split}/NAME.jpg`` (or .png) with ``{split}annot/NAME.png``; ``trainval`` is both.

    Neighbouring frames show nearly the same picture, so statistics resample blocks of consecutive
    frames of a sequence: each sample's group is ``SEQUENCE/blockN``, 25 frames in train and val, 5
    in eval and test. The last block of a sequence may be shorter.
    """
    entries: dict[str, Entry] = {}
    for part in ("train", "val") if split == "trainval" else (split,):
        row.check_folders(root, root / part, root / f"{part}annot")
        for entry in row.labelled(row.images_in(root / part), root / f"{part}annot"):
            if entry.id in entries:
                raise GstoVizError(
                    f"{entry.image} is also in another split of {split}; remove one of them"
                )
            entries[entry.id] = entry
    ids = tuple(sorted(entries))
    groups = frame_blocks(ids, _BLOCK[split])
    return [replace(entries[stem], group=g) for stem, g in zip(ids, groups, strict=True)]


def frame_blocks(stems: tuple[str, ...], length: int) -> tuple[str, ...]:
    """Cut each video into blocks of consecutive frames.

    Args:
        stems: Frame names such as ``0016E5_07959``, sorted; the video is named before the last
            ``_`` (or by the whole name).
        length: Frames per block.

    Returns:
        One group name per frame, such as ``0016E5/block3``; blocks count from 0.
    """

    def video_of(stem: str) -> str:
        return stem.rpartition("_")[0] or stem

    groups: dict[str, str] = {}
    # Sorted by video first: a name like `A_1_2` may sort between frames of `A`.
    by_video = sorted(stems, key=lambda stem: (video_of(stem), stem))
    for video, frames in groupby(by_video, key=video_of):
        for position, stem in enumerate(frames):
            groups[stem] = f"{video}/block{position // length}"
    return tuple(groups[stem] for stem in stems)


LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""For each class of Cityscapes its number in ``gtFine_labelIds.png``."""

_NUM_LABEL_IDS = 34
_TRAIN_IDS = Coding.of(range(len(LABEL_IDS)), expected="the train ids 0 to 18")
_FIRST_INSTANCE = 1000
"""Instance k of label id L is 1000 L + k in ``*_instanceIds.png``; lower is not an instance."""


def _cityscapes(row: DataSet, root: Path, split: str, purpose: Purpose) -> list[Entry]:
    """List ``leftImg8bit/SPLIT/CITY/*`` with the maps of ``gtFine``; ``trainval`` is both.

    Labels come from ``*_gtFine_labelIds.png``, or from ``*_gtFine_labelTrainIds.png`` where an
    image has only that. The annotation of ``test`` is withheld. Instances come from
    ``*_gtFine_instanceIds.png`` where a city has such files; training does without them.

    A sample's group is ``CITY/SEQ``: frames of one recording are not independent of each other.
    """
    entries: list[Entry] = []
    for part in ("train", "val") if split == "trainval" else (split,):
        found = list(_frames(row, root, part))
        if not found:
            raise GstoVizError(
                f"no *_leftImg8bit.png in the folders of {root / 'leftImg8bit' / part}; {row.tree}"
            )
        if part != "test":
            annotation = root / "gtFine" / part
            found = list(_annotated(row, found, annotation, instances=purpose != "train"))
        entries += found
    return entries


def _frames(row: DataSet, root: Path, part: str) -> Iterator[Entry]:
    """List the images of one split, city by city."""
    folder = root / "leftImg8bit" / part
    row.check_folders(root, root / "leftImg8bit", folder)
    for city in sorted(path for path in folder.iterdir() if path.is_dir()):
        for stem, path in list_stems(city, IMAGE_SUFFIXES).items():
            if stem.endswith("_leftImg8bit"):
                frame = stem.removesuffix("_leftImg8bit")
                sequence = frame.removeprefix(city.name + "_").partition("_")[0]
                yield Entry(frame, path, group=f"{city.name}/{sequence}")


def _annotated(
    row: DataSet, entries: list[Entry], folder: Path, *, instances: bool
) -> Iterator[Entry]:
    """Find the maps of each image; in a city with instance maps each image must have one."""
    row.check_folders(folder.parent, folder)
    for city, frames in groupby(entries, key=lambda entry: entry.image.parent.name):
        row.check_folders(folder / city)
        maps = list_stems(folder / city, MAP_SUFFIXES)
        with_instances = instances and any(name.endswith("_instanceIds") for name in maps)
        for entry in frames:
            train_ids = maps.get(f"{entry.id}_gtFine_labelTrainIds")
            labels = maps.get(f"{entry.id}_gtFine_labelIds")
            objects = maps.get(f"{entry.id}_gtFine_instanceIds") if with_instances else None
            missing = {"labelIds": "label map"} if not (labels or train_ids) else {}
            if with_instances and objects is None:
                missing["instanceIds"] = "instance map"
            for kind, what in missing.items():
                path = folder / city / f"{entry.id}_gtFine_{kind}.png"
                raise GstoVizError(f"{entry.image} has no {what}; add {path} or remove the image")
            coding = None if labels else _TRAIN_IDS
            yield replace(entry, labels=labels or train_ids, instances=objects, coding=coding)


def _cityscapes_instances(path: Path) -> npt.NDArray[np.int32] | None:
    """Keep the numbers 1000 L + k of classes with instances.

    Groups of objects that were annotated as one (numbers below 1000) and all else become 0. A map
    that was saved again with 8 bits has lost its instances: None.
    """
    values = read_values(path)
    if values.dtype != np.uint16:
        return None
    numbers = values.astype(np.int32)
    counted = np.zeros(65536 // _FIRST_INSTANCE + 1, dtype=bool)
    counted[[LABEL_IDS[c.id] for c in shipped_classes("cityscapes") if c.thing]] = True
    return np.where(counted[numbers // _FIRST_INSTANCE], numbers, 0)


_LIP_IMAGES, _LIP_LABELS = "TrainVal_images", "TrainVal_parsing_annotations"


def _lip(row: DataSet, root: Path, split: str, purpose: Purpose) -> list[Entry]:
    """List what LIP's archives unpack into; the inner folder of the same name may be there or not.

    Mirrored label maps (``train_segmentations_reversed``) are not needed, because the class list
    says which classes change places.
    """
    tops = [root / _LIP_IMAGES, root / _LIP_LABELS]
    inner = [top / top.name if (top / top.name).is_dir() else top for top in tops]
    images_at, labels_at = inner[0] / f"{split}_images", inner[1] / f"{split}_segmentations"
    row.check_folders(root, *tops, images_at, labels_at)
    return row.labelled(row.images_in(images_at), labels_at)


_ADE_TOP = "ADEChallengeData2016"


def _ade20k(row: DataSet, root: Path, split: str, purpose: Purpose) -> list[Entry]:
    """List ``ADEChallengeData2016``, which ``root`` is or holds."""
    top = root / _ADE_TOP if (root / _ADE_TOP).is_dir() else root
    part = {"train": "training", "val": "validation"}[split]
    images_at, labels_at = top / "images" / part, top / "annotations" / part
    row.check_folders(top, top / "images", top / "annotations", images_at, labels_at)
    return row.labelled(row.images_in(images_at), labels_at)


_CONTEXT_LISTS = Path("ImageSets", "SegmentationContext")
_CONTEXT_LABELS = "SegmentationClassContext"
"""Where the lists of the splits and the label maps lie in ``VOC2010``, as MMSegmentation has it."""


def _pascal_context(row: DataSet, root: Path, split: str, purpose: Purpose) -> list[Entry]:
    """List the images of a split's list; ``root`` is VOC2010, VOCdevkit or the folder above."""
    tops = (root / "VOCdevkit" / "VOC2010", root / "VOC2010")
    top = next((top for top in tops if top.is_dir()), root)
    folder, path = top / "JPEGImages", top / _CONTEXT_LISTS / f"{split}.txt"
    row.check_folders(top, folder, top / _CONTEXT_LABELS)
    if not path.is_file():
        raise GstoVizError(f"no file {path}; {row.tree}")
    names = sorted(set(read_small_text(path, "the list").split()))
    if not names:
        raise GstoVizError(f"{path} is empty; write one image name a line, without .jpg")
    there = list_stems(folder, IMAGE_SUFFIXES)
    missing = [name for name in names if name not in there]
    if missing:
        raise GstoVizError(
            f"{path} names {len(missing)} images that are not in {folder}, first '{missing[0]}'; "
            "add them or correct the list"
        )
    return row.labelled({name: there[name] for name in names}, top / _CONTEXT_LABELS)


def _folder(row: DataSet, root: Path, split: str, purpose: Purpose) -> list[Entry]:
    """List ``images/ labels/ [instances/]`` in ``root/split`` (in ``root`` without a split)."""
    base = root / split
    own = read_class_list(_class_list_at(row, root, split))
    row.check_folders(base / "images", base / "labels")
    images = row.images_in(base / "images")
    try:
        entries = row.labelled(images, base / "labels", own.label_suffix)
    except MissingMapError as error:
        if error.found_suffix is None:
            raise
        raise GstoVizError(
            f"{error}, or say in classes.json how label maps are called: "
            f'"label_suffix": "{error.found_suffix}"'
        ) from error
    if not (base / "instances").is_dir():
        return entries
    instances = pair_up(images, base / "instances", "instance map")
    return [replace(entry, instances=instances[entry.id]) for entry in entries]


def _class_list_at(row: DataSet, root: Path, split: str) -> Path:
    """Return the class list of a split, or else that of the whole folder."""
    places = (root / split / "classes.json", root / "classes.json")
    source = next((path for path in places if path.is_file()), None)
    if source is None:
        raise GstoVizError(f"no file {places[0]}; {row.tree}")
    return source


class _OwnFolder(DataSet):
    """Annotated images with a class list of their own, in the layout ``gsto-viz scenes`` writes."""

    def open(
        self, root: str | Path, split: str | None = None, purpose: Purpose = "eval"
    ) -> AnnotatedFiles:
        """Open the folder, or a split in it; a folder that holds ``images/`` is taken whole.

        Raises:
            GstoVizError: A folder is missing or empty, an image has no label or instance map, or
                ``classes.json`` (of the split, or else of the whole) is wrong.
        """
        root = Path(root)
        if split is None and not (root / "images").is_dir() and self._has_splits(root):
            split = default_split(purpose)
        self.check_folders(root, root / (split or ""))
        source = _class_list_at(self, root, split or "")
        own = read_class_list(source)
        return AnnotatedFiles(
            f"{self.name}:{root}" + ("" if split is None else f":{split}"),
            own.classes,
            self.find(self, root, split or "", purpose),
            Coding.of_numbers(own.numbers, own.classes),
            others=(source,),
        )

    def _has_splits(self, root: Path) -> bool:
        return any((root / split / "images").is_dir() for split in self.splits)


def _reduced(title: str, count: int) -> str:
    """Return why 255 is not found in the annotation of a data set as it is published."""
    return (
        f"the annotation of {title} (0 = no class, 1 to {count}): it is reduced already "
        f"(0 to {count - 1}, 255 = no class); take the original, or read it as folder:PATH with "
        "a classes.json"
    )


_NON_COMMERCIAL = "the weights are for non-commercial use only"
_CONTEXT = DataSet(
    name="pascal_context",
    title="Pascal-Context",
    splits=("train", "val"),
    tree="a Pascal-Context folder is VOC2010 with JPEGImages/NAME.jpg, "
    f"{_CONTEXT_LABELS}/NAME.png (0 to 59) and {_CONTEXT_LISTS.as_posix()}/{{train,val}}.txt",
    find=_pascal_context,
    classes="pascal_context",
    coding=Coding.of(
        range(1, 60), 0, expected="the labels 0 to 59", never=_reduced("Pascal-Context", 59)
    ),
)
_ROWS = (
    DataSet(
        name="camvid",
        title="CamVid",
        splits=("train", "val", "eval", "test", "trainval"),
        tree="a CamVid folder looks like {split}/NAME.jpg (or .png) with {split}annot/NAME.png, "
        "splits train, val, eval or test",
        find=_camvid,
        classes="camvid",
        coding=Coding.of(range(11), 11),
        licence="CC BY-NC",
        notice=_NON_COMMERCIAL,
        held_out=("eval",),
    ),
    DataSet(
        name="cityscapes",
        title="Cityscapes",
        splits=("train", "val", "test", "trainval"),
        tree="a Cityscapes folder holds leftImg8bit/SPLIT/CITY/CITY_SEQ_FRAME_leftImg8bit.png and "
        "gtFine/SPLIT/CITY/CITY_SEQ_FRAME_gtFine_labelIds.png, splits train, val and test",
        find=_cityscapes,
        classes="cityscapes",
        coding=Coding.of(
            LABEL_IDS,
            *(id_ for id_ in range(_NUM_LABEL_IDS) if id_ not in LABEL_IDS),
            expected=f"the label ids 0 to {_NUM_LABEL_IDS - 1}",
            never=f"label ids (0 to {_NUM_LABEL_IDS - 1}): these are train ids (0 to 18 and 255); "
            "call such files *_gtFine_labelTrainIds.png, or take the original label ids",
        ),
        read_instances=_cityscapes_instances,
        licence="non-commercial",
        notice=_NON_COMMERCIAL,
    ),
    DataSet(
        name="lip",
        title="LIP",
        splits=("train", "val"),
        tree=f"a LIP folder holds {_LIP_IMAGES}/{{train,val}}_images/NAME.jpg and "
        f"{_LIP_LABELS}/{{train,val}}_segmentations/NAME.png",
        find=_lip,
        classes="lip",
        licence="non-commercial research",
        notice=_NON_COMMERCIAL,
    ),
    _CONTEXT,
    replace(
        _CONTEXT,
        name="pascal_context60",
        classes="pascal_context60",
        coding=Coding.of(
            range(60), expected="the labels 0 to 59", never=_reduced("Pascal-Context", 59)
        ),
    ),
    DataSet(
        name="ade20k",
        title="ADE20K",
        splits=("train", "val"),
        tree="an ADE20K folder holds images/{training,validation}/NAME.jpg and "
        f"annotations/{{training,validation}}/NAME.png, as in {_ADE_TOP}.zip",
        find=_ade20k,
        classes="ade20k",
        coding=Coding.of(
            range(1, 151), 0, expected="the labels 0 to 150", never=_reduced("ADE20K", 150)
        ),
        licence="non-commercial research and education (images)",
        notice=_NON_COMMERCIAL,
    ),
    Mapillary(
        name="mapillary",
        title="Mapillary Vistas",
        splits=("train", "val"),
        tree="a Mapillary Vistas folder holds config_v2.0.json, config_v1.2.json or config.json, "
        "{training,validation}/images/NAME.jpg and {training,validation}/[v2.0/|v1.2/]labels/"
        "NAME.png, beside them instances/NAME.png",
        find=find_mapillary,
        licence="research only",
        notice=_NON_COMMERCIAL,
    ),
    Coco(
        name="coco",
        title="COCO files",
        splits=("train", "val", "test"),
        tree="a COCO folder holds annotations/{panoptic,instances}_SPLIT2017.json with SPLIT2017/, "
        "SPLIT/_annotations.coco.json with its images, or one JSON file with images/",
        find=find_coco,
    ),
    CocoKeypoints(
        name="coco_keypoints",
        title="COCO key points",
        splits=("train", "val"),
        tree="a COCO folder holds annotations/person_keypoints_{train,val}2017.json with "
        "images/{train,val}2017/NAME.jpg or {train,val}2017/NAME.jpg",
        find=find_coco,
        classes="person",
        licence="CC BY 4.0 (annotations)",
    ),
    _OwnFolder(
        name="folder",
        title="your own images",
        splits=("train", "val", "eval", "test", "trainval"),
        tree="an annotated folder holds images/*.png|jpg labels/*.png [instances/*.png] "
        "classes.json",
        find=_folder,
    ),
)

DATA_SETS: dict[str, DataSet] = {row.name: row for row in _ROWS}
"""The data sets that lie in a folder, by the first word of their SPECs."""


CATEGORIES = (
    0, 2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113,
    115, 144, 158, 159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326,
    347, 349, 354, 355, 360, 366, 368, 397, 415, 416, 420, 424, 427, 440, 445, 454, 458,
)  # fmt: skip
"""The category id (of 459) of each stored number 0..59; all other categories are background."""


def write_pascal_context_masks(
    root: str | Path, annotations: str | Path, *, quiet: bool = False
) -> dict[str, int]:
    """Write ``SegmentationClassContext/*.png`` and the lists of the splits into ``VOC2010``.

    The lists come last: as long as they are missing, the folder is not taken for a whole one.

    Args:
        root: The folder ``VOC2010`` with ``JPEGImages/``.
        annotations: ``trainval_merged.json``.
        quiet: No progress bar.

    Returns:
        Number of images of each split.

    Raises:
        GstoVizError: The file is not what it should be, or cannot be read; a PNG cannot be written.
    """
    root = Path(root)
    for folder in (root, root / "JPEGImages"):
        if not folder.is_dir():
            raise GstoVizError(
                f"no folder {folder}; give the folder VOC2010 that holds JPEGImages/"
            )
    value = read_json(annotations, "the annotations", max_bytes=2**30)
    lists: dict[str, list[str]] = {"train": [], "val": []}
    try:
        masks = defaultdict(list)
        for annotation in value["annos_segmentation"]:
            masks[annotation["image_id"]].append(annotation)
        images = [image for image in value["images"] if image["phase"] in lists]
        for image in tqdm(images, desc="label maps", disable=quiet, leave=False):
            stem = Path(image["file_name"]).stem
            labels = _label_map(image, masks[image["image_id"]])
            write_png(root / _CONTEXT_LABELS / f"{stem}.png", labels)
            lists[image["phase"]].append(stem)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        if isinstance(error, GstoVizError):
            raise
        raise GstoVizError(
            f"{annotations} is not an annotation file of the Detail API ({error!r}); take "
            "trainval_merged.json"
        ) from error
    for split, stems in lists.items():
        text = "".join(f"{stem}\n" for stem in sorted(stems))
        write_text(root / _CONTEXT_LISTS / f"{split}.txt", text)
    return {split: len(stems) for split, stems in lists.items()}


def _label_map(
    image: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]]
) -> npt.NDArray[np.uint8]:
    """Lay the masks of an image over each other, later ones on top; (H, W), 0..59."""
    labels = np.zeros((image["height"], image["width"]), dtype=np.uint8)
    for annotation in annotations:
        mask = decode_mask(annotation["segmentation"])
        category = annotation["category_id"]
        labels[mask] = CATEGORIES.index(category) if category in CATEGORIES else 0
    return labels
