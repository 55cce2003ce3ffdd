"""LIP (Look into Person): one person per image, 20 classes of clothes and body parts.

Layout, names and colours: Gong et al., CVPR 2017, and its evaluation code. The data may be used for
non-commercial research only.
"""

from pathlib import Path

from gsto_viz.data.base import (
    IMAGE_SUFFIXES,
    AnnotatedFiles,
    Entry,
    check_folders,
    check_split,
    list_stems,
    pair_up,
)
from gsto_viz.data.reader import label_table
from gsto_viz.errors import GstoVizError
from gsto_viz.types import ClassInfo, ClassList

SPLITS = ("train", "val")

LIP_CLASSES = ClassList(
    name="lip",
    classes=(
        ClassInfo(0, "background", (0, 0, 0), thing=False),
        ClassInfo(1, "hat", (128, 0, 0), thing=True),
        ClassInfo(2, "hair", (255, 0, 0), thing=True),
        ClassInfo(3, "glove", (0, 85, 0), thing=True),
        ClassInfo(4, "sunglasses", (170, 0, 51), thing=True),
        ClassInfo(5, "upper-clothes", (255, 85, 0), thing=True),
        ClassInfo(6, "dress", (0, 0, 85), thing=True),
        ClassInfo(7, "coat", (0, 119, 221), thing=True),
        ClassInfo(8, "socks", (85, 85, 0), thing=True),
        ClassInfo(9, "pants", (0, 85, 85), thing=True),
        ClassInfo(10, "jumpsuits", (85, 51, 0), thing=True),
        ClassInfo(11, "scarf", (52, 86, 128), thing=True),
        ClassInfo(12, "skirt", (0, 128, 0), thing=True),
        ClassInfo(13, "face", (0, 0, 255), thing=True),
        ClassInfo(14, "left-arm", (51, 170, 221), thing=True),
        ClassInfo(15, "right-arm", (0, 255, 255), thing=True),
        ClassInfo(16, "left-leg", (85, 255, 170), thing=True),
        ClassInfo(17, "right-leg", (170, 255, 85), thing=True),
        ClassInfo(18, "left-shoe", (255, 255, 0), thing=True),
        ClassInfo(19, "right-shoe", (255, 170, 0), thing=True),
    ),
    flip_pairs=((14, 15), (16, 17), (18, 19)),
)
"""LIP's 20 classes; the background is one of them and counts in every score."""

_IMAGES, _LABELS = "TrainVal_images", "TrainVal_parsing_annotations"
_TREE = (
    f"a LIP folder holds {_IMAGES}/{{train,val}}_images/NAME.jpg and "
    f"{_LABELS}/{{train,val}}_segmentations/NAME.png"
)


class LIPDataset(AnnotatedFiles):
    """One split of LIP, images of many sizes.

    Its archives unpack into ``TrainVal_images/TrainVal_images``: the inner folder may be there or
    not. Mirrored label maps (``train_segmentations_reversed``) are not needed, because the class
    list says which classes change places.

    Args:
        root: Folder that holds ``TrainVal_images/`` and ``TrainVal_parsing_annotations/``.
        split: ``train`` or ``val``.

    Raises:
        GstoVizError: Unknown split, a folder that is missing or empty, an image without label map.
    """

    def __init__(self, root: str | Path, split: str = "val") -> None:
        check_split("LIP", split, SPLITS)
        self.root = Path(root)
        self.split = split
        images_at = _inner(self.root / _IMAGES) / f"{split}_images"
        labels_at = _inner(self.root / _LABELS) / f"{split}_segmentations"
        check_folders(
            (self.root, self.root / _IMAGES, self.root / _LABELS, images_at, labels_at), _TREE
        )
        images = list_stems(images_at, IMAGE_SUFFIXES)
        if not images:
            raise GstoVizError(f"no images in {images_at}; {_TREE}")
        labels = pair_up(images, labels_at, "label map")
        super().__init__(
            f"lip:{self.root}:{split}",
            LIP_CLASSES,
            (Entry(stem, path, labels[stem]) for stem, path in images.items()),
            label_table(range(len(LIP_CLASSES))),
            f"the classes 0 to {len(LIP_CLASSES) - 1}",
        )


def _inner(folder: Path) -> Path:
    """Return the folder of the same name inside, where an archive was unpacked into its own."""
    inside = folder / folder.name
    return inside if inside.is_dir() else folder
