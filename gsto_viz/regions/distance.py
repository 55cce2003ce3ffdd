"""How far each pixel is from the nearest pixel outside its own region, exactly and quickly.

One distance transform per region would cost regions x pixels. Instead, regions are coloured so
that no two that touch (8-neighbours) share a colour, and one transform runs per colour: four to
eight in practice, however many regions there are. This is exact. The outside pixel q nearest to a
pixel p of region x touches x: one step from q towards p gives a pixel closer to p, which is then
inside x. So q belongs to a region that touches x, has another colour, and is seen by the transform
of x's colour; regions of the same colour hide only pixels that are farther away.
"""

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

EXACT_FLOAT32_PX = 1024.0
"""Up to here d^2 is so small that rounding a float32 d^2 gives the true integer."""


def touching_pairs(ids: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """List the pairs of regions that are 8-neighbours somewhere.

    Args:
        ids: (H, W) region numbers, 0 = none.

    Returns:
        (P, 2) region numbers, smaller one first, each pair once, 0 never.
    """
    ids = np.asarray(ids, dtype=np.int64)
    base = int(ids.max(initial=0)) + 1
    keys = []
    shifted = (
        (ids[:, :-1], ids[:, 1:]),
        (ids[:-1], ids[1:]),
        (ids[:-1, :-1], ids[1:, 1:]),
        (ids[:-1, 1:], ids[1:, :-1]),
    )
    for one, other in shifted:
        edge = (one != other) & (one > 0) & (other > 0)
        a, b = one[edge], other[edge]
        keys.append(np.unique(np.minimum(a, b) * base + np.maximum(a, b)))
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
    distance = np.zeros(ids.shape)
    if ids.size == 0:
        return distance
    if ids[0, 0] > 0 and (ids == ids[0, 0]).all():
        return np.full(ids.shape, np.inf)
    colors = color_regions(ids)[ids]
    for color in range(1, int(colors.max()) + 1):
        mask = colors == color
        distance[mask] = _distance_inside(mask)[mask]
    return distance


def _distance_inside(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return the exact distance of each pixel to the nearest False pixel (there is one)."""
    coarse = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    if coarse.max() >= EXACT_FLOAT32_PX:
        return np.asarray(distance_transform_edt(mask), dtype=np.float64)
    return np.sqrt(np.rint(np.square(coarse, dtype=np.float64)))
