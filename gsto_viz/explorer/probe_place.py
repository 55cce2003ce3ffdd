"""Where the probe is, on every page that has one, and the numeric way to move it."""

from collections.abc import Callable
from functools import partial

import streamlit as st

from gsto_viz.explorer import cached
from gsto_viz.explorer.page_frame import Page
from gsto_viz.explorer.probe import Point, clamped
from gsto_viz.explorer.shown import Shown

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


def draw_coordinates(shown: Shown, point: Point, move: Callable[..., None]) -> None:
    """Draw the numeric inputs of the probe.

    Args:
        shown: Two networks on one image.
        point: The probed pixel.
        move: Moves the probe: takes ``x`` and ``y``.
    """
    height, width = shown.size
    for name, value, size, what in (
        ("x", point.x, width, "column"),
        ("y", point.y, height, "row"),
    ):
        st.session_state[name] = value
        st.number_input(
            f"{name} ({what}, px)",
            min_value=0,
            max_value=size - 1,
            step=1,
            key=name,
            on_change=partial(_typed, move),
        )


def _typed(move: Callable[..., None]) -> None:
    move(x=int(st.session_state["x"]), y=int(st.session_state["y"]))
