"""What the page "Attribution" offers for download, and a saved view of it again."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.attribution.shapley import BranchShapley
from gsto_viz.errors import GstoVizError
from gsto_viz.explorer.checkpoints import opened
from gsto_viz.explorer.exports.figures import attribution_sheet, marks_at, view_files
from gsto_viz.explorer.exports.files import (
    ExportFile,
    Exports,
    csv_bytes,
    image_tiles,
    npz_bytes,
    stem_of,
    tile_file,
    view_json,
)
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.values.attribution import (
    BranchMaps,
    Question,
    answer,
    ask,
    branch_table,
    exact_maps,
    run_on,
    scaled,
    score_of,
    split_heads,
    unit_of,
)
from gsto_viz.explorer.values.probe import probed
from gsto_viz.explorer.values.tiles import DIVERGING, map_pixels
from gsto_viz.explorer.view_state import ViewState
from gsto_viz.plots import Marks
from gsto_viz.regions import PreparedRegions
from gsto_viz.words import METHOD_LINKS

PAGE = "attribution"
MakeMaps = Callable[[], Mapping[str, BranchMaps]]


def attribution_exports(
    shown: Shown,
    question: Question,
    answers: Mapping[str, BranchShapley],
    state: ViewState,
    make_maps: MakeMaps | None,
    marks: Marks,
) -> Exports:
    """Return every file of a view; maps are made on the click.

    Args:
        question: What is asked.
        answers: By letter, what ``answer`` gave.
        state: The view.
        make_maps: Returns the maps by letter; None before a method was run, and then there is no
            view to save either.
        marks: Probe and outlined region.
    """
    table = partial(branches_csv, shown, question, answers, state)
    files = [ExportFile("branches.csv", "Branches (CSV)", table)]
    tiles = image_tiles(shown)
    if make_maps is not None:
        files = [
            *view_files(
                shown,
                lambda: attribution_sheet(shown, marks, make_maps(), question.words, state),
            ),
            *files,
        ]
        arrays = partial(maps_npz, shown, question, state, make_maps)
        files.append(ExportFile("maps.npz", "Maps (NPZ)", arrays))
        for letter in LETTERS:
            for branch, stride in enumerate(shown.inspections[letter].strides):
                paint = partial(map_tile_pixels, state.method, make_maps, letter, branch)
                tiles.append(tile_file(f"{letter}{stride}", f"{letter} /{stride}", paint))
        view = partial(view_file, shown, question, answers, state, make_maps)
        files.append(ExportFile("view.json", "This view (JSON)", view))
    return Exports(stem_of(PAGE, shown, state), tuple(files), tuple(tiles))


def map_tile_pixels(
    method: str, make_maps: MakeMaps, letter: str, branch: int
) -> npt.NDArray[np.uint8]:
    """Return the map of one branch as the page colours it, one pixel per cell."""
    return map_pixels(scaled(make_maps(), method)[letter][branch], DIVERGING)


def view_file(
    shown: Shown,
    question: Question,
    answers: Mapping[str, BranchShapley],
    state: ViewState,
    make_maps: MakeMaps,
) -> bytes:
    """Return the whole view as a file that ``gsto-viz export`` replays."""
    strides = {letter: shown.inspections[letter].strides for letter in LETTERS}
    numbers = {
        "explained": question.words,
        "class": question.class_name,
        "branches": branch_table(answers, strides, question.unit),
        "scores": {
            letter: {"present": float(one.present[0]), "absent": float(one.absent[0])}
            for letter, one in answers.items()
        },
        "map_sums": {
            letter: {
                f"/{branch}": float(np.nansum(one.astype(np.float64)))
                for branch, one in zip(own.branches, own.maps, strict=True)
            }
            for letter, own in make_maps().items()
        },
    }
    display = {"unit": unit_of(state.method, score_of(shown, state.score)), "colors": DIVERGING}
    return view_json(PAGE, shown, state, numbers, display)


def branches_csv(
    shown: Shown,
    question: Question,
    answers: Mapping[str, BranchShapley],
    state: ViewState,
) -> bytes:
    """Return the table of branches as CSV, with what each row comes from."""
    strides = {letter: shown.inspections[letter].strides for letter in LETTERS}
    table = branch_table(answers, strides, question.unit)
    letters = table["network"]
    origin = {
        "checkpoint": [shown.inspections[x].name for x in letters],
        "sha256": [shown.fingerprints[x] for x in letters],
        "image": shown.sample.id,
        "place (px)": question.name,
        "class": question.class_name,
        "explained": score_of(shown, state.score),
        "absent branches": state.absent,
    }
    for position, (name, values) in enumerate(origin.items(), start=1):
        table.insert(position, name, pd.Series(values, index=table.index))
    return csv_bytes(table)


def maps_npz(
    shown: Shown,
    question: Question,
    state: ViewState,
    make_maps: MakeMaps,
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
        "unit": unit_of(state.method, score_of(shown, state.score)).replace(
            "per pixel", "per cell"
        ),
    }
    return npz_bytes(arrays, about)


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
    question = ask(shown, regions, point, pick=state.pick, target=state.target, score=state.score)
    if question is None:
        raise GstoVizError("no region lies at the probe of this view; save the view again")
    models = {x: opened(choice.path) for x, choice in shown.choices.items()}
    fields = {x: split_heads(models[x], shown.sample.image, state.absent) for x in LETTERS}
    if METHOD_LINKS[state.method].at == "head":
        maps = {x: exact_maps(fields[x], question, state.method) for x in LETTERS}
    else:
        view = state.method, state.steps if state.method == "integrated" else 0
        maps = {}
        for x, field in fields.items():
            run = run_on(models[x], shown, question, field.grid, view)
            maps[x] = BranchMaps(run.maps, run.strides, field.strides)
    answers = answer(question, shown, fields)
    marks = marks_at(regions, point, pin=question.pin(point), outline=state.pick == "region")
    return attribution_exports(shown, question, answers, state, lambda: maps, marks)
