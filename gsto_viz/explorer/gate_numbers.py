"""What the gates of one image are, in numbers: places, ranges, histograms, means by size and class.

All gate values here are the gates' own, between the ends that their form allows: (0, 1) for the
paper's form, [0.5, 1) for the released one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.activity import FloatMap, cell_at, saturated_share
from gsto_viz.anatomy import Edge, edge_named, site_numbers
from gsto_viz.explorer.probe import Point
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.look import Look
from gsto_viz.regions import PreparedRegions, part_means
from gsto_viz.types import ClassList, Stride

ALL = "*"
"""Stands for all gates of a network at once."""
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
        return "transitions" if self.new else self.site

    @property
    def arrow(self) -> str:
        """The transfer in short: ``/16 → /4``."""
        return f"/{self.source_stride} → /{self.target_stride}"


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


def gated_letters(shown: Shown) -> tuple[str, ...]:
    """Return which of A and B have gates."""
    return tuple(letter for letter in LETTERS if shown.inspections[letter].gates)


def first_gate(places: Sequence[GatePlace]) -> str:
    """Return the gate that is looked at first: of the last fusion, coarsest to finest branch."""
    fusions = [place for place in places if place.group != "transitions"] or list(places)
    last = [place for place in fusions if place.group == fusions[-1].group]
    return max(last, key=lambda place: (place.source, -place.target)).name


def chosen_maps(inspection: Look, gate: str) -> dict[str, npt.NDArray[np.float32]]:
    """Return the maps that a choice means: all of them, one, or none where it is not there."""
    if gate == ALL:
        return dict(inspection.gates)
    return {gate: inspection.gates[gate]} if gate in inspection.gates else {}


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
    """Return the mean over the cells of a gate; for ``ALL`` the mean over gates of their means."""
    return float(
        np.mean([m.mean(dtype=np.float64) for m in chosen_maps(inspection, gate).values()])
    )


def gate_histogram(inspection: Look, gate: str, limits: tuple[float, float]) -> pd.DataFrame:
    """Count the cells of a gate by value, over a range that does not depend on the image.

    Args:
        inspection: Of a network.
        gate: A tap of its gates, or ``ALL``: the cells of all gates together.
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
        (K,) gate values; for ``ALL`` the mean over all gates. NaN for a region without a pixel in
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
