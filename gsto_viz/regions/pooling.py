"""Regions and activity maps on the grids of the branches.

A mask is pooled down to the grid; a feature map is never pooled up to the pixels. Counts of all
regions are kept together as one sparse matrix, so nothing loops over regions.
Cell k of stride s covers the pixels [k s, (k+1) s) clipped to the image. (The cells of a
convolution are centred at pixel k s, half a cell up and left of that; this is not corrected.)

Cutting regions, measuring distances and counting pixels in cells costs far more than reading maps
through them, and does not depend on any network. All networks and all null models that see one
annotation share it.
"""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from gsto_viz.activity import (
    BoolMap,
    FloatMap,
    cell_areas,
    cell_counts,
    grid_shape,
    percentile_map,
    pool_to,
    valid_by_stride,
)
from gsto_viz.errors import GstoVizError
from gsto_viz.regions.find import RegionMap, find_regions
from gsto_viz.types import IGNORE, Stride, cells_of, pixels_per_cell

Part = Literal["whole", "core", "band"]
PARTS: tuple[Part, ...] = ("whole", "core", "band")


@dataclass(frozen=True, eq=False)
class GridWeights:
    """Pixel counts of regions in the cells of one grid."""

    shape: tuple[int, int]
    """(h, w) of the grid."""
    regions: int
    """K, the number of regions."""
    pixels: csr_array
    """(2 K, h * w) float64: pixels of band (row 2 k) and core (row 2 k + 1) of region k + 1."""
    cell_area: npt.NDArray[np.int64]
    """(h * w,): pixels of each cell inside the image."""

    @cached_property
    def _merged(self) -> csr_array:
        """(K, h * w): band pixels as real and core pixels as imaginary part of one entry."""
        rows = np.diff(self.pixels.indptr)
        data = self.pixels.data * np.repeat(np.resize([1, 1j], rows.size), rows)
        merged = csr_array(
            (data, self.pixels.indices, self.pixels.indptr[::2]),
            shape=(self.regions, self.cell_area.size),
            copy=True,
        )
        merged.sum_duplicates()
        return merged

    @cached_property
    def region(self) -> npt.NDArray[np.int64]:
        """(E,): region index 0..K-1 (number minus 1) of every cell that a region lies in."""
        return np.repeat(np.arange(self.regions), np.diff(self._merged.indptr))

    @cached_property
    def cell(self) -> npt.NDArray[np.int64]:
        """(E,): flat cell index, row * w + column, of the same entries."""
        return self._merged.indices.astype(np.int64)

    @cached_property
    def counts(self) -> dict[Part, npt.NDArray[np.int64]]:
        """Pixels of the whole region, its core and its band in the same entries, (E,) each."""
        band, core = (
            one.astype(np.int64) for one in (self._merged.data.real, self._merged.data.imag)
        )
        return {"whole": band + core, "core": core, "band": band}

    def means(
        self, values: npt.NDArray[np.floating], valid: npt.NDArray[np.bool_]
    ) -> dict[Part, npt.NDArray[np.float64]]:
        """Average maps over the parts of each region, weighted by pixel counts, in one product.

        Equal maps give equal means, bit for bit, however many stand beside them.

        Args:
            values: (M, h, w), finite where ``valid``.
            valid: (h, w), cells that count; the others weigh 0.

        Returns:
            (M, K) float64 for every part; NaN for parts without any weight.

        Raises:
            GstoVizError: A valid cell is NaN or infinite.
        """
        maps, cells = values.shape[0], self.cell_area.size
        table = np.zeros((cells, maps + 1))
        flat = valid.ravel()
        table[:, :maps] = np.where(flat, values.reshape(maps, cells), 0.0).T
        table[:, maps] = flat
        if not np.isfinite(table).all():
            raise GstoVizError("a map holds NaN or infinity in a valid cell; check the network")
        means = {}
        for part, sums in self._by_part(self.pixels @ table).items():
            weight = np.broadcast_to(sums[:, maps:], (self.regions, maps))
            mean = np.full(weight.shape, np.nan)
            np.divide(sums[:, :maps], weight, out=mean, where=weight > 0)
            means[part] = mean.T
        return means

    @staticmethod
    def _by_part(sums: npt.NDArray[np.float64]) -> dict[Part, npt.NDArray[np.float64]]:
        """Split sums over bands and cores, (2 K, ...), into parts, (K, ...) each."""
        band, core = sums[::2], sums[1::2]
        return {"whole": band + core, "core": core, "band": band}

    @cached_property
    def purity(self) -> npt.NDArray[np.float64]:
        """Sum m^2 / sum m of each whole region, m = its share of a cell, (K,) in (0, 1].

        1 means that the region fills the cells it lies in, small values that it shares them.
        """
        share = self.counts["whole"] / self.cell_area[self.cell]
        squares = np.bincount(self.region, share**2, minlength=self.regions)
        return squares / np.bincount(self.region, share, minlength=self.regions)


def grid_weights(regions: RegionMap, stride: Stride) -> GridWeights:
    """Count the pixels of every region, core and band in every cell of the grid of ``stride``."""
    return nested_grid_weights(regions, (stride,))[0]


def nested_grid_weights(regions: RegionMap, strides: Sequence[Stride]) -> tuple[GridWeights, ...]:
    """Return :func:`grid_weights` of several grids, finest first."""
    height, width = regions.ids.shape
    categories = 2 * regions.ids + regions.core - 2
    counts = cell_counts(categories, 2 * len(regions), strides)
    return tuple(
        GridWeights(
            shape=grid_shape(height, width, stride),
            regions=len(regions),
            pixels=pixels,
            cell_area=cell_areas(height, width, stride).ravel(),
        )
        for stride, pixels in zip(strides, counts, strict=True)
    )


@dataclass(frozen=True, eq=False)
class PreparedRegions:
    """The regions of one image, weighed on the grid of every branch."""

    regions: RegionMap
    shape: tuple[int, int]
    """(H, W) of the labels."""
    strides: tuple[Stride, ...]
    """The grid of each branch, finest first."""
    grids: tuple[GridWeights, ...]
    """Per stride, the pixels of every region in every cell."""
    valid: tuple[BoolMap, ...]
    """Per stride, (h, w): the cells that take part in ranks and weigh anything."""

    def __len__(self) -> int:
        return len(self.regions)


def prepare_regions(
    labels: npt.NDArray[np.integer],
    strides: Sequence[Stride] = (4, 8, 16, 32),
    instances: npt.NDArray[np.integer] | None = None,
    ignore: int | None = IGNORE,
    *,
    regions: RegionMap | None = None,
) -> PreparedRegions:
    """Cut one image's annotation into regions and weigh them on every grid.

    Args:
        labels: (H, W) class indices at network-input size.
        strides: The grid of each branch, finest first: see ``checked_strides``.
        instances: (H, W) instance numbers, 0 = none, -1 = crowd; None when nothing is annotated by
            instance.
        ignore: The label of pixels that belong to no class; None when there is none.
        regions: Regions that are already cut, perhaps moved since (null models) or cut from
            elsewhere; ``instances`` is then not read, and of ``labels`` only what is ignored.

    Raises:
        GstoVizError: The label or instance map is wrong, regions and labels have different sizes,
            or the strides do not grow by powers of two.
    """
    strides = checked_strides(strides)
    labels = np.asarray(labels)
    if regions is None:
        regions = find_regions(labels, instances, ignore)
    if labels.shape != regions.ids.shape:
        raise GstoVizError(
            f"labels have shape {labels.shape} and the regions {regions.ids.shape}; "
            "give both of one image"
        )
    return PreparedRegions(
        regions=regions,
        shape=(labels.shape[0], labels.shape[1]),
        strides=strides,
        grids=nested_grid_weights(regions, strides),
        valid=tuple(valid_by_stride(labels, strides, ignore).values()),
    )


def part_means(
    prepared: PreparedRegions, values: Mapping[str, npt.NDArray[np.floating]], stride: Stride
) -> dict[str, dict[Part, FloatMap]]:
    """Average any number of maps of one grid over the parts of every region, in one product.

    Args:
        prepared: The regions.
        values: Maps by name, (h, w) each, on the grid of ``stride``; finite in valid cells, the
            others weigh nothing.
        stride: One of ``prepared.strides``.

    Returns:
        For each name, the means over ``whole``, ``core`` and ``band``, (K,) float64 each; NaN for
        a part without a pixel in a valid cell.

    Raises:
        GstoVizError: No grid has this stride, or a map is not on it or not finite.
    """
    if stride not in prepared.strides:
        raise GstoVizError(
            f"no grid of stride {stride} was prepared, only of {prepared.strides}; "
            "name it in prepare_regions"
        )
    if not values:
        return {}
    at = prepared.strides.index(stride)
    grid, valid = prepared.grids[at], prepared.valid[at]
    for name, one in values.items():
        if np.shape(one) != grid.shape:
            raise GstoVizError(
                f"the map '{name}' has shape {np.shape(one)}; stride {stride} needs {grid.shape}"
            )
    means = grid.means(np.stack(list(values.values())), valid)
    return {name: {part: means[part][k] for part in means} for k, name in enumerate(values)}


def checked_strides(strides: Sequence[Stride]) -> tuple[Stride, ...]:
    """Return grids in order, or say what is wrong with them.

    Pixels per cell grow by powers of two, and stay where dilation rates grow; behind them come
    pooled grids of fewer and fewer cells.
    """
    try:
        checked = tuple(s if isinstance(s, str) else operator.index(s) for s in strides)
        for one in checked:
            pixels_per_cell(one)
    except (TypeError, GstoVizError) as error:
        raise GstoVizError(
            f"strides {strides!r} are not whole numbers; give pixels per cell, such as (4, 8)"
        ) from error
    if not checked:
        raise GstoVizError("no stride was given; give pixels per cell, such as (4, 8)")
    if not all(map(_in_order, checked, checked[1:])) or (pixels_per_cell(checked[0]) or 1) < 1:
        raise GstoVizError(
            f"strides {checked} do not grow by powers of two; give the finest branch first"
        )
    return checked


def _in_order(fine: Stride, coarse: Stride) -> bool:
    """Return whether one grid can stand before another."""
    if fine == coarse:
        return False
    a, b = pixels_per_cell(fine), pixels_per_cell(coarse)
    if b is None:
        cells, fewer = cells_of(fine), cells_of(coarse)
        return cells is None or fewer is None or (fewer <= cells and fewer[1] <= cells[1])
    if a is None or a < 1:
        return False
    return b / a in ((1, 2, 4, 8, 16, 32) if isinstance(coarse, str) else (2, 4, 8, 16, 32))


Maps = Sequence[npt.NDArray[np.floating]]


@dataclass(frozen=True, eq=False)
class RankedMaps:
    """The percentile maps of one network for one image."""

    percentiles: dict[tuple[int, int], FloatMap]
    """(branch, grid) -> (h, w) of that grid, in (0, 1), NaN where not valid: each branch on its own
    grid, on the next coarser one and on the coarsest."""

    @property
    def branches(self) -> int:
        """R, the number of branches."""
        return 1 + max(branch for branch, _ in self.percentiles)

    @property
    def native(self) -> tuple[FloatMap, ...]:
        """U_r of every branch on its own grid, finest first."""
        return tuple(self.percentiles[r, r] for r in range(self.branches))


def rank_maps(prepared: PreparedRegions, maps: Maps) -> RankedMaps:
    """Pool each branch to the grids where it is compared, and rank it there over the valid cells.

    Args:
        prepared: The regions of the image; only its valid cells matter here.
        maps: One activity map per branch, finest first, (ceil(H/s), ceil(W/s)) float32 or
            float64 each; taken as already gain-fixed.

    Raises:
        GstoVizError: The number of maps is not that of the strides, or a map has the wrong shape
            or type or holds NaN or infinity.
    """
    check_count(len(maps), len(prepared.strides))
    ranked = {}
    last = len(maps) - 1
    for r, activity in enumerate(maps):
        pooled = _checked_map(activity, r, prepared.shape, prepared.strides[r])
        for g in range(r, last + 1):
            if g > r:
                pooled = pool_to(pooled, prepared.shape, *prepared.strides[g - 1 : g + 1])
            if g in (r, r + 1, last):
                ranked[r, g] = percentile_map(pooled, prepared.valid[g])
    return RankedMaps(ranked)


def check_count(maps: int, strides: int) -> None:
    """Refuse another number of maps than of strides."""
    if maps == 0 or maps != strides:
        raise GstoVizError(f"{maps} maps and {strides} strides; give one stride per map")


def _checked_map(
    activity: npt.NDArray[np.floating], branch: int, shape: tuple[int, int], stride: Stride
) -> FloatMap:
    """Return an activity map as float64, or say what is wrong with it."""
    activity = np.asarray(activity)
    expected = grid_shape(*shape, stride)
    if activity.dtype not in (np.float32, np.float64):
        raise GstoVizError(
            f"the map of branch {branch} has dtype {activity.dtype}; give float32 or float64"
        )
    if activity.shape != expected:
        raise GstoVizError(
            f"the map of branch {branch} has shape {activity.shape}; "
            f"labels {shape} at stride {stride} need {expected}"
        )
    if not np.isfinite(activity).all():
        raise GstoVizError(f"the map of branch {branch} holds NaN or infinity; check the network")
    return activity.astype(np.float64)
