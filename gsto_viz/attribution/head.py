r"""The head split by branch: what each branch adds to the evidence, and what replaces it.

HRNetV2's head is affine in its branches up to the ReLU: with batch norm in evaluation mode,

.. math:: h(p) = b + \sum_r h_r(p), \qquad h_r = W_r \, \mathrm{up}(F_r) = \mathrm{up}(W_r F_r)

with F_r the branch, W_r its columns of the folded 1x1 convolution, and up the bilinear resize to
the finest grid, which commutes with a 1x1 convolution: the products are made at low resolution. The
same holds for GSTO-HRNet and for its deep-supervision heads, and for the official pose HRNet, where
W_r is the branch's transfer in the last fusion, and up takes the nearest cell. The head of PPM
begins with a 3x3 convolution, which does not commute: there features are resized first.

None of them is right: the network never saw a mean or a zero as a feature, and another image has
contents of its own. Conclusions should hold for all three.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gsto_viz.anatomy import Head, anatomy_of
from gsto_viz.attribution.targets import head_logits
from gsto_viz.calibrate import channel_moments
from gsto_viz.capture import Capture
from gsto_viz.errors import GstoVizError
from gsto_viz.models.base import task_of
from gsto_viz.models.blocks import ConvBN, Resize
from gsto_viz.models.fusion import Fusion, ScaleTransfer
from gsto_viz.network import Baseline
from gsto_viz.torch_utils import eval_mode
from gsto_viz.types import Tap

CHUNK = 256
"""Cells of the grid worked on at a time: all coalitions of so many fit a processor's cache."""


@dataclass(frozen=True, eq=False)
class BranchHead:
    """A head as a sum over branches, then ReLU, then the classifier."""

    weights: tuple[Tensor, ...]
    """By branch, its columns of the first convolution, batch norm folded in: (D, C_r) of a 1x1
    convolution, (D, C_r, k, k) of a wider one."""
    bias: Tensor
    """(D,)"""
    classifier: Tensor
    """(K, D)"""
    classifier_bias: Tensor
    """(K,)"""
    resize: Resize
    """What brings branches to the finest grid."""
    means: tuple[float, ...]
    """By branch, what an equalizer takes off its features; 0 without one."""

    def contribution(self, branch: int, features: Tensor, size: Sequence[int]) -> Tensor:
        """Return what a branch adds to the hidden layer.

        Args:
            branch: Which.
            features: (N, C_r, h, w); one cell is one number per channel everywhere.
            size: (h_0, w_0) of the finest grid.

        Returns:
            (N, D, h_0, w_0), or (N, D, 1, 1) where it is the same everywhere.
        """
        weight = self.weights[branch]
        if features.shape[1] != weight.shape[1]:
            raise GstoVizError(
                f"branch {branch} has {features.shape[1]} channels on axis 1 of "
                f"{tuple(features.shape)} and the head reads {weight.shape[1]}; give the features "
                "that enter this head"
            )
        if self.means[branch]:
            features = features - self.means[branch]
        if weight.dim() == 2:
            return self._resized(F.conv2d(features, weight[:, :, None, None]), size)
        # At the border zeros are read, so that not even a constant adds the same everywhere.
        whole = self._resized(features, size).expand(-1, -1, *size)
        return F.conv2d(whole, weight, padding=weight.shape[-1] // 2)

    def _resized(self, features: Tensor, size: Sequence[int]) -> Tensor:
        """Bring maps to the finest grid; one cell stays one."""
        if tuple(features.shape[-2:]) in ((1, 1), tuple(size)):
            return features
        resized: Tensor = self.resize(features, tuple(size))
        return resized

    def contributions(self, branches: Sequence[Tensor]) -> list[Tensor]:
        """Return h_r on the finest grid, (N, D, h_0, w_0) for each branch."""
        size = branches[0].shape[-2:]
        return [
            self.contribution(r, features, size).expand(-1, -1, *size)
            for r, features in enumerate(branches)
        ]

    def logits(self, hidden: Tensor) -> Tensor:
        """Apply ReLU and classifier: (..., D, n) -> (..., K, n)."""
        return self.classifier @ hidden.relu() + self.classifier_bias[:, None]

    def __len__(self) -> int:
        return len(self.weights)


def split_head(head: nn.Module, channels: Sequence[int]) -> BranchHead:
    """Split a head by branch, with its batch norm folded into the convolution.

    Args:
        head: A head of ours; ``bn`` may be an identity (folded before).
        channels: C_r of each branch.

    Raises:
        GstoVizError: It is another kind of head, or its convolution reads other channels.
    """
    classifier = _plain(head, "classifier", (1,))
    parts = None if classifier is None else _terms(head, channels) or _columns(head, channels)
    if classifier is None or parts is None:
        raise GstoVizError(
            f"{type(head).__name__} is not a head of a convolution, batch norm, ReLU and a 1x1 "
            "classifier, so it cannot be split by branch exactly; use interventions on its branches"
        )
    weights, bias, resize = parts
    like = classifier.weight
    no_bias = like.new_zeros(classifier.out_channels)
    means, deviations = _equalized(head, len(channels))
    return BranchHead(
        weights=tuple((w / d).to(like.dtype) for w, d in zip(weights, deviations, strict=True)),
        bias=bias.to(like.dtype),
        classifier=like.detach()[:, :, 0, 0],
        classifier_bias=no_bias if classifier.bias is None else classifier.bias.detach(),
        resize=resize,
        means=means,
    )


Parts = tuple[Sequence[Tensor], Tensor, Resize]
"""By branch its weights, the bias, both float64, and what brings branches to the finest grid."""


def _terms(head: nn.Module, channels: Sequence[int]) -> Parts | None:
    """Return how a fusion into branch 0 without gates carries the branches; None: there is none."""
    fusion = getattr(head, "fusion", None)
    if not isinstance(fusion, Fusion) or len(fusion.targets) > 1:
        return None
    own, *others = fusion.transfers.values()
    units = [one.convs for one in others if isinstance(one, ScaleTransfer)]
    folded = [_folded(one.conv, one.bn) for one in units if isinstance(one, ConvBN)]
    if not isinstance(own, ScaleTransfer) or len(folded) < len(others):
        return None
    weights, shifts = ([part[k] for part in folded] for k in (0, 1))
    same = torch.eye(channels[0]).to(weights[0])
    resize = _resize(others[-1].resize)
    return [same, *(one[:, :, 0, 0] for one in weights)], torch.stack(shifts).sum(0), resize


def _columns(head: nn.Module, channels: Sequence[int]) -> Parts | None:
    """Return the columns of a convolution of all branches; None: there is no such convolution."""
    # Convolution and batch norm may stand in a unit of their own.
    unit = getattr(head, "fuse", head)
    conv, norm = _plain(unit, "conv", (1, 3)), getattr(unit, "bn", None)
    if conv is None or not isinstance(norm, nn.BatchNorm2d | nn.Identity):
        return None
    if conv.in_channels != sum(channels):
        raise GstoVizError(
            f"the head reads {conv.in_channels} channels and its branches have "
            f"{' + '.join(map(str, channels))}; give the branches that enter it"
        )
    weight, bias = _folded(conv, norm)
    if conv.kernel_size == (1, 1):
        weight = weight[:, :, 0, 0]
    resize = next(iter(getattr(head, "resizes", ())), None)
    return weight.split(list(channels), dim=1), bias, _resize(resize)


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d | nn.Identity) -> tuple[Tensor, Tensor]:
    """Return the weight and bias of a convolution with the batch norm behind it, float64."""
    weight = conv.weight.detach().double()
    bias = weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias.detach().double()
    if isinstance(norm, nn.BatchNorm2d):
        scale, shift = _affine(norm)
        weight, bias = weight * scale[:, None, None, None], bias * scale + shift
    return weight, bias


def _resize(own: object) -> Resize:
    """Return what resizes as the head's own module, whose hooks see the network's calls alone."""
    corners = bool(getattr(own, "align_corners", False))
    return Resize(getattr(own, "mode", "bilinear"), align_corners=corners)


def _equalized(head: nn.Module, count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of the equalizer of each branch; 0 and 1 without."""
    given = getattr(head, "equalizers", None)
    if not given:
        return (0.0,) * count, (1.0,) * count
    return tuple(float(one.mean) for one in given), tuple(float(one.deviation) for one in given)


def _plain(head: nn.Module, name: str, sides: Sequence[int]) -> nn.Conv2d | None:
    """Return the head's plain convolution of that name and such a kernel, if there is one."""
    conv = getattr(head, name, None)
    if not isinstance(conv, nn.Conv2d) or conv.groups > 1 or conv.padding_mode != "zeros":
        return None
    side = conv.kernel_size[0]
    around = (side // 2, side // 2)
    plain = (conv.kernel_size, conv.stride, conv.dilation) == ((side, side), (1, 1), (1, 1))
    return conv if plain and side in sides and conv.padding == around else None


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return what a batch norm in evaluation mode multiplies by and adds, float64."""
    if norm.running_mean is None or norm.running_var is None:
        raise GstoVizError("the head's batch norm keeps no statistics and cannot be folded")
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()
    shift = -norm.running_mean.double() * scale
    if norm.bias is not None:
        shift = shift + norm.bias.detach().double()
    return scale, shift


def find_head(model: nn.Module, head: str = "main") -> Head:
    """Return where a head of a network is and what enters it.

    Raises:
        GstoVizError: The network declares none, or has no such head (its heads are named).
    """
    anatomy = anatomy_of(model)
    heads = {} if anatomy is None else {one.name: one for one in anatomy.heads}
    if not heads:
        raise GstoVizError(
            f"{type(model).__name__} declares no head that can be split by branch; exact shares "
            "need one that all branches enter through a single convolution, as HRNetV2's"
        )
    if head not in heads:
        raise GstoVizError(f"the network has no head '{head}'; it has {', '.join(heads)}")
    return heads[head]


@dataclass(frozen=True, eq=False)
class HeadPass:
    """One forward pass, as its head sees it.

    Attributes:
        declared: Which head.
        head: The head, split.
        branches: F_r, (N, C_r, h_r, w_r).
        logits: What the network itself gave at this head, (N, K, h_0, w_0).
        output: Everything that the network gave.
        margins: Whether the logits are of classes that exclude one another; heat maps of joints do
            not.
    """

    declared: Head
    head: BranchHead
    branches: tuple[Tensor, ...]
    logits: Tensor
    output: Any
    margins: bool = True

    @cached_property
    def contributions(self) -> list[Tensor]:
        """h_r on the finest grid, (N, D, h_0, w_0) for each branch."""
        return self.head.contributions(self.branches)


@torch.no_grad()
def head_pass(model: nn.Module, image: Tensor, head: str = "main") -> HeadPass:
    """Run a network once and keep what enters and leaves a head.

    Args:
        model: An HRNetV2 or GSTO-HRNet; it is put into evaluation mode meanwhile.
        image: (N, 3, H, W), normalised, on the network's device.
        head: ``main`` or a deep-supervision head.
    """
    declared = find_head(model, head)
    with eval_mode(model), Capture(model, declared.taps, reduce="none") as maps:
        output = model(image)
    branches = tuple(maps[tap] for tap in declared.taps)
    split = split_head(model.get_submodule(declared.module), declared.channels)
    margins = task_of(model) != "pose"
    return HeadPass(declared, split, branches, head_logits(output, head), output, margins)


def coalition_logits(
    head: BranchHead, base: Tensor, deltas: Sequence[Tensor], chunk: int = CHUNK
) -> Iterator[tuple[int, Tensor]]:
    """Yield the logits of every coalition of branches, a few cells at a time.

    Args:
        head: The head.
        base: (D, n): the hidden layer before its ReLU with every branch at its baseline.
        deltas: By branch, (D, n): what the branch's own features add to that.
        chunk: Cells at a time.

    Yields:
        The first cell, and (2^R, K, cells): entry S holds branch r present where bit r of S is set.
    """
    count = base.shape[1]
    for start in range(0, count, chunk):
        cells = slice(start, start + chunk)
        width = min(chunk, count - start)
        hidden = base.new_empty(1 << len(deltas), base.shape[0], width)
        hidden[0] = base[:, cells]
        for r, delta in enumerate(deltas):
            torch.add(hidden[: 1 << r], delta[:, cells], out=hidden[1 << r : 2 << r])
        yield start, head.logits(hidden)


def zero_baseline(model: nn.Module, head: str = "main") -> Baseline:
    """Return zeros: a branch that fires nowhere."""
    declared = find_head(model, head)
    like = next(model.parameters())
    zeros = tuple(like.detach().new_zeros(1, channels, 1, 1) for channels in declared.channels)
    return Baseline("zero", zeros, head)


def channel_means(
    model: nn.Module, images: Iterable[Tensor], taps: str | Sequence[str] | Mapping[str, Tap | str]
) -> dict[str, Tensor]:
    """Return each channel's mean over all cells of some images, (1, C, 1, 1) by tap."""
    like = next(model.parameters())
    moments = channel_moments(model, images, taps)
    return {
        tap: torch.from_numpy(one.mean).to(like)[None, :, None, None]
        for tap, one in moments.items()
    }


def mean_baseline(
    model: nn.Module, images: Iterable[Tensor], head: str = "main", *, name: str = "dataset mean"
) -> Baseline:
    """Return each channel's mean over all cells of some images.

    Args:
        model: A float32 network.
        images: Normalised, (3, H, W) or (N, 3, H, W) each.
        head: The head.
        name: What to call it.
    """
    means = channel_means(model, images, find_head(model, head).taps)
    return Baseline(name, tuple(means.values()), head)


def own_mean_baseline(seen: HeadPass) -> Baseline:
    """Return each channel's mean over all cells of one pass: the image without its places."""
    means = tuple(features.mean(dim=(0, 2, 3), keepdim=True) for features in seen.branches)
    return Baseline("mean of this image", means, seen.declared.name)


def image_baseline(
    model: nn.Module, image: Tensor, head: str = "main", *, name: str = "another image"
) -> Baseline:
    """Return the features of another image of the same size, (1, 3, H, W) normalised.

    Raises:
        GstoVizError: It is a batch of several images.
    """
    if image.shape[0] != 1:
        raise GstoVizError(
            f"axis 0 of {tuple(image.shape)} has {image.shape[0]} images; give one as a baseline"
        )
    return Baseline(name, head_pass(model, image, head).branches, head)


def check_baseline(baseline: Baseline, branches: tuple[Tensor, ...], head: str) -> None:
    """Refuse a baseline of another head or of an image of another size."""
    if baseline.head != head or len(baseline.features) != len(branches):
        raise GstoVizError(
            f"baseline '{baseline.name}' is of head {baseline.head} and head {head} is explained; "
            "make it for this head"
        )
    for r, (absent, present) in enumerate(zip(baseline.features, branches, strict=True)):
        sizes = ((1, 1), tuple(present.shape[-2:]))
        if absent.shape[1] != present.shape[1] or tuple(absent.shape[-2:]) not in sizes:
            raise GstoVizError(
                f"baseline '{baseline.name}' has shape {tuple(absent.shape)} at branch {r} and the "
                f"features have {tuple(present.shape)}; take an image of the same size"
            )
