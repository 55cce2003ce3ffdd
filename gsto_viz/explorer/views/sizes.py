"""The page "Sizes": q against size, SCI and what it is held against, for one image or many."""

from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer import cached
from gsto_viz.explorer import charts as size_charts
from gsto_viz.explorer.charts import draw_fans
from gsto_viz.explorer.exports.sizes import choices_of, size_exports
from gsto_viz.explorer.folders import RunFolder
from gsto_viz.explorer.page_frame import Page, draw_exports, open_page
from gsto_viz.explorer.pair_header import choose_shown
from gsto_viz.explorer.texts import plain
from gsto_viz.explorer.values.sizes import (
    INTERVAL,
    MAX_MODELS,
    NOT_COMPUTED,
    Choices,
    Subject,
    index_table,
    interval_reasons,
    null_names,
    pair_words,
    paired_words,
    readable,
    region_of,
    tuning_table,
    tuning_words,
)
from gsto_viz.explorer.view_state import PANELS, SIZES
from gsto_viz.explorer.views import size_regions as size_cached
from gsto_viz.explorer.views.gallery import draw_gallery
from gsto_viz.explorer.views.size_regions import (
    OTHER_NETWORKS,
    Opened,
    draw_link,
    draw_regions,
    open_pair,
)
from gsto_viz.plots import sci_dots_data
from gsto_viz.report.folder import SHIFTS, shown_p
from gsto_viz.report.headline import FEW_PAIRS
from gsto_viz.report.text import layout_caution, transfer_caution
from gsto_viz.stats import Estimate
from gsto_viz.stats.inference import FLIPS, MARGIN, P_FLOOR, cause
from gsto_viz.types import WorstPair
from gsto_viz.words import NULLS, counted

SIZES_FIGURE = "sizes-figure"
NARROW = f"""<style>
@media (max-width: 640px) {{
  [class*="st-key-{SIZES_FIGURE}"] {{ overflow-x: auto; }}
  [class*="st-key-{SIZES_FIGURE}"] img {{ width: 900px !important; max-width: none !important; }}
}}
</style>"""
"""On a phone figures keep a readable size and scroll sideways."""
HEADLINE_ONLY = (
    "What follows is the headline's definition, without the filters: all classes, size by area, "
    "an octave apart."
)
NO_INTERVAL = (
    "Null models and intervals need many images. Analyze some with `gsto-viz analyze --nulls`, and "
    "open the folder with `gsto-viz app --runs DIR`."
)
PAIRED = (
    "All indices are probabilities. Paired over images, 95 % bootstrap interval, sign-flip test; p "
    "is adjusted by Holm among the confirmatory indices and by Benjamini and Hochberg among the "
    f"others. p of {FLIPS} random sign patterns cannot be smaller than {P_FLOOR:.4f}: where it is "
    "that small, or adjusted from that, it is written with <=. Equivalent: the 90 % interval of "
    f"B - A lies within {MARGIN} of 0. Each network is one training run: this is about these two "
    "networks, not about a method."
)
ASKED = "sizes-nulls-asked"
"""Key of the session state: images whose null models were asked for."""
WORST = (
    "Pairs that the branches order the wrong way round, ranked by distance in size times "
    "difference of q. They are chosen for being wrong: they show how an error looks, not how often "
    "it happens. q: coarseness at matched resolution, higher where coarse branches answer; aware "
    "branches give the larger region the larger q. The second picture enlarges the smaller region; "
    "maps are percentiles of activity."
)
SIZE_WORDS = {
    "area": "Sizes: square root of a region's area, in pixels of the network's input.",
    "inscribed": "Sizes: diameter of the largest disc inside, in pixels of the network's input.",
}


def draw_responses(subject: Subject, choices: Choices) -> None:
    """Draw the tuning fan of every network, and its centres."""
    source = subject.source
    with st.spinner("Averaging responses"):
        frames = size_cached.responses_of(source, choices)
        draws = size_cached.draws_of(source, choices).responses
    draw_fans(frames, draws, source.names)
    dashed = "Dashed: the same network with random weights. " if draws else ""
    st.markdown(
        "Mean percentile (0 to 1) of each branch over regions of one size, images weighted "
        "equally; bands are 95 % bootstrap intervals over images where there are 10 or more. "
        f"{dashed}Without scale confusion the finest branch falls with size and the coarsest rises."
    )
    table = tuning_table(size_cached.tunings_of(source, choices))
    missing = tuning_words(table)
    if missing is not None:
        st.markdown(missing)
        return
    st.dataframe(
        readable(table.dropna(subset=["value"])),
        hide_index=True,
        width="stretch",
        column_config=_decimals("value", *INTERVAL.values()),
        alt="Centre, span and slope of the branches' tuning",
    )
    st.markdown(
        "Centre: the size, in octaves, that a branch answers for most. Span: coarsest minus finest "
        "centre. Slope: octaves of centre per octave of stride. Octaves found in fewer than 30 "
        "images are left out."
    )


def draw_null_models(page: Page, subject: Subject, choices: Choices) -> None:
    """Draw SCI beside its null models, and every index of the headline."""
    source, report = subject.source, subject.report
    if report is None:
        _draw_image_nulls(page, subject, choices)
        return
    if not choices.are_headline:
        _draw_random(subject, choices)
        st.markdown(HEADLINE_ONLY)
    if not report.has_nulls:
        st.markdown(NOT_COMPUTED)
    headlines = {letter: report.headline(letter) for letter in source.letters}
    nulls = {letter: report.nulls(letter) for letter in source.letters}
    dots = sci_dots_data(headlines, nulls, indices=("sci",))
    st.altair_chart(
        size_charts.nulls(dots[dots["draw"].isna()], source.letters),
        width="stretch",
        alt="SCI of each network with its interval, and its null models",
    )
    present = null_names(report, source.letters)
    meanings = "; ".join(f"{name} {NULLS[name].meaning}" for name in present)
    squares = f" Squares: {meanings}. Bars of null models are the range of their draws."
    st.markdown(f"Circles: the networks, with 95 % intervals.{squares * bool(present)}")
    for letter in source.letters:
        st.markdown(f"**{letter}: {plain(source.names[letter])}.** {report.verdict(letter).words}")
        cautions = layout_caution(report, letter), transfer_caution(report, letter)
        missing = report.missing_nulls(letter).items()
        gone = "; ".join(f"{name} is missing: {reason}" for name, reason in missing)
        for more in (*cautions, report.agreement(letter), plain(gone) or None):
            if more is not None:
                st.markdown(more)
        st.dataframe(
            readable(index_table(report, letter)),
            hide_index=True,
            width="stretch",
            column_config=_decimals("value", *INTERVAL.values()),
            alt=f"Indices of {letter} with intervals and null models",
        )


def _draw_image_nulls(page: Page, subject: Subject, choices: Choices) -> None:
    """Offer SCI of this image under shifted and swapped labels, computed on request."""
    shown = subject.shown
    assert shown is not None
    st.markdown(NO_INTERVAL)
    if shown.sample.labels is None:
        return
    asked = st.session_state.setdefault(ASKED, set())
    if shown.key not in asked:
        st.button(
            "Compute shifted (N1) and swapped labels (N2) of this image",
            icon=":material/shuffle:",
            help=f"{SHIFTS} shifts; takes some seconds.",
            on_click=partial(asked.add, shown.key),
        )
        return
    with st.spinner("Moving the labels (some seconds, once)", show_time=True):
        table = size_cached.nulls_of(shown, choices, size_cached.partner_of(page, shown))
    st.altair_chart(
        size_charts.nulls(table, subject.source.letters),
        width="stretch",
        alt="SCI of this image by each network, and with shifted and swapped labels",
    )
    present = [name for name in ("N1", "N2") if (table["source"] == name).any()]
    meanings = "; ".join(f"{NULLS[name].label}: {NULLS[name].expected}" for name in present)
    swapped = "" if "N2" in present else " No other image of this size is at hand for N2."
    st.markdown(f"Squares: {meanings}. Bars are the range of {SHIFTS} shifts.{swapped}")


def _draw_random(subject: Subject, choices: Choices) -> None:
    """State what random weights give under the reader's filters."""
    with st.spinner("Counting pairs of the random networks"):
        draws = size_cached.draws_of(subject.source, choices).sci
    parts = []
    for letter, values in draws.items():
        known = [value for value in values if np.isfinite(value)]
        if known:
            span = f"{min(known):.3f} to {max(known):.3f}"
            parts.append(f"{letter} {span} ({len(known)} draws)")
    if parts:
        st.markdown(f"With the filters above, random weights (N3) give SCI {', '.join(parts)}.")


def draw_differences(subject: Subject, choices: Choices) -> None:
    """Draw B - A of every index with interval and p."""
    source, report = subject.source, subject.report
    if report is None:
        st.markdown(NO_INTERVAL)
        return
    if not choices.are_headline:
        st.markdown(f"{HEADLINE_ONLY} B - A of SCI with the filters stands above.")
    with st.spinner("Comparing B with A, index by index (some seconds, once)"):
        table = size_cached.paired(subject)
    if table["difference"].notna().any():
        st.altair_chart(
            size_charts.differences(table),
            width="stretch",
            alt="B minus A of every index with its interval",
        )
    words = paired_words(table, *source.letters)
    st.dataframe(
        words,
        hide_index=True,
        width="stretch",
        height="content",
        column_config=_decimals(*words.select_dtypes("float64")),
        alt="B minus A of every index, with interval, p, images and pairs",
    )
    st.markdown(PAIRED)


def draw_worst(page: Page, subject: Subject, choices: Choices) -> None:
    """Draw the pairs that are ordered worst."""
    if subject.shown is None and not choices.are_headline:
        st.markdown(HEADLINE_ONLY)
        choices = Choices()
    try:
        with st.spinner("Drawing the pairs"):
            drawn = size_cached.worst_drawings(subject, choices)
    except GstoVizError as error:
        st.error(plain(str(error)))
        return
    if not drawn:
        st.markdown("Every pair that is kept here is in the right order.")
        return
    st.markdown(f"{WORST} {SIZE_WORDS[choices.size]}")
    st.html(NARROW)
    opened = [open_pair(page, subject, pair) for pair, _ in drawn]
    if any(one is not None and not one.same_networks for one in opened):
        st.markdown(OTHER_NETWORKS)
    for number, ((pair, drawing), image) in enumerate(zip(drawn, opened, strict=True)):
        with st.container(key=f"{SIZES_FIGURE}-{number}"):
            st.image(drawing.content, alt=drawing.alt, width="stretch")
        _draw_pair(subject, choices, pair, image)


def _draw_pair(subject: Subject, choices: Choices, pair: WorstPair, image: Opened | None) -> None:
    """Describe a pair, and link to its smaller region where its image can be opened."""
    words = plain(pair_words(subject.source, choices, pair))
    region = region_of(subject.source, pair, pair.small_region)
    with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
        st.markdown(f"**{pair.model}.** {words}", width="content")
        if image is not None and region is not None:
            area = int(region["area_px"])
            if image.holds(pair.small_region, area):
                draw_link(
                    image, pair.small_region, area, f"{pair.model}-{pair.large_region}-{pair.image}"
                )


def _decimals(*names: str, digits: int = 3) -> dict[str, Any]:
    column = st.column_config.NumberColumn(format=f"%.{digits}f")
    return dict.fromkeys(names, column)


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
    zip(
        PANELS,
        ("Regions", "Response by size", "Null models", "B - A", "Worst pairs", "Gallery"),
        strict=True,
    )
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
            subject = size_cached.analysis(run.path)
    except GstoVizError as error:
        st.error(plain(str(error)))
        return None
    report = subject.report
    assert report is not None
    names = [f"{letter}: {plain(name)}" for letter, name in subject.source.names.items()]
    parts = [f"Data {plain(report.data)}, {len(report.clusters)} images", *names]
    st.markdown(". ".join(parts) + ".")
    if len(report.keys) > MAX_MODELS:
        left = ", ".join(report.keys[MAX_MODELS:])
        st.info(f"This analysis has more networks than fit here; left out: {plain(left)}.")
    if report.skipped:
        st.warning(f"{len(report.skipped)} images could not be read and are left out.")
    return subject


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
    told = [*found.by_model.values()]
    columns = st.columns(len(found.by_model) + (found.comparison is not None), gap="medium")
    for column, (letter, one) in zip(columns, found.by_model.items(), strict=False):
        with column:
            _draw_number(f"SCI of {letter}", one)
    if found.comparison is not None:
        with columns[-1]:
            told.append(found.comparison.difference)
            _draw_number("B - A, paired", found.comparison.difference, signed=True)
            if found.comparison.test.p is not None and told[-1].n_pairs >= FEW_PAIRS:
                p = plain(shown_p(found.comparison.test.p))
                st.markdown(f"Sign-flip test: p {p}, not adjusted.")
    if reasons := interval_reasons(told):
        st.markdown(f"No interval: {'; '.join(reasons)}.")
    st.markdown(
        "SCI: how often two regions of one image are ordered the wrong way round by the branches. "
        "0 aware of size, 0.5 chance, 1 reversed. Untrained networks are not at 0.5: see the null "
        "models."
    )


def _draw_number(label: str, one: Estimate, *, signed: bool = False) -> None:
    pairs = f"{counted(one.n_images, 'image')}, {counted(one.n_pairs, 'pair')}"
    if one.value is None:
        st.metric(label, "none")
        st.markdown(f"No value: {cause(one.reason)}; {pairs}.")
    elif one.n_pairs < FEW_PAIRS:
        st.metric(label, "too few pairs")
        st.markdown(f"{pairs}: too few to say; SCI is told from {FEW_PAIRS} pairs on.")
    else:
        st.metric(label, f"{one.value:{'+' if signed else ''}.3f}")
        known = one.low is not None and one.high is not None
        interval = f"95 % interval {one.low:.3f} to {one.high:.3f}; " if known else ""
        st.markdown(f"{interval}{pairs}.")


def _draw_exports(page: Page, subject: Subject) -> None:
    regions = None if subject.shown is None else cached.regions(subject.shown)
    draw_exports(partial(size_exports, subject, regions, page.state))


def _draw_tabs(page: Page, subject: Subject, choices: Choices) -> None:
    """Draw what is open; the rest waits until it is."""
    draw = {
        "regions": partial(draw_regions, page, subject, choices),
        "responses": partial(draw_responses, subject, choices),
        "nulls": partial(draw_null_models, page, subject, choices),
        "differences": partial(draw_differences, subject, choices),
        "pairs": partial(draw_worst, page, subject, choices),
        "gallery": partial(draw_gallery, page, subject, choices),
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
