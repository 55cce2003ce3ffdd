"""The page "Explore": two networks on one image, branch by branch, pixel by pixel."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from gsto_viz.explorer import cached
from gsto_viz.explorer.charts import draw_fans
from gsto_viz.explorer.exports.explore import explore_exports
from gsto_viz.explorer.exports.files import sizes_csv
from gsto_viz.explorer.page_frame import Page, draw_exports
from gsto_viz.explorer.pair_header import open_pair
from gsto_viz.explorer.probing import (
    PICK_NAMES,
    draw_probe,
    draw_table,
    draw_tiles,
    held_point,
    move_probe,
    part_text,
)
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.texts import plain, safe_name
from gsto_viz.explorer.values.probe import (
    HeardCells,
    Point,
    center_of,
    head_count,
    heard_at,
    image_objects,
    pinned,
    region_at,
    region_facts,
    relation_arrows,
    side_by_side,
    zoom_to,
)
from gsto_viz.explorer.values.tiles import (
    DIVERGING,
    answer_row,
    object_ranks,
    object_words,
    skeletons_in_words,
)
from gsto_viz.explorer.values.verdict import (
    Ordered,
    find_ordered,
    image_verdict,
    many_verdict,
)
from gsto_viz.explorer.view_state import COLORS, PICKS, ViewState
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
ANSWERS = {"q": "Coarseness q of objects", "branch": "Strongest branch"}
"""What the maps of who answers show."""
STRONGEST = (
    "The strongest branch of every cell is easier to read than q, but pooling alone moves it: a "
    "coarser copy of the same map wins elsewhere without having learnt anything."
)
PANEL, TABLE, ZOOM_TO = "probe-panel", "objects-table", "zoom_to_object"
STYLE = f"""<style>
.stMainBlockContainer {{ padding-left: 1.5rem; padding-right: 1.5rem; }}
.stMainBlockContainer h1 {{ font-size: 1.15rem; padding: 0 0 0.8rem; }}
.stMainBlockContainer > .stVerticalBlock {{ gap: 0.4rem; }}
.st-key-{PANEL} {{ gap: 0.35rem; }}
@media (min-width: 900px) {{
  .stColumn:has(.st-key-{PANEL}) {{
    position: sticky; top: 7rem; align-self: flex-start;
    max-height: calc(100vh - 7.5rem); overflow-y: auto;
  }}
}}
.st-key-{PANEL} table.scores td, .st-key-{PANEL} table.scores th {{ height: 1.5rem; }}
</style>"""
"""The answer beside what is clicked, in one window."""


def draw_page() -> None:
    """Draw the whole page."""
    menus: list[Any] = []
    opened = open_pair(
        "explore",
        "Which branch answers for which object?",
        lambda page: menus.append(_choose_display(page)),
    )
    st.html(STYLE)
    if opened is None:
        return
    page, shown = opened
    # First of all: other colours need nothing of what follows.
    colors = {"map": page.state.colors, "difference": DIVERGING}
    draw_colors(colors, opacity=page.state.opacity)
    with menus[0]:
        choose_heard(page, shown)
    objects = objects_of(shown)
    _draw_verdict(page, shown, objects)
    _open_small(page, shown, objects)
    _probe_fragment(page, shown)
    draw_objects(page, shown, objects)
    draw_sizes(shown)


@cached.kept(32)
def objects_of(shown: Shown) -> pd.DataFrame:
    """Return the regions of an image and how both networks order them, once; not to be changed."""
    return image_objects(shown, cached.regions(shown), cached.numbers(shown))


@cached.kept(64)
def _ordered(
    fingerprints: dict[str, str], folders: tuple[tuple[str, Path, float], ...]
) -> Ordered | None:
    return find_ordered(fingerprints, [(name, path) for name, path, _ in folders])


def _draw_verdict(page: Page, shown: Shown, objects: pd.DataFrame) -> None:
    """Draw the answer: which network orders objects by size, here and over many images."""
    folders = tuple(
        (run.key, run.path, run.path.stat().st_mtime) for run in page.runs if run.kind == "analysis"
    )
    ordered = _ordered(shown.fingerprints, folders)
    if ordered is not None:
        ordered = replace(ordered, where=plain(ordered.where))
    source = ""
    if shown.sample.labels is None:
        source = f" (Regions are cut from {shown.region_source}: there is no right or wrong here.)"
    with st.container(key="verdict"):
        st.markdown(f"{image_verdict(objects)}{source} {many_verdict(ordered)}")


def _open_small(page: Page, shown: Shown, objects: pd.DataFrame) -> None:
    """Zoom to the object of a link where it would be too small to be seen."""
    state = page.state
    if not page.fresh or state.zoom or state.x is None or state.pick != "region":
        return
    number = region_at(cached.regions(shown), held_point(page, shown))
    if number and objects["size_px"].iloc[number - 1] < SMALL_PX:
        page.note(zoom=zoom_to(cached.regions(shown), number))


SMALL_PX = 24
"""Smaller objects of a link are zoomed to."""


def draw_objects(page: Page, shown: Shown, objects: pd.DataFrame) -> None:
    """Draw the table of objects; a row selects its object and zooms to it."""
    st.header("Objects of this image", anchor=False)
    if objects.empty:
        st.markdown("There is no region here.")
        return
    table = object_table(objects)
    st.dataframe(
        table,
        key=TABLE,
        hide_index=True,
        height=300,
        column_config={
            name: st.column_config.NumberColumn(format="%.0f %%" if "right" in name else "%.3f")
            for name in table.columns
            if name.startswith(("q", "change", "right"))
        },
        on_select=partial(_select_row, page, shown, objects),
        selection_mode="single-row",
        alt="Objects of the image: class, size, q of each network, wrong pairs, recall",
    )


def object_table(objects: pd.DataFrame) -> pd.DataFrame:
    """Return what the table shows, in the order of ``image_objects``; q of unusable ones too."""
    table = pd.DataFrame(
        {
            "object": objects["number"],
            "class": objects["class"],
            "size (px)": objects["size_px"].round(1),
            "q A": objects["q_A"],
            "q B": objects["q_B"],
            "change of q": objects["q_B"] - objects["q_A"],
            "pairs": objects["pairs"].astype(int),
            "wrong A": objects["wrong_A"],
            "wrong B": objects["wrong_B"],
        }
    )
    if objects["recall_A"].notna().any():
        for letter in LETTERS:
            table[f"right {letter}"] = 100 * objects[f"recall_{letter}"]
    return table


def _select_row(page: Page, shown: Shown, objects: pd.DataFrame) -> None:
    """Probe the object of the chosen row, and zoom to it."""
    rows = st.session_state[TABLE]["selection"]["rows"]
    if not rows or not 0 <= rows[0] < len(objects):
        return
    regions, number = cached.regions(shown), int(objects["number"].iloc[rows[0]])
    point = center_of(regions, number)
    move_probe(page, x=point.x, y=point.y)
    page.note(zoom=zoom_to(regions, number))
    st.session_state[ZOOM_TO] = True


def _choose_display(page: Page) -> Any:
    """Draw scale and colours of the maps, and return the menu of all that is chosen seldom."""
    bare = {"label_visibility": "collapsed"}
    scale = partial(
        st.selectbox,
        "Scale of the maps",
        tuple(MODES),
        format_func=lambda name: MODES[name].label,
        width=165,
        **bare,
    )
    page.bound("mode", scale, tuple(MODES))
    colors = partial(
        st.selectbox, "Colours", COLORS, format_func=COLOR_NAMES.__getitem__, width=120, **bare
    )
    page.bound("colors", colors, COLORS)
    menu = st.popover("More", icon=":material/tune:", key="more-menu")
    with menu:
        pick = partial(
            st.segmented_control,
            "A click reads",
            PICKS,
            format_func=PICK_NAMES.__getitem__,
            required=True,
            help="The cell under the pixel, or the mean over the object that holds it",
        )
        page.bound("pick", pick, PICKS)
        st.segmented_control(
            "Maps of who answers",
            tuple(ANSWERS),
            default=next(iter(ANSWERS)),
            key="answers",
            format_func=ANSWERS.__getitem__,
            required=True,
        )
        page.bound("opacity", partial(st.slider, "Maps over image", 0.1, 1.0, step=0.1))
        page.bound("difference", partial(st.toggle, "Differences: B minus A"))
        if page.state.colors == "jet":
            st.markdown(JET)
    return menu


@cached.kept(24)
def _answers(shown: Shown, view: str) -> dict[str, Any]:
    objects = objects_of(shown)
    return {
        "row": answer_row(shown, objects, view),
        "objects": object_words(objects),
        "ranks": object_ranks(shown, cached.numbers(shown)),
    }


def _tiles(shown: Shown, state: ViewState, view: str) -> dict[str, Any]:
    """Return what the viewer gets: who answers above, the branches below."""
    answers = _answers(shown, view)
    data = cached.viewer_data(shown, state.mode, difference=state.difference)
    # The image stands beside who answers; labels and predictions come below the branches.
    first, *branches = data["rows"]
    rows = [answers["row"], *branches, {**first, "tiles": first["tiles"][1:]}]
    said = {name: answers[name] for name in ("objects", "ranks")}
    return {**data, "rows": rows, "fitted": 1 + len(LETTERS), **said}


@st.fragment
def _probe_fragment(page: Page, shown: Shown) -> None:
    """Draw the viewer and the probe panel; a click runs nothing but this."""
    state = page.state
    regions = cached.regions(shown)
    point = held_point(page, shown)
    pin = pinned(state, shown.size)
    view = st.session_state.get("answers") or next(iter(ANSWERS))
    left, right = st.columns([2, 1], gap="medium")
    with left:
        clicked = draw_tiles(
            page,
            _tiles(shown, state, view),
            point,
            shown.size,
            pin=pin,
            outline=True,
            dim=state.pick == "region",
            zoom_now=bool(st.session_state.pop(ZOOM_TO, False)),
        )
        if clicked is not None:
            point = clicked
        page.note(x=point.x, y=point.y)
    heard = heard_at(shown, state, point)
    if heard:
        draw_heard({letter: one.cells for letter, one in heard.items()}, point)
    with right, st.container(key=PANEL):
        profile = draw_probe(page, shown, regions, point, pin, move=partial(move_probe, page))
    if view == "branch":
        st.markdown(STRONGEST)
    if profile is not None:
        draw_table(profile)
    under = region_at(regions, point)
    if under and state.pick == "region":
        st.markdown(part_text(region_facts(shown, regions, cached.numbers(shown), under)))
    draw_heard_panel(shown, heard, point)
    draw_exports(partial(explore_exports, shown, regions, page.state))
    st.markdown(_caption(shown, state.mode))
    page.write_link()


def _caption(shown: Shown, mode: str) -> str:
    raw = "" if MODES[mode].raw else " Hovering also gives the raw channel mean."
    what = plain(shown.picture.description) + skeletons_in_words(shown)
    return (
        f"{what} {MODES[mode].meaning}{raw} Branch maps: {plain(shown.sites)}; one cell of stride "
        "s covers s x s pixels. Click a tile and use the wheel to zoom, drag to move, arrow keys "
        "to step by one cell."
    )
