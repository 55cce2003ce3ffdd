"""The pixels of one image sorted by group, region size and distance to the edge, on every grid.

This depends on the annotation alone; every network that sees the image reads its maps through it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from gsto_viz.activity import cell_areas
from gsto_viz.cells import cell_counts
from gsto_viz.errors import GstoVizError

GROUPS = ("small", "band", "core", "other")
"""Pixels of small regions; bands of the others; cores of large ones; all other labelled pixels."""
BAND_PX = 8.0
DISTANCES = 12
"""Octaves of distance to the edge: 0 is 1..2 px, 11 is 2048 px and more."""
SIZES = 12
"""Octaves of region size, log2 sqrt(area), the last one open."""
DEPTHS = DISTANCES + 1
"""Depths are octaves of distance, but exactly 8 px, which still is band, has one of its own (3):
from 8..16 px (4) on they are the octave plus one."""
EDGE_DEPTH = int(np.log2(BAND_PX))


class Regions(Protocol):
    """What is read of the regions of one image (``gsto_viz.regions.find_regions`` gives it)."""

    @property
    def ids(self) -> npt.NDArray[np.int32]:
        """(H, W): number of each pixel's region, 1..K; 0 = ignored."""

    @property
    def distance_px(self) -> npt.NDArray[np.float64]:
        """(H, W): distance to the nearest pixel outside the region; 1 at its edge."""

    @property
    def size_octave(self) -> npt.NDArray[np.float64]:
        """(K,): log2 sqrt(area)."""

    @property
    def core_area_px(self) -> npt.NDArray[np.int64]:
        """(K,): pixels farther than 8 px from the outside."""

    @property
    def coco_bin(self) -> npt.NDArray[np.str_]:
        """(K,): small, medium or large."""

    @property
    def qualifies(self) -> npt.NDArray[np.bool_]:
        """(K,): large enough to enter statistics."""


@dataclass(frozen=True, eq=False)
class Entries:
    """The pixels of one grid, as a list of (category, cell) entries with E rows."""

    cell: npt.NDArray[np.integer]
    """(E,): flat cell index."""
    pixels: npt.NDArray[np.float64]
    """(E,): whole numbers."""
    group: npt.NDArray[np.int64]
    """(E,): index into ``GROUPS``."""
    place: npt.NDArray[np.int64]
    """(E,): size octave x DISTANCES + distance octave, -1 = left out of the profile."""
    inner: npt.NDArray[np.int64]
    """(E,): 0 in bands and 1 in cores of regions with a core, -1 = left out of the energies."""
    mostly_core: npt.NDArray[np.bool_]
    """(cells,): more than half of the cell's pixels lie in cores of large regions."""


@dataclass(frozen=True, eq=False)
class BoundaryPixels:
    """What boundary counts need of the regions alone; all networks of one image share it."""

    shape: tuple[int, int]
    """(H, W) of the labels."""
    strides: tuple[int, ...]
    entries: tuple[Entries, ...] = field(repr=False)
    """Per stride."""


def boundary_pixels(regions: Regions, strides: Sequence[int] = (4, 8, 16, 32)) -> BoundaryPixels:
    """Sort the pixels of one image by group, size and distance to the edge, on every grid.

    Args:
        regions: The regions of the image.
        strides: Pixels per cell of each branch, each a multiple of the one before.

    Raises:
        GstoVizError: No stride is given, or one is no multiple of the one before.
    """
    strides = tuple(strides)
    if not strides or any(b % a for a, b in pairwise(strides)):
        raise GstoVizError(
            f"strides {strides} are no multiples of each other; give the finest branch first"
        )
    height, width = regions.ids.shape
    kinds, depths = _region_kinds(regions), _depths(regions.distance_px)
    categories = kinds.take(regions.ids) + depths
    number = 1 + int(categories.max(initial=-1))
    meaning = _meaning(np.arange(number))
    return BoundaryPixels(
        (height, width),
        strides,
        tuple(
            _list_entries(counts, meaning, cell_areas(height, width, stride).ravel())
            for stride, counts in zip(
                strides, cell_counts(categories, number, strides), strict=True
            )
        ),
    )


def _depths(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """Return the depth of each pixel, 0..DEPTHS-1."""
    octave = np.frexp(np.clip(distance, 1.0, 2.0 ** (DISTANCES - 1)))[1] - 1
    octave += distance > BAND_PX
    return octave


def _region_kinds(regions: Regions) -> npt.NDArray[np.int32]:
    """Return the kind of each region number 0..K, times DEPTHS; kind 0 starts below 0, (K + 1,)."""
    bins = np.asarray(regions.coco_bin)
    group = np.where(bins == "small", 0, np.where(bins == "large", 2, 1))
    group = np.where(regions.qualifies, group, 3)
    size = np.clip(np.floor(regions.size_octave), 0, SIZES - 1).astype(np.int64)
    kind = (group * SIZES + size) * 2 + (regions.core_area_px > 0)
    return np.append(-1, kind).astype(np.int32) * DEPTHS


def _meaning(
    categories: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return group, place and inner of every category, see :class:`Entries`."""
    kind, depth = np.divmod(categories, DEPTHS)
    size, has_core = np.divmod(kind, 2)
    group, size = np.divmod(size, SIZES)
    deep = depth > EDGE_DEPTH
    qualifies = group < 3
    place = np.where(qualifies, size * DISTANCES + depth - deep, -1)
    inner = np.where(qualifies & (has_core == 1), deep.astype(np.int64), -1)
    sorted_out = np.where(deep, np.where(group == 2, 2, 3), 1)
    return np.where((group == 1) | (group == 2), sorted_out, group), place, inner


def _list_entries(
    counts: csr_array,
    meaning: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]],
    areas: npt.NDArray[np.int64],
) -> Entries:
    """List the entries of one grid."""
    category = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    group, place, inner = (one[category] for one in meaning)
    core = np.where(group == GROUPS.index("core"), counts.data, 0.0)
    mostly = 2 * np.bincount(counts.indices, core, minlength=areas.size) > areas
    return Entries(counts.indices, counts.data, group, place, inner, mostly)
