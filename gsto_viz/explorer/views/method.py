"""The page "Method": the guide to SCI, its worked example to play with, versions and licences."""

import pandas as pd
import streamlit as st

from gsto_viz.explorer import server
from gsto_viz.explorer.checkpoints import licence_of, list_choices
from gsto_viz.explorer.page_frame import open_page
from gsto_viz.explorer.values.method import (
    ARRANGEMENTS,
    PARTS,
    SOURCES,
    STRIDES,
    chapters_of,
    label_picture,
    map_picture,
    markdown_table,
    worked_example,
)
from gsto_viz.files import versions

ARRANGEMENT, TAB = "method-arrangement", "method-tab"
"""Keys of the arrangement of the worked example, which a link does not hold, and of the tabs."""


def draw_page() -> None:
    """Draw the whole page; it needs no checkpoint."""
    page = open_page("method", "What do the numbers mean?")
    names = {part: name for part, (name, _) in PARTS.items()}
    if page is not None and (page.fresh or TAB not in st.session_state):
        st.session_state[TAB] = names[page.state.tab]
    tabs = st.tabs(list(names.values()), on_change="rerun", key=TAB)
    for tab, part in zip(tabs, names, strict=True):
        if tab.open:
            if page is not None:
                page.note(tab=part)
            with tab:
                _draw_part(part)
    if page is not None:
        page.write_link()


def _draw_part(part: str) -> None:
    if part == "example":
        _draw_example()
    if part == "sources":
        _draw_sources()
    else:
        st.markdown(chapters_of(part))


@st.fragment
def _draw_example() -> None:
    """Draw the worked example; another arrangement runs nothing but this."""
    arrangement = st.segmented_control(
        "Activity of the branches",
        ARRANGEMENTS,
        default=ARRANGEMENTS[0],
        key=ARRANGEMENT,
        required=True,
    )
    found = worked_example(arrangement)
    pictures = [("Regions", label_picture(found.labels))]
    names = ("Fine branch, stride 4", "Coarse branch, stride 8")
    for name, values, stride in zip(names, found.maps, STRIDES, strict=True):
        pictures.append((f"{name}: bright is strong", map_picture(values, stride)))
    for column, (name, picture) in zip(st.columns(3, gap="medium"), pictures, strict=True):
        column.image(picture, caption=name, alt=name, width=288)
    for column, table in zip(
        st.columns(2, gap="medium"), (found.regions, found.pairs), strict=True
    ):
        rows = [
            [cell if isinstance(cell, str) else f"{cell:.3f}" for cell in row]
            for row in table.itertuples(index=False)
        ]
        column.markdown(markdown_table(list(table.columns), rows))
    wrong = (found.pairs["verdict"] == "wrong").sum()
    ties = (found.pairs["verdict"] == "tie").sum()
    st.markdown(
        f"{wrong} of {len(found.pairs)} pairs wrong, {ties} tied (they count half): "
        f"**SCI = {found.sci:.3f}**."
    )


def _draw_sources() -> None:
    """Draw versions and licences."""
    choices, _ = list_choices(server.offered().checkpoints)
    st.markdown("**Checkpoints** (the code is MIT)")
    st.dataframe(
        pd.DataFrame(
            [(choice.key, licence_of(choice)) for choice in choices],
            columns=["checkpoint", "licence"],
        ),
        hide_index=True,
        width="stretch",
        alt="Licence of every checkpoint",
    )
    st.markdown(SOURCES)
    st.markdown(
        "**Versions**\n\n" + markdown_table(("package", "version"), sorted(versions().items()))
    )
