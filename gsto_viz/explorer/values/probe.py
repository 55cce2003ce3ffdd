"""What both networks say at one pixel, for one region, and by object size."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.ndimage import distance_transform_edt
from scipy.special import softmax

from gsto_viz.activity import cell_at, grid_stride, percentile_map, valid_by_stride
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.texts import written_zoom
from gsto_viz.explorer.view_state import ViewState
from gsto_viz.look import Look
from gsto_viz.regions import PreparedRegions, region_arrays, region_table
from gsto_viz.stats import response_by_octave
from gsto_viz.stats.listening import window_along
from gsto_viz.stats.pairs import directions, find_pairs, squared_sizes
from gsto_viz.types import IGNORE, Sample, pixels_per_cell

RegionNumbers = Mapping[str, npt.NDArray]


@dataclass(frozen=True)
class Point:
    """A pixel of the image as the networks see it, counted from 0 at the top left."""

    x: int
    y: int


@dataclass(frozen=True)
class RegionFacts:
    """One region, and how the branches of A and B order it among the others of the image.

    Attributes:
        number: Of the region, from 1.
        class_name: Its class.
        area_px: Pixels.
        size_octave: log2 of the square root of the area.
        qualifies: Large enough for statistics.
        part: ``core`` or ``whole``: what its percentiles are means over.
        part_px: Pixels of that part.
        q: By letter, coarseness at matched resolution; NaN when it has no weight on some grid.
        pairs: How many regions of the image are an octave or more larger or smaller.
        wrong: By letter, how many of these pairs the branches order the wrong way round; a tie
            counts one half. None when the region takes part in no statistics.
    """

    number: int
    class_name: str
    area_px: int
    size_octave: float
    qualifies: bool
    part: str
    part_px: int
    q: dict[str, float]
    pairs: int
    wrong: dict[str, float] | None


def clamped(x: int, y: int, size: tuple[int, int]) -> Point:
    """Return the pixel of an image of ``size`` = (H, W) that is closest to (x, y)."""
    return Point(min(max(int(x), 0), size[1] - 1), min(max(int(y), 0), size[0] - 1))


def read_point(value: object, size: tuple[int, int]) -> Point | None:
    """Return the pixel that the viewer sent, or None: it is a page's script that anyone may run."""
    if not isinstance(value, Mapping):
        return None
    x, y = _whole(value.get("x")), _whole(value.get("y"))
    return None if x is None or y is None else clamped(x, y, size)


def _whole(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(value)


def percentile_maps(shown: Shown) -> dict[str, tuple[npt.NDArray[np.float64], ...]]:
    """Return U of every branch of A and B, (h, w) each; NaN in cells that do not count."""
    labels, strides = shown.sample.labels, shown.inspections["A"].strides
    valid = None if labels is None else valid_by_stride(labels, strides, IGNORE)
    return {
        letter: tuple(
            percentile_map(
                activity.astype(np.float64),
                np.ones(activity.shape, bool) if valid is None else valid[stride],
            )
            for activity, stride in zip(inspection.activity, inspection.strides, strict=True)
        )
        for letter, inspection in shown.inspections.items()
    }


def pixel_profile(
    shown: Shown, ranks: Mapping[str, tuple[npt.NDArray[np.float64], ...]], point: Point
) -> pd.DataFrame:
    """Return what each branch of A and B says in the cell that holds a pixel.

    Returns:
        One row per network and branch: ``model``, ``stride`` (px), ``row`` and ``column`` of the
        cell, ``percentile`` (0..1, NaN where the cell does not count), ``raw`` (channel mean,
        arbitrary units), ``low`` and ``high`` of the raw map, ``cells`` (1).
    """
    rows = []
    for letter in LETTERS:
        inspection = shown.inspections[letter]
        maps = zip(inspection.strides, inspection.raw, ranks[letter], strict=True)
        for stride, raw, rank in maps:
            row, column = cell_at(point.y, point.x, shown.size, stride)
            rows.append(
                {
                    "model": letter,
                    "stride": stride,
                    "row": row,
                    "column": column,
                    "percentile": float(rank[row, column]),
                    "raw": float(raw[row, column]),
                    "low": float(raw.min()),
                    "high": float(raw.max()),
                    "cells": 1.0,
                }
            )
    return pd.DataFrame(rows)


def region_numbers(shown: Shown, regions: PreparedRegions) -> dict[str, RegionNumbers]:
    """Return the region table of both networks as arrays, by letter."""
    return {
        letter: region_arrays(regions, inspection.activity)
        for letter, inspection in shown.inspections.items()
    }


def pinned(state: ViewState, size: tuple[int, int]) -> Point | None:
    """Return the pinned pixel of a view, inside an image of ``size`` = (H, W), or None."""
    if state.px is None or state.py is None:
        return None
    return clamped(state.px, state.py, size)


def probed(state: ViewState, shown: Shown, regions: PreparedRegions) -> Point:
    """Return the probed pixel of a view: where it says, else where the page starts."""
    if state.x is None or state.y is None:
        return default_point(shown, regions)
    return clamped(state.x, state.y, shown.size)


def probed_pixels(
    regions: PreparedRegions, point: Point, number: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return rows and columns of a region's pixels, or of the one pixel where ``number`` is 0."""
    if number:
        rows, columns = np.nonzero(regions.regions.ids == number)
        return rows, columns
    return np.array([point.y]), np.array([point.x])


def region_at(regions: PreparedRegions, point: Point) -> int:
    """Return the number of the region under a pixel, from 1; 0: ignored, no region."""
    return int(regions.regions.ids[point.y, point.x])


def region_profile(
    shown: Shown, regions: PreparedRegions, numbers: Mapping[str, RegionNumbers], number: int
) -> pd.DataFrame:
    """Return the mean over a region of what each branch of A and B says.

    Args:
        regions: Of that image.
        numbers: What ``region_numbers`` gave.
        number: Of the region, from 1.

    Returns:
        The columns of ``pixel_profile`` without ``row`` and ``column``: ``percentile`` is Z_r of
        ``metrics.md`` section 0 (over the core, or the whole region), ``raw`` the mean over the
        whole region weighed by its pixels in each cell, ``cells`` its area in cells.
    """
    area = float(regions.regions.area_px[number - 1])
    inside = regions.regions.ids == number
    rows = []
    for letter in LETTERS:
        inspection = shown.inspections[letter]
        for r, (stride, raw) in enumerate(zip(inspection.strides, inspection.raw, strict=True)):
            y, x = np.nonzero(inside)
            cells = cell_at(y, x, shown.size, stride)
            pixels = pixels_per_cell(stride)
            rows.append(
                {
                    "model": letter,
                    "stride": stride,
                    "percentile": float(numbers[letter][f"z_{r}"][number - 1]),
                    "raw": float(raw[cells].astype(np.float64).mean()),
                    "low": float(raw.min()),
                    "high": float(raw.max()),
                    "cells": area * raw.size / inside.size if pixels is None else area / pixels**2,
                }
            )
    return pd.DataFrame(rows)


def region_facts(
    shown: Shown, regions: PreparedRegions, numbers: Mapping[str, RegionNumbers], number: int
) -> RegionFacts:
    """Return what a region is, its q, and its place among the pairs that the SCI counts."""
    k, found = number - 1, regions.regions
    inside, core = found.ids == number, found.part[k] == "core"
    row = image_objects(shown, regions, numbers).iloc[k]
    wrong = {x: float(row[f"wrong_{x}"]) for x in LETTERS} if row["usable"] else None
    return RegionFacts(
        number=number,
        class_name=shown.pixel_classes.names[int(found.class_id[k])],
        area_px=int(found.area_px[k]),
        size_octave=float(found.size_octave[k]),
        qualifies=bool(found.qualifies[k]),
        part=str(found.part[k]),
        part_px=int(np.count_nonzero(found.core & inside) if core else found.area_px[k]),
        q={letter: float(numbers[letter]["q"][k]) for letter in LETTERS},
        pairs=int(row["pairs"]),
        wrong=wrong,
    )


def image_objects(
    shown: Shown, regions: PreparedRegions, numbers: Mapping[str, RegionNumbers]
) -> pd.DataFrame:
    """Return every region of an image, and how A and B order it among the others.

    Args:
        regions: Of that image.
        numbers: What ``region_numbers`` gave.

    Returns:
        One row per region, number 1 first: ``number``, ``class``, ``area_px``, ``size_px`` (square
        root of the area), ``usable`` (large enough for statistics and with a q of both networks),
        ``q_A`` and ``q_B``, ``pairs`` (regions an octave or more larger or smaller), ``wrong_A``
        and ``wrong_B`` (how many of them are ordered the wrong way round; a tie counts one half),
        ``recall_A`` and ``recall_B`` (share of its pixels with its class; NaN without labels).
    """
    found = regions.regions
    count = len(found.area_px)
    q = {x: np.asarray(numbers[x]["q"], dtype=np.float64) for x in LETTERS}
    usable = found.qualifies & np.isfinite(q["A"]) & np.isfinite(q["B"])
    larger, smaller = find_pairs(np.where(usable, squared_sizes(found.area_px), np.nan))

    def per_region(weights: npt.NDArray | None = None) -> npt.NDArray:
        both = (np.bincount(part, weights, count) for part in (larger, smaller))
        return np.asarray(sum(both))

    table: dict[str, npt.NDArray] = {
        "number": np.arange(1, count + 1),
        "class": np.array(shown.pixel_classes.names, dtype=object)[found.class_id.astype(int)],
        "area_px": found.area_px,
        "size_px": np.sqrt(found.area_px),
        "usable": usable,
        "pairs": per_region(),
    }
    judged = shown.sample.labels is not None and not shown.pose
    for letter in LETTERS:
        signs = directions(q[letter][larger] - q[letter][smaller])
        table[f"q_{letter}"] = q[letter]
        table[f"wrong_{letter}"] = per_region((signs < 0) + 0.5 * (signs == 0))
        if judged:
            recall = _recall(shown.inspections[letter].prediction, regions)
        table[f"recall_{letter}"] = recall if judged else np.full(count, np.nan)
    return pd.DataFrame(table)


def _recall(prediction: npt.NDArray[np.integer], regions: PreparedRegions) -> npt.NDArray:
    """Return the share of each region's pixels that have its class, (K,)."""
    ids = regions.regions.ids
    inside = ids > 0
    numbers = ids[inside] - 1
    right = prediction[inside] == regions.regions.class_id[numbers]
    return np.bincount(numbers, right, len(regions.regions.area_px)) / regions.regions.area_px


def center_of(regions: PreparedRegions, number: int) -> Point:
    """Return the pixel that lies deepest inside a region, away from the image border, too."""
    inside = regions.regions.ids == number
    framed = np.pad(inside, 1)
    depth = distance_transform_edt(framed)[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return Point(int(column), int(row))


def zoom_to(regions: PreparedRegions, number: int) -> str | None:
    """Return the part of the image that holds a region with room around, as a view holds it."""
    rows, columns = np.nonzero(regions.regions.ids == number)
    height, width = regions.regions.ids.shape
    share = max(np.ptp(rows) / height, np.ptp(columns) / width)
    zoom = max(1.0, min(8.0, 0.4 / max(share, 1e-6)))
    middle = (
        (columns.min() + columns.max() + 1) / 2 / width,
        (rows.min() + rows.max() + 1) / (2 * height),
    )
    return written_zoom(zoom, *(float(m) - 0.5 / zoom for m in middle))


def class_scores(
    shown: Shown, points: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
) -> dict[str, npt.NDArray[np.float64]]:
    """Return the mean softmax score of every class over pixels, by letter, (K,) each.

    Of networks for pose: the mean of every joint's heat map.

    Args:
        points: Rows and columns of the pixels.
    """
    found = {x: logits_at(shown.inspections[x], shown.size, *points) for x in LETTERS}
    if not shown.pose:
        found = {letter: softmax(logits, axis=0) for letter, logits in found.items()}
    return {letter: scores.mean(axis=1) for letter, scores in found.items()}


def logits_at(
    shown: Look,
    size: tuple[int, int],
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
) -> npt.NDArray[np.float64]:
    """Return logits at pixels, resized bilinearly to the image as the network resizes them.

    Args:
        shown: With logits.
        size: (H, W) of the image.
        rows: Of the pixels.
        columns: Of the pixels.

    Returns:
        (K, N) for N pixels.
    """
    assert shown.logits is not None
    grid = shown.logits.shape[1:]
    corners = shown.align_corners
    top, bottom, down = _between(rows, size[0], grid[0], corners=corners)
    left, right, across = _between(columns, size[1], grid[1], corners=corners)
    logits = shown.logits
    upper = logits[:, top, left] * (1 - across) + logits[:, top, right] * across
    lower = logits[:, bottom, left] * (1 - across) + logits[:, bottom, right] * across
    at: npt.NDArray[np.float64] = upper * (1 - down) + lower * down
    return at


def _between(
    pixels: npt.NDArray[np.intp], size: int, grid: int, *, corners: bool
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Return the two grid lines around pixel centres and the weight of the second."""
    centres = pixels.astype(np.float64)
    if corners:
        place = centres * ((grid - 1) / max(size - 1, 1))
    else:
        place = np.maximum((centres + 0.5) * (grid / size) - 0.5, 0.0)
    first: npt.NDArray[np.intp] = np.minimum(place.astype(np.intp), grid - 1)
    second: npt.NDArray[np.intp] = np.minimum(first + 1, grid - 1)
    weight: npt.NDArray[np.float64] = place - first
    return first, second, weight


def top_classes(
    shown: Shown, scores: Mapping[str, npt.NDArray[np.float64]], count: int = 4
) -> pd.DataFrame:
    """Return the classes with the greatest scores of A or B: ``class``, ``A``, ``B``."""
    best = np.maximum(scores["A"], scores["B"])
    order = np.argsort(-best, kind="stable")[:count]
    names = [shown.classes.names[k] for k in order]
    return pd.DataFrame({"class": names, "A": scores["A"][order], "B": scores["B"][order]})


def default_point(shown: Shown, regions: PreparedRegions) -> Point:
    """Return where the probe starts: deep inside the largest countable object, else the middle."""
    found = regions.regions
    things = np.array([c.id for c in shown.pixel_classes if c.thing])
    area = np.where(np.isin(found.class_id, things), found.area_px, 0)
    if area.size == 0 or area.max() == 0:
        return Point(shown.size[1] // 2, shown.size[0] // 2)
    return center_of(regions, int(area.argmax()) + 1)


def responses(sample: Sample, shown: Mapping[str, Look]) -> dict[str, pd.DataFrame]:
    """Return the response of each network by branch and size octave, on this image alone.

    Args:
        sample: With labels.
        shown: By letter, what each network shows for it.

    Returns:
        By letter, as ``response_by_octave``; no rows when no region qualifies.
    """
    assert sample.labels is not None
    return {
        letter: response_by_octave(
            region_table(
                sample.labels,
                inspection.activity,
                strides=inspection.strides,
                instances=sample.instances,
                image=sample.id,
            ),
            inspection.strides,
        )
        for letter, inspection in shown.items()
    }


def side_by_side(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row per size octave and one column per network and branch, for the screen.

    Columns: ``size (px)`` (of the square root of the area), ``regions``, then ``A /4``, ``A /8``...
    """
    counts = pd.concat(list(frames.values())).groupby("octave")["n_regions"].max()
    octaves = [int(octave) for octave in counts.index]
    columns: dict[str, list[str] | list[int] | list[float]] = {
        "size (px)": [f"{2**o} to {2 ** (o + 1)}" for o in octaves],
        "regions": [int(count) for count in counts],
    }
    for letter, frame in frames.items():
        for stride, rows in frame.groupby("stride"):
            means = rows.set_index("octave")["mean"]
            columns[f"{letter} /{stride}"] = [float(means.get(o, float("nan"))) for o in octaves]
    return pd.DataFrame(columns)


@dataclass(frozen=True, eq=False)
class HeardCells:
    """What one pixel of one network listens to.

    Attributes:
        relation: Tap of the relation.
        arrow: Its maps in short: ``/32 → /16``.
        head: Which of its heads, from 0; None: the mean of all.
        heads: How many there are.
        window: Cells along one side of the window.
        cells: What ``heard_cells`` gave.
    """

    relation: str
    arrow: str
    head: int | None
    heads: int
    window: int
    cells: pd.DataFrame

    @property
    def what(self) -> str:
        """Relation and head in words."""
        head = f"mean of {self.heads} heads" if self.head is None else f"head {self.head}"
        return f"{self.arrow}, {head}"


def heard_cells(
    weights: npt.NDArray[np.floating],
    point: Point,
    size: tuple[int, int],
    head: int | None = None,
) -> pd.DataFrame:
    """Return the cells that a pixel chooses from, and the weight that it gives to each.

    Args:
        weights: (m, k*k, H, W): what each cell of the finer map gives to the window around the cell
            of twice its side that covers it, rows of the window from the upper left.
        point: The pixel.
        size: (H, W) of the image.
        head: From 0; None: the mean of all.

    Returns:
        k*k rows in the order of the window: ``row`` and ``column`` of the cell, its pixels
        ``y0`` to ``y1`` and ``x0`` to ``x1`` (ends exclusive; the last cells end with the image),
        ``weight`` and ``inside``; one that is not inside lies off the map, has weight 0 and no
        place (rows and columns off the map are -1).
    """
    stride = grid_stride(size, (weights.shape[2], weights.shape[3]))
    assert stride is not None
    window, step = math.isqrt(weights.shape[1]), 2 * stride
    y, x = cell_at(point.y, point.x, size, stride)
    own = weights[..., y, x].astype(np.float64)
    rows, columns = (
        window_along(length, window)[:, at]
        for length, at in zip(weights.shape[2:], (y, x), strict=True)
    )
    cells = np.stack(np.meshgrid(rows, columns, indexing="ij")).reshape(2, -1)
    inside = (cells >= 0).all(axis=0)
    low = cells * step
    high = np.minimum(low + step, np.array(size)[:, None])
    return pd.DataFrame(
        {
            "row": cells[0],
            "column": cells[1],
            "y0": low[0],
            "x0": low[1],
            "y1": high[0],
            "x1": high[1],
            "weight": own.mean(axis=0) if head is None else own[head],
            "inside": inside,
        }
    )


def relation_arrows(shown: Shown) -> dict[str, str]:
    """Return the relations of A and B, coarsest first, with their maps in short."""
    strides = {
        tap: grid_stride(shown.size, (weights.shape[2], weights.shape[3])) or 1
        for look in shown.inspections.values()
        for tap, weights in look.relations.items()
    }
    coarsest = sorted(strides.items(), key=lambda item: -item[1])
    return {tap: f"/{2 * stride} → /{stride}" for tap, stride in coarsest}


def head_count(shown: Shown) -> int:
    """Return how many heads the relations of A and B have, at most."""
    every = (look.relations.values() for look in shown.inspections.values())
    return max((len(weights) for relations in every for weights in relations), default=0)


def heard_at(shown: Shown, state: ViewState, point: Point) -> dict[str, HeardCells]:
    """Return what a pixel listens to in the chosen relation, by letter.

    Networks without this relation or this head are left out.
    """
    arrows = relation_arrows(shown)
    tap = state.relation if state.relation in arrows else next(iter(arrows), None)
    found = {}
    for letter in LETTERS:
        weights = None if tap is None else shown.inspections[letter].relations.get(tap)
        if tap is None or weights is None or (state.head or 0) >= len(weights):
            continue
        found[letter] = HeardCells(
            relation=tap,
            arrow=arrows[tap],
            head=state.head,
            heads=len(weights),
            window=math.isqrt(weights.shape[1]),
            cells=heard_cells(weights, point, shown.size, state.head),
        )
    return found


def heard_table(heard: Mapping[str, HeardCells]) -> pd.DataFrame:
    """Return the cells inside the image of both networks: ``model``, ``relation``, ``head`` first.

    ``head`` is empty for the mean of all.
    """
    parts = []
    for letter, one in heard.items():
        cells = one.cells[one.cells["inside"]].drop(columns="inside").reset_index(drop=True)
        what = {"model": letter, "relation": one.relation, "head": one.head}
        parts.append(pd.concat([pd.DataFrame([what] * len(cells)), cells], axis=1))
    return pd.concat(parts, ignore_index=True)
