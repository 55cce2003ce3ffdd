"""Measure per-channel gains: one streamed, mergeable pass over calibration images.

Moments are kept in float64 and features are folded into them inside the capture hook, so memory
does not grow with the number of images, and the moments of shards merge to those of the whole.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gsto_viz.capture.core import Capture
from gsto_viz.errors import GstoVizError
from gsto_viz.gains import Gains, gains_from_tensors, gains_to_tensors
from gsto_viz.torch_utils import as_batch, eval_mode, run_network, unwrap
from gsto_viz.types import Tap

__all__ = [
    "ChannelMoments",
    "Gains",
    "calibrate",
    "channel_moments",
    "gains_from_tensors",
    "gains_to_tensors",
    "to_gains",
]

LIVE_FRACTION = 1e-6
"""A channel is live when its standard deviation exceeds this share of its largest magnitude."""


class ChannelMoments:
    """Count, mean, squared deviations and largest magnitude of each channel, over all cells.

    Batches are joined by the pairwise update of Chan, Golub and LeVeque (1979), which does not lose
    digits when the mean is large against the deviation.

    Attributes:
        count: Cells seen so far.
        mean: (C,) float64.
        m2: (C,) float64, sum of squared deviations from the mean.
        max_abs: (C,) float64, largest |F|.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: npt.NDArray[np.float64] = np.zeros(0)
        self.m2: npt.NDArray[np.float64] = np.zeros(0)
        self.max_abs: npt.NDArray[np.float64] = np.zeros(0)

    def update(self, features: Tensor | npt.NDArray[np.floating]) -> None:
        """Fold in all cells of ``features``, (N, C, H, W).

        Raises:
            GstoVizError: Wrong shape, another number of channels than before, or values that are
                not finite.
        """
        tensor = torch.as_tensor(features).detach().cpu().to(torch.float64)
        if tensor.ndim != 4:
            raise GstoVizError(f"moments need features (N, C, H, W), got {tuple(tensor.shape)}")
        cells = tensor.transpose(0, 1).flatten(1)
        if cells.shape[1] == 0:
            return
        largest = cells.abs().amax(dim=1)
        if not bool(torch.isfinite(largest).all()):
            raise GstoVizError(
                "features hold NaN or infinite values; check the weights and the normalisation"
            )
        mean = cells.mean(dim=1)
        part = ChannelMoments()
        part.count = cells.shape[1]
        part.mean = mean.numpy()
        part.m2 = (cells - mean[:, None]).square().sum(dim=1).numpy()
        part.max_abs = largest.numpy()
        self.merge(part)

    def merge(self, other: "ChannelMoments") -> None:
        """Fold in the moments of other cells; ``other`` stays as it is.

        Raises:
            GstoVizError: The numbers of channels differ.
        """
        if other.count == 0:
            return
        if self.count == 0:
            self.count = other.count
            self.mean, self.m2 = other.mean.copy(), other.m2.copy()
            self.max_abs = other.max_abs.copy()
            return
        if self.mean.shape != other.mean.shape:
            raise GstoVizError(
                f"cannot merge moments of {len(self.mean)} and {len(other.mean)} channels; "
                "they are of different networks or taps"
            )
        total = self.count + other.count
        step = other.mean - self.mean
        self.mean = self.mean + step * (other.count / total)
        self.m2 = self.m2 + other.m2 + step**2 * (self.count * other.count / total)
        self.max_abs = np.maximum(self.max_abs, other.max_abs)
        self.count = total

    @property
    def sigma(self) -> npt.NDArray[np.float64]:
        """Population standard deviation of each channel, (C,)."""
        if self.count == 0:
            raise GstoVizError("sigma is not estimated: no cell was seen; give at least one image")
        return np.asarray(np.sqrt(self.m2 / self.count))

    @property
    def live(self) -> npt.NDArray[np.bool_]:
        """(C,) bool: sigma > 1e-6 max|F|. A positive gain on a channel does not change it."""
        return np.asarray(self.sigma > LIVE_FRACTION * self.max_abs)

    def gains(self) -> Gains:
        """Return sigma and live.

        Raises:
            GstoVizError: Not estimated, because no cell was seen or no channel is live.
        """
        live = self.live
        if not live.any():
            raise GstoVizError(
                f"gains are not estimated: none of {len(live)} channels varies over {self.count} "
                "cells; use other calibration images or trained weights"
            )
        return Gains(self.sigma, live)


@torch.no_grad()
def channel_moments(
    model: nn.Module,
    images: Iterable[Tensor],
    taps: str | Sequence[str] | Mapping[str, Tap | str] = "stage4.branch*",
) -> dict[str, ChannelMoments]:
    """Run images through a network in evaluation mode and collect the moments of its taps.

    Training flags are restored afterwards, also when something raises. To merge shards, call it on
    each and ``merge`` tap by tap.

    Args:
        model: Any network with float32 weights.
        images: Normalised images, (3, H, W) or (N, 3, H, W) each; sizes may differ. They are moved
            to the network's device.
        taps: As ``Capture`` takes them.

    Returns:
        Moments by canonical tap name.

    Raises:
        GstoVizError: Unknown or silent taps, a module called twice, a network that is not float32,
            no images, one that the network does not take, or features that are not finite.
    """
    network, _ = unwrap(model)
    device = float32_device(network)
    names = [place.name for place in Capture(network, taps).places]
    moments = {name: ChannelMoments() for name in names}
    fold = {name: partial(_fold, moments[name]) for name in names}
    capture = Capture(network, taps, reduce=fold)
    with eval_mode(network), torch.autocast(device.type, enabled=False):
        for image in images:
            with capture as maps:
                run_network(network, as_batch(image).to(device, torch.float32))
            for name in maps:
                maps[name]  # raises for a module that was called twice in one pass
    if not any(part.count for part in moments.values()):
        raise GstoVizError("gains are not estimated: there are no calibration images; give some")
    return moments


def to_gains(moments: Mapping[str, ChannelMoments]) -> dict[str, Gains]:
    """Turn moments into gains.

    Raises:
        GstoVizError: Not estimated for a tap (it is named).
    """
    gains: dict[str, Gains] = {}
    for name, part in moments.items():
        try:
            gains[name] = part.gains()
        except GstoVizError as error:
            raise GstoVizError(f"tap '{name}': {error}") from error
    return gains


def calibrate(
    model: nn.Module,
    images: Iterable[Tensor],
    taps: str | Sequence[str] | Mapping[str, Tap | str] = "stage4.branch*",
) -> dict[str, Gains]:
    """Measure the gains of taps; arguments, state and errors as in ``channel_moments``.

    Returns:
        Gains by canonical tap name.
    """
    return to_gains(channel_moments(model, images, taps))


def _fold(moments: ChannelMoments, features: Tensor) -> Tensor:
    """Fold features into moments; keep nothing of them."""
    moments.update(features)
    return torch.empty(0)


def float32_device(network: nn.Module) -> torch.device:
    """Return where a float32 network lives.

    Raises:
        GstoVizError: It has floating-point weights of another type.
    """
    floats = [p for p in network.parameters() if p.is_floating_point()]
    other = {str(p.dtype) for p in floats if p.dtype != torch.float32}
    if other:
        raise GstoVizError(
            f"calibration runs in float32 and the network has {', '.join(sorted(other))} weights; "
            "call model.float() first, in the factory file where one makes it"
        )
    return floats[0].device if floats else torch.device("cpu")
