"""The probe on a page: where it is, how it moves, and the panel of what branches say there."""

import html
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st

from gsto_viz.explorer import cached
from gsto_viz.explorer.charts import COLORS, model_color, model_dash, model_shape
from gsto_viz.explorer.page_frame import Page
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.texts import plain
from gsto_viz.explorer.values.probe import (
    Point,
    RegionFacts,
    clamped,
    class_scores,
    pixel_profile,
    probed_pixels,
    region_at,
    region_facts,
    region_profile,
    top_classes,
)
from gsto_viz.explorer.viewer import KEY, draw_viewer, last_zoom
from gsto_viz.regions import BAND_PX, PreparedRegions
from gsto_viz.words import counted

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
    dim: bool = False,
    zoom_now: bool = False,
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
            "dim": dim,
        },
        zoom=page.state.zoom,
        opened=page.fresh or zoom_now,
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


FEW_CELLS = 1.0


def draw_probe(
    page: Page,
    shown: Shown,
    regions: PreparedRegions,
    point: Point,
    pin: Point | None,
    move: Callable[..., None],
) -> pd.DataFrame | None:
    """Draw the panel of one pixel or of the region that holds it.

    Args:
        page: The page.
        regions: Of that image.
        point: The probed pixel.
        pin: The pinned pixel, or None.
        move: Moves probe or pin: takes ``x``, ``y``, ``px``, ``py``.

    Returns:
        The profile that is drawn; None where no region is.
    """
    under = region_at(regions, point)
    number = under if page.state.pick == "region" else 0
    profile = None
    if under:
        facts = region_facts(shown, regions, cached.numbers(shown), under)
        _draw_facts(facts, _recalls(shown, regions, under))
    elif page.state.pick == "region":
        st.markdown("No region lies here: these pixels are ignored. Choose another place.")
    if under or page.state.pick == "pixel":
        profile = _profile(shown, regions, point, number)
        held = None if pin is None else pixel_profile(shown, cached.ranks(shown), pin)
        draw_profile(profile, held)
        _draw_scores(shown, regions, point, number)
    _draw_place(shown, point, pin, move)
    return profile


def _recalls(shown: Shown, regions: PreparedRegions, number: int) -> dict[str, float]:
    """Return the share of a region's pixels that have its class; nothing without labels."""
    if shown.sample.labels is None or shown.pose:
        return {}
    inside = regions.regions.ids == number
    own = regions.regions.class_id[number - 1]
    return {x: float((shown.inspections[x].prediction[inside] == own).mean()) for x in LETTERS}


def _profile(shown: Shown, regions: PreparedRegions, point: Point, number: int) -> pd.DataFrame:
    if number:
        return region_profile(shown, regions, cached.numbers(shown), number)
    return pixel_profile(shown, cached.ranks(shown), point)


def _draw_place(shown: Shown, point: Point, pin: Point | None, move: Callable[..., None]) -> None:
    """Draw the numeric inputs of the probe, and the pin's button."""
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        draw_coordinates(shown, point, move)
        place: Mapping[str, int | None]
        if pin is None:
            label, icon, place = "Pin this pixel", "push_pin", {"px": point.x, "py": point.y}
        else:
            label, icon, place = "Take the pin away", "close", dict.fromkeys(("px", "py"))
        st.button(label, icon=f":material/{icon}:", on_click=move, kwargs=dict(place))
    if pin is not None:
        st.markdown(f"Pinned: x {pin.x}, y {pin.y}")


def draw_profile(profile: pd.DataFrame, pinned: pd.DataFrame | None) -> None:
    """Draw percentile against stride: networks differ by colour, dash and marker.

    Args:
        profile: What ``pixel_profile`` or ``region_profile`` gave.
        pinned: The same of the pinned pixel; None: nothing is pinned.
    """
    table = profile.assign(place="probe")
    if pinned is not None:
        table = pd.concat([table, pinned.assign(place="pin")], ignore_index=True)
    table = table[["model", "stride", "percentile", "place"]].round({"percentile": 4})
    st.vega_lite_chart(
        _profile_spec() | {"datasets": {"profile": table}},
        width="stretch",
        alt="Percentile by stride at the probe, A and B",
    )


@cache
def _profile_spec() -> dict[str, Any]:
    """Return the chart without its data: a browser that holds it only exchanges the numbers.

    Building it anew would keep the browser busy for longer than everything else a click does.
    """
    chart = (
        alt.Chart(alt.NamedData("profile"))
        .mark_line(point={"size": 70, "filled": True})
        .encode(
            x=alt.X("stride:O", title="stride of the branch (px)", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("percentile:Q", title="percentile", scale=alt.Scale(domain=[0, 1])),
            color=model_color(),
            shape=model_shape(),
            strokeDash=model_dash(),
            opacity=alt.condition("datum.place == 'pin'", alt.value(0.45), alt.value(1.0)),
            detail="place:N",
        )
        .properties(height=170)
    )
    spec: dict[str, Any] = chart.to_dict()
    return spec


def _draw_scores(shown: Shown, regions: PreparedRegions, point: Point, number: int) -> None:
    """Draw the best classes of both networks."""
    where = "mean over the region" if number else "at the pixel"
    what = f"{'Heat maps of joints' if shown.pose else 'Class scores (softmax)'}, {where}"
    scores = class_scores(shown, probed_pixels(regions, point, number))
    st.markdown(f"**{what}**")
    st.html(scores_html(top_classes(shown, scores), "joint" if shown.pose else "class"))


def scores_html(scores: pd.DataFrame, what: str = "class") -> str:
    """Return class scores as an HTML table with bars: lighter for a browser than a data frame.

    Args:
        scores: What ``top_classes`` gave.
        what: Heads the names.
    """
    head = "".join(f'<th scope="col">{name}</th>' for name in (what, *LETTERS))
    body = "".join(
        f'<tr><th scope="row">{html.escape(str(row["class"]))}</th>'
        + "".join(_bar_cell(float(row[x]), color) for x, color in zip(LETTERS, COLORS, strict=True))
        + "</tr>"
        for _, row in scores.iterrows()
    )
    return f'<table class="scores"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _bar_cell(score: float, color: str) -> str:
    """Return a cell with a score above a bar of that length, of 0..1."""
    share = f"{100 * min(max(score, 0.0), 1.0):.1f}%"
    bar = f"linear-gradient({color}, {color}) 0 100% / {share} 4px no-repeat content-box"
    return f'<td style="background: {bar}">{score:.3f}</td>'


def _draw_facts(facts: RegionFacts, recalls: Mapping[str, float]) -> None:
    """Describe the region, whether it is found, its q, and how it lies among the others."""
    right = ", ".join(f"{letter} {100 * share:.0f} %" for letter, share in recalls.items())
    lines = [
        f"**{plain(facts.class_name)}**, {2**facts.size_octave:.0f} px large "
        f"({facts.area_px} px in all)" + (f". Labelled right: {right} of it." if right else "."),
        "q (0: what pooling alone gives, above: coarser): "
        + ", ".join(f"{letter} **{facts.q[letter]:+.3f}**" for letter in LETTERS)
        + ".",
        _pairs_text(facts),
    ]
    st.markdown("  \n".join(lines))


def _pairs_text(facts: RegionFacts) -> str:
    """State how the branches order the region among the others of the image."""
    if facts.wrong is None:
        return "It is too small for statistics, or a grid has no valid cell of it."
    if facts.pairs == 0:
        return "No other region here is an octave larger or smaller: it is in no pair."
    wrong = ", ".join(f"{letter} {facts.wrong[letter]:g}" for letter in LETTERS)
    found = counted(facts.pairs, "pair")
    return f"It is in {found} of this image's SCI; the wrong way round: {wrong}."


def part_text(facts: RegionFacts) -> str:
    """State over which pixels the numbers of a region are means."""
    if facts.part == "core":
        return (
            f"Percentiles and q are means over the core of region {facts.number}, {facts.part_px} "
            f"px deeper than {BAND_PX:g} px; raw values and scores over the whole region."
        )
    return "The region has next to no core, so all numbers are means over the whole region."


def draw_table(profile: pd.DataFrame) -> None:
    """Draw the profile as a table, and warn of branches that cannot resolve the region."""
    thin = sorted(set(profile.loc[profile["cells"] < FEW_CELLS, "stride"]))
    if thin:
        names = ", ".join(f"/{stride}" for stride in thin)
        st.markdown(f"The region is smaller than one cell of {names}: those values are shared.")
    st.markdown(profile_text(profile))


def profile_text(profile: pd.DataFrame) -> str:
    """Return the profile as a Markdown table: a tenth of the bytes of a data frame per click.

    Args:
        profile: What ``pixel_profile`` or ``region_profile`` gave.

    Returns:
        One row per stride, with percentile, raw value and the range of the raw map for A and B.
    """
    names = ("percentile", "raw", "raw map from .. to")
    head = ["stride (px)", *(f"{letter} {name}" for letter in LETTERS for name in names), "cells"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---:|" * len(head)]
    for stride, rows in profile.groupby("stride"):
        cells = [f"/{stride}"]
        for letter in LETTERS:
            row = rows[rows["model"] == letter].iloc[0]
            rank = "no value" if np.isnan(row["percentile"]) else f"{row['percentile']:.3f}"
            cells += [rank, f"{row['raw']:.4g}", f"{row['low']:.3g} .. {row['high']:.3g}"]
        cells.append(f"{rows['cells'].iloc[0]:.4g}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
