"""What gates prefer, which values they take, and how far they open by object size.

A gate g multiplies the source feature of transfer j -> i. If it selects by scale, a transfer to a
coarser branch opens on large objects and a transfer to a finer branch on small ones. The columns
``g/TAP`` that are read here come from ``gate_values``.

The gates of the released networks lie in [0.5, 1) and cannot close, and every silent place sits at
exactly 0.5; those of the paper's equations lie in (0, 1). g' = (g - low) / (high - low) puts both
on one scale.

Reads the columns ``g_core/TAP`` and ``g_band/TAP`` of region tables (``gate_values``), sums them
into cells of image x octave x class x part, and answers from the sums.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.activity import BoolMap, FloatMap
from gsto_viz.anatomy import edge_named
from gsto_viz.errors import GstoVizError
from gsto_viz.regions.pooling import PARTS, GridWeights
from gsto_viz.stats.inference import (
    EACH,
    Estimate,
    Images,
    image_mean_estimate,
    mean_by_group,
)
from gsto_viz.stats.pairs import OCTAVE_GAP, Tables, pair_counts, qualifying, win_share


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
    found = pair_counts(tables, columns, gap=gap, same_class=same_class)
    counts = [found[f"g/{tap}"].assign(tap=tap) for tap in taps]
    return pd.concat(counts, ignore_index=True)[["tap", "image", "wins", "ties", "pairs"]]


def gate_preference(
    counts: pd.DataFrame,
    *,
    untied: bool = False,
    images: Images = EACH,
) -> Estimate:
    """Estimate A_g = P(g(larger) > g(smaller)) + 1/2 P(tie) of one gate, mean over images.

    ``counts`` are its rows of :func:`gate_pair_counts`. ``untied`` leaves ties out instead of
    counting them half: they pull A_g to 0.5.

    Returns:
        Value in [0, 1]: 0.5 is chance, and what a constant gate gives with ties. Not estimated
        without a pair.
    """
    names, values, pairs = _preferences(counts, untied)
    return image_mean_estimate(names, values, pairs, images)


def gate_selectivity(
    counts: pd.DataFrame,
    *,
    self_edges: bool = False,
    untied: bool = False,
    images: Images = EACH,
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

    Returns:
        Value in [-1, 1]; ``n_pairs`` counts pairs of all gates.
    """
    sums: dict[str, list[float]] = {}
    total = 0
    for tap, rows in counts.groupby("tap", sort=True):
        sign = edge_named(str(tap)).sign
        if (sign == 0) != self_edges:
            continue
        names, values, pairs = _preferences(rows, untied)
        total += pairs
        for image, value in zip(names, values.tolist(), strict=True):
            sums.setdefault(image, []).append((2 * value - 1) * (sign or 1))
    means = np.array([np.mean(sums[image]) for image in sorted(sums)])
    return image_mean_estimate(sorted(sums), means, total, images)


def _preferences(
    counts: pd.DataFrame, untied: bool
) -> tuple[list[str], npt.NDArray[np.float64], int]:
    """Return the images that have a pair, their A_g, and the number of pairs."""
    if untied:
        counts = counts.assign(pairs=counts["pairs"] - counts["ties"], ties=0)
    there = counts[counts["pairs"] > 0]
    share = win_share(there["wins"], there["ties"], there["pairs"]).to_numpy()
    return there["image"].tolist(), share, int(counts["pairs"].sum())


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


AT_END = 1e-6
"""A gate value this close to the lower end of its range counts as lying on it."""
OPEN = 0.1
"""A gate is open where g' exceeds this."""


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
    """Return the ``smallest`` and the ``largest`` value of the gate maps of :func:`gate_sums`.

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


def gate_columns(
    gates: Mapping[str, npt.NDArray[np.floating]],
    weights: GridWeights,
    valid: BoolMap,
    bounds: tuple[float, float],
    part: npt.NDArray[np.str_],
) -> dict[str, FloatMap]:
    """Average g' over the parts of every region, for all gates of one grid in one product.

    Args:
        gates: (h, w) values by tap.
        weights: ``grid_weights(regions, stride)`` on the gates' grid.
        valid: (h, w) cells that count.
        bounds: The range of every gate.
        part: (K,) ``core`` or ``whole``, the region table's column of that name.

    Returns:
        Columns to put beside a region table, (K,) each: ``g/TAP`` (on the region's part),
        ``g_whole/TAP``, ``g_core/TAP`` and ``g_band/TAP``; NaN for a part without a pixel in a
        valid cell.

    Raises:
        GstoVizError: A gate is not on the grid of the weights, or not within [0, 1].
    """
    wrong = [tap for tap, gate in gates.items() if np.shape(gate) != weights.shape]
    if wrong:
        raise GstoVizError(
            f"the gate {wrong[0]} has shape {np.shape(gates[wrong[0]])} and its grid "
            f"{weights.shape}; take the weights of the stride of the gate's source branch"
        )
    if not gates:
        return {}
    maps = np.stack(list(gates.values()))
    _gate_values(maps, valid)
    means = weights.means(rescaled(maps, bounds), valid)
    chosen = np.where(np.asarray(part) == "core", means["core"], means["whole"])
    columns: dict[str, FloatMap] = {}
    for k, tap in enumerate(gates):
        columns[f"g/{tap}"] = chosen[k]
        columns |= {f"g_{name}/{tap}": means[name][k] for name in PARTS}
    return columns


def _gate_values(gate: npt.NDArray[np.floating], valid: BoolMap) -> FloatMap:
    """Return the values of valid cells of gates (..., h, w), float64, after a check."""
    gate, valid = np.asarray(gate), np.asarray(valid)
    if gate.shape[-2:] != valid.shape:
        raise GstoVizError(f"the gate has shape {gate.shape} and its valid cells {valid.shape}")
    # Indexing puts the cells first in memory; sums over the cells of a map want them last.
    values = np.ascontiguousarray(gate[..., valid], dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise GstoVizError("the gate has values outside [0, 1]; capture the output of its sigmoid")
    return values


NO_VARIANCE = 1e-12
"""A sum of squares below this share of the sum of squared g' is rounding, not variance."""


def gate_cells(tables: Tables, tap: str) -> pd.DataFrame:
    """Sum a gate's g' (``g_core/TAP``, ``g_band/TAP``) by image, size octave, class and part.

    Returns:
        ``image``, ``octave`` (floor of l), ``class_id``, ``part`` (``core`` or ``band``), ``n``
        regions, ``sum`` and ``squares`` of g'. Rows of shards of images concatenate.
    """
    names = {"core": f"g_core/{tap}", "band": f"g_band/{tap}"}
    table = qualifying(tables, ["size_octave", "class_id", "qualifies", *names.values()])
    parts = []
    for part, name in names.items():
        rows = table.dropna(subset=[name])
        value = rows[name].astype(np.float64)
        frame = rows[["image", "class_id", "octave"]]
        parts.append(frame.assign(part=part, n=1, sum=value, squares=value**2))
    keys = ["image", "octave", "class_id", "part"]
    return pd.concat(parts).groupby(keys, as_index=False)[["n", "sum", "squares"]].sum()


def gate_by_octave(
    cells: pd.DataFrame,
    *,
    by_class: bool = False,
    images: Images = EACH,
) -> pd.DataFrame:
    """Average the g' of :func:`gate_cells` by size octave and part: over regions, then images.

    Returns:
        ``part`` (``band`` or ``core``), ``class_id`` (only ``by_class``), ``octave``, ``mean``,
        ``low``, ``high`` (95 %, null below 10 independent images), ``n_regions``, ``n_images``,
        ``reason`` (why there is no interval, else null).
    """
    keys = ["part", *(["class_id"] if by_class else []), "octave"]
    sums = cells.groupby([*keys, "image"], as_index=False)[["sum", "n"]].sum()
    rows = sums.assign(g=sums["sum"] / sums["n"])
    return mean_by_group(rows, keys, ["g"], counts="n", images=images).drop(columns="measure")


def variance_explained(cells: pd.DataFrame) -> tuple[float, float]:
    """Return eta^2 of size, and partial eta^2 of size given class.

    eta^2 = variance of g' between size octaves / total variance, over regions of all images.
    Partial: of an additive model octave + class, SS(octave given class) / (SS(octave given class) +
    residual SS). Supervised gates follow the class, and classes have sizes: the second is what
    size explains beyond class.

    Args:
        cells: Of :func:`gate_cells`, one part, any number of images.

    Returns:
        Two numbers in [0, 1]; 0 for a constant gate, NaN without regions. The partial one is NaN
        where class leaves nothing to explain.
    """
    sums = cells.groupby(["octave", "class_id"], as_index=False)[["n", "sum", "squares"]].sum()
    n, total = sums["n"].to_numpy(dtype=np.float64), sums["sum"].to_numpy(dtype=np.float64)
    if n.sum() == 0:
        return np.nan, np.nan
    squares = float(sums["squares"].sum())
    overall, least = squares - total.sum() ** 2 / n.sum(), NO_VARIANCE * squares
    if overall <= least:
        return 0.0, 0.0
    octave = _indicators(sums["octave"].to_numpy())
    class_id = _indicators(sums["class_id"].to_numpy())
    alone = _residual(octave, n, total, squares)
    of_class = _residual(class_id, n, total, squares)
    of_both = _residual(np.hstack([octave, class_id]), n, total, squares)
    partial = 1.0 - of_both / of_class if of_class > least else np.nan
    return float(np.clip(1.0 - alone / overall, 0, 1)), float(np.clip(partial, 0, 1))


def _indicators(levels: npt.NDArray[np.integer]) -> FloatMap:
    return (levels[:, None] == np.unique(levels)).astype(np.float64)


def _residual(design: FloatMap, n: FloatMap, total: FloatMap, squares: float) -> float:
    """Return the residual sum of squares of regions fitted by cell indicators, from cell sums."""
    root = np.sqrt(n)
    fitted = design @ np.linalg.lstsq(design * root[:, None], total / root, rcond=None)[0]
    return float(squares - 2 * (fitted @ total) + (n * fitted) @ fitted)


SLIGHT = 0.1
"""Below so much of G, either way, gates are said to open slightly the right or the wrong way."""


def selectivity_words(found: Estimate) -> str:
    """Return what G says of the gates, in one sentence made from its value and its interval."""
    if found.value is None:
        return "Which way round the gates open for large objects was not estimated."
    if found.low is None or found.high is None:
        return "Without an interval, G does not say which way round the gates open."
    if found.low <= 0 <= found.high:
        return (
            "On these images the gates are not told apart from ones without a preference for size."
        )
    much = "slightly " if abs(found.value) < SLIGHT else ""
    if found.value > 0:
        return (
            f"The gates open {much}the right way round: transfers to coarser branches wider for "
            "larger objects, transfers to finer ones wider for smaller objects."
        )
    return (
        f"The gates open {much}the wrong way round: transfers to coarser branches wider for "
        "smaller objects, transfers to finer ones wider for larger objects."
    )
