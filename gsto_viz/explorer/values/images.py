"""Single images on the page "Sizes": their null models and regions, and the gallery of many."""

import base64
import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from gsto_viz.explorer.pictures import Picture
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.values.probe import Point
from gsto_viz.explorer.values.sizes import Choices, Subject, region_frame, sci_by_image
from gsto_viz.regions import PreparedRegions, prepare_regions, region_arrays
from gsto_viz.report.folder import SHIFTS
from gsto_viz.report.measure import shifted_annotations
from gsto_viz.types import IGNORE, BranchMaps, Sample, Stride

SHEET = 24
"""Images on one sheet of the gallery."""
THUMB_PX = 240
"""Width of a thumbnail."""
ORDER_NAMES = {
    "data": "As in the data",
    "sci": "SCI of B - A",
    "disagreement": "Disagreement of A and B",
    "miou": "mIoU of B - A",
}
"""Orders of the gallery, see ``view_state.ORDERS``."""


def image_scores(subject: Subject, choices: Choices) -> pd.DataFrame:
    """Compare two networks image by image.

    Args:
        subject: An analysis of two networks, or of one: then nothing is known.
        choices: Which pairs count for SCI.

    Returns:
        By image: ``sci`` (B - A), ``disagreement`` (mean distance of the two q of a region) and
        ``miou`` (B - A, percentage points, over the classes that the labels of the image have);
        NaN where an image has no such number.
    """
    report, source = subject.report, subject.source
    assert report is not None
    found = pd.DataFrame(index=list(report.clusters), columns=[*ORDER_NAMES][1:], dtype=float)
    if len(source.letters) < 2:
        return found
    a, b = source.letters
    sci = {x: sci_by_image(source.tables[x], source.classes, choices) for x in (a, b)}
    values = {x: table.set_index("image")["value"] for x, table in sci.items()}
    found["sci"] = values[b] - values[a]
    keys = ["image", "region"]
    both = source.tables[a][[*keys, "q"]].merge(source.tables[b][[*keys, "q"]], on=keys)
    found["disagreement"] = (both["q_x"] - both["q_y"]).abs().groupby(both["image"]).mean()
    scores = {x: miou_by_image(report.rows("confusion", x)) for x in (a, b)}
    found["miou"] = scores[b] - scores[a]
    return found


def miou_by_image(rows: pd.DataFrame) -> "pd.Series[float]":
    """Return the mean IoU of each image in percent, over the classes that its labels have.

    Args:
        rows: ``image``, ``label``, ``predicted``, ``pixels`` of one network; may be empty.
    """
    if rows.empty:
        return pd.Series(dtype=float)
    right = rows[rows["label"] == rows["predicted"]].set_index(["image", "label"])["pixels"]
    labelled = rows.groupby(["image", "label"])["pixels"].sum()
    predicted = rows.groupby(["image", "predicted"])["pixels"].sum()
    predicted = predicted.rename_axis(["image", "label"]).reindex(labelled.index, fill_value=0)
    hits = right.reindex(labelled.index, fill_value=0)
    shares = 100.0 * hits / (labelled + predicted - hits)
    means: pd.Series[float] = shares.groupby(level="image").mean()
    return means


def ordered(ids: Sequence[str], scores: pd.DataFrame | None, order: str) -> list[str]:
    """Return the images in an order: the lowest first, but the most disagreement; unknown last.

    Args:
        ids: Of the images.
        scores: What ``image_scores`` gave; None: only the order of the data is possible.
        order: One of ``ORDER_NAMES``.
    """
    if scores is None or order not in scores:
        return list(ids)
    values = scores[order].reindex(list(ids)).to_numpy(dtype=np.float64)
    values = -values if order == "disagreement" else values
    return [ids[k] for k in np.argsort(values, kind="stable").tolist()]


def score_words(scores: pd.DataFrame | None, image: str) -> str:
    """Say what is known of an image in one line; empty where nothing is."""
    if scores is None or image not in scores.index:
        return ""
    row = scores.loc[image]
    parts = (("SCI", "sci", "+.2f", ""), ("mIoU", "miou", "+.1f", " points"))
    words = [f"{name} {row[key]:{form}}{unit}" for name, key, form, unit in parts
             if np.isfinite(row[key])]  # fmt: skip
    if np.isfinite(row["disagreement"]):
        words.append(f"apart {row['disagreement']:.2f}")
    return ", ".join(words)


def thumbnail(image: npt.NDArray[np.uint8]) -> str:
    """Return a small JPEG of an image as a ``data:`` address.

    Args:
        image: (H, W, 3) uint8.
    """
    height = max(1, round(image.shape[0] * THUMB_PX / image.shape[1]))
    small = Image.fromarray(image).resize((THUMB_PX, height), Image.Resampling.BOX)
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def regions_of(picture: Picture, strides: tuple[Stride, ...]) -> PreparedRegions | None:
    """Cut a labelled picture into regions as an analysis does; None without labels."""
    sample = picture.sample
    if sample.labels is None:
        return None
    return prepare_regions(sample.labels, strides, sample.instances, IGNORE)


def inner_point(regions: PreparedRegions, number: int) -> Point:
    """Return the pixel of a region that lies deepest inside."""
    found = regions.regions
    depth = np.where(found.ids == number, found.distance_px, -1.0)
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return Point(int(column), int(row))


def has_region(regions: PreparedRegions, number: int, area_px: int) -> bool:
    """Return whether a region of this number and area is there: whether it is the same image."""
    areas = regions.regions.area_px
    return 1 <= number <= len(areas) and int(areas[number - 1]) == area_px


def image_nulls(
    shown: Shown, regions: PreparedRegions, partner: Sample | None, choices: Choices
) -> pd.DataFrame:
    """Compute SCI of one image under N1 and N2, beside its own.

    Args:
        shown: Both networks on the image.
        regions: Of that image.
        partner: The image whose annotation N2 takes; None leaves N2 out.
        choices: Which pairs count.

    Returns:
        ``model``, ``source`` (``model``, ``N1`` or ``N2``), ``value``, and the range of the draws,
        ``low`` and ``high``; NaN where no pair is left.
    """
    moved = {"model": [regions], "N1": shifted(shown.sample, regions), "N2": []}
    if partner is not None and partner.labels is not None:
        moved["N2"] = [prepare_regions(partner.labels, regions.strides, partner.instances)]
    rows = []
    for letter in LETTERS:
        maps = shown.inspections[letter].activity
        for name, grids in moved.items():
            found = [sci_of(one, maps, shown, choices) for one in grids]
            values = [value for value in found if value is not None]
            ends = (np.mean(values), min(values), max(values)) if values else [np.nan] * 3
            if grids:
                rows.append((letter, name, *ends))
    return pd.DataFrame(rows, columns=["model", "source", "value", "low", "high"])


def shifted(sample: Sample, regions: PreparedRegions) -> list[PreparedRegions]:
    """Return an image's regions under the shifts of N1, as an analysis of seed 0 draws them."""
    if sample.labels is None:
        return []
    return [one.grids for one in shifted_annotations(sample, regions, SHIFTS, seed=0)]


def sci_of(
    regions: PreparedRegions, maps: BranchMaps, shown: Shown, choices: Choices
) -> float | None:
    """Return SCI of one network on one image for given regions; None without a pair."""
    frame = region_frame(region_arrays(regions, maps), shown.sample.id, len(maps))
    values = sci_by_image(frame, shown.pixel_classes, choices)["value"]
    return float(values.iloc[0]) if len(values) else None
