"""The page "Gates": what the gates of the scale transfers let through, and what it matters."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from gsto_viz.activity import FloatMap
from gsto_viz.errors import GstoVizError
from gsto_viz.explorer import cached
from gsto_viz.explorer.checkpoints import Choice
from gsto_viz.explorer.exports.gates import gates_exports
from gsto_viz.explorer.gate_charts import (
    CELL,
    class_chart,
    histogram_chart,
    matrix_chart,
    size_chart,
)
from gsto_viz.explorer.page_frame import Page, draw_exports
from gsto_viz.explorer.pair_header import open_pair
from gsto_viz.explorer.pictures import Picture
from gsto_viz.explorer.probing import (
    draw_coordinates,
    draw_tiles,
    held_point,
    move_probe,
    raise_turn,
    turn,
)
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.texts import plain
from gsto_viz.explorer.values.gate_matrix import (
    GateMatrix,
    analysed_selectivity,
    gate_matrix,
    measured_gates,
    selectivity,
)
from gsto_viz.explorer.values.gate_tiles import COLORS, gate_of_tile, gate_viewer_data
from gsto_viz.explorer.values.gates import (
    NEAR_TOP,
    GateChoice,
    GatePlace,
    Held,
    choice_words,
    chosen_maps,
    compare_held,
    first_gate,
    gate_choice,
    gate_histogram,
    gate_options,
    gate_places,
    gate_table,
    gated_letters,
    gates_at,
    inspect_held,
    limits_of,
    mean_gate,
    means_by_class,
    means_by_size,
    members,
    region_gates,
)
from gsto_viz.explorer.values.probe import Point
from gsto_viz.explorer.viewer import draw_colors, last_tile
from gsto_viz.look import Look
from gsto_viz.plots.gates import NO_GATES
from gsto_viz.report.folder import shown as shown_estimate
from gsto_viz.report.headline import FEW_PAIRS
from gsto_viz.stats.inference import Estimate
from gsto_viz.words import counted


@cached.kept(16)
def held_once(shown: Shown, choice: GateChoice) -> Held | None:
    """Hold the gates of a view once; None where they are not held.

    Raises:
        GstoVizError: The checkpoint cannot be used.
    """
    if choice.value is None:
        return None

    def run(gates: Sequence[str], value: float) -> Look:
        return _inspection(shown.choices[choice.subject], shown.picture, tuple(gates), value)

    return compare_held(shown, choice, run)


@cached.kept(16)
def _inspection(choice: Choice, picture: Picture, gates: tuple[str, ...], value: float) -> Look:
    model = cached.network(choice)
    with cached.FORWARD:
        return inspect_held(model, picture.sample.image, gates, value)


@cached.kept(256)
def region_means(shown: Shown, letter: str, gate: str) -> FloatMap:
    """Return the mean of a gate over every region once."""
    return region_gates(shown.inspections[letter], cached.regions(shown), gate)


@cached.kept(16)
def gate_tiles(shown: Shown, subject: str, gate: str, held_gate: Held | None) -> dict[str, Any]:
    """Return what the viewer gets; it must not be changed."""
    return gate_viewer_data(shown, cached.regions(shown), subject, gate, held_gate)


@cached.kept(32)
def matrix_of(shown: Shown, letter: str) -> GateMatrix:
    """Return the matrix of a network's gates on an image once."""
    return gate_matrix(shown.inspections[letter], cached.regions(shown))


def draw_matrix(page: Page, shown: Shown, choice: GateChoice) -> None:
    """Draw the gates by source and target; a click chooses an edge."""
    letter = choice.subject
    inspection, matrix = shown.inspections[letter], matrix_of(shown, letter)
    edges = {place.groups[3] for place in members(gate_places(inspection), choice.gate)}
    chosen = edges.pop() if len(edges) == 1 else ""
    # A new key for every edge that is chosen: what was clicked before does not choose any more.
    key = f"matrix-{chosen}-{turn()}"
    with st.container(width=460):
        event = st.altair_chart(
            matrix_chart(matrix, limits_of(inspection), chosen),
            width="stretch",
            key=key,
            on_select="rerun",
            selection_mode=CELL,
            alt=f"G and mean gate by object size of every transfer of {letter}, "
            + "; ".join(
                f"{e.arrow}: G {e.G:+.2f}, mean {e.mean:.2f}" for e in matrix.edges.itertuples()
            ),
        )
    found = event["selection"].get(CELL) or []
    edge = found[0].get("edge") if found and isinstance(found[0], dict) else None
    if isinstance(edge, str) and edge != chosen and edge in set(matrix.edges["edge"]):
        inside = members(gate_places(inspection), edge)
        page.note(gate=inside[0].name if len(inside) == 1 else edge)
        del st.session_state["gate"]
        st.rerun()
    st.markdown(
        "One cell per transfer, all its gates together; the list chooses one of them. Lines: mean "
        "gate by object size, small to large. Colour: G, **+1 (blue)** when transfers to coarser "
        "branches open wider on the larger of two objects and transfers to finer ones on the "
        "smaller, 0 at chance, **-1 (orange)** the other way round; on the diagonal, above 0, "
        "wider on the larger."
    )
    st.markdown(_selectivity_text(page, shown, letter))


def _selectivity_text(page: Page, shown: Shown, letter: str) -> str:
    """Return G of all gates in this image, and of many images where an analysis is at hand."""
    inspection = shown.inspections[letter]
    directed = [place for place in gate_places(inspection) if place.sign]
    table = measured_gates(inspection, cached.regions(shown))
    found = selectivity(table, directed) if directed else None
    if found is None or found.value is None:
        here = "No pair of objects in this image says which way round the gates open."
    else:
        pairs = counted(found.n_pairs, "pair")
        here = f"This image: **G = {found.value:+.3f}** ({pairs} over all gates), an example."
    folders = [(run.key, run.path) for run in page.runs if run.kind == "analysis"]
    many = analysed_selectivity(shown.fingerprints[letter], folders)
    if many is None:
        return f"{here} No analysis with these gates is at hand (`gsto-viz app --runs DIR`)."
    name, known = many
    images = counted(known.n_images, "image")
    return f"{here} Over {images} of {plain(name)}: **G = {shown_estimate(known)}**."


def draw_chosen(shown: Shown, gated: Sequence[str], gate: str) -> None:
    """Draw the histogram of the chosen gate, and its means by size and by class."""
    letters = [x for x in gated if chosen_maps(shown.inspections[x], gate)]
    places = gate_places(shown.inspections[letters[-1]])
    words = choice_words(places, gate)
    name = f"{words[:1].upper()}{words[1:]}, of {' and '.join(letters)}"
    st.header(f"{name} in this image", anchor=False)
    st.markdown("  \n".join(_summary(shown, letter, gate) for letter in letters))
    ranges = [limits_of(shown.inspections[letter]) for letter in letters]
    limits = min(low for low, _ in ranges), max(high for _, high in ranges)
    histogram = pd.concat(
        [
            gate_histogram(shown.inspections[letter], gate, limits).assign(model=letter)
            for letter in letters
        ]
    )
    regions = cached.regions(shown)
    means = {letter: region_means(shown, letter, gate) for letter in letters}
    sizes, classes = (
        means_by_size(means, regions),
        means_by_class(means, regions, shown.pixel_classes),
    )
    columns = st.columns(3, gap="medium")
    with columns[0]:
        st.markdown("**Values of its cells**")
        drawn = histogram_chart(histogram.round(5), limits)
        st.altair_chart(drawn, width="stretch", alt=f"Histogram of the values of {name}")
    if sizes.empty:
        columns[1].markdown("No region of this image is large enough to be measured.")
        return
    with columns[1]:
        st.markdown("**Mean by object size**")
        chart = size_chart(sizes.round(5), limits)
        st.altair_chart(chart, width="stretch", alt=f"Mean of {name} by size of the region")
    with columns[2]:
        st.markdown("**Mean by class**")
        chart = class_chart(classes.round(5), limits)
        st.altair_chart(chart, width="stretch", alt=f"Mean of {name} by class")
    st.markdown(
        f"Means are over the regions of this image, cut from {shown.region_source}: over the core "
        "of each region, or all of it where it is too small to have one. Size is the square root "
        "of the area in network-input pixels. One image has no interval."
    )
    _draw_mean_table(sizes, classes)


def _summary(shown: Shown, letter: str, gate: str) -> str:
    """Return the numbers of the chosen gate in one line."""
    inspection = shown.inspections[letter]
    table = gate_table(inspection)
    low, high = limits_of(inspection)
    rows = table[table["gate"].isin(chosen_maps(inspection, gate))]
    near = high - NEAR_TOP * (high - low)
    return (
        f"{letter}: mean **{rows['mean'].mean():.3f}**, reaches {rows['lowest'].min():.3f} to "
        f"{rows['highest'].max():.3f} of {low:g} to {high:g}; "
        f"**{100 * rows['at_lower_end'].mean():.1f} %** of the cells are at {low:g} (as closed as "
        f"it gets), {100 * rows['near_upper_end'].mean():.1f} % at {near:g} or more"
        + (" (means over gates)." if len(rows) > 1 else ".")
    )


def _draw_mean_table(sizes: pd.DataFrame, classes: pd.DataFrame) -> None:
    """Offer the numbers behind the two charts of means."""
    with st.expander("These means as tables"):
        for table, first in ((sizes.drop(columns="octave"), "size"), (classes, "class")):
            wide = table.pivot_table(
                index=first, columns="model", values=["mean", "regions"], sort=False
            )
            wide.columns = pd.Index([f"{pair[1]} {pair[0]}" for pair in wide.columns])
            numbers = {
                c: st.column_config.NumberColumn(format="%.3f" if "mean" in c else "%d")
                for c in wide.columns
            }
            st.dataframe(
                wide.reset_index(),
                hide_index=True,
                width="content",
                column_config=numbers,
                alt=f"Mean gate by {first}",
            )


def draw_held(held: Held, *, labelled: bool, pose: bool) -> None:
    """Draw what changes in the prediction when the gate is held."""
    change = held.change
    st.header(f"What changes: {held.what}", anchor=False)
    lines = [sci_words(*change.sci)]
    if not pose:
        lines.append(
            f"**{100 * change.share:.2f} % of the pixels get another class** "
            f"({int(change.changed.sum())} of {change.changed.size})."
        )
    what, own = ("Heat maps", "heat map") if pose else ("Logits", "logit")
    lines.append(
        f"{what} move by {change.mean_change:.3g} on average and {change.largest_change:.3g} at "
        f"most; their standard deviation is {change.spread:.3g}."
    )
    if change.accuracy is not None and change.miou is not None:
        right = " to ".join(f"{100 * value:.2f} %" for value in change.accuracy)
        miou = " to ".join(f"{100 * value:.2f} %" for value in change.miou)
        lines.append(f"Right pixels go from {right}, mean IoU in this image from {miou}.")
    elif labelled and not pose:
        lines.append("No pixel of this image has a label.")
    lines.append(
        "Later gates and branches answer to the changed features; the gate maps above are those "
        "of the network as it is."
    )
    st.markdown("  \n".join(lines))
    if change.sizes is not None and len(change.sizes):
        share = st.column_config.NumberColumn(format="percent")
        st.dataframe(
            change.sizes,
            hide_index=True,
            width="content",
            column_config={
                "size": "size of the region (px)",
                "before": share,
                "after": share,
            },
            alt="Recall of regions by size, before and after the gates were held",
        )
    pixels = st.column_config.NumberColumn(format="%d")
    st.dataframe(
        change.classes,
        hide_index=True,
        width="content",
        height="content",
        column_config={
            "before": pixels,
            "after": pixels,
            "left": pixels,
            "joined": pixels,
            "class": st.column_config.TextColumn("joint" if pose else "class"),
            "logit": st.column_config.NumberColumn(f"mean change of its {own}", format="%+.4f"),
        },
        alt="Pixels of every class before and after the gate was held, those that left and joined",
    )


def sci_words(before: Estimate, after: Estimate) -> str:
    """Return the SCI of an image before and after in a sentence."""
    pairs = counted(before.n_pairs, "pair")
    if before.value is None or after.value is None:
        return "SCI of this image: no two objects differ by an octave in size."
    few = (
        f" {pairs[:1].upper()}{pairs[1:]} are too few to say anything."
        if before.n_pairs < FEW_PAIRS
        else ""
    )
    return (
        f"**SCI of this image goes from {before.value:.3f} to {after.value:.3f}** ({pairs}; 0: all "
        f"objects ordered by size, 0.5: chance).{few}"
    )


def draw_table(shown: Shown, letter: str, point: Point) -> None:
    """Draw range, mean and saturated share of all gates of a network, and values at the probe."""
    inspection = shown.inspections[letter]
    low, high = limits_of(inspection)
    table = gate_table(inspection).assign(at_probe=gates_at(inspection, point))
    st.header(f"All gates of {letter} in this image", anchor=False)
    near = high - NEAR_TOP * (high - low)
    top = f"at {near:g} or more"
    number = st.column_config.NumberColumn(format="%.3f")
    st.dataframe(
        table,
        hide_index=True,
        width="stretch",
        column_config={
            "from": st.column_config.NumberColumn("from stride (px)"),
            "to": st.column_config.NumberColumn("to stride (px)"),
            **dict.fromkeys(("lowest", "highest", "mean", "sd"), number),
            "at_lower_end": st.column_config.NumberColumn(f"at {low:g}", format="percent"),
            "near_upper_end": st.column_config.NumberColumn(top, format="percent"),
            "at_probe": st.column_config.NumberColumn(
                f"at x {point.x}, y {point.y}", format="%.3f"
            ),
        },
        alt=f"Range, mean and saturated share of every gate of {letter}",
    )
    st.markdown(
        f"The form of these gates allows {low:g} to {high:g}; *lowest* and *highest* are what this "
        f"image really reaches. *At {low:g}* is the share of cells that are as closed as the form "
        f"allows, *{top}* of those in the uppermost {100 * NEAR_TOP:g} % of the range."
    )
    st.caption(f"{plain(inspection.name)}, SHA-256 {shown.fingerprints[letter][:12]}")


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
    draw_matrix(page, shown, choice)
    held = _hold(shown, choice)
    point = _draw_viewer(page, shown, choice, held)
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom", width=600):
        draw_coordinates(shown, point, partial(move_probe, page))
        make = partial(held_once, shown, choice)
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
    words = gate_options(places)
    options = list(words)
    _replace_missing(page, options, first_gate(places))
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        gate: str = page.bound(
            "gate",
            lambda key: st.selectbox(
                f"Gates of {subject}",
                options,
                key=key,
                format_func=words.__getitem__,
                width=360,
                # What was clicked before does not choose any more.
                on_change=raise_turn,
            ),
            options,
        )
        page.bound(
            "force",
            lambda key: st.toggle(
                "Hold at",
                key=key,
                help=f"Runs {subject} again with these gates at one value everywhere. 0 closes "
                "their transfers, 1 makes them plain HRNet transfers; their own mean takes only "
                "the choice of places away.",
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
            f"Mean here, {mean:.2f}",
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
            return held_once(shown, choice)
    except GstoVizError as error:
        st.error(plain(str(error)))
        return None


def _draw_viewer(page: Page, shown: Shown, choice: GateChoice, held: Held | None) -> Point:
    """Draw all maps; return the probed pixel."""
    point = held_point(page, shown)
    data = gate_tiles(shown, choice.subject, choice.gate, held)
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
