"""The head of pages that show an image through two networks: which image, which networks."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import streamlit as st

from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate.protocols import LogitsNotFiniteError
from gsto_viz.explorer import cached
from gsto_viz.explorer.checkpoints import Choice
from gsto_viz.explorer.page_frame import Page, held_upload, hold_upload, open_page
from gsto_viz.explorer.pictures import MAX_BYTES, Picture
from gsto_viz.explorer.probing import move_probe, raise_turn
from gsto_viz.explorer.shown import (
    LETTERS,
    Shown,
    check_classes,
    gallery_scenes,
    show_pair,
    thumbnail_path,
)
from gsto_viz.explorer.texts import plain
from gsto_viz.explorer.view_state import MAX_SCENE, SOURCES
from gsto_viz.look import Look
from gsto_viz.types import Dataset

IMAGE = "image_shown"
"""Key of the session state: the image that was shown last on a page with a probe."""
SOURCE_NAMES = {"scene": "Scene", "data": "Data set", "upload": "Upload"}


def open_pair(name: str, title: str) -> tuple[Page, Shown] | None:
    """Begin a page with a probe on an image: its title, its head, and both networks run.

    Args:
        name: One of ``PAGES``.
        title: Its headline.

    Returns:
        None when there is nothing to show; the page then says why, and its link is written.
    """
    page = open_page(name, title)
    if page is None:
        return None
    if page.fresh:
        raise_turn()
    shown = choose_shown(page)
    if shown is None:
        page.write_link()
        return None
    _keep_inside(page, shown)
    return page, shown


def _keep_inside(page: Page, shown: Shown) -> None:
    """Leave out a probe or a pin that another image was meant by.

    A link may name pixels that this image does not have, and another image has other things there.
    """
    height, width = shown.size
    state, session = page.state, st.session_state
    places = ((state.x, state.y), (state.px, state.py))
    outside = any(
        x is not None and y is not None and not (x < width and y < height) for x, y in places
    )
    key = shown.picture.key
    moved = session.get(IMAGE, key) != key and not page.fresh
    session[IMAGE] = key
    if page.fresh and outside:
        st.warning(
            f"The link names a pixel outside this image of {width} x {height}; left out.",
            icon=":material/link_off:",
        )
    if moved or outside:
        move_probe(page, x=None, y=None, px=None, py=None)


def choose_shown(page: Page) -> Shown | None:
    """Draw the controls of image and networks, and run both networks on the image.

    Returns:
        None when that is not possible; the page then says why.
    """
    with st.container(border=True):
        picture, problem = _choose_image(page)
        choose_networks(page)
    if problem is not None:
        st.error(plain(problem))
    if picture is None:
        return None
    try:
        return run_pair(page, picture)
    except GstoVizError as error:
        st.error(plain(str(error)))
        return None


def run_pair(page: Page, picture: Picture) -> Shown:
    """Run both networks on the image, or fetch what they gave before.

    Raises:
        GstoVizError: A checkpoint cannot be used, or the two have different classes.
    """
    choices = {letter: page.choice(letter) for letter in LETTERS}
    check_classes(choices["A"], choices["B"])
    with st.spinner("Running A and B on this image"):
        inspections = {letter: _inspect(letter, choices[letter], picture) for letter in LETTERS}
    fingerprints = {letter: cached.fingerprint(choices[letter]) for letter in LETTERS}
    return show_pair(picture, choices, inspections, fingerprints)


def _inspect(letter: str, choice: Choice, picture: Picture) -> Look:
    """Run one network.

    Raises:
        GstoVizError: It cannot be used, or gives no numbers; which one, and why.
    """
    try:
        found = cached.inspect(choice, picture)
        if not all(np.isfinite(one).all() for one in found.activity):
            raise LogitsNotFiniteError
    except LogitsNotFiniteError as error:
        raise GstoVizError(
            f"{letter}, {choice.key}: this network gives NaN or infinity for this image, as one "
            "does whose training diverged; choose another checkpoint"
        ) from error
    except GstoVizError as error:
        raise GstoVizError(f"{letter}, {choice.key}: {error}") from error
    return found


def choose_networks(page: Page) -> None:
    """Draw the two selectors, and what must be known about the chosen networks."""
    by_key = {choice.key: choice for choice in page.choices}
    columns = st.columns(2, gap="medium")
    label = partial(_checkpoint_label, by_key)
    for column, letter, what in zip(columns, LETTERS, ("baseline", "compared with A"), strict=True):
        draw = partial(column.selectbox, f"{letter}: {what}", list(by_key), format_func=label)
        page.bound(letter.lower(), draw, list(by_key))
    chosen = {letter: page.choice(letter) for letter in LETTERS}
    for choice in dict.fromkeys(chosen.values()):
        if choice.notice:
            st.info(f"{plain(choice.key)}: {plain(choice.notice)}", icon=":material/gavel:")
    if chosen["A"] == chosen["B"]:
        st.info("A and B are the same network, so both show the same.")


def _checkpoint_label(by_key: Mapping[str, Choice], key: str) -> str:
    return f"{key} (gated)" if by_key[key].gated else key


def _choose_image(page: Page) -> tuple[Picture | None, str | None]:
    """Draw the controls of the image; return it, and what is wrong."""
    left, right = st.columns([1, 2], gap="medium", vertical_alignment="bottom")
    try:
        data = cached.data_set()
    except GstoVizError as error:
        return None, str(error)
    sources = [source for source in SOURCES if source != "data" or data is not None]
    source = page.bound(
        "source",
        lambda key: left.segmented_control(
            "Image", sources, key=key, format_func=SOURCE_NAMES.__getitem__, required=True
        ),
        sources,
    )
    with right:
        if source == "data" and data is not None:
            return _data_image(page, data)
        if source == "upload":
            return _uploaded(page)
        return _scene(page), None


def _scene(page: Page) -> Picture:
    number, gallery = st.columns([2, 1], gap="small", vertical_alignment="bottom")
    index = page.bound(
        "scene",
        lambda key: number.number_input(
            "Scene",
            min_value=0,
            max_value=MAX_SCENE,
            step=1,
            key=key,
            help="Procedural street scenes with exact labels. No network was trained on any.",
        ),
    )
    with gallery.popover("Gallery", icon=":material/photo_library:", width="stretch"):
        for scene in gallery_scenes():
            st.image(str(thumbnail_path(scene)), alt=f"Scene {scene}", width=256)
            st.button(
                f"Show scene {scene}", key=f"gallery-{scene}", on_click=_show_scene, args=(scene,)
            )
    return cached.scene(int(index))


def _show_scene(scene: int) -> None:
    st.session_state["scene"] = scene


def _data_image(page: Page, data: Dataset) -> tuple[Picture | None, str | None]:
    image = page.bound(
        "image",
        lambda key: st.selectbox(f"Image ({len(data)} of them)", data.ids, key=key),
        data.ids,
    )
    try:
        return cached.data_image(data.name, image, data), None
    except GstoVizError as error:
        return None, str(error)


def _uploaded(page: Page) -> tuple[Picture | None, str | None]:
    st.file_uploader(
        "PNG or JPEG; it stays on this computer",
        type=["png", "jpg", "jpeg"],
        max_upload_size=MAX_BYTES // 1_000_000,
        key="uploader",
        on_change=hold_upload,
        args=("uploader",),
    )
    upload = held_upload()
    page.note(upload=None)
    if upload is None:
        st.markdown("Choose a file to see it through both networks.")
        return None, None
    try:
        picture = cached.upload(upload.key, upload.name, upload.content)
    except GstoVizError as error:
        return None, str(error)
    page.note(upload=upload.key)
    st.text(f"Shown: {upload.name}")
    return picture, None
