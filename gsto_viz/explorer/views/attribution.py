"""The page "Attribution": which branches carry the evidence at the probe, in A and in B."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from gsto_viz.attribution import EvidenceField, head_pass
from gsto_viz.attribution.gradients import free_bytes, in_words
from gsto_viz.attribution.shapley import BranchShapley
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate.protocols import input_batch
from gsto_viz.explorer import cached
from gsto_viz.explorer.charts import branch_chart
from gsto_viz.explorer.checkpoints import Choice
from gsto_viz.explorer.exports.attribution import attribution_exports
from gsto_viz.explorer.exports.figures import marks_at
from gsto_viz.explorer.page_frame import Page, draw_exports
from gsto_viz.explorer.pair_header import open_pair
from gsto_viz.explorer.pictures import Picture
from gsto_viz.explorer.probing import (
    PICK_NAMES,
    draw_coordinates,
    draw_tiles,
    held_point,
    move_probe,
    turn,
)
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.texts import plain
from gsto_viz.explorer.values.attribution import (
    QUANTITIES,
    BranchMaps,
    Kept,
    Question,
    Run,
    answer,
    ask,
    branch_rows,
    branch_table,
    evidence_data,
    exact_maps,
    refusal,
    run_on,
    score_of,
    split_heads,
    step_memory,
    sum_check,
    unit_of,
)
from gsto_viz.explorer.values.probe import Point
from gsto_viz.explorer.values.tiles import DIVERGING
from gsto_viz.explorer.view_state import ABSENT, PICKS, STEPS
from gsto_viz.explorer.viewer import draw_colors, last_click
from gsto_viz.words import METHOD_LINKS

Fields = Mapping[str, EvidenceField]
"""What the branches of A and B say about one image, by letter, for any target."""


def evidence(shown: Shown, absent: str) -> Fields:
    """Split the heads of A and B by branch once.

    Args:
        absent: One of ``ABSENT``.

    Raises:
        GstoVizError: A network's head cannot be split by branch.
    """
    return {x: _evidence(shown.choices[x], shown.picture, absent) for x in LETTERS}


@cached.kept(8)
def _evidence(choice: Choice, picture: Picture, absent: str) -> EvidenceField:
    model = cached.network(choice)
    with cached.FORWARD:
        field = split_heads(model, picture.sample.image, absent)
    field.products.setflags(write=False)
    return field


@cached.kept_copies(64)
def _forward_s(choice: Choice, size: tuple[int, int], _picture: Picture) -> float:
    """Time a forward pass; ``evidence`` has run one before: the first is several times slower."""
    model = cached.network(choice)
    with cached.FORWARD:
        batch = input_batch(model, _picture.sample.image)
        begin = time.perf_counter()
        head_pass(model, batch)
        return time.perf_counter() - begin


@st.cache_resource(show_spinner=False)
def _kept() -> Kept:
    return Kept()


@dataclass(frozen=True)
class Plan:
    """Captum's method on one question, for both networks.

    Attributes:
        method: One of ``METHODS`` that is not exact.
        steps: Of integrated gradients; 0 for other methods.
        question: What is asked.
    """

    method: str
    steps: int
    question: Question

    def key(self, shown: Shown, letter: str) -> tuple[Any, ...]:
        """Return what the result for one network depends on."""
        # Which pixels a region has is up to the labels, or to A where there are none.
        labelled = shown.sample.labels is not None
        regions = shown.sample.id if labelled else shown.fingerprints["A"]
        image = shown.picture.key, regions, shown.fingerprints[letter]
        return (*image, *self.question.key, self.method, self.steps)

    def passes(self, shown: Shown, letter: str) -> float:
        """Return what the run costs, in forward passes."""
        branches = len(shown.inspections[letter].strides)
        return METHOD_LINKS[self.method].passes(branches, self.steps)

    def pace(self, shown: Shown, letter: str) -> tuple[Any, ...]:
        """Return what the speed of the run depends on."""
        return shown.fingerprints[letter], shown.size, self.method


def kept_runs(plan: Plan, shown: Shown) -> dict[str, Run]:
    """Return the results that are there already, by letter."""
    found = {letter: _kept().get(plan.key(shown, letter)) for letter in LETTERS}
    return {letter: run for letter, run in found.items() if run is not None}


def expected_s(plan: Plan, shown: Shown) -> float:
    """Return how many seconds the runs that are not there yet will take."""
    there = kept_runs(plan, shown)
    # Of one network that is both A and B one run is needed.
    missing = {shown.fingerprints[x]: x for x in LETTERS if x not in there}
    return sum(
        _kept().expected_s(
            plan.pace(shown, x),
            forward_s=_forward_s(shown.choices[x], shown.size, shown.picture),
            passes=plan.passes(shown, x),
        )
        for x in missing.values()
    )


def too_little_memory(shown: Shown) -> str | None:
    """Return why no such run should be made on this image now, or None."""
    free = free_bytes()
    steps = (_step_bytes(shown.choices[x], shown.size, shown.picture) for x in LETTERS)
    return refusal(max(steps), free)


@cached.kept_copies(64)
def _step_bytes(choice: Choice, size: tuple[int, int], _picture: Picture) -> int:
    model = cached.network(choice)
    with cached.FORWARD:
        return step_memory(model, input_batch(model, _picture.sample.image)).per_row


def run_once(plan: Plan, shown: Shown, letter: str, grid: tuple[int, int]) -> None:
    """Run a method on one network, unless that was done meanwhile.

    Args:
        plan: What is to be run.
        letter: Which of them.
        grid: (h, w) of its logits.

    Raises:
        GstoVizError: One step does not fit into memory.
    """
    model = cached.network(shown.choices[letter])
    key = plan.key(shown, letter)
    with cached.FORWARD:
        if _kept().get(key) is not None:
            return
        found = run_on(model, shown, plan.question, grid, (plan.method, plan.steps))
    pace, passes = plan.pace(shown, letter), plan.passes(shown, letter)
    _kept().put(key, found, pace=pace, passes=passes)


def attribution_tiles(
    shown: Shown,
    question: Question,
    view: tuple[str, str, int],
    fields: Fields,
    runs: Mapping[str, Run],
) -> dict[str, Any]:
    """Return what the viewer of the page gets; it must not be changed.

    Args:
        question: What is asked.
        view: Method, what stands in for absent branches, steps: one of ``METHODS``, ``ABSENT`` and
            ``STEPS`` each.
        fields: What ``evidence`` gave.
        runs: What ``kept_runs`` gave, for methods that are not exact.
    """
    method, absent, steps = view
    key: tuple[Any, ...] = (*question.key, steps)
    if METHOD_LINKS[method].at == "head":
        key = (absent, *((question.class_id, question.score) if method == "shapley" else ()))
    return _viewer_data(shown, method, key, question, fields, runs)


@cached.kept(24)
def _viewer_data(
    shown: Shown,
    method: str,
    asked: tuple[Any, ...],
    _question: Question,
    _fields: Fields,
    _runs: Mapping[str, Run],
) -> dict[str, Any]:
    maps = branch_maps(shown, _question, method, _fields, _runs)
    return evidence_data(shown, cached.regions(shown), maps, method, _question.score)


def branch_maps(
    shown: Shown,
    question: Question,
    method: str,
    fields: Fields,
    runs: Mapping[str, Run],
) -> dict[str, BranchMaps]:
    """Return the maps of A and B by letter."""
    if METHOD_LINKS[method].at == "head":
        return {x: exact_maps(fields[x], question, method) for x in LETTERS}
    strides = {x: shown.inspections[x].strides for x in LETTERS}
    return {x: BranchMaps(one.maps, one.strides, strides[x]) for x, one in runs.items()}


FEW_STEPS = 0.05
"""A convergence delta beyond this share of the score asks for more steps."""


def draw_answers(shown: Shown, question: Question, answers: Mapping[str, BranchShapley]) -> None:
    """Draw shares and Shapley values of A and B, and what they add up to."""
    strides = {letter: shown.inspections[letter].strides for letter in LETTERS}
    st.markdown(f"**Explained: the {plain(question.words)}**")
    rows = branch_rows(answers, strides)
    for column, quantity in zip(st.columns(2, gap="medium"), QUANTITIES, strict=True):
        with column:
            title = QUANTITIES[quantity].format(unit=question.unit)
            chart = branch_chart(rows, quantity, title)
            st.altair_chart(chart, width="stretch", alt=f"{title} by stride, A and B")
    for letter in LETTERS:
        st.markdown(plain(sum_check(letter, question, answers[letter])))
    table = branch_table(answers, strides, question.unit)
    numbers = [name for name in table.columns if name not in ("network", "quantity")]
    st.dataframe(
        table,
        hide_index=True,
        width="stretch",
        alt="Shapley values, shares and drops of every branch of A and B, and their sums",
        column_config={n: st.column_config.NumberColumn(format="%.4f") for n in numbers},
    )


def draw_runs(shown: Shown, method: str, runs: Mapping[str, Run]) -> None:
    """Draw the totals of Captum's maps and, for integrated gradients, how well they converged."""
    if not runs:
        return
    rows = []
    for letter, run in runs.items():
        cells = zip(shown.inspections[letter].strides, run.totals, strict=True)
        rows.append({"network": letter} | {f"/{s}": float(v) for s, v in cells})
    table = pd.DataFrame(rows)
    st.markdown(f"**Sums of the maps of {METHOD_LINKS[method].key.replace('_', ' ')}**")
    st.dataframe(
        table,
        hide_index=True,
        width="stretch",
        alt="Sum of each branch's map, A and B",
        column_config={n: st.column_config.NumberColumn(format="%.4g") for n in table.columns[1:]},
    )
    for letter, run in runs.items():
        st.markdown(plain(convergence(letter, run, "" if shown.pose else " logits")))


def convergence(letter: str, run: Run, unit: str = " logits") -> str:
    """Describe how long a run took, and how far integrated gradients are from adding up."""
    took = f"{letter}: took {run.seconds:.1f} s."
    if run.delta is None:
        return took
    share = abs(run.delta) / max(abs(run.score), 1e-9)
    advice = " More steps make it smaller." if share > FEW_STEPS else ""
    return (
        f"{took} Convergence delta {run.delta:+.3f}{unit}: what the maps add up to, less the "
        f"change of the score ({run.score:.3f}) when the branches go to those of an image of the "
        f"mean colour.{advice}"
    )


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
            ("pick", "Asked about", PICKS, picks),
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
    asked = partial(ask, shown, regions, point, target=state.target, score=state.score)
    question = asked(pick=state.pick)
    try:
        with st.spinner("Splitting the heads of A and B by branch"):
            fields = evidence(shown, state.absent)
        runs = {} if question is None else _runs(page, shown, question, fields)
    except GstoVizError as error:
        st.error(plain(str(error)))
        page.write_link()
        return
    # Until a method has run, and where no region lies, Shapley maps stand in: tiles never empty.
    there = question is not None
    there = there and (len(runs) == len(LETTERS) or METHOD_LINKS[state.method].at == "head")
    method = state.method if there else "shapley"
    about = question or asked(pick="pixel")
    assert about is not None
    _draw_viewer(page, shown, point, about, method, fields, runs)
    left, right = st.columns([1, 4], gap="medium")
    with left:
        draw_coordinates(shown, point, partial(move_probe, page))
    with right:
        if question is None:
            st.markdown(NOWHERE)
        else:
            answers = answer(question, shown, fields)
            draw_answers(shown, question, answers)
            draw_runs(shown, state.method, runs)
            maps = partial(branch_maps, shown, question, method, fields, runs) if there else None
            pin = question.pin(point)
            marks = marks_at(regions, point, pin=pin, outline=state.pick == "region")
            given = (shown, question, answers, page.state, maps, marks)
            draw_exports(partial(attribution_exports, *given))
    page.write_link()


def _runs(page: Page, shown: Shown, question: Question, fields: Fields) -> dict[str, Run]:
    """Return the results of a method that is not exact; offer to run it where there are none."""
    method = page.state.method
    if METHOD_LINKS[method].at == "head":
        return {}
    plan = Plan(method, page.state.steps if method == "integrated" else 0, question)
    runs = kept_runs(plan, shown)
    if len(runs) == len(LETTERS):
        return runs
    refused = too_little_memory(shown)
    if refused is not None:
        st.warning(refused, icon=":material/memory:")
        return runs
    slot = st.empty()
    time = in_words(expected_s(plan, shown))
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
                    run_once(plan, shown, letter, fields[letter].grid)
    slot.empty()
    return kept_runs(plan, shown)


def _draw_viewer(
    page: Page,
    shown: Shown,
    point: Point,
    question: Question,
    method: str,
    fields: Fields,
    runs: Mapping[str, Run],
) -> None:
    """Draw the tiles, and what their numbers are."""
    state = page.state
    data = attribution_tiles(shown, question, (method, state.absent, state.steps), fields, runs)
    pin = question.pin(point)
    draw_tiles(page, data, point, shown.size, pin=pin, outline=state.pick == "region", key=KEY)
    page.note(x=point.x, y=point.y)
    unit = unit_of(method, score_of(shown, question.score))
    scale = "one scale for each network" if method == "gradcam" else "one scale for all maps"
    instead = ""
    if method != state.method:
        instead = f"{METHOD_LINKS[state.method].title} has no maps here yet; these are exact. "
    st.markdown(
        f"{plain(shown.picture.description)} {instead}Maps: {unit}; red "
        f"raises the number, blue lowers it; {scale}, symmetric about 0, and what lies beyond the "
        "bar takes its end colours. Click a tile to ask there, use the wheel to zoom, arrow keys "
        "to step by one cell." + ("" if pin is None else " Square: the peak that is asked about.")
    )
