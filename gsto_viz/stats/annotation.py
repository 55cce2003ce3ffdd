"""The annotation of one image, prepared so that any number of predictions are counted against it.

Holds the class of every pixel, the boundaries of classes, and for each class how to find the
nearest region from a pixel that was predicted as it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from gsto_viz.activity import BoolMap, FloatMap
from gsto_viz.errors import GstoVizError

DILATION_RATIO = 0.02
"""Width of the boundary as a share of the image diagonal (0.005 is usual for Cityscapes)."""

BLOCK = 4
"""Side of the blocks of pixels that are asked as one for their nearest region, px."""
Code = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Nearest:
    """Finds the region of one class that is nearest to a pixel outside the class."""

    numbers: npt.NDArray[np.integer]
    """(P,): region of each outer pixel of the class."""
    places: npt.NDArray[np.int64]
    """(P, 2): row and column of each outer pixel. Only they can be nearest."""

    def region(self, asked: npt.NDArray[np.int64]) -> npt.NDArray[np.integer]:
        """Return the number of the region nearest to each asked place (N, 2), (N,).

        A block of 4x4 places is asked as one where its answer is sure: when the boxes of all other
        regions are farther from its centre than the nearest region is by more than its diagonal.
        """
        regions = self._boxes[0]
        if regions.size == 1:
            return np.full(len(asked), regions[0])
        rows, columns = asked.T // BLOCK
        width = int(columns.max(initial=0)) + 1
        block = rows * width + columns
        of_block = np.full(int(block.max(initial=0)) + 1, -1)
        of_block[block] = 0
        there = np.flatnonzero(of_block == 0)
        of_block[there] = self._sure(np.stack(np.divmod(there, width), axis=1))
        found = of_block[block]
        open_ = np.flatnonzero(found < 0)
        found[open_] = self._numbers(asked[open_])
        return found

    def _sure(self, blocks: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the region nearest to all places of each block (B, 2), or -1 = unsure, (B,)."""
        regions, low, high = self._boxes
        centre = blocks * BLOCK + (BLOCK - 1) / 2
        distance, at = self._tree.query(centre)
        squares = np.zeros((len(blocks), regions.size))
        for axis in (0, 1):
            place = centre[:, axis, None]
            beside = np.maximum(low[:, axis] - place, place - high[:, axis])
            squares += np.square(np.maximum(beside, 0.0))
        squares[np.arange(len(blocks)), np.searchsorted(regions, self.numbers[at])] = np.inf
        others = np.sqrt(squares.min(axis=1))
        diagonal = (BLOCK - 1) * np.sqrt(2.0)
        return np.where(others > distance + diagonal + 1e-9, self.numbers[at], -1)

    def _numbers(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.integer]:
        return self.numbers[self._tree.query(places)[1]]

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.places)

    @cached_property
    def _boxes(self) -> tuple[npt.NDArray[np.integer], FloatMap, FloatMap]:
        """The regions, in order, (M,), and the smallest and largest place of each, (M, 2)."""
        order = np.argsort(self.numbers, kind="stable")
        regions, starts = np.unique(self.numbers[order], return_index=True)
        places = self.places[order].astype(np.float64)
        return (
            regions,
            np.minimum.reduceat(places, starts, axis=0),
            np.maximum.reduceat(places, starts, axis=0),
        )


@dataclass(frozen=True, eq=False)
class Annotation:
    """What the counts of an outcome need of the annotation alone."""

    ids: npt.NDArray[np.integer]
    """(H, W): region numbers 1..K; 0 = ignored."""
    class_id: npt.NDArray[np.integer]
    """(K,): class of each region."""
    width: int
    """Width of the boundary, px."""
    edge: BoolMap
    """(H, W): within ``width`` of a pixel of another class, an ignored one, or the border."""
    nearest: Mapping[int, Nearest] = field(repr=False)
    """By class; a class without a pixel, and one that fills the image, has no entry."""


def annotate(
    ids: npt.NDArray[np.integer],
    class_id: npt.NDArray[np.integer],
    ratio: float = DILATION_RATIO,
) -> Annotation:
    """Prepare the annotation of one image.

    Args:
        ids: (H, W) region numbers 1..K; 0 = ignored.
        class_id: (K,) class of each region; a pixel's true class is its region's.
        ratio: Width of the boundary as a share of the diagonal.

    Raises:
        GstoVizError: ``ids`` is no map, or a region has no class.
    """
    ids, class_id = np.asarray(ids), np.asarray(class_id)
    if ids.ndim != 2 or int(ids.max(initial=0)) > class_id.size:
        raise GstoVizError(
            f"regions {ids.shape} of {class_id.size} classes do not fit; give one map (H, W) and "
            "the class of every region"
        )
    width = boundary_width((ids.shape[0], ids.shape[1]), ratio)
    classes, index = np.unique(class_id, return_inverse=True)
    code = as_code(np.append(0, index + 1).take(ids), classes.size)
    return Annotation(ids, class_id, width, near_other(code, width), _nearest(ids, code, classes))


def boundary_width(shape: tuple[int, int], ratio: float = DILATION_RATIO) -> int:
    """Return d in pixels: ``ratio`` of the diagonal of the image, rounded, at least 1."""
    return max(1, round(ratio * float(np.hypot(*shape))))


def as_code(numbers: npt.NDArray[np.integer], largest: int) -> Code:
    """Return numbers 0..largest in the smallest type that OpenCV's filters take."""
    return numbers.astype(np.uint8) if largest < 256 else numbers.astype(np.float32)


def near_other(code: Code, width: int) -> BoolMap:
    """Tell which pixels have another value, or no image, within ``width`` rows and columns.

    For every value of the map at once, this is the boundary of the mask of its pixels.

    Args:
        code: (H, W) uint8 or float32.
        width: At least 1.
    """
    if code.size == 0:
        return np.zeros(code.shape, dtype=bool)
    window = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    near = np.asarray(cv2.erode(code, window) != cv2.dilate(code, window))
    for side in (near[:width], near[-width:], near[:, :width], near[:, -width:]):
        side[...] = True
    return near


def _nearest(
    ids: npt.NDArray[np.integer], code: Code, classes: npt.NDArray[np.integer]
) -> dict[int, Nearest]:
    """Collect the outer pixels of every class; ``code`` is 1 + the index into ``classes``."""
    # Only pixels with a 4-neighbour outside their class can be nearest to a pixel outside it.
    outer = np.zeros(code.shape, dtype=bool)
    down, across = code[1:] != code[:-1], code[:, 1:] != code[:, :-1]
    outer[1:] |= down
    outer[:-1] |= down
    outer[:, 1:] |= across
    outer[:, :-1] |= across
    at = np.flatnonzero(outer & (code > 0))
    of_class = code.ravel()[at].astype(np.int64)
    at = at[np.argsort(of_class, kind="stable")]
    ends = np.cumsum(np.bincount(of_class, minlength=classes.size + 1))
    numbers, places = ids.ravel()[at], np.stack(np.divmod(at, max(ids.shape[1], 1)), axis=1)
    return {
        int(classes[k]): Nearest(numbers[start:end], places[start:end])
        for k, (start, end) in enumerate(pairwise(ends.tolist()))
        if end > start
    }
