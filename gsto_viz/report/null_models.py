"""The null models of one image: what the indices say when the link to object size is broken.

N1 shifts the annotation, N2 takes that of another image, N5 replaces the branches by one common
map. (N3, random weights, is a network of its own; N4, permuted sizes, needs the table alone.)
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gsto_viz.regions.ranking import rank_maps
from gsto_viz.regions.table import region_arrays
from gsto_viz.report.annotations import Annotated
from gsto_viz.report.measure import Arrays, cut, rows_kept
from gsto_viz.report.settings import Settings
from gsto_viz.report.subjects import Look
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


@dataclass(frozen=True, eq=False)
class NullTable:
    """The regions of one image as a null model has them.

    Attributes:
        null: ``N1``, ``N2`` or ``N5``.
        draw: Number of the draw.
        regions: Columns of the region table that stay, (K,) each.
    """

    null: str
    draw: int
    regions: Arrays


def null_tables(
    cuts: Annotated,
    look: Look,
    kept: npt.NDArray[np.bool_],
    settings: Settings,
    explained: Sequence[Arrays] | None = None,
) -> Iterator[NullTable]:
    """Give the region tables of one image under N1, N2 and N5.

    Args:
        cuts: The annotation of the image.
        look: What a network shows for it.
        kept: (K,) regions of this image that stay.
        settings: Of the analysis.
        explained: Columns of Shapley values for each entry of ``cuts.broken``; None: none.
    """
    grids = cuts.grids
    more: Sequence[Arrays] = [{}] * len(cuts.broken) if explained is None else explained
    for (null, draw), broken, columns in zip(cuts.broken_names, cuts.broken, more, strict=True):
        table = dict(region_arrays(broken, look.activity)) | columns
        if cuts.partner is not None and null == "N2":
            kept_here = rows_kept(table, cuts.partner[0].id, settings)
        else:
            kept_here = kept
        yield NullTable(null, draw, cut(table, kept_here))
    ranked = rank_maps(grids, look.activity)
    common = common_maps(ranked.native, grids.shape, grids.strides)
    yield NullTable("N5", 0, cut(dict(region_arrays(grids, common)), kept))
