"""The null models of one image: what the indices say when the link to object size is broken.

N1 shifts the annotation, N2 takes that of another image, N5 replaces the branches by one common
map. (N3, random weights, is a network of its own; N4, permuted sizes, needs the table alone.)
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gsto_viz.regions.ranking import rank_maps
from gsto_viz.regions.table import region_arrays
from gsto_viz.report.annotations import Annotated
from gsto_viz.report.measure import cut, indices_of, rows_kept
from gsto_viz.report.settings import Settings
from gsto_viz.report.subjects import Look, Subject
from gsto_viz.stats.nulls import common_maps

Row = dict[str, Any]


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


def null_rows(
    subject: Subject,
    cuts: Annotated,
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
    ranked = rank_maps(grids, look.activity)
    for draw, moved in enumerate(cuts.moved):
        table = cut(region_arrays(moved, look.activity), kept)
        yield from rows_of(subject.key, "N1", draw, image, indices_of(subject, table))
    if cuts.partner is not None:
        other, other_grids = cuts.partner
        table = region_arrays(other_grids, look.activity)
        table = cut(table, rows_kept(table, other.id, settings))
        yield from rows_of(subject.key, "N2", 0, image, indices_of(subject, table))
    common = common_maps(ranked.native, grids.shape, grids.strides)
    table = cut(region_arrays(grids, common), kept)
    yield from rows_of(subject.key, "N5", 0, image, indices_of(subject, table))
