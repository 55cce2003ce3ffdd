"""What one image says: rows of the region table, pixel scores, gates, per-image indices."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gsto_viz.regions.prepared import PreparedRegions
from gsto_viz.regions.ranking import rank_maps
from gsto_viz.regions.table import region_arrays
from gsto_viz.report.annotations import Annotated
from gsto_viz.report.settings import Settings
from gsto_viz.report.subjects import Look, Subject
from gsto_viz.stats.boundary import BoundaryCounts, boundary_counts
from gsto_viz.stats.gate_values import all_gate_columns, gate_ends, gate_sums
from gsto_viz.stats.indices import image_indices
from gsto_viz.stats.outcome import COUNTS, Outcome, count_outcome
from gsto_viz.stats.profile import edge_values

Arrays = dict[str, npt.NDArray]


@dataclass(frozen=True, eq=False)
class Measured:
    """One image through one network.

    Attributes:
        regions: Columns of the region table and, beside them, of gates and outcome, (K,) each.
        kept: (K,) rows that stay in the table.
        indices: By index, its value and pairs.
        boundary: Counts by distance to the edge.
        outcome: Right and wrong pixels; None without a prediction.
        gates: Columns of sums that describe each gate map; empty without gates.
    """

    regions: Arrays
    kept: npt.NDArray[np.bool_]
    indices: dict[str, tuple[float, int]]
    boundary: BoundaryCounts
    outcome: Outcome | None
    gates: Arrays


def reservoir(
    qualifies: npt.NDArray[np.bool_], image: str, *, seed: int, limit: int
) -> npt.NDArray[np.bool_]:
    """Choose the rows of one image that stay: those that qualify first, at random beyond ``limit``.

    A region's place in the draw is fixed by seed, image and region number, so the choice is the
    same for every model and on every machine.

    Args:
        qualifies: (K,).
        image: Name of the image.
        seed: Of the draw.
        limit: Rows that stay at most.

    Returns:
        (K,) True for rows that stay.
    """
    if qualifies.size <= limit:
        return np.ones(qualifies.size, dtype=bool)
    draw = [
        hashlib.blake2b(f"{seed}\0{image}\0{k + 1}".encode(), digest_size=8).digest()
        for k in range(qualifies.size)
    ]
    order = sorted(range(qualifies.size), key=lambda k: (not qualifies[k], draw[k]))
    kept = np.zeros(qualifies.size, dtype=bool)
    kept[order[:limit]] = True
    return kept


def rows_kept(table: Arrays, image: str, settings: Settings) -> npt.NDArray[np.bool_]:
    """Return which rows of one image's table stay, (K,)."""
    qualifies = table["qualifies"]
    return reservoir(qualifies, image, seed=settings.seed, limit=settings.max_regions)


def measure(subject: Subject, image: Annotated, look: Look, settings: Settings) -> Measured:
    """Measure one image through one network.

    Args:
        subject: The network.
        image: The image, its annotation on the grids of the network.
        look: What the network shows for it.
        settings: Of the analysis.
    """
    name, grids = image.sample.id, image.grids
    ranked = rank_maps(grids, look.activity)
    table = region_arrays(grids, ranked)
    kept = rows_kept(table, name, settings)
    indices = indices_of(subject, cut(table, kept))
    edges = boundary_counts(name, image.edges, ranked.native, grids.strides, look.activity)
    outcome = None
    if look.prediction is not None:
        outcome = count_outcome(image.truth, look.prediction, image=name)
        counts = outcome.region_columns()
        table |= {column: counts[column] for column in COUNTS if column != "area_px"}
    table |= _gate_columns(subject, grids, look)
    return Measured(
        regions=table,
        kept=kept,
        indices=indices | edge_values(edges),
        boundary=edges,
        outcome=outcome,
        gates=_gate_sums(subject, grids, look),
    )


def cut(columns: Arrays, kept: npt.NDArray[np.bool_]) -> Arrays:
    """Return the rows that stay."""
    return {name: values[kept] for name, values in columns.items()}


def indices_of(subject: Subject, table: Arrays) -> dict[str, tuple[float, int]]:
    """Compute the indices of one image from columns of its region table."""
    strides = subject.site.strides
    return image_indices(table, len(strides), min_depth_px=float(strides[-1]))


def _by_stride(subject: Subject, look: Look) -> dict[int, dict[str, npt.NDArray]]:
    """Group the gate maps by the stride of their grid."""
    grouped: dict[int, dict[str, npt.NDArray]] = {}
    for tap, stride in subject.site.gates.items():
        grouped.setdefault(stride, {})[tap] = look.gates[tap]
    return grouped


def _gate_columns(subject: Subject, grids: PreparedRegions, look: Look) -> Arrays:
    """Return ``g/TAP``, ``g_core/TAP`` and ``g_band/TAP``: mean g' over parts of regions."""
    columns: Arrays = {}
    if subject.site.bounds is None:
        return columns
    for stride, gates in _by_stride(subject, look).items():
        at = grids.strides.index(stride)
        columns |= all_gate_columns(
            gates, grids.grids[at], grids.valid[at], subject.site.bounds, grids.regions.part
        )
    return {
        name: values.astype(np.float32)
        for name, values in columns.items()
        if not name.startswith("g_whole/")
    }


def _gate_sums(subject: Subject, grids: PreparedRegions, look: Look) -> Arrays:
    """Describe every gate map by sums over its valid cells: one row per gate."""
    bounds = subject.site.bounds
    if bounds is None:
        return {}
    taps: list[str] = []
    parts = []
    for stride, gates in _by_stride(subject, look).items():
        valid = grids.valid[grids.strides.index(stride)]
        maps = np.stack(list(gates.values()))
        taps += gates
        parts.append(gate_sums(maps, valid, bounds) | gate_ends(maps, valid))
    order = [taps.index(tap) for tap in subject.site.gates]
    columns = {name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]}
    return {"tap": np.array(taps)[order]} | columns
