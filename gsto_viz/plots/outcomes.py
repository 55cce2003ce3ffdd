"""Segmentations side by side: input, ground truth, every network's prediction, and who is right."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from gsto_viz.errors import GstoVizError
from gsto_viz.plots import style
from gsto_viz.plots.chart import WIDTH, draw_legend, legend_height, title_of
from gsto_viz.plots.colors import MODEL_COLORS
from gsto_viz.plots.layout import GAP, MARGIN, Page, fit_panel, shorten, text_height, wrap
from gsto_viz.plots.panels import (
    check_same_size,
    draw_class_legend,
    draw_image,
    draw_labels,
    present_classes,
    show,
)
from gsto_viz.plots.save import set_alt_text
from gsto_viz.types import IGNORE, ClassList, Inspection, Sample

HEIGHT = 1.6
"""Largest height of a panel, inches."""
MAX_ROWS = 10
TITLE, NAME = 0.18, 0.14
"""Inches for the column titles, and above each row for the image's id."""
CLASS_LINE = 1.6 * 6.5 / 72
"""Inches per line of the class legend."""
CLASS_COLUMNS = 7
OUTCOMES = ("not annotated", "right", "only {0} right", "only {1} right", "wrong", "same", "differ")
"""What a pixel can be, by its code in ``outcome_map``; the last two where nothing is annotated."""
COLORS = ("#000000", "#F2F2F2", *MODEL_COLORS[:2], "#9A9A9A", "#F2F2F2", "#4D4D4D")
"""By code."""

Row = tuple[Sample, Mapping[str, Inspection]]
"""An image and what one or two networks show for it, by key."""


def outcome_map(
    labels: npt.NDArray[np.integer] | None, predictions: Sequence[npt.NDArray[np.integer]]
) -> npt.NDArray[np.uint8]:
    """Tell for every pixel who is right.

    Args:
        labels: (H, W) class indices, 255 = not annotated; None when nothing is annotated.
        predictions: Of one or two networks, (H, W) class indices.

    Returns:
        (H, W) indices into ``OUTCOMES``; of one network only right, wrong and not annotated.
    """
    first, second = predictions[0], predictions[-1]
    if labels is None:
        return np.where(first == second, 5, 6).astype(np.uint8)
    right = (first == labels, second == labels)
    code = np.select([right[0] & right[1], right[0], right[1]], [1, 2, 3], default=4)
    return np.where(labels == IGNORE, 0, code).astype(np.uint8)


def segmentations_data(rows: Sequence[Row]) -> pd.DataFrame:
    """Count the pixels of each outcome in each image.

    Returns:
        ``image``, ``outcome``, ``pixels``, ``share`` (of the image's annotated pixels, or of all
        where nothing is annotated; null for pixels that are not annotated).
    """
    records = []
    for sample, shown in rows:
        counts = np.bincount(_outcomes(sample, shown).ravel(), minlength=len(OUTCOMES))
        counted = int(counts[1:].sum())
        for code in np.flatnonzero(counts):
            pixels = int(counts[code])
            share = pixels / counted if code else np.nan
            records.append((sample.id, _name(int(code), list(shown)), pixels, share))
    return pd.DataFrame(records, columns=["image", "outcome", "pixels", "share"])


def figure_segmentations(
    rows: Sequence[Row],
    *,
    classes: ClassList,
    names: Mapping[str, str] | None = None,
    width: float = WIDTH,
) -> Figure:
    """Draw one row per image: input, ground truth, predictions, and which network is right.

    Without labels the last column shows where two networks differ; of one network it shows where
    it is right and is left out when nothing is annotated.

    Args:
        rows: Up to ten images, each with the inspections of the same one or two networks.
        classes: Names and colours of the classes.
        names: By network, the checkpoint's name for the caption.
        width: Inches.

    Raises:
        GstoVizError: No image or too many, not one or two networks, other networks in another
            row, or predictions that are not of their image.
    """
    keys = _check_rows(rows)
    labelled = any(sample.labels is not None for sample, _ in rows)
    judged = labelled or len(keys) == 2
    titles = ["input", *(["ground truth"] if labelled else []), *keys]
    if judged:
        words = "which is right" if len(keys) == 2 else "where it is right"
        titles.append(words if labelled else "where they differ")
    slot = (width - 2 * MARGIN - (len(titles) - 1) * GAP) / len(titles)
    panels = [fit_panel(sample.image.shape[:2], slot, HEIGHT) for sample, _ in rows]
    ids = present_classes(classes, *(m for s, shown in rows for m in _maps(s, shown)))
    codes = _codes(rows) if judged else []
    text = wrap(_caption(keys, names), width - 2 * MARGIN, style.SMALL)
    with style.context():
        body = TITLE + sum(NAME + panel[1] + GAP / 2 for panel in panels)
        legend = -(-len(ids) // CLASS_COLUMNS) * CLASS_LINE + 0.05
        handles = _legend(codes, keys)
        outcomes = legend_height(handles, width)
        foot = text_height(text, style.SMALL)
        page = Page(width, 2 * MARGIN + body + legend + outcomes + 0.1 + foot)
        _draw_rows(page, rows, titles, panels, slot, classes)
        top = MARGIN + body + 0.05
        ax = page.axes(MARGIN, top, width - 2 * MARGIN, legend, label="classes")
        draw_class_legend(classes, ids, ax=ax, columns=CLASS_COLUMNS)
        draw_legend(page, handles, top + legend + 0.05)
        page.text(MARGIN, page.height - MARGIN, text, va="bottom", fontsize=style.SMALL)
    set_alt_text(page.figure, _alt_text(rows, keys))
    return page.figure


def _check_rows(rows: Sequence[Row]) -> list[str]:
    """Return the keys of the networks, the same in every row."""
    if not 1 <= len(rows) <= MAX_ROWS:
        raise GstoVizError(f"{len(rows)} images do not fit one page; give 1 to {MAX_ROWS}")
    keys = list(rows[0][1])
    if not 1 <= len(keys) <= 2:
        raise GstoVizError(f"segmentations of {len(keys)} networks; give one or two")
    for sample, shown in rows:
        if list(shown) != keys:
            raise GstoVizError(
                f"image '{sample.id}' has networks {', '.join(shown)}, the first "
                f"{', '.join(keys)}; give the same in every row"
            )
        for inspection in shown.values():
            check_same_size(inspection.prediction, sample.image)
    return keys


def _maps(sample: Sample, shown: Mapping[str, Inspection]) -> list[npt.NDArray | None]:
    return [sample.labels, *(inspection.prediction for inspection in shown.values())]


def _outcomes(sample: Sample, shown: Mapping[str, Inspection]) -> npt.NDArray[np.uint8]:
    return outcome_map(sample.labels, [inspection.prediction for inspection in shown.values()])


def _codes(rows: Sequence[Row]) -> list[int]:
    """Return the outcomes that occur in any row."""
    seen = [np.unique(_outcomes(sample, shown)) for sample, shown in rows]
    return [int(code) for code in np.unique(np.concatenate(seen))]


def _name(code: int, keys: Sequence[str]) -> str:
    """Return an outcome in words, with the networks' letters."""
    both = "both " if len(keys) == 2 and code in (1, 4) else ""
    return both + OUTCOMES[code].format(*keys, *keys)


def _draw_rows(
    page: Page,
    rows: Sequence[Row],
    titles: Sequence[str],
    panels: Sequence[tuple[float, float]],
    slot: float,
    classes: ClassList,
) -> None:
    """Draw the grid of pictures."""
    top = MARGIN + TITLE
    for k, ((sample, shown), panel) in enumerate(zip(rows, panels, strict=True)):
        page.text(MARGIN, top + NAME - 0.02, shorten(sample.id, page.width / 2, style.SMALL),
                  va="bottom", fontsize=style.SMALL)  # fmt: skip
        for column, title in enumerate(titles):
            left = MARGIN + column * (slot + GAP)
            if k == 0:
                page.text(left + slot / 2, MARGIN, title, ha="center")
            place = (left + (slot - panel[0]) / 2, top + NAME, *panel)
            _draw_panel(page, place, title, sample, shown, classes)
        top += NAME + panel[1] + GAP / 2


def _draw_panel(
    page: Page,
    place: tuple[float, float, float, float],
    title: str,
    sample: Sample,
    shown: Mapping[str, Inspection],
    classes: ClassList,
) -> None:
    """Draw one picture; nothing where a row has no labels or no judgement."""
    judges = title not in ("input", "ground truth", *shown)
    missing = sample.labels is None and (title == "ground truth" or (judges and len(shown) == 1))
    if missing:
        page.text(place[0] + place[2] / 2, place[1] + place[3] / 2, "not annotated", ha="center")
        return
    ax = page.axes(*place, label=f"{sample.id} {title}")
    if title == "input":
        draw_image(sample.image, ax=ax)
    elif judges:
        palette = np.array([to_rgb(color) for color in COLORS]) * 255
        show(np.rint(palette).astype(np.uint8)[_outcomes(sample, shown)], ax=ax)
    else:
        labels = sample.labels if title == "ground truth" else shown[title].prediction
        assert labels is not None  # said above
        draw_labels(labels, classes, ax=ax)


def _legend(codes: Sequence[int], keys: Sequence[str]) -> list[Patch]:
    """Explain the colours of the last column."""
    return [
        Patch(facecolor=COLORS[code], edgecolor="0.3", linewidth=0.4, label=_name(code, keys))
        for code in codes
    ]


def _caption(keys: Sequence[str], names: Mapping[str, str] | None) -> str:
    who = "; ".join(shorten(title_of(key, names), 3.0, style.SMALL) for key in keys)
    return f"Segmentations at image size. {who}. Black pixels are not annotated and not counted."


def _alt_text(rows: Sequence[Row], keys: Sequence[str]) -> str:
    """Say in words how the networks fare on each image."""
    data = segmentations_data(rows).dropna(subset=["share"])
    parts = []
    for image, counts in data.groupby("image", sort=False):
        said = [
            f"{outcome} {100 * share:.0f} %"
            for outcome, share in zip(counts["outcome"], counts["share"], strict=True)
        ]
        parts.append(f"{image}: {', '.join(said)}")
    return f"Input, ground truth and predictions of {' and '.join(keys)}. {'; '.join(parts)}."
