"""Make Pascal-Context's label maps, once, from the annotation file of the Detail API.

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

from gsto_viz.data.annotated import check_folders
from gsto_viz.data.pascal_context import LABELS, LISTS, SPLITS
from gsto_viz.data.reader import write_png
from gsto_viz.errors import GstoVizError
from gsto_viz.files import write_text

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
