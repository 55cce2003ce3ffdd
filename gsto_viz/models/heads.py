"""Decode heads on ResNets: what makes logits of the features of its four stages, C2 to C5.

PPM (of PSPNet) averages C5 to 6x6, 3x3, 2x2 and 1x1 cells; ASPP (of DeepLabV3) convolves it at
several dilation rates and averages it to one cell. Each is one transfer F -> F_k from the feature
to a scale; the results are brought back to the feature's grid and concatenated.

GSTO's Table 6 gives the scores of both with and without gates; the paper says no more than that
gates stand in front of the transfers, and no code was released. What follows is our reconstruction:
one gate g_k in front of every transfer, F_k = transfer_k(g_k * F), computed from F (unsupervised)
or from the class logits P of one predictor, a 1x1 convolution of F (supervised). The predictor
alone is "deep supervision". The identity path of PPM has no gate. ASPP is that of DeepLabV3, as the
paper names neither version nor rates.

UPerNet (arXiv:1807.10221), DeepLabV3+ (arXiv:1802.02611) and the FCN that concatenates all stages
have the structure of mmsegmentation's UPerHead, DepthwiseSeparableASPPHead and FCNHead (with
``resize_concat``), heads of the paper on scale equalizers, and no gates. Where that code and the
papers differ, as in the 3x3 convolution behind DeepLabV3+'s ASPP, they follow the code; the width
of the FCN is ours.

RSP (arXiv:2106.01744) goes from the coarsest stage to the finest one; each step adds what
``gsto_viz.models.relation`` lets pixels take from the coarser map. No more of the paper was
available: widths, fusion and classifier are ours. It reads the branches of an HRNet, too
(``gsto_viz.models.rsp_hrnet``).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gsto_viz.anatomy import Anatomy, Branch, Head, edge_named, gates_of
from gsto_viz.models.base import NetworkConfig, SegmentationOutput
from gsto_viz.models.blocks import ConvBN, SeparableConvBN, resizes, spatial_size
from gsto_viz.models.config import PyramidConfig, RelationHRNetConfig
from gsto_viz.models.equalizer import equalizers, join
from gsto_viz.models.gates import GatedScaleTransfer, UnsupervisedGate, gate_range
from gsto_viz.models.relation import Relation
from gsto_viz.models.resnet import STRIDES
from gsto_viz.types import Stride, Tap


class PooledTransfer(nn.Module):
    """Average a map to so many cells a side, then a 1x1 convolution with batch norm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, cells: int, momentum: float) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(cells)
        self.unit = ConvBN(in_channels, out_channels, kernel_size=1, bn_momentum=momentum)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, h, w) -> (N, out, cells, cells)."""
        out: Tensor = self.unit(self.pool(x))
        return out


class Joined(nn.Module):
    """Maps that are brought to one grid, equalized and concatenated, and enter a convolution.

    Attributes:
        equalizers: One for each map, or None.
        fuse: One or several convolution units; the first reads the concatenation.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config

    def entrance(self) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
        """Return the convolution that reads the concatenation, and the batch norm behind it."""
        unit = next(one for one in self.get_submodule("fuse").modules() if isinstance(one, ConvBN))
        return unit.conv, unit.bn


class Scales(Joined):
    """The scales of a feature, brought back to its grid, concatenated and fused.

    Attributes:
        scales: Transfers by the number of their branch, finest first, gated where the configuration
            says so.
        predictor: 1x1 convolution that gives the logits of deep supervision, or None.
    """

    config: PyramidConfig

    def __init__(self, in_channels: int, config: PyramidConfig) -> None:
        super().__init__(config)
        channels, momentum, kind = config.channels, config.bn_momentum, config.kind
        self.predictor = nn.Conv2d(in_channels, config.num_classes, 1) if config.predicts else None
        self.scales = nn.ModuleDict(
            {str(number): self._gated(transfer, in_channels)
             for number, transfer in enumerate(self._transfers(in_channels), kind.first)}
        )  # fmt: skip
        self.resizes = resizes(len(config.cells), align_corners=config.align_corners)
        entering = [*[in_channels] * kind.keeps, *[channels] * len(self.scales)]
        self.equalizers = equalizers(entering, wanted=config.equalized)
        units = [
            ConvBN(sum(entering) if index == 0 else channels, channels,
                   kernel_size=side, bn_momentum=momentum)
            for index, side in enumerate(kind.fuses)
        ]  # fmt: skip
        self.fuse: nn.Module = nn.Sequential(*units) if len(units) > 1 else units[0]

    def _transfers(self, in_channels: int) -> Iterator[nn.Module]:
        """Make the transfer to each scale, the finest first."""
        channels, momentum = self.config.channels, self.config.bn_momentum
        unit = SeparableConvBN if self.config.kind.separable else ConvBN
        for rate in self.config.reaches:
            if rate == 1:
                yield ConvBN(in_channels, channels, kernel_size=1, bn_momentum=momentum)
            else:
                yield unit(in_channels, channels, dilation=rate, bn_momentum=momentum)
        for cells in self.config.cells:
            yield PooledTransfer(in_channels, channels, cells, momentum)

    def _gated(self, transfer: nn.Module, in_channels: int) -> nn.Module:
        config = self.config
        if config.gates == "none":
            return transfer
        read = config.num_classes if config.gates == "supervised" else in_channels
        gate = UnsupervisedGate(read, form=config.gate_form, bn_momentum=config.bn_momentum)
        return GatedScaleTransfer(transfer, gate)

    def gather(self, feature: Tensor, evidence: Tensor | None = None) -> Tensor:
        """(N, C, h, w), and the logits that gates read -> (N, channels, h, w)."""
        seen = {"evidence": evidence} if self.config.gates == "supervised" else {}
        maps = [scale(feature, **seen) for scale in self.scales.values()]
        own = [feature] if self.config.kind.keeps else []
        fused: Tensor = self.fuse(join([*own, *maps], self.resizes, self.equalizers))
        return fused


class Context(Scales):
    """The same as a part of a larger head."""

    def forward(self, feature: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, channels, h, w)."""
        return self.gather(feature)


class DecodeHead(Joined):
    """What makes logits of C2 to C5: its forward takes them and returns a ``SegmentationOutput``.

    Attributes:
        classifier: 1x1 convolution that gives the logits.
    """

    def classified(self, hidden: Tensor, **auxiliary: Tensor) -> SegmentationOutput:
        """(N, channels, h, w) -> logits (N, K, h, w); in training some channels are dropped."""
        kept = F.dropout2d(hidden, self.config.head_dropout, self.training)
        return SegmentationOutput(self.get_submodule("classifier")(kept), auxiliary)

    def describe(self, channels: Sequence[int]) -> Anatomy:
        """Name the places of the head called ``head`` behind stages of so many channels."""
        raise NotImplementedError


class Pyramid(Scales, DecodeHead):
    """PPM or ASPP: the scales of C5 at its own stride, with or without gates."""

    def __init__(self, entering: Sequence[int], config: PyramidConfig) -> None:
        super().__init__(entering[-1], config)
        self.classifier = nn.Conv2d(config.channels, config.num_classes, 1)

    def forward(self, stages: Sequence[Tensor]) -> SegmentationOutput:
        """C2..C5 -> logits of the stride of C5 and, with a predictor, its logits, likewise."""
        feature = stages[-1]
        if self.predictor is None:
            return self.classified(self.gather(feature))
        evidence = self.predictor(feature)
        return self.classified(self.gather(feature, evidence), predictor=evidence)

    def describe(self, channels: Sequence[int]) -> Anatomy:
        """All transfers start from one feature, which counts as the finest branch."""
        config, stride = self.config, self.config.kind.strides[-1]
        taps, outputs = [], {"main": "head.logits"}
        if config.predicts:
            taps.append(
                Tap("head.predictor", "head.predictor", stride, config.num_classes, "logits")
            )
            outputs["predictor"] = "head.predictor"
        moved = _scales(config, "head.scales")
        if config.gates != "none":
            taps += [
                Tap(f"pyramid.gate[0->{tap.branch}]", f"{tap.module}.gate", stride, 1, "gate")
                for tap in moved
            ]
        own = _branch(0, "backbone.layer4", stride, channels[-1]) if config.kind.keeps else {}
        found = {**own, **moved}
        # Behind the 1x1 convolution of ASPP stands a 3x3 one, through which branches mix.
        split = len(config.kind.fuses) == 1
        return Anatomy(
            branches=tuple(found.values()),
            heads=(_split(found, sites=("pyramid",)),) if split else (),
            taps=_named(config, [*taps, *found], stride),
            gates=gates_of(taps, gate_range(config.gate_form)),
            transfers=tuple(
                edge_named(f"pyramid.transfer[0->{tap.branch}]", tap.module) for tap in moved
            ),
            outputs=outputs,
        )


class UPerHead(DecodeHead):
    """UPerNet: PPM on C5, whose result is added to the finer stages, the coarser to the finer.

    Four maps at strides 4 to 32 are concatenated at stride 4.

    Attributes:
        context: PPM on C5.
        laterals: 1x1 convolutions of C2, C3, C4.
        lifts: What brings each coarser sum to the next finer grid.
        smooth: 3x3 convolutions of the sums; the coarsest map stays as it is.
    """

    config: PyramidConfig

    def __init__(self, entering: Sequence[int], config: PyramidConfig) -> None:
        super().__init__(config)
        channels, momentum = config.channels, config.bn_momentum
        self.context = Context(entering[-1], config)
        self.laterals = nn.ModuleList(
            ConvBN(one, channels, kernel_size=1, bn_momentum=momentum) for one in entering[:-1]
        )
        finer = len(self.laterals)
        self.lifts = resizes(finer, align_corners=config.align_corners)
        self.smooth = nn.ModuleList(
            ConvBN(channels, channels, bn_momentum=momentum) for _ in range(finer)
        )
        self.smooth.append(nn.Identity())
        self.resizes = resizes(finer, align_corners=config.align_corners)
        self.equalizers = equalizers([channels] * (finer + 1), wanted=config.equalized)
        self.fuse = ConvBN(channels * (finer + 1), channels, bn_momentum=momentum)
        self.classifier = nn.Conv2d(channels, config.num_classes, 1)

    def forward(self, stages: Sequence[Tensor]) -> SegmentationOutput:
        """C2..C5 -> logits of the stride of C2."""
        deepest = self.context(stages[-1])
        maps = [one(x) for one, x in zip(self.laterals, stages[:-1], strict=True)]
        maps.append(deepest)
        for number in reversed(range(len(self.lifts))):
            lifted = self.lifts[number](maps[number + 1], spatial_size(maps[number]))
            maps[number] = maps[number] + lifted
        maps = [one(x) for one, x in zip(self.smooth, maps, strict=True)]
        return self.classified(self.fuse(join(maps, self.resizes, self.equalizers)))

    def describe(self, channels: Sequence[int]) -> Anatomy:
        """The branches are the four maps that are concatenated; pooled maps are places."""
        width, config = self.config.channels, self.config
        pooled = [
            Tap(f"head.pooled.{tap.stride}", tap.module, tap.stride, width)
            for tap in _scales(config, "head.context.scales")
        ]
        *finer, deepest = range(len(STRIDES))
        modules = [*(f"head.laterals.{number}" for number in finer), "head.context"]
        before = [
            Tap(f"pyramid.branch{number}.pre", modules[number], STRIDES[number], width,
                branch=number)
            for number in (deepest, *finer)
        ]  # fmt: skip
        found: dict[Tap, Branch] = {}
        for number, stride in enumerate(STRIDES):
            found |= _branch(number, f"head.smooth.{number}", stride, width)
        inputs = tuple(f"pyramid.branch{number}.pre" for number in (*finer, deepest))
        return Anatomy(
            branches=tuple(found.values()),
            heads=(_split(found, sites=("pyramid",), inputs=inputs, fusion="pyramid"),),
            taps=_named(config, [*pooled, *before, *found], STRIDES[0]),
            transfers=tuple(
                edge_named(f"pyramid.transfer[{number + 1}->{number}]", f"head.lifts.{number}")
                for number in reversed(finer)
            ),
            outputs={"main": "head.logits"},
        )


class SepASPPHead(DecodeHead):
    """DeepLabV3+: ASPP on C5 of separable convolutions, brought to stride 4 beside C2.

    Attributes:
        low: 1x1 convolution of C2.
        context: ASPP on C5.
    """

    config: PyramidConfig

    def __init__(self, entering: Sequence[int], config: PyramidConfig) -> None:
        super().__init__(config)
        channels, low, momentum = config.channels, config.low_channels, config.bn_momentum
        self.low = ConvBN(entering[0], low, kernel_size=1, bn_momentum=momentum)
        self.context = Context(entering[-1], config)
        self.resizes = resizes(1, align_corners=config.align_corners)
        self.equalizers = equalizers([low, channels], wanted=config.equalized)
        self.fuse = nn.Sequential(
            SeparableConvBN(low + channels, channels, bn_momentum=momentum),
            SeparableConvBN(channels, channels, bn_momentum=momentum),
        )
        self.classifier = nn.Conv2d(channels, config.num_classes, 1)

    def forward(self, stages: Sequence[Tensor]) -> SegmentationOutput:
        """C2..C5 -> logits of the stride of C2."""
        maps = [self.low(stages[0]), self.context(stages[-1])]
        return self.classified(self.fuse(join(maps, self.resizes, self.equalizers)))

    def describe(self, channels: Sequence[int]) -> Anatomy:
        """The finest branch is C2's, the others are ASPP's; two fusions mix them."""
        config = self.config
        moved = _scales(config, "head.context.scales")
        found = {**_branch(0, "head.low", STRIDES[0], config.low_channels), **moved}
        source = config.kind.first
        return Anatomy(
            branches=tuple(found.values()),
            taps=_named(config, [*found], STRIDES[0]),
            transfers=tuple(
                edge_named(f"pyramid.transfer[{source}->{tap.branch}]", tap.module) for tap in moved
            ),
            outputs={"main": "head.logits"},
        )


class FCNHead(DecodeHead):
    """C2 to C5 brought to the grid of C2 and concatenated, as HRNetV2's branches are."""

    config: PyramidConfig

    def __init__(self, entering: Sequence[int], config: PyramidConfig) -> None:
        super().__init__(config)
        self.resizes = resizes(len(entering) - 1, align_corners=config.align_corners)
        self.equalizers = equalizers(entering, wanted=config.equalized)
        self.fuse = ConvBN(
            sum(entering), config.channels, kernel_size=1, bn_momentum=config.bn_momentum
        )
        self.classifier = nn.Conv2d(config.channels, config.num_classes, 1)

    def forward(self, stages: Sequence[Tensor]) -> SegmentationOutput:
        """C2..C5 -> logits of the stride of C2."""
        return self.classified(self.fuse(join(stages, self.resizes, self.equalizers)))

    def describe(self, channels: Sequence[int]) -> Anatomy:
        """The branches are the stages themselves."""
        found: dict[Tap, Branch] = {}
        for number, stride in enumerate(STRIDES):
            found |= _branch(number, f"backbone.layer{number + 1}", stride, channels[number])
        return Anatomy(
            branches=tuple(found.values()),
            heads=(_split(found),),
            taps=_named(self.config, [*found], STRIDES[0]),
            outputs={"main": "head.logits"},
        )


class RelationHead(DecodeHead):
    """RSP on four maps F_0 to F_3 at strides 4 to 32: stages of a ResNet, branches of an HRNet.

    With L_l a 1x1 convolution of F_l, out_3 = L_3 and out_l = conv3x3([L_l, relation(L_l,
    out_l+1)]). The four are brought to stride 4 and concatenated.

    Attributes:
        laterals: The 1x1 convolutions.
        relations: What F_0, F_1, F_2 take from the next coarser map.
        smooth: The 3x3 convolutions; the coarsest map stays as it is.
    """

    config: PyramidConfig | RelationHRNetConfig

    def __init__(
        self, entering: Sequence[int], config: PyramidConfig | RelationHRNetConfig
    ) -> None:
        super().__init__(config)
        channels, momentum, finer = config.channels, config.bn_momentum, len(entering) - 1
        self.laterals = nn.ModuleList(
            ConvBN(one, channels, kernel_size=1, bn_momentum=momentum) for one in entering
        )
        self.relations = nn.ModuleList(
            Relation(channels, channels, channels, heads=config.heads, window=config.window)
            for _ in range(finer)
        )
        self.smooth = nn.ModuleList(
            ConvBN(2 * channels, channels, bn_momentum=momentum) for _ in range(finer)
        )
        self.smooth.append(nn.Identity())
        self.resizes = resizes(finer, align_corners=config.align_corners)
        self.equalizers = equalizers([channels] * len(entering), wanted=config.equalized)
        self.fuse = ConvBN(channels * len(entering), channels, kernel_size=1, bn_momentum=momentum)
        self.classifier = nn.Conv2d(channels, config.num_classes, 1)

    def forward(self, stages: Sequence[Tensor]) -> SegmentationOutput:
        """F_0..F_3 -> logits at stride 4."""
        own = [one(x) for one, x in zip(self.laterals, stages, strict=True)]
        maps = [self.smooth[-1](own[-1])]
        for number in reversed(range(len(self.relations))):
            taken = self.relations[number](own[number], maps[0])
            maps.insert(0, self.smooth[number](torch.cat([own[number], taken], 1)))
        return self.classified(self.fuse(join(maps, self.resizes, self.equalizers)))

    def describe(self, channels: Sequence[int]) -> Anatomy:
        """The branches are the four maps; the weights of each relation are places."""
        config = self.config
        width, finer = config.channels, range(len(STRIDES) - 1)
        found: dict[Tap, Branch] = {}
        for number, stride in enumerate(STRIDES):
            found |= _branch(number, f"head.smooth.{number}", stride, width)
        weights = [
            Tap(f"pyramid.relation[{number + 1}->{number}]", f"head.relations.{number}.weights",
                STRIDES[number], config.heads * config.window**2, "attention")
            for number in reversed(finer)
        ]  # fmt: skip
        inputs = [
            Tap(f"pyramid.branch{number}.pre", f"head.laterals.{number}", stride, width,
                branch=number)
            for number, stride in enumerate(STRIDES)
        ]  # fmt: skip
        return Anatomy(
            branches=tuple(found.values()),
            heads=(
                _split(found, sites=("pyramid",), inputs=tuple(t.name for t in inputs),
                       fusion="pyramid"),
            ),
            taps=_named(config, [*inputs, *weights, *found], STRIDES[0]),
            transfers=tuple(
                edge_named(f"pyramid.transfer[{number + 1}->{number}]", f"head.relations.{number}")
                for number in reversed(finer)
            ),
            outputs={"main": "head.logits"},
        )  # fmt: skip


def _branch(number: int, module: str, stride: Stride, channels: int) -> dict[Tap, Branch]:
    """Name a branch and the module that gives it."""
    name = f"pyramid.branch{number}"
    tap = Tap(name, module, stride, channels, branch=number)
    return {tap: Branch.on(name, stride, channels)}


def _scales(config: PyramidConfig, modules: str) -> dict[Tap, Branch]:
    """Name the scales of C5, finest first: dilated ones by their reach, then pooled ones."""
    found: dict[Tap, Branch] = {}
    stride = config.kind.strides[-1]
    grids: list[Stride] = [stride if rate == 1 else f"{stride}r{rate}" for rate in config.reaches]
    grids += [f"{cells}x{cells}" for cells in config.cells]
    for number, grid in enumerate(grids, config.kind.first):
        found |= _branch(number, f"{modules}.{number}", grid, config.channels)
    return found


def _named(config: NetworkConfig, taps: Sequence[Tap], stride: int) -> dict[str, Tap]:
    """Return taps and that of the logits by name."""
    logits = Tap("head.logits", "head.classifier", stride, config.num_classes, "logits")
    return {tap.name: tap for tap in (*taps, logits)}


def _split(
    found: Mapping[Tap, Branch],
    *,
    sites: tuple[str, ...] = (),
    inputs: tuple[str, ...] = (),
    fusion: str | None = None,
) -> Head:
    """Return how branches enter the logits through one convolution."""
    branches = tuple(found.values())
    return Head(
        "main",
        "head",
        tuple(branch.tap for branch in branches),
        tuple(branch.sampling for branch in branches if branch.sampling is not None),
        tuple(branch.channels or 0 for branch in branches),
        inputs,
        fusion,
        sites,
    )


DECODERS: Mapping[str, Callable[[Sequence[int], PyramidConfig], DecodeHead]] = {
    "ppm": Pyramid,
    "aspp": Pyramid,
    "upernet": UPerHead,
    "deeplabv3plus": SepASPPHead,
    "fcn": FCNHead,
    "rsp": RelationHead,
}
"""What makes the head of each row of ``HEADS``, for stages of so many channels."""
