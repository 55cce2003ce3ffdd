"""The page "Scale probe": one drawn object grows and shrinks, and the branches trade places."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer import cached
from gsto_viz.explorer.charts import coarseness_chart, tuning_chart
from gsto_viz.explorer.checkpoints import Choice
from gsto_viz.explorer.exports.scale_probe import ONE, SCALE, object_exports
from gsto_viz.explorer.page_frame import Page, draw_exports, open_page
from gsto_viz.explorer.pair_header import choose_networks, run_pair, toolbar
from gsto_viz.explorer.pictures import Picture
from gsto_viz.explorer.probing import (
    draw_number,
    draw_profile,
    draw_table,
    draw_tiles,
    raise_turn,
    turn,
)
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.texts import plain
from gsto_viz.explorer.values.probe import Point, region_numbers, region_profile
from gsto_viz.explorer.values.scale_probe import (
    HEIGHT,
    OBJECTS,
    SIZES,
    WIDTH,
    DrawnObject,
    Measured,
    Response,
    curve_objects,
    draw_object,
    drawn_of,
    drawn_side,
    measure_curves,
    moved_inside,
    nearest_size,
    object_number,
    object_regions,
    object_response,
    object_share,
    sizes_that_fit,
    trades_places,
)
from gsto_viz.explorer.values.tiles import viewer_data as make_viewer_data
from gsto_viz.explorer.viewer import draw_colors, last_click
from gsto_viz.regions import PreparedRegions
from gsto_viz.types import Stride


@cached.kept_copies(64, "128MB")
def drawn_picture(drawn: DrawnObject) -> Picture:
    """Render an object once.

    Raises:
        GstoVizError: It does not fit there.
    """
    return draw_object(drawn)


@cached.kept_copies(2000)
def drawn_response(choice: Choice, drawn: DrawnObject) -> tuple[tuple[Stride, ...], Response]:
    """Return the strides of a network, and what its branches say of an object; run once.

    Raises:
        GstoVizError: The checkpoint cannot be used, or the object does not fit there.
    """
    picture = drawn_picture(drawn)
    inspection = cached.inspect(choice, picture)
    return inspection.strides, object_response(inspection, picture.sample)


@cached.kept_copies(64)
def _pair_s(prints: tuple[str, ...], _measure: Callable[[str], object]) -> float:
    """Time both networks on one object; the page has run them before, so they are warm."""
    begin = time.perf_counter()
    with suppress(GstoVizError):
        for letter in LETTERS:
            _measure(letter)
    return time.perf_counter() - begin


@cached.kept(32)
def drawn_regions(shown: Shown) -> PreparedRegions:
    """Return the object and its surroundings as regions."""
    return object_regions(shown.sample, shown.inspections["A"].strides)


@cached.kept(32)
def drawn_tiles(shown: Shown, _found: PreparedRegions) -> dict[str, Any]:
    """Return what the viewer gets; it must not be changed."""
    return make_viewer_data(shown, _found, mode="percentile", difference=False)


KEY = "object-viewer"
MARK = "object_mark"
"""Key of the session state: where the viewer's mark is."""
ASKED = "object_curves_asked"
"""Key of the session state: the curves that were asked for."""
PLAY, NEXT = "object_play_at", "object_next_side"
"""Keys of the session state while sizes are played: when the next one is due (s), and which."""
PLAY_S, ASK_S = 0.8, 0.3
"""Seconds that a size is shown for, at least, and between looks whether the next one is due."""
QUICK_S = 10.0
"""Curves that take no longer are measured when the page is opened, unasked."""
SCI = (
    "How often branches order real objects the wrong way round is the SCI over many images, with "
    "an interval and null models (`gsto-viz analyze`)."
)


def draw_page() -> None:
    """Draw the whole page."""
    page = open_page("scale-probe", "Do the branches trade places when an object grows?")
    if page is None:
        return
    if page.fresh:
        raise_turn()
        st.session_state.pop(PLAY, None)
    with toolbar():
        choose_networks(page)
    _take_click(page)
    wanted = _choose_object(page)
    drawn = moved_inside(wanted)
    _mark_object(drawn)
    verdict = st.container()
    st.markdown(f"{ONE} {SCI}")
    try:
        shown = run_pair(page, drawn_picture(drawn))
    except GstoVizError as error:
        st.error(plain(str(error)))
        page.write_link()
        return
    if (drawn.x, drawn.y) != (wanted.x, wanted.y):
        st.markdown(
            f"The object does not fit where it was put; it is drawn at x {drawn.x}, y {drawn.y}."
        )
    _draw_shown(page, shown, drawn)
    table = _draw_curves(page, shown.choices, wanted, drawn_side(shown.sample))
    if table is not None:
        found = (f"**{letter}**: {trades_places(rows)}." for letter, rows in table.groupby("model"))
        verdict.markdown("  \n".join(found))
    draw_exports(partial(object_exports, shown, page.state, partial(_measure, shown.choices)))
    if PLAY in st.session_state:
        _step(wanted)
    else:
        # What is played would fill the browser's history.
        page.write_link()


def _play(wanted: DrawnObject, *, start: bool) -> None:
    """Begin to play the sizes, at the smallest where the largest is shown; or stop."""
    if not start:
        st.session_state.pop(PLAY, None)
        return
    st.session_state[PLAY] = 0.0
    sides = [one.side for one in curve_objects(wanted)]
    if wanted.side >= sides[-1]:
        st.session_state[NEXT] = sides[0]


@st.fragment(run_every=ASK_S)
def _step(wanted: DrawnObject) -> None:
    """Show the next size when it is due; after the largest, stop."""
    due = st.session_state.get(PLAY)
    if due is None:
        return
    now = time.monotonic()
    if due == 0.0 or now < due:
        st.session_state[PLAY] = due or now + PLAY_S
        return
    larger = [one.side for one in curve_objects(wanted) if one.side > wanted.side]
    if larger:
        st.session_state[PLAY], st.session_state[NEXT] = 0.0, larger[0]
    else:
        st.session_state.pop(PLAY)
    st.rerun()


def _take_click(page: Page) -> None:
    """Put the object where the viewer was clicked."""
    point = last_click((HEIGHT, WIDTH), turn(), key=KEY)
    if point is not None:
        st.session_state[MARK] = point
        page.note(ox=point.x / WIDTH, oy=point.y / HEIGHT)


def _mark_object(drawn: DrawnObject) -> None:
    """Move the viewer's mark where the page has moved the object."""
    point = Point(drawn.x, drawn.y)
    if st.session_state.get(MARK) != point:
        st.session_state[MARK] = point
        raise_turn()


def _choose_object(page: Page) -> DrawnObject:
    """Draw the controls of the object; return it where it is wanted."""
    if page.fresh and page.state.object not in (None, *OBJECTS):
        st.warning(
            "The link's object is none that can be drawn; another one is shown.",
            icon=":material/link_off:",
        )
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        name = page.bound(
            "object",
            lambda key: st.selectbox("Object", OBJECTS, key=key, width=180),
            OBJECTS,
        )
        sizes = sizes_that_fit(name)
        if (side := st.session_state.pop(NEXT, None)) in sizes:
            page.note(side=side)
            st.session_state["side"] = side
        _keep_size(page, sizes)
        page.bound(
            "side",
            lambda key: st.select_slider(
                "Size: square root of its area",
                sizes,
                key=key,
                format_func=lambda size: f"{size} px",
                width=420,
                help="In steps of a quarter octave, as far as the object fits into the image.",
            ),
            sizes,
        )
        playing = PLAY in st.session_state
        st.button(
            "Stop" if playing else "Play the sizes",
            key="play-sizes",
            icon=":material/stop:" if playing else ":material/play_arrow:",
            on_click=partial(_play, drawn_of(page.state), start=not playing),
        )
        _choose_place(page)
    if sizes[-1] < SIZES[-1]:
        st.markdown(f"A {name} larger than {sizes[-1]} px does not fit into the image.")
    return drawn_of(page.state)


def _keep_size(page: Page, sizes: Sequence[int]) -> None:
    """Take the nearest size where the wanted one cannot be chosen."""
    wanted = page.state.side if page.fresh else st.session_state.get("side", page.state.side)
    if wanted not in sizes:
        side = nearest_size(wanted, sizes)
        if page.fresh:
            st.warning(
                f"The object cannot be drawn at {wanted} px; the nearest size is {side} px.",
                icon=":material/link_off:",
            )
        page.note(side=side)
        st.session_state["side"] = side


def _choose_place(page: Page) -> None:
    """Draw the inputs of the object's middle, the way to place it by keyboard."""
    wanted = drawn_of(page.state)
    for field, at, size, what in (
        ("ox", wanted.x, WIDTH, "x (column"),
        ("oy", wanted.y, HEIGHT, "y (row"),
    ):
        draw_number(f"{what} of its middle, px)", at, size, partial(_typed, page, field, size), 170)


def _typed(page: Page, field: str, size: int, value: int) -> None:
    page.note(**{field: value / size})
    raise_turn()


def _draw_shown(page: Page, shown: Shown, drawn: DrawnObject) -> None:
    """Draw the viewer and what the branches say of the object."""
    regions = drawn_regions(shown)
    draw_colors({"map": SCALE[1]}, key=KEY)
    data = drawn_tiles(shown, regions)
    draw_tiles(page, data, Point(drawn.x, drawn.y), shown.size, outline=True, key=KEY)
    st.markdown(
        f"{plain(shown.picture.description)} Click a tile to put the object there; arrow keys move "
        "it. The mark is the middle of the object's bounding box, which a thin object may not "
        "cover. Each map shows the rank of every cell among the cells of this image (percentile, "
        "fixed bar 0 to 1) of the channel average, after each channel was divided by its spread "
        f"over training images. Branch maps: {plain(shown.sites)}."
    )
    profile = region_profile(shown, regions, region_numbers(shown, regions), object_number(regions))
    st.header(f"What the branches say of this {drawn.name}", anchor=False)
    left, right = st.columns([2, 3], gap="medium")
    with left:
        draw_profile(profile, None)
    right.markdown(_facts(shown, regions, drawn))
    draw_table(profile)


def _facts(shown: Shown, regions: PreparedRegions, drawn: DrawnObject) -> str:
    """Return q, and how much of the object each network labels right, in words."""
    numbers = region_numbers(shown, regions)
    q = {letter: float(numbers[letter]["q"][object_number(regions) - 1]) for letter in LETTERS}
    words = ", ".join(f"{letter} {value:+.3f}" for letter, value in q.items())
    lines = [f"q (coarseness at matched resolution, larger = coarser): {words}."]
    found = object_share(shown, shown.sample, drawn.name)
    if found is not None:
        shares = ", ".join(f"{letter} {100 * share:.0f} %" for letter, share in found.items())
        lines.append(f"Pixels of the object that are labelled {drawn.name}: {shares}.")
    return "  \n".join(lines)


def _draw_curves(
    page: Page, choices: Mapping[str, Choice], wanted: DrawnObject, side: float
) -> pd.DataFrame | None:
    """Draw the tuning curves of A and B, once they were asked for; at first, if that is quick.

    Returns:
        What ``curve_table`` gives; None where nothing was measured.
    """
    st.header("Tuning curves", anchor=False)
    prints = tuple(cached.fingerprint(one) for one in choices.values())
    key = (*prints, wanted.name, wanted.x, wanted.y)
    asked: set[tuple[Any, ...]] = st.session_state.setdefault(ASKED, set())
    objects = curve_objects(wanted)
    measure = partial(_measure, choices)
    seconds = len(objects) * _pair_s(prints, lambda letter: measure(letter, objects[0]))
    # Not after a click: the next one would have to wait.
    opened = page.fresh and (page.state.curves or seconds < QUICK_S)
    if opened or PLAY in st.session_state:
        asked.add(key)
    page.note(curves=key in asked)
    if key not in asked:
        st.button(
            f"Measure A and B at {len(objects)} sizes",
            key="measure-curves",
            icon=":material/ssid_chart:",
            on_click=asked.add,
            args=(key,),
        )
        st.markdown(
            f"Draws this {wanted.name} at {objects[0].side} to {objects[-1].side} px around this "
            f"place and runs both networks on each: about {seconds:.0f} s."
        )
        return None
    with st.spinner(f"Running A and B at {len(objects)} sizes", show_time=True):
        table, left_out = measure_curves(objects, measure)
    for sentence in left_out:
        st.markdown(f"Left out: {plain(sentence)}.")
    if table.empty:
        return None
    _draw_tables(table, objects, wanted, side)
    return table


def _measure(choices: Mapping[str, Choice], letter: str, drawn: DrawnObject) -> Measured:
    # Downloads call this after the run, when there is no session to ask.
    return drawn_response(choices[letter], drawn)


def _draw_tables(
    table: pd.DataFrame, objects: Sequence[DrawnObject], wanted: DrawnObject, side: float
) -> None:
    """Draw curves, what they say, and offer the numbers."""
    columns = st.columns(3, gap="medium")
    for column, letter in zip(columns, LETTERS, strict=False):
        rows = table[table["model"] == letter]
        strides = sorted(rows["stride"].unique().tolist())
        with column:
            st.markdown(f"**{letter}: response by branch**")
            chart = tuning_chart(rows.round(5), strides, side)
            st.altair_chart(chart, width="stretch", alt=f"Tuning curves of {letter} by branch")
    with columns[2]:
        st.markdown("**q of A and B**")
        chart = coarseness_chart(table.round(5), side)
        st.altair_chart(chart, width="stretch", alt="q of A and B against the object's size")
        st.markdown("A network that is aware of scale has a q that rises with size.")
    moved = [one.side for one in objects if (one.x, one.y) != (wanted.x, wanted.y)]
    where = f"x {wanted.x}, y {wanted.y}"
    if moved:
        names = ", ".join(str(one) for one in moved)
        where += f", and nearest to it where the object fits at {names} px"
    st.markdown(
        f"The middle of the object is at {where}. The dashed line is the size that is shown above. "
        "A branch that is aware of scale answers for its own sizes: /4 falls as the object grows "
        "and the coarsest branch rises. This is one object on one background."
    )
