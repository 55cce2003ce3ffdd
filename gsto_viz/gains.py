"""Per-channel gains: what a channel's numbers must be divided by before channels are averaged.

A post-ReLU channel can be multiplied by any positive number without changing the network (the next
layer absorbs it), so a plain channel mean depends on arbitrary gains. Dividing each channel by its
standard deviation over calibration images removes them. This module only holds and stores such
numbers; ``gsto_viz.calibrate`` measures them and ``gsto_viz.capture`` applies them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gsto_viz.errors import GstoVizError

PREFIX = "gains/"
"""Checkpoint tensors of gains are named ``gains/<tap>/sigma`` and ``gains/<tap>/live``."""


@dataclass(frozen=True, eq=False)
class Gains:
    """The gains of one tap with C channels.

    Attributes:
        sigma: (C,) float64, population standard deviation of each channel, in the channel's units.
        live: (C,) bool, channels that vary: ``sigma > 1e-6 * max|F|``. Dead ones are left out of
            channel averages.

    Raises:
        GstoVizError: Shapes differ, no channel is live, or a live channel has no positive finite
            sigma.
    """

    sigma: npt.NDArray[np.float64]
    live: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.sigma.ndim != 1 or self.sigma.shape != self.live.shape:
            raise GstoVizError(
                f"gains need sigma and live of one shape (C,), got {self.sigma.shape} and "
                f"{self.live.shape}; calibrate anew"
            )
        if not self.live.any():
            raise GstoVizError("gains are not estimated: no channel is live; calibrate anew")
        chosen = self.sigma[self.live]
        if not (np.isfinite(chosen).all() and (chosen > 0).all()):
            raise GstoVizError("gains of a live channel must be positive numbers; calibrate anew")

    @property
    def channels(self) -> int:
        """C, dead channels included."""
        return len(self.sigma)

    def weights(self) -> npt.NDArray[np.float64]:
        """Return w, shape (C,), with sum_c w_c F_c = mean over live channels of F_c / sigma_c."""
        weights = np.zeros(len(self.sigma), dtype=np.float64)
        weights[self.live] = 1.0 / (self.sigma[self.live] * np.count_nonzero(self.live))
        return weights


def gains_to_tensors(gains: Mapping[str, Gains]) -> dict[str, Tensor]:
    """Return plain tensors to store in a checkpoint beside the weights (do not cast them to half).

    Returns:
        ``gains/<tap>/sigma``: (C,) float64 and ``gains/<tap>/live``: (C,) bool for each tap.
    """
    tensors: dict[str, Tensor] = {}
    for tap, value in gains.items():
        tensors[f"{PREFIX}{tap}/sigma"] = torch.tensor(value.sigma, dtype=torch.float64)
        tensors[f"{PREFIX}{tap}/live"] = torch.tensor(value.live, dtype=torch.bool)
    return tensors


def gains_from_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Gains]:
    """Read what ``gains_to_tensors`` wrote; tensors of other names are passed over.

    Raises:
        GstoVizError: A tap has only one of its two tensors, or its gains are not usable.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(PREFIX):
            tap, _, part = name.removeprefix(PREFIX).rpartition("/")
            parts.setdefault(tap, {})[part] = tensor
    for tap, found in parts.items():
        if set(found) != {"sigma", "live"}:
            raise GstoVizError(
                f"the stored gains of tap '{tap}' hold {sorted(found)} instead of live and sigma; "
                "the checkpoint is damaged, take another copy"
            )
    return {
        tap: Gains(
            found["sigma"].detach().to("cpu", torch.float64).numpy().copy(),
            found["live"].detach().to("cpu", torch.bool).numpy().copy(),
        )
        for tap, found in parts.items()
    }
