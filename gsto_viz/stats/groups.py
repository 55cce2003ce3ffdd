"""Means of region measures by group: over regions of an image first, over images then."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from gsto_viz.stats.inference import image_mean_interval


def mean_by_group(
    rows: pd.DataFrame,
    by: Sequence[str],
    measures: Sequence[str],
    *,
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Average measures of regions, each image with the same weight.

    Args:
        rows: ``image``, the columns of ``by`` and the measures, one row per region.
        by: What makes a group.
        measures: Which columns are averaged.
        clusters: Cluster of each image for the interval.
        seed: Of the bootstrap.

    Returns:
        One row per group and measure, groups in order of appearance: the columns of ``by``,
        ``measure``, ``mean``, ``low``, ``high`` (95 %, null below 10 independent images),
        ``n_regions``, ``n_images``, ``reason`` (why there is no interval, else null).
    """
    found = []
    for names, group in rows.groupby(list(by), sort=False):
        by_image = group.groupby("image")[list(measures)].mean()
        values = by_image.to_numpy(dtype=np.float64)
        low, high, reason = image_mean_interval(by_image.index.tolist(), values, clusters, seed)
        for k, measure in enumerate(measures):
            found.append(
                {
                    **dict(zip(by, names, strict=True)),
                    "measure": measure,
                    "mean": float(values[:, k].mean()),
                    "low": np.nan if low is None else float(low[k]),
                    "high": np.nan if high is None else float(high[k]),
                    "n_regions": len(group),
                    "n_images": len(by_image),
                    "reason": reason,
                }
            )
    columns = [*by, "measure", "mean", "low", "high", "n_regions", "n_images", "reason"]
    return pd.DataFrame(found, columns=columns)
