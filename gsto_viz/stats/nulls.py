"""Null models: data in which the link between branches and object sizes is broken on purpose.

N1 shifts the annotation on the torus, N2 takes the annotation of another image, N4 permutes sizes
within an image, N5 replaces the branches by pooled copies of one map. What a statistic says on
them is what it says without any scale awareness. (N3, random weights, needs the network and lives
in ``gsto_viz.nulls``.) Every draw comes from a stream of its own, fixed by a seed and the name of
the image, so results depend neither on the order of images nor on how they are split.
"""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.activity import FloatMap, grid_shape, matched_pool
from gsto_viz.errors import GstoVizError
from gsto_viz.stats.tables import KEY

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    RegionsT = TypeVar("RegionsT", bound=DataclassInstance)
else:
    RegionsT = TypeVar("RegionsT")

SIZE_NAMES = (
    "area_px",
    "size_octave",
    "inscribed_octave",
    "equivalent_diameter_px",
    "coco_bin",
)
"""Columns of the region table that say how large a region is; N4 moves them together."""


def stream(*parts: Hashable) -> np.random.Generator:
    """Return a random stream fixed by ``parts`` (seed, image, draw...), never by Python's hash."""
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def toroidal_shift(
    shape: tuple[int, int], minimum_px: int, *, image: str, seed: int = 0, draw: int = 0
) -> tuple[int, int]:
    """Draw the shift of N1 for one image, evenly among those that are long enough.

    Args:
        shape: (H, W) of the labels.
        minimum_px: Smallest length of the shift on the torus: the coarsest stride.
        image: Name of the image.
        seed: Of the null model.
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


def shift_regions(regions: RegionsT, shift: tuple[int, int]) -> RegionsT:
    """Shift the regions of an image on the torus without cutting them anew (N1).

    Every region keeps its number, class, sizes, part and border flag, also where the image border
    now runs through it; its pixels, its core and its band move together. Shift the labels by
    :func:`shift_map` as well: valid cells follow them. The maps stay.

    Args:
        regions: A ``gsto_viz.regions.RegionMap``.
        shift: (dy, dx) px.

    Returns:
        A new one. (Numbers are then no longer in raster order.)
    """
    ids, distance = vars(regions)["ids"], vars(regions)["distance_px"]
    moved = {"ids": shift_map(ids, shift), "distance_px": shift_map(distance, shift)}
    return replace(regions, **moved)


def swapped_labels(sizes: Sequence[tuple[int, int]]) -> list[int | None]:
    """Say whose labels each image takes (N2): image (i + n//2) mod n of the n of equal size.

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
        seed: Of the null model.
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
    percentiles: Sequence[FloatMap], shape: tuple[int, int], strides: Sequence[int]
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
    strides = [int(stride) for stride in strides]
    steps = [coarse / fine for fine, coarse in pairwise(strides)]
    if len(strides) != len(percentiles) or any(step not in (2, 4, 8, 16, 32) for step in steps):
        raise GstoVizError(
            f"{len(percentiles)} maps and strides {tuple(strides)} do not fit; give one stride per "
            "map, growing by powers of two"
        )
    total, known = (np.zeros(grid_shape(*shape, strides[0])) for _ in range(2))
    rows, columns = (np.arange(n) * strides[0] for n in total.shape)
    for values, stride in zip(percentiles, strides, strict=True):
        if values.shape != grid_shape(*shape, stride):
            raise GstoVizError(
                f"a map of stride {stride} has shape {values.shape}; "
                f"labels {shape} need {grid_shape(*shape, stride)}"
            )
        fine = values[np.ix_(rows // stride, columns // stride)].astype(np.float64)
        total += np.where(np.isnan(fine), 0.0, fine)
        known += ~np.isnan(fine)
    maps = [np.where(known > 0, total / np.maximum(known, 1), 0.5)]
    for step in steps:
        halvings = int(step).bit_length() - 1
        maps.append(reduce(lambda x, _: matched_pool(x), range(halvings), maps[-1]))
    return maps
