r"""How well a map at a tap foretells what removing parts of that tap does.

Infidelity (Yeh et al. 2019) with removals of cells as perturbations, on the scale of
``coalition_infidelity``.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gsto_viz.attribution.gradients import Explainer
from gsto_viz.attribution.interventions import Intervention, captured, intervene
from gsto_viz.capture.names import resolve

FloatArray = npt.NDArray[np.float64]
Infidelity = Callable[[str, str, FloatArray], float | None]
"""From method, tap and (h, w) map to how wrong it is; None where that has no meaning."""
BEGINS_AT_ZERO = ("gradient_x_activation",)
BEGINS_AT_IMAGE = ("integrated_gradients", "conductance")
"""Methods whose cells add up to a change of the score, by what they measure it from: features of
zero, or those of the image of the mean colour."""
SAMPLES = 16
"""Rectangles of cells, beside the whole tap."""


def cell_rectangles(
    grid: tuple[int, int], count: int, rng: np.random.Generator
) -> list[npt.NDArray[np.bool_]]:
    """Return the whole grid, then ``count`` random rectangles of its cells, (h, w) each.

    Args:
        grid: (h, w).
        count: Rectangles; each side goes from one random cell to another, both included.
        rng: Draws them.
    """
    masks = [np.ones(grid, dtype=bool)]
    for _ in range(count):
        mask = np.zeros(grid, dtype=bool)
        rows, columns = (np.sort(rng.integers(0, n, 2)) for n in grid)
        mask[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1] = True
        masks.append(mask)
    return masks


def removal_infidelity(
    explainer: Explainer, *, samples: int = SAMPLES, seed: int = 0
) -> Infidelity:
    r"""Prepare to say how badly maps at taps predict what removing cells of the tap does.

    .. math:: \sum_M [ \sum_{p \in M} a_p - (v - v_M) ]^2 / \sum_M [ v - v_M ]^2

    over the whole tap and ``samples`` random rectangles M of its cells; a_p is the map, v the score
    and v_M the score with the features in M as the method's path begins: 0, or those of the image
    of the mean colour.

    Args:
        explainer: One image and its target.
        samples: Rectangles.
        seed: Of the rectangles: the same for all maps of one grid.

    Returns:
        From method, tap and (h, w) map to 0: additive and right; 1: as bad as saying 0; NaN when
        removing changes nothing; None when the method's sums are no change of the score.
    """
    drops: dict[tuple[str, bool], FloatArray] = {}

    def infidelity(method: str, tap: str, values: FloatArray) -> float | None:
        if method not in (*BEGINS_AT_ZERO, *BEGINS_AT_IMAGE):
            return None
        grid = (values.shape[0], values.shape[1])
        masks = cell_rectangles(grid, samples, np.random.default_rng(seed))
        key = (tap, method in BEGINS_AT_ZERO)
        if key not in drops:
            drops[key] = _drops(explainer, tap, masks, zero=key[1])
        foretold = np.array([values[mask].sum() for mask in masks])
        scale = float((drops[key] ** 2).sum())
        return float(((foretold - drops[key]) ** 2).sum()) / scale if scale else float("nan")

    return infidelity


@torch.no_grad()
def _drops(
    explainer: Explainer, tap: str, masks: list[npt.NDArray[np.bool_]], *, zero: bool
) -> FloatArray:
    """Return what the score loses for each mask, (M,)."""
    (place,) = resolve(explainer.model, tap)
    begin = None
    if not zero:
        start = torch.zeros_like(explainer.image)
        begin = captured(explainer.model, start, [place.module])[place.module]
    before = explainer.scores()[0]
    after = []
    for mask in masks:
        change = partial(_removed, torch.from_numpy(mask), begin)
        with intervene(explainer.model, Intervention(place.module, change, "removed")):
            after.append(explainer.scores()[0])
    return np.asarray(before - np.array(after))


def _removed(mask: Tensor, begin: Tensor | None, output: Tensor) -> Tensor:
    """Return the output with other features, or 0, in some cells."""
    other = torch.zeros_like(output) if begin is None else begin.to(output)
    return torch.where(mask.to(output.device), other, output)
