"""Evaluate a segmentation network on a data set: one confusion matrix, single scale, no flip."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gsto_viz.errors import GstoVizError
from gsto_viz.models.losses import resize_logits
from gsto_viz.stats.segmentation import SegmentationScores, confusion_matrix, scores_of
from gsto_viz.torch_utils import IMAGENET_MEAN, IMAGENET_STD, eval_mode, image_to_tensor
from gsto_viz.types import ClassList, Dataset


@dataclass(frozen=True)
class Evaluation:
    """Scores of one network on one data set.

    Attributes:
        data: Name of the data set.
        images: Number of images.
        classes: Classes of the confusion matrix.
        confusion: (K, K) int64 pixel counts, true x predicted, over the whole data set.
        scores: What follows from it, in percent.
    """

    data: str
    images: int
    classes: ClassList
    confusion: npt.NDArray[np.int64]
    scores: SegmentationScores

    def to_json(self) -> dict[str, Any]:
        """Return plain values; ``miou`` and the other scores are in percent."""
        scores = self.scores
        return {
            "data": self.data,
            "images": self.images,
            "miou": scores.miou,
            "pixel_accuracy": scores.pixel_accuracy,
            "mean_accuracy": scores.mean_accuracy,
            "classes": [
                {"id": c.id, "name": c.name, "iou": i, "accuracy": a, "pixels": p}
                for c, i, a, p in zip(
                    self.classes, scores.iou, scores.accuracy, scores.pixels, strict=True
                )
            ],
            "confusion": self.confusion.tolist(),
        }


def model_logits(output: Any) -> Tensor:
    """Return the main logits of a network's output: ours, a tensor, or the first of a sequence."""
    if isinstance(output, Tensor):
        return output
    logits = getattr(output, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    if isinstance(output, (list, tuple)) and output and isinstance(output[0], Tensor):
        return output[0]
    raise GstoVizError(
        f"the network returns a {type(output).__name__}; a tensor of logits, or something with a "
        "field 'logits', is needed"
    )


@torch.inference_mode()
def predict(model: nn.Module, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Label one image.

    Logits are resized to the image (bilinear, with the network's corner convention) before the
    greatest is taken. The network should be in evaluation mode.

    Args:
        model: A network; ours say how images are normalised, others get ImageNet's values.
        image: (H, W, 3) uint8 sRGB.

    Returns:
        (H, W) uint8 class indices.
    """
    info = getattr(model, "info", None)
    mean = info.mean if info else IMAGENET_MEAN
    std = info.std if info else IMAGENET_STD
    parameter = next(model.parameters())
    batch = image_to_tensor(image, mean, std).unsqueeze(0).to(parameter.device)
    logits = model_logits(model(batch))
    align = bool(getattr(getattr(model, "config", None), "align_corners", False))
    full = resize_logits(logits, (image.shape[0], image.shape[1]), align_corners=align)
    return full.argmax(dim=1)[0].to("cpu", torch.uint8).numpy()


def evaluate(
    model: nn.Module, data: Dataset, *, indices: Iterable[int] | None = None
) -> Evaluation:
    """Score a network on all images of a data set at their native size.

    Args:
        model: A network with as many classes as the data set.
        data: Annotated images.
        indices: Images to use, e.g. wrapped in a progress bar; None takes all.

    Raises:
        GstoVizError: The class counts differ, or an image has no labels.
    """
    num_classes = len(data.classes)
    config = getattr(model, "config", None)
    if config is not None and config.num_classes != num_classes:
        raise GstoVizError(
            f"the network has {config.num_classes} classes and {data.name} has {num_classes}; "
            "take data of the classes that it was trained on"
        )
    total = np.zeros((num_classes, num_classes), dtype=np.int64)
    count = 0
    with eval_mode(model):
        for index in range(len(data)) if indices is None else indices:
            sample = data[index]
            if sample.labels is None:
                raise GstoVizError(f"{sample.id} has no labels; scores need annotated images")
            total += confusion_matrix(sample.labels, predict(model, sample.image), num_classes)
            count += 1
    return Evaluation(data.name, count, data.classes, total, scores_of(total))
