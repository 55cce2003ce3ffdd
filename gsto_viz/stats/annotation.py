"""The annotation of one image, prepared so that any number of predictions are counted against it.

Holds the class of every pixel, the boundaries of classes, and for each class how to find the
nearest region from a pixel that was predicted as it.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, pairwise

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from gsto_viz.activity import BoolMap
from gsto_viz.errors import GstoVizError

DILATION_RATIO = 0.02
"""Width of the boundary as a share of the image diagonal (0.005 is usual for Cityscapes)."""

ROUNDING = 2e-6
"""More than single precision loses in a distance, as a share of the diagonal."""
FEW = 1000
"""Up to so many pixels are asked one by one for their nearest region."""
BLOCK = 8
"""Side of the blocks that answer for all their pixels, px; where more than an eighth of the image
is asked, every pixel is a block."""
Code = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Nearest:
    """Finds the region of one class that is nearest to a pixel outside the class.

    A search tree of the class's outer pixels knows it of every pixel. Distance transforms are
    faster where many pixels ask, and say where they cannot be sure: the tree answers there.
    """

    numbers: npt.NDArray[np.integer]
    """(P,): region of each outer pixel of the class."""
    places: npt.NDArray[np.int64]
    """(P, 2): row and column of each outer pixel. Only they can be nearest."""
    shape: tuple[int, int]
    """(H, W) of the image."""

    def region(self, asked: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the number of the region nearest to each asked pixel (N,), a flat index, (N,)."""
        regions, _ = self._regions
        if regions.size == 1:
            return np.full(asked.size, regions[0])
        found = np.full(asked.size, -1, dtype=regions.dtype)
        if asked.size > FEW:
            dense = 8 * asked.size > self.shape[0] * self.shape[1]
            found = self._sure(1 if dense else BLOCK).take(asked)
        open_ = np.flatnonzero(found < 0)
        places = np.stack(np.divmod(asked[open_], self.shape[1]), axis=1)
        found[open_] = self.numbers[self._tree.query(places)[1]]
        return found

    def _sure(self, block: int) -> npt.NDArray[np.int64]:
        """Return the region nearest to each pixel, -1 = unsure or between equals, (H, W).

        Every region is in half of a few sets, no two in the same ones, and one transform a set
        gives the distance of each block to it. The sets that are no farther than the nearest are
        those of the nearest region, or more than half of all when two regions could be it. The
        distance between two places differs from that of their blocks by up to
        sqrt(2) (block - 1) px, so the slack is twice that.
        """
        regions, words = self._regions[0], _words(self._regions[0].size)
        away = self._distances(words, block)
        height, width = away[0].shape
        slack = 2 * np.sqrt(2.0) * (block - 1) / block + ROUNDING * np.hypot(height, width)
        limit = np.minimum.reduce(away) + np.float32(slack)
        near = np.zeros((height, width), dtype=np.uint32)
        for bit, distance in enumerate(away):
            near |= np.left_shift(distance <= limit, bit, dtype=np.uint32)
        answers = np.full(1 << len(words), -1, dtype=regions.dtype)
        answers[(words.T << np.arange(len(words))).sum(axis=1)] = regions
        sure = answers.take(near).repeat(block, axis=0).repeat(block, axis=1)
        return sure[: self.shape[0], : self.shape[1]]

    def _distances(self, words: BoolMap, block: int) -> list[npt.NDArray[np.floating]]:
        """Measure how far each block is from the nearest one with a region of each set, blocks."""
        height, width = (-(-side // block) for side in self.shape)
        rows, columns = self.places.T // block
        away: list[npt.NDArray[np.floating]] = []
        for chosen in words:
            outside = np.ones((height, width), dtype=np.uint8)
            at = chosen[self._regions[1]]
            outside[rows[at], columns[at]] = 0
            distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            away.append(np.asarray(distance, dtype=np.float32))
        return away

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.places)

    @cached_property
    def _regions(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The regions, in order, (M,), and the index of each outer pixel's among them, (P,)."""
        # Signed, because -1 is an answer.
        regions, member = np.unique(self.numbers.astype(np.int64), return_inverse=True)
        return regions, member


def _words(count: int) -> BoolMap:
    """Put each of ``count`` things into half of S sets, no two into the same ones, (S, count).

    S is as small as it can be. Together, two things are in more than half of the sets.
    """
    sets = next(n for n in itertools.count(1) if math.comb(n, n // 2) >= count)
    words = np.zeros((sets, count), dtype=bool)
    for thing, chosen in zip(range(count), combinations(range(sets), sets // 2), strict=False):
        words[list(chosen), thing] = True
    return words


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
    shape = (ids.shape[0], ids.shape[1])
    numbers, places = ids.ravel()[at], np.stack(np.divmod(at, max(ids.shape[1], 1)), axis=1)
    return {
        int(classes[k]): Nearest(numbers[start:end], places[start:end], shape)
        for k, (start, end) in enumerate(pairwise(ends.tolist()))
        if end > start
    }
