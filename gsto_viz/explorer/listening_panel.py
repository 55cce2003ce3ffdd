"""What the probed pixel listens to: the choice of relation and head, and the weights."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import streamlit as st

from gsto_viz.explorer.listening import HeardCells, head_count, relation_arrows
from gsto_viz.explorer.page_frame import Page
from gsto_viz.explorer.probe import Point
from gsto_viz.explorer.shown import LETTERS, Shown

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
