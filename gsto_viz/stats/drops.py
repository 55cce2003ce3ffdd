"""What interventions cost by object size and class: drops of recall and IoU.

A drop is the unchanged network's value minus the changed one's: positive when the change hurts.
``drop_columns`` puts drops beside region tables as ``drop_0``, ``drop_1``..., where ``tuning(table,
strides, response="drop")`` finds the branch x size matrix, its SIC and their intervals.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from gsto_viz.errors import GstoVizError
from gsto_viz.stats.groups import mean_by_group
from gsto_viz.stats.outcome import outcome_scores
from gsto_viz.stats.tables import KEY, Tables, merge_tables

UNCHANGED = "none"
"""The name of the unchanged network among interventions."""
MEASURES = ("recall", "iou")
GROUPS = ("octave", "coco_bin", "class_id")


def drops(counts: pd.DataFrame) -> pd.DataFrame:
    """Subtract the scores of each region under each intervention from those without.

    Args:
        counts: Region counts with a column ``intervention``, of any number of images; rows that
            occur twice count once.

    Returns:
        ``intervention``, ``image``, ``region``, ``recall``, ``iou``: drops in [-1, 1]; one row per
        intervention and region, in the order of ``counts``.

    Raises:
        GstoVizError: A region has no counts without intervention.
    """
    rows = counts.drop_duplicates(ignore_index=True)
    scores = rows[["intervention", *KEY]].join(outcome_scores(rows)[list(MEASURES)])
    before = scores[scores["intervention"] == UNCHANGED].drop(columns="intervention")
    after = scores[scores["intervention"] != UNCHANGED]
    both = after.merge(before, on=KEY, how="left", suffixes=("", "_before"), validate="many_to_one")
    if both["recall_before"].isna().any():
        image, region = both.loc[both["recall_before"].isna(), KEY].iloc[0]
        raise GstoVizError(
            f"region {region} of image '{image}' has no counts without intervention; count it too"
        )
    for measure in MEASURES:
        both[measure] = both[f"{measure}_before"] - both[measure]
    return both[["intervention", *KEY, *MEASURES]]


def drop_columns(
    dropped: pd.DataFrame, tables: Tables, interventions: Sequence[str], *, measure: str = "recall"
) -> pd.DataFrame:
    """Put the drops of some interventions beside the regions' sizes.

    Args:
        dropped: Of :func:`drops`.
        tables: Region tables of the same images.
        interventions: Their names, e.g. the removal of each branch, the finest first.
        measure: ``recall`` or ``iou``.

    Returns:
        ``image``, ``region``, ``area_px``, ``size_octave``, ``coco_bin``, ``class_id``,
        ``qualifies`` and ``drop_{k}`` for the k-th intervention.

    Raises:
        GstoVizError: An intervention is not there, or a region that qualifies has no drop.
    """
    if measure not in MEASURES:
        raise GstoVizError(f"there is no drop of '{measure}'; choose {' or '.join(MEASURES)}")
    columns = ["area_px", "size_octave", "coco_bin", "class_id", "qualifies"]
    table = merge_tables(tables, columns)
    for k, name in enumerate(interventions):
        rows = dropped[dropped["intervention"] == name]
        if rows.empty:
            known = ", ".join(dropped["intervention"].unique())
            raise GstoVizError(f"there is no intervention '{name}'; there are {known}")
        named = rows[[*KEY, measure]].rename(columns={measure: f"drop_{k}"})
        table = table.merge(named, on=KEY, how="left")
        lost = table["qualifies"].astype(bool) & table[f"drop_{k}"].isna()
        if lost.any():
            image, region = table.loc[lost, KEY].iloc[0]
            raise GstoVizError(
                f"region {region} of image '{image}' has no counts under '{name}'; count it too"
            )
    return table


def mean_drops(
    dropped: pd.DataFrame,
    tables: Tables,
    *,
    by: str = "octave",
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Average drops over regions of a size or class, then over images.

    Args:
        dropped: Of :func:`drops`.
        tables: Region tables of the same images; only regions that qualify count.
        by: ``octave`` (floor of l), ``coco_bin`` or ``class_id``.
        clusters: Cluster of each image for the interval (blocks of video frames).
        seed: Of the bootstrap.

    Returns:
        One row per intervention, measure and group: ``intervention``, ``measure``, the group under
        the name of ``by``, ``mean``, ``low``, ``high`` (95 %, null below 10 independent images),
        ``n_regions``, ``n_images``, ``reason``.
    """
    if by not in GROUPS:
        raise GstoVizError(f"drops cannot be grouped by '{by}'; choose {', '.join(GROUPS)}")
    table = merge_tables(tables, ["size_octave", "coco_bin", "class_id", "qualifies"])
    table = table[table["qualifies"].astype(bool)]
    table = table.assign(octave=np.floor(table["size_octave"]).astype(np.int64))
    rows = dropped.merge(table[[*KEY, by]], on=KEY)
    frame = mean_by_group(rows, ["intervention", by], MEASURES, clusters=clusters, seed=seed)
    frame.insert(1, "measure", frame.pop("measure"))
    order = {name: k for k, name in enumerate(dropped["intervention"].unique())}
    rank = frame["intervention"].map(order)
    return (
        frame.assign(_rank=rank)
        .sort_values(["_rank", "measure", by], ignore_index=True, kind="stable")
        .drop(columns="_rank")
    )
