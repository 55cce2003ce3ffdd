"""Exact Shapley values of the branches, for one target, for every cell, for all regions at once.

With R branches there are 2^R coalitions, and because the head is affine in its branches up to the
ReLU (see ``head``), all of them cost one backbone pass, one low-resolution product per branch, and
2^R times an addition, a ReLU and the classifier. Absent branches are at their baseline.

``shapley`` walks over the cells again for each set of targets and keeps nothing, which suits a data
set. Here everything is kept, which suits a person who asks about one place after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import factorial

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from gsto_viz.attribution.head import (
    HeadPass,
    check_baseline,
    coalition_logits,
    head_pass,
)
from gsto_viz.attribution.targets import (
    Entries,
    Part,
    check_grid,
    joined,
    peak_entries,
    region_entries,
)
from gsto_viz.errors import GstoVizError
from gsto_viz.network import Baseline
from gsto_viz.regions import PreparedRegions, RegionMap
from gsto_viz.types import FloatArray, Stride


def exact_shapley(values: npt.NDArray[np.floating]) -> FloatArray:
    r"""Compute Shapley values from the value of every coalition.

    .. math:: \psi_r = \sum_{S \not\ni r} \frac{|S|! (R - |S| - 1)!}{R!} [v(S + r) - v(S)]

    Args:
        values: (2^R, ...): v(S), with player r in S where bit r of the index is set.

    Returns:
        (R, ...); they sum to v(all) - v(none).
    """
    values = np.asarray(values, dtype=np.float64)
    players = values.shape[0].bit_length() - 1
    if values.shape[0] != 1 << players or players == 0:
        raise GstoVizError(f"{values.shape[0]} coalitions are not a power of two; give 2^R values")
    result = np.zeros((players, *values.shape[1:]))
    for coalition in range(1 << players):
        size = coalition.bit_count()
        for player in range(players):
            if not coalition >> player & 1:
                weight = factorial(size) * factorial(players - size - 1) / factorial(players)
                gain = values[coalition | 1 << player] - values[coalition]
                result[player] += weight * gain
    return result


@dataclass(frozen=True, eq=False)
class BranchShapley:
    """Shapley values and shares of R branches for T targets of one image.

    Attributes:
        baseline: What absent branches were.
        values: (2^R, T): the score of every coalition, in logits.
        psi: (R, T): Shapley values, in logits.
        phi: (R, T): shares; each column sums to 1; NaN where nothing differs from the baseline.
        sum_error: How far bias plus contributions of all branches is from the network's own logits:
            the greatest difference of any logit, relative to the greatest logit. Rounding, about
            1e-6 in float32.
    """

    baseline: str
    values: FloatArray
    psi: FloatArray
    phi: FloatArray
    sum_error: float

    @property
    def present(self) -> FloatArray:
        """(T,): the score with all branches."""
        return np.asarray(self.values[-1])

    @property
    def absent(self) -> FloatArray:
        """(T,): the score with every branch at its baseline."""
        return np.asarray(self.values[0])

    @property
    def ablation(self) -> FloatArray:
        """(R, T): the drop of the score when one branch alone is absent."""
        full = len(self.values) - 1
        return np.stack([self.present - self.values[full ^ 1 << r] for r in range(len(self.psi))])

    @property
    def efficiency_error(self) -> float:
        """Greatest |sum of psi - (present - absent)|, in logits: rounding."""
        gap = self.psi.sum(axis=0) - (self.present - self.absent)
        return float(np.abs(gap).max(initial=0.0))


@torch.no_grad()
def branch_shapley(seen: HeadPass, baseline: Baseline, entries: Entries) -> BranchShapley:
    r"""Compute shares and exact Shapley values of the branches of one image.

    The share of branch r at target x is

    .. math:: \phi_r = \sum_p w(p) \langle \tilde h_r(p), \tilde h(p) \rangle
              / \sum_p w(p) \| \tilde h(p) \|^2

    with h~_r = h_r - h_r(baseline), h~ their sum and w the target's weights; it is the exact
    Shapley value of v(S) = || sum over S of h~_r ||^2, and may be negative.

    Args:
        baseline: For absent branches.
        entries: T targets on the grid of the logits.
    """
    check_grid(entries, seen.logits)
    base, deltas = split_pass(seen, baseline)
    branches = len(deltas)
    values = np.zeros((1 << branches, entries.count))
    dots = np.zeros((branches, entries.count))
    own = seen.logits[0].flatten(1)
    error = 0.0
    for start, logits in coalition_logits(seen.head, base, deltas):
        stop = start + logits.shape[-1]
        error = max(error, float((logits[-1] - own[:, start:stop]).abs().max()))
        part = entries.within(start, stop)
        if part.cell.size == 0:
            continue
        values += part.scores(logits.double()).cpu().numpy()
        dots += by_target(cell_products(deltas, slice(start, stop)), part)
    error /= float(own.abs().max()) or 1.0
    return BranchShapley(baseline.name, values, exact_shapley(values), shares(dots), error)


def branch_values(found: BranchShapley) -> tuple[FloatArray, float]:
    """Return the Shapley values of one target, and the change of the score that they add up to."""
    return found.psi[:, 0], float(found.present[0] - found.absent[0])


def branch_shares(found: BranchShapley) -> tuple[FloatArray, float]:
    """Return the shares of one target; they add up to 1."""
    return found.phi[:, 0], 1.0


def branch_removals(found: BranchShapley) -> tuple[FloatArray, None]:
    """Return what the score of one target loses without each branch; no sum is promised."""
    return found.ablation[:, 0], None


def split_pass(seen: HeadPass, baseline: Baseline) -> tuple[Tensor, list[Tensor]]:
    """Return the hidden layer at the baseline, (D, n), and what each branch adds, (D, n) each."""
    if seen.logits.shape[0] != 1:
        raise GstoVizError(
            f"axis 0 of the logits {tuple(seen.logits.shape)} has {seen.logits.shape[0]} images; "
            "explain one image at a time"
        )
    check_baseline(baseline, seen.branches, seen.declared.name)
    cells = seen.logits.shape[-2] * seen.logits.shape[-1]
    absent = _on_finest(seen, baseline)
    base = (sum(absent[1:], absent[0]) + seen.head.bias[:, None]).expand(-1, cells)
    present = seen.contributions
    deltas = [own[0].flatten(1) - other for own, other in zip(present, absent, strict=True)]
    return base, deltas


def _on_finest(seen: HeadPass, baseline: Baseline) -> list[Tensor]:
    """Return h_r of the baseline, (D, 1) where it is one number per channel, else (D, n)."""
    parts = []
    finest = tuple(seen.branches[0].shape[-2:])
    for r, features in enumerate(baseline.features):
        parts.append(seen.head.contribution(r, features, finest)[0].flatten(1))
    return parts


def cell_products(deltas: Sequence[Tensor], cells: slice) -> FloatArray:
    """Return <h~_r(p), h~(p)> at some cells p: (R, cells)."""
    own = torch.stack([delta[:, cells] for delta in deltas])
    return (own * own.sum(dim=0)).sum(dim=1, dtype=torch.float64).cpu().numpy()


def by_target(products: FloatArray, entries: Entries) -> FloatArray:
    """Sum what each cell has over the entries of each target: (R, cells) -> (R, T)."""
    weighted = entries.weight * products[:, entries.cell]
    return np.stack([np.bincount(entries.target, row, minlength=entries.count) for row in weighted])


def shares(products: FloatArray) -> FloatArray:
    """Divide by the sum over branches: (R, ...) -> (R, ...); NaN where that is not above 0."""
    total = products.sum(axis=0)
    phi = np.full_like(products, np.nan)
    return np.divide(products, total, out=phi, where=total > 0)


@torch.no_grad()
def shapley_maps(
    seen: HeadPass, baseline: Baseline, class_id: int | npt.NDArray[np.integer]
) -> FloatArray:
    """Compute the Shapley values of the margin at every cell; of the heat map in a pose network.

    Args:
        baseline: For absent branches.
        class_id: The class or joint that is explained, or one for each cell, (h, w).

    Returns:
        (R, h, w) in logits; at each cell they sum to its margin minus its margin at the baseline.
    """
    grid = int(seen.logits.shape[-2]), int(seen.logits.shape[-1])
    count = grid[0] * grid[1]
    classes = np.broadcast_to(np.asarray(class_id, dtype=np.int64), grid).ravel()
    cells, ones = np.arange(count), np.ones(count)
    margin = seen.margins
    entries = Entries(cells, cells, classes, ones, count, grid, margin)
    base, deltas = split_pass(seen, baseline)
    psi = np.zeros((len(deltas), count))
    for start, logits in coalition_logits(seen.head, base, deltas):
        width = logits.shape[-1]
        part = entries.within(start, start + width)
        local = Entries(part.cell, part.cell, part.class_id, part.weight, width, grid, margin)
        values = local.scores(logits.double()).cpu().numpy()
        psi[:, start : start + width] = exact_shapley(values)
    return psi.reshape(-1, *grid)


def asked_classes(seen: HeadPass, entries: Entries) -> npt.NDArray[np.int64]:
    """Return the class that the margin of each cell is explained for, (h, w).

    The target's own class where it asks about one; where it asks about several, each cell's
    predicted class, and inside the target the class with the most weight in the cell.
    """
    asked = np.unique(entries.class_id)
    if asked.size == 1:
        return np.full(entries.grid, asked[0], dtype=np.int64)
    classes = seen.logits[0].argmax(dim=0).cpu().numpy().astype(np.int64).ravel()
    order = np.argsort(entries.weight, kind="stable")
    classes[entries.cell[order]] = entries.class_id[order]
    return classes.reshape(entries.grid)


@dataclass(frozen=True, eq=False)
class RegionShapley:
    """Columns for a region table, and how exact they are.

    Attributes:
        table: One row per region, in order: ``region``, ``margin`` and ``margin_base`` (logits,
            with all branches and with none), ``phi_{r}`` (shares) and ``psi_{r}`` (logits). Null
            where the region has no pixel of the asked part. Of a network for pose, what stands in
            place of the margin is how high heat maps peak in the region, see ``peak_entries``.
        baseline: What absent branches were.
        sum_error: Of the split against the network's own logits, relative (see ``BranchShapley``).
        efficiency_error: Of the sum of psi, in logits.
    """

    table: pd.DataFrame
    baseline: str
    sum_error: float
    efficiency_error: float


def region_shapley(
    model: nn.Module,
    image: Tensor,
    regions: RegionMap | PreparedRegions,
    baseline: Baseline,
    *,
    part: Part = "part",
    classes: npt.NDArray[np.integer] | None = None,
) -> RegionShapley:
    """Explain all regions of one image by the branches, in one forward pass.

    What is explained is their margins; of a network for pose, how high heat maps peak in them.

    Args:
        image: (1, 3, H, W), normalised, on the network's device.
        regions: The regions of this image, at network-input size, prepared or not.
        baseline: For absent branches; also says which head.
        part: Which pixels of a region, as ``region_entries``; ``part`` is what ``z_{r}`` and ``q``
            of region tables read. Peaks are those of whole regions.
        classes: (K,) the class or joint each region is asked about; None: its own class, or the
            mean over all joints.

    Raises:
        GstoVizError: The network has no such head, the baseline does not fit, or a class is not
            among the logits.
    """
    seen = head_pass(model, image, baseline.head)
    asked = None if classes is None else [classes]
    return shapley_tables(seen, baseline, [regions], part=part, classes=asked)[0]


def shapley_tables(
    seen: HeadPass,
    baseline: Baseline,
    cuts: Sequence[RegionMap | PreparedRegions],
    *,
    part: Part = "part",
    classes: Sequence[npt.NDArray[np.integer]] | None = None,
) -> list[RegionShapley]:
    """Explain the regions of one image, cut in several ways, from one pass.

    Every coalition of branches is computed once for all of them, so null models, which move the
    annotation, cost little more than the annotation itself.

    Args:
        baseline: For absent branches.
        cuts: Sets of regions of this image's size.
        part: Which pixels of a region, as ``region_shapley``.
        classes: For each set, what each region is asked about, as ``region_shapley``.

    Returns:
        One per set.

    Raises:
        GstoVizError: The baseline does not fit, or a class is not among the logits.
    """
    asked = [None] * len(cuts) if classes is None else classes
    entries = [_entries(seen, regions, part, own) for regions, own in zip(cuts, asked, strict=True)]
    every = joined(entries)
    found = branch_shapley(seen, baseline, every)
    known = np.bincount(every.target, every.weight, minlength=every.count) > 0
    columns: dict[str, npt.NDArray] = {"margin": found.present, "margin_base": found.absent}
    columns |= {f"phi_{r}": row for r, row in enumerate(found.phi)}
    columns |= {f"psi_{r}": row for r, row in enumerate(found.psi)}
    table = pd.DataFrame(columns)
    table[~known] = np.nan
    tables, start = [], 0
    for part_of in entries:
        own = table.iloc[start : start + part_of.count].reset_index(drop=True)
        own.insert(0, "region", np.arange(1, part_of.count + 1))
        tables.append(RegionShapley(own, baseline.name, found.sum_error, found.efficiency_error))
        start += part_of.count
    return tables


def _entries(
    seen: HeadPass,
    regions: RegionMap | PreparedRegions,
    part: Part,
    classes: npt.NDArray[np.integer] | None,
) -> Entries:
    """Return what regions are asked: about classes by their margin, about joints by their peak."""
    if seen.margins:
        return region_entries(regions, tuple(seen.logits.shape), part=part, classes=classes)
    return peak_entries(regions, seen.logits[0].cpu().numpy(), joints=classes)


@dataclass(frozen=True, eq=False)
class EvidenceField:
    """All coalitions of R branches at all cells of one image.

    Attributes:
        baseline: What absent branches are.
        strides: Of the branches, the finest first.
        grid: (h, w) of the logits.
        logits: (2^R, K, h * w): with branch r present where bit r of the first index is set.
        products: (R, h * w): <h~_r, h~> of :func:`gsto_viz.attribution.shapley.branch_shapley`.
        sum_error: How far bias plus contributions of all branches is from the network's own logits,
            relative to the greatest logit.
    """

    baseline: str
    strides: tuple[Stride, ...]
    grid: tuple[int, int]
    logits: Tensor
    products: FloatArray
    sum_error: float

    def explain(self, entries: Entries) -> BranchShapley:
        """Return shares and exact Shapley values of T targets; only their cells are read.

        Raises:
            GstoVizError: The targets lie on another grid.
        """
        if entries.grid != self.grid:
            raise GstoVizError(
                f"the targets lie on the grid {entries.grid} and the logits on {self.grid}; "
                "resolve them for these logits"
            )
        cells, cell = np.unique(entries.cell, return_inverse=True)
        local = replace(entries, cell=cell, grid=(1, cells.size))
        logits = self.logits[..., torch.from_numpy(cells).to(self.logits.device)]
        values = local.scores(logits.double()).cpu().numpy()
        phi = shares(by_target(self.products[:, cells], local))
        return BranchShapley(self.baseline, values, exact_shapley(values), phi, self.sum_error)

    def shapley_maps(self, class_id: int, *, margin: bool = True) -> FloatArray:
        """Return the Shapley values of a class at every cell, (R, h, w) in logits.

        Args:
            class_id: The class.
            margin: Of its margin over the next class; else of its logit.
        """
        count = self.grid[0] * self.grid[1]
        cells = np.arange(count)
        classes = np.full(count, class_id, dtype=np.int64)
        every = Entries(cells, cells, classes, np.ones(count), count, self.grid, margin)
        values = every.scores(self.logits).double().cpu().numpy()
        return exact_shapley(values).reshape(-1, *self.grid)

    def share_maps(self) -> npt.NDArray[np.float64]:
        """Return the shares at every cell, (R, h, w); NaN where nothing differs from absence."""
        return shares(self.products).reshape(-1, *self.grid)


@torch.no_grad()
def evidence_field(seen: HeadPass, baseline: Baseline) -> EvidenceField:
    """Compute all coalitions at all cells, 2^R * K numbers for each.

    Args:
        baseline: For absent branches.

    Raises:
        GstoVizError: More than one image, or a baseline of another head or size.
    """
    base, deltas = split_pass(seen, baseline)
    own = seen.logits[0].flatten(1)
    logits = own.new_empty(1 << len(deltas), *own.shape)
    products = np.empty((len(deltas), own.shape[1]))
    for start, part in coalition_logits(seen.head, base, deltas):
        cells = slice(start, start + part.shape[-1])
        logits[..., cells] = part
        products[:, cells] = cell_products(deltas, cells)
    error = float((logits[-1] - own).abs().max()) / (float(own.abs().max()) or 1.0)
    grid = int(seen.logits.shape[-2]), int(seen.logits.shape[-1])
    return EvidenceField(baseline.name, seen.declared.strides, grid, logits, products, error)
