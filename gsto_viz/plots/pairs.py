"""Galleries: pairs that are ordered the wrong way round, and segmentations side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from gsto_viz.activity import HeatMap, normalise, valid_by_stride
from gsto_viz.errors import GstoVizError
from gsto_viz.plots import style
from gsto_viz.plots.chart import (
    GAP,
    MARGIN,
    WIDTH,
    Page,
    draw_legend,
    fit_panel,
    legend_height,
    set_alt_text,
    shorten,
    text_height,
    title_of,
    wrap,
)
from gsto_viz.plots.panels import (
    BAR_HEIGHT,
    check_same_size,
    draw_class_legend,
    draw_image,
    draw_labels,
    draw_outlines,
    fill_bar,
    paint,
    present_classes,
    show,
)
from gsto_viz.plots.style import branch_style
from gsto_viz.types import IGNORE, ClassList, Inspection, Sample
from gsto_viz.words import NETWORKS

SMALL_COLOR, LARGE_COLOR = "white", "#FF5A00"
"""Outlines of the smaller and of the larger region; neither is a colour of the maps."""
OUTLINE = 0.9
"""Width of an outline, points."""
ZOOM_PX = 48
"""Least side of the part of the image that is enlarged, pixels."""
MAX_ROWS = 8
"""More pairs do not fit one page."""
HEIGHT = 1.3
"""Largest height of a panel, inches."""
HEAD, TITLE, FOOT = 0.17, 0.16, 0.5
"""Inches for a row's heading, for column titles, for the colour bar and the legend."""
CAPTION = (
    "Each row: two regions of one image in the wrong order, the smaller read as the coarser one. "
    "q: coarseness at matched resolution, higher where coarse branches answer; aware branches give "
    "the larger region the larger q. Second column: the smaller region, enlarged. Maps: percentile "
    "of the gain-fixed channel average among the cells of this image, one scale 0 to 1. Worst "
    "pairs are chosen for being wrong; they show how an error looks, not how often it happens."
)


class WrongPair(Protocol):
    """What is read of a pair in the wrong order."""

    @property
    def model(self) -> str:
        """The network (A, B)."""

    @property
    def image(self) -> str:
        """Id of the image."""

    @property
    def small_region(self) -> int:
        """Number of the smaller region."""

    @property
    def large_region(self) -> int:
        """Number of the larger region."""

    @property
    def gap_octaves(self) -> float:
        """Difference of the two sizes."""

    @property
    def q_small(self) -> float:
        """Coarseness of the smaller region."""

    @property
    def q_large(self) -> float:
        """Coarseness of the larger region."""


@dataclass(frozen=True, eq=False)
class PairRow:
    """One row of the gallery.

    Attributes:
        pair: The regions and their numbers.
        sample: The image that they lie in.
        inspection: What the pair's network shows for it.
        regions: (H, W) region numbers, 0 = none.
    """

    pair: WrongPair
    sample: Sample
    inspection: Inspection
    regions: npt.NDArray[np.integer]


def worst_pairs_data(rows: Sequence[PairRow]) -> pd.DataFrame:
    """Return the pairs as a table.

    Returns:
        ``model``, ``image``, ``small_region``, ``large_region``, ``small_px`` and ``large_px``
        (areas), ``gap_octaves``, ``q_small``, ``q_large``; one row per pair.
    """
    records = [
        {
            "model": row.pair.model,
            "image": row.pair.image,
            "small_region": row.pair.small_region,
            "large_region": row.pair.large_region,
            "small_px": int((row.regions == row.pair.small_region).sum()),
            "large_px": int((row.regions == row.pair.large_region).sum()),
            "gap_octaves": row.pair.gap_octaves,
            "q_small": row.pair.q_small,
            "q_large": row.pair.q_large,
        }
        for row in rows
    ]
    columns = ("model", "image", "small_region", "large_region", "small_px", "large_px")
    return pd.DataFrame(records, columns=[*columns, "gap_octaves", "q_small", "q_large"])


def figure_worst_pairs(
    rows: Sequence[PairRow],
    *,
    names: Mapping[str, str] | None = None,
    width: float = WIDTH,
    caption: bool = True,
) -> Figure:
    """Draw pairs of regions in the wrong order: the image, the smaller region, every branch's map.

    Args:
        rows: At most eight, in the order of the page; images may have different sizes.
        names: By network, the checkpoint's name for the headings.
        width: Inches.
        caption: Say below what a row shows.

    Raises:
        GstoVizError: No row or too many, region numbers that the image does not have, or maps
            that are not of the image.
    """
    if not 1 <= len(rows) <= MAX_ROWS:
        raise GstoVizError(f"{len(rows)} pairs cannot be drawn on one page; give 1 to {MAX_ROWS}")
    for row in rows:
        _check_row(row)
    columns = 2 + max(len(row.inspection.strides) for row in rows)
    slot = (width - 2 * MARGIN - (columns - 1) * GAP) / columns
    panels = [fit_panel(_size(row), slot, HEIGHT) for row in rows]
    text = wrap(CAPTION, width - 2 * MARGIN, style.SMALL) if caption else ""
    with style.context():
        heights = [HEAD + TITLE + panel[1] + GAP for panel in panels]
        below = text_height(text, style.SMALL) if caption else -MARGIN
        page = Page(width, 2 * MARGIN + sum(heights) + FOOT + below)
        top = MARGIN
        for row, panel, height in zip(rows, panels, heights, strict=True):
            _draw_row(page, top, row, panel, slot, names)
            top += height
        _draw_foot(page, top, slot)
        page.text(MARGIN, page.height - MARGIN, text, va="bottom", fontsize=style.SMALL)
    set_alt_text(page.figure, _alt_text(rows))
    return page.figure


def _size(row: PairRow) -> tuple[int, int]:
    height, width = row.sample.image.shape[:2]
    return height, width


def _check_row(row: PairRow) -> None:
    check_same_size(row.regions, row.sample.image)
    for region in (row.pair.small_region, row.pair.large_region):
        if region < 1 or not (row.regions == region).any():
            raise GstoVizError(
                f"image '{row.sample.id}' has no region {region}; give the regions of this image"
            )


def _draw_row(
    page: Page,
    top: float,
    row: PairRow,
    panel: tuple[float, float],
    slot: float,
    names: Mapping[str, str] | None,
) -> None:
    """Draw heading, image, enlarged region and maps of one pair."""
    pair, strides = row.pair, row.inspection.strides
    _write_heading(page, top, pair, names)
    labels = row.sample.labels
    valid = None if labels is None else valid_by_stride(labels, strides)
    (maps,) = normalise((row.inspection,), "percentile", valid)
    titles = ["image", "the smaller region", *(f"stride {stride}" for stride in strides)]
    small, large = row.regions == pair.small_region, row.regions == pair.large_region
    box = _zoom_box(small, panel)
    for column, title in enumerate(titles):
        left = MARGIN + column * (slot + GAP) + (slot - panel[0]) / 2
        label = f"{pair.model} {pair.image} {title}"
        ax = page.axes(left, top + HEAD + TITLE, *panel, label=label)
        ax.set_title(shorten(title, slot, 7.0), pad=3)
        if column < 2:
            draw_image(row.sample.image, ax=ax)
        else:
            _draw_map(ax, maps[column - 2], column - 2, _size(row))
        draw_outlines(large.astype(np.int8), ax=ax, color=LARGE_COLOR, width=OUTLINE)
        draw_outlines(small.astype(np.int8), ax=ax, color=SMALL_COLOR, width=OUTLINE)
        if column == 0:
            ax.add_patch(Rectangle(*box, fill=False, edgecolor="black", linewidth=0.6, zorder=4))
        elif column == 1:
            (x, y), width, height = box
            ax.set_xlim(x, x + width)
            ax.set_ylim(y + height, y)


def _draw_map(ax: Axes, heatmap: HeatMap, branch: int, size: tuple[int, int]) -> None:
    paint(heatmap, ax=ax, size=size)
    ax.spines[:].set(color=branch_style(branch)[0], linewidth=1.2)


def _write_heading(
    page: Page, top: float, pair: WrongPair, names: Mapping[str, str] | None
) -> None:
    title = f"{title_of(pair.model, names)}, image {pair.image}: {_numbers(pair)}"
    page.text(
        MARGIN, top, shorten(title, page.width - 2 * MARGIN, 7.0, bold=True), fontweight="bold"
    )


def _numbers(pair: WrongPair) -> str:
    """Say how far apart the sizes are, and both q."""
    return (
        f"sizes {pair.gap_octaves:.1f} octaves apart, q {pair.q_small:+.2f} of the smaller, "
        f"{pair.q_large:+.2f} of the larger"
    )


def _zoom_box(
    mask: npt.NDArray[np.bool_], panel: tuple[float, float]
) -> tuple[tuple[float, float], float, float]:
    """Return corner, width and height of the part around a region, in the panel's proportions."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    middle_y, middle_x = (rows[0] + rows[-1] + 1) / 2, (columns[0] + columns[-1] + 1) / 2
    ratio = panel[0] / panel[1]
    needed = (2.0 * _extent(rows), 2.0 * _extent(columns) / ratio, float(ZOOM_PX))
    height = min(max(needed), float(mask.shape[0]))
    width = height * ratio
    x = float(np.clip(middle_x - width / 2, 0, mask.shape[1] - width))
    y = float(np.clip(middle_y - height / 2, 0, mask.shape[0] - height))
    return (x, y), width, height


def _extent(places: npt.NDArray[np.intp]) -> int:
    """Return the extent of sorted places, both ends included."""
    return int(places[-1] - places[0] + 1)


def _draw_foot(page: Page, top: float, slot: float) -> None:
    """Draw the one colour bar of all maps, and say whose the outlines are."""
    bar = HeatMap(np.array([[0.0, 1.0]]), 0.0, 1.0, "percentile", "", raw=False, stride=1)
    left = page.width - MARGIN - 2 * slot - GAP
    page.text(left, top + 0.02, "percentile of activity in this image", fontsize=style.SMALL)
    fill_bar(bar, page.axes(left, top + 0.15, 2 * slot, BAR_HEIGHT, label="bar"))
    handles = [
        Line2D([], [], color=color, linewidth=2, label=label)
        for color, label in ((SMALL_COLOR, "smaller region"), (LARGE_COLOR, "larger region"))
    ]
    legend = page.figure.legend(
        handles=handles, loc="upper left", ncols=2, borderaxespad=0, frameon=True,
        bbox_to_anchor=(MARGIN / page.width, 1 - (top + 0.05) / page.height),
    )  # fmt: skip
    legend.get_frame().set(facecolor="0.6", edgecolor="none")


def _alt_text(rows: Sequence[PairRow]) -> str:
    parts = [f"{row.pair.model}, image {row.pair.image}: {_numbers(row.pair)}" for row in rows]
    return (
        "Pairs of regions in the wrong order, each with the image, the smaller region enlarged and "
        f"one percentile map per branch. {'; '.join(parts)}."
    )


OUTCOME_HEIGHT = 1.6
"""Largest height of a panel, inches."""
MAX_OUTCOME_ROWS = 10
OUTCOME_TITLE, NAME = 0.18, 0.14
"""Inches for the column titles, and above each row for the image's id."""
CLASS_LINE = 1.6 * 6.5 / 72
"""Inches per line of the class legend."""
CLASS_COLUMNS = 7
OUTCOMES = ("not annotated", "right", "only {0} right", "only {1} right", "wrong", "same", "differ")
"""What a pixel can be, by its code in ``outcome_map``; the last two where nothing is annotated."""
COLORS = (
    "#000000",
    "#F2F2F2",
    *(one.color for one in NETWORKS[:2]),
    "#9A9A9A",
    "#F2F2F2",
    "#4D4D4D",
)
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
    panels = [fit_panel(sample.image.shape[:2], slot, OUTCOME_HEIGHT) for sample, _ in rows]
    ids = present_classes(classes, *(m for s, shown in rows for m in _maps(s, shown)))
    codes = _codes(rows) if judged else []
    text = wrap(_caption(keys, names), width - 2 * MARGIN, style.SMALL)
    with style.context():
        body = OUTCOME_TITLE + sum(NAME + panel[1] + GAP / 2 for panel in panels)
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
    set_alt_text(page.figure, _outcome_alt_text(rows, keys))
    return page.figure


def _check_rows(rows: Sequence[Row]) -> list[str]:
    """Return the keys of the networks, the same in every row."""
    if not 1 <= len(rows) <= MAX_OUTCOME_ROWS:
        raise GstoVizError(f"{len(rows)} images do not fit one page; give 1 to {MAX_OUTCOME_ROWS}")
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
    top = MARGIN + OUTCOME_TITLE
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


def _outcome_alt_text(rows: Sequence[Row], keys: Sequence[str]) -> str:
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
