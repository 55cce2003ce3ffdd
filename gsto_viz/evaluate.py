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
from gsto_viz.models.model_info import ModelInfo
from gsto_viz.stats.segmentation import SegmentationScores, confusion_matrix, scores_of
from gsto_viz.torch_utils import IMAGENET_MEAN, IMAGENET_STD, eval_mode, image_to_tensor
from gsto_viz.types import ClassList, Dataset, Sample

IMAGENET = (IMAGENET_MEAN, IMAGENET_STD)


class LogitsNotFiniteError(GstoVizError):
    """A network gives NaN or infinity, and no class can be read from that."""


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
def full_logits(model: nn.Module, image: npt.NDArray[np.uint8]) -> Tensor:
    """Return the logits of one image at its size.

    Logits are resized bilinearly, with the network's corner convention. The network should be in
    evaluation mode.

    Args:
        model: A network; ours say how images are normalised, others get ImageNet's values.
        image: (H, W, 3) uint8 sRGB.

    Returns:
        (K, H, W) float32 on the network's device.
    """
    info = getattr(model, "info", None)
    mean, std = (info.mean, info.std) if isinstance(info, ModelInfo) else IMAGENET
    batch = image_to_tensor(image, mean, std).unsqueeze(0)
    parameter = next(model.parameters(), batch)
    logits = model_logits(model(batch.to(parameter.device, parameter.dtype)))
    align = bool(getattr(getattr(model, "config", None), "align_corners", False))
    return resize_logits(logits, (image.shape[0], image.shape[1]), align_corners=align)[0]


def predict(model: nn.Module, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Label one image with the class of the greatest logit; arguments as for ``full_logits``.

    Returns:
        (H, W) uint8 class indices.
    """
    return _labels(full_logits(model, image))


def _finite_logits(model: nn.Module, sample: Sample) -> Tensor:
    """Return the logits of a sample; what is wrong with them is said with the sample's id."""
    try:
        logits = full_logits(model, sample.image)
    except GstoVizError as error:
        raise GstoVizError(f"{sample.id}: {error}") from error
    if not bool(torch.isfinite(logits).all()):
        raise LogitsNotFiniteError(
            f"{sample.id}: the network's logits are not finite; its weights are damaged"
        )
    return logits


def _labels(logits: Tensor) -> npt.NDArray[np.uint8]:
    return logits.argmax(dim=0).to("cpu", torch.uint8).numpy()


def check_classes(model: nn.Module, data: Dataset) -> None:
    """Refuse data whose classes are not those that a network was trained on, in name or order.

    Raises:
        GstoVizError: With the first difference. A network that says nothing of its classes passes.
    """
    info = getattr(model, "info", None)
    if not isinstance(info, ModelInfo):
        return
    ours, theirs = info.classes.names, data.classes.names
    advice = "take data of the classes that it was trained on"
    if len(ours) != len(theirs):
        raise GstoVizError(
            f"the network has {len(ours)} classes and {data.name} has {len(theirs)}; {advice}"
        )
    for k, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if a.casefold() != b.casefold():
            raise GstoVizError(
                f"class {k} is '{a}' for {info.name} and '{b}' in {data.name}; {advice}"
            )


def evaluate(
    model: nn.Module, data: Dataset, *, indices: Iterable[int] | None = None
) -> Evaluation:
    """Score a network on all images of a data set at their native size.

    The network is in evaluation mode meanwhile; afterwards every part of it is in the mode that it
    was in, also when an image cannot be scored.

    Args:
        model: A network with as many classes as the data set.
        data: Annotated images, of any sizes.
        indices: Images to use, e.g. wrapped in a progress bar; None takes all.

    Raises:
        GstoVizError: The classes differ, an image has no labels or is too small, logits are not
            finite, or no image has a labelled pixel.
    """
    check_classes(model, data)
    num_classes = len(data.classes)
    total = np.zeros((num_classes, num_classes), dtype=np.int64)
    count = 0
    with eval_mode(model):
        for index in range(len(data)) if indices is None else indices:
            sample = data[index]
            if sample.labels is None:
                raise GstoVizError(f"{sample.id} has no labels; scores need annotated images")
            logits = _finite_logits(model, sample)
            if len(logits) != num_classes:
                raise GstoVizError(
                    f"the network has {len(logits)} classes and {data.name} has {num_classes}; "
                    "take data of the classes that it was trained on"
                )
            total += confusion_matrix(sample.labels, _labels(logits), num_classes)
            count += 1
    return Evaluation(data.name, count, data.classes, total, scores_of(total))
