"""Scale transfer in an analysis: what becomes of the objects of an image that is resized.

The null models of STP ask the same of regions that are no objects (N1: annotation shifted on the
torus, N2: that of another image) and of networks that learnt nothing (N3). Permuted sizes (N4)
change nothing, because an object is compared with itself, and under one common map (N5) coarseness
is 0 at every size, so STP is 0.5.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gsto_viz.attribution.transfer import (
    SizedMaps,
    maps_at,
    placed_table,
    sized_maps,
    sized_tables,
)
from gsto_viz.models.hrnet import MIN_SIZE, HRNet
from gsto_viz.regions.prepared import PreparedRegions
from gsto_viz.report.annotations import Annotated
from gsto_viz.report.chunks import read_table
from gsto_viz.report.null_summary import Null, summarise_null
from gsto_viz.report.plain import plain
from gsto_viz.report.settings import DOUBLED
from gsto_viz.report.subjects import Subject
from gsto_viz.stats.transfer import (
    scale_transfer,
    transfer_beyond_blur,
    transfer_counts,
    transfer_rows,
    transfer_slope,
    transfer_values,
)
from gsto_viz.types import BranchMaps

COLUMNS = ("image", "region", "m", "change", "kind", "draw", "model")
Seen = tuple[PreparedRegions, BranchMaps]
"""Regions, and the maps that they are measured on."""
OWN = ("resized", "blurred")
"""Kinds of rows of the network itself; those of null models are named after them."""


def transfer_frame(
    subject: Subject,
    image: Annotated,
    random: Sequence[tuple[Subject, BranchMaps]] = (),
) -> pd.DataFrame:
    """Resize one image and its labels and follow its objects.

    Args:
        subject: The network.
        image: The image; where null models have its annotation (N1, N2), they are followed to
            twice the size, too.
        random: Random-weight draws of the network (N3), each with its maps of the image as it is.

    Returns:
        ``image``, ``region``, ``m``, ``change`` of coarseness, ``kind`` (``resized``, ``blurred``
        for the control, or a null model), ``draw``, ``model``. No rows where half the image is too
        small for the network.
    """
    assert isinstance(subject.model, HRNet)
    sample = image.sample
    if min(sample.image.shape[:2]) < 2 * MIN_SIZE:
        return pd.DataFrame(columns=list(COLUMNS))
    maps = sized_maps(subject.model, sample.image, gains=subject.gains)
    tables = sized_tables(maps, sample)
    parts = [
        transfer_rows(tables.base, sizes, tables.coarsest).assign(kind=kind, draw=0)
        for kind, sizes in zip(OWN, (tables.resized, tables.blurred), strict=True)
    ]
    if image.broken or random:
        parts += _null_rows(image, maps, random)
    return pd.concat(parts, ignore_index=True).assign(model=subject.key)


def _null_rows(
    image: Annotated, maps: SizedMaps, random: Sequence[tuple[Subject, BranchMaps]]
) -> Iterator[pd.DataFrame]:
    """Follow what is no object (N1, N2), and objects in untrained networks (N3), to twice the size.

    Args:
        image: The image.
        maps: What the network shows for it.
        random: As for ``transfer_frame``.
    """
    sample, larger = image.sample, image.doubled()
    own = next(larger)
    moved = zip(image.broken_names, image.broken, larger, strict=True)
    for (null, draw), cut, doubled in moved:
        rows = _doubled(sample.id, (cut, maps.base), (doubled, maps.resized[DOUBLED]))
        yield rows.assign(kind=null, draw=draw)
    for draw, (twin, there) in enumerate(random):
        assert isinstance(twin.model, HRNet)
        after = maps_at(twin.model, sample.image, DOUBLED, gains=twin.gains)
        rows = _doubled(sample.id, (image.grids, there), (own, after))
        yield rows.assign(kind="N3", draw=draw)


def _doubled(image: str, before: Seen, after: Seen) -> pd.DataFrame:
    """Follow regions from the image as it is to twice its size."""
    tables = [placed_table(cut, maps, image) for cut, maps in (before, after)]
    return transfer_rows(tables[0], {DOUBLED: tables[1]}, max(before[0].strides))


def transfer_summary(out: Path, key: str, clusters: Mapping[str, str], seed: int) -> dict[str, Any]:
    """Estimate STP of one model at every size, beyond blur, its slope, and its null models."""
    rows = read_table(out / "transfer.parquet", model=key).drop(columns="model")
    resized, blurred = (rows[rows["kind"] == kind] for kind in OWN)
    counts, control = transfer_counts(resized), transfer_counts(blurred)
    shared: dict[str, Any] = {"clusters": clusters, "seed": seed}
    nulls = {DOUBLED: _nulls(rows[~rows["kind"].isin(OWN)], clusters, seed)}
    octaves = sorted(set(counts["m"]))
    return {
        "stp": {
            f"{m:+g}": {
                **plain(scale_transfer(counts, m, **shared)),
                "nulls": {name: one.to_json() for name, one in nulls.get(m, {}).items()},
            }
            for m in octaves
        },
        "stp_beyond_blur": {
            f"{m:+g}": transfer_beyond_blur(counts, control, m, **shared) for m in octaves
        },
        "stp_slope": transfer_slope(resized, **shared),
    }


def _nulls(rows: pd.DataFrame, clusters: Mapping[str, str], seed: int) -> dict[str, Null]:
    """Summarise STP at twice the size under each null model that has rows."""
    found = {}
    for name, one in rows.groupby("kind"):
        values = [
            transfer_values(transfer_counts(drawn), DOUBLED).assign(draw=draw, index="stp")
            for draw, drawn in one.groupby("draw")
        ]
        found[str(name)] = summarise_null(pd.concat(values, ignore_index=True), clusters, seed)[
            "stp"
        ]
    return found


def doubled_values(folder: Path, key: str) -> pd.DataFrame:
    """Return STP of each image at twice the size: ``image``, ``value``, ``pairs``."""
    rows = read_table(folder / "transfer.parquet", model=key)
    return transfer_values(transfer_counts(rows[rows["kind"] == "resized"]), DOUBLED)
