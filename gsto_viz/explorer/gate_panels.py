"""Panels of the page "Gates": the chosen gate, what holding it changes, all gates as a table."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from gsto_viz.explorer import cached, gate_cached
from gsto_viz.explorer.gate_charts import class_chart, histogram_chart, size_chart
from gsto_viz.explorer.gate_numbers import (
    ALL,
    NEAR_TOP,
    chosen_maps,
    gate_histogram,
    gate_table,
    gates_at,
    limits_of,
    means_by_class,
    means_by_size,
)
from gsto_viz.explorer.gate_tiles import Held
from gsto_viz.explorer.probe import Point
from gsto_viz.explorer.safe_text import plain
from gsto_viz.explorer.shown import Shown


def draw_chosen(shown: Shown, gated: Sequence[str], gate: str) -> None:
    """Draw the histogram of the chosen gate, and its means by size and by class."""
    letters = [x for x in gated if chosen_maps(shown.inspections[x], gate)]
    name = f"{'All gates' if gate == ALL else gate} of {' and '.join(letters)}"
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
    means = {letter: gate_cached.region_means(shown, letter, gate) for letter in letters}
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
    rows = table if gate == ALL else table[table["gate"] == gate]
    near = high - NEAR_TOP * (high - low)
    return (
        f"{letter}: mean **{rows['mean'].mean():.3f}**, reaches {rows['lowest'].min():.3f} to "
        f"{rows['highest'].max():.3f} of {low:g} to {high:g}; "
        f"**{100 * rows['at_lower_end'].mean():.1f} %** of the cells are at {low:g} (as closed as "
        f"it gets), {100 * rows['near_upper_end'].mean():.1f} % at {near:g} or more"
        + (" (means over gates)." if gate == ALL else ".")
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
    lines = []
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
