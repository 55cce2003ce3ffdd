"""Skeletons over an image: what networks for pose show in place of predicted classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from gsto_viz.data.people import Box, mask_box
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.joints import SURE_PEAK, Joints
from gsto_viz.look import Look
from gsto_viz.plots import Panel
from gsto_viz.plots.skeletons import SKELETONS_SAID, draw_skeletons, paint_skeletons
from gsto_viz.regions import PreparedRegions
from gsto_viz.types import CROWD, FloatArray


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
    least: float = SURE_PEAK

    def pixels(self) -> npt.NDArray[np.uint8]:
        """Return the image with the skeletons painted into it, (H, W, 3)."""
        return paint_skeletons(self.image, self.skeletons, self.joints, self.least)

    def panel(self) -> Panel:
        """Return the image with the skeletons drawn on it, for figures."""
        return Panel(self.title, pixels=self.image, over=self._draw)

    def _draw(self, ax: Axes) -> None:
        draw_skeletons(self.skeletons, self.joints, ax=ax, least=self.least)


def skeleton_pictures(shown: Shown, letters: Sequence[str] = LETTERS) -> list[SkeletonPicture]:
    """Return the annotated skeletons, if there are any, and those of networks for pose.

    Args:
        letters: Of the networks.

    Returns:
        Nothing where the networks are not for pose, or nobody knows the limbs of their joints.
    """
    joints, image = shown.inspections[letters[0]].joints, shown.sample.image
    people = [one.joints for one in shown.sample.people or () if one.instance != CROWD]
    found = []
    if joints is not None and people:
        places = np.stack(people).astype(np.float64)
        annotated = "annotated", "Annotated skeletons"
        found.append(SkeletonPicture(*annotated, image, places, joints, least=0.0))
    for letter in letters:
        key, title = f"skeletons{letter}", f"Skeletons {letter}"
        found += look_picture(shown.inspections[letter], image, key, title)
    return found


def look_picture(
    seen: Look, image: npt.NDArray[np.uint8], key: str, title: str
) -> list[SkeletonPicture]:
    """Return the picture of the skeletons that a network shows; none where it shows none."""
    if seen.joints is None or seen.skeletons is None:
        return []
    return [SkeletonPicture(key, title, image, seen.skeletons, seen.joints)]


def skeletons_in_words(shown: Shown) -> str:
    """Describe how skeletons are read, a sentence behind others; empty without any."""
    return f" {SKELETONS_SAID}" if shown.inspections["A"].skeletons is not None else ""


def person_box(shown: Shown, regions: PreparedRegions, number: int) -> Box:
    """Return the box of the person that a region is; without such a person, of the region."""
    instance = int(regions.regions.instance_id[number - 1])
    for one in shown.sample.people or ():
        if instance > 0 and one.instance == instance:
            return one.box
    return mask_box(regions.regions.ids == number)
