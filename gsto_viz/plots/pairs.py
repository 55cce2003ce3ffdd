"""Galleries: pairs that are ordered the wrong way round, and segmentations side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from gsto_viz.activity import HeatMap, normalise, valid_by_stride
from gsto_viz.colors import NETWORKS, branch_mark
from gsto_viz.errors import GstoVizError
from gsto_viz.look import Look
from gsto_viz.plots.page import (
    GAP,
    MARGIN,
    SMALL,
    WIDTH,
    context,
    fit_panel,
    shorten,
    title_of,
)
from gsto_viz.plots.panels import check_same_size, present_classes
from gsto_viz.plots.wall import Outline, Panel, PanelRow, Wall
from gsto_viz.types import IGNORE, ClassList, Sample, WorstPair, stride_words
from gsto_viz.words import MODES, listed

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
CAPTION = (
    "Each row: two regions of one image in the wrong order, the smaller read as the coarser one. "
    "q: coarseness at matched resolution, higher where coarse branches answer; aware branches give "
    "the larger region the larger q. Second column: the smaller region, enlarged. Maps: "
    f"{MODES['percentile'].said('the gain-fixed channel average')} Worst pairs are chosen for "
    "being wrong; they show how an error looks, not how often it happens."
)


@dataclass(frozen=True, eq=False)
class PairRow:
    """One row of the gallery.

    Attributes:
        pair: The regions and their numbers.
        sample: The image that they lie in.
        inspection: What the pair's network shows for it.
        regions: (H, W) region numbers, 0 = none.
    """

    pair: WorstPair
    sample: Sample
    inspection: Look
    regions: npt.NDArray[np.integer]


def worst_pairs_data(rows: Sequence[PairRow]) -> pd.DataFrame:
    """Return the pairs as a table.

    Returns:
        ``model``, ``image``, ``small_region``, ``large_region``, ``small_px`` and ``large_px``
        (areas), ``gap_octaves``, ``q_small``, ``q_large``; one row per pair.
    """
    records = [
        asdict(row.pair)
        | {
            "small_px": int((row.regions == row.pair.small_region).sum()),
            "large_px": int((row.regions == row.pair.large_region).sum()),
        }
        for row in rows
    ]
    columns = ("model", "image", "small_region", "large_region", "small_px", "large_px")
    return pd.DataFrame(records, columns=[*columns, "gap_octaves", "q_small", "q_large"])


@context()
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
        caption: Explain below what a row shows.

    Raises:
        GstoVizError: No row or too many, region numbers that the image does not have, or maps
            that are not of the image.
    """
    if not 1 <= len(rows) <= MAX_ROWS:
        raise GstoVizError(f"{len(rows)} pairs cannot be drawn on one page; give 1 to {MAX_ROWS}")
    for row in rows:
        check_same_size(row.regions, row.sample.image)
        for region in (row.pair.small_region, row.pair.large_region):
            if region < 1 or not (row.regions == region).any():
                raise GstoVizError(
                    f"image '{row.sample.id}' has no region {region}; give the regions of this "
                    "image"
                )
    slots = 2 + max(len(row.inspection.strides) for row in rows)
    wall = Wall(rows[0].regions.shape, width=width)
    slot = (wall.room - (slots - 1) * GAP) / slots
    for row in rows:
        title = f"{title_of(row.pair.model, names)}, image {row.pair.image}"
        panels = _panels(row, fit_panel(row.regions.shape, slot, HEIGHT))
        wall.rows(
            [
                PanelRow(
                    title,
                    panels,
                    note=_numbers(row.pair),
                    slots=slots,
                    size=row.regions.shape,
                    height=HEIGHT,
                )
            ]
        )
    _draw_foot(wall)
    parts = [f"{row.pair.model}, image {row.pair.image}: {_numbers(row.pair)}" for row in rows]
    alt = (
        "Pairs of regions in the wrong order, each with the image, the smaller region enlarged and "
        f"one percentile map per branch. {'; '.join(parts)}."
    )
    return wall.finish(CAPTION if caption else "", alt)


def _panels(row: PairRow, panel: tuple[float, float]) -> list[Panel]:
    """Return the image, the enlarged region and the maps of one pair."""
    pair, strides, labels = row.pair, row.inspection.strides, row.sample.labels
    valid = None if labels is None else valid_by_stride(labels, strides)
    (maps,) = normalise((row.inspection,), "percentile", valid)
    small, large = row.regions == pair.small_region, row.regions == pair.large_region
    outlines = (
        Outline(large.astype(np.int8), LARGE_COLOR, OUTLINE),
        Outline(small.astype(np.int8), SMALL_COLOR, OUTLINE),
    )
    (x, y), width, height = _zoom_box(small, panel)

    def frame(ax: Axes) -> None:
        box = Rectangle((x, y), width, height, fill=False, edgecolor="black", linewidth=0.6)
        ax.add_patch(box).set_zorder(4)

    def enlarge(ax: Axes) -> None:
        ax.set_xlim(x, x + width)
        ax.set_ylim(y + height, y)

    name = f"{pair.model} {pair.image}"
    panels = [
        Panel(title, pixels=row.sample.image, name=f"{name} {title}", outlines=outlines, over=over)
        for title, over in (("image", frame), ("the smaller region", enlarge))
    ]
    for r, heat in enumerate(maps):
        title, color = stride_words(heat.stride), branch_mark(r).color
        panels.append(
            Panel(
                title,
                heat=heat,
                name=f"{name} {title}",
                bar=False,
                frame=color,
                outlines=outlines,
            )
        )
    return panels


def _numbers(pair: WorstPair) -> str:
    """Return in words how far apart the sizes are, and both q."""
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


def _draw_foot(wall: Wall) -> None:
    """Draw the one colour bar of all maps, and say whose the outlines are."""
    label = MODES["percentile"].axis
    heat = HeatMap(np.array([[0.0, 1.0]]), 0.0, 1.0, "percentile", label, raw=False, stride=1)
    top = wall.top
    wall.common_bar(heat, MARGIN)
    below, wall.top = wall.top, top + 0.03
    handles = [
        Line2D([], [], color=color, linewidth=2, label=label)
        for color, label in ((SMALL_COLOR, "smaller region"), (LARGE_COLOR, "larger region"))
    ]
    wall.legend(handles, middle=0.84, frameon=True, facecolor="0.6", edgecolor="none")
    wall.top = max(below, wall.top) + GAP


OUTCOME_HEIGHT = 1.6
"""Largest height of a panel, inches."""
MAX_OUTCOME_ROWS = 10
CLASS_COLUMNS = 7
OUTCOMES = ("not annotated", "right", "only {0} right", "only {1} right", "wrong", "same", "differ")
"""What a pixel of one or two networks can be, by its code in ``outcome_map``; the last two where
nothing is annotated."""
COLORS = (
    *("#000000", "#F2F2F2", NETWORKS[0].color, NETWORKS[1].color),
    *("#9A9A9A", "#F2F2F2", "#4D4D4D"),
)
"""By code."""
RIGHT = 10
"""Code of pixels that none of three or more networks has right; one more for each that has."""

Row = tuple[Sample, Mapping[str, Look]]
"""An image and what networks show for it, by key."""


def outcome_map(
    labels: npt.NDArray[np.integer] | None, predictions: Sequence[npt.NDArray[np.integer]]
) -> npt.NDArray[np.uint8]:
    """Return for every pixel which networks are right.

    Args:
        labels: (H, W) class indices, 255 = not annotated; None when nothing is annotated.
        predictions: Of each network, (H, W) class indices.

    Returns:
        (H, W) indices into ``OUTCOMES``; of one network only right, wrong and not annotated. Of
        three or more, ``RIGHT`` and how many of them are right.
    """
    stack = np.stack(predictions)
    if labels is None:
        return np.where((stack == stack[0]).all(axis=0), 5, 6).astype(np.uint8)
    right = stack == labels
    if len(stack) > 2:
        code = RIGHT + right.sum(axis=0)
    else:
        code = np.select([right[0] & right[-1], right[0], right[-1]], [1, 2, 3], default=4)
    return np.where(labels == IGNORE, 0, code).astype(np.uint8)


def _name(code: int, keys: Sequence[str]) -> str:
    """Return an outcome in words, with the networks' names."""
    if code >= RIGHT:
        return f"{code - RIGHT} of {len(keys)} right"
    both = "both " if len(keys) == 2 and code in (1, 4) else ""
    return both + OUTCOMES[code].format(*keys, *keys)


def _color(code: int, networks: int) -> str:
    """Return the colour of an outcome."""
    if code < RIGHT:
        return COLORS[code]
    return to_hex(mpl.colormaps["cividis"]((code - RIGHT) / networks))


def segmentations_data(rows: Sequence[Row]) -> pd.DataFrame:
    """Count the pixels of each outcome in each image.

    Returns:
        ``image``, ``outcome``, ``pixels``, ``share`` (of the image's annotated pixels, or of all
        where nothing is annotated; null for pixels that are not annotated).
    """
    records = []
    for sample, shown in rows:
        counts = np.bincount(_outcomes(sample, shown).ravel())
        counted = int(counts[1:].sum())
        for code in np.flatnonzero(counts):
            pixels = int(counts[code])
            share = pixels / counted if code else np.nan
            records.append((sample.id, _name(int(code), list(shown)), pixels, share))
    return pd.DataFrame(records, columns=["image", "outcome", "pixels", "share"])


@context()
def figure_segmentations(
    rows: Sequence[Row],
    *,
    classes: ClassList,
    names: Mapping[str, str] | None = None,
    width: float = WIDTH,
) -> Figure:
    """Draw one row per image: input, ground truth, predictions, and which network is right.

    Without labels the last column shows where networks differ; of one network it shows where it is
    right and is left out when nothing is annotated. Of three or more it shows how many are right.

    Args:
        rows: Up to ten images, each with the inspections of the same networks.
        classes: Names and colours of the classes.
        names: By network, the checkpoint's name for the caption.
        width: Inches.

    Raises:
        GstoVizError: No image or too many, no network or too many, other networks in another row,
            or predictions that are not of their image.
    """
    keys = _check_rows(rows)
    labelled = any(sample.labels is not None for sample, _ in rows)
    judged = labelled or len(keys) > 1
    wall = Wall(rows[0][0].image.shape[:2], classes, width=width)
    for k, (sample, shown) in enumerate(rows):
        panels = _tiles(sample, shown, titled=k == 0, labelled=labelled, judged=judged)
        size = sample.image.shape[:2]
        row = PanelRow(sample.id, panels, size=size, height=OUTCOME_HEIGHT, plain=True)
        wall.rows([row])
    maps = [m for sample, shown in rows for m in _maps(sample, shown)]
    wall.class_legend(present_classes(classes, *maps), CLASS_COLUMNS)
    codes = {int(c) for sample, shown in rows for c in np.unique(_outcomes(sample, shown))}
    wall.legend(
        [
            Patch(fc=_color(code, len(keys)), ec="0.3", lw=0.4, label=_name(code, keys))
            for code in sorted(codes if judged else ())
        ]
    )
    wall.top += 0.05
    who = "; ".join(shorten(title_of(key, names), 3.0, SMALL) for key in keys)
    caption = f"Segmentations at image size. {who}. Black pixels are not annotated and not counted."
    return wall.finish(caption, _outcome_alt_text(rows, keys))


def _check_rows(rows: Sequence[Row]) -> list[str]:
    """Return the keys of the networks, the same in every row."""
    if not 1 <= len(rows) <= MAX_OUTCOME_ROWS:
        raise GstoVizError(f"{len(rows)} images do not fit one page; give 1 to {MAX_OUTCOME_ROWS}")
    keys = list(rows[0][1])
    if not 1 <= len(keys) <= len(NETWORKS):
        raise GstoVizError(
            f"segmentations of {len(keys)} networks cannot be drawn; give 1 to {len(NETWORKS)}"
        )
    for sample, shown in rows:
        if list(shown) != keys:
            raise GstoVizError(
                f"image '{sample.id}' has networks {', '.join(shown)}, the first "
                f"{', '.join(keys)}; give the same in every row"
            )
        for inspection in shown.values():
            check_same_size(inspection.prediction, sample.image)
    return keys


def _maps(sample: Sample, shown: Mapping[str, Look]) -> list[npt.NDArray | None]:
    return [sample.labels, *(inspection.prediction for inspection in shown.values())]


def _outcomes(sample: Sample, shown: Mapping[str, Look]) -> npt.NDArray[np.uint8]:
    return outcome_map(sample.labels, [inspection.prediction for inspection in shown.values()])


def _tiles(
    sample: Sample, shown: Mapping[str, Look], *, titled: bool, labelled: bool, judged: bool
) -> list[Panel | str]:
    """Return the pictures of one image; words where one has no labels or no judgement."""

    def tile(
        title: str, pixels: npt.NDArray | None = None, labels: npt.NDArray | None = None
    ) -> Panel | str:
        if pixels is None and labels is None:
            return "not annotated"
        name = f"{sample.id} {title}"
        return Panel(title if titled else "", pixels=pixels, labels=labels, name=name)

    tiles = [tile("input", pixels=sample.image)]
    if labelled:
        tiles.append(tile("ground truth", labels=sample.labels))
    tiles += [tile(key, labels=one.prediction) for key, one in shown.items()]
    if judged:
        count = len(shown)
        words = {1: "where it is right", 2: "which is right"}.get(count, "how many are right")
        codes = _outcomes(sample, shown)
        colors = np.zeros((int(codes.max()) + 1, 3))
        for code in np.unique(codes):
            colors[code] = to_rgb(_color(int(code), count))
        unknown = sample.labels is None and count == 1
        pixels = None if unknown else np.rint(255 * colors).astype(np.uint8)[codes]
        tiles.append(tile(words if labelled else "where they differ", pixels=pixels))
    return tiles


def _outcome_alt_text(rows: Sequence[Row], keys: Sequence[str]) -> str:
    """Return in words how the networks fare on each image."""
    data = segmentations_data(rows).dropna(subset=["share"])
    parts = []
    for image, counts in data.groupby("image", sort=False):
        said = [
            f"{outcome} {100 * share:.0f} %"
            for outcome, share in zip(counts["outcome"], counts["share"], strict=True)
        ]
        parts.append(f"{image}: {', '.join(said)}")
    return f"Input, ground truth and predictions of {listed(keys)}. {'; '.join(parts)}."
