"""Which object sizes a branch answers for: mean response by branch and size octave."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from gsto_viz.errors import GstoVizError
from gsto_viz.stats.inference import image_mean_interval
from gsto_viz.stats.tables import Tables, branch_count, merge_tables

SIZE_COLUMNS = {
    "branch": "int64",
    "stride": "int64",
    "octave": "int64",
    "mean": "float64",
    "low": "float64",
    "high": "float64",
    "n_regions": "int64",
    "n_images": "int64",
    "reason": "object",
}
"""Columns of :func:`response_by_octave` and their types."""


def response_by_octave(
    tables: Tables,
    strides: Sequence[int] = (4, 8, 16, 32),
    *,
    response: str = "z",
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Average the percentile response of each branch over regions of each size octave.

    Octave o holds the regions with o <= log2 sqrt(area) < o + 1. Regions are averaged within an
    image first and images then, so an image with many regions does not outweigh others. Only
    regions that qualify count.

    Args:
        tables: One region table or a sequence of them.
        strides: Pixels per cell of each branch.
        response: Which responses: ``z`` (core or whole, as each region's ``part`` says),
            ``z_whole``, ``z_core``, ``z_band`` or ``z_matched``.
        clusters: Cluster of each image for the interval (blocks of video frames).
        seed: Of the bootstrap.

    Returns:
        One row per branch and octave that has regions, by branch and octave: ``branch`` (0 = the
        finest), ``stride`` (px), ``octave``, ``mean`` in (0, 1), ``low`` and ``high`` (95 %
        percentile bootstrap over images, null below 10 of them), ``n_regions``, ``n_images``, and
        ``reason`` (why there is no interval, else null).

    Raises:
        GstoVizError: A column is missing or the number of strides is not that of the branches.
    """
    branches = branch_count(tables, response)
    if len(strides) != branches:
        raise GstoVizError(f"{len(strides)} strides for {branches} branches; give one per branch")
    names = [f"{response}_{r}" for r in range(branches)]
    table = merge_tables(tables, ["size_octave", "qualifies", *names])
    table = table[table["qualifies"].astype(bool)].dropna(subset=names)
    octaves = np.floor(table["size_octave"]).astype(np.int64)
    rows = []
    for octave, group in table.groupby(octaves):
        by_image = group.groupby("image")[names].mean()
        values = by_image.to_numpy(dtype=np.float64)
        low, high, reason = image_mean_interval(by_image.index.tolist(), values, clusters, seed)
        for r, stride in enumerate(strides):
            rows.append(
                {
                    "branch": r,
                    "stride": int(stride),
                    "octave": int(octave),
                    "mean": float(values[:, r].mean()),
                    "low": np.nan if low is None else float(low[r]),
                    "high": np.nan if high is None else float(high[r]),
                    "n_regions": len(group),
                    "n_images": len(by_image),
                    "reason": reason,
                }
            )
    frame = pd.DataFrame(rows, columns=list(SIZE_COLUMNS)).astype(SIZE_COLUMNS)
    return frame.sort_values(["branch", "octave"], ignore_index=True)
