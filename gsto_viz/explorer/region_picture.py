"""A picture in which some regions stand out."""

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

DIMMED = 0.45
"""Brightness of everything else."""
OUTER, INNER = (0, 0, 0), (255, 255, 255)
"""Colours of the double line around a region: seen on any ground."""


def marked(
    image: npt.NDArray[np.uint8],
    ids: npt.NDArray[np.integer],
    numbers: Collection[int],
    scale: int = 2,
) -> npt.NDArray[np.uint8]:
    """Return an image in which the given regions keep their brightness and are outlined.

    Args:
        image: (H, W, 3).
        ids: (H, W) region numbers, 0 = none.
        numbers: Of the regions that stand out; none: the image as it is.
        scale: Every pixel becomes so many pixels a side, so that lines are thin; at least 2.

    Returns:
        (scale H, scale W, 3). A white line lies on the region's own edge pixels, a black one on
        the pixels around it.
    """
    large = image.repeat(scale, axis=0).repeat(scale, axis=1)
    if not numbers:
        return large
    shown = np.where(np.isin(ids, list(numbers)), ids, 0)
    shown = shown.repeat(scale, axis=0).repeat(scale, axis=1)
    chosen = shown > 0
    edge = np.zeros(shown.shape, dtype=bool)
    for axis in (0, 1):
        differs = np.diff(shown, axis=axis) != 0
        first = [slice(None), slice(None)]
        second = [slice(None), slice(None)]
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        edge[tuple(first)] |= differs
        edge[tuple(second)] |= differs
    picture = np.where(chosen[..., None], large, np.round(DIMMED * large).astype(np.uint8))
    picture[edge & ~chosen] = OUTER
    picture[edge & chosen] = INNER
    return picture
