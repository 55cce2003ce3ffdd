"""Boundary and interior: counts of one image, which merge by concatenation.

The paper's sentences are that fine branches should answer for small regions and for edges, coarse
branches for the interiors of large regions. Two areas under the curve test just that, a profile
over the distance to the edge shows it, and an energy ratio says how much stronger bands are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gsto_viz.activity import cell_areas, grid_shape
from gsto_viz.errors import GstoVizError

BINS = 256
GROUPS = ("small", "band", "core", "other")
"""Pixels of small regions; bands of the others; cores of large ones; all other labelled pixels."""
BAND_PX = 8.0
DISTANCES = 12
"""Octaves of distance to the edge: 0 is 1..2 px, 11 is 2048 px and more."""
SIZES = 12
"""Octaves of region size, log2 sqrt(area), the last one open."""


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
    def coco_bin(self) -> npt.NDArray[np.str_]:
        """(K,): small, medium or large."""

    @property
    def qualifies(self) -> npt.NDArray[np.bool_]:
        """(K,): large enough to enter statistics."""


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
    regions: Regions,
    percentiles: Sequence[npt.NDArray[np.floating]],
    strides: Sequence[int] = (4, 8, 16, 32),
    activity: Sequence[npt.NDArray[np.floating]] | None = None,
) -> BoundaryCounts:
    """Count one image's pixels and cells by group, percentile and distance to the edge.

    A pixel has the value of the cell it lies in; pixels in invalid cells (NaN) are left out.

    Args:
        image: Name of the image.
        regions: Its regions.
        percentiles: One percentile map per branch, (ceil(H/s), ceil(W/s)), NaN where not valid.
        strides: Pixels per cell of each branch.
        activity: The activity maps behind them, for the energy ratio; None without it.

    Raises:
        GstoVizError: The number or the shapes of the maps do not fit.
    """
    shape = regions.ids.shape
    _check_maps(percentiles, strides, shape, "percentile map")
    if activity is not None:
        _check_maps(activity, strides, shape, "activity map")
    group, place = _pixel_groups(regions), _pixel_places(regions)
    core = group == GROUPS.index("core")
    inner = _inner(regions)
    pixels, cells, sums, counts, energy = [], [], [], [], []
    for r, (values, stride) in enumerate(zip(percentiles, strides, strict=True)):
        of_pixel = _cell_index(shape, stride)
        value = np.asarray(values, dtype=np.float64).ravel()[of_pixel]
        known = ~np.isnan(value)
        at = known & (group >= 0)
        pixels.append(_histogram(value[at], group[at], len(GROUPS)))
        cells.append(_cell_histogram(np.asarray(values, dtype=np.float64), core, stride, of_pixel))
        at = known & (place >= 0)
        sums.append(np.bincount(place[at], value[at], minlength=SIZES * DISTANCES))
        counts.append(np.bincount(place[at], minlength=SIZES * DISTANCES))
        if activity is not None:
            squares = np.asarray(activity[r], dtype=np.float64).ravel()[of_pixel] ** 2
            at = known & (inner >= 0)
            energy.append(
                (
                    np.bincount(inner[at], squares[at], minlength=2),
                    np.bincount(inner[at], minlength=2),
                )
            )
    return BoundaryCounts(
        image=image,
        pixels=np.stack(pixels),
        cells=np.stack(cells),
        profile_sum=np.stack(sums).astype(np.float64).reshape(-1, SIZES, DISTANCES),
        profile_pixels=np.stack(counts).reshape(-1, SIZES, DISTANCES),
        energy_sum=np.array([one for one, _ in energy], dtype=np.float64).reshape(-1, 2),
        energy_pixels=np.array([one for _, one in energy], dtype=np.int64).reshape(-1, 2),
    )


def _check_maps(
    maps: Sequence[npt.NDArray[np.floating]],
    strides: Sequence[int],
    shape: tuple[int, ...],
    what: str,
) -> None:
    if len(maps) != len(strides) or not len(strides):
        raise GstoVizError(f"{len(maps)} {what}s and {len(strides)} strides; give one per branch")
    for r, (values, stride) in enumerate(zip(maps, strides, strict=True)):
        expected = grid_shape(shape[0], shape[1], stride)
        if np.shape(values) != expected:
            raise GstoVizError(
                f"the {what} of branch {r} has shape {np.shape(values)}; "
                f"regions {shape} at stride {stride} need {expected}"
            )


def _by_pixel(regions: Regions, values: npt.NDArray, outside: float) -> npt.NDArray:
    """Spread one value per region to its pixels, (H, W)."""
    return np.concatenate([[outside], values])[regions.ids]


def _pixel_groups(regions: Regions) -> npt.NDArray[np.int64]:
    """Return each pixel's index into ``GROUPS``, -1 = no region, (H, W)."""
    bins = np.asarray(regions.coco_bin)
    kind = np.where(bins == "small", 0, np.where(bins == "large", 2, 1))
    kind = _by_pixel(regions, np.where(regions.qualifies, kind, 3), -1).astype(np.int64)
    deep = regions.distance_px > BAND_PX
    sorted_out = np.where(deep, np.where(kind == 2, 2, 3), 1)
    return np.where((kind == 1) | (kind == 2), sorted_out, kind)


def _pixel_places(regions: Regions) -> npt.NDArray[np.int64]:
    """Return size octave x DISTANCES + distance octave of each pixel, -1 = left out, (H, W)."""
    size = np.clip(np.floor(regions.size_octave), 0, SIZES - 1)
    size = _by_pixel(regions, np.where(regions.qualifies, size, -1), -1).astype(np.int64)
    depth = np.clip(regions.distance_px, 1.0, 2.0**DISTANCES)
    distance = np.minimum(np.floor(np.log2(depth)), DISTANCES - 1).astype(np.int64)
    return np.where(size >= 0, size * DISTANCES + distance, -1)


def _inner(regions: Regions) -> npt.NDArray[np.int64]:
    """Return 0 for bands and 1 for cores of qualifying regions that have a core, else -1."""
    deep = regions.distance_px > BAND_PX
    has_core = np.zeros(len(regions.qualifies) + 1, dtype=bool)
    has_core[np.unique(regions.ids[deep])] = True
    has_core[1:] &= regions.qualifies
    has_core[0] = False
    return np.where(has_core[regions.ids], deep.astype(np.int64), -1)


def _cell_index(shape: tuple[int, ...], stride: int) -> npt.NDArray[np.int64]:
    """Return the flat index of each pixel's cell, (H, W)."""
    width = grid_shape(shape[0], shape[1], stride)[1]
    return np.arange(shape[0])[:, None] // stride * width + np.arange(shape[1]) // stride


def _histogram(
    values: npt.NDArray[np.float64], group: npt.NDArray[np.int64], groups: int
) -> npt.NDArray[np.int64]:
    """Count percentiles in (0, 1) by group and bin, (groups, 256)."""
    bins = np.minimum((values * BINS).astype(np.int64), BINS - 1)
    return np.bincount(group * BINS + bins, minlength=groups * BINS).reshape(groups, BINS)


def _cell_histogram(
    values: npt.NDArray[np.float64],
    core: npt.NDArray[np.bool_],
    stride: int,
    of_pixel: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Count valid cells by "more than half large core" and percentile bin, (2, 256)."""
    areas = cell_areas(core.shape[0], core.shape[1], stride).ravel()
    inside = np.bincount(of_pixel[core], minlength=areas.size)
    valid = ~np.isnan(values.ravel())
    mostly = (2 * inside > areas).astype(np.int64)
    return _histogram(values.ravel()[valid], mostly[valid], 2)


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
