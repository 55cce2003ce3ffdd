"""All gates of a network by source and target: mean gate by object size, and G."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.activity import FloatMap
from gsto_viz.errors import GstoVizError
from gsto_viz.explorer.values.gates import (
    IMAGE,
    GatePlace,
    gate_places,
    limits_of,
    mean_gate,
    means_by_size,
    members,
    region_gates,
)
from gsto_viz.files import read_json
from gsto_viz.look import Look
from gsto_viz.regions import PreparedRegions
from gsto_viz.stats.gates import gate_columns, gate_pair_counts, gate_selectivity
from gsto_viz.stats.inference import Estimate
from gsto_viz.types import Stride

MAX_BYTES = 20_000_000
"""Of an analysis's summary."""


@dataclass(frozen=True, eq=False)
class GateMatrix:
    """All gates of a network on one image, by the branches that they stand between.

    Attributes:
        edges: One row per edge: ``source``, ``target``, ``arrow``, ``edge`` (``3->0``), ``gates``
            (count; their means are meant), ``mean`` gate, ``G`` (of an edge to itself 2 A_g - 1;
            NaN without a pair), ``pairs``.
        sizes: ``edge``, ``octave`` and the ``mean`` gate over the regions of that size.
    """

    edges: pd.DataFrame
    sizes: pd.DataFrame


def gate_matrix(inspection: Look, regions: PreparedRegions) -> GateMatrix:
    """Average gates by edge and by object size, and ask which way round they open.

    Args:
        inspection: Of a gated network.
        regions: Of the image.
    """
    table = measured_gates(inspection, regions)
    places, edges, sizes = gate_places(inspection), [], []
    ends = sorted({(place.source, place.target) for place in places})
    for source, target in ends:
        edge = f"{source}->{target}"
        inside = members(places, edge)
        found = selectivity(table, inside)
        edges.append(
            {
                "source": source,
                "target": target,
                "arrow": inside[0].arrow,
                "edge": edge,
                "gates": len(inside),
                "mean": mean_gate(inspection, edge),
                "G": np.nan if found.value is None else found.value,
                "pairs": found.n_pairs,
            }
        )
        means = means_by_size({edge: region_gates(inspection, regions, edge)}, regions)
        sizes.append(means.rename(columns={"model": "edge"})[["edge", "octave", "mean"]])
    return GateMatrix(pd.DataFrame(edges), pd.concat(sizes, ignore_index=True))


def measured_gates(inspection: Look, regions: PreparedRegions) -> pd.DataFrame:
    """Return the regions of an image with ``g/TAP`` of every gate, as analyses have them."""
    found, limits = regions.regions, limits_of(inspection)
    columns: dict[str, FloatMap] = {}
    by_stride: dict[Stride, dict[str, npt.NDArray[np.float32]]] = {}
    for place in gate_places(inspection):
        values = inspection.gates[place.name]
        by_stride.setdefault(place.source_stride, {})[place.name] = values
    for stride, maps in by_stride.items():
        at = regions.strides.index(stride)
        columns |= gate_columns(maps, regions.grids[at], regions.valid[at], limits, found.part)
    names = ("area_px", "size_octave", "class_id", "qualifies")
    geometry = {name: getattr(found, name) for name in names}
    number = np.arange(1, len(found) + 1)
    return pd.DataFrame({"region": number} | geometry | columns).assign(image=IMAGE)


def selectivity(table: pd.DataFrame, places: Sequence[GatePlace]) -> Estimate:
    """Estimate G of gates from ``measured_gates``; of edges to themselves 2 A_g - 1."""
    counts = gate_pair_counts(table, [place.name for place in places])
    return gate_selectivity(counts, self_edges=all(place.sign == 0 for place in places))


def analysed_selectivity(
    sha256: str, folders: Iterable[tuple[str, Path]]
) -> tuple[str, Estimate] | None:
    """Return the first analysis that has a checkpoint's gates, by name, and their G.

    Args:
        sha256: Of the checkpoint.
        folders: Names and paths of analyses; those that cannot be read are passed over.
    """
    for name, path in folders:
        try:
            summary = read_json(path / "summary.json", "the analysis", max_bytes=MAX_BYTES)
            for model in summary["models"].values():
                if model["sha256"] == sha256 and model["gates"]:
                    return name, Estimate(**model["gates"]["selectivity"])
        except (GstoVizError, KeyError, TypeError, AttributeError):
            continue
    return None
