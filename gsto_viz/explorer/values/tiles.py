"""What the viewer in the browser gets: tiles as exact numbers in base64."""

import base64
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from PIL import Image

from gsto_viz.activity import HeatMap, cell_at, normalise, valid_by_stride
from gsto_viz.data.people import Box, mask_box
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.joints import SURE_PEAK, Joints
from gsto_viz.look import Look
from gsto_viz.plots import Panel
from gsto_viz.plots.skeletons import SKELETONS_SAID, draw_skeletons, paint_skeletons
from gsto_viz.regions import PreparedRegions
from gsto_viz.types import CROWD, IGNORE, ClassList, FloatArray, Stride, pixels_per_cell
from gsto_viz.words import RAW_BADGE

SEQUENTIAL = ("inferno", "viridis", "cividis", "gray", "jet")
DIVERGING = "RdBu_r"
UNCOUNTED, NOT_FINITE = (176, 176, 176), (255, 0, 255)
"""Colours of cells that do not count and of infinite numbers, as in ``viewer.js``."""
SPREAD = 4
"""Pixels per cell with which maps on pooled grids are sent."""
Tile = dict[str, Any]


def base64_of(array: npt.NDArray[Any]) -> str:
    """Return the bytes of an array, little-endian and row by row, as base64."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return base64.b64encode(np.ascontiguousarray(little).tobytes()).decode("ascii")


def run_lengths(values: npt.NDArray[np.integer]) -> dict[str, str]:
    """Return a (H, W) map of whole numbers 0..65535 as runs over its rows.

    Returns:
        ``values`` (uint16) and ``lengths`` (uint32), base64; runs go on over row ends.
    """
    flat = values.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=flat[:1] - 1 if flat.size else 0))
    lengths = np.diff(starts, append=flat.size)
    return {
        "values": base64_of(flat[starts].astype(np.uint16)),
        "lengths": base64_of(lengths.astype(np.uint32)),
    }


def color_levels(name: str) -> npt.NDArray[np.uint8]:
    """Return 256 colours of a Matplotlib colour map, (256, 3)."""
    colors = mpl.colormaps[name](np.arange(256))[:, :3]
    levels: npt.NDArray[np.uint8] = np.round(255 * colors).astype(np.uint8)
    return levels


def color_table(name: str) -> str:
    """Return 256 colours of a Matplotlib colour map, (256, 3) uint8 as base64."""
    return base64_of(color_levels(name))


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


def picture_tile(key: str, title: str, image: npt.NDArray[np.uint8]) -> Tile:
    """Return a tile that shows (H, W, 3) pixels as they are."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=3)
    png = base64.b64encode(buffer.getvalue()).decode("ascii")
    return {"key": key, "title": title, "kind": "picture", "png": png}


def class_tile(key: str, title: str, labels: npt.NDArray[np.integer]) -> Tile:
    """Return a tile of class indices (H, W); 255 is drawn grey and called ignored."""
    return {"key": key, "title": title, "kind": "classes", **run_lengths(labels)}


def heard_tile(letter: str) -> Tile:
    """Return a tile of the image with the cells that the probed pixel listens to in a network.

    The cells come by themselves (``viewer.draw_heard``), as they change with every click.
    """
    return {"key": f"heard{letter}", "title": f"{letter} listens to", "kind": "heard"}


def map_tile(
    key: str,
    title: str,
    heat: HeatMap,
    *,
    raw: npt.NDArray[np.floating] | None = None,
    colors: Literal["map", "difference", "gate"] = "map",
    size: tuple[int, int] | None = None,
) -> Tile:
    """Return a tile of numbers on a grid.

    Args:
        key: Of the tile.
        title: Shown above it.
        heat: The numbers that are coloured, and their limits.
        raw: The numbers behind them, shown on hovering; None: the same.
        colors: Which table of colours.
        size: (H, W) of the image; needed for maps on pooled grids.
    """
    stride = pixels_per_cell(heat.stride)
    if stride is None and size is not None:
        # The viewer knows square cells: a pooled map is sent as cells of a few pixels each.
        stride = SPREAD
        heat, raw = (replace(heat, values=spread(heat.values, size, heat.stride)),
                     None if raw is None else spread(raw, size, heat.stride))  # fmt: skip
    values = heat.values.astype(np.float32)
    known = values[np.isfinite(values)]
    low, high = heat.clipped
    clipped = np.mean((known < heat.low) | (known > heat.high)) if low or high else 0.0
    tile: Tile = {
        "key": key,
        "title": title,
        "kind": "map",
        "height": values.shape[0],
        "width": values.shape[1],
        "stride": stride or 1,
        "low": heat.low,
        "high": heat.high,
        "numbers": base64_of(values),
        "colors": colors,
        "constant": bool(known.size and known.min() == known.max()),
        "clipped": round(float(clipped), 4),
        "unknown": int(values.size - known.size),
        "badge": RAW_BADGE if heat.raw else "",
    }
    if raw is not None:
        tile["raw"] = base64_of(raw.astype(np.float32))
    return tile


def spread(
    values: npt.NDArray[np.floating], size: tuple[int, int], stride: Stride
) -> npt.NDArray[np.float64]:
    """Return a map with cells of ``SPREAD`` pixels, each as the cell that its first pixel is in."""
    rows, columns = (np.arange(0, side, SPREAD) for side in size)
    row, column = cell_at(rows, columns, size, stride)
    return values[np.ix_(row, column)].astype(np.float64)


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
    rows = [{"title": "", "tiles": [*first_row(shown), *heard]}]
    for letter in LETTERS:
        inspection = shown.inspections[letter]
        title = f"{letter}: {inspection.name}"
        rows.append({"title": title, "tiles": _branch_tiles(letter, inspection, maps[letter])})
    if difference:
        tiles = _difference_tiles(maps["A"], maps["B"], shown.size)
        rows.append({"title": "B - A", "tiles": tiles})
    return {
        "image": shown.picture.key,
        "height": height,
        "width": width,
        "rows": rows,
        **shared_data(shown.pixel_classes, regions),
    }


def shared_data(classes: ClassList, regions: PreparedRegions) -> dict[str, Any]:
    """Return what any viewer needs to name classes and to outline regions."""
    return {
        "classes": [{"name": c.name, "color": list(c.color)} for c in classes],
        "regions": run_lengths(np.minimum(regions.regions.ids, 65535)),
    }


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
    differ, share = disagreement(shown)
    title = f"B where it differs from A ({100 * share:.1f} %)"
    tiles.append(class_tile("disagreement", title, differ) | {"unmarked": "A and B agree"})
    return tiles


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
        key, title = f"D{heat.stride}", f"B - A /{heat.stride}"
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
