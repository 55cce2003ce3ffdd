"""HRNetV2 and GSTO-HRNet, and their taps.

HRNetV2: a stem to stride 4, stage 1, then stages 2 to 4 with two to four branches at strides 4, 8,
16, 32; the head brings all branches to stride 4. GSTO-HRNet (arXiv:2005.13363) is the same network
with gates in its fusions and transitions and deep-supervision heads after stages 2 and 3: the
configuration's ``gating`` says which (None: plain HRNetV2), its ``attention`` whether there are the
gates after blocks, after layers or by channel that the paper compares them with.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from gsto_viz.anatomy import Anatomy, Branch, Edge, Head, edge_named, gates_of
from gsto_viz.errors import RefusedImageError
from gsto_viz.models.base import SegmentationNetwork, SegmentationOutput, initialize
from gsto_viz.models.blocks import BasicBlock, Bottleneck, ConvBN, batch_norm, resizes
from gsto_viz.models.config import HRNetConfig
from gsto_viz.models.equalizer import equalizers, join
from gsto_viz.models.fusion import Fusion, Transition, attention_gate
from gsto_viz.models.gates import ChannelGate, GatedScaleTransfer, gate_range
from gsto_viz.types import Tap

STRIDES = (4, 8, 16, 32)
STEM_CHANNELS = 64
MIN_SIZE = 32
"""Smallest height and width: one cell of the coarsest branch."""


class Stem(nn.Module):
    """Two 3x3 convolutions of stride 2: (N, 3, H, W) -> (N, 64, ceil(H/4), ceil(W/4))."""

    def __init__(self, *, bn_momentum: float) -> None:
        super().__init__()
        self.unit1 = ConvBN(3, STEM_CHANNELS, stride=2, bn_momentum=bn_momentum)
        self.unit2 = ConvBN(STEM_CHANNELS, STEM_CHANNELS, stride=2, bn_momentum=bn_momentum)

    def forward(self, image: Tensor) -> Tensor:
        """Reduce a normalised image to stride 4."""
        out: Tensor = self.unit2(self.unit1(image))
        return out


class HRModule(nn.Module):
    """Residual blocks on each branch, with attention behind them or not, then a fusion of all.

    Attributes:
        fusion: None where the head has it.
    """

    def __init__(self, num_branches: int, config: HRNetConfig, *, fused: bool = True) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            _blocks(config.widths[r], config) for r in range(num_branches)
        )
        self.fusion = Fusion(num_branches, config) if fused else None

    def forward(self, branches: Sequence[Tensor]) -> list[Tensor]:
        """Same shapes in and out; the input list stays as it is."""
        worked: list[Tensor] = [
            blocks(x) for blocks, x in zip(self.branches, branches, strict=True)
        ]
        return worked if self.fusion is None else self.fusion(worked)


def _blocks(channels: int, config: HRNetConfig) -> nn.Sequential:
    """Make the residual blocks of one branch, and ``gate0``... behind each or ``gate`` behind all.

    Weights of the residual blocks have the same names with and without.
    """
    place = None if config.attention is None else config.attention.place
    blocks = nn.Sequential()
    for number in range(config.blocks):
        blocks.add_module(str(number), BasicBlock(channels, bn_momentum=config.bn_momentum))
        if place == "layer":
            blocks.add_module(f"gate{number}", _attention(channels, config))
    if place == "block":
        blocks.add_module("gate", _attention(channels, config))
    return blocks


def _attention(channels: int, config: HRNetConfig) -> nn.Module:
    return GatedScaleTransfer(nn.Identity(), attention_gate(channels, config))


class SegmentationHead(nn.Module):
    """Resize all branches to the finest, concatenate, 1x1 conv + BN + ReLU, 1x1 classifier.

    Also the predictor of a supervised gate (GSTO Eq. 5, in the released two-layer form).

    Args:
        channels: Of each branch.
        config: Of the network.
        dropout: Probability with which training drops each channel before the classifier.
    """

    def __init__(
        self, channels: Sequence[int], config: HRNetConfig, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.dropout = dropout
        in_channels = sum(channels)
        self.resizes = resizes(len(channels) - 1, align_corners=config.align_corners)
        self.equalizers = equalizers(channels, wanted=config.equalized)
        self.conv = nn.Conv2d(in_channels, in_channels, 1, bias=True)
        self.bn = batch_norm(in_channels, config.bn_momentum)
        self.relu = nn.ReLU()
        self.classifier = nn.Conv2d(in_channels, config.num_classes, 1, bias=True)

    def gather(self, branches: Sequence[Tensor]) -> Tensor:
        """Concatenate all branches at the finest grid: (N, sum of C_r, h_0, w_0)."""
        return join(branches, self.resizes, self.equalizers)

    def entrance(self) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
        """Return the convolution that reads the concatenation, and the batch norm behind it."""
        return self.conv, self.bn

    def forward(self, branches: Sequence[Tensor]) -> Tensor:
        """Return logits (N, K, h_0, w_0)."""
        hidden = self.relu(self.bn(self.conv(self.gather(branches))))
        if self.dropout and self.training:
            hidden = F.dropout2d(hidden, self.dropout)
        logits: Tensor = self.classifier(hidden)
        return logits


class HRNet(SegmentationNetwork):
    """HRNetV2 (``config.gating is None``) or GSTO-HRNet for segmentation.

    Attributes:
        config: Widths, depths, class count, conventions, gating.
        official_unused: Tensors of an official file that no forward reads, kept by official key
            for the way back; no part of the state.
    """

    config: HRNetConfig

    def __init__(self, config: HRNetConfig) -> None:
        super().__init__(config)
        self.official_unused: dict[str, Tensor] = {}
        momentum, widths = config.bn_momentum, config.widths
        self.stem = Stem(bn_momentum=momentum)
        blocks, channels = [], STEM_CHANNELS
        for _ in range(config.stage1_blocks):
            blocks.append(Bottleneck(channels, config.stage1_planes, bn_momentum=momentum))
            channels = config.stage1_planes * Bottleneck.expansion
        self.stage1 = nn.Sequential(*blocks)

        def predictor(channels: Sequence[int]) -> nn.Module:
            return SegmentationHead(channels, config)

        self.transition1 = Transition(1, [channels], config, predictor)
        self.stage2 = self._stage(2)
        self.transition2 = Transition(2, widths[:2], config, predictor)
        self.stage3 = self._stage(3)
        self.transition3 = Transition(3, widths[:3], config, predictor)
        self.stage4 = self._stage(4)
        self.head = self._main_head()
        initialize(self, "normal")

    def _main_head(self) -> nn.Module:
        """Make what gives the logits of the four branches."""
        return SegmentationHead(self.config.widths, self.config, dropout=self.config.head_dropout)

    def _stage(self, stage: int) -> nn.Sequential:
        modules = nn.Sequential()
        for index in range(self.config.modules[stage - 2]):
            module = HRModule(stage, self.config, fused=self.config.fuses(stage, index))
            modules.add_module(f"m{index}", module)
        return modules

    def branches(self, image: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Run everything but the main head.

        Returns:
            The four branches after stage 4 at strides 4, 8, 16, 32, and the auxiliary logits.
        """
        if min(image.shape[-2:]) < MIN_SIZE:
            raise RefusedImageError(
                f"the image is {image.shape[-2]}x{image.shape[-1]} (height x width) and the network"
                f" needs at least {MIN_SIZE}x{MIN_SIZE}; enlarge it"
            )
        x = self.stage1(self.stem(image))
        auxiliary: dict[str, Tensor] = {}
        step = self.transition1([x])
        if step.logits is not None:
            auxiliary["stage1"] = step.logits
        step = self.transition2(self.stage2(step.branches))
        if step.logits is not None:
            auxiliary["stage2"] = step.logits
        step = self.transition3(self.stage3(step.branches))
        if step.logits is not None:
            auxiliary["stage3"] = step.logits
        return self.stage4(step.branches), auxiliary

    def forward(self, image: Tensor) -> SegmentationOutput:
        """(N, 3, H, W) normalised image, H and W at least 32 -> logits at stride 4."""
        branches, auxiliary = self.branches(image)
        return SegmentationOutput(self.head(branches), auxiliary)

    def describe(self) -> Anatomy:
        """Name the places of this network, compared after stage 4."""
        return _anatomy(self)

    def forget_training(self, note: str) -> None:
        """Drop what only holds for trained weights; ``note`` is added to the name."""
        self.official_unused = {}
        super().forget_training(note)


def _anatomy(model: HRNet) -> Anatomy:
    """List the places of an HRNetV2 or GSTO-HRNet in the order of computation."""
    config, transfers = model.config, list[Edge]()
    taps = [
        Tap("stem", "stem", 4, STEM_CHANNELS),
        Tap("stage1.branch0", "stage1", 4, config.stage1_planes * 4, branch=0),
    ]
    heads: dict[str, tuple[int, str]] = {}
    for stage in (1, 2, 3, 4):
        modules: nn.Sequential = getattr(model, f"stage{stage}")
        for m, module in enumerate(modules if stage > 1 else ()):
            taps += _module_taps(f"stage{stage}.m{m}", config, cast(HRModule, module))
            if module.fusion is not None:
                transfers += transfer_edges(f"stage{stage}.m{m}", cast(Fusion, module.fusion))
        if stage > 1 and config.fuses(stage, len(modules) - 1):
            last = f"stage{stage}.m{len(modules) - 1}.fusion.targets"
            taps += _branch_taps(f"stage{stage}.branch{{}}", f"{last}.{{}}", config.widths[:stage])
        if stage == 4:
            break
        site, transition = f"transition{stage}", getattr(model, f"transition{stage}")
        if transition.predictor is not None:
            place = f"{site}.predictor"
            heads[f"stage{stage}"] = (stage, place)
            taps.append(Tap(f"head.stage{stage}", place, 4, config.num_classes, "logits"))
        if transition.gate is not None:
            taps.append(Tap(f"{site}.gate", f"{site}.gate", STRIDES[stage - 1], 1, "gate"))
        transfers.append(edge_named(f"{site}.transfer[{stage - 1}->{stage}]", f"{site}.new_branch"))
    taps.append(Tap("head.logits", "head", 4, config.num_classes, "logits"))
    named = {tap.name: tap for tap in taps}
    limits = gate_range("paper" if config.gating is None else config.gating.form)
    deep = [
        _head(name, stage, place, _ends(config, stage), named, transfers)
        for name, (stage, place) in heads.items()
    ][::-1]
    main = _head("main", 4, "head", _ends(config, 4), named, transfers)
    return Anatomy(
        branches=tuple(
            Branch.on(tap, stride, width)
            for tap, stride, width in zip(main.taps, STRIDES, config.widths, strict=True)
        ),
        taps=named,
        gates=gates_of(taps, limits),
        transfers=tuple(transfers),
        heads=(main, *deep),
        outputs={"main": "head.logits"} | {head.name: f"head.{head.name}" for head in deep},
    )


def _branch_taps(name: str, module: str, widths: Sequence[int]) -> list[Tap]:
    """Return one tap per branch; ``{}`` stands for its number."""
    return [
        Tap(name.format(r), module.format(r), STRIDES[r], width, branch=r)
        for r, width in enumerate(widths)
    ]


def _module_taps(site: str, config: HRNetConfig, module: HRModule) -> list[Tap]:
    """Return the taps of one module in the order of computation, with gates where they stand."""
    fusion = module.fusion
    widths = config.widths[: len(module.branches)]
    behind = [
        _gate_tap(f"{site}.branch{r}.{name}", f"{site}.branches.{r}.{name}.gate", r, gated)
        for r, blocks in enumerate(module.branches)
        for name, gated in blocks.named_children()
        if isinstance(gated, GatedScaleTransfer)
    ]
    before = _branch_taps(f"{site}.branch{{}}.pre", f"{site}.branches.{{}}", widths)
    if fusion is None:
        return [*behind, *before]
    gates = [
        _gate_tap(f"{site}.gate[{edge.source}->{edge.target}]", f"{edge.module}.gate",
                  edge.source, gated)
        for edge in transfer_edges(site, fusion)
        if isinstance(
            gated := fusion.transfers[edge.module.rpartition(".")[2]], GatedScaleTransfer
        )
    ]  # fmt: skip
    after = _branch_taps(f"{site}.branch{{}}", f"{site}.fusion.targets.{{}}", widths)
    return [*behind, *before, *gates, *after]


def _gate_tap(name: str, module: str, branch: int, gated: GatedScaleTransfer) -> Tap:
    """Return the tap of a gate on a branch: a map on its grid, or one value per channel."""
    if isinstance(gated.gate, ChannelGate):
        return Tap(name, module, "1x1", gated.gate.channels, "gate")
    return Tap(name, module, STRIDES[branch], 1, "gate")


def transfer_edges(site: str, fusion: Fusion, owner: str = "") -> list[Edge]:
    """Return the transfers of a fusion, the submodule of ``owner`` (the site where not given)."""
    return [
        edge_named(
            f"{site}.transfer[{key.replace('to', '->')}]",
            f"{owner or site}.fusion.transfers.{key}",
        )
        for key in fusion.transfers
    ]


def _ends(config: HRNetConfig, stage: int) -> tuple[str, ...]:
    """Return the taps of the branches that a stage gives."""
    last = config.modules[stage - 2] - 1
    if stage == 1 or config.fuses(stage, last):
        return tuple(f"stage{stage}.branch{r}" for r in range(stage))
    return tuple(f"stage{stage}.m{last}.branch{r}.pre" for r in range(stage))


def _head(
    name: str,
    stage: int,
    module: str,
    entering: tuple[str, ...],
    taps: Mapping[str, Tap],
    transfers: Sequence[Edge],
) -> Head:
    """Return the head that reads the branches after a stage."""
    sites = list(dict.fromkeys(edge.site for edge in transfers))
    sites = sites[: sites.index(f"transition{stage}")] if stage < 4 else sites
    fusion = sites[-1] if sites else None
    inputs = () if fusion is None else tuple(f"{fusion}.branch{r}.pre" for r in range(stage))
    channels = tuple(taps[tap].channels or 0 for tap in entering)
    return Head(name, module, entering, STRIDES[:stage], channels, inputs, fusion, tuple(sites))
