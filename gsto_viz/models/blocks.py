"""Building blocks of networks: convolution units, residual blocks, resizing.

Every ReLU and every resize is a module of its own that is called once per forward, and nothing
works in place, so that a hook on any of them sees what was really computed.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BN_EPS = 1e-5


def batch_norm(channels: int, momentum: float) -> nn.BatchNorm2d:
    """Make a batch norm with HRNet's epsilon (1e-5) and the given running-average momentum."""
    return nn.BatchNorm2d(channels, eps=BN_EPS, momentum=momentum)


class ConvBN(nn.Module):
    """Convolution without bias, batch norm, and (unless ``relu`` is False) ReLU.

    Shapes: (N, in, H, W) -> (N, out, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        relu: bool = True,
        bn_momentum: float = 0.01,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
            groups=groups,
            bias=False,
        )
        self.bn = batch_norm(out_channels, bn_momentum)
        self.relu = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return ``relu(bn(conv(x)))``."""
        out: Tensor = self.relu(self.bn(self.conv(x)))
        return out


class SeparableConvBN(nn.Module):
    """A 3x3 convolution of each channel alone, then a 1x1 one, each with batch norm and ReLU.

    Shapes: (N, in, H, W) -> (N, out, H, W).
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, dilation: int = 1, bn_momentum: float = 0.01
    ) -> None:
        super().__init__()
        self.depthwise = ConvBN(
            in_channels, in_channels, dilation=dilation, groups=in_channels, bn_momentum=bn_momentum
        )
        self.pointwise = ConvBN(in_channels, out_channels, kernel_size=1, bn_momentum=bn_momentum)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``pointwise(depthwise(x))``."""
        out: Tensor = self.pointwise(self.depthwise(x))
        return out


class BasicBlock(nn.Module):
    """Residual block of two 3x3 convolutions, the first of which may have a stride.

    The identity path gets a 1x1 convolution with batch norm where channels or size change.
    Shapes: (N, in, H, W) -> (N, out, ceil(H / stride), ceil(W / stride)).
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        planes: int | None = None,
        *,
        stride: int = 1,
        dilation: int = 1,
        bn_momentum: float = 0.01,
    ) -> None:
        super().__init__()
        planes = in_channels if planes is None else planes
        self.conv1 = _conv3x3(in_channels, planes, stride, dilation)
        self.bn1 = batch_norm(planes, bn_momentum)
        self.relu1 = nn.ReLU()
        self.conv2 = _conv3x3(planes, planes, 1, dilation)
        self.bn2 = batch_norm(planes, bn_momentum)
        self.shortcut = _shortcut(in_channels, planes, stride, bn_momentum)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return ``relu(x + bn2(conv2(relu(bn1(conv1(x))))))``."""
        residual = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        out: Tensor = self.relu2(residual + self.shortcut(x))
        return out


class Bottleneck(nn.Module):
    """Residual block 1x1 -> 3x3 -> 1x1 with four times ``planes`` output channels.

    The 3x3 convolution may have a stride. The identity path gets a 1x1 convolution with batch norm
    where channels or size change.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        planes: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        bn_momentum: float = 0.01,
    ) -> None:
        super().__init__()
        out_channels = planes * self.expansion
        self.conv1 = nn.Conv2d(in_channels, planes, 1, bias=False)
        self.bn1 = batch_norm(planes, bn_momentum)
        self.relu1 = nn.ReLU()
        self.conv2 = _conv3x3(planes, planes, stride, dilation)
        self.bn2 = batch_norm(planes, bn_momentum)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(planes, out_channels, 1, bias=False)
        self.bn3 = batch_norm(out_channels, bn_momentum)
        self.shortcut = _shortcut(in_channels, out_channels, stride, bn_momentum)
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, 4 * planes, ceil(H / stride), ceil(W / stride))."""
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.relu2(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        result: Tensor = self.relu3(out + self.shortcut(x))
        return result


def _conv3x3(in_channels: int, out_channels: int, stride: int, dilation: int) -> nn.Conv2d:
    return nn.Conv2d(
        in_channels,
        out_channels,
        3,
        stride=stride,
        padding=dilation,
        dilation=dilation,
        bias=False,
    )


def _shortcut(in_channels: int, out_channels: int, stride: int, bn_momentum: float) -> nn.Module:
    """Make the identity path of a residual block."""
    if in_channels == out_channels and stride == 1:
        return nn.Identity()
    return ConvBN(
        in_channels,
        out_channels,
        kernel_size=1,
        stride=stride,
        relu=False,
        bn_momentum=bn_momentum,
    )


class Resize(nn.Module):
    """Resize a map to an explicit size; a module, so that the resized map can be captured.

    Args:
        mode: ``bilinear`` (segmentation networks) or ``nearest`` (classification networks).
        align_corners: For bilinear: whether corner pixel centres are made to coincide.
    """

    def __init__(self, mode: str = "bilinear", *, align_corners: bool = False) -> None:
        super().__init__()
        self.mode = mode
        self.align_corners = align_corners

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """(N, C, h, w) -> (N, C, *size)."""
        if self.mode == "nearest":
            return F.interpolate(x, size=size, mode="nearest")
        return F.interpolate(x, size=size, mode=self.mode, align_corners=self.align_corners)

    def extra_repr(self) -> str:
        """Show mode and corner convention when the module is printed."""
        return f"mode={self.mode}, align_corners={self.align_corners}"


class Equalizer(nn.Module):
    """(x - mean) / deviation, two fixed numbers (see ``gsto_viz.models.equalizer``).

    Passes x on unchanged until they are estimated.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))

    def reset_parameters(self) -> None:
        """Forget the estimate."""
        self.mean.zero_()
        self.deviation.fill_(1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape in and out."""
        return (x - self.mean) / self.deviation


def resizes(count: int, *, align_corners: bool) -> nn.ModuleList:
    """Make bilinear resizes, one for each map, so that each is called once per forward."""
    return nn.ModuleList(Resize("bilinear", align_corners=align_corners) for _ in range(count))


def spatial_size(x: Tensor) -> tuple[int, int]:
    """Return (height, width) of a (N, C, H, W) tensor."""
    return int(x.shape[-2]), int(x.shape[-1])
