"""What the page "Gates" offers for download: the same functions serve page and command line."""

import functools
from collections.abc import Callable
from dataclasses import asdict, fields
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.activity import gate_map
from gsto_viz.capture import safe_name as tap_name
from gsto_viz.errors import GstoVizError
from gsto_viz.explorer.checkpoints import opened
from gsto_viz.explorer.exports.figures import gates_sheet, marks_at, view_files
from gsto_viz.explorer.exports.files import (
    ExportFile,
    Exports,
    Sheet,
    about_pair,
    csv_bytes,
    figure_files,
    npz_bytes,
    origin,
    stem_of,
    tile_file,
    view_json,
)
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.values.gate_tiles import COLORS, held_skeletons
from gsto_viz.explorer.values.gates import (
    GateChoice,
    GatePlace,
    Held,
    chosen_maps,
    gate_choice,
    gate_places,
    gate_table,
    gated_letters,
    gates_at,
    hold,
    limits_of,
    means_by_class,
    means_by_size,
    region_gates,
)
from gsto_viz.explorer.values.probe import Point, probed
from gsto_viz.explorer.values.tiles import class_pixels, map_pixels
from gsto_viz.explorer.view_state import ViewState
from gsto_viz.plots import figure_gate_maps
from gsto_viz.regions import PreparedRegions
from gsto_viz.types import IGNORE

PAGE = "gates"
HEADERS = {
    "from": "from stride (px)",
    "to": "to stride (px)",
    "lowest": "lowest gate",
    "highest": "highest gate",
    "mean": "mean gate",
    "sd": "standard deviation over cells",
    "at_lower_end": "share of cells at the lower end (0..1)",
    "near_upper_end": "share of cells near the upper end (0..1)",
    "at_probe": "gate at the probe",
}
"""Columns of the table of gates, with units."""
Makes = Callable[[], Held | None]


def gates_exports(
    shown: Shown,
    regions: PreparedRegions,
    state: ViewState,
    choice: GateChoice,
    make_held: Makes,
) -> Exports:
    """Return every file of a view; nothing is computed before one is made.

    Args:
        regions: Of that image.
        state: The view.
        choice: What it is about.
        make_held: Returns what holding the gates changes; None where they are not held.
    """
    sheet = partial(_sheet, shown, regions, state, choice, make_held)
    files = view_files(shown, sheet)
    figure = partial(figure_gate_maps, shown.sample, shown.inspections)
    files += figure_files("figure", "All gates", figure)
    files += [
        ExportFile("gates.csv", "All gates (CSV)", partial(_gates_csv, shown, regions, state)),
        ExportFile("means.csv", "Means (CSV)", partial(_means_csv, shown, regions, choice)),
    ]
    if choice.value is not None:
        files.append(ExportFile("held.csv", "What changes (CSV)", partial(_held_csv, make_held)))
    files += [
        ExportFile("maps.npz", "Gate maps (NPZ)", partial(_maps, shown, choice, make_held)),
        ExportFile(
            "view.json",
            "This view (JSON)",
            partial(_view_json, shown, regions, state, choice, make_held),
        ),
    ]
    tiles = _tiles(shown, choice, make_held)
    return Exports(stem_of(PAGE, shown, state), tuple(files), tiles)


def replayed_gates(shown: Shown, regions: PreparedRegions, state: ViewState) -> Exports:
    """Return the files of a saved view; a gate that is held is held again.

    Raises:
        GstoVizError: Neither network has gates, or no longer the one of the view.
    """
    choice = gate_choice(shown, state)
    if choice is None or choice.gate != state.gate:
        raise GstoVizError(
            "the view's gate is in neither network; give the checkpoints of the view"
        )
    subject = shown.choices[choice.subject]

    @functools.cache
    def make_held() -> Held | None:
        if choice.value is None:
            return None
        return hold(shown, choice, opened(subject.path, subject.name))

    return gates_exports(shown, regions, state, choice, make_held)


def _sheet(
    shown: Shown,
    regions: PreparedRegions,
    state: ViewState,
    choice: GateChoice,
    make_held: Makes,
) -> Sheet:
    marks = marks_at(regions, probed(state, shown, regions), outline=True)
    return gates_sheet(shown, marks, choice, make_held())


def all_gates(shown: Shown, point: Point) -> pd.DataFrame:
    """Return the tables of all gates of A and B, with ``model`` and the value at a pixel."""
    return pd.concat(
        [
            gate_table(shown.inspections[letter]).assign(
                at_probe=gates_at(shown.inspections[letter], point), model=letter
            )
            for letter in gated_letters(shown)
        ],
        ignore_index=True,
    )


def means(shown: Shown, regions: PreparedRegions, choice: GateChoice) -> pd.DataFrame:
    """Return the mean of the chosen gate by size octave and by class.

    Returns:
        ``model``, ``by`` (``size`` or ``class``), ``group`` (px, or a class), ``regions`` (count),
        ``mean`` gate.
    """
    gates = {
        letter: region_gates(shown.inspections[letter], regions, choice.gate)
        for letter in gated_letters(shown)
        if chosen_maps(shown.inspections[letter], choice.gate)
    }
    sizes = means_by_size(gates, regions).rename(columns={"size": "group"}).assign(by="size")
    classes = means_by_class(gates, regions, shown.pixel_classes)
    classes = classes.rename(columns={"class": "group"}).assign(by="class")
    return pd.concat([sizes, classes], ignore_index=True)[
        ["model", "by", "group", "regions", "mean"]
    ]


def _gates_csv(shown: Shown, regions: PreparedRegions, state: ViewState) -> bytes:
    point = probed(state, shown, regions)
    table = origin(all_gates(shown, point), shown).assign(x=point.x, y=point.y)
    return csv_bytes(table.rename(columns=HEADERS | {"x": "x (px)", "y": "y (px)"}))


def _means_csv(shown: Shown, regions: PreparedRegions, choice: GateChoice) -> bytes:
    table = origin(means(shown, regions, choice), shown)
    table.insert(4, "gate", choice.gate)
    return csv_bytes(table.rename(columns={"mean": "mean gate"}))


def _held_csv(make_held: Makes) -> bytes:
    held = make_held()
    assert held is not None
    units = {name: f"{name} (px)" for name in ("before", "after", "left", "joined")}
    table = held.change.classes.rename(columns=units | {"logit": "mean change of its logit"})
    table.insert(0, "what", held.what)
    return csv_bytes(table)


def _maps(shown: Shown, choice: GateChoice, make_held: Makes) -> bytes:
    """Return every gate map, predictions, labels, and what holding a gate changes."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for letter in LETTERS:
        seen = shown.inspections[letter]
        arrays |= {f"{letter}.{tap_name(gate)}": values for gate, values in seen.gates.items()}
        if not shown.pose:
            arrays[f"{letter}.prediction"] = seen.prediction
    if shown.sample.labels is not None:
        arrays["labels"] = shown.sample.labels
    held = make_held()
    if held is not None:
        if not shown.pose:
            arrays[f"{held.letter}.held.prediction"] = held.inspection.prediction
            arrays[f"{held.letter}.held.changed"] = held.change.changed
        arrays[f"{held.letter}.held.logit_change"] = held.change.logit_change
    about = about_pair(shown) | {
        "gate_range": {x: shown.inspections[x].gate_range for x in LETTERS},
        "held": None if choice.value is None else choice.what,
    }
    return npz_bytes(arrays, about)


def _view_json(
    shown: Shown,
    regions: PreparedRegions,
    state: ViewState,
    choice: GateChoice,
    make_held: Makes,
) -> bytes:
    """Return the whole view as a file that ``gsto-viz export`` replays."""
    point = probed(state, shown, regions)
    held = make_held()
    numbers = {
        "point": {"x_px": point.x, "y_px": point.y},
        "subject": choice.subject,
        "gate": choice.gate,
        "gates": all_gates(shown, point),
        "means": means(shown, regions, choice),
        "region_source": shown.region_source,
        "held": None if held is None else _held_numbers(held),
    }
    display = {
        "gate_range": {x: shown.inspections[x].gate_range for x in LETTERS},
        "colors": COLORS["gate"],
        "interpolation": "nearest",
    }
    return view_json(PAGE, shown, state, numbers, display)


def _held_numbers(held: Held) -> dict[str, Any]:
    """Return what holding the gates changes, without its maps."""
    known = {field.name: getattr(held.change, field.name) for field in fields(held.change)}
    kept = {name: value for name, value in known.items() if not isinstance(value, np.ndarray)}
    sci = [asdict(one) for one in held.change.sci]
    return {"what": held.what, **kept, "sci": sci}


def _tiles(shown: Shown, choice: GateChoice, make_held: Makes) -> tuple[ExportFile, ...]:
    """Return the gates as pictures, one pixel per cell, and the prediction with the gate held."""
    tiles = []
    if choice.value is not None:
        what = "Skeletons" if shown.pose else "Prediction"
        title = f"{what} {choice.subject}, held"
        tiles.append(tile_file("held", title, partial(_held, shown, make_held)))
    if choice.value is not None and not shown.pose:
        tiles.append(tile_file("changed", "Changed pixels", partial(_changed, shown, make_held)))
    for letter in gated_letters(shown):
        for place in gate_places(shown.inspections[letter]):
            paint = partial(_gate_pixels, shown, letter, place)
            tiles.append(
                tile_file(f"{letter}.{tap_name(place.name)}", f"{letter} {place.name}", paint)
            )
    return tuple(tiles)


def _gate_pixels(shown: Shown, letter: str, place: GatePlace) -> npt.NDArray[np.uint8]:
    inspection = shown.inspections[letter]
    values = inspection.gates[place.name]
    heat = gate_map(values, stride=place.source_stride, limits=limits_of(inspection))
    return map_pixels(heat, COLORS["gate"])


def _held(shown: Shown, make_held: Makes) -> npt.NDArray[np.uint8]:
    held = make_held()
    assert held is not None
    if shown.pose:
        pictures = held_skeletons(shown, held)
        return pictures[0].pixels() if pictures else shown.sample.image
    return class_pixels(held.inspection.prediction, shown.classes)


def _changed(shown: Shown, make_held: Makes) -> npt.NDArray[np.uint8]:
    held = make_held()
    assert held is not None
    differ = np.where(held.change.changed, held.inspection.prediction, IGNORE)
    return class_pixels(differ, shown.classes)
