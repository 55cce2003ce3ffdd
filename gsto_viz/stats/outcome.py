"""Outcome by object size: region recall, region IoU and boundary IoU.

Convention for pixels that are predicted as a class where the annotation says another: they belong
to the nearest annotated region of that class in the image (Euclidean, pixel centre to pixel centre;
which of two equally near regions, the search tree decides, the same way every time). With it, the
counts of the regions of a class add up to the class's own intersection and union, unless the class
is not annotated in the image at all; such pixels are in the class counts only.

Boundary IoU is that of Cheng et al. (CVPR 2021): the IoU of those pixels of both masks that lie
within d of their mask's own contour, where the image border is a contour too and d is a share of
the image diagonal. Pixels that belong to no region (ignored) are in no mask.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.activity import BoolMap
from gsto_viz.errors import GstoVizError
from gsto_viz.stats.annotation import (
    DILATION_RATIO,
    Annotation,
    Code,
    annotate,
    as_code,
    near_other,
)
from gsto_viz.stats.groups import mean_by_group
from gsto_viz.stats.tables import Tables, merge_tables

MAX_LOOKUP = 2**16
"""Predicted classes below this are looked up in a table."""
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
    if predicted.max(initial=0) >= MAX_LOOKUP:
        classes = np.union1d(class_id, predicted)
        return classes, as_code(1 + np.searchsorted(classes, predicted), classes.size)
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
    """Turn pixel counts, of regions or classes, into scores.

    Args:
        counts: Rows of either table of :class:`Outcome`.

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
    """Score each image on its own: mean over the classes annotated or predicted in it.

    Args:
        classes: Class counts of any number of images.

    Returns:
        ``image``, ``miou``, ``boundary_iou``: shares; one row per image.
    """
    scores = outcome_scores(classes).assign(image=classes["image"])
    means = scores.groupby("image", as_index=False)[["iou", "boundary_iou"]].mean()
    return means.rename(columns={"iou": "miou"})


def class_scores(classes: pd.DataFrame) -> pd.DataFrame:
    """Score each class over all images, from added counts.

    Args:
        classes: Class counts of any number of images.

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
    clusters: Mapping[str, str] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Average recall, IoU and boundary IoU of regions by size: over regions, then over images.

    Args:
        counts: Region counts of any number of images.
        tables: Their region tables; only regions that qualify count.
        by: ``octave`` (floor of l) or ``coco_bin`` (small, medium, large).
        clusters: Cluster of each image for the interval (blocks of video frames).
        seed: Of the bootstrap.

    Returns:
        One row per measure and size: ``measure``, the size under the name of ``by``, ``mean``,
        ``low``, ``high`` (95 %, null below 10 independent images), ``n_regions``, ``n_images``,
        ``reason`` (why there is no interval, else null).

    Raises:
        GstoVizError: ``by`` is unknown, or a region that qualifies has no counts.
    """
    if by not in ("octave", "coco_bin"):
        raise GstoVizError(f"sizes cannot be grouped by '{by}'; choose octave or coco_bin")
    table = merge_tables(tables, ["size_octave", "coco_bin", "qualifies"])
    table = table[table["qualifies"].astype(bool)]
    table = table.assign(octave=np.floor(table["size_octave"]).astype(np.int64))
    rows = table.merge(counts.drop_duplicates(), on=["image", "region"], how="left")
    if rows["hits"].isna().any():
        image, region = rows.loc[rows["hits"].isna(), ["image", "region"]].iloc[0]
        raise GstoVizError(
            f"region {region} of image '{image}' has no counts; give outcome_counts of every image"
        )
    rows = rows.join(outcome_scores(rows))
    frame = mean_by_group(rows, [by], MEASURES, clusters=clusters, seed=seed)
    frame.insert(0, "measure", frame.pop("measure"))
    return frame.sort_values(["measure", by], ignore_index=True, kind="stable")
