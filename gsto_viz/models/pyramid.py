"""ResNets with a decode head that sees several scales (``gsto_viz.models.heads``)."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from gsto_viz.anatomy import Anatomy
from gsto_viz.errors import GstoVizError
from gsto_viz.models.base import SegmentationNetwork, SegmentationOutput, initialize, refuse_small
from gsto_viz.models.blocks import ConvBN
from gsto_viz.models.config import HEADS, PyramidConfig
from gsto_viz.models.heads import DECODERS
from gsto_viz.models.relation import window_needs
from gsto_viz.models.resnet import ResNet
from gsto_viz.types import Tap


class PyramidNetwork(SegmentationNetwork):
    """A ResNet, dilated where its head wants that, and the head.

    In training, a further head reads the features of stage 3; it takes no part in anything else.
    """

    config: PyramidConfig
    training_heads = MappingProxyType({"layer3": "auxiliary"})

    def __init__(self, config: PyramidConfig) -> None:
        super().__init__(config)
        self.backbone = ResNet(
            config.blocks,
            config.width,
            bottleneck=config.bottleneck,
            strides=config.kind.strides,
            bn_momentum=config.bn_momentum,
        )
        third = self.backbone.channels[2]
        self.head = DECODERS[config.module](self.backbone.channels, config)
        self.auxiliary = nn.Sequential(
            ConvBN(third, max(1, third // 4), bn_momentum=config.bn_momentum),
            nn.Conv2d(max(1, third // 4), config.num_classes, 1),
        )
        initialize(self, "kaiming")

    def forward(self, image: Tensor) -> SegmentationOutput:
        """(N, 3, H, W) normalised image -> logits at the stride of the head.

        Raises:
            RefusedImageError: The image is smaller than the head needs.
            GstoVizError: Training on one image.
        """
        self._check(image)
        stages = self.backbone(image)
        output: SegmentationOutput = self.head(stages)
        if not self.training:
            return output
        return output._replace(auxiliary={**output.auxiliary, "layer3": self.auxiliary(stages[2])})

    def _check(self, image: Tensor) -> None:
        cells, kind = self.config.cells, self.config.kind
        finest = max(cells, default=0)
        # Maps of one cell are constant: the finest one that is not pooled needs two.
        needs = {f"PPM pools to {finest}x{finest} cells": finest, "maps of one cell": 2}
        needs |= window_needs(self.config.window) if kind.relates else {}
        refuse_small(image, kind.strides[-1], needs)
        if self.training and int(image.shape[0]) == 1 and 1 in cells:
            raise GstoVizError(
                "the map of one cell has one value per channel and image, and batch norm needs "
                "two; train on two images or more at once (batch_size, accumulate)"
            )

    def describe(self) -> Anatomy:
        """Name the places of this network, compared at the scales of its head."""
        channels, strides = self.backbone.channels, self.config.kind.strides
        names = [f"backbone.layer{number}" for number in range(1, 5)]
        stages = {
            name: Tap(name, name, stride, width)
            for name, stride, width in zip(names, strides, channels, strict=True)
        }
        anatomy = self.head.describe(channels)
        return replace(anatomy, taps={**stages, **anatomy.taps})


def pyramid_sizes(module: str, *, gates: bool = False) -> Mapping[str, PyramidConfig]:
    """Return the configurations of a head by size; ``-sup`` has deep supervision.

    ``r18-half`` is ResNet-18 with half the channels, on which a whole checkpoint stays below 8 MB;
    ``tiny`` is for tests: every kind of part, a few thousand weights.
    """
    small = {"bottleneck": False, "head_dropout": 0.0}
    half = {"blocks": (2, 2, 2, 2), "width": 32, "rates": (6, 12, 18), "low_channels": 24, **small}
    tiny = {"blocks": (1, 1, 1, 1), "width": 4, "rates": (2, 4, 6), "low_channels": 4, **small}
    made: dict[str, dict[str, Any]] = {
        "r50": {"channels": {"aspp": 256, "rsp": 128}.get(module, 512)},
        "r18-half": {**half, "channels": 64 if module in ("upernet", "rsp") else 96},
        "tiny": {**tiny, "channels": 8},
    }
    if module == "upernet":
        # At stride 32 an image of 64x96 has 2x3 cells.
        made["tiny"]["bins"] = (1, 2)
    kinds = ("unsupervised", "supervised") if gates else ("none", "none")
    return {
        size + end: PyramidConfig(
            module, gates=kind, deep_supervision=bool(end) and not gates, **options
        )
        for size, options in made.items()
        for end, kind in zip(("", "-sup") if HEADS[module].gated else ("",), kinds, strict=False)
    }
