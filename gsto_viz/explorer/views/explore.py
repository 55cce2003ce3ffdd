"""The page "Explore": two networks on one image, branch by branch, pixel by pixel."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from gsto_viz.explorer import cached
from gsto_viz.explorer.charts import draw_fans
from gsto_viz.explorer.exports.explore import explore_exports
from gsto_viz.explorer.exports.files import sizes_csv
from gsto_viz.explorer.page_frame import Page, draw_exports
from gsto_viz.explorer.pair_header import open_pair
from gsto_viz.explorer.probing import PICK_NAMES, draw_probe, draw_tiles, held_point, move_probe
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.texts import plain, safe_name
from gsto_viz.explorer.values.probe import (
    HeardCells,
    Point,
    head_count,
    heard_at,
    pinned,
    relation_arrows,
    side_by_side,
)
from gsto_viz.explorer.values.tiles import DIVERGING, skeletons_in_words
from gsto_viz.explorer.view_state import COLORS, PICKS
from gsto_viz.explorer.viewer import draw_colors, draw_heard
from gsto_viz.words import MODES

MEAN = "mean"
"""The option that stands for all heads."""
GONE = (
    "The relation or the head that this link shows is not in these networks; another one is shown."
)
MEANING = (
    "The pixel takes features over from the coarser map: from the cells of a window around the one "
    "that covers it, each by its weight. The weights sum to 100 percent; cells outside the image "
    'have none. The tiles "listens to" show the same cells on the image.'
)


def choose_heard(page: Page, shown: Shown) -> None:
    """Draw the selectors of relation and head; nothing for networks without relations."""
    arrows = relation_arrows(shown)
    if not arrows:
        return
    heads = range(head_count(shown))
    state = page.state
    if page.fresh and (state.relation not in (None, *arrows) or (state.head or 0) not in heads):
        st.warning(GONE, icon=":material/link_off:")
    relation = partial(
        st.segmented_control,
        "Relation",
        tuple(arrows),
        format_func=arrows.__getitem__,
        required=True,
        wrap=True,
        help="What the probed pixel listens to: from the coarser map to its own, pixels per cell",
    )
    head = partial(st.selectbox, "Head", (MEAN, *heads), format_func=_head_name, width=160)
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        page.bound("relation", relation, tuple(arrows))
        page.bound("head", head, (MEAN, *heads), nothing=MEAN)


def _head_name(head: str | int) -> str:
    return "mean of all" if head == MEAN else f"head {head}"


def draw_heard_panel(shown: Shown, heard: Mapping[str, HeardCells], point: Point) -> None:
    """Draw the weights at a pixel as they lie in the window; nothing without relations."""
    able = [letter for letter in LETTERS if shown.inspections[letter].relations]
    if not able:
        return
    st.markdown(f"**What the pixel at x {point.x}, y {point.y} listens to.** {MEANING}")
    for letter in able:
        if letter not in heard:
            st.markdown(f"{letter} does not have this relation, or not this head.")
    st.html("".join(heard_html(letter, one) for letter, one in heard.items()))


def heard_html(letter: str, heard: HeardCells) -> str:
    """Return the weights as an HTML table with the rows and columns of the window, in percent."""
    most = heard.cells["weight"].max()
    cells = [_cell(cell, cell.weight / most) for cell in heard.cells.itertuples()]
    rows = (cells[first : first + heard.window] for first in range(0, len(cells), heard.window))
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return (
        f'<table class="heard"><caption>{letter}: {heard.what} (%)</caption>'
        f"<tbody>{body}</tbody></table>"
    )


def _cell(cell: Any, shade: float) -> str:
    """Return a cell; its shade, 0..1, is its weight as a share of the greatest."""
    if not cell.inside:
        return '<td title="outside the image">-</td>'
    where = f"x {cell.x0} to {cell.x1 - 1}, y {cell.y0} to {cell.y1 - 1}"
    return f'<td style="--shade: {100 * shade:.0f}%" title="{where}">{100 * cell.weight:.1f}</td>'


def draw_sizes(shown: Shown) -> None:
    """Draw the responses by object size where there are labels, or say why not."""
    st.header("Response by object size, in this image", anchor=False)
    if shown.why_unlabelled is not None:
        st.markdown(shown.why_unlabelled)
        return
    frames = cached.tables(shown)
    if any(frame.empty for frame in frames.values()):
        st.markdown("No region of this image is large enough to be measured.")
        return
    _draw_table(frames)
    st.download_button(
        "Table (CSV)",
        partial(sizes_csv, shown, frames),
        file_name=f"{safe_name(shown.sample.id)}-sizes.csv",
        mime="text/csv",
        on_click="ignore",
        icon=":material/download:",
    )
    draw_fans(frames, {}, {letter: shown.inspections[letter].name for letter in frames})
    st.markdown(
        "Mean percentile (0 to 1) of each branch over the annotated regions of one size, by the "
        "square root of their area in network-input pixels. Without scale confusion /4 falls with "
        "size and /32 rises. A single image has no interval, and a size with few regions says "
        "little."
    )


def _draw_table(frames: Mapping[str, pd.DataFrame]) -> None:
    table = side_by_side(frames)
    means = [name for name in table.columns if "/" in name]
    st.dataframe(
        table,
        width="content",
        hide_index=True,
        column_config={name: st.column_config.NumberColumn(format="%.2f") for name in means},
        alt="Mean percentile response of each branch of A and B by object size",
    )


COLOR_NAMES = {name: name for name in COLORS} | {"jet": "jet (as in the paper)"}
JET = (
    "jet is brightest in its middle and its steps are uneven: it shows borders that are not there. "
    "It is here because the paper uses it."
)


def draw_page() -> None:
    """Draw the whole page."""
    opened = open_pair("explore", "Which branch answers for which object?")
    if opened is None:
        return
    page, shown = opened
    _choose_display(page)
    choose_heard(page, shown)
    colors = {"map": page.state.colors, "difference": DIVERGING}
    draw_colors(colors, opacity=page.state.opacity)
    _probe_fragment(page, shown)
    draw_sizes(shown)


def _choose_display(page: Page) -> None:
    """Draw the controls of scale, colours and overlay."""
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        page.bound(
            "mode",
            lambda key: st.segmented_control(
                "Scale of the maps",
                tuple(MODES),
                key=key,
                format_func=lambda name: MODES[name].label,
                required=True,
                wrap=True,
            ),
            tuple(MODES),
        )
        page.bound(
            "pick",
            lambda key: st.segmented_control(
                "A click chooses",
                PICKS,
                key=key,
                format_func=PICK_NAMES.__getitem__,
                required=True,
                wrap=True,
            ),
            PICKS,
        )
        page.bound(
            "colors",
            lambda key: st.selectbox(
                "Colours", COLORS, key=key, format_func=COLOR_NAMES.__getitem__, width=200
            ),
            COLORS,
        )
        page.bound(
            "opacity",
            lambda key: st.slider("Maps over image", 0.1, 1.0, step=0.1, key=key, width=160),
        )
        page.bound("difference", lambda key: st.toggle("Differences B - A", key=key))
    if page.state.colors == "jet":
        st.markdown(JET)


@st.fragment
def _probe_fragment(page: Page, shown: Shown) -> None:
    """Draw the viewer and the probe panel; a click runs nothing but this."""
    state = page.state
    regions = cached.regions(shown)
    point = held_point(page, shown)
    pin = pinned(state, shown.size)
    data = cached.viewer_data(shown, state.mode, difference=state.difference)
    clicked = draw_tiles(page, data, point, shown.size, pin=pin, outline=state.pick == "region")
    if clicked is not None:
        point = clicked
    page.note(x=point.x, y=point.y)
    heard = heard_at(shown, state, point)
    if heard:
        draw_heard({letter: one.cells for letter, one in heard.items()}, point)
    st.markdown(_caption(shown, state.mode))
    draw_probe(page, shown, regions, point, pin, move=partial(move_probe, page))
    draw_heard_panel(shown, heard, point)
    draw_exports(partial(explore_exports, shown, regions, page.state))
    page.write_link()


def _caption(shown: Shown, mode: str) -> str:
    raw = "" if MODES[mode].raw else " Hovering also gives the raw channel mean."
    what = plain(shown.picture.description) + skeletons_in_words(shown)
    return (
        f"{what} {MODES[mode].meaning}{raw} Branch maps: {plain(shown.sites)}; one cell of stride "
        "s covers s x s pixels. Click a tile and use the wheel to zoom, drag to move, arrow keys "
        "to step by one cell."
    )
