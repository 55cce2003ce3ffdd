"""The panel of regions: q against size, a box to draw, the regions in it, and where they lie."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer import cached, size_cached, size_charts
from gsto_viz.explorer.page_frame import Page
from gsto_viz.explorer.region_picture import marked
from gsto_viz.explorer.safe_text import plain
from gsto_viz.explorer.shown import Shown
from gsto_viz.explorer.size_numbers import Choices, ends_of, in_box, thinned
from gsto_viz.explorer.size_opened import OTHER_NETWORKS, draw_link, open_analysed, open_shown
from gsto_viz.explorer.size_source import Subject
from gsto_viz.explorer.view_texts import box_ends, written_box
from gsto_viz.report import Report

BEGUN = "sizes-boxes"
"""Key of the session state: what the scatters began with."""
MAX_LISTED = 500
"""Regions in the list below the scatter."""


@st.fragment
def draw_regions(page: Page, subject: Subject, choices: Choices) -> None:
    """Draw the scatters and what was chosen in them; a box runs nothing but this."""
    rows = size_cached.rows_of(subject.source, choices)
    if rows.empty:
        st.markdown("No region is left with these filters.")
        return
    inside = _draw_scatters(page, subject, choices, rows)
    _draw_linked()
    page.write_link()
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
    page: Page, subject: Subject, choices: Choices, rows: pd.DataFrame
) -> "pd.Series[bool] | None":
    """Draw one chart per network; return which regions lie in all boxes, None without a box."""
    source = subject.source
    shown = thinned(rows)
    limits = size_charts.limits_of(rows, source.letters)
    begun = _boxes_begun(page, subject, choices)
    inside: pd.Series[bool] | None = None
    for position, column in enumerate(st.columns(len(source.letters))):
        letter = source.letters[position]
        with column:
            st.markdown(f"**{letter}: {plain(source.names[letter])}**")
            first = begun.boxes.get(letter)
            key = scatter_key(subject, choices, letter, first)
            event = st.altair_chart(
                size_charts.scatter(
                    shown, letter, position, limits, None if first is None else box_ends(first)
                ),
                width="stretch",
                key=key,
                on_select=partial(begun.changed.add, letter),
                alt=f"q of every region against its size, network {letter}",
            )
        box = _box_of(event)
        if box is None and letter not in begun.changed:
            box = first
        page.note(**{f"box_{letter.lower()}": box})
        if box is not None:
            found = in_box(rows, letter, box_ends(box))
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


@dataclass
class Begun:
    """What the charts began with.

    Attributes:
        page: The run of the page that began them.
        about: What they show.
        boxes: By letter, the box that the link holds.
        changed: Letters of the charts in which a box was drawn, moved or taken away since.
    """

    page: Page
    about: str
    boxes: Mapping[str, str]
    changed: set[str] = field(default_factory=set)

    def forget(self) -> None:
        """Go on without the link's boxes that nobody has changed."""
        self.boxes = {letter: box for letter, box in self.boxes.items() if letter in self.changed}


def _boxes_begun(page: Page, subject: Subject, choices: Choices) -> Begun:
    """Return what the charts began with; other regions or another size, and boxes are forgotten."""
    about = repr((subject.source.key, choices.cls, choices.size))
    held: Begun | None = st.session_state.get(BEGUN)
    # A box runs this fragment again, with the page that opened it.
    linked = page.fresh and (held is None or held.page is not page)
    if held is None or linked or held.about != about:
        boxes = {"A": page.state.box_a, "B": page.state.box_b} if linked else {}
        given = {letter: box for letter, box in boxes.items() if box is not None}
        held = st.session_state[BEGUN] = Begun(page, about, given)
    return held


def _draw_linked() -> None:
    """Draw a way to take the boxes of the link away.

    A browser does not say that a box is gone which it never said was there.
    """
    held: Begun = st.session_state[BEGUN]
    if set(held.boxes) - held.changed:
        st.button("Take the link's boxes away", icon=":material/close:", on_click=held.forget)


def scatter_key(subject: Subject, choices: Choices, letter: str, begun: str | None = None) -> str:
    """Return the key of a scatter: of what it shows, and of the box that it began with."""
    about = repr((subject.source.key, choices.cls, choices.size, begun))
    return f"scatter-{letter}-{hashlib.sha256(about.encode()).hexdigest()[:12]}"


def _box_of(event: Any) -> str | None:
    """Return what the browser says of the box, as a view holds it; None without one."""
    selection = event["selection"] if isinstance(event, Mapping) else {}
    box = selection.get(size_charts.BRUSH) if isinstance(selection, Mapping) else None
    if not isinstance(box, Mapping):
        return None
    octave, q = (ends_of(box.get(name)) for name in ("octave", "q"))
    return None if octave is None or q is None else written_box(octave, q)


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
        opened = open_shown(page, shown)
        draw_link(opened, int(row["region"]), int(row["area_px"]))


def _draw_region_of_analysis(page: Page, subject: Subject, report: Report, row: pd.Series) -> None:
    """Show where a region of an analysis lies, and link to it, or say why that cannot be done."""
    try:
        opened = open_analysed(page, subject.source, report, str(row["image"]))
    except GstoVizError as error:
        st.error(plain(str(error)))
        return
    if isinstance(opened, str):
        st.markdown(f"Not opened in Explore: {plain(opened)}")
        return
    if not opened.same_networks:
        st.markdown(OTHER_NETWORKS)
    number, area = int(row["region"]), int(row["area_px"])
    if opened.holds(number, area):
        assert opened.regions is not None
        st.image(
            marked(opened.picture.sample.image, opened.regions.regions.ids, {number}),
            alt=f"Image {row['image']} with region {number} outlined",
            caption=f"{plain(opened.picture.description)} Outlined: region {number}, "
            f"{plain(row['class'])}.",
            width="stretch",
        )
    else:
        st.markdown("The region itself was not found in the image as it is shown here.")
    draw_link(opened, number, area)
