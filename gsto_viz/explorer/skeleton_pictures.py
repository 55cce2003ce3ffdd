"""Skeletons over an image: what networks for pose show in place of predicted classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from gsto_viz.activity import grid_stride
from gsto_viz.data.people import mask_box
from gsto_viz.evaluate.pose import SURE_PEAK, person_boxes, skeletons
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.joints import Joints, joints_named
from gsto_viz.look import Look
from gsto_viz.plots import Panel
from gsto_viz.plots.skeletons import draw_skeletons, paint_skeletons
from gsto_viz.regions import PreparedRegions
from gsto_viz.types import CROWD, FloatArray, Sample


@dataclass(frozen=True, eq=False)
class SkeletonPicture:
    """An image with the skeletons of its persons.

    Attributes:
        key: Of its tile.
        title: Shown above it.
        image: (H, W, 3) uint8.
        skeletons: (P, J, 3): x and y in pixels, and how sure.
        joints: Which they are.
        least: Joints that are not surer are left out.
    """

    key: str
    title: str
    image: npt.NDArray[np.uint8]
    skeletons: FloatArray
    joints: Joints
    least: float

    def pixels(self) -> npt.NDArray[np.uint8]:
        """Return the image with the skeletons painted into it, (H, W, 3)."""
        return paint_skeletons(self.image, self.skeletons, self.joints, self.least)

    def panel(self) -> Panel:
        """Return the image with the skeletons drawn on it, for figures."""
        return Panel(self.title, pixels=self.image, over=self._draw)

    def _draw(self, ax: Axes) -> None:
        draw_skeletons(self.skeletons, self.joints, ax=ax, least=self.least)


def skeleton_pictures(
    shown: Shown,
    *letters: str,
    looks: Mapping[str, Look] | None = None,
    annotated: bool = True,
    note: str = "",
) -> list[SkeletonPicture]:
    """Return the annotated skeletons, if there are any, and those of networks for pose.

    Args:
        letters: Of the networks; none: both.
        looks: By letter, what they show; None: as they are.
        annotated: Whether the annotation comes first.
        note: Behind the titles of the networks.

    Returns:
        Nothing where the networks are not for pose, or nobody knows the limbs of their joints.
    """
    joints = joints_named(shown.classes) if shown.pose else None
    if joints is None:
        return []
    make = partial(SkeletonPicture, image=shown.sample.image, joints=joints)
    people = [one.joints for one in shown.sample.people or () if one.instance != CROWD]
    found = []
    if annotated and people:
        places = np.stack(people).astype(np.float64)
        found.append(make("annotated", "Annotated skeletons", skeletons=places, least=0.0))
    for letter in letters or LETTERS:
        seen = (looks or shown.inspections)[letter]
        read = read_skeletons(seen, shown.sample)
        title = f"Skeletons {letter}{note}"
        found.append(make(f"skeletons{letter}", title, skeletons=read, least=SURE_PEAK))
    return found


BoxPx = tuple[float, float, float, float]
"""x and y of the top left corner, width and height."""


def person_box(shown: Shown, regions: PreparedRegions, number: int) -> BoxPx:
    """Return the box of the person that a region is; without such a person, of the region."""
    instance = int(regions.regions.instance_id[number - 1])
    for one in shown.sample.people or ():
        if instance > 0 and one.instance == instance:
            return one.box
    return mask_box(regions.regions.ids == number)


def scores_of(seen: Look) -> npt.NDArray[np.float32]:
    """Return the heat maps of a network that was looked at with logits, (J, h, w)."""
    assert seen.logits is not None
    return seen.logits.astype(np.float32)


def read_skeletons(seen: Look, sample: Sample) -> FloatArray:
    """Return where each joint peaks within the box of each person, (P, J, 3); see ``skeletons``."""
    maps = scores_of(seen)
    stride = grid_stride(sample.image.shape[:2], maps.shape[1:])
    assert stride is not None
    return skeletons(maps, person_boxes(sample), stride)
