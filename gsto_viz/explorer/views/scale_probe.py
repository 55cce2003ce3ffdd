"""The page "Scale probe": one drawn object grows and shrinks, and the branches trade places."""

from collections.abc import Mapping, Sequence
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
from gsto_viz.explorer.pair_header import choose_networks, run_pair
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
from gsto_viz.network import open_network
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
    sample = drawn_picture(drawn).sample
    model = cached.network(choice)
    with cached.FORWARD:
        inspection = open_network(model).look(sample.image)
    return inspection.strides, object_response(inspection, sample)


@cached.kept(32)
def drawn_regions(shown: Shown, picture: Picture) -> PreparedRegions:
    """Return the object and its surroundings as regions."""
    return object_regions(picture.sample, shown.inspections["A"].strides)


@cached.kept(16)
def drawn_tiles(shown: Shown, _found: PreparedRegions) -> dict[str, Any]:
    """Return what the viewer gets; it must not be changed."""
    return make_viewer_data(shown, _found, mode="percentile", difference=False)


KEY = "object-viewer"
MARK = "object_mark"
"""Key of the session state: where the viewer's mark is."""
ASKED, MEASURED = "object_curves_asked", "object_curves_measured"
"""Keys of the session state: the curves that were asked for, and those that are measured."""
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
    with st.container(border=True):
        choose_networks(page)
    st.info(f"{ONE} {SCI}", icon=":material/science:")
    _take_click(page)
    wanted = _choose_object(page)
    drawn = moved_inside(wanted)
    _mark_object(drawn)
    try:
        picture = drawn_picture(drawn)
        shown = run_pair(page, picture)
    except GstoVizError as error:
        st.error(plain(str(error)))
        page.write_link()
        return
    if (drawn.x, drawn.y) != (wanted.x, wanted.y):
        st.markdown(
            f"The object does not fit where it was put; it is drawn at x {drawn.x}, y {drawn.y}."
        )
    _draw_shown(page, shown, picture, drawn)
    _draw_curves(page, wanted, drawn_side(picture.sample))
    draw_exports(partial(object_exports, shown, page.state, partial(_measure, shown.choices)))
    page.write_link()


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


def _draw_shown(page: Page, shown: Shown, picture: Picture, drawn: DrawnObject) -> None:
    """Draw the viewer and what the branches say of the object."""
    regions = drawn_regions(shown, picture)
    draw_colors({"map": SCALE[1]}, key=KEY)
    data = drawn_tiles(shown, regions)
    draw_tiles(page, data, Point(drawn.x, drawn.y), shown.size, outline=True, key=KEY)
    st.markdown(
        f"{plain(picture.description)} Click a tile to put the object there; arrow keys move it. "
        "The mark is the middle of the object's bounding box, which a thin object may not cover. "
        "Each map shows the rank of every cell among the cells of this image (percentile, fixed "
        "bar 0 to 1) of the channel average, after each channel was divided by its spread over "
        f"training images. Branch maps: {plain(shown.sites)}."
    )
    number = object_number(regions)
    profile = region_profile(shown, regions, region_numbers(shown, regions), number)
    st.header(f"What the branches say of this {drawn.name}", anchor=False)
    left, right = st.columns([2, 3], gap="medium")
    with left:
        draw_profile(profile, None)
    right.markdown(_facts(shown, regions, picture, drawn))
    draw_table(profile)


def _facts(shown: Shown, regions: PreparedRegions, picture: Picture, drawn: DrawnObject) -> str:
    """Return q, and how much of the object each network labels right, in words."""
    numbers = region_numbers(shown, regions)
    q = {letter: float(numbers[letter]["q"][object_number(regions) - 1]) for letter in LETTERS}
    words = ", ".join(f"{letter} {value:+.3f}" for letter, value in q.items())
    lines = [f"q (coarseness at matched resolution, larger = coarser): {words}."]
    found = object_share(shown, picture.sample, drawn.name)
    if found is not None:
        shares = ", ".join(f"{letter} {100 * share:.0f} %" for letter, share in found.items())
        lines.append(f"Pixels of the object that are labelled {drawn.name}: {shares}.")
    return "  \n".join(lines)


def _draw_curves(page: Page, wanted: DrawnObject, side: float) -> None:
    """Draw the tuning curves of A and B, once they were asked for."""
    st.header("Tuning curves", anchor=False)
    choices = {letter: page.choice(letter) for letter in LETTERS}
    key = (*(cached.fingerprint(one) for one in choices.values()), wanted.name, wanted.x, wanted.y)
    asked: set[tuple[Any, ...]] = st.session_state.setdefault(ASKED, set())
    objects = curve_objects(wanted)
    if page.fresh and page.state.curves:
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
            f"place and runs both networks on each: {2 * len(objects)} forward passes."
        )
        return
    table, left_out = _measured(choices, objects, key)
    for sentence in left_out:
        st.markdown(f"Left out: {plain(sentence)}.")
    if not table.empty:
        _draw_tables(table, objects, wanted, side)


def _measured(
    choices: Mapping[str, Choice], objects: Sequence[DrawnObject], key: tuple[Any, ...]
) -> tuple[pd.DataFrame, list[str]]:
    """Run both networks on every object, or fetch what that gave; say which sizes were left out."""
    done: set[tuple[Any, ...]] = st.session_state.setdefault(MEASURED, set())
    if key in done:
        return measure_curves(objects, partial(_measure, choices))
    bar = st.progress(0.0, "Measuring")
    found = measure_curves(
        objects,
        partial(_measure, choices),
        lambda k: bar.progress(k / len(objects), f"{objects[k].side} px through A and B"),
    )
    bar.empty()
    done.add(key)
    return found


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
            st.markdown(f"{letter}: {trades_places(rows)}.")
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
