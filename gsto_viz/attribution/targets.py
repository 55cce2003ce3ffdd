"""Targets: what number of a network is explained.

A target is evaluated on the grid of the logits, as region tables are: a pixel stands for its cell,
and a region weighs the cells by how many of its pixels each holds. The same entries (cell, class,
weight) serve one target, one target per image of a batch, and all regions of an image at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gsto_viz.activity import grid_stride
from gsto_viz.attribution.areas import Area, View
from gsto_viz.errors import GstoVizError
from gsto_viz.models.outputs import MAIN, Wanted, model_logits
from gsto_viz.regions import GridWeights, PreparedRegions, RegionMap, grid_weights

Score = Literal["margin", "mean", "sum"]
SCORES: tuple[Score, ...] = ("margin", "mean", "sum")
Part = Literal["part", "whole", "core", "band"]


@dataclass(frozen=True)
class Target:
    """An area, what is read there, and from which head.

    Attributes:
        area: Where, and about which class.
        score: ``margin``: mean over the picked pixels of logit_y - max over k != y of logit_k;
            ``mean``: mean of logit_y; ``sum``: sum of logit_y over the pixels. Where the area is
            several regions (``SizeBin``), means give each region the same weight.
        head: ``main``, or a deep-supervision head such as ``stage3``.
    """

    area: Area
    score: Score = "margin"
    head: str = "main"

    def __post_init__(self) -> None:
        if self.score not in SCORES:
            raise GstoVizError(f"unknown score '{self.score}'; choose {', '.join(SCORES)}")

    def __str__(self) -> str:
        return f"{self.score} of {self.area} at head {self.head}"


@dataclass(frozen=True, eq=False)
class Entries:
    """T scores as sparse weights on (cell, class), sorted by cell.

    Score t is the sum, over the entries e with ``target[e] == t``, of weight[e] times the logit of
    class_id[e] at cell[e]; with ``margin``, times that logit minus the largest of the others.
    """

    target: npt.NDArray[np.int64]
    """(E,) 0..T-1."""
    cell: npt.NDArray[np.int64]
    """(E,) flat index, row * w + column."""
    class_id: npt.NDArray[np.int64]
    """(E,) 0..K-1."""
    weight: npt.NDArray[np.float64]
    """(E,)"""
    count: int
    """T."""
    grid: tuple[int, int]
    """(h, w) of the logits."""
    margin: bool

    def within(self, start: int, stop: int) -> "Entries":
        """Return the entries in cells start..stop-1, counted from ``start``."""
        first, last = np.searchsorted(self.cell, [start, stop])
        part = slice(int(first), int(last))
        return replace(
            self,
            target=self.target[part],
            cell=self.cell[part] - start,
            class_id=self.class_id[part],
            weight=self.weight[part],
        )

    def scores(self, logits: Tensor) -> Tensor:
        """Read the scores; differentiable.

        Args:
            logits: (..., K, cells), cells in the order of ``cell``.

        Returns:
            (..., T) in the unit of the logits.
        """
        device = logits.device
        cell, class_id, target = (
            torch.tensor(array, device=device) for array in (self.cell, self.class_id, self.target)
        )
        own = logits[..., class_id, cell]
        if self.margin:
            best, runner_up = top_two(logits)
            first = best[..., cell]
            own = own - torch.where(own == first, runner_up[..., cell], first)
        weighted = own * torch.tensor(self.weight, dtype=own.dtype, device=device)
        zeros = weighted.new_zeros((*weighted.shape[:-1], self.count))
        return zeros.index_add(-1, target, weighted)


def check_grid(entries: Entries, logits: Tensor) -> None:
    """Refuse entries that were made for logits of another grid.

    Raises:
        GstoVizError: Axes 2 and 3 of the logits differ from the grid of the entries.
    """
    grid = tuple(logits.shape[-2:])
    if grid != entries.grid:
        raise GstoVizError(
            f"the target was resolved on a grid of {entries.grid} cells and axes 2 and 3 of the "
            f"logits {tuple(logits.shape)} are {grid}; resolve it for this image"
        )


def joined(parts: Sequence[Entries]) -> Entries:
    """Return several sets of scores of one image as one: those of the first set come first."""
    first = parts[0]
    starts = np.cumsum([0, *(part.count for part in parts)])
    cell = np.concatenate([part.cell for part in parts])
    order = np.argsort(cell, kind="stable")
    target = np.concatenate([part.target + at for part, at in zip(parts, starts, strict=False)])
    return Entries(
        target[order],
        cell[order],
        np.concatenate([part.class_id for part in parts])[order],
        np.concatenate([part.weight for part in parts])[order],
        int(starts[-1]),
        first.grid,
        first.margin,
    )


def top_two(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest and the second largest logit, (..., K, n) -> (..., n) each.

    Two equally large classes give equal numbers.
    """
    best, winner = logits.max(dim=-2, keepdim=True)
    others = logits.scatter(-2, winner, float("-inf"))
    return best.squeeze(-2), others.amax(dim=-2)


def head_logits(output: Any, head: str = MAIN) -> Tensor:
    """Return the logits of one head of a network's output, (N, K, h, w).

    Raises:
        GstoVizError: There is no such head, or several could be the main one; they are named.
    """
    return model_logits(output, Wanted(output=head))


def stride_of(size: tuple[int, int], grid: tuple[int, int]) -> int:
    """Return the pixels per cell of a grid (h, w) over an image (H, W), as ``grid_stride``.

    Raises:
        GstoVizError: No whole number of pixels gives this grid.
    """
    stride = grid_stride(size, grid)
    if stride is None:
        raise GstoVizError(
            f"axes 2 and 3 of the logits are {grid}, which is not a grid of an image {size}; "
            "resize the logits, or give the image that they were made from"
        )
    return stride


def resolve(target: Target, view: View, shape: Sequence[int]) -> Entries:
    """Turn one target into entries on the grid of the logits.

    Args:
        target: What to read.
        view: The image it refers to.
        shape: Of the logits, (N, K, h, w).

    Raises:
        GstoVizError: The target does not fit the image or the logits: one sentence that names the
            tensor's shape and the axis.
    """
    grid = int(shape[-2]), int(shape[-1])
    if target.score == "margin" and view.heat_maps is not None:
        raise GstoVizError(
            "joints do not exclude one another, so heat maps have no margins; take score='mean', "
            "the value of the heat map"
        )
    selection = target.area.select(view)
    stride = stride_of(view.size, grid)
    rows, columns = np.nonzero(selection.group)
    group, class_id = selection.group[rows, columns], selection.class_id[rows, columns]
    _check_classes(class_id, shape, target.score == "margin")
    sizes = np.bincount(group).astype(np.float64)
    groups = np.count_nonzero(sizes)
    each = np.ones(group.size) if target.score == "sum" else 1.0 / (groups * sizes[group])
    cell = rows // stride * grid[1] + columns // stride
    keys, index = np.unique(cell * int(shape[1]) + class_id, return_inverse=True)
    weight = np.bincount(index, each).astype(np.float64)
    cells, classes = np.divmod(keys, int(shape[1]))
    one = np.zeros(keys.size, dtype=np.int64)
    return Entries(one, cells, classes, weight, 1, grid, target.score == "margin")


def _check_classes(class_id: npt.NDArray[np.integer], shape: Sequence[int], margin: bool) -> None:
    """Refuse classes that the logits do not have."""
    if class_id.size and not 0 <= class_id.min() <= class_id.max() < shape[1]:
        wrong = class_id.min() if class_id.min() < 0 else class_id.max()
        raise GstoVizError(
            f"class {wrong} lies outside axis 1 of the logits {tuple(shape)}, which has classes 0 "
            f"to {shape[1] - 1}; take a network of these classes"
        )
    if margin and shape[1] < 2:
        raise GstoVizError(
            f"axis 1 of the logits {tuple(shape)} has one class, so there is no margin; take "
            "score='mean'"
        )


def resolve_batch(
    targets: Target | Sequence[Target], views: View | Sequence[View], shape: Sequence[int]
) -> tuple[Entries, ...]:
    """Turn one target, or one per image, into the entries of every image of a batch.

    Args:
        targets: One for all images, or N of them.
        views: One for all images, or N of them.
        shape: Of the logits, (N, K, h, w).

    Raises:
        GstoVizError: Their number is neither 1 nor N, two heads are asked, or as ``resolve``.
    """
    asked = [targets] if isinstance(targets, Target) else list(targets)
    seen = [views] if isinstance(views, View) else list(views)
    for what, given in (("targets", asked), ("views", seen)):
        if len(given) not in (1, shape[0]):
            raise GstoVizError(
                f"{len(given)} {what} do not fit axis 0 of the logits {tuple(shape)}, which has "
                f"{shape[0]} images; give one, or one for each image"
            )
    heads = {target.head for target in asked}
    if len(heads) > 1:
        raise GstoVizError(
            f"the targets of one batch ask the heads {', '.join(sorted(heads))}; ask one head"
        )
    pairs = zip(asked * (shape[0] // len(asked)), seen * (shape[0] // len(seen)), strict=True)
    return tuple(resolve(target, view, shape) for target, view in pairs)


def region_entries(
    regions: RegionMap | PreparedRegions,
    shape: Sequence[int],
    *,
    part: Part = "part",
    classes: npt.NDArray[np.integer] | None = None,
) -> Entries:
    """Return the margins of all regions of an image as entries; score k belongs to region k + 1.

    Args:
        regions: K regions of the image; prepared ones save the counting of pixels.
        shape: Of the logits, (1, K', h, w).
        part: Which pixels: ``part`` as region tables read it (the core if it has 64 px, else the
            whole region), ``whole``, ``core`` or ``band``. A region without such pixels scores 0;
            see ``region_pixels``.
        classes: (K,) the class each region is asked about; None: its own.

    Raises:
        GstoVizError: A class is not among the logits, or the grid is not that of the image.
    """
    regions, grid = _on_grid(regions, (int(shape[-2]), int(shape[-1])))
    asked = regions.class_id if classes is None else np.asarray(classes, dtype=np.int64)
    _check_classes(asked, shape, margin=True)
    counts = _part_counts(regions, grid, part)
    total = np.bincount(grid.region, counts, minlength=len(regions))
    keep = np.flatnonzero(counts)
    keep = keep[np.argsort(grid.cell[keep], kind="stable")]
    region = grid.region[keep]
    weight = counts[keep] / total[region]
    cell, class_id = grid.cell[keep], asked[region].astype(np.int64)
    return Entries(region, cell, class_id, weight, len(regions), grid.shape, margin=True)


def peak_entries(
    regions: RegionMap | PreparedRegions,
    heat_maps: npt.NDArray[np.floating],
    *,
    joints: npt.NDArray[np.integer] | None = None,
) -> Entries:
    """Return how high heat maps peak in each region of an image as entries, a mean over joints.

    The peak of a joint is the greatest of the cells that hold a pixel of the region, the first of
    equals: joints lie at the edge of a person as often as inside, so no core is taken.

    Args:
        regions: K regions of the image.
        heat_maps: (J, h, w).
        joints: (K,) the joint each region is asked about; None: the mean over all J.

    Raises:
        GstoVizError: A joint has no heat map, or the grid is not that of the image.
    """
    cut, grid = _on_grid(regions, (int(heat_maps.shape[-2]), int(heat_maps.shape[-1])))
    asked, start = np.unique(grid.region, return_index=True)
    values = heat_maps.reshape(len(heat_maps), -1)[:, grid.cell]
    orders = (np.lexsort((grid.cell, -row, grid.region)) for row in values)
    peaks = np.stack([grid.cell[order[start]] for order in orders])
    if joints is None:
        joint, place = np.indices(peaks.shape).reshape(2, -1)
        weight = np.full(joint.size, 1 / len(heat_maps))
    else:
        _check_classes(joints, (1, *heat_maps.shape), margin=False)
        joint, place = joints[asked].astype(np.int64), np.arange(asked.size)
        weight = np.ones(joint.size)
    cell = peaks[joint, place]
    order = np.argsort(cell, kind="stable")
    target = asked[place][order]
    return Entries(target, cell[order], joint[order], weight, len(cut), grid.shape, margin=False)


def _on_grid(
    regions: RegionMap | PreparedRegions, shape: tuple[int, int]
) -> tuple[RegionMap, GridWeights]:
    """Return the regions and their pixel counts in the cells of the grid (h, w) of the logits."""
    cut = regions.regions if isinstance(regions, PreparedRegions) else regions
    stride = stride_of((int(cut.ids.shape[0]), int(cut.ids.shape[1])), shape)
    if isinstance(regions, PreparedRegions) and stride in regions.strides:
        return cut, regions.grids[regions.strides.index(stride)]
    return cut, grid_weights(cut, stride)


def _part_counts(regions: RegionMap, grid: GridWeights, part: Part) -> npt.NDArray[np.int64]:
    """Return the pixels of the asked part of each region in each of its cells."""
    if part != "part":
        return grid.counts[part]
    takes_core = regions.part[grid.region] == "core"
    return np.where(takes_core, grid.counts["core"], grid.counts["whole"]).astype(np.int64)
