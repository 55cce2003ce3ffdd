"""Areas: where in an image a question is asked: a pixel, a box, a mask, a region, a class, a joint.

An area picks pixels and says which class each of them is asked about; ``parse_area`` reads one
from text. It knows nothing of scores or
networks; ``targets`` turns it into a number that a network gives.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gsto_viz.activity import BoolMap, grid_stride
from gsto_viz.data import read_values
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate.pose import skeletons
from gsto_viz.regions import RegionMap, find_regions
from gsto_viz.types import IGNORE

IntMap = npt.NDArray[np.int64]
RANKS = ("largest", "smallest")


@dataclass(frozen=True, eq=False)
class View:
    """What areas refer to in one image.

    Attributes:
        prediction: (H, W) class index of each pixel, as the network says.
        names: Class names in index order.
        labels: (H, W) annotation, 255 = ignored; None when there is none.
        instances: (H, W) instance numbers, 0 = none; None when nothing is annotated by instance.
        heat_maps: (J, h, w) of a network for pose, which predicts no class (``prediction`` is 255
            everywhere); ``names`` are those of its joints. None of other networks.
    """

    prediction: npt.NDArray[np.integer]
    names: tuple[str, ...]
    labels: npt.NDArray[np.integer] | None = None
    instances: npt.NDArray[np.integer] | None = None
    heat_maps: npt.NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        for name in ("labels", "instances"):
            array = getattr(self, name)
            if array is not None and array.shape != self.prediction.shape:
                raise GstoVizError(
                    f"the {name} are {array.shape} and the prediction {self.prediction.shape}; "
                    "give maps of one image"
                )

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return int(self.prediction.shape[0]), int(self.prediction.shape[1])

    @property
    def source(self) -> str:
        """Where the regions come from: ``labels``, or ``prediction`` where there are none."""
        return "prediction" if self.labels is None else "labels"

    @cached_property
    def regions(self) -> RegionMap:
        """The regions of the annotation; of the prediction where there is no annotation."""
        if self.labels is None:
            return find_regions(self.prediction)
        return find_regions(self.labels, self.instances)

    def class_index(self, name: str) -> int:
        """Return the index of a class given by name (in any case, "_" as a space) or number.

        Raises:
            GstoVizError: There is no such class.
        """
        names = [known.casefold().replace("_", " ") for known in self.names]
        if (wanted := name.casefold().replace("_", " ")) in names:
            return names.index(wanted)
        if name.isdecimal() and int(name) < len(self.names):
            return int(name)
        what = "class" if self.heat_maps is None else "joint"
        numbered = "class 0" in self.names
        hint = "; its data set, given as --calibration SPEC, would name them" * numbered
        raise GstoVizError(
            f"there is no {what} '{name}'; choose one of {', '.join(self.names)}{hint}"
        )


@dataclass(frozen=True, eq=False)
class Selection:
    """Pixels that an area picks.

    Attributes:
        group: (H, W) int64: 0 = not picked, g >= 1 = picked as part of group g. Means give every
            group the same weight, and every pixel of a group.
        class_id: (H, W) int64: the class that each picked pixel is asked about.
    """

    group: IntMap
    class_id: IntMap


class Area(Protocol):
    """Anything that picks pixels of an image."""

    def select(self, view: View) -> Selection:
        """Pick pixels, or say in one sentence why there are none."""

    def __str__(self) -> str: ...


def _selection(mask: BoolMap, view: View, class_name: str | None) -> Selection:
    """Pick one group of pixels; without a class, each is asked about its predicted class."""
    if class_name is None:
        if (view.prediction[mask] == IGNORE).any():
            raise GstoVizError(
                "the network predicts no class here; say which one is asked about, as in "
                f"pixel:120,80:{view.names[0]}"
            )
        classes = view.prediction.astype(np.int64)
    else:
        classes = np.full(view.size, view.class_index(class_name), dtype=np.int64)
    return Selection(mask.astype(np.int64), classes)


def _check_inside(x: int, y: int, view: View) -> None:
    for axis, (name, value) in enumerate((("y", y), ("x", x))):
        if not 0 <= value < view.size[axis]:
            raise GstoVizError(
                f"{name}={value} lies outside axis {axis} of the image {view.size}, which goes "
                f"from 0 to {view.size[axis] - 1}; choose a pixel inside"
            )


def _suffix(class_name: str | None) -> str:
    return "" if class_name is None else f":{class_name}"


@dataclass(frozen=True)
class Pixel:
    """One pixel: column x and row y, from 0; asked about its predicted class, or another one."""

    x: int
    y: int
    class_name: str | None = None

    def select(self, view: View) -> Selection:
        """Pick the pixel."""
        _check_inside(self.x, self.y, view)
        mask = np.zeros(view.size, dtype=bool)
        mask[self.y, self.x] = True
        return _selection(mask, view, self.class_name)

    def __str__(self) -> str:
        return f"pixel:{self.x},{self.y}{_suffix(self.class_name)}"


@dataclass(frozen=True)
class Box:
    """The pixels with x0 <= x <= x1 and y0 <= y <= y1; classes as for :class:`Pixel`."""

    x0: int
    y0: int
    x1: int
    y1: int
    class_name: str | None = None

    def select(self, view: View) -> Selection:
        """Pick the box."""
        _check_inside(self.x0, self.y0, view)
        _check_inside(self.x1, self.y1, view)
        if self.x1 < self.x0 or self.y1 < self.y0:
            raise GstoVizError(f"{self} is empty; give its upper left corner first")
        mask = np.zeros(view.size, dtype=bool)
        mask[self.y0 : self.y1 + 1, self.x0 : self.x1 + 1] = True
        return _selection(mask, view, self.class_name)

    def __str__(self) -> str:
        return f"box:{self.x0},{self.y0},{self.x1},{self.y1}{_suffix(self.class_name)}"


@dataclass(frozen=True, eq=False)
class Mask:
    """The pixels where ``pixels`` (H, W) is not 0; classes as for :class:`Pixel`."""

    pixels: npt.NDArray
    class_name: str | None = None
    name: str = "given"

    def select(self, view: View) -> Selection:
        """Pick the mask."""
        mask = np.asarray(self.pixels) != 0
        if mask.shape != view.size:
            raise GstoVizError(
                f"the mask is {mask.shape} and axes 0 and 1 of the image are {view.size}; give a "
                "mask of this image"
            )
        if not mask.any():
            raise GstoVizError(f"{self} has no pixel; mark at least one")
        return _selection(mask, view, self.class_name)

    def __str__(self) -> str:
        return f"mask:{self.name}{_suffix(self.class_name)}"


@dataclass(frozen=True)
class Region:
    """One region by its number 1..K, as region tables count them; asked about its class."""

    number: int

    def select(self, view: View) -> Selection:
        """Pick the region."""
        count = len(view.regions)
        if not 1 <= self.number <= count:
            raise GstoVizError(
                f"there is no region {self.number}: in the {view.source} of this image {view.size} "
                f"there are regions 1 to {count}; choose one of them"
            )
        return _one_region(self.number, view)

    def __str__(self) -> str:
        return f"region:{self.number}"


@dataclass(frozen=True)
class RankedRegion:
    """A region of a class by its size.

    Attributes:
        class_name: The class, in any case.
        rank: ``largest``, ``smallest``, or ``1`` (the largest), ``2``...; equal areas are ordered
            by region number.
    """

    class_name: str
    rank: str = "largest"

    def select(self, view: View) -> Selection:
        """Pick the region."""
        return _one_region(self.number(view), view)

    def number(self, view: View) -> int:
        """Return the number of the region."""
        class_id = view.class_index(self.class_name)
        numbers = np.flatnonzero(view.regions.class_id == class_id)
        if numbers.size == 0:
            present = [view.names[k] for k in np.unique(view.regions.class_id)]
            raise GstoVizError(
                f"{self}: in the {view.source} of this image {view.size} there is no region of "
                f"this class; there are {', '.join(present) or 'no regions at all'}"
            )
        by_size = numbers[np.argsort(-view.regions.area_px[numbers], kind="stable")]
        ends = {"largest": 1, "smallest": by_size.size}
        rank = int(self.rank) if self.rank.isdecimal() else ends.get(self.rank, 0)
        if not 1 <= rank <= by_size.size:
            raise GstoVizError(
                f"{self}: the number of regions of this class is {by_size.size}; choose "
                f"largest, smallest or 1 to {by_size.size}"
            )
        return int(by_size[rank - 1]) + 1

    def __str__(self) -> str:
        return f"region:{self.class_name}:{self.rank}"


def _one_region(number: int, view: View) -> Selection:
    classes = np.full(view.size, view.regions.class_id[number - 1], dtype=np.int64)
    return Selection((view.regions.ids == number).astype(np.int64), classes)


@dataclass(frozen=True)
class ClassRegion:
    """All pixels of a class.

    Attributes:
        class_name: The class, in any case.
        source: ``true`` (annotated), ``predicted``, or None: annotated where there are labels.
    """

    class_name: str
    source: str | None = None

    def select(self, view: View) -> Selection:
        """Pick the pixels of the class."""
        class_id = view.class_index(self.class_name)
        if self.source not in (None, "true", "predicted"):
            raise GstoVizError(f"{self}: choose true or predicted, or leave it out")
        if self.source == "true" and view.labels is None:
            raise GstoVizError(f"{self}: there are no labels; give them, or ask for predicted")
        predicted = self.source == "predicted" or view.labels is None
        shown = view.prediction if predicted or view.labels is None else view.labels
        mask = shown == class_id
        if not mask.any():
            what = "predicted" if predicted else "annotated"
            present = np.unique(shown[shown != IGNORE])
            known = [view.names[k] for k in present if k < len(view.names)]
            names = ", ".join(known) or "no classes at all"
            raise GstoVizError(
                f"{self}: no pixel of this image {view.size} is {what} as this class; there are "
                f"{names}"
            )
        return _selection(mask, view, self.class_name)

    def __str__(self) -> str:
        return f"class:{self.class_name}{_suffix(self.source)}"


@dataclass(frozen=True)
class SizeBin:
    """All regions with low <= log2 sqrt(area) < high octaves, each asked about its own class."""

    low: float
    high: float

    def select(self, view: View) -> Selection:
        """Pick the regions; each is a group of its own."""
        octave = view.regions.size_octave
        inside = np.flatnonzero((octave >= self.low) & (octave < self.high)) + 1
        if inside.size == 0:
            span = f"{octave.min():.2f} to {octave.max():.2f}" if octave.size else "none"
            raise GstoVizError(
                f"{self}: no region of the {view.source} of this image {view.size} has this size; "
                f"sizes in octaves: {span}"
            )
        groups = np.zeros(len(view.regions) + 1, dtype=np.int64)
        groups[inside] = np.arange(1, inside.size + 1)
        classes = np.concatenate([[0], view.regions.class_id])
        return Selection(groups[view.regions.ids], classes[view.regions.ids])

    def __str__(self) -> str:
        return f"size:{self.low:g}-{self.high:g}"


@dataclass(frozen=True)
class Peak:
    """The cell where the heat map of a joint peaks, of a network for pose.

    Attributes:
        class_name: The joint, in any case.
        box: x0, y0, x1, y1 of the person: the peak is that of cells between them. None: of all.
    """

    class_name: str
    box: tuple[int, int, int, int] | None = None

    def select(self, view: View) -> Selection:
        """Pick the pixel that the cell lies at."""
        if view.heat_maps is None:
            raise GstoVizError(
                f"{self}: this network has no heat maps of joints; ask about a class, or take a "
                "network for pose"
            )
        x0, y0, x1, y1 = self.box or (0, 0, view.size[1] - 1, view.size[0] - 1)
        Box(x0, y0, x1, y1, self.class_name).select(view)
        joint = view.heat_maps[view.class_index(self.class_name)][None]
        ((x, y),) = peak_pixels(joint, (x0, y0, x1 - x0, y1 - y0), view.size)
        return Pixel(int(x), int(y), self.class_name).select(view)

    def __str__(self) -> str:
        where = "" if self.box is None else ":" + ",".join(map(str, self.box))
        return f"joint:{self.class_name}{where}"


def peak_pixels(
    heat_maps: npt.NDArray[np.floating],
    box: tuple[float, float, float, float],
    size: tuple[int, int],
) -> IntMap:
    """Return the pixels of the cells where heat maps peak in a box.

    Args:
        heat_maps: (J, h, w).
        box: x and y of the top left corner, width and height, in pixels.
        size: (H, W) of the image.

    Returns:
        (J, 2): x and y.
    """
    stride = grid_stride(size, heat_maps.shape[1:])
    assert stride is not None
    (joints,) = skeletons(heat_maps, [box], stride)
    # Skeletons lie up to a quarter of a cell beside it.
    return stride * np.rint(joints[:, :2] / stride).astype(np.int64)


NUMBER, CLASS = r"\s*(\d+)\s*", r"(?::(.+))?"
BOX = ",".join([NUMBER] * 4)


@dataclass(frozen=True)
class Form:
    """How an area is written: after its kind and a colon, ``pattern``, whose groups make it."""

    words: str
    pattern: str
    make: Callable[..., Area]


def _size_bin(low: str, high: str) -> SizeBin:
    bounds = float(low), float(high)
    if not bounds[0] < bounds[1]:
        raise ValueError("LOW is not below HIGH")
    return SizeBin(*bounds)


FORMS: Mapping[str, Form] = {
    "pixel": Form(
        "pixel:X,Y[:CLASS]",
        f"{NUMBER},{NUMBER}{CLASS}",
        lambda x, y, name: Pixel(int(x), int(y), name),
    ),
    "box": Form(
        "box:X0,Y0,X1,Y1[:CLASS]",
        f"{BOX}{CLASS}",
        lambda x0, y0, x1, y1, name: Box(int(x0), int(y0), int(x1), int(y1), name),
    ),
    "mask": Form(
        "mask:FILE.png[:CLASS]",
        rf"(.+?)(?:(?<=\.png){CLASS})?",
        lambda file, name: Mask(read_values(file), name, Path(file).name),
    ),
    "region": Form(
        "region:NUMBER or region:CLASS[:largest|smallest|N]",
        rf"(\d+)|(.+):({'|'.join(RANKS)}|\d+)|([^:]+)",
        lambda number, name, rank, alone: (
            Region(int(number)) if number else RankedRegion(name or alone, rank or RANKS[0])
        ),
    ),
    "class": Form(
        "class:CLASS[:true|predicted]",
        "(.+):(true|predicted)|([^:]+)",
        lambda name, source, alone: ClassRegion(name or alone, source),
    ),
    "size": Form("size:LOW-HIGH with LOW below HIGH", "([^-]*)-(.*)", _size_bin),
    "joint": Form(
        "joint:NAME[:X0,Y0,X1,Y1]",
        f"([^:]+)(?::{BOX})?",
        lambda name, x0, y0, x1, y1: Peak(
            name, None if x0 is None else (int(x0), int(y0), int(x1), int(y1))
        ),
    ),
}
"""How targets are written; X counts columns and Y rows from 0, sizes are octaves (log2 px)."""


def parse_area(text: str) -> Area:
    """Read an area: ``pixel:120,80``, ``region:car:largest``, ``class:road``, ``size:5-6``...

    Raises:
        GstoVizError: The text has none of these forms, or the file of a mask cannot be read.
    """
    kind, _, rest = text.partition(":")
    if kind not in FORMS or not rest:
        known = ", ".join(form.words for form in FORMS.values())
        raise GstoVizError(f"'{text}' is not a target; write one of {known}")
    form = FORMS[kind]
    found = re.fullmatch(form.pattern, rest, re.DOTALL)
    wrong = GstoVizError(f"'{text}' is not a target; write {form.words}")
    if found is None:
        raise wrong
    try:
        return form.make(*found.groups())
    except GstoVizError:
        raise
    except ValueError as error:
        raise wrong from error
