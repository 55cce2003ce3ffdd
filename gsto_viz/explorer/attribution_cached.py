"""Streamlit's caches of the page "Attribution": what branches carry, and Captum's runs."""

import time
from dataclasses import dataclass
from typing import Any

import streamlit as st

from gsto_viz.attribution import (
    EvidenceField,
    evidence_field,
    head_pass,
    own_mean_baseline,
    zero_baseline,
)
from gsto_viz.attribution.gradients import free_bytes
from gsto_viz.evaluate.protocols import input_batch
from gsto_viz.explorer import cached
from gsto_viz.explorer.evidence import Question, entries_of
from gsto_viz.explorer.evidence_tiles import (
    BranchMaps,
    evidence_data,
    exact_maps,
)
from gsto_viz.explorer.gradient_runs import (
    Kept,
    Run,
    memory_budget,
    refusal,
    run_method,
    step_memory,
)
from gsto_viz.explorer.shown import LETTERS, Shown
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
    return {
        letter: _evidence(shown.picture.key, shown.fingerprints[letter], absent, letter, shown)
        for letter in LETTERS
    }


@st.cache_resource(max_entries=8, show_spinner=False)
def _evidence(image_key: str, sha256: str, absent: str, _letter: str, _shown: Shown) -> Evidence:
    model = cached.network(_shown.choices[_letter])
    with cached.FORWARD:
        batch = input_batch(model, _shown.sample.image)
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


def problem(shown: Shown) -> str | None:
    """Return why no such run should be made on this image now, or None."""
    free = free_bytes()
    steps = (_step_bytes(shown.size, shown.fingerprints[x], x, shown) for x in LETTERS)
    return refusal(max(steps), free)


@st.cache_data(max_entries=64, show_spinner=False)
def _step_bytes(size: tuple[int, int], sha256: str, _letter: str, _shown: Shown) -> int:
    model = cached.network(_shown.choices[_letter])
    with cached.FORWARD:
        return step_memory(model, input_batch(model, _shown.sample.image)).per_row


def run(plan: Plan, shown: Shown, letter: str, grid: tuple[int, int]) -> None:
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


def viewer_data(
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
    return _viewer_data(shown.key, method, key, score, shown, question, carried, runs)


@st.cache_resource(max_entries=24, show_spinner=False)
def _viewer_data(
    shown_key: tuple[str, ...],
    method: str,
    asked: tuple[Any, ...],
    score: str,
    _shown: Shown,
    _question: Question | None,
    _carried: dict[str, Evidence],
    _runs: dict[str, Run],
) -> dict[str, Any]:
    maps = branch_maps(_shown, _question, method, _carried, _runs)
    return evidence_data(_shown, cached.regions(_shown), maps, method, score)


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
