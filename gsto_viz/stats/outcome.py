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

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.ndimage import minimum_filter
from scipy.spatial import cKDTree

from gsto_viz.activity import BoolMap
from gsto_viz.errors import GstoVizError
from gsto_viz.stats.inference import image_mean_interval
from gsto_viz.stats.tables import Tables, merge_tables

DILATION_RATIO = 0.02
"""Width of the boundary as a share of the image diagonal (0.005 is usual for Cityscapes)."""
MEASURES = ("recall", "iou", "boundary_iou")
_COUNTS = [
    "area_px",
    "hits",
    "false_positives",
    "boundary_px",
    "boundary_hits",
    "boundary_false_positives",
]


@dataclass(frozen=True, eq=False)
class Outcome:
    """Pixel counts of one image's prediction; tables of images concatenate.

    Columns of both tables: ``area_px`` (annotated pixels), ``hits`` (predicted right among them),
    ``false_positives`` (predicted as the class and annotated as another), and the same three for
    pixels of the boundary: ``boundary_px``, ``boundary_hits`` (in both boundaries) and
    ``boundary_false_positives`` (in the prediction's and not in the annotation's).
    """

    regions: pd.DataFrame
    """``image``, ``region`` and the counts of each region."""
    classes: pd.DataFrame
    """``image``, ``class_id`` and the counts of each class that is annotated or predicted."""


def boundary(mask: BoolMap, width: int) -> BoolMap:
    """Return the pixels of a mask (H, W) that ``width`` erosions by 3x3 take away.

    What lies outside the image is outside the mask.
    """
    inner = minimum_filter(mask.astype(np.uint8), size=2 * width + 1, mode="constant", cval=0)
    return mask & (inner == 0)


def boundary_width(shape: tuple[int, int], ratio: float = DILATION_RATIO) -> int:
    """Return d in pixels: ``ratio`` of the diagonal of the image, rounded, at least 1."""
    return max(1, round(ratio * float(np.hypot(*shape))))


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
    ids, class_id, predicted = (np.asarray(a) for a in (ids, class_id, predicted))
    if ids.shape != predicted.shape or ids.ndim != 2 or int(ids.max(initial=0)) > class_id.size:
        raise GstoVizError(
            f"regions {ids.shape} of {class_id.size} classes and prediction {predicted.shape} do "
            "not fit; give two maps of one image and the class of every region"
        )
    known = ids > 0
    truth = np.full(ids.shape, -1, dtype=np.int64)
    truth[known] = class_id[ids[known] - 1]
    guess = np.where(known, predicted.astype(np.int64), -1)
    width = boundary_width((ids.shape[0], ids.shape[1]), ratio)
    by_region = np.zeros((class_id.size + 1, len(_COUNTS)), dtype=np.int64)
    rows = []
    for c in np.union1d(truth[known], guess[known]).tolist():
        counts, totals = _count_class(ids, truth == c, guess == c, width, class_id.size)
        by_region += counts
        rows.append([c, *totals])
    numbers = np.arange(1, class_id.size + 1)
    regions = pd.DataFrame(by_region[1:], columns=_COUNTS)
    regions.insert(0, "region", numbers)
    regions.insert(0, "image", pd.Series([image] * len(numbers), dtype=str))
    classes = pd.DataFrame(rows, columns=["class_id", *_COUNTS], dtype=np.int64)
    classes.insert(0, "image", pd.Series([image] * len(rows), dtype=str))
    return Outcome(regions, classes)


def _count_class(
    ids: npt.NDArray[np.integer], truth: BoolMap, guess: BoolMap, width: int, regions: int
) -> tuple[npt.NDArray[np.int64], list[int]]:
    """Return the six counts of each region number 0..K (0: not assigned), and of the class."""
    edge_true, edge_guess = boundary(truth, width), boundary(guess, width)
    # A region's own pixels are nearest to it; all others go where the nearest pixel belongs.
    owner = np.where(truth, ids, 0)
    wrong = guess & ~truth
    owner[wrong] = _nearest_region(ids, truth, wrong)
    masks = [
        truth,
        truth & guess,
        wrong,
        edge_true,
        edge_true & edge_guess,
        edge_guess & ~edge_true,
    ]
    counts = [np.bincount(owner[mask], minlength=regions + 1) for mask in masks]
    return np.stack(counts, axis=1), [int(mask.sum()) for mask in masks]


def _nearest_region(
    ids: npt.NDArray[np.integer], truth: BoolMap, asked: BoolMap
) -> npt.NDArray[np.integer]:
    """Return the region number of the true pixel nearest to each asked one; 0 without any."""
    if not asked.any() or not truth.any():
        return np.zeros(int(asked.sum()), dtype=ids.dtype)
    # Only pixels with a neighbour outside can be nearest to an outside pixel of the image.
    shell = _outer_pixels(truth)
    places = np.argwhere(shell)
    nearest = cKDTree(places).query(np.argwhere(asked))[1]
    return ids[shell][nearest]


def _outer_pixels(mask: BoolMap) -> BoolMap:
    """Return the pixels of a mask with one of their four neighbours in the image outside it."""
    padded = np.pad(mask, 1, mode="edge")
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


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
    total = classes.groupby("class_id", as_index=False)[_COUNTS].sum()
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
    result = []
    for size, group in rows.groupby(by):
        by_image = group.groupby("image")[list(MEASURES)].mean()
        values = by_image.to_numpy(dtype=np.float64)
        low, high, reason = image_mean_interval(by_image.index.tolist(), values, clusters, seed)
        for k, measure in enumerate(MEASURES):
            result.append(
                {
                    "measure": measure,
                    by: size,
                    "mean": float(values[:, k].mean()),
                    "low": np.nan if low is None else float(low[k]),
                    "high": np.nan if high is None else float(high[k]),
                    "n_regions": len(group),
                    "n_images": len(by_image),
                    "reason": reason,
                }
            )
    columns = ["measure", by, "mean", "low", "high", "n_regions", "n_images", "reason"]
    frame = pd.DataFrame(result, columns=columns)
    return frame.sort_values(["measure", by], ignore_index=True, kind="stable")
