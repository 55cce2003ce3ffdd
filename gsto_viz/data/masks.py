"""Masks in the form of the COCO API: run lengths, plain and packed, and polygons.

Source of the format: the COCO API's documentation of its masks (Lin et al., ECCV 2014). Polygons
become pixels by ``pycocotools`` itself, so that borders are COCO's.
"""

import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from gsto_viz.errors import GstoVizError

MAX_OUTLINE_PX = 1_000_000
"""A polygon's outline is walked pixel by pixel; a longer one is a fault or an attack."""

_PACKED = re.compile(r"(?:[P-o]{0,6}[0-O])*")
"""Groups of 5 bits from ``0`` on: up to six that go on, and one that ends a number."""


def decode_mask(segmentation: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    """Decode a mask of the COCO API.

    Args:
        segmentation: ``size`` (height, width) and ``counts``, see ``run_lengths``.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: The runs do not fill the size.
    """
    height, width = segmentation["size"]
    return mask_of(run_lengths(segmentation["counts"], height, width), height, width)


def run_lengths(counts: str | Sequence[Any], height: int, width: int) -> npt.NDArray[np.int64]:
    """Return the lengths of runs of zeros and ones in turn, zeros first, going down the columns.

    Args:
        counts: The same as a list, or packed into a text.
        height: Rows of the mask.
        width: Columns of the mask.

    Raises:
        ValueError: Not whole numbers, or they do not fill the mask.
    """
    if not isinstance(counts, str) and not all(type(length) is int for length in counts):
        raise ValueError("the runs of a mask are not whole numbers")
    lengths = unpack_counts(counts) if isinstance(counts, str) else np.array(counts)
    pixels = height * width
    # One by one first: a sum of huge numbers could wrap around.
    fits = lengths.min(initial=0) >= 0 and lengths.max(initial=0) <= pixels
    if not fits or lengths.sum() != pixels:
        raise ValueError(f"a mask of {height} x {width} pixels has runs of {sum(lengths.tolist())}")
    return lengths.astype(np.int64)


def mask_of(lengths: npt.NDArray[np.int64], height: int, width: int) -> npt.NDArray[np.bool_]:
    """Lay runs out as a mask, (H, W) bool."""
    ones = np.arange(len(lengths)) % 2 == 1
    mask: npt.NDArray[np.bool_] = np.repeat(ones, lengths).reshape(width, height).T
    return mask


def unpack_counts(text: str) -> npt.NDArray[np.int64]:
    """Unpack run lengths from the COCO API's text.

    Each number is written in groups of 5 bits, lowest first, as characters from ``0`` on; bit 5
    says that another group follows, bit 4 of the last one is the sign. From the fourth number on
    the difference to the last but one is stored.

    Raises:
        ValueError: The text holds other characters, a number beyond 35 bits, or ends within one.
    """
    if not _PACKED.fullmatch(text):
        raise ValueError("the packed runs of a mask are damaged")
    if not text:
        return np.zeros(0, dtype=np.int64)
    groups = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    last = np.flatnonzero(groups & 32 == 0)
    first = np.concatenate(([0], last[:-1] + 1))
    count = last - first + 1
    shift = 5 * (np.arange(groups.size) - np.repeat(first, count))
    numbers = np.add.reduceat((groups & 31) << shift, first)
    numbers -= np.where(groups[last] & 16, 1 << 5 * count, 0)
    for start in (1, 2):
        numbers[start::2] = np.cumsum(numbers[start::2])
    return numbers


def polygon_runs(
    polygons: Sequence[npt.NDArray[np.float64]], height: int, width: int
) -> npt.NDArray[np.int64]:
    """Return the run lengths of the pixels in any of several polygons.

    Args:
        polygons: x and y of each corner in turn, in pixels: (2 N,) with N of at least 3.
        height: Rows of the image.
        width: Columns of the image.

    Raises:
        GstoVizError: pycocotools is not installed.
        ValueError: A corner is farther away than a million pixels, or an outline is longer.
    """
    for polygon in polygons:
        corners = polygon.reshape(-1, 2)
        # Not `>`: NaN is refused, too.
        if not (farthest := float(np.abs(corners).max())) <= MAX_OUTLINE_PX:
            raise ValueError(f"a polygon has a corner at {farthest:.6g} pixels")
        outline = float(np.abs(corners - np.roll(corners, 1, axis=0)).sum())
        if outline > MAX_OUTLINE_PX:
            raise ValueError(f"a polygon's outline is {outline:.6g} pixels long")
    coco = load_pycocotools()
    packed = coco.merge(coco.frPyObjects(list(polygons), height, width))
    return run_lengths(packed["counts"].decode("ascii"), height, width)


def load_pycocotools(module: str = "mask", needed: str = "polygons of COCO files need") -> Any:
    """Import a module of pycocotools: by default the one that turns polygons into masks.

    Args:
        module: Its name in the package.
        needed: What needs it, the beginning of the message.

    Raises:
        GstoVizError: It is not installed.
    """
    try:
        import_module("pycocotools")  # by itself: parts that were loaded before need it not
        return import_module(f"pycocotools.{module}")
    except ImportError as error:
        raise GstoVizError(
            f"{needed} pycocotools; install it: pip install 'gsto-viz[coco]'"
        ) from error
