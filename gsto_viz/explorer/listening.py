"""What the probed pixel listens to: cells of a coarser map, each with its weight."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.activity import cell_at, grid_stride
from gsto_viz.explorer.probe import Point
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.view_state import ViewState
from gsto_viz.stats.listening import window_along


@dataclass(frozen=True, eq=False)
class HeardCells:
    """What one pixel of one network listens to.

    Attributes:
        relation: Tap of the relation.
        arrow: Its maps in short: ``/32 → /16``.
        head: Which of its heads, from 0; None: the mean of all.
        heads: How many there are.
        window: Cells along one side of the window.
        cells: What ``heard_cells`` gave.
    """

    relation: str
    arrow: str
    head: int | None
    heads: int
    window: int
    cells: pd.DataFrame

    @property
    def what(self) -> str:
        """Relation and head in words."""
        head = f"mean of {self.heads} heads" if self.head is None else f"head {self.head}"
        return f"{self.arrow}, {head}"


def heard_cells(
    weights: npt.NDArray[np.floating],
    point: Point,
    size: tuple[int, int],
    head: int | None = None,
) -> pd.DataFrame:
    """Return the cells that a pixel chooses from, and the weight that it gives to each.

    Args:
        weights: (m, k*k, H, W): what each cell of the finer map gives to the window around the cell
            of twice its side that covers it, rows of the window from the upper left.
        point: The pixel.
        size: (H, W) of the image.
        head: From 0; None: the mean of all.

    Returns:
        k*k rows in the order of the window: ``row`` and ``column`` of the cell, its pixels
        ``y0`` to ``y1`` and ``x0`` to ``x1`` (ends exclusive; the last cells end with the image),
        ``weight`` and ``inside``; one that is not inside lies off the map, has weight 0 and no
        place (rows and columns off the map are -1).
    """
    stride = grid_stride(size, (weights.shape[2], weights.shape[3]))
    assert stride is not None
    window, step = math.isqrt(weights.shape[1]), 2 * stride
    y, x = cell_at(point.y, point.x, size, stride)
    own = weights[..., y, x].astype(np.float64)
    rows, columns = (
        window_along(length, window)[:, at]
        for length, at in zip(weights.shape[2:], (y, x), strict=True)
    )
    cells = np.stack(np.meshgrid(rows, columns, indexing="ij")).reshape(2, -1)
    inside = (cells >= 0).all(axis=0)
    low = cells * step
    high = np.minimum(low + step, np.array(size)[:, None])
    return pd.DataFrame(
        {
            "row": cells[0],
            "column": cells[1],
            "y0": low[0],
            "x0": low[1],
            "y1": high[0],
            "x1": high[1],
            "weight": own.mean(axis=0) if head is None else own[head],
            "inside": inside,
        }
    )


def relation_arrows(shown: Shown) -> dict[str, str]:
    """Return the relations of A and B, coarsest first, with their maps in short."""
    strides = {
        tap: grid_stride(shown.size, (weights.shape[2], weights.shape[3])) or 1
        for look in shown.inspections.values()
        for tap, weights in look.relations.items()
    }
    coarsest = sorted(strides.items(), key=lambda item: -item[1])
    return {tap: f"/{2 * stride} → /{stride}" for tap, stride in coarsest}


def head_count(shown: Shown) -> int:
    """Return how many heads the relations of A and B have, at most."""
    every = (look.relations.values() for look in shown.inspections.values())
    return max((len(weights) for relations in every for weights in relations), default=0)


def heard_at(shown: Shown, state: ViewState, point: Point) -> dict[str, HeardCells]:
    """Return what a pixel listens to in the chosen relation, by letter.

    Networks without this relation or this head are left out.
    """
    arrows = relation_arrows(shown)
    tap = state.relation if state.relation in arrows else next(iter(arrows), None)
    found = {}
    for letter in LETTERS:
        weights = None if tap is None else shown.inspections[letter].relations.get(tap)
        if tap is None or weights is None or (state.head or 0) >= len(weights):
            continue
        found[letter] = HeardCells(
            relation=tap,
            arrow=arrows[tap],
            head=state.head,
            heads=len(weights),
            window=math.isqrt(weights.shape[1]),
            cells=heard_cells(weights, point, shown.size, state.head),
        )
    return found


def heard_table(heard: Mapping[str, HeardCells]) -> pd.DataFrame:
    """Return the cells inside the image of both networks: ``model``, ``relation``, ``head`` first.

    ``head`` is empty for the mean of all.
    """
    parts = []
    for letter, one in heard.items():
        cells = one.cells[one.cells["inside"]].drop(columns="inside").reset_index(drop=True)
        what = {"model": letter, "relation": one.relation, "head": one.head}
        parts.append(pd.concat([pd.DataFrame([what] * len(cells)), cells], axis=1))
    return pd.concat(parts, ignore_index=True)
