"""How the response of each branch grows with size within images: robust slope, rank correlation."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata, theilslopes

from gsto_viz.stats.inference import image_mean_interval
from gsto_viz.stats.tables import Tables, branch_count, merge_tables

MIN_REGIONS = 3
"""A slope and a rank correlation of two regions only repeat their order."""


def size_trend_values(tables: Tables, response: str = "z") -> pd.DataFrame:
    """Measure the trend of each branch's response with size in each image.

    Args:
        tables: One region table or a sequence of them.
        response: ``z``, ``z_whole``, ``z_core``, ``z_band`` or ``z_matched``.

    Returns:
        One row per image with at least 3 qualifying regions of more than one size: ``image``,
        ``regions``, and per branch r ``slope_{r}`` (Theil-Sen, percentile per octave) and
        ``spearman_{r}`` (0 when the branch answers all regions alike).
    """
    names = [f"{response}_{r}" for r in range(branch_count(tables, response))]
    table = merge_tables(tables, ["size_octave", "qualifies", *names])
    table = table[table["qualifies"].astype(bool)].dropna(subset=names)
    rows = []
    for image, group in table.groupby("image"):
        size = group["size_octave"].to_numpy(dtype=np.float64)
        if len(group) < MIN_REGIONS or np.ptp(size) == 0:
            continue
        row: dict[str, object] = {"image": image, "regions": len(group)}
        for r, name in enumerate(names):
            value = group[name].to_numpy(dtype=np.float64)
            row[f"slope_{r}"] = float(theilslopes(value, size).slope)
            row[f"spearman_{r}"] = _spearman(size, value)
        rows.append(row)
    trends = [f"{what}_{r}" for r in range(len(names)) for what in ("slope", "spearman")]
    return pd.DataFrame(rows, columns=["image", "regions", *trends])


def _spearman(size: npt.NDArray[np.float64], value: npt.NDArray[np.float64]) -> float:
    """Return the correlation of ranks; 0 when all values are equal."""
    ranks = rankdata(size) - (size.size + 1) / 2, rankdata(value) - (size.size + 1) / 2
    norms = np.sqrt((ranks[0] @ ranks[0]) * (ranks[1] @ ranks[1]))
    return float(ranks[0] @ ranks[1] / norms) if norms > 0 else 0.0


def size_trend(
    tables: Tables,
    *,
    response: str = "z",
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Average the trends of :func:`size_trend_values` over images.

    Returns:
        One row per branch: ``branch``, ``slope``, ``slope_low``, ``slope_high`` (percentile per
        octave), ``spearman``, ``spearman_low``, ``spearman_high``, ``n_images``, ``reason`` (why a
        number is null). No number when no image has a trend.
    """
    values = size_trend_values(tables, response)
    branches = branch_count(tables, response)
    order = [f"{what}_{r}" for what in ("slope", "spearman") for r in range(branches)]
    numbers = values[order].to_numpy(dtype=np.float64)
    nothing = np.full(len(order), np.nan)
    if len(values) == 0:
        reason: str | None = "not estimated: no image has 3 regions of different sizes"
        mean, low, high = nothing, nothing, nothing
    else:
        mean = numbers.mean(axis=0)
        ends = image_mean_interval(values["image"].tolist(), numbers, clusters, seed)
        low, high = [nothing if end is None else end for end in ends[:2]]
        reason = ends[2]
    columns: dict[str, object] = {"branch": np.arange(branches)}
    for k, what in enumerate(("slope", "spearman")):
        part = slice(k * branches, (k + 1) * branches)
        columns |= {what: mean[part], f"{what}_low": low[part], f"{what}_high": high[part]}
    return pd.DataFrame(columns | {"n_images": len(values), "reason": reason})
