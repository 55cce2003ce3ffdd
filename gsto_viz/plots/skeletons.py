"""Skeletons of persons over their image: painted into its pixels, drawn on axes, side by side.

Each half of a limb has the colour of the joint that it ends in, so that left and right are told
apart. Joints whose third value (visibility of an annotation, peak of a heat map) is not above
``least`` are left out, with their limbs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from gsto_viz.errors import GstoVizError
from gsto_viz.joints import SURE_PEAK, Joints
from gsto_viz.look import Look
from gsto_viz.plots.page import SMALL, WIDTH, context, shorten, title_of
from gsto_viz.plots.wall import Panel, PanelRow, Wall
from gsto_viz.types import FloatArray, Sample
from gsto_viz.words import counted, listed

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


NO_ANSWER = "no prediction of these classes"
SKELETONS_SAID = (
    "Skeletons: each joint where its heat map peaks within the box of an annotated person, if the "
    f"peak is above {SURE_PEAK:g}; green left, orange right."
)


def answer_panel(
    title: str, look: Look, image: npt.NDArray[np.uint8], name: str = ""
) -> Panel | str:
    """Return what a network says of an image: its classes, or the skeletons that it reads.

    Args:
        title: Above it.
        look: What the network shows.
        image: (H, W, 3) uint8.
        name: What its axes are called; empty: as its title.

    Returns:
        A panel; words where the network predicts nothing that could be drawn.
    """
    if look.joints is not None and look.skeletons is not None:
        over = _drawing(look.skeletons, look.joints, SURE_PEAK)
        return Panel(title, pixels=image, name=name, over=over)
    return Panel(title, labels=look.prediction, name=name) if look.predicts else NO_ANSWER


def _drawing(
    skeletons: npt.NDArray[np.floating], joints: Joints, least: float
) -> Callable[[Axes], None]:
    def draw(ax: Axes) -> None:
        draw_skeletons(skeletons, joints, ax=ax, least=least)

    return draw


Row = tuple[Sample, Mapping[str, Look]]
"""An image and what networks for pose show for it, by key."""
MAX_ROWS = 10
HEIGHT = 1.9
"""Largest height of a panel, inches."""


def skeletons_data(rows: Sequence[Row]) -> pd.DataFrame:
    """Return the joints of ``figure_skeletons`` as a table, those too low to be drawn among them.

    Returns:
        ``image``, ``model``, ``person`` (from 0), ``joint`` (name), ``x``, ``y`` (px), ``peak``.

    Raises:
        GstoVizError: No network is for pose.
    """
    parts = []
    for sample, shown in rows:
        for key, look in shown.items():
            if look.skeletons is None or look.joints is None:
                continue
            person, joint = (index.ravel() for index in np.indices(look.skeletons.shape[:2]))
            names = np.array(look.joints.classes.names, dtype=object)[joint]
            x, y, peak = look.skeletons.reshape(-1, 3).T
            columns = {"person": person, "joint": names, "x": x, "y": y, "peak": peak}
            parts.append(pd.DataFrame({"image": sample.id, "model": key, **columns}))
    if not parts:
        raise GstoVizError("no network is for pose")
    return pd.concat(parts, ignore_index=True)


@context()
def figure_skeletons(
    rows: Sequence[Row], *, names: Mapping[str, str] | None = None, width: float = WIDTH
) -> Figure:
    """Draw one row per image: annotated skeletons, and those that networks read.

    Args:
        rows: Up to ten images, each with the looks of the same networks for pose.
        names: By network, the checkpoint's name for the caption.
        width: Inches.

    Raises:
        GstoVizError: No image or too many, or no network for pose.
    """
    if not 1 <= len(rows) <= MAX_ROWS:
        raise GstoVizError(f"{len(rows)} images do not fit one page; give 1 to {MAX_ROWS}")
    keys = list(rows[0][1])
    data = skeletons_data(rows)
    wall = Wall(rows[0][0].image.shape[:2], width=width)
    for k, (sample, shown) in enumerate(rows):
        panels = [_annotated(sample, shown, titled=k == 0)]
        for key, look in shown.items():
            title = key if k == 0 else ""
            panels.append(answer_panel(title, look, sample.image, f"{sample.id} {key}"))
        size = sample.image.shape[:2]
        wall.rows([PanelRow(sample.id, panels, size=size, height=HEIGHT, plain=True)])
    who = "; ".join(shorten(title_of(key, names), 3.0, SMALL) for key in keys)
    drawn = data[data["peak"] > SURE_PEAK]
    parts = []
    for sample, _ in rows:
        for key in keys:
            here = (drawn["image"] == sample.id) & (drawn["model"] == key)
            parts.append(f"{sample.id}, {key}: {counted(int(here.sum()), 'joint')}")
    alt = f"Annotated skeletons and those of {listed(keys)}. {'; '.join(parts)}."
    return wall.finish(f"{who}. {SKELETONS_SAID}", alt)


def _annotated(sample: Sample, shown: Mapping[str, Look], *, titled: bool) -> Panel | str:
    """Return the image with its annotated skeletons, if there are any."""
    joints = next(iter(shown.values())).joints
    name, people = f"{sample.id} annotation", sample.people
    if joints is None or not people:
        return Panel("input" if titled else "", pixels=sample.image, name=name)
    drawn = _drawing(np.stack([one.joints for one in people]).astype(np.float64), joints, 0.0)
    return Panel("annotation" if titled else "", pixels=sample.image, name=name, over=drawn)
