"""What the viewer in the browser gets: tiles as exact numbers in base64."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from gsto_viz.activity import HeatMap, cell_at, normalise, percentile_map, valid_by_stride
from gsto_viz.colors import branch_mark, network_mark
from gsto_viz.data.people import Box, mask_box
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.joints import SURE_PEAK, Joints
from gsto_viz.look import Look
from gsto_viz.plots import Panel
from gsto_viz.plots.skeletons import SKELETONS_SAID, draw_skeletons, paint_skeletons
from gsto_viz.plots.tiles import Tile, class_tile, color_levels, map_tile, picture_tile, shared_data
from gsto_viz.regions import PreparedRegions
from gsto_viz.types import CROWD, IGNORE, ClassList, FloatArray

SEQUENTIAL = ("inferno", "viridis", "cividis", "gray", "jet")
DIVERGING = "RdBu_r"
UNCOUNTED, NOT_FINITE = (176, 176, 176), (255, 0, 255)
"""Colours of cells that do not count and of infinite numbers, as in ``viewer.js``."""


def map_pixels(heat: HeatMap, colors: str) -> npt.NDArray[np.uint8]:
    """Return a map as the browser colours it, one pixel per cell, (h, w, 3).

    Args:
        heat: Numbers and limits; NaN is grey, infinity magenta.
        colors: Name of a Matplotlib colour map.
    """
    values = heat.values.astype(np.float32).astype(np.float64)
    share = (values - heat.low) / (heat.high - heat.low)
    levels = np.clip(np.floor(256 * np.nan_to_num(share)), 0, 255).astype(np.intp)
    pixels = color_levels(colors)[levels]
    pixels[~np.isfinite(values)] = NOT_FINITE
    pixels[np.isnan(values)] = UNCOUNTED
    return pixels


def class_pixels(labels: npt.NDArray[np.integer], classes: ClassList) -> npt.NDArray[np.uint8]:
    """Return class indices as the browser colours them, (H, W, 3); ignored pixels are grey."""
    return classes.paint(labels, UNCOUNTED)


def heard_tile(letter: str) -> Tile:
    """Return a tile of the image with the cells that the probed pixel listens to in a network.

    The cells come by themselves (``viewer.draw_heard``), as they change with every click.
    """
    return {"key": f"heard{letter}", "title": f"{letter} listens to", "kind": "heard"}


@dataclass(frozen=True, eq=False)
class SkeletonPicture:
    """An image with the skeletons of its persons.

    Attributes:
        key: Of its tile.
        title: Shown above it.
        image: (H, W, 3) uint8.
        skeletons: (P, J, 3): x and y in pixels, and how sure.
        joints: Which they are.
        least: Joints that are not surer are left out.
    """

    key: str
    title: str
    image: npt.NDArray[np.uint8]
    skeletons: FloatArray
    joints: Joints
    least: float = SURE_PEAK

    def pixels(self) -> npt.NDArray[np.uint8]:
        """Return the image with the skeletons painted into it, (H, W, 3)."""
        return paint_skeletons(self.image, self.skeletons, self.joints, self.least)

    def panel(self) -> Panel:
        """Return the image with the skeletons drawn on it, for figures."""
        return Panel(self.title, pixels=self.image, over=self._draw)

    def _draw(self, ax: Axes) -> None:
        draw_skeletons(self.skeletons, self.joints, ax=ax, least=self.least)


def skeleton_pictures(shown: Shown, letters: Sequence[str] = LETTERS) -> list[SkeletonPicture]:
    """Return the annotated skeletons, if there are any, and those of networks for pose.

    Args:
        letters: Of the networks.

    Returns:
        Nothing where the networks are not for pose, or nobody knows the limbs of their joints.
    """
    joints, image = shown.inspections[letters[0]].joints, shown.sample.image
    people = [one.joints for one in shown.sample.people or () if one.instance != CROWD]
    found = []
    if joints is not None and people:
        places = np.stack(people).astype(np.float64)
        annotated = "annotated", "Annotated skeletons"
        found.append(SkeletonPicture(*annotated, image, places, joints, least=0.0))
    for letter in letters:
        key, title = f"skeletons{letter}", f"Skeletons {letter}"
        found += look_picture(shown.inspections[letter], image, key, title)
    return found


def look_picture(
    seen: Look, image: npt.NDArray[np.uint8], key: str, title: str
) -> list[SkeletonPicture]:
    """Return the picture of the skeletons that a network shows; none where it shows none."""
    if seen.joints is None or seen.skeletons is None:
        return []
    return [SkeletonPicture(key, title, image, seen.skeletons, seen.joints)]


def skeletons_in_words(shown: Shown) -> str:
    """Describe how skeletons are read, a sentence behind others; empty without any."""
    return f" {SKELETONS_SAID}" if shown.inspections["A"].skeletons is not None else ""


def person_box(shown: Shown, regions: PreparedRegions, number: int) -> Box:
    """Return the box of the person that a region is; without such a person, of the region."""
    instance = int(regions.regions.instance_id[number - 1])
    for one in shown.sample.people or ():
        if instance > 0 and one.instance == instance:
            return one.box
    return mask_box(regions.regions.ids == number)


def viewer_data(
    shown: Shown,
    regions: PreparedRegions,
    *,
    mode: str,
    difference: bool,
) -> dict[str, Any]:
    """Return what the viewer of the page "Explore" gets.

    Args:
        regions: Of that image.
        mode: Normalisation of the branch maps.
        difference: Add a row of B - A, for modes that can be compared.
    """
    height, width = shown.size
    maps = branch_maps(shown, mode)
    heard = [heard_tile(letter) for letter in LETTERS if shown.inspections[letter].relations]
    rows: list[dict[str, Any]] = [{"title": "", "tiles": [*first_row(shown), *heard]}]
    for letter in LETTERS:
        inspection = shown.inspections[letter]
        title = f"{letter}: {inspection.name}"
        rows.append({"title": title, "tiles": _branch_tiles(letter, inspection, maps[letter])})
    if difference:
        tiles = _difference_tiles(maps["A"], maps["B"], shown.size)
        rows.append({"title": "Differences: B minus A", "tiles": tiles})
    return {
        "image": shown.picture.key,
        "height": height,
        "width": width,
        "rows": rows,
        **shared_data(shown.pixel_classes, regions.regions.ids),
    }


def answer_row(shown: Shown, objects: pd.DataFrame, view: str) -> dict[str, Any]:
    """Return the image and, for each network, who answers for its objects.

    Args:
        objects: What ``image_objects`` gave; without any there is only the image.
        view: ``q``, the coarseness of every object, or ``branch``, the branch with the greatest
            percentile in every cell of the finest map.
    """
    tiles = [picture_tile("input", "Input", shown.sample.image)]
    if view == "branch":
        tiles += [_strongest_tile(shown, letter) for letter in LETTERS]
    elif len(objects):
        known = np.abs(objects[[f"q_{letter}" for letter in LETTERS]].to_numpy())
        known = known[np.isfinite(known)]
        # A single object of an extreme q would leave all others pale.
        span = max(float(np.quantile(known, MOST)) if known.size else 0.0, 0.05)
        tiles += [_object_tile(letter, objects, span) for letter in LETTERS]
    return {"title": "", "tiles": tiles, "first": True}


MOST = 0.9
"""Share of the objects whose q lies within the colours; the others have the last one."""


def _object_tile(letter: str, objects: pd.DataFrame, span: float) -> Tile:
    values = [None if np.isnan(q) else round(float(q), 4) for q in objects[f"q_{letter}"]]
    return {
        "key": f"answers{letter}",
        "title": f"Who answers in {letter}",
        "kind": "regions",
        "numbers": values,
        "low": -round(span, 3),
        "high": round(span, 3),
        "ends": ["finer", "coarser"],
        "colors": "difference",
    }


def _strongest_tile(shown: Shown, letter: str) -> Tile:
    """Return which branch has the greatest percentile at every pixel; coarser wins no tie."""
    seen, (height, width) = shown.inspections[letter], shown.size
    ranks = []
    for activity, stride in zip(seen.activity, seen.strides, strict=True):
        rank = percentile_map(activity.astype(np.float64), np.ones(activity.shape, dtype=bool))
        rows, columns = cell_at(np.arange(height), np.arange(width), shown.size, stride)
        ranks.append(rank[np.ix_(rows, columns)])
    best = np.stack(ranks).argmax(axis=0).astype(np.uint8)
    names = _named((f"/{s}", branch_mark(k).color) for k, s in enumerate(seen.strides))
    title = f"Strongest branch in {letter}"
    return class_tile(f"answers{letter}", title, best) | {"names": names}


def object_words(objects: pd.DataFrame) -> list[str]:
    """Return what the viewer says of every object it points at, number 1 first."""
    return [_object_words(row) for row in objects.to_dict("records")]


def object_ranks(shown: Shown, numbers: Mapping[str, Mapping[str, npt.NDArray]]) -> dict[str, Any]:
    """Return what every branch says of every object: by tile, mean percentiles, number 1 first.

    Args:
        numbers: What ``region_numbers`` gave.
    """
    return {
        f"{letter}{stride}": [
            None if np.isnan(z) else round(float(z), 4) for z in numbers[letter][f"z_{r}"]
        ]
        for letter in LETTERS
        for r, stride in enumerate(shown.inspections[letter].strides)
    }


def _object_words(row: Mapping[Any, Any]) -> str:
    q = (row[f"q_{letter}"] for letter in LETTERS)
    a, b = ("no value" if np.isnan(one) else f"{one:+.2f}" for one in q)
    said = f"{row['class']}, {row['size_px']:.0f} px, q A {a}, B {b}"
    if row["usable"] and row["pairs"]:
        said += f", wrong {row['wrong_A']:g} and {row['wrong_B']:g} of {row['pairs']:g}"
    return said


def branch_maps(shown: Shown, mode: str) -> dict[str, tuple[HeatMap, ...]]:
    """Return the branch maps of both networks, ready for display."""
    labels = shown.sample.labels
    strides = shown.inspections["A"].strides
    valid = None if labels is None else valid_by_stride(labels, strides, IGNORE)
    pair = [shown.inspections[letter] for letter in LETTERS]
    return dict(zip(LETTERS, normalise(pair, mode, valid), strict=True))


def first_row(shown: Shown) -> list[Tile]:
    """Return input, ground truth if there is any, predictions, and where they differ.

    Of networks for pose: skeletons in place of predictions.
    """
    tiles = [picture_tile("input", "Input", shown.sample.image)]
    if shown.sample.labels is not None:
        tiles.append(class_tile("truth", "Ground truth", shown.sample.labels))
    if shown.pose:
        return tiles + skeleton_tiles(skeleton_pictures(shown))
    for letter in LETTERS:
        prediction = shown.inspections[letter].prediction
        tiles.append(class_tile(f"prediction{letter}", f"Prediction {letter}", prediction))
    if shown.sample.labels is not None:
        return [*tiles, _right_tile(shown)]
    differ, share = disagreement(shown)
    title = f"B where it differs from A ({100 * share:.1f} %)"
    tiles.append(class_tile("disagreement", title, differ) | {"unmarked": "A and B agree"})
    return tiles


RIGHT = (
    ("both right", "#E1E1E1"),
    ("only A right", network_mark(0).color),
    ("only B right", network_mark(1).color),
    ("neither right", "#202020"),
)
"""What a labelled pixel can be, and its colour."""


def _named(names: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return names with their colours, for tiles that have classes of their own."""
    return [{"name": name, "color": [round(255 * c) for c in to_rgb(x)]} for name, x in names]


def _right_tile(shown: Shown) -> Tile:
    """Return which network is right at every labelled pixel."""
    labels = shown.sample.labels
    a, b = (shown.inspections[letter].prediction == labels for letter in LETTERS)
    kind = np.where(a, np.where(b, 0, 1), np.where(b, 2, 3)).astype(np.uint8)
    kind[labels == IGNORE] = IGNORE
    return class_tile("right", "Who is right", kind) | {"names": _named(RIGHT)}


def skeleton_tiles(pictures: Sequence[SkeletonPicture]) -> list[Tile]:
    """Return tiles of images with skeletons."""
    return [picture_tile(one.key, one.title, one.pixels()) for one in pictures]


def disagreement(shown: Shown) -> tuple[npt.NDArray[np.uint8], float]:
    """Return B's prediction where it differs from A's, 255 elsewhere, and how often it does."""
    a, b = (shown.inspections[letter].prediction for letter in LETTERS)
    differ: npt.NDArray[np.uint8] = np.where(a == b, np.uint8(IGNORE), b)
    return differ, 1.0 - float((a == b).mean())


def _branch_tiles(letter: str, shown: Look, maps: Sequence[HeatMap]) -> list[Tile]:
    """Return one tile per branch; the raw channel mean is what hovering reads beside a rank."""
    return [
        map_tile(
            f"{letter}{heat.stride}",
            f"{letter} /{heat.stride}",
            heat,
            raw=None if heat.raw else raw,
            size=(shown.prediction.shape[0], shown.prediction.shape[1]),
        )
        for heat, raw in zip(maps, shown.raw, strict=True)
    ]


def _difference_tiles(
    a: Sequence[HeatMap], b: Sequence[HeatMap], size: tuple[int, int]
) -> list[Tile]:
    tiles = []
    for first, second in zip(a, b, strict=True):
        heat = difference_map(first, second)
        key, title = f"D{heat.stride}", f"/{heat.stride}: B minus A"
        tiles.append(map_tile(key, title, heat, colors="difference", size=size))
    return tiles


def difference_map(a: HeatMap, b: HeatMap) -> HeatMap:
    """Return B - A of two maps of one grid; the bar is symmetric about 0 and holds both ranges."""
    span = max(a.high, b.high) - min(a.low, b.low)
    return HeatMap(
        b.values - a.values,
        -span,
        span,
        mode=a.mode,
        label=f"difference B - A of {a.label}",
        raw=a.raw,
        stride=a.stride,
    )


DIMMED = 0.45
"""Brightness of everything else."""
OUTER, INNER = (0, 0, 0), (255, 255, 255)
"""Colours of the double line around a region: seen on any ground."""


def marked(
    image: npt.NDArray[np.uint8],
    ids: npt.NDArray[np.integer],
    numbers: Collection[int],
    scale: int = 2,
) -> npt.NDArray[np.uint8]:
    """Return an image in which the given regions keep their brightness and are outlined.

    Args:
        image: (H, W, 3).
        ids: (H, W) region numbers, 0 = none.
        numbers: Of the regions that stand out; none: the image as it is.
        scale: Every pixel becomes so many pixels a side, so that lines are thin; at least 2.

    Returns:
        (scale H, scale W, 3). A white line lies on the region's own edge pixels, a black one on
        the pixels around it.
    """
    large = image.repeat(scale, axis=0).repeat(scale, axis=1)
    if not numbers:
        return large
    shown = np.where(np.isin(ids, list(numbers)), ids, 0)
    shown = shown.repeat(scale, axis=0).repeat(scale, axis=1)
    chosen = shown > 0
    edge = np.zeros(shown.shape, dtype=bool)
    for axis in (0, 1):
        differs = np.diff(shown, axis=axis) != 0
        first = [slice(None), slice(None)]
        second = [slice(None), slice(None)]
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        edge[tuple(first)] |= differs
        edge[tuple(second)] |= differs
    picture = np.where(chosen[..., None], large, np.round(DIMMED * large).astype(np.uint8))
    picture[edge & ~chosen] = OUTER
    picture[edge & chosen] = INNER
    return picture
