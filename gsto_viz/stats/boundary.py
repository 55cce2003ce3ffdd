"""Boundary and interior: counts of one image on every grid, which merge by concatenation.

The paper's sentences are that fine branches should answer for small regions and for edges, coarse
branches for the interiors of large regions. Two areas under the curve test just that, a profile
over the distance to the edge shows it, and an energy ratio says how much stronger bands are.

This depends on the annotation alone; every network that sees the image reads its maps through it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from gsto_viz.activity import cell_areas, cell_counts, grid_shape
from gsto_viz.errors import GstoVizError
from gsto_viz.regions.find import RegionMap
from gsto_viz.types import BAND_PX, Stride, pixels_per_cell

GROUPS = ("small", "band", "core", "other")
"""Pixels of small regions; bands of the others; cores of large ones; all other labelled pixels."""
DISTANCES = 12
"""Octaves of distance to the edge: 0 is 1..2 px, 11 is 2048 px and more."""
SIZES = 12
"""Octaves of region size, log2 sqrt(area), the last one open."""
DEPTHS = DISTANCES + 1
"""Depths are octaves of distance, but exactly 8 px, which still is band, has one of its own (3):
from 8..16 px (4) on they are the octave plus one."""
EDGE_DEPTH = int(np.log2(BAND_PX))


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
    strides: tuple[Stride, ...]
    entries: tuple[Entries, ...] = field(repr=False)
    """Per stride."""


def boundary_pixels(
    regions: RegionMap, strides: Sequence[Stride] = (4, 8, 16, 32)
) -> BoundaryPixels:
    """Sort the pixels of one image by group, size and distance to the edge, on every grid.

    Args:
        regions: The regions of the image.
        strides: The grid of each branch; pixels per cell are multiples of those before.

    Raises:
        GstoVizError: No stride is given, or one is not a multiple of the one before.
    """
    strides = tuple(strides)
    pixels = [one for stride in strides if (one := pixels_per_cell(stride)) is not None]
    if not strides or any(b % a for a, b in pairwise(pixels)):
        raise GstoVizError(
            f"strides {strides} are not multiples of each other; give the finest branch first"
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


def _region_kinds(regions: RegionMap) -> npt.NDArray[np.int32]:
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


BINS = 256


@dataclass(frozen=True, eq=False)
class BoundaryCounts:
    """What one image adds: whole numbers and sums, R branches finest first."""

    image: str
    pixels: npt.NDArray[np.int64]
    """(R, 4, 256): pixels by branch, group (``GROUPS``) and percentile bin."""
    cells: npt.NDArray[np.int64]
    """(R, 2, 256): valid cells with at most, and with more than, half of their pixels in cores of
    large regions, by percentile bin."""
    profile_sum: npt.NDArray[np.float64]
    """(R, SIZES, DISTANCES): summed percentiles of pixels by region size and distance to the
    edge."""
    profile_pixels: npt.NDArray[np.int64]
    """The same shape: pixels."""
    energy_sum: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))
    """(R, 2): summed squared activity of bands and of cores; no rows without activity maps."""
    energy_pixels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    """The same shape: pixels."""


def boundary_counts(
    image: str,
    pixels: BoundaryPixels,
    percentiles: Sequence[npt.NDArray[np.floating]],
    activity: Sequence[npt.NDArray[np.floating]] | None = None,
) -> BoundaryCounts:
    """Count one image's pixels and cells by group, percentile and distance to the edge.

    A pixel has the value of the cell it lies in; pixels in invalid cells (NaN) are left out.

    Args:
        image: Name of the image.
        pixels: Of its regions, on the strides of the branches.
        percentiles: One percentile map per branch, (ceil(H/s), ceil(W/s)), NaN where not valid.
        activity: The activity maps behind them, for the energy ratio; None without it.

    Raises:
        GstoVizError: The number or the shapes of the maps do not fit.
    """
    _check_maps(percentiles, pixels, "percentile map")
    if activity is not None:
        _check_maps(activity, pixels, "activity map")
    branches = range(len(percentiles))
    maps = [np.asarray(values, dtype=np.float64).ravel() for values in percentiles]
    profiles = [_profile(pixels.entries[r], maps[r]) for r in branches]
    energies = [
        _energy(pixels.entries[r], maps[r], np.asarray(one, dtype=np.float64).ravel())
        for r, one in enumerate(activity or ())
    ]
    return BoundaryCounts(
        image=image,
        pixels=np.stack([_pixel_histogram(pixels.entries[r], maps[r]) for r in branches]),
        cells=np.stack([_cell_histogram(pixels.entries[r], maps[r]) for r in branches]),
        profile_sum=np.stack([total for total, _ in profiles]),
        profile_pixels=np.stack([pixels for _, pixels in profiles]),
        energy_sum=np.array([total for total, _ in energies], dtype=np.float64).reshape(-1, 2),
        energy_pixels=np.array([n for _, n in energies], dtype=np.int64).reshape(-1, 2),
    )


def _check_maps(
    maps: Sequence[npt.NDArray[np.floating]], pixels: BoundaryPixels, what: str
) -> None:
    strides = pixels.strides
    if len(maps) != len(strides):
        raise GstoVizError(f"{len(maps)} {what}s and {len(strides)} strides; give one per branch")
    for r, (values, stride) in enumerate(zip(maps, strides, strict=True)):
        expected = grid_shape(*pixels.shape, stride)
        if np.shape(values) != expected:
            raise GstoVizError(
                f"the {what} of branch {r} has shape {np.shape(values)}; "
                f"regions {pixels.shape} at stride {stride} need {expected}"
            )


def _bins(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the percentile bin of values in (0, 1)."""
    return np.minimum((values * BINS).astype(np.int64), BINS - 1)


def _pixel_histogram(entries: Entries, values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Count pixels by group and percentile bin, (4, 256)."""
    value = values[entries.cell]
    at = ~np.isnan(value)
    index = entries.group[at] * BINS + _bins(value[at])
    counts = _sums(index, entries.pixels[at], len(GROUPS) * BINS)
    return counts.astype(np.int64).reshape(len(GROUPS), BINS)


def _cell_histogram(entries: Entries, values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Count valid cells by "more than half large core" and percentile bin, (2, 256)."""
    valid = ~np.isnan(values)
    index = entries.mostly_core[valid] * BINS + _bins(values[valid])
    return np.bincount(index, minlength=2 * BINS).reshape(2, BINS)


def _profile(
    entries: Entries, values: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Sum percentiles and pixels by size and distance, (SIZES, DISTANCES) each."""
    value = values[entries.cell]
    at = ~np.isnan(value) & (entries.place >= 0)
    place, pixels = entries.place[at], entries.pixels[at]
    shape = (SIZES, DISTANCES)
    return (
        _sums(place, pixels * value[at], SIZES * DISTANCES).reshape(shape),
        _sums(place, pixels, SIZES * DISTANCES).astype(np.int64).reshape(shape),
    )


def _energy(
    entries: Entries, values: npt.NDArray[np.float64], activity: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Sum squared activity, and pixels, of bands and of cores, (2,) each."""
    at = ~np.isnan(values[entries.cell]) & (entries.inner >= 0)
    inner, pixels = entries.inner[at], entries.pixels[at]
    squares = pixels * activity[entries.cell[at]] ** 2
    return _sums(inner, squares, 2), _sums(inner, pixels, 2)


def _sums(
    index: npt.NDArray[np.int64], values: npt.NDArray[np.float64], number: int
) -> npt.NDArray[np.float64]:
    """Add values up by index 0..number-1, (number,); no value at all gives zeros."""
    return np.bincount(index, values, minlength=number).astype(np.float64)


def merge_counts(counts: Sequence[BoundaryCounts]) -> tuple[BoundaryCounts, ...]:
    """Order counts of images by name and drop images that occur twice.

    Raises:
        GstoVizError: None is given, or two counts of one image differ.
    """
    if not counts:
        raise GstoVizError("no boundary counts were given; make at least one with boundary_counts")
    merged: dict[str, BoundaryCounts] = {}
    for one in counts:
        other = merged.setdefault(one.image, one)
        if not np.array_equal(one.pixels, other.pixels) or not np.array_equal(
            one.cells, other.cells
        ):
            raise GstoVizError(
                f"two different boundary counts of image '{one.image}'; "
                "give every image its own name"
            )
    return tuple(merged[name] for name in sorted(merged))
