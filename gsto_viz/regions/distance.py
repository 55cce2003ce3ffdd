"""How far each pixel is from the nearest pixel outside its own region, exactly and quickly.

The outside pixel q nearest to a pixel p of region x touches x: one step from q towards p gives a
pixel closer to p, which is then inside x. So q lies within the bounding box of x grown by one
pixel, and one distance transform of that box is exact. Boxes of large or scattered regions overlap
too much for that; these regions are coloured so that no two that touch (8-neighbours) share a
colour, and one transform runs per colour. That is exact too: q has another colour than x and is
seen by the transform of x's colour; regions of the same colour hide only pixels farther away.
"""

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, find_objects

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
