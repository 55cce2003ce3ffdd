"""Losses of segmentation networks with deep supervision."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from gsto_viz.distributed import ALONE, World
from gsto_viz.errors import GstoVizError
from gsto_viz.models.base import SegmentationOutput
from gsto_viz.types import IGNORE


def resize_logits(logits: Tensor, size: tuple[int, int], *, align_corners: bool = False) -> Tensor:
    """Bring logits to label size, bilinear, at least in float32: (N, K, h, w) -> (N, K, *size)."""
    full = logits if logits.dtype == torch.float64 else logits.float()
    return F.interpolate(full, size=size, mode="bilinear", align_corners=align_corners)


@dataclass(frozen=True)
class HardPixels:
    """Online hard example mining: only pixels that the network is unsure of count.

    Attributes:
        threshold: Pixels count whose true class has a probability below this.
        kept: If fewer than these do, the threshold rises to the probability of number ``kept``,
            from 0, in rising order: so many pixels count at least, unless probabilities are equal.
            It is a number for the whole batch, however many processes share it.
        parts: In how many parts each process computes its share of the batch.
    """

    threshold: float
    kept: int
    parts: int = 1


def label_mass(labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Return what a mean over labelled pixels is divided by: their number, or their weights' sum.

    Args:
        labels: (..., H, W) int64, 0..K-1 or 255.
        class_weights: (K,) or None.

    Returns:
        A float32 scalar; exact in float64 before.
    """
    exact = torch.float32 if labels.device.type == "mps" else torch.float64
    counted = labels[labels != IGNORE]
    if class_weights is None:
        return torch.tensor(float(counted.numel()), device=labels.device)
    pixels = torch.bincount(counted, minlength=len(class_weights))
    return (pixels * class_weights.to(exact)).sum().float()


def segmentation_loss(
    output: SegmentationOutput,
    labels: Tensor,
    *,
    class_weights: Tensor | None = None,
    auxiliary_weights: Mapping[str, float] | None = None,
    align_corners: bool = False,
    mass: Tensor | None = None,
    hard_pixels: HardPixels | None = None,
    world: World = ALONE,
) -> Tensor:
    """Return the loss of GSTO, section 3.4: L4 + 0.5 L3 + 0.3 L2 (+ 0.2 L1 where it exists).

    Each L is the (class-weighted) mean of the cross-entropy over labelled pixels at label size; 0
    when no pixel is labelled, as happens in small batches of crops.

    A batch may be shared by processes and computed in parts. Each call then gives a share of the
    batch's loss, and the shares add up to the loss of the whole batch in one piece (but for hard
    pixels, which are chosen in each part on its own).

    Args:
        output: Result of a network; its auxiliary logits each need a weight.
        labels: (N, H, W) int64, 0..K-1 or 255.
        class_weights: (K,) or None.
        auxiliary_weights: Weight by stage name; stages that the network lacks are not used.
        align_corners: The network's corner convention.
        mass: ``label_mass`` of the whole batch over all parts and processes; None: of ``labels``.
        hard_pixels: Counts hard pixels alone in the main loss; auxiliary losses count all.
        world: The processes that share the batch.

    Raises:
        GstoVizError: An auxiliary head has no weight.
    """
    size = (int(labels.shape[-2]), int(labels.shape[-1]))
    total = label_mass(labels, class_weights) if mass is None else mass

    def resized(logits: Tensor) -> Tensor:
        return resize_logits(logits, size, align_corners=align_corners)

    def cross_entropy(logits: Tensor) -> Tensor:
        summed = F.cross_entropy(
            resized(logits), labels, weight=class_weights, ignore_index=IGNORE, reduction="sum"
        )
        return summed / total.clamp(min=1e-12)

    if hard_pixels is None:
        loss = cross_entropy(output.logits)
    else:
        mean = hard_pixel_loss(resized(output.logits), labels, hard_pixels, class_weights, world)
        loss = mean / hard_pixels.parts
    return with_auxiliary_losses(loss, output, auxiliary_weights, cross_entropy)


def with_auxiliary_losses(
    loss: Tensor,
    output: SegmentationOutput,
    weights: Mapping[str, float] | None,
    loss_of: Callable[[Tensor], Tensor],
) -> Tensor:
    """Add to the loss of a network those of its auxiliary heads, each times its weight by name.

    Raises:
        GstoVizError: An auxiliary head has no weight.
    """
    for stage, logits in output.auxiliary.items():
        if weights is None or stage not in weights:
            raise GstoVizError(f"the auxiliary head of {stage} has no loss weight; give one")
        loss = loss + weights[stage] * loss_of(logits)
    return loss


def hard_pixel_loss(
    logits: Tensor,
    labels: Tensor,
    hard: HardPixels,
    class_weights: Tensor | None = None,
    world: World = ALONE,
) -> Tensor:
    """Return this process's share of the mean loss of hard pixels, as HRNet's OHEM has it.

    Class weights multiply the losses and the mean is over the number of pixels, not over weights.

    Args:
        logits: (N, K, H, W) float32.
        labels: (N, H, W) int64, 0..K-1 or 255.
        hard: Which pixels count. The threshold is that of all processes' pixels together.
        class_weights: (K,) or None.
        world: The processes that share the batch; their results add up to its mean.
    """
    labelled = labels != IGNORE
    classes = labels.where(labelled, 0)
    log_chance = F.log_softmax(logits, dim=1).gather(1, classes.unsqueeze(1)).squeeze(1)
    losses = -log_chance if class_weights is None else -log_chance * class_weights[classes]
    chance = log_chance.detach().exp()
    level = _hardness(chance[labelled], hard, world)
    counted = labelled & (chance < level)
    number = world.sum(counted.sum())
    return (losses * counted).sum() / number.clamp(min=1)


def _hardness(chance: Tensor, hard: HardPixels, world: World) -> float:
    """Return the probability below which a pixel is hard, from those of all labelled pixels."""
    counts = torch.tensor([chance.numel(), int((chance < hard.threshold).sum())])
    number, below = world.sum(counts).tolist()
    rank = min(hard.kept // hard.parts, number - 1)
    if number == 0 or below > rank:
        return hard.threshold
    if world.size > 1:
        # The smallest of all are among the smallest of each process; the others need not travel.
        smallest = chance.new_full((rank + 1,), torch.inf)
        own = min(rank + 1, chance.numel())
        smallest[:own] = torch.topk(chance, own, largest=False).values
        chance = torch.cat(world.gather(smallest))
    return max(float(torch.kthvalue(chance, rank + 1).values), hard.threshold)


def log_inverse_frequency(pixels: npt.NDArray[np.int64], power: float = 1.0) -> Tensor:
    """Return class weights (1 / ln(1.02 + p_k)) ** power, divided by their mean.

    Args:
        pixels: (K,) labelled training pixels of each class; p_k is a class's share.
        power: 1 weighs rare classes fully, 0.5 by the square root, 0 all alike.

    Returns:
        (K,) float32 with mean 1.
    """
    if pixels.sum() == 0:
        raise GstoVizError(
            "no labelled pixel in the training data: classes cannot be weighted; check the labels"
        )
    weights = (1.0 / np.log(1.02 + pixels / pixels.sum())) ** power
    return torch.tensor(weights / weights.mean(), dtype=torch.float32)
