"""The panel of regions: q against size, a box to draw, the regions in it, and where they lie."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer import cached, size_cached, size_charts
from gsto_viz.explorer.page_frame import Page
from gsto_viz.explorer.pictures import Picture
from gsto_viz.explorer.region_picture import marked
from gsto_viz.explorer.safe_text import plain
from gsto_viz.explorer.shown import Shown
from gsto_viz.explorer.size_links import Place, has_region, inner_point, place_of
from gsto_viz.explorer.size_numbers import Choices, in_box, thinned
from gsto_viz.explorer.size_source import Subject
from gsto_viz.regions import PreparedRegions
from gsto_viz.report import Report

EXPLORE = Path(__file__).parent / "views" / "explore.py"
MAX_LISTED = 500
"""Regions in the list below the scatter."""


@st.fragment
def draw_regions(page: Page, subject: Subject, choices: Choices) -> None:
    """Draw the scatters and what was chosen in them; a box runs nothing but this."""
    rows = size_cached.rows_of(subject.source, choices)
    if rows.empty:
        st.markdown("No region is left with these filters.")
        return
    inside = _draw_scatters(subject, choices, rows)
    if inside is None:
        st.markdown(
            "Draw a box in a chart to list the regions in it. Boxes in both charts: the regions "
            "that lie in both."
        )
        return
    chosen = rows[inside]
    if chosen.empty:
        st.markdown("No region lies in the box.")
        return
    left, right = st.columns([3, 2], gap="medium")
    with left:
        row = _draw_list(subject, chosen)
    with right:
        if subject.shown is not None:
            _draw_picture(page, subject.shown, chosen, row)
        elif row is not None and subject.report is not None:
            _draw_region_of_analysis(page, subject, subject.report, row)


def _draw_scatters(
    subject: Subject, choices: Choices, rows: pd.DataFrame
) -> "pd.Series[bool] | None":
    """Draw one chart per network; return which regions lie in all boxes, None without a box."""
    source = subject.source
    shown = thinned(rows)
    limits = size_charts.limits_of(rows, source.letters)
    inside: pd.Series[bool] | None = None
    for position, column in enumerate(st.columns(len(source.letters))):
        letter = source.letters[position]
        with column:
            st.markdown(f"**{letter}: {plain(source.names[letter])}**")
            event = st.altair_chart(
                size_charts.scatter(shown, letter, position, limits),
                width="stretch",
                key=scatter_key(subject, choices, letter),
                on_select="rerun",
                alt=f"q of every region against its size, network {letter}",
            )
        box = _box_of(event)
        if box:
            found = in_box(rows, letter, box)
            inside = found if inside is None else inside & found
    sampled = ""
    if len(shown) < len(rows):
        sampled = (
            f" The charts draw {len(shown)} of {len(rows)} regions, evenly spaced; boxes and all "
            "statistics use every one."
        )
    st.markdown(
        "One mark per region. q: coarseness at matched resolution; where the branches are aware "
        f"of size, larger regions have a larger q.{sampled}"
    )
    return inside


def scatter_key(subject: Subject, choices: Choices, letter: str) -> str:
    """Return the key of a scatter: other regions or another size, and boxes are forgotten."""
    about = repr((subject.source.key, choices.cls, choices.size))
    return f"scatter-{letter}-{hashlib.sha256(about.encode()).hexdigest()[:12]}"


def _box_of(event: Any) -> Mapping[str, object]:
    """Return what the browser says of the box; empty without one."""
    selection = event["selection"] if isinstance(event, Mapping) else {}
    box = selection.get(size_charts.BRUSH) if isinstance(selection, Mapping) else None
    return box if isinstance(box, Mapping) else {}


def _draw_list(subject: Subject, chosen: pd.DataFrame) -> pd.Series | None:
    """Draw the list of regions; return the row that is selected, None without one."""
    letters = subject.source.letters
    table = chosen.head(MAX_LISTED).reset_index(drop=True)
    hidden = ["area_px"] if subject.shown is None else ["area_px", "image"]
    if len(letters) == 2:
        table = table.assign(difference=table[f"q_{letters[1]}"] - table[f"q_{letters[0]}"])
    q = [f"q_{letter}" for letter in letters]
    names = {"octave": "size (octaves)", "size_px": "size (px)"}
    names |= {f"q_{letter}": f"q of {letter}" for letter in letters}
    names |= {"difference": f"q of {letters[-1]} - q of {letters[0]}"}
    count = f"{len(chosen)} regions" if len(chosen) != 1 else "1 region"
    first = f"; the first {MAX_LISTED} are listed" if len(chosen) > MAX_LISTED else ""
    means = ", ".join(f"{name.removeprefix('q_')} {chosen[name].mean():+.3f}" for name in q)
    st.markdown(f"**{count} in the box{first}.** Mean q: {means}. Select a row to find the region.")
    format_of = {name: st.column_config.NumberColumn(format="%+.3f") for name in names.values()
                 if name.startswith("q ")}  # fmt: skip
    format_of[names["octave"]] = st.column_config.NumberColumn(format="%.2f")
    format_of[names["size_px"]] = st.column_config.NumberColumn(format="%.0f")
    event = st.dataframe(
        table.drop(columns=hidden).rename(columns=names),
        hide_index=True,
        width="stretch",
        height=min(320, 38 + 35 * len(table)),
        column_config=format_of,
        key="sizes-list",
        on_select="rerun",
        selection_mode="single-row",
        alt="Regions in the box: image, class, size, q of A and of B",
    )
    picked = event["selection"]["rows"]
    return table.iloc[picked[0]] if picked and picked[0] < len(table) else None


def _draw_picture(page: Page, shown: Shown, chosen: pd.DataFrame, row: pd.Series | None) -> None:
    """Outline the chosen regions, or the selected one, on the image."""
    regions = cached.regions(shown)
    numbers = set(chosen["region"].tolist()) if row is None else {int(row["region"])}
    what = f"{len(numbers)} regions in the box" if row is None else f"region {int(row['region'])}"
    st.image(
        marked(shown.sample.image, regions.regions.ids, numbers),
        alt=f"The image with {what} outlined",
        caption=f"Outlined: {what}. Regions are cut from {shown.region_source}.",
        width="stretch",
    )
    if row is not None:
        state = page.state
        query = {name: value for name, value in state.to_query("explore").items()
                 if name in ("source", "scene", "image", "upload", "a", "b")}  # fmt: skip
        _link(query, regions, int(row["region"]))


def _draw_region_of_analysis(page: Page, subject: Subject, report: Report, row: pd.Series) -> None:
    """Show where a region of an analysis lies, and link to it, or say why that cannot be done."""
    try:
        data = cached.data_set()
    except GstoVizError:
        data = None
    resized = report.manifest["size"] is not None
    place = place_of(str(row["image"]), report.data, resized, data)
    if isinstance(place, str):
        st.markdown(f"Not opened in Explore: {plain(place)}")
        return
    try:
        picture = _picture(place)
    except GstoVizError as error:
        st.error(plain(str(error)))
        return
    strides = subject.source.strides[subject.source.letters[0]]
    regions = size_cached.picture_regions(picture, strides)
    offered = {choice.key for choice in page.choices}
    names = list(subject.source.names.values())
    query = place.query()
    if offered.issuperset(names):
        query |= dict(zip("ab", (names[0], names[-1]), strict=True))
    else:
        query |= {"a": str(page.state.a), "b": str(page.state.b)}
        st.markdown(
            "The networks of this analysis are not offered here (start with --checkpoints and "
            "their folder); Explore shows A and B as chosen last."
        )
    number, area = int(row["region"]), int(row["area_px"])
    if regions is None or not has_region(regions, number, area):
        st.markdown("The region itself was not found in the image as it is shown here.")
        _link(query, None, number)
        return
    st.image(
        marked(picture.sample.image, regions.regions.ids, {number}),
        alt=f"Image {row['image']} with region {number} outlined",
        caption=f"{plain(picture.description)} Outlined: region {number}, {plain(row['class'])}.",
        width="stretch",
    )
    _link(query, regions, number)


def _picture(place: Place) -> Picture:
    if place.source == "scene":
        return cached.scene(place.scene)
    data = cached.data_set()
    assert data is not None
    assert place.image is not None
    return cached.data_image(data.name, place.image, data)


def _link(query: dict[str, str], regions: PreparedRegions | None, number: int) -> None:
    """Draw the link to Explore, with the probe in the region where that is known."""
    if regions is not None:
        point = inner_point(regions, number)
        query = query | {"pick": "region", "x": str(point.x), "y": str(point.y)}
    st.page_link(
        EXPLORE, label="Open in Explore", icon=":material/travel_explore:", query_params=query
    )
