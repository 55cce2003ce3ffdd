"""The page "Attribution": which branches carry the evidence at the probe, in A and in B."""

from functools import partial

import streamlit as st

from gsto_viz.attribution.gradients import in_words
from gsto_viz.errors import GstoVizError
from gsto_viz.explorer import attribution_cached as kept
from gsto_viz.explorer import cached
from gsto_viz.explorer.attribution_export import attribution_exports
from gsto_viz.explorer.attribution_panel import draw_answers, draw_runs
from gsto_viz.explorer.evidence import Question, answer, ask
from gsto_viz.explorer.evidence_tiles import score_of, unit_of
from gsto_viz.explorer.export_menu import draw_exports
from gsto_viz.explorer.gradient_runs import Run
from gsto_viz.explorer.page_frame import Page
from gsto_viz.explorer.pair_header import open_pair
from gsto_viz.explorer.probe import Point
from gsto_viz.explorer.probe_place import (
    PICK_NAMES,
    draw_coordinates,
    draw_tiles,
    held_point,
    move_probe,
    turn,
)
from gsto_viz.explorer.safe_text import plain
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.view_figures import marks_at
from gsto_viz.explorer.view_state import ABSENT, PICKS, STEPS
from gsto_viz.explorer.viewer import draw_colors, last_click
from gsto_viz.explorer.viewer_data import DIVERGING
from gsto_viz.words import METHOD_LINKS

KEY = "attribution-viewer"
METHOD_TITLES = {link: row.title for link, row in METHOD_LINKS.items()}
SCORE_NAMES = {"margin": "Margin over the next class", "mean": "Logit"}
POSE_SCORES = {"mean": "Heat map"}
"""Joints do not exclude one another, so they have no margin."""
ABSENT_NAMES = {"mean": "Mean of this image", "zero": "Zero"}
NOWHERE = "No region lies here: these pixels are ignored. Choose another place."


def draw_page() -> None:
    """Draw the whole page."""
    opened = open_pair("attribution", "Which branch carries the evidence?")
    if opened is None:
        return
    page, shown = opened
    _choose_question(page, shown)
    draw_colors({"difference": DIVERGING}, key=KEY)
    _probe_fragment(page, shown)


def _choose_question(page: Page, shown: Shown) -> None:
    """Draw the controls: what is asked, and how it is answered."""
    scores = POSE_SCORES if shown.pose else SCORE_NAMES
    picks = PICK_NAMES | ({"region": "Peak in a person's box"} if shown.pose else {})
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        for field, label, options, names in (
            ("method", "Maps of the branches", tuple(METHOD_LINKS), METHOD_TITLES),
            ("pick", "A click chooses", PICKS, picks),
            ("score", "Explained", tuple(scores), scores),
            ("absent", "In place of absent branches", ABSENT, ABSENT_NAMES),
        ):
            draw = partial(
                st.segmented_control,
                label,
                options,
                format_func=names.__getitem__,
                required=True,
                wrap=True,
            )
            page.bound(field, draw, options)
        _choose_class(page, shown)
        if page.state.method == "integrated":
            page.bound(
                "steps",
                partial(st.segmented_control, "Steps", STEPS, required=True, wrap=True),
                STEPS,
            )


def _choose_class(page: Page, shown: Shown) -> None:
    """Draw the selector of the class or joint that is asked about."""
    names = shown.classes.names
    what, default = "Class", "what A predicts at the probe"
    if shown.pose:
        what, default = "Joint", "the one with A's greatest heat map there"
    if page.fresh and page.state.target not in (None, *names):
        st.warning(
            f"The {what.lower()} that this link asks about is not known to these networks; "
            f"{default} is asked about instead.",
            icon=":material/link_off:",
        )
    draw = partial(
        st.selectbox,
        f"{what} asked about",
        names,
        index=None,
        placeholder=default,
        width=270,
    )
    page.bound("target", draw, (None, *names))


@st.fragment
def _probe_fragment(page: Page, shown: Shown) -> None:
    """Draw viewer and answers; a click runs nothing but this."""
    state = page.state
    point = last_click(shown.size, turn(), key=KEY) or held_point(page, shown)
    regions = cached.regions(shown)
    question = ask(
        shown,
        regions,
        point,
        pick=state.pick,
        target=state.target,
        score="margin" if state.score == "margin" else "mean",
    )
    try:
        with st.spinner("Splitting the heads of A and B by branch"):
            carried = kept.evidence(shown, state.absent)
        runs = {} if question is None else _runs(page, shown, question, carried)
    except GstoVizError as error:
        st.error(plain(str(error)))
        page.write_link()
        return
    _draw_viewer(page, shown, point, question, carried, runs)
    left, right = st.columns([1, 4], gap="medium")
    with left:
        draw_coordinates(shown, point, partial(move_probe, page))
    with right:
        if question is None:
            st.markdown(NOWHERE)
        else:
            fields = {letter: one.field for letter, one in carried.items()}
            answers = answer(question, shown, fields)
            draw_answers(shown, question, answers)
            draw_runs(shown, state.method, runs)
            maps = None
            if runs or METHOD_LINKS[state.method].at == "head":
                maps = partial(kept.branch_maps, shown, question, state.method, carried, runs)
            marks = marks_at(regions, point, outline=state.pick == "region")
            given = (shown, question, answers, page.state, maps, marks)
            draw_exports(partial(attribution_exports, *given))
    page.write_link()


def _runs(
    page: Page, shown: Shown, question: Question, carried: dict[str, kept.Evidence]
) -> dict[str, Run]:
    """Return the results of a method that is not exact; offer to run it where there are none."""
    method = page.state.method
    if METHOD_LINKS[method].at == "head":
        return {}
    plan = kept.Plan(method, page.state.steps if method == "integrated" else 0, question)
    runs = kept.kept_runs(plan, shown)
    if len(runs) == len(LETTERS):
        return runs
    refused = kept.problem(shown)
    if refused is not None:
        st.warning(refused, icon=":material/memory:")
        return runs
    slot = st.empty()
    time = in_words(kept.expected_s(plan, shown, carried))
    with slot.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(
            f"Run {METHOD_LINKS[method].title}", key="run-method", icon=":material/play_arrow:"
        )
        st.markdown(f"For the {plain(question.words)}, A and B: {time}. The result is kept.")
    if not pressed:
        return runs
    with slot.container():
        for letter in LETTERS:
            if letter not in runs:
                with st.spinner(f"{METHOD_LINKS[method].title}: {letter}", show_time=True):
                    kept.run(plan, shown, letter, carried[letter].field.grid)
    slot.empty()
    return kept.kept_runs(plan, shown)


def _draw_viewer(
    page: Page,
    shown: Shown,
    point: Point,
    question: Question | None,
    carried: dict[str, kept.Evidence],
    runs: dict[str, Run],
) -> None:
    """Draw the tiles, and what their numbers are."""
    state = page.state
    data = kept.viewer_data(
        shown, question, (state.method, state.absent, state.steps), carried, runs
    )
    draw_tiles(page, data, point, shown.size, outline=state.pick == "region", key=KEY)
    page.note(x=point.x, y=point.y)
    unit = unit_of(state.method, score_of(shown, state.score))
    scale = "one scale for each network" if state.method == "gradcam" else "one scale for all maps"
    st.markdown(
        f"{plain(shown.picture.description)} Maps: {unit}; red "
        f"raises the number, blue lowers it; {scale}, symmetric about 0, and what lies beyond the "
        "bar takes its end colours. Click a tile to ask there, use the wheel to zoom, arrow keys "
        "to step by one cell."
    )
