"""Values of gates: their range, how many are tied at its lower end, their means over regions.

The gates of the released networks lie in [0.5, 1) and cannot close, and every silent place sits at
exactly 0.5; those of the paper's equations lie in (0, 1). g' = (g - low) / (high - low) puts both
on one scale.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from gsto_viz.activity import BoolMap, FloatMap
from gsto_viz.errors import GstoVizError

AT_END = 1e-6
"""A gate value this close to the lower end of its range counts as lying on it."""
OPEN = 0.1
"""A gate is open where g' exceeds this."""
Part = Literal["whole", "core", "band"]
PARTS: tuple[Part, ...] = ("whole", "core", "band")


class Weights(Protocol):
    """What is asked of ``gsto_viz.regions.GridWeights``: the means of maps over every region."""

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w) of the grid."""

    def means(self, values: FloatMap, valid: BoolMap) -> dict[Part, FloatMap]:
        """Average maps (M, h, w) over the valid cells of each region's parts, (M, K) each."""


@dataclass(frozen=True)
class GateExtent:
    """Smallest and largest value of gate maps, and how many cells lie at exactly one half."""

    cells: int
    smallest: float
    largest: float
    halves: int

    def merge(self, other: "GateExtent") -> "GateExtent":
        """Return the extent of both."""
        return GateExtent(
            self.cells + other.cells,
            min(self.smallest, other.smallest),
            max(self.largest, other.largest),
            self.halves + other.halves,
        )


def gate_extent(gate: npt.NDArray[np.floating], valid: BoolMap) -> GateExtent:
    """Measure the extent of one gate map (h, w) over its valid cells.

    Raises:
        GstoVizError: The map is not a gate: a value outside [0, 1], or NaN.
    """
    values = _gate_values(gate, valid)
    return GateExtent(
        values.size,
        float(values.min(initial=np.inf)),
        float(values.max(initial=-np.inf)),
        int((values - 0.5 <= AT_END)[values >= 0.5].sum()),
    )


def measured_range(extent: GateExtent) -> tuple[float, float]:
    """Tell a gate's range from its values, where the network does not say its form.

    Values that never fall below 0.5 and lie on it somewhere are a sigmoid after ReLU: (0.5, 1).
    Everything else is a plain sigmoid, (0, 1), also a gate that is merely open everywhere.
    """
    clipped = extent.cells > 0 and extent.smallest >= 0.5 and extent.halves > 0
    return (0.5, 1.0) if clipped else (0.0, 1.0)


def rescaled(gate: npt.NDArray[np.floating], bounds: tuple[float, float]) -> FloatMap:
    """Return g' = (g - low) / (high - low) in [0, 1], exactly 0 at the lower end; NaN stays."""
    low, high = bounds
    if not low < high:
        raise GstoVizError(f"the gate's range {bounds} is empty; give (low, high)")
    above = np.asarray(gate, dtype=np.float64) - low
    # Places that are tied at the end must stay tied in the means over regions.
    return np.clip(np.where(above <= AT_END, 0.0, above) / (high - low), 0.0, 1.0)


def gate_sums(
    gate: npt.NDArray[np.floating], valid: BoolMap, bounds: tuple[float, float]
) -> dict[str, npt.NDArray[Any]]:
    """Sum what describes gate maps regardless of regions; sums of images add up.

    Args:
        gate: (h, w) values of one gate, or (M, h, w) of all gates of one grid at once.
        valid: (h, w), cells that count.
        bounds: The range of every gate.

    Returns:
        Over valid cells, (M,) or one number each: ``cells``, ``tied`` (at the lower end), ``open``
        (g' > 0.1), the sums ``g`` and ``g_squared`` of g' and its square, and ``entropy``, the sum
        of H2(g') = -g' log2 g' - (1 - g') log2 (1 - g'), bits.

    Raises:
        GstoVizError: A gate is not on the grid of ``valid``, or not within [0, 1].
    """
    share = rescaled(_gate_values(gate, valid), bounds)
    inner = (share > 0) & (share < 1)
    one = share[inner]
    bits = -(one * np.log2(one) + (1 - one) * np.log2(1 - one))
    # One sum over the cells of each map: a running total over all maps would round otherwise.
    ends = np.cumsum(inner.sum(axis=-1))
    entropy = np.array([each.sum() for each in np.split(bits, ends.ravel()[:-1])])
    sums = {
        "cells": np.full(share.shape[:-1], share.shape[-1]),
        "tied": (share == 0).sum(axis=-1),
        "open": (share > OPEN).sum(axis=-1),
        "g": share.sum(axis=-1),
        "g_squared": (share**2).sum(axis=-1),
        "entropy": entropy.reshape(share.shape[:-1]),
    }
    return {name: values[()] for name, values in sums.items()}


def gate_ends(gate: npt.NDArray[np.floating], valid: BoolMap) -> dict[str, FloatMap]:
    """Return the ``smallest`` and the ``largest`` value of gate maps over valid cells.

    Args:
        gate: As for :func:`gate_sums`.
        valid: As for :func:`gate_sums`.

    Returns:
        (M,) or one number each; NaN without a valid cell.
    """
    values = _gate_values(gate, valid)
    if values.shape[-1] == 0:
        nothing = np.full(values.shape[:-1], np.nan)
        return {"smallest": nothing, "largest": nothing}
    return {"smallest": values.min(axis=-1), "largest": values.max(axis=-1)}


def gate_description(sums: Mapping[str, float]) -> dict[str, float]:
    """Turn added :func:`gate_sums` into shares and means.

    Returns:
        ``tie_mass``, ``open_fraction``, ``mean`` and ``sd`` of g', ``entropy`` (bits), each in
        [0, 1]; NaN without cells.
    """
    cells = sums["cells"] or np.nan
    mean = sums["g"] / cells
    return {
        "tie_mass": sums["tied"] / cells,
        "open_fraction": sums["open"] / cells,
        "mean": mean,
        "sd": float(np.sqrt(np.maximum(sums["g_squared"] / cells - mean**2, 0.0))),
        "entropy": sums["entropy"] / cells,
    }


def gate_responses(
    gate: npt.NDArray[np.floating], weights: Weights, valid: BoolMap, bounds: tuple[float, float]
) -> dict[Part, FloatMap]:
    """Average g' over the whole, the core and the band of every region, on the gate's own grid.

    Args:
        gate: (h, w) values of one gate, or (M, h, w) of all gates of one grid at once.
        weights: ``grid_weights(regions, stride)`` on the gates' grid.
        valid: (h, w) cells that count.
        bounds: The range of every gate.

    Returns:
        (K,) or (M, K) for ``whole``, ``core`` and ``band``; NaN for a part without a pixel in a
        valid cell.

    Raises:
        GstoVizError: A gate is not on the grid of the weights, or not within [0, 1].
    """
    gate = np.asarray(gate)
    if gate.shape[-2:] != weights.shape:
        raise GstoVizError(
            f"the gate has shape {gate.shape[-2:]} and its grid {weights.shape}; "
            "take the weights of the stride of the gate's source branch"
        )
    _gate_values(gate, valid)
    share = rescaled(gate.reshape(-1, *weights.shape), bounds)
    means = weights.means(share, valid)
    return {part: means[part] if gate.ndim == 3 else means[part][0] for part in PARTS}


def all_gate_columns(
    gates: Mapping[str, npt.NDArray[np.floating]],
    weights: Weights,
    valid: BoolMap,
    bounds: tuple[float, float],
    part: npt.NDArray[np.str_],
) -> dict[str, FloatMap]:
    """Return the :func:`gate_columns` of all gates of one grid, from one product.

    Args:
        gates: (h, w) values by tap.
        weights: As for :func:`gate_responses`.
        valid: As for :func:`gate_responses`.
        bounds: The range of every gate.
        part: (K,) ``core`` or ``whole``, the region table's column of that name.

    Raises:
        GstoVizError: A gate is not on the grid of the weights, or not within [0, 1].
    """
    if not gates:
        return {}
    wrong = [tap for tap, gate in gates.items() if np.shape(gate) != weights.shape]
    if wrong:
        raise GstoVizError(
            f"the gate {wrong[0]} has shape {np.shape(gates[wrong[0]])} and its grid "
            f"{weights.shape}; take the weights of the stride of the gate's source branch"
        )
    responses = gate_responses(np.stack(list(gates.values())), weights, valid, bounds)
    columns: dict[str, FloatMap] = {}
    for k, tap in enumerate(gates):
        columns |= gate_columns({name: responses[name][k] for name in PARTS}, part, tap)
    return columns


def gate_columns(
    responses: Mapping[Part, FloatMap], part: npt.NDArray[np.str_], tap: str
) -> dict[str, FloatMap]:
    """Name responses as columns to put beside a region table, row by row.

    Args:
        responses: Of :func:`gate_responses`.
        part: (K,) ``core`` or ``whole``, the table's column of that name.
        tap: Name of the gate.

    Returns:
        ``g/TAP`` (on the region's part), ``g_whole/TAP``, ``g_core/TAP``, ``g_band/TAP``.
    """
    chosen = np.where(np.asarray(part) == "core", responses["core"], responses["whole"])
    return {f"g/{tap}": chosen} | {f"g_{name}/{tap}": responses[name] for name in PARTS}


def _gate_values(gate: npt.NDArray[np.floating], valid: BoolMap) -> FloatMap:
    """Return the values of valid cells of gates (..., h, w) as float64, or say why it is none."""
    gate, valid = np.asarray(gate), np.asarray(valid)
    if gate.shape[-2:] != valid.shape:
        raise GstoVizError(f"the gate has shape {gate.shape} and its valid cells {valid.shape}")
    # Indexing puts the cells first in memory; sums over the cells of a map want them last.
    values = np.ascontiguousarray(gate[..., valid], dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise GstoVizError("the gate has values outside [0, 1]; capture the output of its sigmoid")
    return values
