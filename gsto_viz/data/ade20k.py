"""ADE20K's scene parsing benchmark with 150 classes, read from ``ADEChallengeData2016``.

Layout and label values: Zhou et al., CVPR 2017, and the benchmark's ``objectInfo150.txt``. The
images may be used for non-commercial research and education only.
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
from gsto_viz.data.classes import ADE20K_CLASSES
from gsto_viz.data.reader import label_table
from gsto_viz.errors import GstoVizError

SPLITS = ("train", "val")

_FOLDERS = {"train": "training", "val": "validation"}
_TOP = "ADEChallengeData2016"
_TREE = (
    "an ADE20K folder holds images/{training,validation}/NAME.jpg and "
    f"annotations/{{training,validation}}/NAME.png, as in {_TOP}.zip"
)


class ADE20KDataset(AnnotatedFiles):
    """One split of ADE20K, images of many sizes.

    Stored label 0 ("other") is ignored; stored 1..150 are the classes 0..149.

    Args:
        root: ``ADEChallengeData2016``, or the folder that holds it.
        split: ``train`` or ``val``.

    Raises:
        GstoVizError: Unknown split, a folder that is missing or empty, an image without label map.
    """

    def __init__(self, root: str | Path, split: str = "val") -> None:
        check_split("ADE20K", split, SPLITS)
        self.root = Path(root)
        self.split = split
        top = self.root / _TOP if (self.root / _TOP).is_dir() else self.root
        images_at = top / "images" / _FOLDERS[split]
        labels_at = top / "annotations" / _FOLDERS[split]
        check_folders((top, top / "images", top / "annotations", images_at, labels_at), _TREE)
        images = list_stems(images_at, IMAGE_SUFFIXES)
        if not images:
            raise GstoVizError(f"no images in {images_at}; {_TREE}")
        labels = pair_up(images, labels_at, "label map")
        count = len(ADE20K_CLASSES)
        super().__init__(
            f"ade20k:{self.root}:{split}",
            ADE20K_CLASSES,
            (Entry(stem, path, labels[stem]) for stem, path in images.items()),
            label_table(range(1, count + 1), 0),
            f"the labels 0 to {count}",
        )
