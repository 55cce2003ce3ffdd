"""Images of the page "Sizes" as the page "Explore" can open them, and the link to a region."""

from dataclasses import dataclass, field
from pathlib import Path

import streamlit as st

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer import cached, size_cached
from gsto_viz.explorer.page_frame import Page
from gsto_viz.explorer.pictures import Picture
from gsto_viz.explorer.shown import Shown
from gsto_viz.explorer.size_links import Place, has_region, inner_point, place_of
from gsto_viz.explorer.size_source import SizeSource, Subject
from gsto_viz.regions import PreparedRegions
from gsto_viz.report import Report
from gsto_viz.types import WorstPair

EXPLORE = Path(__file__).parent / "views" / "explore.py"
OTHER_NETWORKS = (
    "The networks of this analysis are not offered here (start with --checkpoints and their "
    "folder); Explore shows A and B as chosen last."
)


@dataclass(frozen=True, eq=False)
class Opened:
    """An image that "Explore" can show.

    Attributes:
        picture: The image.
        regions: Of that image; None without labels.
        query: What a link to it holds.
        same_networks: The link shows the networks that the page is about.
    """

    picture: Picture
    regions: PreparedRegions | None = field(repr=False)
    query: dict[str, str]
    same_networks: bool = True

    def holds(self, number: int, area_px: int) -> bool:
        """Return whether a region is there: whether it is the same image."""
        return self.regions is not None and has_region(self.regions, number, area_px)


def open_shown(page: Page, shown: Shown) -> Opened:
    """Open the image that the page is about."""
    names = ("source", "scene", "image", "upload", "a", "b")
    query = {k: v for k, v in page.state.to_query("explore").items() if k in names}
    return Opened(shown.picture, cached.regions(shown), query)


def open_analysed(page: Page, source: SizeSource, report: Report, image: str) -> Opened | str:
    """Open an image of an analysis.

    Returns:
        The image, or one sentence that says why it cannot be shown.

    Raises:
        GstoVizError: It cannot be read.
    """
    try:
        data = cached.data_set()
    except GstoVizError:
        data = None
    place = place_of(image, report.data, report.manifest["size"] is not None, data)
    if isinstance(place, str):
        return place
    picture = _picture(place)
    regions = size_cached.picture_regions(picture, source.strides[source.letters[0]])
    names = list(source.names.values())
    same = {choice.key for choice in page.choices}.issuperset(names)
    chosen = (names[0], names[-1]) if same else (str(page.state.a), str(page.state.b))
    query = place.query() | dict(zip("ab", chosen, strict=True))
    return Opened(picture, regions, query, same)


def open_pair(page: Page, subject: Subject, pair: WorstPair) -> Opened | None:
    """Open the image of a pair; None: it cannot be shown, or has changed since."""
    if subject.shown is not None:
        return open_shown(page, subject.shown)
    assert subject.report is not None
    try:
        opened = open_analysed(page, subject.source, subject.report, pair.image)
    except GstoVizError:
        # Nothing is offered that would fail; the picture of the pair is there all the same.
        return None
    return None if isinstance(opened, str) else opened


def draw_link(opened: Opened, number: int, area_px: int) -> None:
    """Draw the link to Explore, with the probe in the region where that is found."""
    query = opened.query
    if opened.holds(number, area_px):
        assert opened.regions is not None
        point = inner_point(opened.regions, number)
        query = query | {"pick": "region", "x": str(point.x), "y": str(point.y)}
    st.page_link(
        EXPLORE, label="Open in Explore", icon=":material/travel_explore:", query_params=query
    )


def _picture(place: Place) -> Picture:
    if place.source == "scene":
        return cached.scene(place.scene)
    data = cached.data_set()
    assert data is not None
    assert place.image is not None
    return cached.data_image(data.name, place.image, data)
