"""A view of a page as a figure: the viewer's tiles, marks and scales, on paper and in vectors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby

import numpy as np
from matplotlib.figure import Figure

from gsto_viz.activity import HeatMap, gate_map
from gsto_viz.explorer.exports.files import REDUCTIONS, ExportFile, Sheet, figure_files
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.values.attribution import BranchMaps, scaled, score_of, unit_of
from gsto_viz.explorer.values.gate_tiles import COLORS, held_skeletons, moved_map
from gsto_viz.explorer.values.gates import GateChoice, Held, gate_places, group_title, limits_of
from gsto_viz.explorer.values.probe import HeardCells, Point, region_at
from gsto_viz.explorer.values.tiles import (
    DIVERGING,
    branch_maps,
    difference_map,
    disagreement,
    skeleton_pictures,
    skeletons_in_words,
)
from gsto_viz.explorer.view_state import ViewState
from gsto_viz.plots import Marks, Panel, PanelRow, draw_heard, figure_view
from gsto_viz.plots.gates import NO_GATES
from gsto_viz.regions import PreparedRegions
from gsto_viz.types import IGNORE
from gsto_viz.words import METHOD_LINKS, MODES

AGREE = "A and B agree"
ABSENT = {"mean": "their mean over this image", "zero": "zero"}
"""What stands in for absent branches, in words."""


def view_files(shown: Shown, make: Callable[[], Sheet]) -> list[ExportFile]:
    """Return the view as the page shows it, in every format.

    Args:
        make: Returns what the page shows; called when a file is asked for.
    """
    return figure_files("view", "This view", lambda: view_figure(shown, make()))


def view_figure(shown: Shown, sheet: Sheet) -> Figure:
    """Draw what a page shows."""
    return figure_view(
        sheet.rows,
        image=shown.sample.image,
        classes=shown.pixel_classes,
        marks=sheet.marks,
        opacity=sheet.opacity,
        caption=sheet.caption,
    )


def marks_at(
    regions: PreparedRegions, point: Point, *, pin: Point | None = None, outline: bool
) -> Marks:
    """Return what the viewer marks.

    Args:
        regions: Of the image.
        point: The probed pixel.
        pin: The pinned one.
        outline: Whether the region under the probe is outlined, if there is one.
    """
    number = region_at(regions, point) if outline else 0
    return Marks(
        probe=(point.x, point.y),
        pin=None if pin is None else (pin.x, pin.y),
        outline=regions.regions.ids == number if number else None,
    )


def marks_in_words(marks: Marks, pin: str = "the pin") -> str:
    """Describe what is marked where; ``pin`` is what the second pixel is."""
    words = []
    if marks.probe is not None:
        words.append(f"Cross: the probe at x {marks.probe[0]}, y {marks.probe[1]}.")
    if marks.outline is not None:
        words.append("Outline: the region that is probed.")
    if marks.pin is not None:
        words.append(f"Square: {pin} at x {marks.pin[0]}, y {marks.pin[1]}.")
    return " ".join(words)


def networks_in_words(shown: Shown) -> str:
    """Name the image and the checkpoints."""
    names = "; ".join(f"{x}: {shown.inspections[x].name}" for x in LETTERS)
    return f"{shown.picture.description} {names}.{skeletons_in_words(shown)}"


def branch_sheet(
    shown: Shown,
    marks: Marks,
    *,
    mode: str,
    colors: str,
    difference: bool,
    opacity: float = 1.0,
    heard: Mapping[str, HeardCells] | None = None,
) -> Sheet:
    """Return image, predictions and branch maps of both networks.

    Args:
        marks: Probe, pin and outline.
        mode: Normalisation of the branch maps, one of ``gsto_viz.words.MODES``.
        colors: Their colour map.
        difference: Add a row of B - A.
        opacity: Of maps over the image, 0..1.
        heard: By letter, what the probed pixel listens to.
    """
    maps = branch_maps(shown, mode)
    panels = [_heard_panel(shown, letter, one) for letter, one in (heard or {}).items()]
    rows = [PanelRow("", [*image_panels(shown), *panels])]
    for letter in LETTERS:
        title = f"{letter}: {shown.inspections[letter].name}"
        rows.append(PanelRow(title, _map_panels(letter, maps[letter], colors)))
    more = ""
    if difference:
        more = " The bars of B - A are symmetric about 0."
        pairs = zip(maps["A"], maps["B"], strict=True)
        differences = [difference_map(a, b) for a, b in pairs]
        rows.append(PanelRow("B - A", _map_panels("B - A", differences, DIVERGING)))
    caption = (
        f"{networks_in_words(shown)} {MODES[mode].meaning}{more} Reduction: "
        f"{REDUCTIONS[MODES[mode].raw]}; {shown.sites}, one cell of stride s "
        f"covers s x s pixels. {marks_in_words(marks)}{heard_in_words(heard or {})}"
    )
    return Sheet(rows, marks, caption, opacity)


def _heard_panel(shown: Shown, letter: str, heard: HeardCells) -> Panel:
    """Return the image with the cells that the probed pixel listens to."""
    cells = heard.cells[heard.cells["inside"]]
    boxes, weights = cells[["y0", "x0", "y1", "x1"]].to_numpy(), cells["weight"].to_numpy()
    over = partial(draw_heard, boxes, weights)
    return Panel(f"{letter} listens to", pixels=shown.sample.image, over=over)


def heard_in_words(heard: Mapping[str, HeardCells]) -> str:
    """Describe the cells that are drawn for each network; empty without any."""
    said = "; ".join(
        f"{letter} ({one.what}) up to {100 * one.cells['weight'].max():.1f} %"
        for letter, one in heard.items()
    )
    return f" Cells that the probed pixel listens to, opaque by weight: {said}." if said else ""


def image_panels(shown: Shown) -> list[Panel]:
    """Return what ``first_row`` shows: the image, ground truth, predictions or skeletons."""
    panels = [Panel("Input", pixels=shown.sample.image)]
    if shown.sample.labels is not None:
        panels.append(Panel("Ground truth", labels=shown.sample.labels))
    if shown.pose:
        return panels + [one.panel() for one in skeleton_pictures(shown)]
    for letter in LETTERS:
        prediction = shown.inspections[letter].prediction
        panels.append(Panel(f"Prediction {letter}", labels=prediction))
    differ, share = disagreement(shown)
    title = f"B where it differs from A ({100 * share:.1f} %)"
    return [*panels, Panel(title, labels=differ, unmarked=AGREE)]


def _map_panels(what: str, maps: Sequence[HeatMap], colors: str) -> list[Panel]:
    return [Panel(f"{what} /{heat.stride}", heat=replace(heat, colors=colors)) for heat in maps]


def attribution_sheet(
    shown: Shown,
    marks: Marks,
    maps: Mapping[str, BranchMaps],
    asked: str,
    state: ViewState,
) -> Sheet:
    """Return image, predictions and the signed maps of both networks.

    Args:
        marks: Probe and outline.
        maps: By letter.
        asked: What is explained, in words.
        state: The view.
    """
    unit = unit_of(state.method, score_of(shown, state.score))
    heats = scaled(maps, state.method)
    rows = [PanelRow("", image_panels(shown))]
    for letter, own in maps.items():
        panels = [
            Panel(f"{letter} /{branch}", heat=replace(heat, colors=DIVERGING))
            for branch, heat in zip(own.branches, heats[letter], strict=True)
        ]
        rows.append(PanelRow(f"{letter}: {shown.inspections[letter].name}", panels, note=unit))
    scale = "each network" if METHOD_LINKS[state.method].own_scale else "all maps"
    how = ""
    if METHOD_LINKS[state.method].at == "head":
        how = f" In place of absent branches: {ABSENT[state.absent]}."
    elif state.method == "integrated":
        how = f" {state.steps} steps."
    caption = (
        f"{networks_in_words(shown)} Explained: {asked}. Maps: {unit}; red raises the number, blue "
        f"lowers it; one scale for {scale}, symmetric about 0.{how} "
        f"{marks_in_words(marks, 'the peak')}"
    )
    return Sheet(rows, marks, caption)


def gates_sheet(shown: Shown, marks: Marks, choice: GateChoice, held: Held | None) -> Sheet:
    """Return image, predictions, what holding a gate changes, and all gate maps.

    Args:
        marks: Probe and outline.
        choice: What the view is about.
        held: What holding gates changes; None: they are not held.
    """
    rows = [PanelRow("", _gated_panels(shown, choice.subject))]
    if held is not None:
        rows.append(PanelRow(held.what, _held_panels(shown, held)))
    for letter in LETTERS:
        rows += _gate_rows(shown, letter, choice.gate)
    low, high = limits_of(shown.inspections[choice.subject])
    caption = (
        f"{networks_in_words(shown)} Each gate map multiplies the branch that it stands in front "
        "of; rows are sources, columns targets. One cell of stride s covers s x s pixels. Bars of "
        f"gates run from {low:g} to {high:g}, the range of the gates of {choice.subject}; the "
        f"chosen gate is framed. {marks_in_words(marks)}"
    )
    return Sheet(rows, marks, caption)


def _gated_panels(shown: Shown, subject: str) -> list[Panel]:
    """Return image, labels (or the other network's prediction), and the prediction looked at."""
    panels = [Panel("Input", pixels=shown.sample.image)]
    labels = shown.sample.labels
    if labels is not None:
        panels.append(Panel("Ground truth", labels=labels))
    if shown.pose:
        return panels + [one.panel() for one in skeleton_pictures(shown, (subject,))]
    for letter in LETTERS:
        if letter == subject or labels is None:
            prediction = shown.inspections[letter].prediction
            panels.append(Panel(f"Prediction {letter}", labels=prediction))
    return panels


def _held_panels(shown: Shown, held: Held) -> list[Panel]:
    """Return the prediction with the gate held, what changed in it, and how far logits moved."""
    change, prediction = held.change, held.inspection.prediction
    title = f"Changed pixels ({100 * change.share:.2f} %)"
    differ = np.where(change.changed, prediction, IGNORE)
    moved = replace(moved_map(held), colors=COLORS["map"])
    if shown.pose:
        skeletons = [one.panel() for one in held_skeletons(shown, held)]
        return [*skeletons, Panel("Change of heat maps (rms)", heat=moved)]
    return [
        Panel(f"Prediction {held.letter}, held", labels=prediction),
        Panel(title, labels=differ, unmarked="unchanged"),
        Panel("Change of logits (rms)", heat=moved),
    ]


def _gate_rows(shown: Shown, letter: str, chosen: str) -> list[PanelRow]:
    """Return one block per fusion, sources down and targets across, and one of transitions."""
    inspection = shown.inspections[letter]
    name = f"{letter}: {inspection.name}"
    if not inspection.gates:
        return [PanelRow(f"{name} - {NO_GATES}", [])]
    rows = [PanelRow(name, [])]
    limits = limits_of(inspection)
    for group, members in groupby(gate_places(inspection), key=lambda place: place.group):
        inside, panels = list(members), []
        fusion = group != "transitions"
        for k, place in enumerate(inside):
            heat = gate_map(inspection.gates[place.name], stride=place.source_stride, limits=limits)
            panels.append(
                Panel(
                    place.arrow,
                    heat=replace(heat, colors=COLORS["gate"]),
                    cell=(place.source, place.target) if fusion else (k, 0),
                    chosen=place.name == chosen,
                )
            )
        columns = 1 + max(place.target for place in inside) if fusion else 1
        rows.append(PanelRow(group_title(group), panels, columns=columns))
    return rows
