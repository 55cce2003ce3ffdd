"""The scores of the Cityscapes benchmark: IoU of classes and of categories, and iIoU of both.

IoU counts pixels, so one near car outweighs fifty far ones. iIoU (Cordts et al., "The Cityscapes
Dataset for Semantic Urban Scene Understanding", CVPR 2016, section 4.1) counts every pixel of an
instance with the weight w = (average size of the class) / (size of this instance):

    iIoU = iTP / (iTP + FP + iFN),  iTP = sum of w over hit pixels, iFN = over missed ones,

where FP is not weighted, for a wrong pixel belongs to no instance. A pixel of another class of the
same category is a hit for the category. Details as in the benchmark's own evaluation script
(cityscapesScripts, evalPixelLevelSemanticLabeling): ignored pixels count nowhere, areas that are
annotated as a group and not by instance count neither as iTP nor as iFN, and means leave out what
does not occur.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CityscapesClass:
    """What the benchmark knows of one of its 19 classes.

    Attributes:
        category: One of seven.
        instance_px: Average size of an instance in pixels at 2048 x 1024; None for classes
            without instances.
    """

    category: str
    instance_px: float | None = None


CITYSCAPES: dict[str, CityscapesClass] = {
    "road": CityscapesClass("flat"),
    "sidewalk": CityscapesClass("flat"),
    "building": CityscapesClass("construction"),
    "wall": CityscapesClass("construction"),
    "fence": CityscapesClass("construction"),
    "pole": CityscapesClass("object"),
    "traffic light": CityscapesClass("object"),
    "traffic sign": CityscapesClass("object"),
    "vegetation": CityscapesClass("nature"),
    "terrain": CityscapesClass("nature"),
    "sky": CityscapesClass("sky"),
    "person": CityscapesClass("human", 3462.4756337644),
    "rider": CityscapesClass("human", 3930.4788056518),
    "car": CityscapesClass("vehicle", 12794.0202738185),
    "truck": CityscapesClass("vehicle", 27855.1264367816),
    "bus": CityscapesClass("vehicle", 35732.1511111111),
    "train": CityscapesClass("vehicle", 67583.7075812274),
    "motorcycle": CityscapesClass("vehicle", 6298.7200839748),
    "bicycle": CityscapesClass("vehicle", 4672.3249222261),
}
"""The 19 evaluated classes in the order of their train ids; the values are the script's."""

CATEGORIES = tuple(dict.fromkeys(entry.category for entry in CITYSCAPES.values()))
INSTANCE_CATEGORIES = ("human", "vehicle")
"""The categories of which every class has instances."""
INSTANCE_COLUMNS = ("class_id", "area_px", "hits", "category_hits")


@dataclass(frozen=True)
class CityscapesScores:
    """Scores of the benchmark in percent; None where nothing of the kind occurs.

    Attributes:
        iou_category: Mean IoU of the categories.
        iiou_class: Mean iIoU of the classes with instances; None without instance maps.
        iiou_category: Mean iIoU of the categories with instances.
        categories: IoU of each category.
        class_iiou: iIoU of each class with instances.
        category_iiou: iIoU of each category with instances.
    """

    iou_category: float | None
    iiou_class: float | None
    iiou_category: float | None
    categories: dict[str, float | None]
    class_iiou: dict[str, float | None]
    category_iiou: dict[str, float | None]


def is_cityscapes(names: Sequence[str]) -> bool:
    """Say whether classes are the benchmark's 19 in order of their train ids."""
    return [name.casefold() for name in names] == list(CITYSCAPES)


def instance_counts(
    labels: npt.NDArray[np.integer],
    instances: npt.NDArray[np.integer],
    predicted: npt.NDArray[np.integer],
) -> Counts:
    """Count hits of every annotated instance of one image.

    Args:
        labels: (H, W) class indices 0..18, 255 = ignored. An instance has one class.
        instances: (H, W), 0 = none, k > 0 = instance k.
        predicted: (H, W) class indices 0..18.

    Returns:
        (instances, 4) in the order of ``INSTANCE_COLUMNS``: class, pixels, pixels predicted as the
        class, pixels predicted as any class of its category. Instances of ignored classes, and of
        classes that have no instances, are left out.
    """
    thing = instances > 0
    if not thing.any():
        return np.zeros((0, len(INSTANCE_COLUMNS)), dtype=np.int64)
    _, first, index, area = np.unique(
        instances[thing], return_index=True, return_inverse=True, return_counts=True
    )
    classes = list(CITYSCAPES.values())
    category = np.array([CATEGORIES.index(c.category) for c in classes])
    class_id = labels[thing][first].astype(np.int64)
    counted = np.array([k < len(classes) and classes[k].instance_px is not None for k in class_id])
    guess = predicted[thing]
    # Class 0 stands in for those that do not count; their rows are dropped.
    own = np.where(counted, class_id, 0)[index]
    hits = np.bincount(index[guess == own], minlength=class_id.size)
    related = np.bincount(index[category[guess] == category[own]], minlength=class_id.size)
    return np.stack([class_id, area, hits, related], axis=1)[counted]


def cityscapes_scores(confusion: Counts, instances: Counts | None) -> CityscapesScores:
    """Turn counts of a data set into the scores of the benchmark.

    Args:
        confusion: (19, 19) pixels, true x predicted.
        instances: (n, 4) rows of :func:`instance_counts` of all images; None when images are not
            annotated by instance, then there is no iIoU.
    """
    classes = list(CITYSCAPES.values())
    groups = {
        category: np.array([k for k, c in enumerate(classes) if c.category == category])
        for category in CATEGORIES
    }
    categories = {name: _iou(confusion, members) for name, members in groups.items()}
    class_iiou: dict[str, float | None] = {}
    category_iiou: dict[str, float | None] = {}
    if instances is not None:
        class_iiou = {
            name: _iiou(confusion, np.array([k]), instances, "hits")
            for k, (name, entry) in enumerate(CITYSCAPES.items())
            if entry.instance_px is not None
        }
        category_iiou = {
            name: _iiou(confusion, groups[name], instances, "category_hits")
            for name in INSTANCE_CATEGORIES
        }
    return CityscapesScores(
        iou_category=_mean(categories),
        iiou_class=_mean(class_iiou),
        iiou_category=_mean(category_iiou),
        categories=categories,
        class_iiou=class_iiou,
        category_iiou=category_iiou,
    )


def _iou(confusion: Counts, members: npt.NDArray[np.int64]) -> float | None:
    """Return the IoU in percent of a set of classes taken as one."""
    hit = int(confusion[np.ix_(members, members)].sum())
    union = int(confusion[members].sum()) + int(confusion[:, members].sum()) - hit
    return 100 * hit / union if union else None


def _iiou(
    confusion: Counts, members: npt.NDArray[np.int64], instances: Counts, hits: str
) -> float | None:
    """Return the iIoU in percent of a set of classes taken as one."""
    rows = instances[np.isin(instances[:, 0], members)]
    average = np.array([c.instance_px or 0.0 for c in CITYSCAPES.values()])
    weight = average[rows[:, 0]] / rows[:, 1]
    found = rows[:, INSTANCE_COLUMNS.index(hits)]
    true_positive = float((weight * found).sum())
    false_negative = float((weight * (rows[:, 1] - found)).sum())
    others = np.setdiff1d(np.arange(len(CITYSCAPES)), members)
    false_positive = int(confusion[np.ix_(others, members)].sum())
    total = true_positive + false_positive + false_negative
    return 100 * true_positive / total if total else None


def _mean(scores: dict[str, float | None]) -> float | None:
    values = [v for v in scores.values() if v is not None]
    return float(np.mean(values)) if values else None
