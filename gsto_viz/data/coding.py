"""What the numbers of a label map mean."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from gsto_viz.data.classes import numbers_line
from gsto_viz.data.image_file import Numbers
from gsto_viz.data.reader import read_values
from gsto_viz.errors import GstoVizError, NumberingError
from gsto_viz.types import IGNORE, ClassList

_OF_LIST = "the numbers of classes.json"
"""What own numbers must be among, in messages."""


class Coding(NamedTuple):
    """What the numbers of a label map mean.

    Attributes:
        table: (65536,) int16: class index, 255 (ignore), or -1 for a number that must not occur.
        expected: What the numbers must be in, for messages: ``the classes 0 to 10``.
        own: How many classes the list of an own folder has, where one may say what numbers mean;
            0: the numbers are those of a known data set.
        colors: Of each class of an own folder, to see whether a tool has re-ordered a palette.
        never: Why 255 never occurs in label maps of this numbering, and what it means that it does.
    """

    table: npt.NDArray[np.int16]
    expected: str
    own: int = 0
    colors: Sequence[tuple[int, int, int]] = ()
    never: str = ""

    @classmethod
    def of(
        cls, values: Sequence[int], *ignored: int | None, expected: str = "", never: str = ""
    ) -> "Coding":
        """Make a coding.

        Args:
            values: The stored number of each class, in class order.
            ignored: Stored numbers of pixels that belong to no class; 255 always is one, unless it
                is that of a class. None is passed over.
            expected: By default the classes from 0 on.
            never: Makes 255 a number that must not occur; said when it does.
        """
        nowhere = dict.fromkeys((IGNORE, *(v for v in ignored if v is not None)), IGNORE)
        numbers = nowhere | {number: k for k, number in enumerate(values)}
        if never:
            del numbers[IGNORE]
        expected = expected or f"the classes 0 to {len(values) - 1}"
        return cls(_table(numbers), expected, never=never)

    @classmethod
    def of_numbers(cls, numbers: Mapping[int, int], classes: ClassList) -> "Coding":
        """Make the coding of an own folder.

        Args:
            numbers: Class index, or 255 for no class, of each number that may occur.
            classes: The class list.
        """
        count, colors = len(classes), tuple(info.color for info in classes)
        usual = all(numbers.get(k) == k for k in range(count))
        expected = f"the classes 0 to {count - 1}" if usual else _OF_LIST
        distinct = len(set(colors)) == count
        return cls(_table(numbers), expected, count, colors if distinct else ())

    def read(self, path: str | Path) -> npt.NDArray[np.uint8]:
        """Read a label map, see ``read_label_map``."""
        return self.decode(read_values(path), path)

    def for_palette(
        self, values: Numbers, palette: npt.NDArray[np.uint8] | None, path: str | Path
    ) -> "Coding":
        """Return the coding by the colours of a palette that a tool has re-ordered, or else itself.

        A palette is looked at as far as the map uses it. It is re-ordered when a number has the
        colour of another class than its own; then each number must have the colour of a class, or
        belong to no class.

        Raises:
            NumberingError: Some numbers have the colour of another class, and others do not fit.
        """
        if palette is None or not self.colors:
            return self
        class_of = {color: k for k, color in enumerate(self.colors)}
        used = [int(number) for number in np.unique(values) if number < len(palette)]
        colors = [tuple(palette[number].tolist()) for number in used]
        shown = {number: class_of.get(color) for number, color in zip(used, colors, strict=True)}
        moved = [n for n, k in shown.items() if k is not None and self.table[n] not in (k, IGNORE)]
        if not moved:
            return self
        # What belongs to no class often has the colour of padding, which may be that of a class.
        lost = [n for n, k in shown.items() if (k is None) != (self.table[n] == IGNORE)]
        if lost or values.max() >= len(palette):
            raise NumberingError(
                f"{path} has a palette in which number {moved[0]} has the colour of another class "
                f"and number {lost[0] if lost else values.max()} does not fit; "
                "save it with the colours of classes.json, or without a palette"
            )
        numbers = {n: IGNORE if k is None else k for n, k in shown.items()}
        return self._replace(table=_table(numbers))

    def decode(self, values: Numbers, path: str | Path) -> npt.NDArray[np.uint8]:
        """Turn the stored numbers of a label map into labels.

        Raises:
            GstoVizError: A number must not occur; the message names it and the file.
        """
        labels = self._look_up(values)
        if labels is None:
            raise self._stray(path, values)
        return labels

    def _look_up(self, values: Numbers) -> npt.NDArray[np.uint8] | None:
        """Return the labels of stored numbers; None if one is among them that must not occur."""
        if values.dtype == np.uint16:
            labels = self.table[values]
            return None if (labels < 0).any() else labels.astype(np.uint8)
        # The same for 8 bits, several times faster.
        stray = (self.table[:256] < 0).astype(np.uint8)
        if stray.any() and cv2.countNonZero(cv2.LUT(values, stray)):
            return None
        return np.asarray(cv2.LUT(values, self.table[:256].astype(np.uint8)), dtype=np.uint8)

    def _line(self, values: Numbers, stray: npt.NDArray) -> str:
        """Return the line for classes.json that gives the stray numbers of a label map a meaning.

        What the class list says already stays as it is.
        """
        if self.expected != _OF_LIST:
            return numbers_line(np.unique(values).tolist(), self.own)
        known = {int(n): int(self.table[n]) for n in np.flatnonzero(self.table >= 0)}
        said = {n: "ignore" if k == IGNORE else k for n, k in known.items()}
        line = json.dumps({"map": {str(n): k for n, k in (said | {int(stray[0]): 0}).items()}})
        return f'{line[1:-1]}, number {stray[0]} with the id of its class or "ignore"'

    def _stray(self, path: str | Path, values: Numbers) -> GstoVizError:
        """Name the numbers that must not occur, and how many pixels hold them."""
        found, counts = np.unique(values[self.table[values] < 0], return_counts=True)
        kind = NumberingError if self.never and IGNORE in found else GstoVizError
        if kind is NumberingError and found.size == 1:
            return kind(f"{path} holds 255, which never occurs in {self.never}")
        listed = ", ".join(
            f"{value} ({count} pixel{'s' if count > 1 else ''})"
            for value, count in zip(found[:3], counts[:3], strict=True)
        )
        more = f" and {len(found) - 3} more values" if len(found) > 3 else ""
        advice = "use the class list it was made with"
        if self.own:
            advice = f"say in classes.json what its numbers mean: {self._line(values, found)}"
        if found.size > SMOOTH:
            advice += "; if its edges were smoothed, resize label maps by nearest neighbour"
        return kind(
            f"{path} holds label {listed}{more}, outside {self.expected}; "
            f"correct the file or {advice}"
        )


SMOOTH = 4
"""More numbers that no class has are the greys between the classes' own."""


def _table(numbers: Mapping[int, int]) -> npt.NDArray[np.int16]:
    """Return what each of the 65536 numbers means, -1 for those that must not occur."""
    table = np.full(2**16, -1, dtype=np.int16)
    table[list(numbers)] = list(numbers.values())
    return table


def read_label_map(
    path: str | Path, *, num_classes: int, source_ignore: int | None = None
) -> npt.NDArray[np.uint8]:
    """Read a label map and check that every pixel belongs to a class or is ignored.

    Args:
        path: A PNG with one channel: grey or palette indices (not their colours), up to 16 bits.
        num_classes: K; labels are 0..K-1. At most 255.
        source_ignore: The data set's own "no class" value, mapped to 255; 255 itself always is.

    Returns:
        (H, W) uint8, 0..K-1 or 255 (ignore).

    Raises:
        GstoVizError: As for ``read_values``; also for a value that is not a class: the message
            names the file, the values and how many pixels hold them.
    """
    return Coding.of(range(num_classes), source_ignore).read(path)
