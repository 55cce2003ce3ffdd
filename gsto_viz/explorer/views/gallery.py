"""The panel "Gallery" of the page "Sizes": thumbnails that open in Explore; analyses begin here."""

from collections.abc import Sequence
from functools import partial

import streamlit as st

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer import analyses, cached, server
from gsto_viz.explorer.folders import Place, place_of
from gsto_viz.explorer.links import Link, draw_links
from gsto_viz.explorer.page_frame import Page
from gsto_viz.explorer.pictures import data_picture, scene_picture
from gsto_viz.explorer.shown import LETTERS
from gsto_viz.explorer.texts import plain
from gsto_viz.explorer.values.images import (
    ORDER_NAMES,
    SHEET,
    image_scores,
    ordered,
    score_words,
    thumbnail,
)
from gsto_viz.explorer.values.sizes import Choices, Subject
from gsto_viz.explorer.view_state import MAX_SCENE, ORDERS
from gsto_viz.explorer.views.size_regions import chosen_networks

SCORES = (
    "SCI and mIoU: B - A in this image, below 0 where B orders objects better, above 0 where B "
    "segments better. Apart: mean distance of the two q of a region. One image is an example."
)
SCENES_SPEC = "scenes:count={count},seed=0,size=256x512"
"""The scenes that "Explore" shows, as data."""
scores_of = cached.kept(16)(image_scores)


def draw_gallery(page: Page, subject: Subject, choices: Choices) -> None:
    """Draw one sheet of thumbnails, and a way to analyze the images."""
    places = _places(page, subject)
    if isinstance(places, str):
        st.markdown(places)
        return
    scores = None if subject.report is None else scores_of(subject, choices)
    order = _choose_order(page, has_scores=scores is not None)
    ids = ordered(list(places), scores, order)
    sheet = _choose_sheet(page, len(ids))
    networks, same = chosen_networks(page, subject)
    links = []
    with st.spinner("Reading the images"):
        for image in ids[sheet * SHEET : (sheet + 1) * SHEET]:
            place = places[image]
            query = place.query() | networks
            note = score_words(scores, image)
            links.append(Link("explore", query, image, note, _thumbnail(place, _spec())))
    if scores is not None:
        st.markdown(SCORES)
    if not same:
        st.markdown("The networks of this analysis are not offered here; Explore shows others.")
    draw_links(links, key="gallery-links")
    if subject.report is None:
        _draw_analysis(page)


def _spec() -> str:
    return server.offered().data or ""


def _places(page: Page, subject: Subject) -> dict[str, Place] | str:
    """Return the images by id with where they are, or one sentence that says why there are none."""
    data = cached.data_set()
    report = subject.report
    if report is None:
        if page.state.source == "scene":
            return {f"Scene {k}": Place("scene", scene=k) for k in range(MAX_SCENE + 1)}
        if page.state.source == "data" and data is not None:
            return {image: Place("data", image=image) for image in data.ids}
        return "An upload is one image; the gallery shows scenes and data sets."
    resized = report.manifest["size"] is not None
    found = {image: place_of(image, report.data, resized, data) for image in report.clusters}
    places = {image: place for image, place in found.items() if isinstance(place, Place)}
    why = next((place for place in found.values() if isinstance(place, str)), "")
    return places or why


@st.cache_data(max_entries=1000, max_size="32MB", show_spinner=False)
def _thumbnail(place: Place, spec: str) -> str:
    """Return the thumbnail of an image; empty: it cannot be read."""
    try:
        if place.source == "scene":
            return thumbnail(scene_picture(place.scene).sample.image)
        data = cached.data_set()
        assert data is not None
        return thumbnail(data_picture(data, data.ids.index(str(place.image))).sample.image)
    except GstoVizError:
        return ""


def _choose_order(page: Page, *, has_scores: bool) -> str:
    orders: Sequence[str] = ORDERS if has_scores else ORDERS[:1]
    if not has_scores:
        page.note(order=ORDERS[0])
        return ORDERS[0]
    order: str = page.bound(
        "order",
        lambda key: st.selectbox(
            "Order", orders, key=key, format_func=ORDER_NAMES.__getitem__, width=260
        ),
        orders,
    )
    return order


def _choose_sheet(page: Page, count: int) -> int:
    """Draw the number of the sheet; return it, from 0."""
    sheets = -(-count // SHEET)
    if page.state.sheet > sheets or st.session_state.get("sheet", 1) > sheets:
        page.note(sheet=1)
        st.session_state["sheet"] = 1
    if sheets < 2:
        page.note(sheet=1)
        return 0
    sheet = page.bound(
        "sheet",
        lambda key: st.number_input(
            f"Sheet, of {sheets}", min_value=1, max_value=sheets, step=1, key=key, width=260
        ),
    )
    return int(sheet) - 1


def _draw_analysis(page: Page) -> None:
    """Offer an analysis of these images by A and B, or show the one that runs."""
    st.subheader("Analyze many of these images", anchor=False)
    last = analyses.latest()
    if last is not None and last.running:
        _draw_progress(page)
        return
    if last is not None:
        done = f"The analysis is done: choose {last.folder.name} at the top of this page."
        problem = last.problem
        (st.success if problem is None else st.error)(plain(problem or done))
    runs = server.offered().runs
    if runs is None:
        st.markdown("Start the explorer with `gsto-viz app --runs DIR`; the analysis goes there.")
        return
    data = cached.data_set()
    of_data = page.state.source == "data" and data is not None
    most = min(len(data) if of_data and data is not None else MAX_SCENE, analyses.MAX_ANALYZED)
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        count = st.number_input(
            "Images, from the first on", 1, most, min(30, most), key="analysis-count", width=220
        )
        nulls = st.toggle("Null models (takes several times as long)", key="analysis-nulls")
        begun = st.button("Analyze with A and B", icon=":material/play_arrow:")
    if begun:
        spec = _spec() if of_data else SCENES_SPEC.format(count=count)
        networks = {letter: page.choice(letter) for letter in LETTERS}
        if networks["A"] == networks["B"]:
            del networks["B"]
        try:
            analyses.start(runs, networks, spec, int(count), nulls=nulls)
        except GstoVizError as error:
            st.error(plain(str(error)))
            return
        st.rerun()


@st.fragment(run_every=1.0)
def _draw_progress(page: Page) -> None:
    """Show how far the analysis is; the page is drawn again when it has ended."""
    last = analyses.latest()
    if last is None or not last.running:
        st.rerun()
        return
    step, share = last.progress
    st.progress(share, text=plain(f"Analyzing: {step or 'starting'}"))
    st.button("Cancel", icon=":material/close:", on_click=partial(last.cancel))
