"""The page "Sizes": q against size, SCI and what it is held against, for one image or many."""

from functools import partial

import streamlit as st

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer import cached, size_cached
from gsto_viz.explorer.export_menu import draw_exports
from gsto_viz.explorer.page_frame import Page, open_page
from gsto_viz.explorer.pair_header import choose_shown
from gsto_viz.explorer.run_folders import RunFolder
from gsto_viz.explorer.safe_text import plain
from gsto_viz.explorer.size_export import choices_of, size_exports
from gsto_viz.explorer.size_numbers import Choices
from gsto_viz.explorer.size_panels import (
    draw_differences,
    draw_null_models,
    draw_responses,
    draw_worst,
)
from gsto_viz.explorer.size_regions import draw_regions
from gsto_viz.explorer.size_source import MAX_MODELS, Subject
from gsto_viz.explorer.view_state import PANELS, SIZES
from gsto_viz.report.folder import shown_p
from gsto_viz.stats import Estimate
from gsto_viz.stats.inference import cause

ONE_IMAGE = "This image"
ALL_CLASSES = "All classes"
SIZE_NAMES = {"area": "Area", "inscribed": "Inscribed disc"}
SIZE_HELP = (
    "Area: the square root of a region's pixels. Inscribed disc: the diameter of the largest disc "
    "inside it, which does not take a long thin pole for a large object."
)
GAP_HELP = (
    "How far apart in size two regions must be to make a pair; an octave is a factor of two, the "
    "step from one branch to the next."
)
PANEL_NAMES = dict(
    zip(PANELS, ("Regions", "Response by size", "Null models", "B - A", "Worst pairs"), strict=True)
)
TAB = "sizes-tab"
"""Key of the tabs, whose value is the name of a panel."""


def draw_page() -> None:
    """Draw the whole page."""
    page = open_page("sizes", "Do the branches order objects by size?")
    if page is None:
        return
    run = _choose_source(page)
    subject = _image_subject(page) if run is None else _folder_subject(run)
    if subject is not None and _is_worth_it(subject):
        choices = _choose_statistics(page, subject)
        _draw_headline(subject, choices)
        _draw_tabs(page, subject, choices)
        _draw_exports(page, subject)
    page.write_link()


def _choose_source(page: Page) -> RunFolder | None:
    """Draw the choice between the current image and the analyses; None: the image."""
    folders = {run.key: run for run in page.runs if run.kind == "analysis"}
    options = [ONE_IMAGE, *folders]
    chosen = page.bound(
        "run",
        lambda key: st.selectbox(
            "One image, or an analysis of many",
            options,
            key=key,
            help="Analyses are folders of `gsto-viz analyze` below the folder given by `--runs`.",
        ),
        options,
        nothing=ONE_IMAGE,
    )
    if not folders:
        st.markdown(
            "A single image has no interval. For analyses of many images, start the explorer with "
            "`gsto-viz app --runs DIR`, where DIR holds folders of `gsto-viz analyze`."
        )
    return folders.get(chosen)


def _image_subject(page: Page) -> Subject | None:
    shown = choose_shown(page)
    if shown is None:
        return None
    if shown.pose and shown.sample.labels is None:
        st.info(
            "Networks for pose predict no regions, and this image has no persons with their "
            "joints, so there is nothing to measure. Choose an image of data with key points "
            "(`gsto-viz app --data figures:count=50`)."
        )
    elif shown.sample.labels is None:
        st.info(
            "This image has no labels that fit: regions are cut from A's prediction, so sizes "
            "are what A takes them for."
        )
    return Subject(size_cached.image_source(shown), shown, None)


def _folder_subject(run: RunFolder) -> Subject | None:
    try:
        with st.spinner("Reading the analysis"):
            report, source = size_cached.analysis(run.path)
    except GstoVizError as error:
        st.error(plain(str(error)))
        return None
    names = [f"{letter}: {plain(name)}" for letter, name in source.names.items()]
    parts = [f"Data {plain(report.data)}, {len(report.clusters)} images", *names]
    st.markdown(". ".join(parts) + ".")
    if len(report.keys) > MAX_MODELS:
        left = ", ".join(report.keys[MAX_MODELS:])
        st.info(f"This analysis has more networks than fit here; left out: {plain(left)}.")
    if report.skipped:
        st.warning(f"{len(report.skipped)} images could not be read and are left out.")
    return Subject(source, None, report)


def _is_worth_it(subject: Subject) -> bool:
    """Show a note where there is no region to count."""
    if subject.source.class_names:
        return True
    st.markdown("No region is large enough to be measured (64 pixels).")
    return False


def _choose_statistics(page: Page, subject: Subject) -> Choices:
    """Draw the filters; everything below follows them unless it says otherwise."""
    classes = [ALL_CLASSES, *subject.source.class_names]
    if page.fresh and page.state.cls not in (None, *classes):
        st.warning("The class in the link has no region here; all classes are shown.")
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        page.bound(
            "cls",
            lambda key: st.selectbox("Class of both regions", classes, key=key, width=220),
            classes,
            nothing=ALL_CLASSES,
        )
        page.bound(
            "size",
            lambda key: st.segmented_control(
                "Size is measured by",
                SIZES,
                key=key,
                format_func=SIZE_NAMES.__getitem__,
                required=True,
                wrap=True,
                help=SIZE_HELP,
            ),
            SIZES,
        )
        page.bound(
            "gap",
            lambda key: st.slider(
                "Octaves between two sizes, at least",
                1.0,
                4.0,
                step=0.5,
                key=key,
                width=260,
                help=GAP_HELP,
            ),
        )
    return choices_of(page.state)


def _draw_headline(subject: Subject, choices: Choices) -> None:
    """Draw SCI of every network and their difference, with what they rest on."""
    with st.spinner("Counting pairs"):
        found = size_cached.confusion_of(subject.source, choices)
    columns = st.columns(len(found.by_model) + (found.comparison is not None), gap="medium")
    for column, (letter, one) in zip(columns, found.by_model.items(), strict=False):
        with column:
            _draw_number(f"SCI of {letter}", one)
    if found.comparison is not None:
        with columns[-1]:
            _draw_number("B - A, paired", found.comparison.difference, signed=True)
            if found.comparison.test.p is not None:
                p = plain(shown_p(found.comparison.test.p))
                st.markdown(f"Sign-flip test: p {p}, not adjusted.")
    st.markdown(
        "SCI: how often two regions of one image are ordered the wrong way round by the branches. "
        "0 aware of size, 0.5 chance, 1 reversed. Untrained networks are not at 0.5: see the null "
        "models."
    )


def _draw_number(label: str, one: Estimate, *, signed: bool = False) -> None:
    value = "none" if one.value is None else f"{one.value:{'+' if signed else ''}.3f}"
    st.metric(label, value)
    images = "1 image" if one.n_images == 1 else f"{one.n_images} images"
    pairs = f"{images}, {one.n_pairs} pairs"
    if one.value is None or one.low is None or one.high is None:
        missing = "value" if one.value is None else "interval"
        st.markdown(f"No {missing}: {cause(one.reason)}; {pairs}.")
    else:
        st.markdown(f"95 % interval {one.low:.3f} to {one.high:.3f}; {pairs}.")


def _draw_exports(page: Page, subject: Subject) -> None:
    regions = None if subject.shown is None else cached.regions(subject.shown)
    draw_exports(partial(size_exports, subject, regions, page.state))


def _draw_tabs(page: Page, subject: Subject, choices: Choices) -> None:
    """Draw what is open; the rest waits until it is."""
    draw = {
        "regions": partial(draw_regions, page, subject, choices),
        "responses": partial(draw_responses, subject, choices),
        "nulls": partial(draw_null_models, subject, choices),
        "differences": partial(draw_differences, subject, choices),
        "pairs": partial(draw_worst, page, subject, choices),
    }
    if len(subject.source.letters) < MAX_MODELS:
        del draw["differences"]
    if page.fresh or TAB not in st.session_state:
        st.session_state[TAB] = PANEL_NAMES[page.state.panel]
    names = {PANEL_NAMES[panel]: panel for panel in draw}
    if st.session_state[TAB] not in names:
        st.session_state[TAB] = PANEL_NAMES[PANELS[0]]
    tabs = st.tabs(list(names), on_change="rerun", key=TAB)
    for panel, tab in zip(draw, tabs, strict=True):
        if tab.open:
            page.note(panel=panel)
            with tab:
                draw[panel]()
