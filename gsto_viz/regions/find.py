"""Cut a label map (and an instance map) into regions and measure them.

Region, sizes, band, core and part follow one set of rules: an instance is one region, whatever its
parts; without instances, a region is an 8-connected component of one class, and one of a crowd does
not qualify, because its size is that of no object; the band is the strip
within 8 px of the nearest pixel outside, the core is the rest.

The outside pixel q nearest to a pixel p of region x touches x: one step from q towards p gives a
pixel closer to p, which is then inside x. So q lies within the bounding box of x grown by one
pixel, and one distance transform of that box is exact. Boxes of large or scattered regions overlap
too much for that; these regions are coloured so that no two that touch (8-neighbours) share a
colour, and one transform runs per colour. That is exact too: q has another colour than x and is
seen by the transform of x's colour; regions of the same colour hide only pixels farther away.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, find_objects
from skimage.measure import label

from gsto_viz.errors import GstoVizError
from gsto_viz.types import BAND_PX, CROWD, IGNORE

EXACT_FLOAT32_PX = 1024.0
"""Up to here d^2 is so small that rounding a float32 d^2 gives the true integer."""
BOXED_IMAGES = 6
"""Boxes are transformed one by one as long as they are together at most so many images large."""
BOX_OVERHEAD_PX = 3000
"""What one more transform costs, as pixels of a larger one."""

Box = tuple[slice, slice]


def touching_pairs(ids: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """List the pairs of regions that are 8-neighbours somewhere.

    Args:
        ids: (H, W) region numbers, 0 = none.

    Returns:
        (P, 2) region numbers, smaller one first, each pair once, 0 never.
    """
    base = int(np.max(ids, initial=0)) + 1
    keys = []
    shifted = (
        (ids[:, :-1], ids[:, 1:]),
        (ids[:-1], ids[1:]),
        (ids[:-1, :-1], ids[1:, 1:]),
        (ids[:-1, 1:], ids[1:, :-1]),
    )
    for one, other in shifted:
        edge = one != other
        a, b = one[edge].astype(np.int64), other[edge].astype(np.int64)
        low, high = np.minimum(a, b), np.maximum(a, b)
        keys.append(np.unique((low * base + high)[low > 0]))
    return np.stack(np.divmod(np.unique(np.concatenate(keys)), base), axis=1)


def color_regions(ids: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Give regions colours 1, 2, ... so that touching regions differ (greedy, most crowded first).

    Args:
        ids: (H, W) region numbers 0 = none, 1..K.

    Returns:
        (K + 1,) colour of each region number; 0 for number 0.
    """
    count = int(np.max(ids, initial=0))
    neighbours: list[list[int]] = [[] for _ in range(count + 1)]
    for a, b in touching_pairs(ids).tolist():
        neighbours[a].append(b)
        neighbours[b].append(a)
    colors = [0] * (count + 1)
    for region in sorted(range(1, count + 1), key=lambda k: (-len(neighbours[k]), k)):
        taken = {colors[other] for other in neighbours[region]}
        colors[region] = next(color for color in range(1, len(taken) + 2) if color not in taken)
    return np.array(colors, dtype=np.int64)


def region_distance(ids: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Measure each pixel's distance to the nearest pixel outside its region.

    The distance is Euclidean, from pixel centre to pixel centre: 1 at the edge of a region. Pixels
    of no region (number 0) are outside every region. The image border does not bound it, so a
    region that covers the whole image has distance infinity.

    Args:
        ids: (H, W) region numbers 0 = none, 1..K.

    Returns:
        (H, W) float64, pixels; 0 where ``ids`` is 0.
    """
    ids = np.asarray(ids)
    if ids.size == 0:
        return np.zeros(ids.shape)
    if ids[0, 0] > 0 and (ids == ids[0, 0]).all():
        return np.full(ids.shape, np.inf)
    rough = np.zeros(ids.shape, dtype=np.float32)
    far = []
    for box, mask in _masks(ids):
        inside = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        # Masks do not overlap and are 0 outside.
        np.maximum(rough[box], inside, out=rough[box])
        if max(mask.shape) > EXACT_FLOAT32_PX and inside.max() >= EXACT_FLOAT32_PX:
            far.append((box, mask))
    distance = np.square(rough, dtype=np.float64)
    np.sqrt(np.rint(distance, out=distance), out=distance)
    for box, mask in far:
        distance[box][mask] = distance_transform_edt(mask)[mask]
    return distance


def _masks(ids: npt.NDArray[np.integer]) -> Iterator[tuple[Box, npt.NDArray[np.bool_]]]:
    """Yield boxes, with one region or several that do not touch in each; each region once."""
    numbers, boxes, cost = [], [], []
    for number, box in enumerate(find_objects(ids), 1):
        if box is not None:
            numbers.append(number)
            boxes.append(_grown(box))
            rows, columns = boxes[-1]
            area = (rows.stop - rows.start) * (columns.stop - columns.start)
            cost.append(BOX_OVERHEAD_PX + area)
    order = np.argsort(cost, kind="stable")
    alone = int(np.searchsorted(np.cumsum(np.take(cost, order)), BOXED_IMAGES * ids.size, "right"))
    for k in order[:alone]:
        yield boxes[k], ids[boxes[k]] == numbers[k]
    if alone == len(order):
        return
    together = np.zeros(max(numbers) + 1, dtype=ids.dtype)
    rest = np.take(numbers, order[alone:])
    together[rest] = rest
    rest_ids = together[ids]
    colors = color_regions(rest_ids)[rest_ids]
    for color in range(1, int(colors.max()) + 1):
        yield (slice(None), slice(None)), colors == color


def _grown(box: tuple[slice, ...]) -> Box:
    """Return a box with one more pixel on each side; slices end at the image on their own."""
    rows, columns = box
    return (
        slice(max(rows.start - 1, 0), rows.stop + 1),
        slice(max(columns.start - 1, 0), columns.stop + 1),
    )


MIN_AREA_PX = 64
"""Regions, and cores, smaller than this (four stride-4 cells) do not enter statistics."""
MAX_LOOKUP = 2**22
"""Instance numbers below this are made dense by a table, larger ones by sorting."""
COCO_SMALL_PX, COCO_MEDIUM_PX = 32**2, 96**2
"""Areas below the first are ``small``, below the second ``medium``, else ``large``."""


@dataclass(frozen=True, eq=False)
class RegionMap:
    """The regions of one image; entry k of every array below describes region k + 1.

    Regions are numbered in raster order of their first pixel. Arrays are read-only.
    """

    ids: npt.NDArray[np.int32]
    """(H, W): region number of each pixel, 1..K; 0 = none (ignored)."""
    distance_px: npt.NDArray[np.float64]
    """(H, W): distance to the nearest pixel outside the region; 1 at its edge; 0 where none."""
    class_id: npt.NDArray[np.int64]
    """(K,): class; the majority class of an instance (the smallest class among equals)."""
    instance_id: npt.NDArray[np.int64]
    """(K,): number in the instance map; 0 for connected components, -1 for those of crowds."""
    area_px: npt.NDArray[np.int64]
    """(K,): pixels."""
    size_octave: npt.NDArray[np.float64]
    """(K,): l = log2 sqrt(area), octaves of linear size."""
    max_distance_px: npt.NDArray[np.float64]
    """(K,): largest distance; infinity when the region is the whole image."""
    inscribed_octave: npt.NDArray[np.float64]
    """(K,): t = log2(2 max distance), octaves of the inscribed diameter."""
    equivalent_diameter_px: npt.NDArray[np.float64]
    """(K,): diameter of the disc of the same area."""
    coco_bin: npt.NDArray[np.str_]
    """(K,): ``small`` (below 32^2 px), ``medium`` (below 96^2) or ``large``."""
    border: npt.NDArray[np.bool_]
    """(K,): touches the image border, so its size may be cut."""
    qualifies: npt.NDArray[np.bool_]
    """(K,): has at least 64 px, and is of no crowd."""
    core_area_px: npt.NDArray[np.int64]
    """(K,): pixels with distance above 8."""
    part: npt.NDArray[np.str_]
    """(K,): ``core`` when the core has at least 64 px, else ``whole``; one choice for all maps."""

    def __post_init__(self) -> None:
        for field in fields(self):
            getattr(self, field.name).setflags(write=False)

    def __len__(self) -> int:
        return self.area_px.size

    @property
    def core(self) -> npt.NDArray[np.bool_]:
        """(H, W): pixels deeper than the band."""
        return self.distance_px > BAND_PX


def find_regions(
    labels: npt.NDArray[np.integer],
    instances: npt.NDArray[np.integer] | None = None,
    ignore: int | None = IGNORE,
) -> RegionMap:
    """Cut one image's annotation (or prediction) into regions and measure them.

    Pixels with instance number k > 0 form one region, even in several parts. All others form
    8-connected components per class; those of crowds (number -1) are apart from their class, and
    do not qualify. Ignored pixels belong to no region and bound every region.

    Args:
        labels: (H, W) class indices from 0.
        instances: (H, W) instance numbers, 0 = none, -1 = crowd; None when nothing is annotated by
            instance.
        ignore: The label of pixels that belong to no class; None when there is none.

    Returns:
        The regions, none of them when every pixel is ignored.

    Raises:
        GstoVizError: A map is not two-dimensional, not of integers, holds negative or huge
            numbers, or the two have different shapes.
    """
    classes, numbers = _checked_maps(labels, instances, ignore)
    known = np.ones(classes.shape, bool) if ignore is None else classes != ignore
    return measure_regions(_numbered(classes, numbers, known), classes, numbers)


def number_regions(
    labels: npt.NDArray[np.integer],
    instances: npt.NDArray[np.integer] | None = None,
    ignore: int | None = IGNORE,
    *,
    crowds: bool = True,
) -> npt.NDArray[np.int32]:
    """Number the regions of an image 1..K in raster order of their first pixels, (H, W), 0 = none.

    Arguments and errors are those of :func:`find_regions`, which measures them as well; without
    ``crowds`` these get no number.
    """
    classes, numbers = _checked_maps(labels, instances, ignore)
    known = np.ones(classes.shape, bool) if ignore is None else classes != ignore
    known &= crowds | (numbers != CROWD)
    return _numbered(classes, numbers, known)


def _checked_maps(
    labels: npt.NDArray[np.integer], instances: npt.NDArray[np.integer] | None, ignore: int | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return both maps as int64, or say what is wrong with them."""
    classes = checked_integers(labels, "label map", allowed=ignore)
    if instances is None:
        return classes, np.zeros(classes.shape, dtype=np.int64)
    numbers = checked_integers(instances, "instance map", allowed=CROWD)
    if numbers.shape != classes.shape:
        raise GstoVizError(
            f"label map {classes.shape} and instance map {numbers.shape} differ in shape; "
            "give two maps of one image"
        )
    return classes, numbers


def size_octaves(area_px: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return l = log2 sqrt(area), the size in octaves of linear size."""
    return np.asarray(0.5 * np.log2(area_px), dtype=np.float64)


def coco_bins(area_px: npt.NDArray[np.int64]) -> npt.NDArray[np.str_]:
    """Return ``small`` (below 32^2 px), ``medium`` (below 96^2) or ``large`` for each area."""
    smaller = np.where(area_px < COCO_SMALL_PX, "small", "medium")
    return np.where(area_px < COCO_MEDIUM_PX, smaller, "large")


def checked_integers(
    array: npt.NDArray[np.integer], name: str, allowed: int | None = None
) -> npt.NDArray[np.int64]:
    """Return a map of non-negative integers as int64, or say what is wrong with it.

    Args:
        array: What the user gave.
        name: What to call it in the message.
        allowed: One value that is accepted although it may be negative (the ignore value, crowds).
    """
    array = np.asarray(array)
    if array.ndim != 2:
        raise GstoVizError(f"the {name} has shape {array.shape}; give one image, (H, W)")
    if not np.issubdtype(array.dtype, np.integer):
        raise GstoVizError(f"the {name} has dtype {array.dtype}; give integers, not colours")
    if not np.can_cast(array.dtype, np.uint16):
        others = array if allowed is None else array[array != allowed]
        low, high = int(others.min(initial=0)), int(others.max(initial=0))
        if low < 0 or high > np.iinfo(np.int32).max:
            wrong = low if low < 0 else high
            raise GstoVizError(f"the {name} holds {wrong}; values must lie in 0..2147483647")
    return array.astype(np.int64)


def _numbered(
    labels: npt.NDArray[np.int64], instances: npt.NDArray[np.int64], known: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int32]:
    """Number instances and components 1..K in raster order of their first pixels, (H, W)."""
    if not known.any():
        return np.zeros(labels.shape, dtype=np.int32)
    values = np.where(known, labels + 1, 0)
    thing = known & (instances > 0)
    values[thing] = 0
    crowd = known & (instances < 0)
    if crowd.any():
        values[crowd] += values.max()
    raw = label(values, background=0, connectivity=2).astype(np.int32)
    if thing.any():
        raw[thing] = raw.max() + 1 + _dense(instances[thing])
    first = _first_pixels(raw)
    if (np.diff(first) > 0).all():
        return raw
    renumber = np.zeros(first.size + 1, dtype=np.int32)
    renumber[1 + np.argsort(first)] = np.arange(1, first.size + 1)
    return renumber[raw]


def _dense(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Replace numbers by 0, 1, 2, ... in their order, (N,)."""
    if values.max(initial=0) >= MAX_LOOKUP:
        return np.unique(values, return_inverse=True)[1]
    there = np.zeros(int(values.max(initial=0)) + 1, dtype=np.int64)
    there[values] = 1
    return (np.cumsum(there) - 1)[values]


def _runs(flat: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the starts and the lengths of the runs of equal values of an array, (N,)."""
    if flat.size == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    starts = np.concatenate([[0], 1 + np.flatnonzero(flat[1:] != flat[:-1])])
    return starts, np.diff(starts, append=flat.size)


def _first_pixels(ids: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Return the flat index of the first pixel of each number 1..K, (K,)."""
    flat = ids.ravel()
    starts = _runs(flat)[0]
    first = np.zeros(int(ids.max(initial=0)) + 1, dtype=np.int64)
    # Of repeated indices the last assignment stays: in reverse order, each number's first run.
    first[flat[starts[::-1]]] = starts[::-1]
    return first[1:]


def _majority_class(
    ids: npt.NDArray[np.int32], labels: npt.NDArray[np.int64], known: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Return the most frequent class of each region (the smallest among equals), (K,).

    Args:
        ids: (H, W) region numbers.
        labels: (H, W) classes.
        known: (H, W), pixels of the regions that may have several classes.
    """
    class_id = labels.ravel()[_first_pixels(ids)]
    inside, base = ids[known].astype(np.int64), int(labels[known].max(initial=0)) + 1
    pairs, count = np.unique(inside * base + labels[known], return_counts=True)
    region, winner = np.divmod(pairs, base)
    # Sorted by region, then most pixels, then smallest class: the first row of each region wins.
    order = np.lexsort((winner, -count, region))
    numbers, first = np.unique(region[order], return_index=True)
    class_id[numbers - 1] = winner[order][first]
    return class_id


def measure_regions(
    ids: npt.NDArray[np.int32], labels: npt.NDArray[np.int64], instances: npt.NDArray[np.int64]
) -> RegionMap:
    """Measure regions that are numbered already.

    Args:
        ids: (H, W) region numbers 1..K, each there; 0 = none.
        labels: (H, W) class of each pixel.
        instances: (H, W) instance number of each pixel, 0 = none, -1 = crowd.
    """
    count = int(ids.max(initial=0))
    distance = region_distance(ids)
    code = (2 * ids + (distance > BAND_PX)).ravel()
    starts, lengths = _runs(code)
    pixels = np.bincount(code[starts], lengths, minlength=2 * count + 2).astype(np.int64)
    core_area = pixels[3::2]
    area = pixels[2::2] + core_area
    deepest = np.zeros(count + 1)
    np.maximum.at(deepest, ids.ravel(), distance.ravel())
    number = instances.ravel()[_first_pixels(ids)]
    edge = np.zeros(count + 1, dtype=bool)
    for side in (ids[:1], ids[-1:], ids[:, :1], ids[:, -1:]):
        edge[side.ravel()] = True
    return RegionMap(
        ids=ids,
        distance_px=distance,
        class_id=_majority_class(ids, labels, (ids > 0) & (instances > 0)),
        instance_id=number,
        area_px=area,
        size_octave=size_octaves(area),
        max_distance_px=deepest[1:],
        inscribed_octave=np.log2(2.0 * deepest[1:]),
        equivalent_diameter_px=np.sqrt(4.0 * area / np.pi),
        coco_bin=coco_bins(area),
        border=edge[1:],
        qualifies=(area >= MIN_AREA_PX) & (number != CROWD),
        core_area_px=core_area,
        part=np.where(core_area >= MIN_AREA_PX, "core", "whole"),
    )
