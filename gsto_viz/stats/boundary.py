"""Boundary and interior: counts of one image, which merge by concatenation.

The paper's sentences are that fine branches should answer for small regions and for edges, coarse
branches for the interiors of large regions. Two areas under the curve test just that, a profile
over the distance to the edge shows it, and an energy ratio says how much stronger bands are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gsto_viz.activity import grid_shape
from gsto_viz.errors import GstoVizError
from gsto_viz.stats.boundary_pixels import (
    DISTANCES,
    GROUPS,
    SIZES,
    BoundaryPixels,
    Entries,
    Regions,
    boundary_pixels,
)

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
    regions: Regions | BoundaryPixels,
    percentiles: Sequence[npt.NDArray[np.floating]],
    strides: Sequence[int] = (4, 8, 16, 32),
    activity: Sequence[npt.NDArray[np.floating]] | None = None,
) -> BoundaryCounts:
    """Count one image's pixels and cells by group, percentile and distance to the edge.

    A pixel has the value of the cell it lies in; pixels in invalid cells (NaN) are left out.

    Args:
        image: Name of the image.
        regions: Its regions, or their :func:`boundary_pixels` of these strides.
        percentiles: One percentile map per branch, (ceil(H/s), ceil(W/s)), NaN where not valid.
        strides: Pixels per cell of each branch.
        activity: The activity maps behind them, for the energy ratio; None without it.

    Raises:
        GstoVizError: The number or the shapes of the maps or the strides do not fit.
    """
    shape = regions.shape if isinstance(regions, BoundaryPixels) else regions.ids.shape
    _check_maps(percentiles, strides, shape, "percentile map")
    if activity is not None:
        _check_maps(activity, strides, shape, "activity map")
    if not isinstance(regions, BoundaryPixels):
        regions = boundary_pixels(regions, strides)
    if regions.strides != tuple(strides):
        raise GstoVizError(
            f"pixels were sorted on strides {regions.strides} and the maps have {tuple(strides)}; "
            "give boundary_pixels the strides of the branches"
        )
    branches = range(len(percentiles))
    maps = [np.asarray(values, dtype=np.float64).ravel() for values in percentiles]
    profiles = [_profile(regions.entries[r], maps[r]) for r in branches]
    energies = [
        _energy(regions.entries[r], maps[r], np.asarray(one, dtype=np.float64).ravel())
        for r, one in enumerate(activity or ())
    ]
    return BoundaryCounts(
        image=image,
        pixels=np.stack([_pixel_histogram(regions.entries[r], maps[r]) for r in branches]),
        cells=np.stack([_cell_histogram(regions.entries[r], maps[r]) for r in branches]),
        profile_sum=np.stack([total for total, _ in profiles]),
        profile_pixels=np.stack([pixels for _, pixels in profiles]),
        energy_sum=np.array([total for total, _ in energies], dtype=np.float64).reshape(-1, 2),
        energy_pixels=np.array([n for _, n in energies], dtype=np.int64).reshape(-1, 2),
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
