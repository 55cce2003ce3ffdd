"""Tiles of the linked viewer (``explorer/viewer.js``): pictures, classes and maps as exact numbers.

The explorer and the page of a report show them.
"""

import base64
import io
from dataclasses import replace
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from PIL import Image

from gsto_viz.activity import HeatMap, cell_at
from gsto_viz.types import ClassList, Stride, pixels_per_cell
from gsto_viz.words import RAW_BADGE

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


def picture_tile(
    key: str, title: str, image: npt.NDArray[np.uint8], *, small: bool = False
) -> Tile:
    """Return a tile that shows (H, W, 3) pixels as they are; ``small`` takes longer to make."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=9 if small else 3)
    png = base64.b64encode(buffer.getvalue()).decode("ascii")
    return {"key": key, "title": title, "kind": "picture", "png": png}


def class_tile(key: str, title: str, labels: npt.NDArray[np.integer]) -> Tile:
    """Return a tile of class indices (H, W); 255 is drawn grey and called ignored."""
    return {"key": key, "title": title, "kind": "classes", **run_lengths(labels)}


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


def shared_data(classes: ClassList, regions: npt.NDArray[np.integer]) -> dict[str, Any]:
    """Return what any viewer needs to name classes and to outline regions (H, W), 0 = none."""
    return {
        "classes": [{"name": c.name, "color": list(c.color)} for c in classes],
        "regions": run_lengths(np.minimum(regions, 65535)),
    }
