"""What all coalitions of branches say at every cell of one image: any target is answered at once.

``shapley`` walks over the cells again for each set of targets and keeps nothing, which suits a data
set. Here everything is kept, which suits a person who asks about one place after the other.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gsto_viz.attribution.baselines import Baseline
from gsto_viz.attribution.head import HeadPass, coalition_logits
from gsto_viz.attribution.shapley import (
    BranchShapley,
    FloatArray,
    by_target,
    cell_products,
    exact_shapley,
    shares,
    split_pass,
)
from gsto_viz.attribution.targets import Entries
from gsto_viz.errors import GstoVizError


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
    strides: tuple[int, ...]
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
        seen: A pass of one image.
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
    return EvidenceField(baseline.name, seen.place.strides, grid, logits, products, error)
