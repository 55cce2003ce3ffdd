"""Words shared by every room: classes of a data set, one labelled sample, a data set.

This is a leaf module: models, statistics, plots and data sets all import it and it imports none of
them.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from gsto_viz.errors import GstoVizError

IGNORE = 255
"""The label of pixels that belong to no class. Loaders map every data set's own value to it."""
CROWD = -1
"""The instance number of things that were not annotated one by one: no object of its own size."""
BAND_PX = 8.0
"""Pixels of a region up to this distance from its outside are band, the others core."""


Stride = int | str
"""The grid of a branch: pixels per cell; or, as text, ``8r12``, pixels per cell and the dilation
rate that sets the branch apart from others on that grid, or ``6x6``, so many cells over the image,
whatever its size. In a column of text ``8`` is 8 pixels."""

_RATED = re.compile(r"([1-9][0-9]{0,4})(r[1-9][0-9]{0,4})?")
_POOLED = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")


@dataclass(frozen=True)
class ClassInfo:
    """One class: its index in label maps, its name, its colour, and whether it is countable."""

    id: int
    name: str
    color: tuple[int, int, int]
    """sRGB, each 0..255."""
    thing: bool
    """True for countable objects (car), False for stuff (road)."""


@dataclass(frozen=True)
class ClassList:
    """The classes of a data set, in index order 0..K-1; pixels labelled 255 are ignored.

    Attributes:
        name: What the list is called.
        classes: Its entries; entry k has id k.
        flip_pairs: Pairs of ids that change places in a mirror image, such as left-arm and
            right-arm; no id is in two pairs.
    """

    name: str
    classes: tuple[ClassInfo, ...]
    flip_pairs: tuple[tuple[int, int], ...] = ()

    def __len__(self) -> int:
        return len(self.classes)

    def __iter__(self) -> Iterator[ClassInfo]:
        return iter(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in index order."""
        return tuple(c.name for c in self.classes)

    @property
    def is_numbered(self) -> bool:
        """Whether the classes have numbers for names: those of a file that names none."""
        return self.names == tuple(f"class {k}" for k in range(len(self)))

    @property
    def colors(self) -> npt.NDArray[np.uint8]:
        """Colours, shape (K, 3), uint8 sRGB."""
        return np.array([c.color for c in self.classes], dtype=np.uint8)

    @property
    def flip_order(self) -> tuple[int, ...]:
        """For each class the class that it is in a mirror image: its partner, or itself.

        It serves labels (``table[labels]``) and the class axis of logits alike, because swapping
        twice changes nothing.
        """
        return mirror_order(self.flip_pairs, len(self.classes))

    def paint(
        self, labels: npt.NDArray[Any], ignored: tuple[int, int, int] = (0, 0, 0)
    ) -> npt.NDArray[np.uint8]:
        """Paint a label map in the colours of its classes.

        Args:
            labels: (H, W), integers, class index 0..K-1 or 255 (ignore).
            ignored: Colour of ignored pixels.

        Returns:
            (H, W, 3) uint8 sRGB.

        Raises:
            GstoVizError: The map is not (H, W) of integers, or holds another value.
        """
        if labels.ndim != 2 or labels.dtype.kind not in "iu":
            raise GstoVizError(
                f"a label map is (H, W) of integers, not {labels.shape} of {labels.dtype}; "
                "pass that"
            )
        outside = (labels != IGNORE) & ((labels < 0) | (labels >= len(self)))
        if outside.any():
            raise GstoVizError(
                f"label {int(labels[outside][0])} is outside the {len(self)} classes of "
                f"'{self.name}'; pass the class list of this map"
            )
        table = np.full((256, 3), ignored, dtype=np.uint8)
        table[: len(self)] = self.colors
        return table[labels]

    def to_json(self) -> dict[str, Any]:
        """Return what ``classes.json`` holds: name, ignore value, and one entry per class.

        ``flip_pairs`` is there only when there are any.
        """
        pairs = {"flip_pairs": [list(pair) for pair in self.flip_pairs]} if self.flip_pairs else {}
        return {
            "name": self.name,
            "ignore": IGNORE,
            "classes": [
                {
                    "id": c.id,
                    "name": c.name,
                    "color": list(c.color),
                    "kind": "thing" if c.thing else "stuff",
                }
                for c in self.classes
            ],
            **pairs,
        }


def mirror_order(pairs: tuple[tuple[int, int], ...], length: int) -> tuple[int, ...]:
    """Return 0..length-1 with the members of each pair exchanged."""
    order = list(range(length))
    for a, b in pairs:
        order[a], order[b] = b, a
    return tuple(order)


@dataclass(frozen=True, eq=False)
class Person:
    """One annotated person of an image; whole numbers are the centres of pixels.

    Attributes:
        joints: (J, 3) float32: x and y in pixels, and 0 (not annotated), 1 (hidden) or 2 (visible).
        box: x and y of the top left corner, width and height, in pixels; edges of pixels lie at
            k - 1/2, so a box is 1/2 less than in COCO's files.
        area: Pixels of its mask, as annotated; of the box where there is no mask.
        instance: Its number in the instance map; 0 where it has none.
    """

    joints: npt.NDArray[np.float32]
    box: tuple[float, float, float, float]
    area: float
    instance: int = 0


@dataclass(frozen=True)
class Sample:
    """One image with its annotation.

    Attributes:
        id: Name that is unique within the data set and stable between runs.
        image: (H, W, 3) uint8 sRGB.
        labels: (H, W) uint8, class index 0..K-1 or 255 (ignore); None when not annotated.
        instances: (H, W) int32, 0 = no instance, k > 0 = instance k, -1 = things that were not
            annotated one by one (crowds); None when not annotated.
        group: Images of one group (video block, sequence) are not independent of each other.
        people: Its persons with key points; None where there is no such annotation.
    """

    id: str
    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8] | None = None
    instances: npt.NDArray[np.int32] | None = None
    group: str | None = field(default=None)
    people: tuple[Person, ...] | None = None


@runtime_checkable
class Dataset(Protocol):
    """What training, evaluation and analysis ask of a data set: any sized, indexable collection."""

    @property
    def name(self) -> str:
        """The SPEC that made it, e.g. ``scenes:count=64,seed=0,size=256x512``."""

    @property
    def classes(self) -> ClassList:
        """The classes of its label maps."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Sample ids, in index order, known without reading any image."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample:
        """Read or render one sample. Safe to call from several threads and processes."""


@dataclass(frozen=True)
class SampleFiles:
    """The files that one sample is read from.

    Attributes:
        image: Its picture.
        labels: Its label map; None when not annotated.
        instances: Its instance map; None when not annotated, or not read.
        others: What the meaning of the maps depends on, such as a class list.
    """

    image: Path
    labels: Path | None = None
    instances: Path | None = None
    others: tuple[Path, ...] = ()


@runtime_checkable
class FileDataset(Dataset, Protocol):
    """A data set whose samples lie in files, so that a copy of a sample can be seen to be old."""

    @property
    def groups(self) -> tuple[str | None, ...]:
        """Each sample's group, known without reading any image."""

    def files(self, index: int) -> SampleFiles:
        """Return the files of one sample. Safe to call from several threads and processes."""


@dataclass(frozen=True)
class Tap:
    """A named place of a network where something can be captured.

    Attributes:
        name: Its word in the contract, e.g. ``stage3.m0.gate[2->0]``.
        module: Dotted name of the submodule whose output tensor is meant.
        stride: Pixel step of its grid: a (H, W) image gives (ceil(H/stride), ceil(W/stride)); as
            text a ``Stride`` of a dilated or pooled branch; None when the network does not say.
        channels: Channels of the output, 1 for a gate map, heads times cells for the weights (N,
            heads, cells, h, w) of attention; None when the network does not say.
        kind: ``feature``, ``gate`` (what a feature is multiplied by), ``logits`` or ``attention``;
            ``feature`` for modules of foreign networks.
        branch: Which branch its features are, 0 = the finest; None for everything else.
        path: Which element of the module's output, outermost first; empty when it is a tensor.
        layout: ``nchw`` or ``nhwc``, the order of axes of the output; empty: told by sizes.
    """

    name: str
    module: str
    stride: Stride | None = None
    channels: int | None = None
    kind: str = "feature"
    branch: int | None = None
    path: tuple[str, ...] = ()
    layout: str = ""


FloatArray = npt.NDArray[np.float64]


def pixels_per_cell(stride: Stride) -> int | None:
    """Return the pixels per cell of a grid; None where the image's size decides.

    Raises:
        GstoVizError: Not a grid.
    """
    if isinstance(stride, str):
        if rated := _RATED.fullmatch(stride):
            return int(rated[1])
        if cells_of(stride) is not None:
            return None
        raise GstoVizError(f"'{stride}' is not a grid; write pixels per cell, 8r12 or 6x6")
    return stride


def cells_of(stride: Stride) -> tuple[int, int] | None:
    """Return the cells (h, w) of a pooled grid; None of one that has pixels per cell."""
    pooled = _POOLED.fullmatch(stride) if isinstance(stride, str) else None
    return (int(pooled[1]), int(pooled[2])) if pooled else None


def rate_of(stride: Stride) -> int:
    """Return the dilation rate that a grid names; 1 where it names none."""
    rated = _RATED.fullmatch(stride) if isinstance(stride, str) else None
    return int(rated[2][1:]) if rated and rated[2] else 1


def coarsest_pixels(strides: Iterable[Stride]) -> int:
    """Return the most pixels per cell; pooled grids, whose cells grow with the image, do not count.

    1 where there are no others.
    """
    return max([1, *(pixels for one in strides if (pixels := pixels_per_cell(one)) is not None)])


def stride_order(stride: Stride) -> tuple[float, str]:
    """Return what sorts grids: by pixels per cell, pooled ones last."""
    pixels = pixels_per_cell(stride)
    return (float("inf") if pixels is None else pixels, str(stride))


def stride_words(stride: Stride) -> str:
    """Return a grid in words: ``stride 8``, ``stride 8, rate 12``, ``6x6 cells``."""
    if cells_of(stride) is not None:
        return f"{stride} cells"
    return "stride " + str(stride).replace("r", ", rate ")


BranchMaps = tuple[npt.NDArray[np.float32], ...]
"""One map per branch, the finest first: (h_r, w_r) float32 each."""


@dataclass(frozen=True)
class WorstPair:
    """Two regions of one image that a network orders the wrong way round.

    Attributes:
        model: Key of the network.
        image: Name of the image.
        small_region: Number of the smaller region.
        large_region: Number of the larger one.
        gap_octaves: Difference of their sizes.
        q_small: Coarseness of the smaller one, which is the greater of the two.
        q_large: Coarseness of the larger one.
    """

    model: str
    image: str
    small_region: int
    large_region: int
    gap_octaves: float
    q_small: float
    q_large: float

    @property
    def error(self) -> float:
        """How bad it is: octaves between the sizes, times how far q is in the wrong order."""
        return self.gap_octaves * (self.q_small - self.q_large)
