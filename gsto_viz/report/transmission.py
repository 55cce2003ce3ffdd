"""How much of each gated transfer gets through: sums of squares with the gate and without it.

W is the transfer's first convolution without its bias (the identity on an edge to itself): what it
gives is linear in the feature, and everything behind it sees nothing else.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from gsto_viz.models.fusion import Transition
from gsto_viz.models.gates import GatedScaleTransfer
from gsto_viz.models.hrnet import HRNet
from gsto_viz.stats.gates import effective_transmission


class Transmission:
    """Sums over images, by tap of the gate."""

    def __init__(self) -> None:
        self.gated: dict[str, float] = {}
        self.plain: dict[str, float] = {}

    def add(self, tap: str, convolution: nn.Conv2d | None, feature: Tensor, gate: Tensor) -> None:
        """Add one call of a transfer: feature (N, C, h, w), gate (N, 1, h, w)."""
        for sums, carried in ((self.gated, feature * gate), (self.plain, feature)):
            output = carried if convolution is None else _linear(convolution, carried)
            square = float(output.double().square().sum())
            sums[tap] = sums.get(tap, 0.0) + square

    def shares(self) -> dict[str, float | None]:
        """Return ||W(gF)|| / ||WF|| of each gate; None where the transfer carries nothing."""
        return {
            tap: effective_transmission(gated, self.plain[tap]) for tap, gated in self.gated.items()
        }


def _linear(convolution: nn.Conv2d, feature: Tensor) -> Tensor:
    """Apply a convolution without its bias."""
    return F.conv2d(
        feature,
        convolution.weight,
        None,
        convolution.stride,
        convolution.padding,
        convolution.dilation,
        convolution.groups,
    )


@contextmanager
def watch_transmission(model: nn.Module) -> Iterator[Transmission]:
    """Measure every forward pass of this thread inside the block; hooks are gone afterwards.

    Networks that are none of ours, or have no gates, give no sums.
    """
    found = Transmission()
    handles: list[RemovableHandle] = []
    try:
        if isinstance(model, HRNet):
            thread = threading.get_ident()
            for tap in model.taps().values():
                if tap.kind == "gate":
                    owner = model.get_submodule(tap.module.rpartition(".")[0])
                    handles += _watch(tap.name, owner, found, thread)
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _watch(tap: str, owner: nn.Module, found: Transmission, thread: int) -> list[RemovableHandle]:
    """Put a hook on a gate, which keeps its map, and one on its owner, which adds it up."""
    kept: list[Tensor] = []
    first = next((m for m in _carrier(owner).modules() if isinstance(m, nn.Conv2d)), None)

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if threading.get_ident() == thread:
            kept[:] = [output.detach()]

    def add(module: nn.Module, inputs: tuple[Any, ...], _output: Any) -> None:
        if threading.get_ident() == thread and kept:
            feature = module.source(inputs[0]) if isinstance(module, Transition) else inputs[0]
            with torch.no_grad():
                found.add(tap, first, feature.detach(), kept.pop())

    gate = owner.get_submodule("gate")
    return [gate.register_forward_hook(keep), owner.register_forward_hook(add)]


def _carrier(owner: nn.Module) -> nn.Module:
    """Return what a gate stands in front of."""
    return (
        owner.transfer
        if isinstance(owner, GatedScaleTransfer)
        else owner.get_submodule("new_branch")
    )
