"""Pascal-Context with 59 classes, or 60 with the background, read from a VOC2010 folder.

Label values: Mottaghi et al., CVPR 2014, in the numbering of the Detail API's 59 classes, which is
alphabetical. Colours: those of the VOC development kit for the numbers 0..59. Which classes are
countable is this package's choice: the data set does not say.
"""

from pathlib import Path

from gsto_viz.data.annotated import AnnotatedFiles, Entry, check_folders, check_split
from gsto_viz.data.pairs import IMAGE_SUFFIXES, list_stems, pair_up
from gsto_viz.data.reader import label_table
from gsto_viz.errors import GstoVizError
from gsto_viz.files import read_small_text
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
