"""A saved view of the page "Attribution" again, without Streamlit and its caches."""

from gsto_viz.attribution import evidence_field, head_pass, own_mean_baseline, zero_baseline
from gsto_viz.attribution.gradients import free_bytes
from gsto_viz.attribution.shapley import EvidenceField
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate.protocols import input_batch
from gsto_viz.explorer.attribution_export import attribution_exports
from gsto_viz.explorer.checkpoints import opened
from gsto_viz.explorer.evidence import Question, answer, ask, entries_of
from gsto_viz.explorer.evidence_tiles import BranchMaps, exact_maps
from gsto_viz.explorer.export_files import Exports
from gsto_viz.explorer.gradient_runs import memory_budget, run_method
from gsto_viz.explorer.probe import Point, probed
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.view_figures import marks_at
from gsto_viz.explorer.view_state import ViewState
from gsto_viz.models import SegmentationNetwork
from gsto_viz.regions import PreparedRegions
from gsto_viz.words import METHOD_LINKS


def replayed_attribution(shown: Shown, regions: PreparedRegions, state: ViewState) -> Exports:
    """Return the files of a saved view; both networks run, and Captum where the view asks for it.

    Args:
        regions: Of that image.
        state: The view.

    Raises:
        GstoVizError: No region lies at the probe, a head cannot be split by branch, or a run does
            not fit into memory.
    """
    point = probed(state, shown, regions)
    question = _question(shown, regions, point, state)
    models = {x: opened(choice.path) for x, choice in shown.choices.items()}
    fields = {x: _field(models[x], shown, state) for x in LETTERS}
    if METHOD_LINKS[state.method].at == "head":
        maps = {x: exact_maps(fields[x], question, state.method) for x in LETTERS}
    else:
        maps = {x: _run(models[x], shown, question, state, fields[x]) for x in LETTERS}
    answers = answer(question, shown, fields)
    marks = marks_at(regions, point, outline=state.pick == "region")
    return attribution_exports(shown, question, answers, state, lambda: maps, marks)


def _question(shown: Shown, regions: PreparedRegions, point: Point, state: ViewState) -> Question:
    question = ask(
        shown,
        regions,
        point,
        pick=state.pick,
        target=state.target,
        score="margin" if state.score == "margin" else "mean",
    )
    if question is None:
        raise GstoVizError("no region lies at the probe of this view; save the view again")
    return question


def _field(model: SegmentationNetwork, shown: Shown, state: ViewState) -> EvidenceField:
    """Return what the branches of a network say about the image, for any target."""
    seen = head_pass(model, input_batch(model, shown.sample.image))
    absent = zero_baseline(model) if state.absent == "zero" else own_mean_baseline(seen)
    return evidence_field(seen, absent)


def _run(
    model: SegmentationNetwork,
    shown: Shown,
    question: Question,
    state: ViewState,
    field: EvidenceField,
) -> BranchMaps:
    """Run one of Captum's methods, as the page did."""
    run = run_method(
        model,
        input_batch(model, shown.sample.image),
        entries_of(question, shown, field.grid),
        METHOD_LINKS[state.method].key,
        steps=state.steps if state.method == "integrated" else 1,
        budget=memory_budget(free_bytes()),
    )
    return BranchMaps(run.maps, run.strides, field.strides)
