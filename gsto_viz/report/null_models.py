"""The null models of one image: what the indices say when the link to object size is broken.

N1 shifts the annotation, N2 takes that of another image, N5 replaces the branches by one common
map. (N3, random weights, is a network of its own; N4, permuted sizes, needs the table alone.)
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gsto_viz.errors import GstoVizError
from gsto_viz.regions.prepared import PreparedRegions, prepare_regions
from gsto_viz.regions.ranking import rank_maps
from gsto_viz.report.measure import index_values, prepared, reservoir
from gsto_viz.report.settings import SHIFTS, Settings
from gsto_viz.report.subjects import Look, Subject
from gsto_viz.stats.nulls import common_maps, shift_map, shift_regions, toroidal_shift
from gsto_viz.types import Sample

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Annotation:
    """The annotation of one image on the grids of a network, as it is and as null models have it.

    Attributes:
        sample: The image.
        grids: Its regions.
        moved: Its regions under every shift of N1; empty without nulls or for tiny images.
        partner: The image whose annotation N2 takes, with its regions; None without one.
    """

    sample: Sample
    grids: PreparedRegions
    moved: tuple[PreparedRegions, ...] = ()
    partner: tuple[Sample, PreparedRegions] | None = None


def annotation(
    sample: Sample, partner: Sample | None, strides: tuple[int, ...], settings: Settings
) -> Annotation:
    """Cut an image's annotation, and with nulls that of its partner and its own under shifts.

    Raises:
        GstoVizError: The image has no labels.
    """
    grids = prepared(sample, strides)
    if not settings.nulls:
        return Annotation(sample, grids)
    moved = (shifted(grids, sample, draw, settings.seed) for draw in range(SHIFTS))
    return Annotation(
        sample,
        grids,
        moved=tuple(one for one in moved if one is not None),
        partner=None if partner is None else (partner, prepared(partner, strides)),
    )


def rows_of(
    key: str, null: str, draw: int, image: str, indices: Mapping[str, tuple[float, int]]
) -> list[Row]:
    """Lay the indices of one image out as rows."""
    return [
        {
            "model": key,
            "null": null,
            "draw": draw,
            "image": image,
            "index": name,
            "value": value,
            "pairs": pairs,
        }
        for name, (value, pairs) in indices.items()
    ]


def shifted(grids: PreparedRegions, sample: Sample, draw: int, seed: int) -> PreparedRegions | None:
    """Return the regions of an image shifted on the torus (N1); None where it is too small."""
    assert sample.labels is not None
    coarsest = grids.strides[-1]
    try:
        shift = toroidal_shift(sample.labels.shape, coarsest, image=sample.id, seed=seed, draw=draw)
    except GstoVizError:
        return None
    return prepare_regions(
        shift_map(sample.labels, shift),
        grids.strides,
        regions=shift_regions(grids.regions, shift),
    )


def null_rows(
    subject: Subject,
    cuts: Annotation,
    look: Look,
    kept: npt.NDArray[np.bool_],
    settings: Settings,
) -> Iterator[Row]:
    """Give the indices of one image under N1, N2 and N5.

    Args:
        subject: The network.
        cuts: The annotation of the image.
        look: What the network shows for it.
        kept: (K,) regions of this image that stay.
        settings: Of the analysis.
    """
    image, grids = cuts.sample.id, cuts.grids
    for draw, moved in enumerate(cuts.moved):
        found = index_values(subject, moved, look.activity, kept)
        yield from rows_of(subject.key, "N1", draw, image, found)
    if cuts.partner is not None:
        other, other_grids = cuts.partner
        keep = reservoir(
            np.asarray(other_grids.regions.qualifies),
            other.id,
            seed=settings.seed,
            limit=settings.max_regions,
        )
        found = index_values(subject, other_grids, look.activity, keep)
        yield from rows_of(subject.key, "N2", 0, image, found)
    native = rank_maps(grids, look.activity).native
    common = common_maps(native, grids.shape, grids.strides)
    found = index_values(subject, grids, common, kept)
    yield from rows_of(subject.key, "N5", 0, image, found)
