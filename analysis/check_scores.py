"""Compare our scores with torchmetrics' and with the Cityscapes benchmark's own script.

    pip install --target /tmp/others --no-deps torchmetrics lightning-utilities \
        cityscapesscripts pyquaternion appdirs coloredlogs humanfriendly
    PYTHONPATH=/tmp/others python analysis/check_scores.py

Neither is a dependency of the package. Label maps, instances and predictions are drawn; the
greatest difference of each score is printed, in percent; anything beyond rounding is an error.
"""

import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gsto_viz.data import LABEL_IDS, shipped_classes, write_png
from gsto_viz.stats import cityscapes_scores, confusion_matrix, instance_counts, scores_of

IDS = np.array(LABEL_IDS, dtype=np.uint8)


def draw(seed: int, size: tuple[int, int] = (120, 200)) -> tuple[Any, Any, Any, Any]:
    """Label ids 0..33, instance ids as in gtFine, class indices, and a prediction of classes."""
    rng = np.random.default_rng(seed)
    label_ids, instances = np.full(size, 7, np.uint8), np.full(size, 7, np.uint16)
    for number in range(60):
        y, x = int(rng.integers(0, size[0])), int(rng.integers(0, size[1]))
        box = slice(y, y + int(rng.integers(3, 40))), slice(x, x + int(rng.integers(3, 40)))
        label_ids[box] = kind = int(rng.integers(0, 34))
        one = kind >= 24 and rng.random() < 0.8
        instances[box] = 1000 * kind + number if one else kind
    to_class = np.full(256, 255, np.uint8)
    to_class[IDS] = np.arange(19)
    labels = to_class[label_ids]
    predicted = np.roll(labels, (1, 2), (0, 1))
    noise = (rng.random(size) < 0.2) | (predicted == 255)
    predicted[noise] = rng.integers(0, 19, noise.sum())
    return label_ids, instances, labels, predicted


def official_scores(samples: list[tuple[Any, Any, Any, Any]]) -> dict[str, Any]:
    """Scores of the benchmark's script, which reads files."""
    official = import_module("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    if not hasattr(np, "in1d"):  # the script was written for NumPy 1
        vars(np)["in1d"] = lambda a, b, invert=False: np.isin(np.ravel(a), b, invert=invert)
    with tempfile.TemporaryDirectory() as place:
        truths, guesses = [], []
        for k, (label_ids, instances, _, predicted) in enumerate(samples):
            stem = Path(place) / f"aachen_{k:06d}_000019"
            truths.append(f"{stem}_gtFine_labelIds.png")
            guesses.append(f"{stem}_pred.png")
            write_png(truths[-1], label_ids)
            write_png(f"{stem}_gtFine_instanceIds.png", instances)
            write_png(guesses[-1], IDS[predicted])
        official.args.quiet = True
        official.args.exportFile = f"{place}/result.json"
        return dict(official.evaluateImgLists(guesses, truths, official.args))


def largest_difference(ours: dict[str, float | None], theirs: dict[str, float]) -> float:
    pairs = [(value, 100 * theirs[name]) for name, value in ours.items()]
    return max(abs(a - b) for a, b in pairs if a is not None)


def against_cityscapes(samples: list[tuple[Any, Any, Any, Any]], confusion: Any) -> float:
    theirs = official_scores(samples)
    rows = [instance_counts(labels, np.where(i > 999, i, 0), p) for _, i, labels, p in samples]
    ours = cityscapes_scores(confusion, np.concatenate(rows))
    classes = dict(zip(shipped_classes("cityscapes").names, scores_of(confusion).iou, strict=True))
    differences = {
        "class IoU": largest_difference(classes, theirs["classScores"]),
        "class iIoU": largest_difference(ours.class_iiou, theirs["classInstScores"]),
        "category IoU": largest_difference(ours.categories, theirs["categoryScores"]),
        "category iIoU": largest_difference(ours.category_iiou, theirs["categoryInstScores"]),
        "mean iIoU": abs((ours.iiou_class or 0) - 100 * theirs["averageScoreInstClasses"]),
    }
    for name, value in differences.items():
        print(f"cityscapesScripts  {name:<14} {value:.1e}")
    return max(differences.values())


def against_torchmetrics(samples: list[tuple[Any, Any, Any, Any]], confusion: Any) -> float:
    peer = import_module("torchmetrics.classification")
    matrix = peer.MulticlassConfusionMatrix(19, ignore_index=255)
    jaccard = peer.MulticlassJaccardIndex(19, average="none", ignore_index=255)
    for _, _, labels, predicted in samples:
        pair = (torch.from_numpy(predicted).long(), torch.from_numpy(labels).long())
        matrix.update(*pair)
        jaccard.update(*pair)
    wrong = int(np.abs(matrix.compute().numpy() - confusion).max())
    theirs = (100 * jaccard.compute().double()).tolist()
    iou = max(abs(a - b) for a, b in zip(scores_of(confusion).iou, theirs, strict=True))
    print(f"torchmetrics       confusion      {wrong}\ntorchmetrics       class IoU      {iou:.1e}")
    return max(float(wrong), iou)


def main() -> None:
    samples = [draw(seed) for seed in range(6)]
    confusion = sum(confusion_matrix(labels, p, 19) for _, _, labels, p in samples)
    if against_cityscapes(samples, confusion) > 1e-9:
        sys.exit("the Cityscapes scores differ")
    if against_torchmetrics(samples, confusion) > 1e-4:
        sys.exit("the scores of torchmetrics differ")


if __name__ == "__main__":
    main()
