"""Segmentation scores from one confusion matrix over a data set."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gsto_viz.errors import GstoVizError
from gsto_viz.types import IGNORE


def confusion_matrix(
    labels: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer], num_classes: int
) -> npt.NDArray[np.int64]:
    """Count pixels by true (row) and predicted (column) class.

    Args:
        labels: Any shape, 0..K-1 or 255 (not counted).
        predicted: Same shape, 0..K-1.
        num_classes: K.

    Returns:
        (K, K) int64. Matrices of several images add up.

    Raises:
        GstoVizError: Shapes differ, or a value is out of range.
    """
    if labels.shape != predicted.shape:
        raise GstoVizError(
            f"labels are {labels.shape} and predictions {predicted.shape}; give arrays of one shape"
        )
    valid = labels != IGNORE
    true = labels[valid].astype(np.int64)
    guess = predicted[valid].astype(np.int64)
    for name, values in (("label", true), ("prediction", guess)):
        if values.size and not 0 <= values.min() <= values.max() < num_classes:
            raise GstoVizError(
                f"{name}s go from {values.min()} to {values.max()} and the classes from 0 to "
                f"{num_classes - 1}; give the number of classes that they have"
            )
    counts = np.bincount(true * num_classes + guess, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


@dataclass(frozen=True)
class SegmentationScores:
    """Scores of a data set, in percent.

    Attributes:
        miou: Mean IoU over the classes that occur among labels or predictions.
        pixel_accuracy: Share of labelled pixels predicted right.
        mean_accuracy: Mean over the classes that occur among labels.
        iou: IoU of each class; None where a class occurs neither in labels nor predictions.
        accuracy: Recall of each class; None where it does not occur among labels.
        pixels: Labelled pixels of each class.
    """

    miou: float
    pixel_accuracy: float
    mean_accuracy: float
    iou: tuple[float | None, ...]
    accuracy: tuple[float | None, ...]
    pixels: tuple[int, ...]


def scores_of(confusion: npt.NDArray[np.int64]) -> SegmentationScores:
    """Turn a confusion matrix (true x predicted) into scores.

    IoU = TP / (labelled + predicted - TP), from one matrix over the data set, as HRNet's published
    figures are computed (not a mean of per-image scores).

    Raises:
        GstoVizError: The matrix is empty (no labelled pixel).
    """
    total = int(confusion.sum())
    if total == 0:
        raise GstoVizError("no labelled pixel in the data set: there is nothing to score; check it")
    hit = np.diag(confusion).astype(np.float64)
    true = confusion.sum(axis=1).astype(np.float64)
    union = true + confusion.sum(axis=0) - hit
    iou = [100 * h / u if u > 0 else None for h, u in zip(hit, union, strict=True)]
    accuracy = [100 * h / t if t > 0 else None for h, t in zip(hit, true, strict=True)]
    return SegmentationScores(
        miou=float(np.mean([v for v in iou if v is not None])),
        pixel_accuracy=float(100 * hit.sum() / total),
        mean_accuracy=float(np.mean([v for v in accuracy if v is not None])),
        iou=tuple(None if v is None else float(v) for v in iou),
        accuracy=tuple(None if v is None else float(v) for v in accuracy),
        pixels=tuple(int(t) for t in true),
    )
