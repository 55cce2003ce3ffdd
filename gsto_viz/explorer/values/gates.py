"""Gates of one image in numbers, and what a network predicts when gates are held."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.activity import FloatMap, cell_at, saturated_share
from gsto_viz.anatomy import Edge, edge_named, site_numbers
from gsto_viz.attribution.interventions import constant, intervene
from gsto_viz.explorer.shown import LETTERS, Shown, cut_regions
from gsto_viz.explorer.values.probe import Point
from gsto_viz.explorer.view_state import ViewState
from gsto_viz.look import Look
from gsto_viz.models import SegmentationNetwork
from gsto_viz.network import open_network
from gsto_viz.regions import PreparedRegions, part_means, region_arrays
from gsto_viz.report.examples import with_skeletons
from gsto_viz.stats.inference import Estimate
from gsto_viz.stats.outcome import (
    confusion_matrix,
    outcome_by_size,
    outcome_counts,
    scores_of,
)
from gsto_viz.stats.pairs import sci
from gsto_viz.types import IGNORE, ClassList, Stride

ALL = "*"
"""Stands for all gates of a network at once."""
WAYS = {1: "down", -1: "up", 0: "same"}
"""Groups by direction, named by the sign of their edges."""
WAY_WORDS = {"up": "coarse to fine", "down": "fine to coarse", "same": "branch to itself"}
NEW = "transitions"
"""The group of gates in front of new branches."""
BINS = 25
NEAR_TOP = 0.05
"""A gate within this share of its range below the upper end, which it never reaches, is near it."""


@dataclass(frozen=True)
class GatePlace(Edge):
    """Where a gate stands.

    Attributes:
        source_stride: The gate's grid.
        target_stride: That of the target branch.
    """

    source_stride: Stride = 1
    target_stride: Stride = 1

    @property
    def group(self) -> str:
        """Its fusion, such as ``stage3.m0``, or ``transitions``."""
        return NEW if self.new else self.site

    @property
    def groups(self) -> tuple[str, ...]:
        """What may be chosen and means this gate, too, the widest first."""
        stage = NEW if self.new else self.site.partition(".")[0]
        return ALL, WAYS[self.sign], stage, f"{self.source}->{self.target}", self.name

    @property
    def arrow(self) -> str:
        """The transfer in short: ``/16 → /4``."""
        return f"/{self.source_stride} → /{self.target_stride}"

    @property
    def title(self) -> str:
        """Transfer and fusion in words: ``/16 → /4, stage 3, module 0``."""
        title = f"transition {site_numbers(self.site)[0]}" if self.new else group_title(self.group)
        return f"{self.arrow}, {title[:1].lower()}{title[1:]}"


def gate_places(inspection: Look) -> tuple[GatePlace, ...]:
    """Return the gates of a network: fusions in its order, source by source, then transitions."""
    strides, edges = inspection.strides, map(edge_named, inspection.gates)
    return tuple(
        GatePlace(**vars(one), source_stride=strides[one.source], target_stride=strides[one.target])
        for one in sorted(edges, key=lambda one: (one.order, one.source, one.target))
    )


def group_title(group: str) -> str:
    """Return a group in words: ``Stage 3, module 0``, ``Transitions``."""
    numbers = site_numbers(group)
    return f"Stage {numbers[0]}, module {numbers[1]}" if len(numbers) == 2 else "Transitions"


def members(places: Sequence[GatePlace], gate: str) -> tuple[GatePlace, ...]:
    """Return the gates that a choice means: a tap, an edge ``3->0``, or a group."""
    return tuple(place for place in places if gate in place.groups)


def gate_options(places: Sequence[GatePlace]) -> dict[str, str]:
    """Return what may be chosen, with its words: groups, edges of several modules, gates."""
    columns = zip(*(place.groups for place in places), strict=True)
    names = dict.fromkeys(name for column in columns for name in column)
    taps = {place.name for place in places}
    kept = [name for name in names if name in taps or len(members(places, name)) > 1]
    return {name: choice_words(places, name) for name in kept}


def choice_words(places: Sequence[GatePlace], gate: str) -> str:
    """Return a choice in words, such as ``/32 → /4, stage 4, module 0`` or ``all 40 gates``."""
    inside = members(places, gate)
    if inside and gate == inside[0].name:
        return inside[0].title
    if gate == ALL:
        return f"all {len(inside)} gates"
    if "->" in gate:
        return f"{inside[0].arrow}, its {len(inside)} gates together"
    name = WAY_WORDS.get(gate) or gate.replace("stage", "stage ")
    return f"{name}, {len(inside)} gates"


def gated_letters(shown: Shown) -> tuple[str, ...]:
    """Return which of A and B have gates."""
    return tuple(letter for letter in LETTERS if shown.inspections[letter].gates)


def first_gate(places: Sequence[GatePlace]) -> str:
    """Return the gate that is looked at first: of the last fusion, coarsest to finest branch."""
    fusions = [place for place in places if not place.new] or list(places)
    last = [place for place in fusions if place.group == fusions[-1].group]
    return max(last, key=lambda place: (place.source, -place.target)).name


def chosen_maps(inspection: Look, gate: str) -> dict[str, npt.NDArray[np.float32]]:
    """Return the maps that a choice means; none where it is not there."""
    return {p.name: inspection.gates[p.name] for p in members(gate_places(inspection), gate)}


def top_share(values: npt.NDArray[np.floating], limits: tuple[float, float]) -> float:
    """Return the share of cells, 0..1, whose gate is near the upper end of its range."""
    threshold = limits[1] - NEAR_TOP * (limits[1] - limits[0])
    return float(np.mean(np.asarray(values, dtype=np.float64) >= threshold))


def gate_table(inspection: Look) -> pd.DataFrame:
    """Describe every gate of a network on one image.

    Returns:
        ``gate``, ``from`` and ``to`` (strides, px), ``lowest``, ``highest``, ``mean`` and ``sd``
        over cells, ``at_lower_end`` and ``near_upper_end`` (shares of cells, 0..1).
    """
    limits = limits_of(inspection)
    rows = []
    for place in gate_places(inspection):
        values = inspection.gates[place.name].astype(np.float64)
        rows.append(
            {
                "gate": place.name,
                "from": place.source_stride,
                "to": place.target_stride,
                "lowest": float(values.min()),
                "highest": float(values.max()),
                "mean": float(values.mean()),
                "sd": float(values.std()),
                "at_lower_end": saturated_share(values, limits),
                "near_upper_end": top_share(values, limits),
            }
        )
    return pd.DataFrame(rows)


def gates_at(inspection: Look, point: Point) -> list[float]:
    """Return what every gate is at a pixel, in the order of ``gate_table``."""
    found = []
    for place in gate_places(inspection):
        size = (inspection.prediction.shape[0], inspection.prediction.shape[1])
        row, column = cell_at(point.y, point.x, size, place.source_stride)
        found.append(float(inspection.gates[place.name][row, column]))
    return found


def limits_of(inspection: Look) -> tuple[float, float]:
    """Return the ends of what the gates' form allows."""
    assert inspection.gate_range is not None
    return inspection.gate_range


def mean_gate(inspection: Look, gate: str) -> float:
    """Return the mean over the cells of a gate; of a group the mean over gates of their means."""
    return float(
        np.mean([m.mean(dtype=np.float64) for m in chosen_maps(inspection, gate).values()])
    )


def gate_histogram(inspection: Look, gate: str, limits: tuple[float, float]) -> pd.DataFrame:
    """Count the cells of a gate by value, over a range that does not depend on the image.

    Args:
        inspection: Of a network.
        gate: A choice; of a group the cells of all its gates together.
        limits: Ends of the bins; values at the upper end count in the last one.

    Returns:
        ``left``, ``right`` (gate values), ``share`` of cells, 0..1. No rows where the network has
        no such gate.
    """
    maps = chosen_maps(inspection, gate)
    if not maps:
        return pd.DataFrame({"left": [], "right": [], "share": []}, dtype=np.float64)
    values = np.concatenate([m.ravel() for m in maps.values()]).astype(np.float64)
    counts, ends = np.histogram(values, bins=BINS, range=limits)
    return pd.DataFrame({"left": ends[:-1], "right": ends[1:], "share": counts / values.size})


def region_gates(inspection: Look, regions: PreparedRegions, gate: str) -> FloatMap:
    """Average a gate over every region: its core, or all of it where the core is too small.

    Returns:
        (K,) gate values; for a group the mean over its gates. NaN for a region without a pixel in
        a valid cell.
    """
    core = regions.regions.part == "core"
    strides = {place.name: place.source_stride for place in gate_places(inspection)}
    by_stride: dict[Stride, dict[str, npt.NDArray[np.float32]]] = {}
    for name, values in chosen_maps(inspection, gate).items():
        by_stride.setdefault(strides[name], {})[name] = values
    means = [
        np.where(core, parts["core"], parts["whole"])
        for stride, maps in by_stride.items()
        for parts in part_means(regions, maps, stride).values()
    ]
    average: FloatMap = np.mean(means, axis=0)
    return average


def means_by_size(gates: Mapping[str, FloatMap], regions: PreparedRegions) -> pd.DataFrame:
    """Average a gate over the regions of each size octave of one image.

    Args:
        gates: By letter, what ``region_gates`` gave.
        regions: Of the image; only those that qualify count.

    Returns:
        ``model``, ``octave`` (floor of log2 of the square root of the area), ``size`` in words
        (px), ``regions``, ``mean`` gate value.
    """
    octave = np.floor(regions.regions.size_octave).astype(np.int64)
    rows = _means(gates, regions, octave)
    words = [f"{2**o} to {2 ** (o + 1)}" for o in rows["group"]]
    return rows.rename(columns={"group": "octave"}).assign(size=words)


def means_by_class(
    gates: Mapping[str, FloatMap], regions: PreparedRegions, classes: ClassList
) -> pd.DataFrame:
    """Average a gate over the regions of each class of one image.

    Returns:
        As ``means_by_size``, with ``class`` (name) in place of octave and size.
    """
    rows = _means(gates, regions, regions.regions.class_id.astype(np.int64))
    names = [classes.names[k] for k in rows["group"]]
    return rows.drop(columns="group").assign(**{"class": names})


def _means(
    gates: Mapping[str, FloatMap], regions: PreparedRegions, group: npt.NDArray[np.int64]
) -> pd.DataFrame:
    rows = []
    for letter, values in gates.items():
        counts = regions.regions.qualifies & np.isfinite(values)
        for one in np.unique(group[counts]):
            of_group = values[counts & (group == one)]
            row = {"model": letter, "group": int(one), "regions": of_group.size}
            rows.append(row | {"mean": float(of_group.mean())})
    return pd.DataFrame(rows, columns=["model", "group", "regions", "mean"])


IMAGE = "shown"
"""Stands for the image in tables of one."""
PLAIN: tuple[str, ...] = ()
"""No gate is held."""


@dataclass(frozen=True)
class HeldChange:
    """What holding a gate changes on one image.

    Attributes:
        changed: (H, W) True where the predicted class is another one.
        share: Share of pixels that changed, 0..1.
        logit_change: (h, w) root mean square over classes of the change of the logits, on the grid
            of the head.
        mean_change: Mean over cells and classes of the absolute change of a logit.
        largest_change: Largest absolute change of a logit.
        spread: Standard deviation of the logits as they were, the scale of the two above.
        accuracy: Share of labelled pixels that are right before and after, 0..1; None without
            labels.
        miou: Mean IoU over the classes of this image before and after, 0..1; None without labels.
        sci: SCI of this image before and after.
        sizes: Recall by size of the region, None without labels: ``size`` (px), ``regions``,
            ``before`` and ``after``, 0..1.
        classes: One row per class that occurs in either prediction: ``class``, ``before``,
            ``after``, ``left`` and ``joined`` (pixels), ``logit`` (mean change of its logit). Of
            networks for pose one per joint, ``class`` and ``logit`` (mean change of its heat map),
            most moved first; nothing above that speaks of classes applies to them.
    """

    changed: npt.NDArray[np.bool_]
    share: float
    logit_change: npt.NDArray[np.float64]
    mean_change: float
    largest_change: float
    spread: float
    accuracy: tuple[float, float] | None
    miou: tuple[float, float] | None
    sci: tuple[Estimate, Estimate]
    sizes: pd.DataFrame | None
    classes: pd.DataFrame


def inspect_held(
    model: SegmentationNetwork, image: npt.NDArray[np.uint8], gates: Sequence[str], value: float
) -> Look:
    """Run a network on one image while gates are held at one value everywhere.

    Args:
        model: Loaded from a checkpoint; it is as before afterwards.
        image: (H, W, 3) uint8.
        gates: Taps, e.g. ``stage3.m0.gate[2->0]``; ``PLAIN``: none, the network as it is.
        value: 0 closes their transfers, 1 makes them plain.

    Returns:
        As ``Network.look`` with logits; later gates answer to the changed features.

    Raises:
        GstoVizError: The network has no such gate.
    """
    with intervene(model, *(constant(gate, value) for gate in gates)):
        return open_network(model).look(image, logits=True)


def held_change(
    plain: Look,
    held: Look,
    classes: ClassList,
    labels: npt.NDArray[np.uint8] | None,
    regions: PreparedRegions,
    *,
    pose: bool = False,
) -> HeldChange:
    """Compare what a network says with and without a gate held.

    Args:
        plain: As it is, with logits.
        held: With the gate held, with logits.
        classes: Of the network.
        labels: (H, W) of the image, of these classes; None: not annotated.
        regions: Of the image, before and after.
        pose: Whether the classes are joints.
    """
    assert plain.logits is not None
    assert held.logits is not None
    before = plain.logits.astype(np.float64)
    step = held.logits.astype(np.float64) - before
    changed = plain.prediction != held.prediction
    moves = step.mean(axis=(1, 2))
    tables = [
        pd.DataFrame(region_arrays(regions, one.activity)).assign(image=IMAGE)
        for one in (plain, held)
    ]
    sizes = None
    if pose:
        changed[:] = False
        accuracy = miou = None
        by_class = _by_joint(moves, classes)
    else:
        accuracy, miou = _scores(plain, held, len(classes), labels)
        if labels is not None:
            sizes = recall_by_size(regions, tables[0], plain.prediction, held.prediction)
        by_class = _by_class(plain.prediction, held.prediction, moves, classes)
    return HeldChange(
        changed=changed,
        share=float(changed.mean()),
        logit_change=np.sqrt((step**2).mean(axis=0)),
        mean_change=float(np.abs(step).mean()),
        largest_change=float(np.abs(step).max()),
        spread=float(before.std()),
        accuracy=accuracy,
        miou=miou,
        sci=(sci(tables[0]), sci(tables[1])),
        sizes=sizes,
        classes=by_class,
    )


def recall_by_size(
    regions: PreparedRegions,
    table: pd.DataFrame,
    before: npt.NDArray[np.uint8],
    after: npt.NDArray[np.uint8],
) -> pd.DataFrame:
    """Average the recall of regions by size octave; see ``HeldChange.sizes``."""
    found = regions.regions
    means = []
    for prediction in (before, after):
        counts = outcome_counts(found.ids, found.class_id, prediction, image=IMAGE).regions
        rows = outcome_by_size(counts, table)
        means.append(rows[rows["measure"] == "recall"].reset_index(drop=True))
    octaves = means[0]["octave"].astype(np.int64)
    return pd.DataFrame(
        {
            "size": [f"{2**o} to {2 ** (o + 1)}" for o in octaves],
            "regions": means[0]["n_regions"],
            "before": means[0]["mean"],
            "after": means[1]["mean"],
        }
    )


def _by_joint(moves: npt.NDArray[np.float64], classes: ClassList) -> pd.DataFrame:
    order = np.argsort(-np.abs(moves), kind="stable")
    return pd.DataFrame({"class": [classes.names[k] for k in order], "logit": moves[order]})


def _by_class(
    before: npt.NDArray[np.uint8],
    after: npt.NDArray[np.uint8],
    logit: npt.NDArray[np.float64],
    classes: ClassList,
) -> pd.DataFrame:
    """Count the pixels of every class, and those that left or joined it; most moved first."""
    flow = confusion_matrix(before, after, len(classes))
    stayed = np.diag(flow)
    table = pd.DataFrame(
        {
            "class": classes.names,
            "before": flow.sum(axis=1),
            "after": flow.sum(axis=0),
            "left": flow.sum(axis=1) - stayed,
            "joined": flow.sum(axis=0) - stayed,
            "logit": logit,
        }
    )
    there = table[(table["before"] > 0) | (table["after"] > 0)]
    moved = there["left"] + there["joined"]
    return there.loc[moved.sort_values(ascending=False, kind="stable").index]


def _scores(
    plain: Look, held: Look, count: int, labels: npt.NDArray[np.uint8] | None
) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    if labels is None or (labels == IGNORE).all():
        return None, None
    before, after = (
        scores_of(confusion_matrix(labels, one.prediction, count)) for one in (plain, held)
    )
    accuracy = before.pixel_accuracy / 100, after.pixel_accuracy / 100
    return accuracy, (before.miou / 100, after.miou / 100)


@dataclass(frozen=True, eq=False)
class Held:
    """A network with a gate held, and what that changes.

    Attributes:
        letter: A or B.
        what: The gate and its value in words.
        inspection: With the gate held.
        change: Against the network as it is.
    """

    letter: str
    what: str
    inspection: Look
    change: HeldChange


@dataclass(frozen=True)
class GateChoice:
    """What a view is about.

    Attributes:
        subject: The network whose gate it is: B where it has gates, else A.
        gate: One of ``gate_options``.
        what_gates: The same in words.
        gates: The taps that are meant.
        value: What they are held at, 0..1; None: they are not held.
    """

    subject: str
    gate: str
    what_gates: str
    gates: tuple[str, ...]
    value: float | None

    @property
    def what(self) -> str:
        """What is held, in words."""
        return f"{self.subject} with {self.what_gates} held at {self.value:g}"


def gate_choice(shown: Shown, state: ViewState) -> GateChoice | None:
    """Return what a view is about; a gate that is not there gives the first one.

    Returns:
        None where neither network has gates.
    """
    gated = gated_letters(shown)
    if not gated:
        return None
    inspection = shown.inspections[gated[-1]]
    places = gate_places(inspection)
    words = gate_options(places)
    gate = state.gate if state.gate in words else first_gate(places)
    value = round(state.value, 6) if state.force else None
    taps = tuple(place.name for place in members(places, gate))
    return GateChoice(gated[-1], gate, words[gate], taps, value)


def compare_held(
    shown: Shown, choice: GateChoice, run: Callable[[Sequence[str], float], Look]
) -> Held:
    """Run a network as it is and with its gates held, and compare.

    Args:
        choice: With a value.
        run: Inspects the image while gates are held at a value (``inspect_held``).
    """
    assert choice.value is not None
    # The network as it is runs here, too: what comes with the package may differ in a pixel, and
    # what the pages keep has logits at half precision.
    plain, held = run(PLAIN, 0.0), with_skeletons(run(choice.gates, choice.value), shown.sample)
    labels = shown.sample.labels
    regions = cut_regions(shown)
    change = held_change(plain, held, shown.classes, labels, regions, pose=shown.pose)
    return Held(choice.subject, choice.what, held, change)


def hold(shown: Shown, choice: GateChoice, model: SegmentationNetwork) -> Held | None:
    """Hold the gates of a view, without any cache; None where they are not held.

    Args:
        choice: What the view is about.
        model: The network of ``choice.subject``.
    """
    if choice.value is None:
        return None
    image = shown.sample.image
    return compare_held(
        shown, choice, lambda gates, value: inspect_held(model, image, gates, value)
    )
