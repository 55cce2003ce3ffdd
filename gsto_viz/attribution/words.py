"""Targets in words, as the command line and saved views write them."""

from pathlib import Path

from gsto_viz.attribution.places import (
    RANKS,
    Box,
    ClassRegion,
    Mask,
    Pixel,
    Place,
    RankedRegion,
    Region,
    SizeBin,
)
from gsto_viz.data.reader import read_values
from gsto_viz.errors import GstoVizError

FORMS = (
    "pixel:X,Y[:CLASS]",
    "box:X0,Y0,X1,Y1[:CLASS]",
    "mask:FILE.png",
    "region:NUMBER",
    "region:CLASS[:largest|smallest|N]",
    "class:CLASS[:true|predicted]",
    "size:LOW-HIGH",
)
"""How targets are written; X counts columns and Y rows from 0, sizes are octaves (log2 px)."""


def parse_place(text: str) -> Place:
    """Read a place: ``pixel:120,80``, ``region:car:largest``, ``class:road``, ``size:5-6``...

    Raises:
        GstoVizError: The text has none of these forms, or the file of a mask cannot be read.
    """
    kind, _, rest = text.partition(":")
    readers = {
        "pixel": _pixel,
        "box": _box,
        "mask": _mask,
        "region": _region,
        "class": _class,
        "size": _size,
    }
    if kind not in readers or not rest:
        raise GstoVizError(f"'{text}' is no target; write one of {', '.join(FORMS)}")
    return readers[kind](text, rest)


def _wrong(text: str, form: str) -> GstoVizError:
    return GstoVizError(f"'{text}' is no target; write {form}")


def _numbers(text: str, rest: str, count: int, form: str) -> tuple[list[int], str | None]:
    """Read ``count`` whole numbers and perhaps a class."""
    numbers, colon, class_name = rest.partition(":")
    parts = numbers.split(",")
    if len(parts) != count or not all(p.strip().isdecimal() for p in parts):
        raise _wrong(text, form)
    if colon and not class_name:
        raise _wrong(text, form)
    return [int(p) for p in parts], class_name or None


def _pixel(text: str, rest: str) -> Place:
    (x, y), class_name = _numbers(text, rest, 2, FORMS[0])
    return Pixel(x, y, class_name)


def _box(text: str, rest: str) -> Place:
    (x0, y0, x1, y1), class_name = _numbers(text, rest, 4, FORMS[1])
    return Box(x0, y0, x1, y1, class_name)


def _mask(text: str, rest: str) -> Place:
    return Mask(read_values(rest), name=Path(rest).name)


def _region(text: str, rest: str) -> Place:
    if rest.isdecimal():
        return Region(int(rest))
    class_name, colon, rank = rest.rpartition(":")
    if not colon:
        return RankedRegion(rest)
    if not class_name or not (rank in RANKS or rank.isdecimal()):
        raise _wrong(text, FORMS[4])
    return RankedRegion(class_name, rank)


def _class(text: str, rest: str) -> Place:
    class_name, colon, source = rest.rpartition(":")
    if not colon:
        return ClassRegion(rest)
    if not class_name or source not in ("true", "predicted"):
        raise _wrong(text, FORMS[5])
    return ClassRegion(class_name, source)


def _size(text: str, rest: str) -> Place:
    low, dash, high = rest.partition("-")
    try:
        bounds = float(low), float(high)
    except ValueError as error:
        raise _wrong(text, FORMS[6]) from error
    if not dash or not bounds[0] < bounds[1]:
        raise _wrong(text, f"{FORMS[6]} with LOW below HIGH")
    return SizeBin(*bounds)
