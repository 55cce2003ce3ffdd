"""From the words of the command line to a data set: ``load_data("camvid:PATH:eval")``."""

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from gsto_viz.data.base import Purpose, WrappedDataset, is_utf8
from gsto_viz.data.cache import PredecodedCache
from gsto_viz.data.loaders import DATA_SETS
from gsto_viz.data.people import resized
from gsto_viz.errors import GstoVizError, did_you_mean
from gsto_viz.types import Dataset, Sample

_Number = TypeVar("_Number", bound=np.generic)

MIN_SIDE, MAX_SIDE = 32, 8192
"""Pixels: below, a stride-32 branch has no cell; above, an image does not fit in memory."""

_LIMITS = {"count": (1, 1_000_000), "seed": (0, 999_999_999), "decorrelated": (0, 1)}
"""The least and the greatest value of each setting of procedural data that is a whole number."""


@dataclass(frozen=True)
class ProceduralSet:
    """One row of the register of data sets that are rendered.

    Attributes:
        name: The first word of its SPEC.
        title: Its name in sentences.
        defaults: Its settings, in the order of a SPEC.
        make: Makes it; called with the settings as keywords, and ``split``.
    """

    name: str
    title: str
    defaults: Mapping[str, str]
    make: Callable[..., Dataset]

    @property
    def form(self) -> str:
        """Its SPEC with all settings."""
        settings = ",".join(f"{key}={value}" for key, value in self.defaults.items())
        return f"{self.name}[:{settings}]"

    def open(self, rest: str, purpose: Purpose) -> Dataset:
        """Read ``key=value,...`` and make the data set.

        Raises:
            GstoVizError: A setting is unknown, given twice, or out of range.
        """
        values = {**self.defaults, **self._settings(rest)}
        size = parse_size(values.pop("size"))
        numbers = {key: self._whole_number(key, text) for key, text in values.items()}
        return self.make(size=size, split="train" if purpose == "train" else "eval", **numbers)

    def _settings(self, rest: str) -> dict[str, str]:
        """Take ``key=value,...`` apart."""
        values: dict[str, str] = {}
        for item in rest.split(",") if rest else ():
            key, equals, value = item.partition("=")
            key = key.strip()
            if key not in self.defaults or not equals:
                form = self.form.replace("[", "").replace("]", "")
                raise GstoVizError(
                    f"unknown setting '{item}' of {self.name}; "
                    + _hint(key, self.defaults, f"write {form}")
                )
            if key in values:
                raise GstoVizError(f"setting '{key}' of {self.name} is given twice; give it once")
            values[key] = value.strip()
        return values

    def _whole_number(self, key: str, text: str) -> int:
        low, high = _LIMITS[key]
        if re.fullmatch(r"[0-9]{1,9}", text) is None or not low <= int(text) <= high:
            raise GstoVizError(
                f"setting {key}={text} of {self.name} is not a whole number from {low} to {high}; "
                f"write for example {key}={self.defaults[key]}"
            )
        return int(text)


# Imported in the functions: the generators are heavy, and reading photographs does not need them.
def _scenes(*, decorrelated: int, **settings: Any) -> Dataset:
    from gsto_viz.data.scenes import SceneDataset

    return SceneDataset(**settings, decorrelated=bool(decorrelated))


def _figures(**settings: Any) -> Dataset:
    from gsto_viz.data.scenes import FigureDataset

    return FigureDataset(**settings)


_ROWS = (
    ProceduralSet(
        "scenes",
        "street scenes",
        {"count": "64", "seed": "0", "size": "256x512", "decorrelated": "0"},
        _scenes,
    ),
    ProceduralSet(
        "figures",
        "persons with key points",
        {"count": "64", "seed": "0", "size": "256x256"},
        _figures,
    ),
)
PROCEDURAL = {row.name: row for row in _ROWS}
"""The data sets that are rendered when they are read, by the first word of their SPECs."""


def load_data(
    spec: str,
    *,
    purpose: Purpose = "eval",
    size: tuple[int, int] | None = None,
    cache: str | Path | None = None,
) -> Dataset:
    """Make the data set that a SPEC names.

    Args:
        spec: ``scenes[:count=64,seed=0,size=256x512,decorrelated=0]`` (``decorrelated=1``: sizes
            that do not depend on the class), ``figures[:count=64,seed=0,size=256x256]``, or
            ``NAME:PATH[:SPLIT]`` with NAME one of ``DATA_SETS``. A PATH may hold colons: only a
            known split name after the last one is a split. Without SPLIT, training takes ``train``
            and everything else ``val``; a folder that holds ``images/`` itself has no splits and
            is taken whole.
        purpose: ``train``, or ``eval`` for everything else. Rendered images for training and for
            the rest never meet; the instance maps of Cityscapes are read for all but training.
        size: (height, width) to which every sample is resized; None keeps the native size.
        cache: Folder for decoded copies, see ``PredecodedCache``; None reads the files each time.

    Raises:
        GstoVizError: The SPEC is not understood (the message gives the closest valid words), or
            the data set is not where it says.
    """
    if not is_utf8(spec):
        raise GstoVizError(f"{spec!r} is not UTF-8, and results name their data; rename the folder")
    kind, _, rest = spec.partition(":")
    data: Dataset
    if kind in PROCEDURAL:
        data = PROCEDURAL[kind].open(rest, purpose)
    elif kind in DATA_SETS:
        row = DATA_SETS[kind]
        data = row.open(*_split_path(spec, rest, row.splits), purpose)
    else:
        hint = _hint(kind, (*PROCEDURAL, *DATA_SETS), f"write {_forms()}")
        raise GstoVizError(f"unknown data set '{kind}' in '{spec}'; {hint}")
    if cache is not None:
        data = PredecodedCache(data, cache)
    return data if size is None else ResizedDataset(data, size)


def _forms() -> str:
    """Return the forms of a SPEC, for messages."""
    names = ", ".join(DATA_SETS)
    return f"one of {_rendered()} or NAME:PATH[:SPLIT] with NAME one of {names}"


def _rendered() -> str:
    return ", ".join(row.form for row in PROCEDURAL.values())


def spec_help() -> str:
    """Return what a SPEC may be, for the help of the command line."""
    forms = {f"{row.name}:PATH[:{'|'.join(row.splits)}]": row for row in DATA_SETS.values()}
    width = max(map(len, forms))
    lines = [f"  {form:<{width}}  {row.title}, {row.class_count}" for form, row in forms.items()]
    return "\n".join([f"a SPEC is {_rendered()} or one of", *lines, ""])


def spec_table() -> list[str]:
    """Return the table of the data sets in Markdown, for the documentation."""
    lines = ["| NAME | data set | SPLIT | licence |", "|---|---|---|---|"]
    lines += [
        f"| `{row.name}` | {row.title}, {row.class_count} | {', '.join(row.splits)} | "
        f"{row.licence} |"
        for row in DATA_SETS.values()
    ]
    return lines


def data_kind(name: str) -> str:
    """Return the first word of a data set's name: ``scenes``, ``camvid``, ``folder``."""
    return PurePath(name.partition(":")[0]).name


def portable_name(name: str) -> str:
    """Return a data set's name without its path: ``camvid:train``, or a SPEC of scenes as it is."""
    kind = data_kind(name)
    if kind in PROCEDURAL:
        return name
    split = name.rpartition(":")[2]
    return f"{kind}:{split}" if kind in DATA_SETS and split in DATA_SETS[kind].splits else kind


def weights_notice(name: str) -> str | None:
    """Return what users of weights must know that were trained on the data set of this name."""
    row = DATA_SETS.get(data_kind(name))
    return f"trained on {row.title} images: {row.notice}" if row and row.notice else None


def is_held_out(name: str) -> bool:
    """Whether a data set is a split that is kept for evidence, by its name."""
    kind, _, split = portable_name(name).partition(":")
    return kind in DATA_SETS and split in DATA_SETS[kind].held_out


def parse_size(text: str, *, max_side: int = MAX_SIDE) -> tuple[int, int]:
    """Turn ``256x512`` into (256, 512), height first.

    Args:
        text: HEIGHTxWIDTH in pixels.
        max_side: Largest height and width.

    Raises:
        GstoVizError: Not of this form, or a side outside 32..``max_side`` pixels.
    """
    match = re.fullmatch(r"([0-9]{1,9})x([0-9]{1,9})", text.strip().lower())
    if match is None:
        raise GstoVizError(f"'{text}' is not a size; write HEIGHTxWIDTH, such as 256x512")
    height, width = int(match[1]), int(match[2])
    _check_size((height, width), max_side)
    return height, width


def _check_size(size: tuple[int, int], max_side: int = MAX_SIDE) -> None:
    if not all(MIN_SIDE <= side <= max_side for side in size):
        raise GstoVizError(
            f"size {size[0]}x{size[1]} is out of range; height and width go from {MIN_SIDE} to "
            f"{max_side} pixels"
        )


def _hint(word: str, words: Iterable[str], then: str) -> str:
    return did_you_mean(word.lower(), words, count=2, cutoff=0.6, quoted=True, then=then)


def _split_path(spec: str, rest: str, splits: tuple[str, ...]) -> tuple[Path, str | None]:
    """Take ``PATH[:SPLIT]`` apart at the last colon, if a known split follows it."""
    # Shells leave the ~ of `camvid:~/data` to us. (pathlib's own way raises for unknown users.)
    rest = os.path.expanduser(rest)  # noqa: PTH111
    path, colon, split = rest.rpartition(":")
    if not colon or split not in splits:
        if colon and Path(path).is_dir() and not Path(rest).exists():
            # Not a path with a colon in it: the split is misspelt.
            raise GstoVizError(
                f"unknown split '{split}' in '{spec}'; "
                + _hint(split, splits, f"choose one of {', '.join(splits)}")
            )
        path, split = rest, ""
    if not path:
        raise GstoVizError(f"'{spec}' names no folder; write {_forms()}")
    return Path(path), split or None


class ResizedDataset(WrappedDataset):
    """A data set with every sample resized to one size.

    Images: bilinear when any side grows, else area average (OpenCV's ``INTER_AREA``), which does
    not alias. Label and instance maps: nearest, with pixel centres on pixel centres. Persons move
    with the pixels.

    Args:
        base: The data set to resize.
        size: (height, width), each 32..8192 pixels.
    """

    def __init__(self, base: Dataset, size: tuple[int, int]) -> None:
        super().__init__(base)
        _check_size(size)
        self.size = size

    def __getitem__(self, index: int) -> Sample:
        """Read one sample and resize it."""
        sample = self.base[index]
        if sample.image.shape[:2] == self.size:
            return sample
        labels, instances, people = sample.labels, sample.instances, sample.people
        before = sample.image.shape[:2]
        return dataclasses.replace(
            sample,
            image=resize_image(sample.image, self.size),
            labels=None if labels is None else resize_map(labels, self.size),
            instances=None if instances is None else resize_map(instances, self.size),
            people=people and tuple(resized(one, before, self.size) for one in people),
        )


def resize_image(image: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Resize (H, W, 3) uint8 to ``size`` = (height, width): area average or bilinear."""
    shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=method), dtype=np.uint8)


def resize_map(array: npt.NDArray[_Number], size: tuple[int, int]) -> npt.NDArray[_Number]:
    """Resize a (H, W) map to ``size`` = (height, width), each pixel from the nearest one.

    The centre of new row i is (i + 1/2) * H / height; the row that holds this point is taken.
    """
    rows = (2 * np.arange(size[0]) + 1) * array.shape[0] // (2 * size[0])
    columns = (2 * np.arange(size[1]) + 1) * array.shape[1] // (2 * size[1])
    return array[rows[:, None], columns]
