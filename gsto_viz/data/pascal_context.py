"""Pascal-Context with 59 classes, or 60 with the background, and how its label maps are made.

Label values: Mottaghi et al., CVPR 2014, in the numbering of the Detail API's 59 classes, which is
alphabetical. Colours: those of the VOC development kit for the numbers 0..59. Which classes are
countable is this package's choice: the data set does not say.

``trainval_merged.json`` holds one run-length mask per image and category, in the form of the COCO
API. It takes about half a gigabyte, so label maps are written as PNGs and read from there.

Source of the mask format: COCO API (Lin et al.), compressed run lengths.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from gsto_viz.data.base import (
    IMAGE_SUFFIXES,
    AnnotatedFiles,
    Entry,
    check_folders,
    check_split,
    list_stems,
    pair_up,
)
from gsto_viz.data.reader import label_table, write_png
from gsto_viz.errors import GstoVizError
from gsto_viz.files import read_small_text, write_text
from gsto_viz.types import ClassInfo, ClassList

SPLITS = ("train", "val")

NAMES = (
    "background", "aeroplane", "bag", "bed", "bedclothes", "bench", "bicycle", "bird", "boat",
    "book", "bottle", "building", "bus", "cabinet", "car", "cat", "ceiling", "chair", "cloth",
    "computer", "cow", "cup", "curtain", "dog", "door", "fence", "floor", "flower", "food", "grass",
    "ground", "horse", "keyboard", "light", "motorbike", "mountain", "mouse", "person", "plate",
    "platform", "pottedplant", "road", "rock", "sheep", "shelves", "sidewalk", "sign", "sky",
    "snow", "sofa", "table", "track", "train", "tree", "truck", "tvmonitor", "wall", "water",
    "window", "wood",
)  # fmt: skip
"""The class of each stored number 0..59."""

THINGS = frozenset(
    (
        "aeroplane", "bag", "bed", "bench", "bicycle", "bird", "boat", "book", "bottle", "bus",
        "cabinet", "car", "cat", "chair", "computer", "cow", "cup", "dog", "door", "flower",
        "horse", "keyboard", "light", "motorbike", "mouse", "person", "plate", "pottedplant",
        "sheep", "sign", "sofa", "table", "train", "truck", "tvmonitor", "window",
    )
)  # fmt: skip

LISTS = Path("ImageSets", "SegmentationContext")
LABELS = "SegmentationClassContext"
"""Where the lists of the splits and the label maps lie in ``VOC2010``, as MMSegmentation has it."""

_TREE = (
    "a Pascal-Context folder is VOC2010 with JPEGImages/NAME.jpg, "
    f"{LABELS}/NAME.png (0 to 59) and {LISTS.as_posix()}/{{train,val}}.txt"
)


def voc_color(number: int) -> tuple[int, int, int]:
    """Return the colour of a number 0..255 in the VOC development kit.

    Bits 0, 3, 6 of the number are the highest bits of red, bits 1, 4, 7 those of green and bits 2,
    5 those of blue.
    """
    channels = [0, 0, 0]
    for bit in range(8):
        channels[bit % 3] |= (number >> bit & 1) << (7 - bit // 3)
    return channels[0], channels[1], channels[2]


def _classes(name: str, first: int) -> ClassList:
    """Make the class list of the stored numbers from ``first`` on."""
    return ClassList(
        name,
        tuple(
            ClassInfo(number - first, NAMES[number], voc_color(number), NAMES[number] in THINGS)
            for number in range(first, len(NAMES))
        ),
    )


PASCAL_CONTEXT_60_CLASSES = _classes("pascal_context60", 0)
PASCAL_CONTEXT_59_CLASSES = _classes("pascal_context", 1)


class PascalContextDataset(AnnotatedFiles):
    """One split of Pascal-Context, images of many sizes.

    Args:
        root: ``VOC2010``, or ``VOCdevkit``, or the folder that holds that.
        split: ``train`` (4998 images) or ``val`` (5105).
        background: Whether stored 0 is a class (60 classes) or ignored (59, the usual benchmark).

    Raises:
        GstoVizError: Unknown split, a folder that is missing, a list that is missing or empty, an
            image of the list that is missing, an image without label map.
    """

    def __init__(self, root: str | Path, split: str = "val", *, background: bool = False) -> None:
        kind = "pascal_context60" if background else "pascal_context"
        check_split("Pascal-Context", split, SPLITS)
        self.root = Path(root)
        self.split = split
        top = _find_top(self.root)
        check_folders((top, top / "JPEGImages", top / LABELS), _TREE)
        images = _listed(top / LISTS / f"{split}.txt", top / "JPEGImages")
        labels = pair_up(images, top / LABELS, "label map")
        last = len(NAMES) - 1
        table = label_table(range(last + 1)) if background else label_table(range(1, last + 1), 0)
        super().__init__(
            f"{kind}:{self.root}:{split}",
            PASCAL_CONTEXT_60_CLASSES if background else PASCAL_CONTEXT_59_CLASSES,
            (Entry(stem, path, labels[stem]) for stem, path in images.items()),
            table,
            f"the labels 0 to {last}",
        )


def _find_top(root: Path) -> Path:
    """Return the folder VOC2010 that ``root`` is or holds."""
    for top in (root / "VOCdevkit" / "VOC2010", root / "VOC2010"):
        if top.is_dir():
            return top
    return root


def _listed(path: Path, folder: Path) -> dict[str, Path]:
    """Find the images of a list with one name a line, in sorted order."""
    if not path.is_file():
        raise GstoVizError(f"no file {path}; {_TREE}")
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
    return {name: there[name] for name in names}


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
    check_folders((root, root / "JPEGImages"), "give the folder VOC2010 that holds JPEGImages/")
    value = _read(Path(annotations))
    lists: dict[str, list[str]] = {split: [] for split in SPLITS}
    try:
        masks = defaultdict(list)
        for annotation in value["annos_segmentation"]:
            masks[annotation["image_id"]].append(annotation)
        images = [image for image in value["images"] if image["phase"] in SPLITS]
        for image in tqdm(images, desc="label maps", disable=quiet, leave=False):
            stem = Path(image["file_name"]).stem
            labels = _label_map(image, masks[image["image_id"]])
            write_png(root / LABELS / f"{stem}.png", labels)
            lists[image["phase"]].append(stem)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        if isinstance(error, GstoVizError):
            raise
        raise GstoVizError(
            f"{annotations} is no annotation file of the Detail API ({error!r}); take "
            "trainval_merged.json"
        ) from error
    for split, stems in lists.items():
        write_text(root / LISTS / f"{split}.txt", "".join(f"{stem}\n" for stem in sorted(stems)))
    return {split: len(stems) for split, stems in lists.items()}


def _read(path: Path) -> Any:
    try:
        with path.open(encoding="utf-8") as file:
            return json.load(file)
    except OSError as error:
        raise GstoVizError(f"cannot read {path}: {error.strerror}; check the path") from error
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise GstoVizError(f"{path} is not valid JSON ({reason}); download it again") from error


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


def decode_mask(segmentation: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    """Decode a mask of the COCO API.

    Args:
        segmentation: ``size`` (height, width) and ``counts``: lengths of runs of zeros and ones in
            turn, zeros first, going down the columns; a list, or packed into a text.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: The runs do not fill the size.
    """
    height, width = segmentation["size"]
    counts = segmentation["counts"]
    lengths = unpack_counts(counts) if isinstance(counts, str) else list(counts)
    if sum(lengths) != height * width or min(lengths, default=0) < 0:
        raise ValueError(f"a mask of {height} x {width} pixels has runs of {sum(lengths)}")
    ones = np.arange(len(lengths)) % 2 == 1
    mask: npt.NDArray[np.bool_] = np.repeat(ones, lengths).reshape(width, height).T
    return mask


def unpack_counts(text: str) -> list[int]:
    """Unpack run lengths from the COCO API's text.

    Each number is written in groups of 5 bits, lowest first, as characters from ``0`` on; bit 5
    says that another group follows, bit 4 of the last one is the sign. From the fourth number on
    the difference to the last but one is stored.
    """
    lengths: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        lengths.append(value + lengths[-2] if len(lengths) > 2 else value)
        value = shift = 0
    return lengths
