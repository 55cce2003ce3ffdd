"""Losses of segmentation networks with deep supervision."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from gsto_viz.errors import GstoVizError
from gsto_viz.models.hrnet import SegmentationOutput
from gsto_viz.types import IGNORE


def resize_logits(logits: Tensor, size: tuple[int, int], *, align_corners: bool = False) -> Tensor:
    """Bring logits to label size, bilinear, in float32: (N, K, h, w) -> (N, K, *size)."""
    return F.interpolate(logits.float(), size=size, mode="bilinear", align_corners=align_corners)


def segmentation_loss(
    output: SegmentationOutput,
    labels: Tensor,
    *,
    class_weights: Tensor | None = None,
    auxiliary_weights: Mapping[str, float] | None = None,
    align_corners: bool = False,
) -> Tensor:
    """Return the loss of GSTO, section 3.4: L4 + 0.5 L3 + 0.3 L2 (+ 0.2 L1 where it exists).

    Each L is the (class-weighted) mean of the cross-entropy over labelled pixels at label size; 0
    when no pixel is labelled, as happens in small batches of crops.

    Args:
        output: Result of a network; its auxiliary logits each need a weight.
        labels: (N, H, W) int64, 0..K-1 or 255.
        class_weights: (K,) or None.
        auxiliary_weights: Weight by stage name; stages that the network lacks are not used.
        align_corners: The network's corner convention.

    Raises:
        GstoVizError: An auxiliary head has no weight.
    """
    size = (int(labels.shape[-2]), int(labels.shape[-1]))

    labelled = bool((labels != IGNORE).any())

    def cross_entropy(logits: Tensor) -> Tensor:
        full = resize_logits(logits, size, align_corners=align_corners)
        if not labelled:
            return 0.0 * full.sum()
        return F.cross_entropy(full, labels, weight=class_weights, ignore_index=IGNORE)

    loss = cross_entropy(output.logits)
    for stage, logits in output.auxiliary.items():
        if auxiliary_weights is None or stage not in auxiliary_weights:
            raise GstoVizError(f"the auxiliary head of {stage} has no loss weight; give one")
        loss = loss + auxiliary_weights[stage] * cross_entropy(logits)
    return loss


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
