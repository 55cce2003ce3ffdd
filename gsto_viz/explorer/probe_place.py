"""Where the probe is, on every page that has one, and the numeric way to move it."""

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from gsto_viz.explorer import cached
from gsto_viz.explorer.page_frame import Page
from gsto_viz.explorer.probe import Point, clamped
from gsto_viz.explorer.shown import Shown
from gsto_viz.explorer.viewer import KEY, draw_viewer, last_zoom

TURN = "probe_turn"
"""Key of the session state: how often a page itself has moved the probe."""
PICK_NAMES = {"pixel": "Pixel", "region": "Region"}


def held_point(page: Page, shown: Shown) -> Point:
    """Return the probed pixel of the view, inside this image."""
    state = page.state
    if state.x is None or state.y is None:
        return cached.start_point(shown)
    return clamped(state.x, state.y, shown.size)


def turn() -> int:
    """Return how often a page itself has moved the probe."""
    return int(st.session_state.get(TURN, 0))


def raise_turn() -> None:
    """Note that the page itself moves the probe: what was clicked before is old news."""
    st.session_state[TURN] = turn() + 1


def move_probe(page: Page, **changes: int | None) -> None:
    """Change where probe or pin are from outside the viewer."""
    page.note(**changes)
    if "x" in changes or "y" in changes:
        raise_turn()


def draw_tiles(
    page: Page,
    data: Mapping[str, Any],
    point: Point,
    size: tuple[int, int],
    *,
    pin: Point | None = None,
    outline: bool = False,
    key: str = KEY,
) -> Point | None:
    """Draw the viewer of a page and note the zoom in its view; see ``draw_viewer``."""
    clicked = draw_viewer(
        data,
        point,
        size=size,
        turn=turn(),
        marks={
            "pin": None if pin is None else {"x": pin.x, "y": pin.y},
            "outline": outline,
        },
        zoom=page.state.zoom,
        opened=page.fresh,
        key=key,
    )
    page.note(zoom=last_zoom(page.state.zoom, key=key))
    return clicked


def draw_coordinates(shown: Shown, point: Point, move: Callable[..., None]) -> None:
    """Draw the numeric inputs of the probe.

    Args:
        point: The probed pixel.
        move: Moves the probe: takes ``x`` and ``y``.
    """
    height, width = shown.size
    draw_number("x (column, px)", point.x, width, lambda x: move(x=x, y=point.y))
    draw_number("y (row, px)", point.y, height, lambda y: move(x=point.x, y=y))


def draw_number(
    label: str, value: int, size: int, typed: Callable[[int], None], width: int | None = None
) -> None:
    """Draw a numeric input of a place that clicks move, too.

    Every value gets an input of its own, and what is typed is what it returns. A browser that
    clicks quickly sends along what its inputs still held; an input that lived on, or a callback,
    would take that for typing and undo the click.

    Args:
        label: What the number is, with its unit; one of a kind on its page.
        value: The place, 0..size-1 (px).
        size: Pixels along this side of the image.
        typed: Takes the number that was typed.
        width: Of the input (px), None: all there is.
    """
    last, version = st.session_state.get(f"last-{label}", (value, 0))
    if last != value:
        version += 1
    st.session_state[f"last-{label}"] = (value, version)
    given = st.number_input(
        label,
        min_value=0,
        max_value=size - 1,
        value=value,
        step=1,
        key=f"number-{label}-{version}",
        width="stretch" if width is None else width,
    )
    if given != value:
        typed(int(given))
        st.rerun()
