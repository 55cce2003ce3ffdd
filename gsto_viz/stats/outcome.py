"""Outcome: segmentation scores, recall and IoU by object size, and the Cityscapes scores.

Convention for pixels that are predicted as a class where the annotation says another: they belong
to the nearest annotated region of that class in the image (Euclidean, pixel centre to pixel centre;
which of two equally near regions, the search tree decides, always alike). With it, the
counts of the regions of a class add up to the class's own intersection and union, unless the class
is not annotated in the image at all; such pixels are in the class counts only.

Boundary IoU is that of Cheng et al. (CVPR 2021): the IoU of those pixels of both masks that lie
within d of their mask's own contour, where the image border is a contour too and d is a share of
the image diagonal. Pixels that belong to no region (ignored) are in no mask.

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

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.activity import BoolMap
from gsto_viz.errors import GstoVizError
from gsto_viz.stats.inference import EACH, Images, mean_by_group
from gsto_viz.stats.nulls import DILATION_RATIO, Annotation, Code, annotate, as_code, near_other
from gsto_viz.stats.pairs import Tables, qualifying
from gsto_viz.types import IGNORE

MEASURES = ("recall", "iou", "boundary_iou")
COUNTS = (
    "area_px", "hits", "false_positives",
    "boundary_px", "boundary_hits", "boundary_false_positives",
)  # fmt: skip
"""What is counted for each region and each class."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """Pixel counts of one image's prediction; tables of images concatenate.

    The six ``COUNTS``: ``area_px`` (annotated pixels), ``hits`` (predicted right among them),
    ``false_positives`` (predicted as the class and annotated as another), and the same three for
    pixels of the boundary: ``boundary_px``, ``boundary_hits`` (in both boundaries) and
    ``boundary_false_positives`` (in the prediction's and not in the annotation's).
    """

    image: str
    of_regions: npt.NDArray[np.int64]
    """(K, 6): of each region, in order."""
    class_id: npt.NDArray[np.int64]
    """(M,): the classes that are annotated or predicted."""
    of_classes: npt.NDArray[np.int64]
    """(M, 6): of each of these classes."""

    def region_columns(self) -> dict[str, npt.NDArray[np.int64]]:
        """Return ``region`` and its counts as arrays, (K,) each."""
        number = np.arange(1, len(self.of_regions) + 1)
        return {"region": number, **dict(zip(COUNTS, self.of_regions.T, strict=True))}

    def class_columns(self) -> dict[str, npt.NDArray[np.int64]]:
        """Return ``class_id`` and its counts as arrays, (M,) each."""
        return {"class_id": self.class_id, **dict(zip(COUNTS, self.of_classes.T, strict=True))}

    @cached_property
    def regions(self) -> pd.DataFrame:
        """``image``, ``region`` and the counts of each region."""
        return _frame(self.image, self.region_columns())

    @cached_property
    def classes(self) -> pd.DataFrame:
        """``image``, ``class_id`` and the counts of each class."""
        return _frame(self.image, self.class_columns())


def outcome_counts(
    ids: npt.NDArray[np.integer],
    class_id: npt.NDArray[np.integer],
    predicted: npt.NDArray[np.integer],
    *,
    image: str,
    ratio: float = DILATION_RATIO,
) -> Outcome:
    """Count right and wrong pixels of one image, by region and by class.

    Args:
        ids: (H, W) region numbers 1..K of the annotation; 0 = ignored.
        class_id: (K,) class of each region; a pixel's true class is its region's.
        predicted: (H, W) predicted class of each pixel.
        image: Name of the image.
        ratio: Width of the boundary as a share of the diagonal.

    Raises:
        GstoVizError: Shapes do not fit.
    """
    return count_outcome(annotate(ids, class_id, ratio), predicted, image=image)


def count_outcome(
    annotation: Annotation, predicted: npt.NDArray[np.integer], *, image: str
) -> Outcome:
    """Count :func:`outcome_counts` against an annotation that was prepared once.

    Args:
        annotation: Of :func:`annotate`.
        predicted: (H, W) predicted class of each pixel, 0 and up.
        image: Name of the image.

    Raises:
        GstoVizError: Shapes do not fit, or a predicted class is negative.
    """
    ids, class_id, predicted = annotation.ids, annotation.class_id, np.asarray(predicted)
    if ids.shape != predicted.shape or int(predicted.min(initial=0)) < 0:
        raise GstoVizError(
            f"regions {ids.shape} and prediction {predicted.shape} from {predicted.min(initial=0)} "
            "do not fit; give two maps of one image, classes from 0"
        )
    classes, guess = _coded(predicted, class_id)
    guess[ids == 0] = 0
    truth = as_code(np.append(0, 1 + np.searchsorted(classes, class_id)), classes.size).take(ids)
    right, edge = truth == guess, near_other(guess, annotation.width)
    # One bin per region and combination of these three.
    bits = right + 2 * annotation.edge.view(np.uint8) + 4 * edge.view(np.uint8)
    bins = np.bincount(
        (np.multiply(ids, 8, dtype=np.int64) + bits).ravel(), minlength=8 * (class_id.size + 1)
    )
    by_region = bins.reshape(-1, 8) @ _OF_BITS
    by_class = np.zeros((classes.size, len(COUNTS)), dtype=np.int64)
    np.add.at(by_class, np.searchsorted(classes, class_id), by_region[1:])
    for k, owners, at_edge in _wrong_pixels(annotation, classes, guess, ~right, edge):
        for column, chosen in ((2, owners), (5, owners[at_edge])):
            by_region[:, column] += np.bincount(chosen, minlength=len(by_region))
            by_class[k, column] += chosen.size
    there = by_class.any(axis=1)
    return Outcome(image, by_region[1:], classes[there].astype(np.int64), by_class[there])


_OF_BITS = np.array(
    [
        # area, hits, false positives, boundary, boundary hits, boundary false positives
        [1, right, 0, edge, right and edge and guessed, right and guessed and not edge]
        for guessed in (0, 1)
        for edge in (0, 1)
        for right in (0, 1)
    ],
    dtype=np.int64,
)
"""What a pixel adds to its own region: predicted right, in the true and the predicted boundary."""


def _coded(
    predicted: npt.NDArray[np.integer], class_id: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.int64], Code]:
    """Return all classes, in order, and 1 + the index of each pixel's class among them, (H, W)."""
    there = np.bincount(predicted.ravel())
    classes = np.union1d(class_id, np.flatnonzero(there))
    table = 1 + np.searchsorted(classes, np.arange(there.size))
    return classes, as_code(table, classes.size).take(predicted)


def _wrong_pixels(
    annotation: Annotation,
    classes: npt.NDArray[np.int64],
    guess: Code,
    wrong: BoolMap,
    edge: BoolMap,
) -> Iterator[tuple[int, npt.NDArray[np.integer], BoolMap]]:
    """Yield, per class, the owners of the pixels that were predicted as it and are another's.

    With its index come the region number of each (0: the class is not annotated) and whether the
    pixel lies in the predicted boundary.
    """
    at = np.flatnonzero(wrong)
    code = guess.ravel()[at]
    at = at[np.argsort(code, kind="stable")]
    ends = np.cumsum(np.bincount(code.astype(np.int64), minlength=classes.size + 1))
    for k, (start, end) in enumerate(pairwise(ends.tolist())):
        if start == end:
            continue
        pixels = at[start:end]
        nearest = annotation.nearest.get(int(classes[k]))
        if nearest is None:
            owners = np.zeros(pixels.size, dtype=annotation.ids.dtype)
        else:
            owners = nearest.region(pixels)
        yield k, owners, edge.ravel()[pixels]


def _frame(image: str, columns: dict[str, npt.NDArray[np.int64]]) -> pd.DataFrame:
    """Make one of the tables of :class:`Outcome`."""
    count = next(iter(columns.values())).size
    return pd.DataFrame({"image": pd.Series([image] * count, dtype=str), **columns})


def outcome_scores(counts: pd.DataFrame) -> pd.DataFrame:
    """Turn pixel counts, of regions or classes (see :class:`Outcome`), into scores.

    Returns:
        ``recall`` = hits / area, ``iou`` = hits / (area + false positives) and ``boundary_iou``,
        each in [0, 1], with the index of ``counts``; NaN where the denominator is 0 (the recall of
        a class that is not annotated).
    """
    area, edge = counts["area_px"], counts["boundary_px"]
    union, edge_union = area + counts["false_positives"], edge + counts["boundary_false_positives"]
    return pd.DataFrame(
        {
            "recall": counts["hits"] / area.where(area > 0),
            "iou": counts["hits"] / union.where(union > 0),
            "boundary_iou": counts["boundary_hits"] / edge_union.where(edge_union > 0),
        }
    )


def image_scores(classes: pd.DataFrame) -> pd.DataFrame:
    """Score each image on its own, from class counts: mean over classes annotated or predicted.

    Returns:
        ``image``, ``miou``, ``boundary_iou``: shares; one row per image.
    """
    scores = outcome_scores(classes).assign(image=classes["image"])
    means = scores.groupby("image", as_index=False)[["iou", "boundary_iou"]].mean()
    return means.rename(columns={"iou": "miou"})


def class_scores(classes: pd.DataFrame) -> pd.DataFrame:
    """Score each class over all images, from class counts added up.

    Returns:
        ``class_id``, ``recall``, ``iou``, ``boundary_iou``: shares; one row per class.
    """
    total = classes.groupby("class_id", as_index=False)[list(COUNTS)].sum()
    return pd.concat([total[["class_id"]], outcome_scores(total)], axis=1)


def outcome_by_size(
    counts: pd.DataFrame,
    tables: Tables,
    *,
    by: str = "octave",
    images: Images = EACH,
) -> pd.DataFrame:
    """Average recall, IoU and boundary IoU of regions by size: over regions, then over images.

    Args:
        counts: Region counts of any number of images.
        tables: Their region tables; only regions that qualify count.
        by: ``octave`` (floor of l) or ``coco_bin`` (small, medium, large).

    Returns:
        One row per measure and size: ``measure``, the size under the name of ``by``, ``mean``,
        ``low``, ``high`` (95 %, null below 10 independent images), ``n_regions``, ``n_images``,
        ``reason`` (why there is no interval, else null).

    Raises:
        GstoVizError: ``by`` is unknown, or a region that qualifies has no counts.
    """
    if by not in ("octave", "coco_bin"):
        raise GstoVizError(f"sizes cannot be grouped by '{by}'; choose octave or coco_bin")
    table = qualifying(tables, ["size_octave", "coco_bin", "qualifies"])
    rows = table.merge(counts.drop_duplicates(), on=["image", "region"], how="left")
    if rows["hits"].isna().any():
        image, region = rows.loc[rows["hits"].isna(), ["image", "region"]].iloc[0]
        raise GstoVizError(
            f"region {region} of image '{image}' has no counts; give outcome_counts of every image"
        )
    rows = rows.join(outcome_scores(rows))
    frame = mean_by_group(rows, [by], MEASURES, images=images)
    frame.insert(0, "measure", frame.pop("measure"))
    return frame.sort_values(["measure", by], ignore_index=True, kind="stable")


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
    hit, true = np.diag(confusion).tolist(), confusion.sum(axis=1).tolist()
    iou = tuple(_iou(confusion, [k]) for k in range(len(confusion)))
    accuracy = tuple(100 * h / t if t else None for h, t in zip(hit, true, strict=True))
    miou, mean_accuracy = _mean(iou), _mean(accuracy)
    # A labelled pixel has a class, so both have a value.
    assert miou is not None
    assert mean_accuracy is not None
    return SegmentationScores(
        miou=miou,
        pixel_accuracy=100 * sum(hit) / total,
        mean_accuracy=mean_accuracy,
        iou=iou,
        accuracy=accuracy,
        pixels=tuple(true),
    )


def _iou(confusion: npt.NDArray[np.int64], members: Sequence[int]) -> float | None:
    """Return the IoU in percent of a set of classes taken as one."""
    hit = int(confusion[members][:, members].sum())
    union = int(confusion[members].sum()) + int(confusion[:, members].sum()) - hit
    return 100 * hit / union if union else None


def _mean(scores: Iterable[float | None]) -> float | None:
    values = [v for v in scores if v is not None]
    return float(np.mean(values)) if values else None


Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CityscapesClass:
    """One of the 19 classes of the benchmark.

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
    """Scores of the benchmark in percent; None where no such class occurs.

    Attributes:
        iou_category: Mean IoU of the categories.
        iiou_class: Mean iIoU of the classes with instances; None without instance maps.
        iiou_category: Mean iIoU of the categories with instances.
        categories: IoU of each category.
        class_iiou: iIoU of each class with instances.
        category_iiou: iIoU of each category with instances.
        iiou_reason: Why there is no iIoU; None where there is.
    """

    iou_category: float | None
    iiou_class: float | None
    iiou_category: float | None
    categories: dict[str, float | None]
    class_iiou: dict[str, float | None]
    category_iiou: dict[str, float | None]
    iiou_reason: str | None = None


def is_cityscapes(names: Sequence[str]) -> bool:
    """Return whether classes are the benchmark's 19 in order of their train ids."""
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
        category: [k for k, c in enumerate(classes) if c.category == category]
        for category in CATEGORIES
    }
    categories = {name: _iou(confusion, members) for name, members in groups.items()}
    class_iiou: dict[str, float | None] = {}
    category_iiou: dict[str, float | None] = {}
    if instances is not None:
        class_iiou = {
            name: _iiou(confusion, [k], instances, "hits")
            for k, (name, entry) in enumerate(CITYSCAPES.items())
            if entry.instance_px is not None
        }
        category_iiou = {
            name: _iiou(confusion, groups[name], instances, "category_hits")
            for name in INSTANCE_CATEGORIES
        }
    return CityscapesScores(
        iou_category=_mean(categories.values()),
        iiou_class=_mean(class_iiou.values()),
        iiou_category=_mean(category_iiou.values()),
        categories=categories,
        class_iiou=class_iiou,
        category_iiou=category_iiou,
    )


def _iiou(confusion: Counts, members: Sequence[int], instances: Counts, hits: str) -> float | None:
    """Return the iIoU in percent of a set of classes taken as one."""
    rows = instances[np.isin(instances[:, 0], members)]
    average = np.array([c.instance_px or 0.0 for c in CITYSCAPES.values()])
    weight = average[rows[:, 0]] / rows[:, 1]
    found = rows[:, INSTANCE_COLUMNS.index(hits)]
    true_positive = float((weight * found).sum())
    false_negative = float((weight * (rows[:, 1] - found)).sum())
    others = np.setdiff1d(np.arange(len(CITYSCAPES)), members)
    false_positive = int(confusion[others][:, members].sum())
    total = true_positive + false_positive + false_negative
    return 100 * true_positive / total if total else None
