"""The head of pages that show an image through two networks: which image, which networks."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

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
from gsto_viz.explorer.texts import plain, safe_name
from gsto_viz.explorer.view_state import MAX_SCENE, SOURCES
from gsto_viz.look import Look
from gsto_viz.types import Dataset

IMAGE = "image_shown"
"""Key of the session state: the image that was shown last on a page with a probe."""
SOURCE_NAMES = {"scene": "Scene", "data": "Data set", "upload": "Upload"}


TOOLBAR, IMAGE_MENU = "toolbar", "image_menu"
"""Keys of the toolbar and of the menu that chooses the image."""
THUMB = 40
"""Pixels: height of the image in the toolbar."""
STYLE = f"""<style>
[data-testid="stLayoutWrapper"]:has(> .st-key-{TOOLBAR}) {{
  padding: 0.15rem 0;
}}
@media (min-width: 900px) {{
  [data-testid="stLayoutWrapper"]:has(> .st-key-{TOOLBAR}) {{
    position: sticky; top: 3.6rem; z-index: 20;
    background: color-mix(in srgb, Canvas 88%, transparent); backdrop-filter: blur(10px);
  }}
}}
@media (max-width: 640px) {{
  .st-key-{TOOLBAR} {{ gap: 0.3rem; }}
}}
.st-key-{TOOLBAR} img {{ height: {THUMB}px; width: auto !important; border-radius: 0.3rem; }}
.st-key-{TOOLBAR} button {{ white-space: nowrap; }}
</style>"""


def open_pair(
    name: str, title: str, more: Callable[[Page], None] | None = None
) -> tuple[Page, Shown] | None:
    """Begin a page with a probe on an image: its title, its head, and both networks run.

    Args:
        name: One of ``PAGES``.
        title: Its headline.
        more: Draws what else belongs into the toolbar.

    Returns:
        None when there is nothing to show; the page then says why, and its link is written.
    """
    page = open_page(name, title)
    if page is None:
        return None
    if page.fresh:
        raise_turn()
    shown = choose_shown(page, more)
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


def choose_shown(page: Page, more: Callable[[Page], None] | None = None) -> Shown | None:
    """Draw the toolbar of image and networks, and run both networks on the image.

    Args:
        page: The page.
        more: Draws what else belongs into the toolbar.

    Returns:
        None when that is not possible; the page then says why.
    """
    with toolbar():
        thumbnail, name = st.empty(), st.empty()
        picture, problem = _choose_image(page)
        name.markdown(_image_name(page), width="content")
        choose_networks(page)
        if more is not None:
            more(page)
    if page.state.source == "upload" and problem is None:
        picture, problem = _uploaded(page)
    if picture is not None:
        small = _thumbnail(picture)
        wide = round(THUMB * small.shape[1] / small.shape[0])
        thumbnail.image(small, alt="The image", width=wide)
    if problem is not None:
        st.error(plain(problem))
    if picture is None:
        return None
    try:
        return run_pair(page, picture)
    except GstoVizError as error:
        st.error(plain(str(error)))
        return None


def toolbar() -> DeltaGenerator:
    """Return the row of what is chosen; it stays in sight."""
    st.html(STYLE)
    return st.container(horizontal=True, gap="small", vertical_alignment="center", key=TOOLBAR)


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
    """Draw the two selectors, what swaps them, and the licences that bind who uses them."""
    by_key = {choice.key: choice for choice in page.choices}
    for letter, what in zip(LETTERS, ("baseline", "compared with A"), strict=True):
        label = partial(_checkpoint_label, by_key, letter)
        draw = partial(
            st.selectbox,
            f"{letter}: {what}",
            list(by_key),
            format_func=label,
            label_visibility="collapsed",
            width=250,
        )
        page.bound(letter.lower(), draw, list(by_key))
        if letter == LETTERS[0]:
            st.button("", key="swap", icon=":material/swap_horiz:", help="Swap", on_click=_swap)
    chosen = {letter: page.choice(letter) for letter in LETTERS}
    notices = {f"{plain(c.key)}: {plain(c.notice)}": None for c in chosen.values() if c.notice}
    if notices:
        st.badge("NC", color="orange", help="  \n".join(notices))
    if chosen["A"] == chosen["B"]:
        st.badge("A = B", color="gray", help="A and B are the same network: both show the same.")


def _swap() -> None:
    """Let A and B change places."""
    session = st.session_state
    session["a"], session["b"] = session["b"], session["a"]


def _checkpoint_label(by_key: Mapping[str, Choice], letter: str, key: str) -> str:
    return f"{letter}: {key} (gated)" if by_key[key].gated else f"{letter}: {key}"


def _choose_image(page: Page) -> tuple[Picture | None, str | None]:
    """Draw the menu of the image; return it, and what is wrong. Uploads are drawn below.

    While the menu is closed its widgets are not there: a browser would go on sending what they
    held when it was closed, whatever has been chosen since.
    """
    try:
        data = cached.data_set()
    except GstoVizError as error:
        return None, str(error)
    sources = [source for source in SOURCES if source != "data" or data is not None]
    if page.state.source not in sources:
        page.note(source=sources[0])
    if data is not None and page.state.image not in data.ids and page.state.source == "data":
        page.note(image=data.ids[0])
    # Under another label it would be another menu, and closed: so the image is named beside it.
    menu = st.popover("Image", icon=":material/image:", key=IMAGE_MENU, on_change="rerun")
    if menu.open:
        with menu:
            _draw_menu(page, sources, data)
    source = page.state.source
    if source == "data" and data is not None:
        try:
            return cached.data_image(data.name, str(page.state.image), data), None
        except GstoVizError as error:
            return None, str(error)
    return (None, None) if source == "upload" else (cached.scene(page.state.scene), None)


def _image_name(page: Page) -> str:
    """Return what the image is called in the toolbar."""
    state = page.state
    if state.source == "data":
        return plain(safe_name(str(state.image))[:18])
    return SOURCE_NAMES[state.source] + (f" {state.scene}" if state.source == "scene" else "")


def _draw_menu(page: Page, sources: Sequence[str], data: Dataset | None) -> None:
    """Draw the widgets that choose the image."""
    choose = partial(
        st.segmented_control,
        "Image",
        sources,
        format_func=SOURCE_NAMES.__getitem__,
        required=True,
    )
    source = page.bound("source", choose, sources)
    if source == "data" and data is not None:
        choose_image = partial(st.selectbox, f"Image ({len(data)} of them)", data.ids)
        page.bound("image", choose_image, data.ids)
    elif source == "scene":
        number = partial(
            st.number_input,
            "Scene",
            min_value=0,
            max_value=MAX_SCENE,
            step=1,
            help="Procedural street scenes with exact labels. No network was trained on any.",
        )
        page.bound("scene", number)
        columns = st.columns(2, gap="small")
        for k, scene in enumerate(gallery_scenes()):
            with columns[k % 2]:
                st.image(str(thumbnail_path(scene)), alt=f"Scene {scene}", width=200)
                show, key = partial(_show_scene, page, scene), f"gallery-{scene}"
                st.button(f"Show scene {scene}", key=key, on_click=show)


def _show_scene(page: Page, scene: int) -> None:
    """Show a scene, and close the menu that lies over it."""
    page.note(scene=scene)
    st.session_state.pop("scene", None)
    st.session_state[IMAGE_MENU] = False


def _thumbnail(picture: Picture) -> npt.NDArray[np.uint8]:
    """Return every so many pixels of an image: as many as the toolbar shows."""
    step = max(1, picture.sample.image.shape[0] // (2 * THUMB))
    return picture.sample.image[::step, ::step]


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
