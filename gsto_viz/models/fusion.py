"""Scale transfers, fusions and transitions: where features cross scales.

Transfer j -> i carries source branch j into target branch i. Each transfer, gate and sum is a named
submodule: ``fusion.transfers.2to0``, its ``gate``, ``fusion.targets.0``.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gsto_viz.models.blocks import ConvBN, Resize, resizes, spatial_size
from gsto_viz.models.config import HRNetConfig
from gsto_viz.models.gates import (
    ChannelGate,
    GatedScaleTransfer,
    SpatialGate,
    SupervisedGate,
    UnsupervisedGate,
)


class ScaleTransfer(nn.Module):
    """Conventional transfer j -> i (GSTO Eq. 1 and 2; HRNet's fuse layer), without a gate.

    ``i == j``: identity. ``j > i``: 1x1 convolution with batch norm, then resize to the target's
    exact size. ``j < i``: i - j convolutions 3x3 of stride 2 with batch norm; all but the last keep
    the source's channels and end in ReLU, the last gives the target's channels.
    """

    def __init__(self, source: int, target: int, config: HRNetConfig) -> None:
        super().__init__()
        momentum = config.bn_momentum
        in_channels, out_channels = config.widths[source], config.widths[target]
        self.convs: nn.Module = nn.Identity()
        self.resize: Resize | None = None
        if source > target:
            self.convs = ConvBN(
                in_channels, out_channels, kernel_size=1, relu=False, bn_momentum=momentum
            )
            self.resize = Resize(config.resize_mode, align_corners=config.align_corners)
        elif source < target:
            steps = target - source
            keep = [
                ConvBN(in_channels, in_channels, stride=2, bn_momentum=momentum)
                for _ in range(steps - 1)
            ]
            last = ConvBN(in_channels, out_channels, stride=2, relu=False, bn_momentum=momentum)
            self.convs = nn.Sequential(*keep, last)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """(N, C_j, h_j, w_j) -> (N, C_i, *size), where ``size`` is the target branch's."""
        moved: Tensor = self.convs(x)
        return moved if self.resize is None else self.resize(moved, size)


class FusionSum(nn.Module):
    """Sum the transferred maps of one target branch, then ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, terms: Sequence[Tensor]) -> Tensor:
        """Sum (N, C_i, h_i, w_i) tensors in source order."""
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        out: Tensor = self.relu(total)
        return out


class Fusion(nn.Module):
    """Exchange between the branches of a module: y_i = ReLU(sum_j T_ij(x_j)).

    Args:
        num_branches: Branches j.
        config: Of the network.
        targets: How many targets i there are, the finest first; None: as many as branches.
    """

    def __init__(
        self, num_branches: int, config: HRNetConfig, *, targets: int | None = None
    ) -> None:
        super().__init__()
        self.num_branches = num_branches
        count = num_branches if targets is None else targets
        self.transfers = nn.ModuleDict()
        for target in range(count):
            for source in range(num_branches):
                self.transfers[f"{source}to{target}"] = _make_transfer(source, target, config)
        self.targets = nn.ModuleList(FusionSum() for _ in range(count))

    def forward(self, branches: Sequence[Tensor]) -> list[Tensor]:
        """Branch r is (N, C_r, h_r, w_r); target r of the result has that shape, in a new list."""
        fused = []
        for target, fusion_sum in enumerate(self.targets):
            size = spatial_size(branches[target])
            terms = [
                self.transfers[f"{source}to{target}"](branches[source], size)
                for source in range(self.num_branches)
            ]
            fused.append(fusion_sum(terms))
        return fused


def _make_transfer(source: int, target: int, config: HRNetConfig) -> nn.Module:
    """Make transfer source -> target, gated (GSTO's GFM) where the configuration says so."""
    transfer = ScaleTransfer(source, target, config)
    if not config.gates_transfer(source, target):
        return transfer
    channels, gating = config.widths[source], config.gating
    if gating is None or not gating.fusion:
        return GatedScaleTransfer(transfer, attention_gate(channels, config))
    gate = UnsupervisedGate(channels, form=gating.form, bn_momentum=config.bn_momentum)
    return GatedScaleTransfer(transfer, gate)


def attention_gate(channels: int, config: HRNetConfig) -> nn.Module:
    """Make a gate of the configuration's attention."""
    assert config.attention is not None
    if config.attention.form == "spatial":
        return SpatialGate()
    return ChannelGate(channels, reduction=config.attention.reduction)


class TransitionResult(NamedTuple):
    """Branches for the next stage, and the deep-supervision logits (None without a head)."""

    branches: list[Tensor]
    logits: Tensor | None


class Transition(nn.Module):
    """Make one new, coarser branch after stage ``stage`` (and narrow branch 0 after stage 1).

    With gates (GSTO's GTM): the source of the new branch is multiplied by ``gate``, which reads
    the logits of ``predictor`` (supervised) or the source itself (unsupervised). All other
    branches go on ungated.
    """

    def __init__(
        self,
        stage: int,
        in_channels: Sequence[int],
        config: HRNetConfig,
        make_predictor: Callable[[Sequence[int]], nn.Module],
    ) -> None:
        super().__init__()
        momentum, gating, widths = config.bn_momentum, config.gating, config.widths
        self.keep = ConvBN(in_channels[0], widths[0], bn_momentum=momentum) if stage == 1 else None
        self.concat = gating is not None and gating.source == "concat" and len(in_channels) > 1
        source_channels = sum(in_channels) if self.concat else in_channels[-1]
        finer = len(in_channels) - 1 if self.concat else 0
        self.resizes = resizes(finer, align_corners=config.align_corners)
        self.predictor: nn.Module | None = None
        self.gate: nn.Module | None = None
        self.supervised = False
        if gating is not None:
            self.supervised = stage in gating.supervised
            if self.supervised or stage in gating.auxiliary_heads:
                self.predictor = make_predictor(in_channels)
            if self.supervised:
                self.gate = SupervisedGate(
                    config.num_classes, stage - 1, form=gating.form, bn_momentum=momentum
                )
            elif stage in gating.unsupervised:
                self.gate = UnsupervisedGate(
                    source_channels, form=gating.form, bn_momentum=momentum
                )
        self.new_branch = ConvBN(source_channels, widths[stage], stride=2, bn_momentum=momentum)

    def forward(self, branches: Sequence[Tensor]) -> TransitionResult:
        """Return the old branches plus the new one, which has half the lowest resolution."""
        logits = None if self.predictor is None else self.predictor(branches)
        source = self.source(branches)
        if self.gate is not None:
            source = source * self.gate(logits if self.supervised else source)
        kept = list(branches) if self.keep is None else [self.keep(branches[0])]
        return TransitionResult([*kept, self.new_branch(source)], logits)

    @property
    def carrier(self) -> nn.Module:
        """What the gated source enters."""
        return self.new_branch

    def source(self, branches: Sequence[Tensor]) -> Tensor:
        """Return what the new branch is made from, before its gate."""
        if not self.concat:
            return branches[-1]
        size = spatial_size(branches[-1])
        finer = zip(self.resizes, branches[:-1], strict=True)
        return torch.cat([*(resize(b, size) for resize, b in finer), branches[-1]], dim=1)
