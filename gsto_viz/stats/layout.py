"""Layout-adjusted maps: what a branch shows beyond what it shows at that place in every image.

Roads lie at the bottom and large, poles stand in the middle and thin: a branch that only knows
rows would look scale-aware. Subtracting its mean map over the data set before ranking removes
that. Only data sets whose images all have one size have a mean map.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gsto_viz.errors import GstoVizError

Maps = Sequence[npt.NDArray[np.floating]]


@dataclass
class LayoutMean:
    """The running mean map of each branch.

    Sums are float64, so float32 maps add up without rounding, in any order and over any shards,
    unless the magnitudes in one cell differ by more than 2^20 over 500 images.
    """

    count: int = 0
    sums: list[npt.NDArray[np.float64]] = field(default_factory=list)
    """Per branch, (h, w)."""

    def update(self, maps: Maps) -> None:
        """Add the activity maps of one image.

        Raises:
            GstoVizError: Their shapes are not those of the images before.
        """
        added = [np.asarray(one, dtype=np.float64) for one in maps]
        if self.count == 0:
            self.sums = [np.zeros_like(one) for one in added]
        self._check(added)
        self.sums = [total + one for total, one in zip(self.sums, added, strict=True)]
        self.count += 1

    def merge(self, other: "LayoutMean") -> None:
        """Add what another accumulator has seen (other images, the same size)."""
        if other.count == 0:
            return
        if self.count == 0:
            self.sums = [np.zeros_like(one) for one in other.sums]
        self._check(other.sums)
        self.sums = [total + one for total, one in zip(self.sums, other.sums, strict=True)]
        self.count += other.count

    def adjust(self, maps: Maps) -> list[npt.NDArray[np.float64]]:
        """Subtract the mean maps; the result goes to ``region_table`` in place of the maps.

        Raises:
            GstoVizError: Nothing was accumulated, or the shapes differ.
        """
        if self.count == 0:
            raise GstoVizError("no image was added, so there is no mean map; call update first")
        given = [np.asarray(one, dtype=np.float64) for one in maps]
        self._check(given)
        return [one - total / self.count for one, total in zip(given, self.sums, strict=True)]

    def _check(self, maps: list[npt.NDArray[np.float64]]) -> None:
        expected, got = [one.shape for one in self.sums], [one.shape for one in maps]
        if expected != got:
            raise GstoVizError(
                f"maps of shapes {got} do not fit a mean map of shapes {expected}; layout-adjusted "
                "maps need images of one size"
            )
