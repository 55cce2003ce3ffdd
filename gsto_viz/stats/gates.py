"""What the gates of scale transfers prefer: large or small objects, in the direction they carry.

A gate g multiplies the source feature of transfer j -> i. If it selects by scale, a transfer to a
coarser branch opens on large objects and a transfer to a finer branch on small ones. The columns
``g/TAP`` that are read here come from ``gate_values``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.errors import GstoVizError
from gsto_viz.stats.inference import Estimate, image_mean_estimate
from gsto_viz.stats.sci import OCTAVE_GAP, all_pair_counts
from gsto_viz.stats.tables import Tables


@dataclass(frozen=True)
class GateEdge:
    """The transfer that a gate stands in front of: source branch -> target branch."""

    source: int
    target: int

    @property
    def sign(self) -> int:
        """+1 down to a coarser branch, -1 up to a finer one, 0 for the edge to itself."""
        return int(np.sign(self.target - self.source))


def gate_edge(tap: str) -> GateEdge:
    """Read the edge off a gate's tap: ``stage3.m0.gate[2->0]``, ``...gate.2to0``, ``transitionN``.

    ``transitionN.gate`` stands before the branch that is new after stage N: N-1 -> N.

    Raises:
        GstoVizError: The name says no edge.
    """
    found = re.search(r"gate(?:\[(\d+)->(\d+)\]|\.(\d+)to(\d+))$", tap)
    if found:
        source, target = (int(number) for number in found.groups() if number is not None)
        return GateEdge(source, target)
    found = re.search(r"transition(\d+)\.gate$", tap)
    if not found:
        raise GstoVizError(
            f"'{tap}' is no gate; gates are called stage3.m0.gate[2->0] or transition3.gate"
        )
    return GateEdge(int(found[1]) - 1, int(found[1]))


def gate_pair_counts(
    tables: Tables,
    taps: Sequence[str],
    *,
    gap: tuple[float, float] = OCTAVE_GAP,
    same_class: bool | None = None,
) -> pd.DataFrame:
    """Count, per gate and image, the pairs in which the gate is wider open on the larger region.

    Args:
        tables: Region tables with a column ``g/TAP`` for each gate.
        taps: The gates.
        gap: Smallest and (excluded) largest difference of size, octaves.
        same_class: Only pairs of one class (True), of different classes (False), or all (None).

    Returns:
        ``tap``, ``image``, ``wins``, ``ties``, ``pairs``, whole numbers; counts of shards of
        images concatenate.

    Raises:
        GstoVizError: No gate is named or a column is missing.
    """
    if not taps:
        raise GstoVizError("no gate was named; a network without gates has no gate statistics")
    columns = [f"g/{tap}" for tap in taps]
    found = all_pair_counts(tables, columns, gap=gap, same_class=same_class)
    counts = [found[f"g/{tap}"].assign(tap=tap) for tap in taps]
    return pd.concat(counts, ignore_index=True)[["tap", "image", "wins", "ties", "pairs"]]


def gate_preference(
    counts: pd.DataFrame,
    *,
    untied: bool = False,
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Estimate:
    """Estimate A_g = P(g(larger) > g(smaller)) + 1/2 P(tie) of one gate, mean over images.

    Args:
        counts: Rows of one gate of :func:`gate_pair_counts`.
        untied: Leave ties out instead of counting them half: they pull A_g to 0.5.
        clusters: Cluster of each image for the interval.
        seed: Of the bootstrap.

    Returns:
        Value in [0, 1]: 0.5 is chance, and what a constant gate gives with ties. Not estimated
        without a pair.
    """
    images, values, pairs = _preferences(counts, untied)
    return image_mean_estimate(images, values, pairs, clusters, seed)


def gate_selectivity(
    counts: pd.DataFrame,
    *,
    self_edges: bool = False,
    untied: bool = False,
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Estimate:
    r"""Estimate the signed selectivity G of the gates in ``counts``, mean over gates, then images.

    .. math:: G = (2 A_g - 1)\, \mathrm{sign}(s_i - s_j)

    for transfer j -> i between strides s: +1 when transfers to coarser branches open on the larger
    and transfers to finer branches on the smaller region of every pair, 0 at chance, -1 reversed.

    Args:
        counts: Of :func:`gate_pair_counts`, for one gate or many.
        self_edges: Report edges i -> i instead of the others; they have no direction, so the value
            is the plain 2 A_g - 1: above 0 they open on the larger region.
        untied: Leave ties out.
        clusters: Cluster of each image for the interval.
        seed: Of the bootstrap.

    Returns:
        Value in [-1, 1]; ``n_pairs`` counts pairs of all gates.
    """
    sums: dict[str, list[float]] = {}
    total = 0
    for tap, rows in counts.groupby("tap", sort=True):
        sign = gate_edge(str(tap)).sign
        if (sign == 0) != self_edges:
            continue
        images, values, pairs = _preferences(rows, untied)
        total += pairs
        for image, value in zip(images, values.tolist(), strict=True):
            sums.setdefault(image, []).append((2 * value - 1) * (sign or 1))
    images = sorted(sums)
    means = np.array([np.mean(sums[image]) for image in images])
    return image_mean_estimate(images, means, total, clusters, seed)


def _preferences(
    counts: pd.DataFrame, untied: bool
) -> tuple[list[str], npt.NDArray[np.float64], int]:
    """Return the images that have a pair, their A_g, and the number of pairs."""
    wins, ties = counts["wins"].to_numpy(), counts["ties"].to_numpy()
    pairs = counts["pairs"].to_numpy() - (ties if untied else 0)
    there = pairs > 0
    won = wins + (0.0 if untied else 0.5) * ties
    return counts["image"][there].tolist(), won[there] / pairs[there], int(pairs.sum())


def effective_transmission(gated: float, plain: float) -> float | None:
    r"""Return how much of a transfer its gate lets through, where there is something to carry.

    .. math:: \|W(g \cdot F)\| / \|W F\|

    with norms over all cells, channels and images. A gate on a silent place does nothing, and a
    constant one is absorbed by W, so compare transmissions between edges and not with 1.

    Args:
        gated: Sum of squares of the transfer's linear output with the gate; sums of images add up.
        plain: The same without the gate.

    Returns:
        0 or more; None when the transfer carries nothing.

    Raises:
        GstoVizError: A sum is negative or not finite.
    """
    if not (0 <= gated < np.inf and 0 <= plain < np.inf):
        raise GstoVizError(f"sums of squares are {gated} and {plain}; give finite ones from 0 up")
    return float(np.sqrt(gated / plain)) if plain > 0 else None
