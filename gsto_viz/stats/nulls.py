"""Null models, layout-adjusted maps, and the annotation that predictions are counted against.

N1 shifts the annotation on the torus, N2 takes the annotation of another image, N4 permutes sizes
within an image, N5 replaces the branches by pooled copies of one map. What a statistic says on
them is what it says without any scale awareness. (N3, random weights, needs the network and lives
in ``gsto_viz.nulls``.) Every draw comes from a stream of its own, fixed by a seed and the name of
the image, so results depend neither on the order of images nor on how they are split.

Roads lie at the bottom and large, poles stand in the middle and thin: a branch that only knows
rows would look scale-aware. Subtracting its mean map over the data set before ranking removes
that. Only data sets whose images all have one size have a mean map.

An annotation is prepared once for all networks: the boundaries of classes, and for each class how
to find the nearest region from a pixel that was predicted as it.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations, pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.spatial import cKDTree

from gsto_viz.activity import BoolMap, FloatMap, cell_at, cell_edges, grid_shape, pool_to
from gsto_viz.errors import GstoVizError
from gsto_viz.regions.find import RegionMap
from gsto_viz.regions.pooling import PreparedRegions, checked_strides, rank_maps
from gsto_viz.stats.inference import Estimate, stream
from gsto_viz.stats.pairs import KEY
from gsto_viz.types import BranchMaps, Stride, pixels_per_cell

SIZE_NAMES = (
    "area_px",
    "size_octave",
    "inscribed_octave",
    "equivalent_diameter_px",
    "coco_bin",
)
"""Columns of the region table that say how large a region is; N4 moves them together."""


@dataclass(frozen=True)
class Null:
    """An index under a null model.

    Attributes:
        values: Mean over images of each draw, in the order of the draws.
        estimate: Mean over images of the mean over draws, with its interval over images. For N3 the
            range of the draws counts, not this interval: each draw is another network.
    """

    values: tuple[float, ...]
    estimate: Estimate

    @property
    def mean(self) -> float | None:
        """Mean over images and draws; None when it is not estimated."""
        return self.estimate.value

    @property
    def low(self) -> float | None:
        """The lowest draw; None without draws."""
        return min(self.values, default=None)

    @property
    def high(self) -> float | None:
        """The highest draw; None without draws."""
        return max(self.values, default=None)

    @property
    def n_images(self) -> int:
        """Images that count."""
        return self.estimate.n_images

    @property
    def reason(self) -> str | None:
        """Why it is not estimated, or has no interval."""
        return self.estimate.reason


def shift_length(shape: tuple[int, int], strides: Sequence[Stride]) -> int:
    """Return the least length of N1's shift, pixels: one cell of the coarsest branch.

    Cells of pooled maps grow with the image; a quarter of its shorter side is enough.
    """
    pixels = [stride for one in strides if (stride := pixels_per_cell(one)) is not None]
    if len(pixels) == len(strides):
        return pixels[-1]
    return max([min(shape) // 4, *pixels])


def toroidal_shift(
    shape: tuple[int, int], minimum_px: int, *, image: str, seed: int = 0, draw: int = 0
) -> tuple[int, int]:
    """Draw the shift of N1 for one image, evenly among those that are long enough.

    Args:
        shape: (H, W) of the labels.
        minimum_px: Smallest length of the shift on the torus, see ``shift_length``.
        image: Name of the image.
        seed: Seed of the null model.
        draw: Number of the draw.

    Returns:
        (dy, dx) with 0 <= dy < H and 0 <= dx < W, and hypot(min(dy, H - dy), min(dx, W - dx)) at
        least ``minimum_px``.

    Raises:
        GstoVizError: The image is too small for any such shift.
    """
    height, width = shape
    if min(shape) < 1 or np.hypot(height // 2, width // 2) < minimum_px:
        raise GstoVizError(
            f"image '{image}' of {height}x{width} cannot be shifted by {minimum_px} px on the "
            "torus; leave it out of this null"
        )
    rng = stream("toroidal", seed, image, draw)
    while True:
        dy, dx = int(rng.integers(height)), int(rng.integers(width))
        if np.hypot(min(dy, height - dy), min(dx, width - dx)) >= minimum_px:
            return dy, dx


def shift_map(values: npt.NDArray[Any], shift: tuple[int, int]) -> npt.NDArray[Any]:
    """Shift a map (H, W) on the torus: pixel (y, x) goes to (y + dy, x + dx) modulo the size."""
    return np.roll(values, shift, axis=(0, 1))


def shift_regions(regions: RegionMap, shift: tuple[int, int]) -> RegionMap:
    """Shift the regions of an image on the torus without cutting them anew (N1).

    Every region keeps its number, class, sizes, part and border flag, also where the image border
    now runs through it; its pixels, its core and its band move together. Shift the labels by
    :func:`shift_map` as well: valid cells follow them. The maps stay.

    Args:
        regions: Regions of the image.
        shift: (dy, dx) px.

    Returns:
        A new one. (Numbers are then no longer in raster order.)
    """
    return replace(
        regions,
        ids=shift_map(regions.ids, shift),
        distance_px=shift_map(regions.distance_px, shift),
    )


def swapped_labels(sizes: Sequence[tuple[int, int]]) -> list[int | None]:
    """Choose whose labels each image takes (N2): image (i + n//2) mod n of the n of equal size.

    Position and frequency of classes and sizes stay as they are in the data set, so what this null
    keeps away from chance is layout.

    Args:
        sizes: (H, W) of every image, in order.

    Returns:
        Index of the image that gives the labels; None where no other image has that size.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for index, (height, width) in enumerate(sizes):
        groups.setdefault((height, width), []).append(index)
    donors: list[int | None] = [None] * len(sizes)
    for group in groups.values():
        n = len(group)
        for place, index in enumerate(group):
            donors[index] = group[(place + n // 2) % n] if n > 1 else None
    return donors


def permute_sizes(
    table: pd.DataFrame, *, within_class: bool = False, seed: int = 0, draw: int = 0
) -> pd.DataFrame:
    """Permute the sizes of the regions of each image (N4).

    Only regions that qualify take part, so the set of sizes that is compared stays the same. All
    size columns of a region move together; responses, class and part stay.

    Args:
        table: A region table of any number of images.
        within_class: Permute only among regions of one class of an image.
        seed: Seed of the null model.
        draw: Number of the draw.

    Returns:
        A new table with the same rows, sorted by image and region.

    Raises:
        GstoVizError: A column is missing.
    """
    missing = [name for name in (*KEY, "class_id", "qualifies", "area_px") if name not in table]
    if missing:
        raise GstoVizError(
            f"the region table lacks {', '.join(missing)}; make it with region_table"
        )
    result = table.sort_values(KEY, ignore_index=True)
    names = [name for name in SIZE_NAMES if name in result]
    source = np.arange(len(result))
    taking_part = result[result["qualifies"].astype(bool)]
    strata = taking_part["class_id"] if within_class else np.zeros(len(taking_part), dtype=int)
    for (image, stratum), rows in taking_part.groupby([taking_part["image"], strata]):
        places = rows.index.to_numpy()
        source[places] = stream("sizes", seed, draw, image, stratum).permutation(places)
    sizes = result[names].take(source)
    return result.assign(**{name: sizes[name].to_numpy() for name in names})


def common_maps(
    percentiles: Sequence[FloatMap], shape: tuple[int, int], strides: Sequence[Stride]
) -> list[FloatMap]:
    """Replace all branches by pooled copies of one map (N5), so that q is 0 for every region.

    The common map is the mean of the percentile maps U_r on the grid of the finest branch, where a
    cell takes the value of the coarse cell that its first pixel lies in. It is pooled 2x2 from grid
    to grid, in float64 as a branch is brought to matched resolution: agreement is bit for bit, and
    SCI and SCI_edge are exactly 0.5.

    Args:
        percentiles: U_r of every branch, finest first; NaN in cells that are not valid.
        shape: (H, W) of the labels.
        strides: Pixels per cell; each a power of two times the one before.

    Returns:
        One map per branch, on its grid, finite (0.5 where no branch has a valid cell).

    Raises:
        GstoVizError: A map does not have its stride's shape, or numbers of maps and strides differ.
    """
    if len(strides) != len(percentiles):
        raise GstoVizError(
            f"{len(percentiles)} maps and strides {tuple(strides)} do not fit; give one stride per "
            "map, growing by powers of two"
        )
    grids = checked_strides(strides)
    total, known = (np.zeros(grid_shape(*shape, grids[0])) for _ in range(2))
    top, left = (edges[:-1] for edges in cell_edges(*shape, grids[0]))
    for values, stride in zip(percentiles, grids, strict=True):
        if values.shape != grid_shape(*shape, stride):
            raise GstoVizError(
                f"a map of stride {stride} has shape {values.shape}; "
                f"labels {shape} need {grid_shape(*shape, stride)}"
            )
        rows, columns = cell_at(top, left, shape, stride)
        fine = values[np.ix_(rows, columns)].astype(np.float64)
        total += np.where(np.isnan(fine), 0.0, fine)
        known += ~np.isnan(fine)
    maps = [np.where(known > 0, total / np.maximum(known, 1), 0.5)]
    for fine_grid, coarse_grid in pairwise(grids):
        maps.append(pool_to(maps[-1], shape, fine_grid, coarse_grid))
    return maps


def one_map(
    regions: PreparedRegions, maps: BranchMaps
) -> Iterator[tuple[PreparedRegions, Sequence[FloatMap]]]:
    """Yield the regions of an image with one common map in place of its branches (N5)."""
    ranked = rank_maps(regions, maps)
    yield regions, common_maps(ranked.native, regions.shape, regions.strides)


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
        height, width = grid_shape(*self.shape, block)
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
        GstoVizError: ``ids`` is not a map, or a region has no class.
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
    """Find the pixels that have another value, or no image, within ``width`` rows and columns.

    For every value of the map at once, this is the boundary of the mask of its pixels.

    Args:
        code: (H, W) uint8 or float32.
        width: At least 1.
    """
    near = _unequal(code, np.ones((2 * width + 1, 2 * width + 1), np.uint8))
    for side in (near[:width], near[-width:], near[:, :width], near[:, -width:]):
        side[...] = True
    return near


def _unequal(code: Code, window: npt.NDArray[np.uint8]) -> BoolMap:
    """Find the pixels in whose window, inside the image, are two different values."""
    if code.size == 0:  # OpenCV takes no empty image
        return np.zeros(code.shape, dtype=bool)
    return np.asarray(cv2.erode(code, window) != cv2.dilate(code, window))


def _nearest(
    ids: npt.NDArray[np.integer], code: Code, classes: npt.NDArray[np.integer]
) -> dict[int, Nearest]:
    """Collect the outer pixels of every class; ``code`` is 1 + the index into ``classes``."""
    # Only pixels with a 4-neighbour outside their class can be nearest to a pixel outside it.
    outer = _unequal(code, np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8))
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


Maps = Sequence[npt.NDArray[np.floating]]


@dataclass
class LayoutMean:
    """The running mean map of each branch.

    Sums are float64, so float32 maps add up without rounding, in any order and over any shards,
    unless the magnitudes in one cell differ by more than 2^20 over 500 images.
    """

    count: int = 0
    sums: list[npt.NDArray[np.float64]] = field(default_factory=list)
    """Per branch, (h, w)."""

    def update(self, maps: Maps) -> None:
        """Add the activity maps of one image.

        Raises:
            GstoVizError: Their shapes are not those of the images before.
        """
        self.merge(LayoutMean(1, [np.asarray(one, dtype=np.float64) for one in maps]))

    def merge(self, other: "LayoutMean") -> None:
        """Add what another accumulator has seen (other images, the same size)."""
        if other.count == 0:
            return
        if self.count == 0:
            self.sums = [np.zeros_like(one) for one in other.sums]
        self._check(other.sums)
        self.sums = [total + one for total, one in zip(self.sums, other.sums, strict=True)]
        self.count += other.count

    def adjust(self, maps: Maps) -> list[npt.NDArray[np.float64]]:
        """Subtract the mean maps; the result goes to ``region_table`` in place of the maps.

        Raises:
            GstoVizError: Nothing was accumulated, or the shapes differ.
        """
        if self.count == 0:
            raise GstoVizError("no image was added, so there is no mean map; call update first")
        given = [np.asarray(one, dtype=np.float64) for one in maps]
        self._check(given)
        return [one - total / self.count for one, total in zip(given, self.sums, strict=True)]

    def _check(self, maps: list[npt.NDArray[np.float64]]) -> None:
        expected, got = [one.shape for one in self.sums], [one.shape for one in maps]
        if expected != got:
            raise GstoVizError(
                f"maps of shapes {got} do not fit a mean map of shapes {expected}; layout-adjusted "
                "maps need images of one size"
            )
