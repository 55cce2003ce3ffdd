"""Who carries the evidence, per region: Shapley values, scale transfer, and null summaries.

SCI says which branch *fires* for which object. SCI_C asks which branch the decision *rests on*: the
same order of pairs on exact Shapley values of each region's margin. STP asks what happens when the
same object is made larger: is it then answered by coarser branches?

The null models of STP ask the same of regions that are no objects (N1: annotation shifted on the
torus, N2: that of another image) and of networks that learnt nothing (N3). Permuted sizes (N4)
change nothing, because an object is compared with itself, and under one common map (N5) coarseness
is 0 at every size, so STP is 0.5.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.attribution import head_pass, mean_baseline, shapley_tables
from gsto_viz.attribution.receptive import (
    SizedMaps,
    maps_at,
    placed_table,
    sized_maps,
    sized_tables,
)
from gsto_viz.errors import GstoVizError
from gsto_viz.models.hrnet import MIN_SIZE
from gsto_viz.network import Network
from gsto_viz.regions.pooling import PreparedRegions
from gsto_viz.report.folder import DOUBLED, PERMUTATIONS, Settings, as_estimate, plain, read_table
from gsto_viz.report.measure import Annotated, Arrays
from gsto_viz.stats.causal import (
    scale_transfer,
    sci_c_values,
    transfer_beyond_blur,
    transfer_counts,
    transfer_rows,
    transfer_slope,
    transfer_values,
)
from gsto_viz.stats.inference import Estimate, Images, estimate
from gsto_viz.stats.nulls import Null, permute_sizes
from gsto_viz.stats.pairs import image_indices, index_columns
from gsto_viz.types import BranchMaps, Sample


def null_json(null: Null) -> dict[str, Any]:
    """Return the fields of a null model's estimate, and its ``draws``."""
    return {**plain(null.estimate), "draws": list(null.values)}


def nulls_beside(values: Mapping[str, Any]) -> dict[str, Null]:
    """Read the null models beside an estimate of ``summary.json``; none where it has none."""
    return {
        name: Null(tuple(one["draws"]), as_estimate(one))
        for name, one in values.get("nulls", {}).items()
    }


def summarise_null(values: pd.DataFrame, images: Images) -> dict[str, Null]:
    """Summarise the rows of one model and null model.

    Args:
        values: ``draw``, ``image``, ``index``, ``value``, ``pairs``.
        images: Which images are independent, and the seed.

    Returns:
        By index.
    """
    found = {}
    for index, rows in values.groupby("index"):
        draws = rows.groupby("draw")["value"].mean()
        by_image = rows.groupby("image").agg(value=("value", "mean"), pairs=("pairs", "sum"))
        mean = estimate(by_image.reset_index(), images)
        found[str(index)] = Null(tuple(draws.tolist()), mean)
    return found


def permuted_values(table: pd.DataFrame, branches: int, depth: float, seed: int) -> pd.DataFrame:
    """Compute the indices of every image with permuted sizes (N4, and N4c within classes).

    Args:
        table: Region table of one model.
        branches: R.
        depth: Smallest depth of regions for ``sci_edge``: the coarsest stride.
        seed: Of the permutations.

    Returns:
        ``null``, ``draw``, ``image``, ``index``, ``value``, ``pairs``.
    """
    rows = []
    names = list(index_columns(branches))
    for null, within in (("N4", False), ("N4c", True)):
        for draw in range(PERMUTATIONS):
            permuted = permute_sizes(table, within_class=within, seed=seed, draw=draw)
            for image, group in permuted.groupby("image"):
                columns = {name: group[name].to_numpy() for name in names}
                indices = image_indices(columns, branches, min_depth_px=depth)
                rows += [
                    (null, draw, image, index, value, pairs)
                    for index, (value, pairs) in indices.items()
                    # Depths are not permuted, so this index is no null of N4.
                    if index != "sci_edge"
                ]
    frame = pd.DataFrame(rows, columns=["null", "draw", "image", "index", "value", "pairs"])
    return frame.astype({"value": np.float64})


COLUMNS = ("image", "region", "m", "change", "kind", "draw", "model")
Seen = tuple[PreparedRegions, BranchMaps]
"""Regions, and the maps that they are measured on."""
OWN = ("resized", "blurred")
"""Kinds of rows of the network itself; those of null models are named after them."""


def transfer_frame(
    network: Network,
    image: Annotated,
    random: Sequence[tuple[Network, BranchMaps]] = (),
) -> pd.DataFrame:
    """Resize one image and its labels and follow its objects.

    Args:
        network: The network.
        image: The image; where null models have its annotation (N1, N2), they are followed to
            twice the size, too.
        random: Random-weight draws of the network (N3), each with its maps of the image as it is.

    Returns:
        ``image``, ``region``, ``m``, ``change`` of coarseness, ``kind`` (``resized``, ``blurred``
        for the control, or a null model), ``draw``, ``model``. No rows where half the image is too
        small for the network.
    """
    sample = image.sample
    if min(sample.image.shape[:2]) < 2 * MIN_SIZE:
        return pd.DataFrame(columns=list(COLUMNS))
    # A copy has captures of its own: another thread may be looking through the network.
    maps = sized_maps(replace(network), sample.image)
    tables = sized_tables(maps, sample)
    parts = [
        transfer_rows(tables.base, sizes, tables.coarsest).assign(kind=kind, draw=0)
        for kind, sizes in zip(OWN, (tables.resized, tables.blurred), strict=True)
    ]
    if image.broken or random:
        parts += _null_rows(image, maps, random)
    return pd.concat(parts, ignore_index=True).assign(model=network.key)


def _null_rows(
    image: Annotated, maps: SizedMaps, random: Sequence[tuple[Network, BranchMaps]]
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
    for (null, draw), shown, doubled in moved:
        rows = _doubled(sample.id, (shown, maps.base), (doubled, maps.resized[DOUBLED]))
        yield rows.assign(kind=null, draw=draw)
    for draw, (twin, there) in enumerate(random):
        after = maps_at(replace(twin), sample.image, DOUBLED)
        rows = _doubled(sample.id, (image.grids, there), (own, after))
        yield rows.assign(kind="N3", draw=draw)


def _doubled(image: str, before: Seen, after: Seen) -> pd.DataFrame:
    """Follow regions from the image as it is to twice its size."""
    tables = [placed_table(cut, maps, image) for cut, maps in (before, after)]
    return transfer_rows(tables[0], {DOUBLED: tables[1]}, max(before[0].strides))


def transfer_summary(out: Path, key: str, images: Images) -> dict[str, Any]:
    """Estimate STP of one model at every size, beyond blur, its slope, and its null models."""
    rows = read_table(out / "transfer.parquet", model=key).drop(columns="model")
    resized, blurred = (rows[rows["kind"] == kind] for kind in OWN)
    counts, control = transfer_counts(resized), transfer_counts(blurred)
    nulls = {DOUBLED: _transfer_nulls(rows[~rows["kind"].isin(OWN)], images)}
    octaves = sorted(set(counts["m"]))
    return {
        "stp": {
            f"{m:+g}": {
                **plain(scale_transfer(counts, m, images=images)),
                "nulls": {name: null_json(one) for name, one in nulls.get(m, {}).items()},
            }
            for m in octaves
        },
        "stp_beyond_blur": {
            f"{m:+g}": transfer_beyond_blur(counts, control, m, images=images) for m in octaves
        },
        "stp_slope": transfer_slope(resized, images=images),
    }


def _transfer_nulls(rows: pd.DataFrame, images: Images) -> dict[str, Null]:
    """Summarise STP at twice the size under each null model that has rows."""
    found = {}
    for name, one in rows.groupby("kind"):
        values = [
            transfer_values(transfer_counts(drawn), DOUBLED).assign(draw=draw, index="stp")
            for draw, drawn in one.groupby("draw")
        ]
        found[str(name)] = summarise_null(pd.concat(values, ignore_index=True), images)["stp"]
    return found


def doubled_values(folder: Path, key: str) -> pd.DataFrame:
    """Return STP of each image at twice the size: ``image``, ``value``, ``pairs``."""
    rows = read_table(folder / "transfer.parquet", model=key)
    return transfer_values(transfer_counts(rows[rows["kind"] == "resized"]), DOUBLED)


NOTHING = Null((), Estimate(None, None, None, 0, 0, "not estimated: no image has a pair"))
"""What a null model says when no region could be explained."""


UNEXPLAINED = (
    "its branches, as they are read, enter no head that splits by branch: that needs an HRNetV2 or "
    "GSTO-HRNet, read at stage4.branch*"
)


def check_explainable(networks: Sequence[Network]) -> None:
    """Refuse to explain networks of which none has a head that can be split by branch.

    Raises:
        GstoVizError: The branches, as they are read, enter no such head.
    """
    if all(network.anatomy.head is None for network in networks):
        who = ", ".join(f"{network.key} ({network.name})" for network in networks)
        raise GstoVizError(
            f"{who} cannot be analyzed with attribution: that needs an HRNetV2 or GSTO-HRNet, read "
            "at stage4.branch*; leave --attribution or --taps out"
        )


def explained(network: Network, images: Iterable[npt.NDArray[np.uint8]]) -> Network:
    """Return a copy with the mean features of images (H, W, 3) as baseline, if it has a head."""
    if network.anatomy.head is None:
        return network
    tensors = (network.tensor(image) for image in images)
    return replace(network, baseline=mean_baseline(network.module, tensors))


def shapley_columns(
    network: Network, sample: Sample, cuts: Sequence[PreparedRegions]
) -> list[Arrays]:
    """Explain the regions of one image, cut in one or several ways, from one pass.

    Args:
        network: The network, with its baseline.
        sample: The image.
        cuts: Sets of regions. Each region is asked about its own class, also where a null model
            has moved it: the same question, put where the object is not.

    Returns:
        For each set ``margin``, ``margin_base``, ``phi_{r}``, ``psi_{r}``, (K,) each.
    """
    assert network.baseline is not None
    image = network.tensor(sample.image)[None]
    seen = head_pass(network.module, image, network.baseline.head)
    return [
        {str(name): one.table[name].to_numpy() for name in one.table.columns if name != "region"}
        for one in shapley_tables(seen, network.baseline, cuts)
    ]


def causal_summary(
    out: Path, key: str, table: pd.DataFrame, settings: Settings, images: Images
) -> dict[str, Any] | str:
    """Estimate SCI_C and STP of one model; a sentence where they were not asked for."""
    if not settings.attribution:
        return "not computed; gsto-viz analyze --attribution computes it"
    if settings.models[key].get("unexplained"):
        return f"not estimated: {UNEXPLAINED}"
    strides = tuple(settings.models[key]["strides"])
    own = estimate(sci_c_values(table, strides), images)
    nulls = _nulls(out, key, table, settings, images) if settings.nulls else {}
    found = {
        "sci_c": {**plain(own), "nulls": {name: null_json(one) for name, one in nulls.items()}},
        "sci_c_shares": estimate(sci_c_values(table, strides, response="phi"), images),
        **transfer_summary(out, key, images),
    }
    values: dict[str, Any] = plain(found)
    return values


def _nulls(
    out: Path, key: str, table: pd.DataFrame, settings: Settings, images: Images
) -> dict[str, Null]:
    """Give SCI_C with moved annotation (N1, N2), random weights (N3) and permuted sizes (N4)."""
    strides = tuple(settings.models[key]["strides"])
    tables = _moved(out, key)
    if settings.random_draws:
        tables["N3"] = _draws(read_table(out / "random.parquet", model=key))
    tables["N4"] = [
        permute_sizes(table, seed=settings.seed, draw=draw) for draw in range(PERMUTATIONS)
    ]
    found: dict[str, Null] = {}
    for name, draws in tables.items():
        values = [sci_c_values(one, strides).assign(draw=k) for k, one in enumerate(draws)]
        rows = pd.concat(values, ignore_index=True).assign(index="sci_c")
        found[name] = summarise_null(rows, images).get("sci_c", NOTHING)
    return found


def _moved(out: Path, key: str) -> dict[str, list[pd.DataFrame]]:
    """Return the draws of N1 and N2; none where no image can be shifted or has a partner."""
    path = out / "moved.parquet"
    if not path.is_file():
        return {}
    moved = read_table(path, model=key)
    return {str(null): _draws(rows.drop(columns="null")) for null, rows in moved.groupby("null")}


def _draws(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Take the region tables of one network apart by draw."""
    return [one.drop(columns=["model", "draw"]) for _, one in table.groupby("draw")]


def sides(sci: Estimate, sci_c: Estimate, stp: Estimate | None) -> dict[str, str]:
    """Say of each of the three indices on which side of chance its interval lies.

    Returns:
        By index ``aware``, ``reversed``, ``no evidence`` (the interval holds 0.5) or ``not
        judged``.
    """

    def side(one: Estimate | None, *, aware_below: bool) -> str:
        if one is None or one.low is None or one.high is None:
            return "not judged"
        if one.low <= 0.5 <= one.high:
            return "no evidence"
        return "aware" if (one.high < 0.5) == aware_below else "reversed"

    return {
        "SCI": side(sci, aware_below=True),
        "SCI_C": side(sci_c, aware_below=True),
        "STP": side(stp, aware_below=False),
    }


def agreement(found: Mapping[str, str]) -> str:
    """Say in words whether firing, evidence and intervention tell one story."""
    said = "; ".join(f"{name}: {side}" for name, side in found.items())
    judged = {side for side in found.values() if side != "not judged"}
    if len(judged) < len(set(found.values())) or not judged:
        return f"The three indices cannot all be judged ({said})."
    if len(judged) == 1:
        return f"The three indices agree ({said})."
    return f"The three indices disagree, and that is the finding ({said})."
