"""The page "Attribution": which branches carry the evidence at the probe, in A and in B."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from gsto_viz.attribution import (
    EvidenceField,
    evidence_field,
    head_pass,
    own_mean_baseline,
    zero_baseline,
)
from gsto_viz.attribution.gradients import free_bytes, in_words
from gsto_viz.attribution.shapley import BranchShapley
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate.protocols import input_batch
from gsto_viz.explorer import cached
from gsto_viz.explorer.charts import model_color, model_dash, model_shape
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
    entries_of,
    evidence_data,
    exact_maps,
    memory_budget,
    refusal,
    run_method,
    score_of,
    step_memory,
    sum_check,
    unit_of,
)
from gsto_viz.explorer.values.probe import Point
from gsto_viz.explorer.values.tiles import DIVERGING
from gsto_viz.explorer.view_state import ABSENT, PICKS, STEPS
from gsto_viz.explorer.viewer import draw_colors, last_click
from gsto_viz.words import METHOD_LINKS


@dataclass(frozen=True, eq=False)
class Evidence:
    """What one network's branches say about one image.

    Attributes:
        field: All coalitions at all cells.
        forward_s: Seconds that its forward pass took.
    """

    field: EvidenceField
    forward_s: float


def evidence(shown: Shown, absent: str) -> dict[str, Evidence]:
    """Return what the branches of A and B say, by letter, for any target.

    Args:
        absent: One of ``ABSENT``.

    Raises:
        GstoVizError: A network's head cannot be split by branch.
    """
    return {x: _evidence(shown.choices[x], shown.picture, absent) for x in LETTERS}


@cached.kept(8)
def _evidence(choice: Choice, picture: Picture, absent: str) -> Evidence:
    model = cached.network(choice)
    with cached.FORWARD:
        batch = input_batch(model, picture.sample.image)
        begin = time.perf_counter()
        seen = head_pass(model, batch)
        forward_s = time.perf_counter() - begin
        baseline = zero_baseline(model) if absent == "zero" else own_mean_baseline(seen)
        field = evidence_field(seen, baseline)
    field.products.setflags(write=False)
    return Evidence(field, forward_s)


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


def expected_s(plan: Plan, shown: Shown, carried: dict[str, Evidence]) -> float:
    """Return how many seconds the runs that are not there yet will take.

    Args:
        plan: What is to be run.
        carried: What ``evidence`` gave.
    """
    missing = dict.fromkeys(
        shown.fingerprints[x] for x in LETTERS if x not in kept_runs(plan, shown)
    )
    total = 0.0
    for letter in LETTERS:
        if shown.fingerprints[letter] in missing:
            del missing[shown.fingerprints[letter]]
            total += _kept().expected_s(
                plan.pace(shown, letter),
                forward_s=carried[letter].forward_s,
                passes=plan.passes(shown, letter),
            )
    return total


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
        found = run_method(
            model,
            input_batch(model, shown.sample.image),
            entries_of(plan.question, shown, grid),
            METHOD_LINKS[plan.method].key,
            steps=plan.steps or 1,
            budget=memory_budget(free_bytes()),
        )
    pace, passes = plan.pace(shown, letter), plan.passes(shown, letter)
    _kept().put(key, found, pace=pace, passes=passes)


def attribution_tiles(
    shown: Shown,
    question: Question | None,
    view: tuple[str, str, int],
    carried: dict[str, Evidence],
    runs: dict[str, Run],
) -> dict[str, Any]:
    """Return what the viewer of the page gets; it must not be changed.

    Args:
        question: What is asked; None: nothing, and there are no maps.
        view: Method, what stands in for absent branches, steps: one of ``METHODS``, ``ABSENT`` and
            ``STEPS`` each.
        carried: What ``evidence`` gave.
        runs: What ``kept_runs`` gave, for methods that are not exact.
    """
    method, absent, steps = view
    key: tuple[Any, ...] = ()
    if question is not None and method == "shapley":
        key = question.class_id, question.score, absent
    elif question is not None and METHOD_LINKS[method].at == "head":
        key = (absent,)
    elif question is not None and runs:
        key = *question.key, steps, *runs
    score = "margin" if question is None else question.score
    return _viewer_data(shown, method, key, score, question, carried, runs)


@cached.kept(24)
def _viewer_data(
    shown: Shown,
    method: str,
    asked: tuple[Any, ...],
    score: str,
    _question: Question | None,
    _carried: dict[str, Evidence],
    _runs: dict[str, Run],
) -> dict[str, Any]:
    maps = branch_maps(shown, _question, method, _carried, _runs)
    return evidence_data(shown, cached.regions(shown), maps, method, score)


def branch_maps(
    shown: Shown,
    question: Question | None,
    method: str,
    carried: dict[str, Evidence],
    runs: dict[str, Run],
) -> dict[str, BranchMaps]:
    """Return the maps of A and B by letter; none where nothing is asked or was run."""
    if question is None:
        return {}
    if METHOD_LINKS[method].at == "head":
        return {x: exact_maps(carried[x].field, question, method) for x in LETTERS}
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
            _draw_chart(rows, quantity, question.unit)
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


def _draw_chart(rows: pd.DataFrame, quantity: str, unit: str) -> None:
    title = QUANTITIES[quantity].format(unit=unit)
    table = rows[["model", "stride", quantity]].dropna().round({quantity: 5})
    zero = alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(color="#888888").encode(y="zero:Q")
    line = (
        alt.Chart(table)
        .mark_line(point={"size": 70, "filled": True})
        .encode(
            x=alt.X("stride:O", title="stride of the branch (px)", axis=alt.Axis(labelAngle=0)),
            y=alt.Y(f"{quantity}:Q", title=title),
            color=model_color(),
            shape=model_shape(),
            strokeDash=model_dash(),
        )
    )
    st.altair_chart(
        (zero + line).properties(height=220), width="stretch", alt=f"{title} by stride, A and B"
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
            carried = evidence(shown, state.absent)
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
                maps = partial(branch_maps, shown, question, state.method, carried, runs)
            pin = question.pin(point)
            marks = marks_at(regions, point, pin=pin, outline=state.pick == "region")
            given = (shown, question, answers, page.state, maps, marks)
            draw_exports(partial(attribution_exports, *given))
    page.write_link()


def _runs(
    page: Page, shown: Shown, question: Question, carried: dict[str, Evidence]
) -> dict[str, Run]:
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
    time = in_words(expected_s(plan, shown, carried))
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
                    run_once(plan, shown, letter, carried[letter].field.grid)
    slot.empty()
    return kept_runs(plan, shown)


def _draw_viewer(
    page: Page,
    shown: Shown,
    point: Point,
    question: Question | None,
    carried: dict[str, Evidence],
    runs: dict[str, Run],
) -> None:
    """Draw the tiles, and what their numbers are."""
    state = page.state
    data = attribution_tiles(
        shown, question, (state.method, state.absent, state.steps), carried, runs
    )
    pin = None if question is None else question.pin(point)
    draw_tiles(page, data, point, shown.size, pin=pin, outline=state.pick == "region", key=KEY)
    page.note(x=point.x, y=point.y)
    unit = unit_of(state.method, score_of(shown, state.score))
    scale = "one scale for each network" if state.method == "gradcam" else "one scale for all maps"
    st.markdown(
        f"{plain(shown.picture.description)} Maps: {unit}; red "
        f"raises the number, blue lowers it; {scale}, symmetric about 0, and what lies beyond the "
        "bar takes its end colours. Click a tile to ask there, use the wheel to zoom, arrow keys "
        "to step by one cell." + ("" if pin is None else " Square: the peak that is asked about.")
    )
