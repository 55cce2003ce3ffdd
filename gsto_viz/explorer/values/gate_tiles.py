"""What the viewer of the page "Gates" gets: predictions, and every gate map by its transfer."""

from itertools import groupby
from typing import Any

import numpy as np

from gsto_viz.activity import HeatMap, gate_map
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.values.gates import (
    GatePlace,
    Held,
    chosen_maps,
    gate_places,
    group_title,
    limits_of,
)
from gsto_viz.explorer.values.tiles import (
    SkeletonPicture,
    look_picture,
    skeleton_pictures,
    skeleton_tiles,
)
from gsto_viz.look import Look
from gsto_viz.plots.gates import NO_GATES
from gsto_viz.plots.tiles import Tile, class_tile, map_tile, picture_tile, shared_data
from gsto_viz.regions import PreparedRegions
from gsto_viz.types import IGNORE

Row = dict[str, Any]
COLORS = {"gate": "viridis", "map": "inferno"}
"""Colour maps of gates and of changes."""


def gate_key(letter: str, gate: str) -> str:
    """Return the key of a gate's tile."""
    return f"gate-{letter}-{gate}"


def gate_of_tile(key: str) -> str | None:
    """Return the gate of a tile that was clicked, or None where it is another tile."""
    for letter in LETTERS:
        if key.startswith(f"gate-{letter}-"):
            return key.removeprefix(f"gate-{letter}-")
    return None


def gate_viewer_data(
    shown: Shown, regions: PreparedRegions, subject: str, gate: str, held: Held | None
) -> dict[str, Any]:
    """Return the data of the viewer.

    Args:
        regions: Of that image.
        subject: The network whose prediction is shown, A or B.
        gate: The choice whose gates are marked.
        held: What is shown beside the prediction; None: nothing is held.
    """
    height, width = shown.size
    tiles = _image_tiles(shown, subject)
    rows = [{"title": "Image", "columns": max(3, len(tiles)), "tiles": tiles}]
    if held is not None:
        rows.append({"title": held.what, "columns": 3, "tiles": _held_tiles(shown, held)})
    for letter in LETTERS:
        rows += _network_rows(letter, shown.inspections[letter])
    return {
        "image": shown.picture.key,
        "height": height,
        "width": width,
        "rows": rows,
        "chosen": [
            gate_key(letter, name)
            for letter in LETTERS
            for name in chosen_maps(shown.inspections[letter], gate)
        ],
        **shared_data(shown.pixel_classes, regions.regions.ids),
    }


def _image_tiles(shown: Shown, subject: str) -> list[Tile]:
    """Return image, labels (or the other network's prediction), and the prediction looked at."""
    tiles = [picture_tile("input", "Input", shown.sample.image)]
    other = next(letter for letter in LETTERS if letter != subject)
    if shown.sample.labels is not None:
        tiles.append(class_tile("truth", "Ground truth", shown.sample.labels))
    elif not shown.pose:
        tiles.append(_prediction_tile(shown, other))
    if shown.pose:
        return tiles + skeleton_tiles(skeleton_pictures(shown, (subject,)))
    return [*tiles, _prediction_tile(shown, subject)]


def held_skeletons(shown: Shown, held: Held) -> list[SkeletonPicture]:
    """Return the skeletons with the gate held, of networks for pose."""
    title = f"Skeletons {held.letter}, held"
    return look_picture(held.inspection, shown.sample.image, "held", title)


def _prediction_tile(shown: Shown, letter: str) -> Tile:
    prediction = shown.inspections[letter].prediction
    return class_tile(f"prediction{letter}", f"Prediction {letter}", prediction)


def _held_tiles(shown: Shown, held: Held) -> list[Tile]:
    """Return the prediction with the gate held, what changed in it, and how far logits moved."""
    if shown.pose:
        skeletons = skeleton_tiles(held_skeletons(shown, held))
        return [*skeletons, map_tile("moved", "Change of heat maps (rms)", moved_map(held))]
    change, prediction = held.change, held.inspection.prediction
    differ = np.where(change.changed, prediction, IGNORE)
    title = f"Changed pixels ({100 * change.share:.2f} %)"
    return [
        class_tile("held", f"Prediction {held.letter}, held", prediction),
        class_tile("changed", title, differ) | {"unmarked": "unchanged"},
        map_tile("moved", "Change of logits (rms)", moved_map(held)),
    ]


def moved_map(held: Held) -> HeatMap:
    """Return how far logits moved, root mean square over classes; its bar begins at 0."""
    change = held.change.logit_change
    top = float(change.max())
    return HeatMap(
        change,
        0.0,
        top if top > 0 else 1.0,
        mode="change",
        label="change of the logits, root mean square over classes",
        raw=False,
        stride=held.inspection.strides[0],
    )


def _network_rows(letter: str, inspection: Look) -> list[Row]:
    """Return one block per fusion, sources down and targets across, and one of transitions."""
    places = gate_places(inspection)
    if not places:
        return [{"title": f"{letter}: {inspection.name} - {NO_GATES}", "tiles": []}]
    rows: list[Row] = [{"title": f"{letter}: {inspection.name}", "tiles": []}]
    for group, members in groupby(places, key=lambda place: place.group):
        inside = list(members)
        fusion = group != "transitions"
        columns = 1 + max(place.target for place in inside) if fusion else 1
        tiles = [
            _gate_tile(letter, inspection, place)
            | (_cell(place.source, place.target) if fusion else _cell(row, 0))
            for row, place in enumerate(inside)
        ]
        rows.append({"title": group_title(group), "columns": columns, "tiles": tiles})
    return rows


def _gate_tile(letter: str, inspection: Look, place: GatePlace) -> Tile:
    heat = gate_map(
        inspection.gates[place.name], stride=place.source_stride, limits=limits_of(inspection)
    )
    return map_tile(gate_key(letter, place.name), place.arrow, heat, colors="gate")


def _cell(row: int, column: int) -> dict[str, int]:
    """Return the place of a tile in its block, from 1 as the browser counts."""
    return {"row": row + 1, "column": column + 1}
