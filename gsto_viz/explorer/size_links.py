"""From a region of an analysis to the same region on the page "Explore", where that is possible."""

import re
from dataclasses import dataclass

import numpy as np

from gsto_viz.explorer.pictures import Picture
from gsto_viz.explorer.probe import Point
from gsto_viz.explorer.view_state import MAX_SCENE
from gsto_viz.regions import PreparedRegions, prepare_regions
from gsto_viz.types import IGNORE, Dataset, Stride

_SCENE = re.compile(r"scene-1000000-([0-9]{5,})")
_SCENES_SPEC = re.compile(r"scenes:count=[0-9]+,seed=(?:0|1000000),size=256x512")


@dataclass(frozen=True)
class Place:
    """An image that "Explore" can show.

    Attributes:
        source: ``scene`` or ``data``.
        scene: Number of the scene.
        image: Id in the data set.
    """

    source: str
    scene: int = 0
    image: str | None = None

    def query(self) -> dict[str, str]:
        """Return what a link to it holds."""
        if self.source == "scene":
            return {"source": "scene", "scene": str(self.scene)}
        return {"source": "data", "image": str(self.image)}


def place_of(image: str, spec: str, resized: bool, data: Dataset | None) -> Place | str:
    """Find an image of an analysis among those that "Explore" can show.

    Args:
        image: Its id.
        spec: SPEC of the data of the analysis.
        resized: The analysis was made at another size (``--size``).
        data: The data set given at the start, or None.

    Returns:
        Where it is, or one sentence that says why it cannot be shown.
    """
    if resized:
        return "This analysis was made at another image size (--size), which Explore does not show."
    if data is not None and data.name == spec and image in data.ids:
        return Place("data", image=image)
    if spec.startswith("scenes:"):
        return _scene_place(image, spec)
    if data is not None and data.name.partition(":")[0] == spec.partition(":")[0]:
        # The same data may lie elsewhere now; ids are unique within a data set.
        if image in data.ids:
            return Place("data", image=image)
        return "The data set given by --data does not have this image (another split?)."
    kind = spec.partition(":")[0]
    return f"Open the explorer with --data {kind}:PATH[:SPLIT] to see the images of this analysis."


def _scene_place(image: str, spec: str) -> Place | str:
    found = _SCENE.fullmatch(image)
    if found is None or _SCENES_SPEC.fullmatch(spec) is None:
        return (
            "Explore shows ordinary scenes of seed 0 at 256x512, these are others; open the "
            "explorer with --data and the SPEC of this analysis to see them."
        )
    number = int(found[1])
    if number > MAX_SCENE:
        return f"Explore shows the scenes 0 to {MAX_SCENE}."
    return Place("scene", scene=number)


def regions_of(picture: Picture, strides: tuple[Stride, ...]) -> PreparedRegions | None:
    """Cut a labelled picture into regions as an analysis does; None without labels."""
    sample = picture.sample
    if sample.labels is None:
        return None
    return prepare_regions(sample.labels, strides, sample.instances, IGNORE)


def inner_point(regions: PreparedRegions, number: int) -> Point:
    """Return the pixel of a region that lies deepest inside."""
    found = regions.regions
    depth = np.where(found.ids == number, found.distance_px, -1.0)
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return Point(int(column), int(row))


def has_region(regions: PreparedRegions, number: int, area_px: int) -> bool:
    """Return whether a region of this number and area is there: whether it is the same image."""
    areas = regions.regions.area_px
    return 1 <= number <= len(areas) and int(areas[number - 1]) == area_px
