"""Who carries the evidence, per region: Shapley values and scale transfer of one image.

SCI says which branch *fires* for which object. SCI_C asks which branch the decision *rests on*: the
same order of pairs on exact Shapley values of each region's margin; of a network for pose, of how
high the heat maps of joints peak in each person. STP asks what happens when the
same object is made larger: is it then answered by coarser branches?

The null models of STP ask the same of regions that are not objects (N1: annotation shifted on the
torus, N2: that of another image) and of networks that learnt nothing (N3). Permuted sizes (N4)
change nothing, because an object is compared with itself, and under one common map (N5) coarseness
is 0 at every size, so STP is 0.5.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

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
from gsto_viz.errors import GstoVizError, RefusedImageError
from gsto_viz.network import Network
from gsto_viz.regions.pooling import PreparedRegions
from gsto_viz.report.folder import BLURRED, DOUBLED, RESIZED
from gsto_viz.report.measure import Annotated
from gsto_viz.stats.causal import transfer_rows
from gsto_viz.types import BranchMaps, Sample, coarsest_pixels

COLUMNS = ("image", "region", "m", "change", "kind", "draw", "model")
Seen = tuple[PreparedRegions, BranchMaps]
"""Regions, and the maps that they are measured on."""


def transfer_frame(
    network: Network, image: Annotated, random: Sequence[tuple[Network, BranchMaps]]
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
    try:
        # A copy has captures of its own: another thread may be looking through the network.
        maps = sized_maps(replace(network), sample.image)
    except RefusedImageError:
        return pd.DataFrame(columns=list(COLUMNS))
    tables = sized_tables(maps, sample)
    parts = [
        transfer_rows(tables.base, sizes, tables.coarsest).assign(kind=kind, draw=0)
        for kind, sizes in zip((RESIZED, BLURRED), (tables.resized, tables.blurred), strict=True)
    ]
    if image.moved or random:
        parts += _null_rows(image, maps, random)
    return pd.concat(parts, ignore_index=True).assign(model=network.key)


def _null_rows(
    image: Annotated, maps: SizedMaps, random: Sequence[tuple[Network, BranchMaps]]
) -> Iterator[pd.DataFrame]:
    """Follow moved regions (N1, N2), and objects in untrained networks (N3), to twice the size.

    Args:
        image: The image.
        maps: What the network shows for it.
        random: As for ``transfer_frame``.
    """
    sample, larger = image.sample, image.doubled()
    own = next(larger)
    for one, doubled in zip(image.moved, larger, strict=True):
        rows = _doubled(sample.id, (one.grids, maps.base), (doubled, maps.resized[DOUBLED]))
        yield rows.assign(kind=one.null, draw=one.draw)
    for draw, (twin, there) in enumerate(random):
        after = maps_at(replace(twin), sample.image, DOUBLED)
        rows = _doubled(sample.id, (image.grids, there), (own, after))
        yield rows.assign(kind="N3", draw=draw)


def _doubled(image: str, before: Seen, after: Seen) -> pd.DataFrame:
    """Follow regions from the image as it is to twice its size."""
    tables = [placed_table(cut, maps, image) for cut, maps in (before, after)]
    return transfer_rows(tables[0], {DOUBLED: tables[1]}, coarsest_pixels(before[0].strides))


UNEXPLAINED = (
    "its branches, as they are read, enter no head that splits by branch: all of them have to "
    "enter it through a single convolution, as in HRNetV2"
)


def is_followed(network: Network) -> bool:
    """Return whether a network takes part in attribution: with a head that splits by branch."""
    return network.anatomy.head is not None


def check_explainable(networks: Sequence[Network]) -> None:
    """Refuse to explain networks of which none has a head that can be split by branch.

    Raises:
        GstoVizError: The branches, as they are read, enter no such head.
    """
    if not any(map(is_followed, networks)):
        who = ", ".join(f"{network.key} ({network.name})" for network in networks)
        raise GstoVizError(
            f"{who} cannot be analyzed with attribution: {UNEXPLAINED}; leave --attribution or "
            "--taps out"
        )


def explained(network: Network, images: Iterable[npt.NDArray[np.uint8]]) -> Network:
    """Return a copy with the mean features of images (H, W, 3) as baseline, where a head splits.

    Others are returned as they are.
    """
    if not is_followed(network):
        return network
    tensors = (network.tensor(image) for image in images)
    return replace(network, baseline=mean_baseline(network.module, tensors))


def shapley_columns(
    network: Network, sample: Sample, cuts: Sequence[PreparedRegions]
) -> list[dict[str, npt.NDArray]]:
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
