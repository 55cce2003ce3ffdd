"""CamVid with 11 classes, read from a folder as the SegNet tutorial lays it out.

Source of the layout and the label values: SegNet tutorial (Kendall et al.), data licence CC BY-NC.
"""

from itertools import groupby
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
from gsto_viz.data.classes import CAMVID_CLASSES
from gsto_viz.data.reader import label_table
from gsto_viz.errors import GstoVizError

SPLITS = ("train", "val", "eval", "test", "trainval")
"""``trainval`` is train and val together; the others are folders."""

UNLABELLED = 11
"""CamVid's own value of pixels that belong to no class."""

_BLOCK = {"train": 25, "val": 25, "trainval": 25, "eval": 5, "test": 5}
"""Frames per group: nearer in time (val has 15 frames a second) means longer blocks."""

_TREE = (
    "a CamVid folder looks like {split}/NAME.jpg (or .png) with {split}annot/NAME.png, "
    "splits train, val, eval or test"
)


class CamVidDataset(AnnotatedFiles):
    """One split of CamVid. Frames are read when asked for; nothing is kept in memory.

    Neighbouring frames show nearly the same picture, so statistics resample blocks of consecutive
    frames of a sequence: each sample's group is ``SEQUENCE/blockN``, 25 frames in train and val, 5
    in eval and test. The last block of a sequence may be shorter.

    Args:
        root: Folder that holds ``{split}/`` (images, .jpg or .png) and ``{split}annot/`` (label
            maps, .png, same names): values 0..10 are the classes, 11 is "unlabelled".
        split: One of ``train``, ``val``, ``eval``, ``test`` and ``trainval`` (train and val).

    Raises:
        GstoVizError: Unknown split, a folder that is missing or empty, an image without label map.
    """

    def __init__(self, root: str | Path, split: str = "val") -> None:
        check_split("CamVid", split, SPLITS)
        self.root = Path(root)
        self.split = split
        images: dict[str, Path] = {}
        labels: dict[str, Path] = {}
        for part in ("train", "val") if split == "trainval" else (split,):
            found = self._list_part(part)
            twice = sorted(images.keys() & found.keys())
            if twice:
                raise GstoVizError(
                    f"{found[twice[0]]} is also in another split of {split}; remove one of them"
                )
            images |= found
            labels |= pair_up(found, self.root / f"{part}annot", "label map")
        ids = tuple(sorted(images))
        groups = frame_blocks(ids, _BLOCK[split])
        super().__init__(
            f"camvid:{self.root}:{split}",
            CAMVID_CLASSES,
            (
                Entry(stem, images[stem], labels[stem], group=group)
                for stem, group in zip(ids, groups, strict=True)
            ),
            label_table(range(len(CAMVID_CLASSES)), UNLABELLED),
            f"the classes 0 to {len(CAMVID_CLASSES) - 1}",
        )

    def _list_part(self, part: str) -> dict[str, Path]:
        """List the images of one split's folder."""
        check_folders((self.root, self.root / part, self.root / f"{part}annot"), _TREE)
        images = list_stems(self.root / part, IMAGE_SUFFIXES)
        if not images:
            raise GstoVizError(f"no images in {self.root / part}; {_TREE}")
        return images


def sequence_of(stem: str) -> str:
    """Return the video a frame belongs to: its name before the last ``_`` (or the whole name)."""
    return stem.rpartition("_")[0] or stem


def frame_blocks(stems: tuple[str, ...], length: int) -> tuple[str, ...]:
    """Cut each video into blocks of consecutive frames.

    Args:
        stems: Frame names such as ``0016E5_07959``, sorted.
        length: Frames per block.

    Returns:
        One group name per frame, such as ``0016E5/block3``; blocks count from 0.
    """
    groups: dict[str, str] = {}
    # Sorted by video first: a name like `A_1_2` may sort between frames of `A`.
    by_sequence = sorted(stems, key=lambda stem: (sequence_of(stem), stem))
    for sequence, frames in groupby(by_sequence, key=sequence_of):
        for position, stem in enumerate(frames):
            groups[stem] = f"{sequence}/block{position // length}"
    return tuple(groups[stem] for stem in stems)
