"""Regions on the grid of a branch: how many pixels of each region fall into each cell.

A mask is pooled down to the grid; a feature map is never pooled up to the pixels. Counts of all
regions are kept together as a sparse list of (region, cell) entries, so nothing loops over regions.
Cell k of stride s covers the pixels [k s, (k+1) s) clipped to the image. (The cells of a
convolution are centred at pixel k s, half a cell up and left of that; this is not corrected.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csr_array

from gsto_viz.activity import cell_areas, grid_shape
from gsto_viz.errors import GstoVizError
from gsto_viz.regions.find import RegionMap

Part = Literal["whole", "core", "band"]
PARTS: tuple[Part, ...] = ("whole", "core", "band")


@dataclass(frozen=True, eq=False)
class GridWeights:
    """Pixel counts of regions in the cells of one grid, as a list of E non-empty entries."""

    shape: tuple[int, int]
    """(h, w) of the grid."""
    regions: int
    """K, the number of regions."""
    region: npt.NDArray[np.int64]
    """(E,): region index 0..K-1 (region number minus 1)."""
    cell: npt.NDArray[np.integer]
    """(E,): flat cell index, row * w + column."""
    counts: dict[Part, npt.NDArray[np.int64]]
    """Pixels of the whole region, its core and its band in the cell, (E,) each."""
    cell_area: npt.NDArray[np.int64]
    """(h * w,): pixels of each cell inside the image."""

    def total(self, part: Part, valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Sum the pixels of each region's part over the valid cells, (K,) float64."""
        counts = self.counts[part] * valid.ravel()[self.cell].astype(np.float64)
        sums = np.bincount(self.region, counts, minlength=self.regions)
        return np.asarray(sums, dtype=np.float64)

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
        sums = self._parts @ table
        core, band = sums[: self.regions].T, sums[self.regions :].T
        totals: dict[Part, npt.NDArray[np.float64]] = {
            "whole": core + band,
            "core": core,
            "band": band,
        }
        means = {}
        for part, total in totals.items():
            weight = np.broadcast_to(total[maps], (maps, self.regions))
            means[part] = np.full(weight.shape, np.nan)
            np.divide(total[:maps], weight, out=means[part], where=weight > 0)
        return means

    def mean(self, values: npt.NDArray[np.float64], part: Part) -> npt.NDArray[np.float64]:
        """Average one map over each region's part, weighted by pixel counts.

        Args:
            values: (h, w); NaN marks cells that weigh 0.
            part: Which pixels of the regions give the weights.

        Returns:
            (K,) float64; NaN for regions without any weight.
        """
        return self.means(values[None], ~np.isnan(values))[part][0]

    @cached_property
    def _parts(self) -> csr_array:
        """(2 K, h * w): pixels of each core, then of each band, in every cell."""
        rows = []
        names: tuple[Part, Part] = ("core", "band")
        for name in names:
            there = np.flatnonzero(self.counts[name])
            ends = np.cumsum(np.bincount(self.region[there], minlength=self.regions))
            rows.append((self.counts[name][there].astype(np.float64), self.cell[there], ends))
        (core, core_cells, core_ends), (band, band_cells, band_ends) = rows
        data, cells = np.concatenate([core, band]), np.concatenate([core_cells, band_cells])
        ends = np.concatenate([[0], core_ends, core.size + band_ends])
        return csr_array((data, cells, ends), shape=(2 * self.regions, self.cell_area.size))

    def purity(self) -> npt.NDArray[np.float64]:
        """Return sum m^2 / sum m of each whole region, m = its share of a cell, (K,) in (0, 1].

        1 means that the region fills the cells it lies in, small values that it shares them.
        """
        share = self.counts["whole"] / self.cell_area[self.cell]
        squares = np.bincount(self.region, share**2, minlength=self.regions)
        return squares / np.bincount(self.region, share, minlength=self.regions)


def grid_weights(regions: RegionMap, stride: int) -> GridWeights:
    """Count the pixels of every region, core and band in every cell of the grid of ``stride``."""
    return nested_grid_weights(regions, (stride,))[0]


def nested_grid_weights(regions: RegionMap, strides: Sequence[int]) -> tuple[GridWeights, ...]:
    """Count pixels on several grids; each counts the cells of the one before.

    Args:
        regions: The regions.
        strides: Pixels per cell, each a multiple of the one before.
    """
    height, width = regions.ids.shape
    packed = _packed_pixels(regions, strides[0])
    grids = [_grid(packed, regions, strides[0])]
    for fine, coarse in pairwise(strides):
        rows, columns = (np.arange(n) // (coarse // fine) for n in grid_shape(height, width, fine))
        shape = grid_shape(height, width, coarse)
        cells = (rows[:, None] * shape[1] + columns).ravel()
        ones = np.ones(cells.size, dtype=np.int64)
        within = csr_array(
            (ones, cells, np.arange(cells.size + 1)), shape=(cells.size, shape[0] * shape[1])
        )
        packed = packed @ within
        packed.sort_indices()
        grids.append(_grid(packed, regions, coarse))
    return tuple(grids)


def _packed_pixels(regions: RegionMap, stride: int) -> csr_array:
    """Count pixels on one grid: (K, h * w) int64, whole * 2^32 + core, cells in order.

    Two counts in one number pass through one product together.
    """
    height, width = regions.ids.shape
    shape = grid_shape(height, width, stride)
    code = np.zeros((shape[0] * stride, shape[1] * stride), dtype=np.int64)
    # Pixels beyond the image stay 0, as those of no region.
    code[:height, :width] = 2 * regions.ids + regions.core
    low, high = (_over_cells(code, stride, take) for take in (np.minimum, np.maximum))
    pure = low == high
    blocks = code.reshape(shape[0], stride, shape[1], stride)
    mixed = np.flatnonzero(~pure)
    pixels = blocks[mixed // max(shape[1], 1), :, mixed % max(shape[1], 1)]
    pixels = np.sort(pixels.reshape(mixed.size, stride * stride), axis=1)
    # Runs of one region within one cell.
    starts = np.flatnonzero(np.diff(pixels >> 1, axis=1, prepend=-1))
    ends = np.append(starts[1:], pixels.size)
    core = np.add.reduceat(pixels.ravel() & 1, starts) if starts.size else starts
    code_pure, pure = low[pure], np.flatnonzero(pure)
    region = np.concatenate([code_pure >> 1, pixels.ravel()[starts] >> 1])
    cell = np.concatenate([pure, mixed[starts // (stride * stride)]])
    whole = np.concatenate([np.full(pure.size, stride * stride), ends - starts])
    core = np.concatenate([(code_pure & 1) * stride * stride, core])
    there = region > 0
    entries = (whole[there] << 32) + core[there]
    packed = coo_array(
        (entries, (region[there] - 1, cell[there])), shape=(len(regions), shape[0] * shape[1])
    ).tocsr()
    packed.sort_indices()
    return packed


def _over_cells(code: npt.NDArray[np.int64], stride: int, take: np.ufunc) -> npt.NDArray[np.int64]:
    """Reduce (h * stride, w * stride) over its cells, (h, w)."""
    rows = reduce(take, (code[k::stride] for k in range(stride)))
    return reduce(take, (rows[:, k::stride] for k in range(stride)))


def _grid(packed: csr_array, regions: RegionMap, stride: int) -> GridWeights:
    """Unpack counts into a list of entries."""
    height, width = regions.ids.shape
    whole, core = packed.data >> 32, packed.data & (2**32 - 1)
    return GridWeights(
        shape=grid_shape(height, width, stride),
        regions=len(regions),
        region=np.repeat(np.arange(len(regions)), np.diff(packed.indptr)),
        cell=packed.indices,
        counts={"whole": whole, "core": core, "band": whole - core},
        cell_area=cell_areas(height, width, stride).ravel(),
    )
