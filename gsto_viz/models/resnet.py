"""ResNets, whose last stages may be dilated, so that their features keep stride 8.

The stem is a 7x7 convolution of stride 2 and a 3x3 maximum of stride 2. Stages 2, 3 and 4 have
stride 2; where the last two are dilated, all their 3x3 convolutions are dilated by 2 and by 4
instead, as PSPNet has it. (torchvision and timm leave the first convolution of each of the two at
the dilation of the stage before: the same weights, other features.)
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gsto_viz.models.base import refuse_misfit
from gsto_viz.models.blocks import BasicBlock, Bottleneck, ConvBN
from gsto_viz.models.weights_file import read_weights

logger = logging.getLogger(__name__)

STRIDES = (4, 8, 16, 32)
"""Of the four stages, as ResNet has them."""
DILATED = (4, 8, 8, 8)
"""The same, dilated."""


class ResNet(nn.Module):
    """The features of a ResNet after each of its four stages.

    Args:
        blocks: Residual blocks of each of the four stages: (3, 4, 6, 3) in ResNet-50.
        width: Channels of the stem, and inner channels of the first stage; they double by stage.
        bottleneck: Whether blocks are 1x1 -> 3x3 -> 1x1 (ResNet-50) or 3x3 -> 3x3 (ResNet-18).
        strides: Of the four stages: ``STRIDES`` or ``DILATED``.
        bn_momentum: Momentum of batch norm.

    Attributes:
        channels: Channels of the output of each stage.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        width: int,
        *,
        bottleneck: bool,
        strides: Sequence[int],
        bn_momentum: float,
    ) -> None:
        super().__init__()
        kind = Bottleneck if bottleneck else BasicBlock
        self.stem = ConvBN(3, width, kernel_size=7, stride=2, bn_momentum=bn_momentum)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.channels = tuple(width * 2**stage * kind.expansion for stage in range(4))
        entering = (width, *self.channels)
        for stage, count in enumerate(blocks):
            made = nn.Sequential()
            for block in range(count):
                first = block == 0
                made.append(
                    kind(
                        entering[stage] if first else self.channels[stage],
                        width * 2**stage,
                        stride=2 if first and stage and strides[stage] > strides[stage - 1] else 1,
                        dilation=STRIDES[stage] // strides[stage],
                        bn_momentum=bn_momentum,
                    )
                )
            self.add_module(f"layer{stage + 1}", made)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> the four stages, (N, C, ceil(H/s), ceil(W/s)) at stride s each."""
        x, found = self.pool(self.stem(image)), []
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
            found.append(x)
        return tuple(found)


CLASSIFIER = ("fc.", "classifier.", "head.")
"""The ImageNet head, of no use to segmentation."""

_SPELLINGS = (
    ("stem.conv.", "conv1."),
    ("stem.bn.", "bn1."),
    ("shortcut.conv.", "downsample.0."),
    ("shortcut.bn.", "downsample.1."),
)


def imagenet_name(key: str) -> str:
    """Return ``layer1.0.downsample.0.weight`` for ``layer1.0.shortcut.conv.weight``."""
    for ours, theirs in _SPELLINGS:
        key = key.replace(ours, theirs)
    return key


def load_imagenet(resnet: ResNet, source: Mapping[str, Any] | str | Path) -> None:
    """Copy ImageNet weights into a ResNet; the classifier of the file is left out.

    Args:
        resnet: The network.
        source: A file of torchvision or timm, of ``torch.save`` or of safetensors, or its state.

    Raises:
        GstoVizError: The file cannot be read, or is of another ResNet (which keys do not fit, and
            how many); the network is unchanged.
    """
    read = read_weights(source, "layer1.0.conv1.weight")
    held = {key: one for key, one in read.tensors.items() if not key.startswith(CLASSIFIER)}
    own = {imagenet_name(key): one for key, one in resnet.state_dict().items()}
    missing = [k for k in own if k not in held and not k.endswith("num_batches_tracked")]
    reshaped = [k for k, one in own.items() if k in held and held[k].shape != one.shape]
    refuse_misfit(read.source, missing, [k for k in held if k not in own], reshaped)
    if read.said is not None:
        logger.warning("%s: %s", read.source, read.said)
    with torch.no_grad():
        for key, one in own.items():
            if key in held:
                one.copy_(held[key])
            else:
                one.zero_()
