"""The page "Explore": two networks on one image, branch by branch, pixel by pixel."""

from functools import partial

import streamlit as st

from gsto_viz.explorer import cached
from gsto_viz.explorer.explore_export import explore_exports
from gsto_viz.explorer.export_menu import draw_exports
from gsto_viz.explorer.listening import heard_at
from gsto_viz.explorer.listening_panel import choose_heard, draw_heard_panel
from gsto_viz.explorer.page_frame import Page
from gsto_viz.explorer.pair_header import open_pair
from gsto_viz.explorer.probe import pinned
from gsto_viz.explorer.probe_panel import draw_probe
from gsto_viz.explorer.probe_place import PICK_NAMES, draw_tiles, held_point, move_probe
from gsto_viz.explorer.safe_text import plain
from gsto_viz.explorer.shown import Shown
from gsto_viz.explorer.size_table import draw_sizes
from gsto_viz.explorer.skeleton_pictures import skeletons_in_words
from gsto_viz.explorer.view_state import COLORS, PICKS
from gsto_viz.explorer.viewer import draw_colors, draw_heard
from gsto_viz.explorer.viewer_data import DIVERGING
from gsto_viz.words import MODES

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
    site = plain(shown.inspections["A"].site)
    what = plain(shown.picture.description) + skeletons_in_words(shown)
    return (
        f"{what} {MODES[mode].meaning}{raw} Branch maps: {site}, after "
        "the last fusion and its ReLU; one cell of stride s covers s x s pixels. Click a tile and "
        "use the wheel to zoom, drag to move, arrow keys to step by one cell."
    )
