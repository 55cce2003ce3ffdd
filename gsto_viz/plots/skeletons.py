"""Skeletons of persons over their image: painted into its pixels, or drawn on axes.

Each half of a limb has the colour of the joint that it ends in, so that left and right are told
apart. Joints whose third value (visibility of an annotation, peak of a heat map) is not above
``least`` are left out, with their limbs.
"""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from gsto_viz.errors import GstoVizError
from gsto_viz.joints import Joints
from gsto_viz.types import FloatArray

LINE, DOT = 1.1, 1.8
"""Width of a limb and diameter of a joint, points."""
EDGE = 0.8
"""What the dark edge adds to both."""
DARK = (0, 0, 0)
SHIFT = 4
"""Binary digits of a pixel to which limbs are painted."""
SIDE_PER_PIXEL = 160
"""The shorter side of an image whose painted limbs are one pixel wide."""


def limb_halves(
    skeletons: npt.NDArray[np.floating], joints: Joints, least: float = 0.0
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Return the limbs of persons, two pieces each.

    Args:
        skeletons: (P, J, 3): x and y in pixels, whole numbers are their centres; and how sure.
        joints: Which joints there are.
        least: Joints that are not surer are left out.

    Returns:
        Pieces (K, 2, 2), from the joint to the middle of the limb, and the joint of each, (K,).

    Raises:
        GstoVizError: The skeletons have another number of joints.
    """
    if skeletons.ndim != 3 or skeletons.shape[1:] != (len(joints), 3):
        raise GstoVizError(
            f"skeletons of {len(joints)} joints are (P, {len(joints)}, 3), not {skeletons.shape}; "
            "pass those of this network"
        )
    limbs = np.array(joints.limbs, dtype=np.int64).reshape(-1, 2)
    sure = skeletons[..., 2] > least
    person, limb = np.nonzero(sure[:, limbs].all(axis=-1))
    ends = skeletons[person[:, None], limbs[limb], :2].astype(np.float64)
    middle = np.broadcast_to(ends.mean(axis=1, keepdims=True), ends.shape)
    return np.stack((ends, middle), axis=2).reshape(-1, 2, 2), limbs[limb].ravel()


def paint_skeletons(
    image: npt.NDArray[np.uint8],
    skeletons: npt.NDArray[np.floating],
    joints: Joints,
    least: float = 0.0,
) -> npt.NDArray[np.uint8]:
    """Return a copy of an image (H, W, 3) with skeletons in its pixels; see ``limb_halves``."""
    painted = np.ascontiguousarray(image).copy()
    thick = max(1, round(min(image.shape[:2]) / SIDE_PER_PIXEL))
    pieces, ends = limb_halves(skeletons, joints, least)
    colors = [one.color for one in joints.classes.classes]
    for extra, shade in ((2, None), (0, colors)):
        for (start, end), joint in zip(_fixed(pieces), ends, strict=True):
            color = DARK if shade is None else shade[joint]
            cv2.line(painted, start, end, color, thick + extra, cv2.LINE_AA, SHIFT)
    for (x, y), joint in _dots(skeletons, least):
        at = _fixed(np.array((x, y)))
        for radius, color in ((thick + 1, DARK), (thick, colors[joint])):
            cv2.circle(painted, at, radius << SHIFT, color, cv2.FILLED, cv2.LINE_AA, SHIFT)
    return painted


def draw_skeletons(
    skeletons: npt.NDArray[np.floating], joints: Joints, *, ax: Axes, least: float = 0.0
) -> Axes:
    """Draw skeletons on axes in the coordinates of an image; see ``limb_halves``."""
    pieces, ends = limb_halves(skeletons, joints, least)
    colors = joints.classes.colors / 255
    for points, shade in ((LINE + EDGE, "black"), (LINE, colors[ends])):
        lines = LineCollection(list(pieces + 0.5), colors=shade, linewidths=points, zorder=3)
        ax.add_collection(lines, autolim=False)
    dots = list(_dots(skeletons, least))
    if dots:
        places = np.array([place for place, _ in dots]) + 0.5
        ax.scatter(
            places[:, 0],
            places[:, 1],
            s=DOT**2,
            c=colors[[joint for _, joint in dots]],
            edgecolors="black",
            linewidths=EDGE / 2,
            zorder=4,
        )
    return ax


def _dots(
    skeletons: npt.NDArray[np.floating], least: float
) -> Iterator[tuple[tuple[float, float], int]]:
    """Yield x and y of each sure joint, and which it is."""
    for person, joint in zip(*np.nonzero(skeletons[..., 2] > least), strict=True):
        x, y = skeletons[person, joint, :2]
        yield (float(x), float(y)), int(joint)


def _fixed(points: FloatArray) -> list[Any]:
    """Return points in fixed-point numbers, as OpenCV takes them."""
    fixed: list[Any] = np.rint(points * (1 << SHIFT)).astype(int).tolist()
    return fixed
