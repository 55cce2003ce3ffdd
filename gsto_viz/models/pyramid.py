"""PPM and ASPP on dilated ResNets, plain or with gates in front of their scale transfers.

Pyramid pooling (PPM, of PSPNet) averages the features of stride 8 to 6x6, 3x3, 2x2 and 1x1 cells;
atrous spatial pyramid pooling (ASPP, of DeepLabV3) convolves them at several dilation rates and
averages them to one cell. Each is one transfer F -> F_k from the feature to a scale; the results
are brought back to stride 8 and concatenated.

GSTO's Table 6 gives the scores of both with and without gates; the paper says no more than that
gates stand in front of the transfers, and no code was released. What follows is our reconstruction:
one gate g_k in front of every transfer, F_k = transfer_k(g_k * F), computed from F (unsupervised)
or from the class logits P of one predictor, a 1x1 convolution of F (supervised). The predictor
alone is "deep supervision". The identity path of PPM has no gate. ASPP is that of DeepLabV3, as the
paper names neither version nor rates.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from gsto_viz.anatomy import Anatomy, Branch, Head, edge_named, gates_of
from gsto_viz.errors import GstoVizError, RefusedImageError
from gsto_viz.models.base import NetworkConfig, SegmentationNetwork, SegmentationOutput, initialize
from gsto_viz.models.blocks import ConvBN, resizes, spatial_size
from gsto_viz.models.equalizer import equalizers, join
from gsto_viz.models.gates import (
    GATE_FORMS,
    GatedScaleTransfer,
    UnsupervisedGate,
    gate_range,
)
from gsto_viz.models.resnet import STRIDES, DilatedResNet
from gsto_viz.settings import Rule, settle, within, within_below
from gsto_viz.types import Tap

STRIDE = STRIDES[-1]
"""Pixels per cell of the feature that the pyramid is made from."""
MODULES = ("ppm", "aspp")
GATES = ("none", "unsupervised", "supervised")

RULES = (
    Rule("module", "choose ppm or aspp", str, lambda v, c: v in MODULES),
    *(
        Rule(name, f"it goes from 1 to {most}, a whole number", int, within(1, most))
        for name, most in {"width": 256, "channels": 4096, "num_classes": 254}.items()
    ),
    Rule(
        "blocks",
        "give four counts from 1 to 64",
        tuple[int, int, int, int],
        lambda v, c: 1 <= min(v) <= max(v) <= 64,
    ),
    Rule(
        "bins",
        "give different whole numbers from 1 to 64: cells a side of each pooled map",
        tuple[int, ...],
        lambda v, c: 0 < len(set(v)) == len(v) and 1 <= min(v) <= max(v) <= 64,
    ),
    Rule(
        "bins",
        "a pyramid whose pooled maps all have one cell cannot tell places apart; give one above 1",
        holds=lambda v, c: c.module != "ppm" or max(v) > 1,
    ),
    Rule(
        "rates",
        "give different whole numbers from 2 to 256: dilation rates",
        tuple[int, ...],
        lambda v, c: 0 < len(set(v)) == len(v) and 2 <= min(v) <= max(v) <= 256,
    ),
    *(Rule(name, "it is true or false", bool) for name in ("bottleneck", "deep_supervision")),
    *(Rule(name, "it is true or false", bool) for name in ("align_corners", "equalized")),
    Rule("gates", "choose none, unsupervised or supervised", str, lambda v, c: v in GATES),
    Rule("gate_form", "choose released or paper", str, lambda v, c: v in GATE_FORMS),
    Rule("bn_momentum", "it is a number above 0 and at most 1", float, lambda v, c: 0 < v <= 1),
    Rule("head_dropout", "it is a number from 0 to below 1", float, within_below(0, 1)),
)


@dataclass(frozen=True)
class PyramidConfig(NetworkConfig):
    """Everything that shapes a PPM or ASPP network; defaults: on ResNet-50.

    Attributes:
        module: ``ppm`` or ``aspp``.
        blocks: Residual blocks of the four stages of the ResNet.
        width: Channels of its stem.
        bottleneck: Whether its blocks are bottlenecks.
        channels: Of each scale, and of what the classifier reads.
        bins: PPM: cells a side of each pooled map.
        rates: ASPP: dilation rate of each 3x3 convolution; a 1x1 convolution and the mean over the
            image stand beside them.
        num_classes: Channels K of the logits.
        align_corners: Corner convention of bilinear resizing.
        bn_momentum: Running-average momentum of batch norm.
        head_dropout: Probability with which training drops each channel before the classifier.
        gates: In front of every transfer: ``none``, ``unsupervised`` or ``supervised``.
        gate_form: ``paper`` or ``released`` (see ``gsto_viz.models.gates``).
        deep_supervision: Whether there is a predictor without supervised gates, too.
        equalized: Whether equalizers stand in front of the concatenation (see
            ``gsto_viz.models.equalizer``).
    """

    module: str
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    width: int = 64
    bottleneck: bool = True
    channels: int = 512
    bins: tuple[int, ...] = (1, 2, 3, 6)
    rates: tuple[int, ...] = (12, 24, 36)
    num_classes: int = 19
    align_corners: bool = False
    bn_momentum: float = 0.1
    head_dropout: float = 0.1
    gates: str = "none"
    gate_form: str = "released"
    deep_supervision: bool = False
    equalized: bool = False

    def __post_init__(self) -> None:
        settle(self, RULES)

    @property
    def least(self) -> tuple[int, int]:
        """How many tensors such a network has at least, and how many numbers its largest one."""
        return sum(self.blocks), max(self.width, self.channels, self.num_classes)

    @property
    def predicts(self) -> bool:
        """Whether there is a predictor."""
        return self.deep_supervision or self.gates == "supervised"


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


class Pyramid(nn.Module):
    """The scales of a feature, brought back to its grid and concatenated, and the classifier.

    Attributes:
        scales: Transfers by the number of their branch, finest first, gated where the configuration
            says so.
        predictor: 1x1 convolution that gives the logits of deep supervision, or None.
    """

    def __init__(self, in_channels: int, config: PyramidConfig) -> None:
        super().__init__()
        self.config = config
        channels, momentum = config.channels, config.bn_momentum
        self.predictor = nn.Conv2d(in_channels, config.num_classes, 1) if config.predicts else None
        self.scales = nn.ModuleDict(
            {str(number): self._gated(transfer, in_channels)
             for number, transfer in self._transfers(in_channels)}
        )  # fmt: skip
        pooled = len(pooled_cells(config))
        self.resizes = resizes(pooled, align_corners=config.align_corners)
        own = [in_channels] if config.module == "ppm" else []
        entering = [*own, *[channels] * len(self.scales)]
        self.equalizers = equalizers(entering, wanted=config.equalized)
        if config.module == "ppm":
            self.fuse: nn.Module = ConvBN(sum(entering), channels, bn_momentum=momentum)
        else:
            self.fuse = nn.Sequential(
                ConvBN(sum(entering), channels, kernel_size=1, bn_momentum=momentum),
                ConvBN(channels, channels, bn_momentum=momentum),
            )
        self.classifier = nn.Conv2d(channels, config.num_classes, 1)

    def _transfers(self, in_channels: int) -> Iterator[tuple[int, nn.Module]]:
        """Make the transfer to each branch, the finest first."""
        config = self.config
        channels, momentum = config.channels, config.bn_momentum
        # The finest branch of PPM is the feature itself.
        number = 1
        if config.module == "aspp":
            yield 0, ConvBN(in_channels, channels, kernel_size=1, bn_momentum=momentum)
            for rate in sorted(config.rates):
                yield number, ConvBN(in_channels, channels, dilation=rate, bn_momentum=momentum)
                number += 1
        for cells in pooled_cells(config):
            yield number, PooledTransfer(in_channels, channels, cells, momentum)
            number += 1

    def _gated(self, transfer: nn.Module, in_channels: int) -> nn.Module:
        config = self.config
        if config.gates == "none":
            return transfer
        read = config.num_classes if config.gates == "supervised" else in_channels
        gate = UnsupervisedGate(read, form=config.gate_form, bn_momentum=config.bn_momentum)
        return GatedScaleTransfer(transfer, gate)

    def entrance(self) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
        """Return the convolution that reads the concatenation, and the batch norm behind it."""
        unit = self.fuse[0] if isinstance(self.fuse, nn.Sequential) else self.fuse
        assert isinstance(unit, ConvBN)
        return unit.conv, unit.bn

    def forward(self, feature: Tensor) -> SegmentationOutput:
        """(N, C, h, w) -> logits (N, K, h, w) and, with a predictor, its logits, likewise."""
        evidence = None if self.predictor is None else self.predictor(feature)
        seen = {"evidence": evidence} if self.config.gates == "supervised" else {}
        maps = [scale(feature, **seen) for scale in self.scales.values()]
        coarse = len(maps) - len(self.resizes)
        size = spatial_size(feature)
        maps[coarse:] = [
            resize(one, size) for resize, one in zip(self.resizes, maps[coarse:], strict=True)
        ]
        own = [feature] if self.config.module == "ppm" else []
        hidden = self.fuse(join([*own, *maps], self.equalizers))
        if self.config.head_dropout and self.training:
            hidden = F.dropout2d(hidden, self.config.head_dropout)
        auxiliary = {} if evidence is None else {"predictor": evidence}
        return SegmentationOutput(self.classifier(hidden), auxiliary)


class PyramidNetwork(SegmentationNetwork):
    """PPM or ASPP on a dilated ResNet, with or without gates (module docstring).

    In training, a further head reads the features of stage 3; it takes no part in anything else.
    """

    config: PyramidConfig
    training_heads = MappingProxyType({"layer3": "auxiliary"})

    def __init__(self, config: PyramidConfig) -> None:
        super().__init__(config)
        self.backbone = DilatedResNet(
            config.blocks,
            config.width,
            bottleneck=config.bottleneck,
            bn_momentum=config.bn_momentum,
        )
        third, fourth = self.backbone.channels[2:]
        self.head = Pyramid(fourth, config)
        self.auxiliary = nn.Sequential(
            ConvBN(third, max(1, third // 4), bn_momentum=config.bn_momentum),
            nn.Conv2d(max(1, third // 4), config.num_classes, 1),
        )
        initialize(self, "kaiming")

    def forward(self, image: Tensor) -> SegmentationOutput:
        """(N, 3, H, W) normalised image -> logits at stride 8.

        Raises:
            RefusedImageError: The image is smaller than the pyramid needs.
            GstoVizError: Training on one image.
        """
        self._check(image)
        third, fourth = self.backbone(image)
        output: SegmentationOutput = self.head(fourth)
        if not self.training:
            return output
        return output._replace(auxiliary={**output.auxiliary, "layer3": self.auxiliary(third)})

    def _check(self, image: Tensor) -> None:
        count, (height, width) = int(image.shape[0]), spatial_size(image)
        bins = pooled_cells(self.config)
        rows, columns = -(-height // STRIDE), -(-width // STRIDE)
        # ASPP's maps need two cells, or all of them are constant.
        if min(rows, columns) < (needed := max(2, *bins)):
            what = f"PPM pools to {needed}x{needed} cells" if max(bins) > 1 else "maps of one cell"
            raise RefusedImageError(
                f"the image is {height}x{width} (height x width), {rows}x{columns} cells of stride "
                f"{STRIDE}, and this network needs at least {needed}x{needed} ({what}); enlarge it"
            )
        if self.training and count == 1 and 1 in bins:
            raise GstoVizError(
                "the map of one cell has one value per channel and image, and batch norm needs "
                "two; train on two images or more at once (batch_size, accumulate)"
            )

    def describe(self) -> Anatomy:
        """Name the places of this network, compared at the scales of its pyramid."""
        return _anatomy(self.config, self.backbone.channels)


def pooled_cells(config: PyramidConfig) -> tuple[int, ...]:
    """Return the cells a side of the pooled maps, the finest first."""
    return tuple(sorted(config.bins, reverse=True)) if config.module == "ppm" else (1,)


def _branches(config: PyramidConfig, feature: int) -> Iterator[tuple[Tap, Branch]]:
    """Return the branches, finest first: the feature or rates, ordered by reach; then pooled."""
    feature_is_finest = config.module == "ppm"
    reaches = (1,) if feature_is_finest else (1, *sorted(config.rates))
    for number, reach in enumerate(reaches):
        name = f"pyramid.branch{number}"
        module = "backbone.layer4" if feature_is_finest else f"head.scales.{number}"
        channels = feature if feature_is_finest else config.channels
        branch = Branch.on(name, STRIDE if reach == 1 else f"{STRIDE}r{reach}", channels)
        yield Tap(name, module, branch.sampling, channels, branch=number), branch
    for number, cells in enumerate(pooled_cells(config), len(reaches)):
        name = f"pyramid.branch{number}"
        pooled = Branch.on(name, f"{cells}x{cells}", config.channels)
        module = f"head.scales.{number}"
        yield Tap(name, module, pooled.sampling, config.channels, branch=number), pooled


def _anatomy(config: PyramidConfig, channels: tuple[int, ...]) -> Anatomy:
    """List the places of a network in the order of computation."""
    taps = [
        Tap(f"backbone.layer{n + 1}", f"backbone.layer{n + 1}", stride, width)
        for n, (stride, width) in enumerate(zip(STRIDES, channels, strict=True))
    ]
    outputs: Mapping[str, str] = {"main": "head.logits"}
    if config.predicts:
        taps.append(Tap("head.predictor", "head.predictor", STRIDE, config.num_classes, "logits"))
        outputs = {**outputs, "predictor": "head.predictor"}
    found = dict(_branches(config, channels[-1]))
    moved = [tap for tap in found if tap.module.startswith("head.")]
    # All transfers start from one feature, which counts as the finest branch.
    if config.gates != "none":
        taps += [
            Tap(f"pyramid.gate[0->{tap.branch}]", f"{tap.module}.gate", STRIDE, 1, "gate")
            for tap in moved
        ]
    taps += [*found, Tap("head.logits", "head.classifier", STRIDE, config.num_classes, "logits")]
    branches = tuple(found.values())
    # Behind the 1x1 convolution of ASPP stands a 3x3 one, through which branches mix.
    heads = () if config.module == "aspp" else (_head(branches),)
    return Anatomy(
        branches=branches,
        heads=heads,
        taps={tap.name: tap for tap in taps},
        gates=gates_of(taps, gate_range(config.gate_form)),
        transfers=tuple(
            edge_named(f"pyramid.transfer[0->{tap.branch}]", tap.module) for tap in moved
        ),
        outputs=outputs,
    )


def _head(branches: tuple[Branch, ...]) -> Head:
    """Return how the branches of PPM enter the logits."""
    return Head(
        "main",
        "head",
        tuple(branch.tap for branch in branches),
        tuple(branch.sampling for branch in branches if branch.sampling is not None),
        tuple(branch.channels or 0 for branch in branches),
        sites=("pyramid",),
    )


def pyramid_sizes(module: str, gates: bool) -> Mapping[str, PyramidConfig]:
    """Return the configurations of a module by size; ``-sup`` has deep supervision.

    ``r18-half`` is ResNet-18 with half the channels, on which a whole checkpoint stays below 8 MB;
    ``tiny`` is for tests: every kind of part, a few thousand weights.
    """
    made: dict[str, dict[str, Any]] = {
        "r50": {"channels": 512 if module == "ppm" else 256},
        "r18-half": {
            "blocks": (2, 2, 2, 2),
            "width": 32,
            "bottleneck": False,
            "channels": 96,
            "rates": (6, 12, 18),
            "head_dropout": 0.0,
        },
        "tiny": {
            "blocks": (1, 1, 1, 1),
            "width": 4,
            "bottleneck": False,
            "channels": 8,
            "rates": (2, 4, 6),
            "head_dropout": 0.0,
        },
    }
    sizes = {}
    for size, options in made.items():
        for end, supervised in (("", False), ("-sup", True)):
            kind = ("supervised" if supervised else "unsupervised") if gates else "none"
            sizes[size + end] = PyramidConfig(
                module, gates=kind, deep_supervision=supervised and not gates, **options
            )
    return sizes
