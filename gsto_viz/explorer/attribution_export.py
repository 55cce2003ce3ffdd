"""What the page "Attribution" offers for download."""

from collections.abc import Callable, Mapping
from functools import partial

import pandas as pd

from gsto_viz.attribution.shapley import BranchShapley
from gsto_viz.explorer.evidence import Question, branch_table
from gsto_viz.explorer.evidence_tiles import BranchMaps, unit_of
from gsto_viz.explorer.export_files import ExportFile, Exports, csv_bytes, export_stem, npz_bytes
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.view_state import ViewState

PAGE = "attribution"


def attribution_exports(
    shown: Shown,
    question: Question,
    answers: Mapping[str, BranchShapley],
    state: ViewState,
    make_maps: Callable[[], Mapping[str, BranchMaps]],
) -> Exports:
    """Return every file of a view; maps are made on the click.

    Args:
        shown: Two networks on one image.
        question: What is asked.
        answers: By letter, what ``answer`` gave.
        state: The view.
        make_maps: Returns the maps by letter; none before a method was run.
    """
    files = [
        ExportFile(
            "branches.csv", "Branches (CSV)", partial(branches_csv, shown, question, answers, state)
        ),
        ExportFile("maps.npz", "Maps (NPZ)", partial(maps_npz, shown, question, state, make_maps)),
    ]
    names = [shown.inspections[letter].name for letter in LETTERS]
    identity = (*shown.key, str(sorted(state.to_query(PAGE).items())))
    return Exports(export_stem(shown.sample.id, names, PAGE, identity), tuple(files))


def branches_csv(
    shown: Shown,
    question: Question,
    answers: Mapping[str, BranchShapley],
    state: ViewState,
) -> bytes:
    """Return the table of branches as CSV, with what each row comes from."""
    strides = {letter: shown.inspections[letter].strides for letter in LETTERS}
    table = branch_table(answers, strides)
    letters = table["network"]
    origin = {
        "checkpoint": [shown.inspections[x].name for x in letters],
        "sha256": [shown.fingerprints[x] for x in letters],
        "image": shown.sample.id,
        "place (px)": question.name,
        "class": question.class_name,
        "explained": state.score,
        "absent branches": state.absent,
    }
    for position, (name, values) in enumerate(origin.items(), start=1):
        table.insert(position, name, pd.Series(values, index=table.index))
    return csv_bytes(table)


def maps_npz(
    shown: Shown,
    question: Question,
    state: ViewState,
    make_maps: Callable[[], Mapping[str, BranchMaps]],
) -> bytes:
    """Return the maps as ``{letter}_stride{s}``, exact, and in ``about`` what they are."""
    arrays = {
        f"{letter}_stride{branch}": one
        for letter, own in make_maps().items()
        for branch, one in zip(own.branches, own.maps, strict=True)
    }
    about = {
        "image_sha256": shown.picture.key,
        "checkpoints_sha256": shown.fingerprints,
        "method": state.method,
        "steps": state.steps,
        "absent_branches": state.absent,
        "explained": question.words,
        "unit": unit_of(state.method, state.score).replace("per pixel", "per cell"),
    }
    return npz_bytes(arrays, about)
