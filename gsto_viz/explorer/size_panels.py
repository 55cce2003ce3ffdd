"""Panels of the page "Sizes" below the headline: responses, null models, B - A, worst pairs."""

from typing import Any

import numpy as np
import streamlit as st

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer import size_cached, size_charts
from gsto_viz.explorer.fan_chart import draw_fans
from gsto_viz.explorer.page_frame import Page
from gsto_viz.explorer.safe_text import plain
from gsto_viz.explorer.size_numbers import Choices, pair_words, region_of
from gsto_viz.explorer.size_opened import OTHER_NETWORKS, Opened, draw_link, open_pair
from gsto_viz.explorer.size_report import (
    INTERVAL,
    NOT_COMPUTED,
    index_table,
    null_names,
    paired_words,
    readable,
    tuning_table,
)
from gsto_viz.explorer.size_source import Subject
from gsto_viz.plots import sci_dots_data
from gsto_viz.report.text import layout_caution, transfer_caution
from gsto_viz.stats.inference import FLIPS, MARGIN, P_FLOOR
from gsto_viz.types import WorstPair
from gsto_viz.words import NULLS

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
ONE_IMAGE = (
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
WORST = (
    "Pairs far apart in size that the branches order the wrong way round. They are chosen for "
    "being wrong: they show how an error looks, not how often it happens. q: coarseness at matched "
    "resolution, higher where coarse branches answer; aware branches give the larger region the "
    "larger q. The second picture enlarges the smaller region; maps are percentiles of activity."
)
SIZE_WORDS = {
    "area": "Sizes: square root of a region's area, in pixels of the network's input.",
    "inscribed": "Sizes: diameter of the largest disc inside, in pixels of the network's input.",
}


def draw_responses(subject: Subject, choices: Choices) -> None:
    """Draw the tuning fan of every network, and its centres."""
    source = subject.source
    with st.spinner("Averaging responses"):
        frames, tunings = size_cached.responses_of(source, choices)
        draws = size_cached.draws_of(source, choices).responses
    draw_fans(frames, draws, source.names)
    dashed = "Dashed: the same network with random weights. " if draws else ""
    st.markdown(
        "Mean percentile (0 to 1) of each branch over regions of one size, images weighted "
        "equally; bands are 95 % bootstrap intervals over images where there are 10 or more. "
        f"{dashed}Without scale confusion the finest branch falls with size and the coarsest rises."
    )
    st.dataframe(
        readable(tuning_table(tunings)),
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


def draw_null_models(subject: Subject, choices: Choices) -> None:
    """Draw SCI beside its null models, and every index of the headline."""
    source, report = subject.source, subject.report
    if report is None:
        st.markdown(ONE_IMAGE)
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
        st.markdown(ONE_IMAGE)
        return
    if not choices.are_headline:
        st.markdown(f"{HEADLINE_ONLY} B - A of SCI with the filters stands above.")
    with st.spinner("Comparing B with A, index by index (some seconds, once)"):
        table = size_cached.paired(source, report)
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
    """Draw the pairs that lie farthest apart in size and are still in the wrong order."""
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
                draw_link(image, pair.small_region, area)


def _decimals(*names: str, digits: int = 3) -> dict[str, Any]:
    column = st.column_config.NumberColumn(format=f"%.{digits}f")
    return dict.fromkeys(names, column)
