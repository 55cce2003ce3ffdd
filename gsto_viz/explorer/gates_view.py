"""The page "Gates": what the gates of the scale transfers let through, and what it matters."""

from collections.abc import Sequence
from functools import partial

import streamlit as st

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer import cached, gate_cached
from gsto_viz.explorer.export_menu import draw_exports
from gsto_viz.explorer.gate_choice import GateChoice, gate_choice
from gsto_viz.explorer.gate_numbers import (
    ALL,
    GatePlace,
    first_gate,
    gate_places,
    gated_letters,
    limits_of,
    mean_gate,
)
from gsto_viz.explorer.gate_panels import draw_chosen, draw_held, draw_table
from gsto_viz.explorer.gate_tiles import COLORS, Held, gate_of_tile
from gsto_viz.explorer.gates_export import gates_exports
from gsto_viz.explorer.page_frame import Page
from gsto_viz.explorer.pair_header import open_pair
from gsto_viz.explorer.probe import Point
from gsto_viz.explorer.probe_place import (
    draw_coordinates,
    draw_tiles,
    held_point,
    move_probe,
    raise_turn,
    turn,
)
from gsto_viz.explorer.safe_text import plain
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.viewer import draw_colors, last_tile
from gsto_viz.plots.gates import NO_GATES

KEY = "gates-viewer"
NEITHER = (
    "Neither A nor B has gate maps on its transfers: every position goes through alike. "
    "Choose a gated network (marked so in the lists above) to see what its gates do."
)


def draw_page() -> None:
    """Draw the whole page."""
    opened = open_pair("gates", "What do the gates let through?")
    if opened is None:
        return
    page, shown = opened
    gated = gated_letters(shown)
    if not gated:
        st.info(NEITHER)
        page.write_link()
        return
    _draw_gates(page, shown, gated)
    page.write_link()


def _draw_gates(page: Page, shown: Shown, gated: Sequence[str]) -> None:
    """Draw the controls, the viewer and the panels of a pair of which one has gates."""
    subject = gated[-1]
    places = gate_places(shown.inspections[subject])
    _take_click(page, places)
    _choose_gate(page, shown, subject, places)
    choice = gate_choice(shown, page.state)
    assert choice is not None
    held = _hold(shown, choice)
    point = _draw_viewer(page, shown, choice, held)
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom", width=600):
        draw_coordinates(shown, point, partial(move_probe, page))
        make = partial(gate_cached.held, shown, choice)
        regions = cached.regions(shown)
        draw_exports(partial(gates_exports, shown, regions, page.state, choice, make))
    _draw_ungated(shown)
    if held is not None:
        draw_held(held, labelled=shown.sample.labels is not None, pose=shown.pose)
    draw_chosen(shown, gated, choice.gate)
    for letter in gated:
        draw_table(shown, letter, point)


def _take_click(page: Page, places: Sequence[GatePlace]) -> None:
    """Choose the gate whose map was clicked."""
    tile = last_tile(turn(), key=KEY)
    gate = None if tile is None else gate_of_tile(tile)
    if gate in {place.name for place in places}:
        page.note(gate=gate)
        st.session_state["gate"] = gate


def _choose_gate(page: Page, shown: Shown, subject: str, places: Sequence[GatePlace]) -> None:
    """Draw the selector of the gate, and the switch and value that hold it."""
    arrows = {place.name: f"{place.name}   {place.arrow}" for place in places}
    words = arrows | {ALL: f"all {len(places)} gates"}
    options = [*arrows, ALL]
    _replace_missing(page, options, first_gate(places))
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        gate: str = page.bound(
            "gate",
            lambda key: st.selectbox(
                f"Gate of {subject} (or click its map)",
                options,
                key=key,
                format_func=words.__getitem__,
                width=330,
                # What was clicked before does not choose any more.
                on_change=raise_turn,
            ),
            options,
        )
        page.bound(
            "force",
            lambda key: st.toggle(
                "Hold this gate at",
                key=key,
                help=f"Runs {subject} again with this gate at one value everywhere. 0 closes the "
                "transfer, 1 makes it a plain HRNet transfer; the gate's own mean takes only its "
                "choice of places away.",
            ),
        )
        page.bound(
            "value",
            lambda key: st.slider(
                "Gate value", 0.0, 1.0, step=0.01, key=key, width=240, on_change=_switch_on
            ),
        )
        mean = round(mean_gate(shown.inspections[subject], gate), 2)
        st.button(
            f"Its mean here, {mean:.2f}",
            key="hold-mean",
            on_click=partial(_hold_at, mean),
            icon=":material/align_vertical_center:",
        )


def _switch_on() -> None:
    """Hold the gate: a reader who moves the slider wants to see it held there."""
    st.session_state["force"] = True


def _hold_at(value: float) -> None:
    st.session_state["value"] = value
    st.session_state["force"] = True


def _replace_missing(page: Page, options: Sequence[str], default: str) -> None:
    """Choose a gate where none is chosen, or the chosen one is not there."""
    wanted = page.state.gate if page.fresh else st.session_state.get("gate", page.state.gate)
    if wanted in options:
        return
    if wanted is not None:
        st.warning(
            "The gate that was chosen is not in this network; another one is shown.",
            icon=":material/link_off:",
        )
    page.note(gate=default)
    st.session_state["gate"] = default


def _hold(shown: Shown, choice: GateChoice) -> Held | None:
    """Run the network with the gates held, where that is asked for."""
    if choice.value is None:
        return None
    low, high = limits_of(shown.inspections[choice.subject])
    if not low <= choice.value <= high:
        st.info(
            f"A gate of this form never leaves {low:g} to {high:g}: {choice.value:g} is a value "
            "that the network has not met in training."
        )
    try:
        with st.spinner(f"Running {choice.what}"):
            return gate_cached.held(shown, choice)
    except GstoVizError as error:
        st.error(plain(str(error)))
        return None


def _draw_viewer(page: Page, shown: Shown, choice: GateChoice, held: Held | None) -> Point:
    """Draw all maps; return the probed pixel."""
    point = held_point(page, shown)
    data = gate_cached.viewer_data(shown, choice.subject, choice.gate, held)
    draw_colors(COLORS, key=KEY)
    clicked = draw_tiles(page, data, point, shown.size, outline=True, key=KEY)
    if clicked is not None:
        point = clicked
    page.note(x=point.x, y=point.y)
    low, high = limits_of(shown.inspections[choice.subject])
    st.markdown(
        f"{plain(shown.picture.description)} Each gate map multiplies the branch that it stands "
        f"in front of; rows are sources, columns targets, all bars run from {low:g} to {high:g}, "
        f"the range of the gates of {choice.subject}. One cell of stride s covers s x s pixels. "
        "Click a map to choose its gate and to move the mark, use arrow keys to step, the wheel to "
        "zoom."
    )
    return point


def _draw_ungated(shown: Shown) -> None:
    """Name the networks without gates."""
    for letter in LETTERS:
        if not shown.inspections[letter].gates:
            name = plain(shown.inspections[letter].name)
            st.markdown(f"**{letter}: {name} has {NO_GATES}.** Every position goes through alike.")
