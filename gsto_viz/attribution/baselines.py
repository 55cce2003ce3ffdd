"""Baselines: what stands in for a branch that is absent.

None of them is right: a mean or a zero is no feature that the network ever saw, and another image
has contents of its own. Conclusions should hold for all three.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gsto_viz.attribution.head import HeadPass, find_head, head_pass
from gsto_viz.calibrate import channel_moments
from gsto_viz.errors import GstoVizError


@dataclass(frozen=True, eq=False)
class Baseline:
    """Features in place of absent branches.

    Attributes:
        name: What it is, e.g. ``dataset mean of 64 images``.
        features: By branch, (1, C_r, 1, 1), one number per channel, or (1, C_r, h_r, w_r).
        head: The head whose branches they are.
    """

    name: str
    features: tuple[Tensor, ...]
    head: str = "main"


def zero_baseline(model: nn.Module, head: str = "main") -> Baseline:
    """Return zeros: a branch that fires nowhere."""
    place = find_head(model, head)
    like = next(model.parameters())
    zeros = tuple(like.detach().new_zeros(1, channels, 1, 1) for channels in place.channels)
    return Baseline("zero", zeros, head)


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
    place = find_head(model, head)
    moments = channel_moments(model, images, place.taps)
    like = next(model.parameters())
    means = tuple(
        torch.from_numpy(moments[tap].mean).to(like)[None, :, None, None] for tap in place.taps
    )
    return Baseline(name, means, head)


def own_mean_baseline(seen: HeadPass) -> Baseline:
    """Return each channel's mean over all cells of one pass: the image without its places."""
    means = tuple(features.mean(dim=(0, 2, 3), keepdim=True) for features in seen.branches)
    return Baseline("mean of this image", means, seen.place.name)


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
