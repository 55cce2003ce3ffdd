"""What the null models say of each index, over images and draws."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gsto_viz.report.plain import as_estimate, plain
from gsto_viz.report.settings import PERMUTATIONS
from gsto_viz.stats.indices import image_indices, index_columns
from gsto_viz.stats.inference import Estimate, estimate
from gsto_viz.stats.nulls import permute_sizes

NULLS = {
    "N1": "annotation shifted on the torus",
    "N2": "annotation of another image",
    "N3": "random weights",
    "N4": "sizes permuted within the image",
    "N4c": "sizes permuted within the image and class",
    "N5": "one common map in place of the branches",
}
"""What each null model breaks; its rows carry the name."""


@dataclass(frozen=True)
class Null:
    """An index under a null model.

    Attributes:
        values: Mean over images of each draw, in the order of the draws.
        estimate: Mean over images of the mean over draws, with its interval over images. For N3 the
            range of the draws counts, not this interval: each draw is another network.
    """

    values: tuple[float, ...]
    estimate: Estimate

    @property
    def mean(self) -> float | None:
        """Mean over images and draws; None when it is not estimated."""
        return self.estimate.value

    @property
    def low(self) -> float | None:
        """The lowest draw; None without draws."""
        return min(self.values, default=None)

    @property
    def high(self) -> float | None:
        """The highest draw; None without draws."""
        return max(self.values, default=None)

    @property
    def n_images(self) -> int:
        """Images that count."""
        return self.estimate.n_images

    @property
    def reason(self) -> str | None:
        """Why it is not estimated, or has no interval."""
        return self.estimate.reason

    def to_json(self) -> dict[str, Any]:
        """Return the estimate's fields and ``draws``."""
        return {**plain(self.estimate), "draws": list(self.values)}


def nulls_beside(values: Mapping[str, Any]) -> dict[str, Null]:
    """Read the null models beside an estimate of ``summary.json``; none where it has none."""
    return {
        name: Null(tuple(one["draws"]), as_estimate(one))
        for name, one in values.get("nulls", {}).items()
    }


def summarise_null(values: pd.DataFrame, clusters: Mapping[str, str], seed: int) -> dict[str, Null]:
    """Summarise the rows of one model and null model.

    Args:
        values: ``draw``, ``image``, ``index``, ``value``, ``pairs``.
        clusters: Cluster of each image.
        seed: Of the bootstrap.

    Returns:
        By index.
    """
    found = {}
    for index, rows in values.groupby("index"):
        draws = rows.groupby("draw")["value"].mean()
        by_image = rows.groupby("image").agg(value=("value", "mean"), pairs=("pairs", "sum"))
        mean = estimate(by_image.reset_index(), clusters, seed)
        found[str(index)] = Null(tuple(draws.tolist()), mean)
    return found


def permuted_values(table: pd.DataFrame, branches: int, depth: float, seed: int) -> pd.DataFrame:
    """Compute the indices of every image with permuted sizes (N4, and N4c within classes).

    Args:
        table: Region table of one model.
        branches: R.
        depth: Smallest depth of regions for ``sci_edge``: the coarsest stride.
        seed: Of the permutations.

    Returns:
        ``null``, ``draw``, ``image``, ``index``, ``value``, ``pairs``.
    """
    rows = []
    names = list(index_columns(branches))
    for null, within in (("N4", False), ("N4c", True)):
        for draw in range(PERMUTATIONS):
            permuted = permute_sizes(table, within_class=within, seed=seed, draw=draw)
            for image, group in permuted.groupby("image"):
                columns = {name: group[name].to_numpy() for name in names}
                indices = image_indices(columns, branches, min_depth_px=depth)
                rows += [
                    (null, draw, image, index, value, pairs)
                    for index, (value, pairs) in indices.items()
                    # Depths are not permuted, so this index is no null of N4.
                    if index != "sci_edge"
                ]
    frame = pd.DataFrame(rows, columns=["null", "draw", "image", "index", "value", "pairs"])
    return frame.astype({"value": np.float64})
