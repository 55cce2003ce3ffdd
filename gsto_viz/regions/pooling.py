"""Regions on the grid of a branch: how many pixels of each region fall into each cell.

A mask is pooled down to the grid; a feature map is never pooled up to the pixels. Counts of all
regions are kept together as one sparse matrix, so nothing loops over regions.
Cell k of stride s covers the pixels [k s, (k+1) s) clipped to the image. (The cells of a
convolution are centred at pixel k s, half a cell up and left of that; this is not corrected.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from gsto_viz.activity import cell_areas, grid_shape
from gsto_viz.cells import cell_counts
from gsto_viz.errors import GstoVizError
from gsto_viz.regions.find import RegionMap

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

    def total(self, part: Part, valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Sum the pixels of each region's part over the valid cells, (K,) float64."""
        return self._by_part(self.pixels @ valid.ravel().astype(np.float64))[part]

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

    def mean(self, values: npt.NDArray[np.float64], part: Part) -> npt.NDArray[np.float64]:
        """Average one map over each region's part, weighted by pixel counts.

        Args:
            values: (h, w); NaN marks cells that weigh 0.
            part: Which pixels of the regions give the weights.

        Returns:
            (K,) float64; NaN for regions without any weight.
        """
        return self.means(values[None], ~np.isnan(values))[part][0]

    def purity(self) -> npt.NDArray[np.float64]:
        """Return sum m^2 / sum m of each whole region, m = its share of a cell, (K,) in (0, 1].

        1 means that the region fills the cells it lies in, small values that it shares them.
        """
        return self._purity.copy()

    @cached_property
    def _purity(self) -> npt.NDArray[np.float64]:
        share = self.counts["whole"] / self.cell_area[self.cell]
        squares = np.bincount(self.region, share**2, minlength=self.regions)
        return squares / np.bincount(self.region, share, minlength=self.regions)


def grid_weights(regions: RegionMap, stride: int) -> GridWeights:
    """Count the pixels of every region, core and band in every cell of the grid of ``stride``."""
    return nested_grid_weights(regions, (stride,))[0]


def nested_grid_weights(regions: RegionMap, strides: Sequence[int]) -> tuple[GridWeights, ...]:
    """Return :func:`grid_weights` of several strides, each a multiple of the one before."""
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
