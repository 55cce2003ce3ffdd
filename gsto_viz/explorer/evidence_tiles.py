"""Tiles of the page "Attribution": signed maps of every branch on scales symmetric about 0."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gsto_viz.activity import HeatMap, cell_area
from gsto_viz.attribution.shapley import EvidenceField
from gsto_viz.errors import GstoVizError
from gsto_viz.explorer.evidence import Question
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.viewer_data import (
    first_row,
    map_tile,
    shared_data,
)
from gsto_viz.plots.attribution import symmetric_maps
from gsto_viz.regions import PreparedRegions
from gsto_viz.types import Stride, pixels_per_cell
from gsto_viz.words import HEAT_MAP, METHOD_LINKS, Method, scored


@dataclass(frozen=True, eq=False)
class BranchMaps:
    """One map per branch of one network.

    Attributes:
        maps: (h, w) each; NaN in cells that do not count.
        strides: Pixels per cell of each map.
        branches: Stride of the branch that each map is of.
    """

    maps: tuple[npt.NDArray[np.floating], ...]
    strides: tuple[Stride, ...]
    branches: tuple[Stride, ...]


def exact_maps(field: EvidenceField, question: Question, method: str) -> BranchMaps:
    """Return what each branch adds at every cell, on the finest grid.

    Args:
        field: Of one network.
        question: Says class and score; its place does not matter here.
        method: Key of ``METHOD_LINKS``: ``shapley`` (logits) or ``shares``.

    Raises:
        GstoVizError: Another method.
    """
    if method == "shapley":
        maps = field.shapley_maps(question.class_id, margin=question.score == "margin")
    elif method == "shares":
        maps = field.share_maps()
    else:
        raise GstoVizError(
            f"the explorer draws no maps of {METHOD_LINKS[method].label}, only of shapley and "
            "shares; gsto-viz attribute draws them"
        )
    finest = (field.strides[0],) * len(field.strides)
    return BranchMaps(tuple(maps), finest, field.strides)


def scaled(maps: Mapping[str, BranchMaps], method: str) -> dict[str, tuple[HeatMap, ...]]:
    """Give all maps one scale that is symmetric about 0; one for each network where units differ.

    Args:
        maps: By letter.
        method: Key of ``METHOD_LINKS``.
    """
    row = METHOD_LINKS[method]
    if row.own_scale:
        return {letter: _one_scale([own], row)[0] for letter, own in maps.items()}
    return dict(zip(maps, _one_scale(list(maps.values()), row), strict=True))


def _one_scale(sets: Sequence[BranchMaps], method: Method) -> list[tuple[HeatMap, ...]]:
    values, strides = [], []
    for own in sets:
        finest = pixels_per_cell(own.strides[0]) or 1
        size = [finest * cells for cells in own.maps[0].shape]
        for one, stride in zip(own.maps, own.strides, strict=True):
            # A cell four times as large holds four times as much of what adds up over cells.
            area = cell_area(size, stride) if method.adds_up else 1.0
            values.append(np.asarray(one, dtype=np.float64) / area)
            strides.append(stride)
    heats = symmetric_maps([np.nan_to_num(v) for v in values], strides, method.key)
    heats = tuple(replace(heat, values=v) for heat, v in zip(heats, values, strict=True))
    parts, start = [], 0
    for own in sets:
        parts.append(heats[start : start + len(own.maps)])
        start += len(own.maps)
    return parts


def unit_of(method: str, score: str) -> str:
    """State what the numbers of a map are; see ``score_of``."""
    if method == "shapley" and score == "mean":
        return "Shapley value of the logit at each cell, logits"
    return scored(METHOD_LINKS[method].axis, score)


def score_of(shown: Shown, score: str) -> str:
    """Return what is explained: the score of the view, or the heat map of networks for pose."""
    return HEAT_MAP if shown.pose else score


def evidence_data(
    shown: Shown,
    regions: PreparedRegions,
    maps: Mapping[str, BranchMaps],
    method: str,
    score: str,
) -> dict[str, Any]:
    """Return what the viewer of the page gets.

    Args:
        regions: Of that image.
        maps: By letter; empty: input, labels and predictions only.
        method: Key of ``METHOD_LINKS``.
        score: What is explained.
    """
    height, width = shown.size
    rows: list[dict[str, Any]] = [{"title": "", "tiles": first_row(shown)}]
    heats = scaled(maps, method) if maps else {}
    for letter in LETTERS:
        if letter not in heats:
            continue
        tiles = [
            map_tile(
                f"{letter}{branch}",
                f"{letter} /{branch}",
                heat,
                colors="difference",
                size=shown.size,
            )
            for branch, heat in zip(maps[letter].branches, heats[letter], strict=True)
        ]
        title = (
            f"{letter}: {shown.inspections[letter].name}, {unit_of(method, score_of(shown, score))}"
        )
        rows.append({"title": title, "tiles": tiles})
    return {
        "image": shown.picture.key,
        "height": height,
        "width": width,
        "rows": rows,
        **shared_data(shown.pixel_classes, regions),
    }
