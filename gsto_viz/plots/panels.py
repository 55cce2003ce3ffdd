"""Panels in image coordinates: photographs, class maps, heat maps, and their colour bars.

Pixel k covers [k, k + 1) on both axes, so that a map whose cells cover s pixels can lie on top.
"""

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.image import AxesImage
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from scipy.ndimage import distance_transform_edt, label

from gsto_viz.activity import HeatMap, check_grid
from gsto_viz.colors import HEARD
from gsto_viz.errors import GstoVizError
from gsto_viz.plots.page import SMALL, colormap, inches, shorten
from gsto_viz.types import ClassList, pixels_per_cell
from gsto_viz.words import RAW_BADGE

SPECK_PX = 64
"""Regions with fewer pixels take no part in statistics."""
LUMA = (0.2126, 0.7152, 0.0722)
"""Weights of R, G, B in the grey image under an overlay (ITU-R BT.709)."""


def frame_image(ax: Axes, size: tuple[int, int]) -> Axes:
    """Give ``ax`` the coordinates of an image of (H, W) pixels, y downwards, without ticks."""
    height, width = size
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    ax.set_aspect("equal")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(True)
    return ax


def draw_image(image: npt.NDArray[np.uint8], *, ax: Axes) -> Axes:
    """Draw an (H, W, 3) uint8 sRGB image, pixel for pixel."""
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise GstoVizError(
            f"an image is (H, W, 3) uint8, got {image.shape} {image.dtype}; convert it first"
        )
    show(image, ax=ax)
    return ax


def show(pixels: npt.NDArray, *, ax: Axes, opacity: float = 1.0) -> AxesImage:
    """Draw (H, W, 3) uint8 pixels at image coordinates."""
    height, width = pixels.shape[:2]
    artist = ax.imshow(
        pixels, extent=(0, width, height, 0), interpolation="nearest", alpha=opacity, zorder=0
    )
    frame_image(ax, (height, width))
    return artist


def grey(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the (H, W, 3) uint8 grey version of an sRGB image."""
    luma = np.rint(np.asarray(image, dtype=np.float64) @ np.array(LUMA)).astype(np.uint8)
    return np.repeat(luma[..., None], 3, axis=2)


def draw_labels(
    labels: npt.NDArray[np.integer],
    classes: ClassList,
    *,
    ax: Axes,
    image: npt.NDArray[np.uint8] | None = None,
    opacity: float = 0.6,
    ignored: tuple[int, int, int] = (0, 0, 0),
) -> Axes:
    """Draw a label map in its classes' colours; over ``image`` if given.

    Args:
        labels: (H, W) class indices 0..K-1 or 255 (ignore).
        classes: Their names and colours.
        ax: Where.
        image: (H, W, 3) uint8, drawn grey below the labels.
        opacity: Of the labels over the image, 0..1; without an image they are opaque.
        ignored: Colour of ignored pixels, black unless said otherwise.

    Raises:
        GstoVizError: The map holds another value, or its size is not the image's.
    """
    painted = classes.paint(np.asarray(labels), ignored)
    if image is not None:
        check_same_size(labels, image)
        show(grey(image), ax=ax)
    show(painted, ax=ax, opacity=1.0 if image is None else opacity)
    return ax


def check_same_size(values: npt.NDArray, image: npt.NDArray) -> None:
    """Refuse a map in pixels whose size is not the image's."""
    if values.shape[:2] != image.shape[:2]:
        (h, w), (height, width) = values.shape[:2], image.shape[:2]
        raise GstoVizError(
            f"the map has {h}x{w} pixels and the image {height}x{width}; give maps of this image"
        )


def present_classes(classes: ClassList, *maps: npt.NDArray[np.integer] | None) -> list[int]:
    """Return the classes that occur in any of the label maps, by area, the largest first."""
    areas = np.zeros(256, dtype=np.int64)
    for labels in maps:
        if labels is not None:
            areas += np.bincount(np.asarray(labels).ravel(), minlength=256)[:256]
    order = np.argsort(-areas[: len(classes)], kind="stable")
    return [int(k) for k in order if areas[k] > 0]


def draw_class_legend(
    classes: ClassList, ids: list[int], *, ax: Axes, columns: int = 3, size: float = 6.5
) -> Axes:
    """Draw colour patches with class names, in columns; what has no room is counted.

    Args:
        classes: Names and colours.
        ids: The classes to list, the most important first.
        ax: Empty axes; as many lines are used as fit its height.
        columns: Columns of entries.
        size: Font size in points.
    """
    ax.set_axis_off()
    width, height = inches(ax)
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    line = 1.6 * size / 72
    room = max(1, int(height / line)) * columns
    listed = ids if len(ids) <= room else ids[: room - 1]
    lines = -(-(len(listed) + (len(ids) > len(listed))) // columns)
    column_width = width / columns
    for k, class_id in enumerate(listed):
        column, row = divmod(k, lines)
        x, y = column * column_width, (row + 0.5) * line
        info = classes.classes[class_id]
        color = tuple(part / 255 for part in info.color)
        box = Rectangle((x, y - 0.035), 0.12, 0.07, facecolor=color, edgecolor="0.3", linewidth=0.4)
        ax.add_patch(box)
        name = shorten(info.name, column_width - 0.25, size)
        ax.text(x + 0.16, y, name, fontsize=size, va="center")
    if len(listed) < len(ids):
        column, row = divmod(len(listed), lines)
        more = f"+ {len(ids) - len(listed)} more"
        ax.text(column * column_width, (row + 0.5) * line, more, fontsize=size, va="center")
    return ax


def outline_segments(regions: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Return the borders between regions as straight pieces along pixel edges.

    Args:
        regions: (H, W) region numbers, 0 = none.

    Returns:
        (K, 2, 2) float64: start and end of each piece as (x, y) in image coordinates.
    """
    regions = np.asarray(regions)
    across = _runs(regions[:-1] != regions[1:])  # edge below row i: y = i + 1
    down = _runs((regions[:, :-1] != regions[:, 1:]).T)  # edge right of column j: x = j + 1
    horizontal = [((start, i + 1), (end, i + 1)) for i, start, end in across]
    vertical = [((j + 1, start), (j + 1, end)) for j, start, end in down]
    return np.array(horizontal + vertical, dtype=np.float64).reshape(-1, 2, 2)


def _runs(flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return (row, start, end) of each run of True within a row; ``end`` is exclusive."""
    padded = np.pad(flags, ((0, 0), (1, 1))).astype(np.int8)
    steps = np.diff(padded, axis=1)
    rows, starts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]
    return np.stack([rows, starts, ends], axis=1)


def without_specks(
    regions: npt.NDArray[np.integer], least: int = SPECK_PX
) -> npt.NDArray[np.integer]:
    """Give the pixels of regions below ``least`` pixels to the nearest larger region.

    Annotations hold many specks (a quarter of CamVid's regions have fewer than 4 px), whose
    outlines hide what they outline. With no larger region the map stays as it is.

    Args:
        regions: (H, W) region numbers; every connected piece of 0 (none) counts for itself.
        least: Smallest region that keeps its outline, px.
    """
    regions = np.asarray(regions)
    pieces, _ = label(regions == 0)
    speck = np.where(
        regions == 0,
        (np.bincount(pieces.ravel()) < least)[pieces],
        (np.bincount(regions.ravel()) < least)[regions],
    )
    if not speck.any() or speck.all():
        return regions
    rows, columns = distance_transform_edt(speck, return_distances=False, return_indices=True)
    return regions[rows, columns]


def draw_outlines(
    regions: npt.NDArray[np.integer],
    *,
    ax: Axes,
    color: str = "white",
    width: float = 0.4,
    closed: bool = False,
) -> Axes:
    """Draw the borders between regions: a thin line on a dark edge, readable on any colour.

    Args:
        regions: (H, W) region numbers, 0 = none.
        ax: Axes in the coordinates of the image.
        color: Of the line.
        width: Of the line, points.
        closed: Also where a region ends at the edge of the image.
    """
    segments = outline_segments(np.pad(regions, 1)) - 1 if closed else outline_segments(regions)
    # One path for all pieces: ragged outlines have thousands, and one artist each fills a file.
    codes = np.tile(np.array([Path.MOVETO, Path.LINETO], dtype=Path.code_type), len(segments))
    path = Path(segments.reshape(-1, 2), codes)
    for edge, points in (("black", width + 0.5), (color, width)):
        ax.add_patch(PathPatch(path, fill=False, edgecolor=edge, linewidth=points, zorder=3))
    return ax


HEARD_OPACITY = 0.75
"""Of the cell that a pixel gives the greatest weight."""


def draw_heard(boxes: npt.NDArray[np.integer], weights: npt.NDArray[np.floating], ax: Axes) -> None:
    """Draw the cells that a pixel listens to, more opaque the greater their weight.

    Args:
        boxes: (n, 4), y0, x0, y1, x1 of each cell, ends exclusive.
        weights: (n,), in the same order.
        ax: Axes in the coordinates of the image.
    """
    for (y0, x0, y1, x1), share in zip(boxes, weights / weights.max(), strict=True):
        place = (int(x0), int(y0)), int(x1 - x0), int(y1 - y0)
        opacity = HEARD_OPACITY * float(share)
        ax.add_patch(Rectangle(*place, facecolor=HEARD, alpha=opacity, linewidth=0, zorder=2))
        for edge, points in (("black", 0.9), ("white", 0.4)):
            ax.add_patch(Rectangle(*place, fill=False, edgecolor=edge, linewidth=points, zorder=3))


BAR_GAP, BAR_HEIGHT = 0.04, 0.06
"""Inches between a map and its colour bar, and of the bar itself."""
BAR_WIDTH = 0.85
"""Smallest width of a bar in inches: two numbers of eight characters fit."""
BAR_SPACE = 0.26
"""Inches below a map that its bar and the bar's numbers take."""


def draw_heatmap(
    heatmap: HeatMap,
    *,
    ax: Axes,
    image: npt.NDArray[np.uint8] | None = None,
    size: tuple[int, int] | None = None,
    opacity: float = 0.6,
    bar: bool = True,
    caption: bool = True,
) -> Axes:
    """Draw a map where it lies in the image, with a colour bar below.

    Cell k of stride s covers pixels [k s, (k + 1) s); what the last cells have beyond the image is
    cut off. Cells that do not count are grey.

    Args:
        heatmap: What to draw.
        ax: Where; the bar takes ``BAR_SPACE`` inches below, the caption two more lines.
        image: (H, W, 3) uint8; drawn grey below the map.
        size: (H, W) of the image when it is not drawn; by default the whole grid is shown.
        opacity: Of the map over the image, 0..1; without an image the map is opaque.
        bar: Draw the bar.
        caption: Write below the bar what the numbers are, and the badge of raw maps.

    Returns:
        ``ax``; its last child axes are the bar.

    Raises:
        GstoVizError: The map does not lie on its stride's grid for this image.
    """
    rows, columns = heatmap.values.shape
    if not 0 <= opacity <= 1:
        raise GstoVizError(f"opacity {opacity:g} is not possible; give 0 (clear) to 1 (opaque)")
    if image is not None:
        size = (image.shape[0], image.shape[1])
        show(grey(image), ax=ax)
    elif size is None:
        pixels = pixels_per_cell(heatmap.stride) or 1
        size = (rows * pixels, columns * pixels)
    check_grid(heatmap.values, heatmap.stride, size, "the heat map")
    ax.imshow(
        np.ma.masked_invalid(heatmap.values),
        cmap=colormap(heatmap.mode, heatmap.colors),
        vmin=heatmap.low,
        vmax=heatmap.high,
        extent=_extent(heatmap, size),
        interpolation="nearest",
        alpha=1.0 if image is None else opacity,
        zorder=1,
    )
    frame_image(ax, size)
    if bar:
        below = draw_bar(heatmap, ax=ax)
        if caption:
            lines = [heatmap.label, RAW_BADGE] if heatmap.raw else [heatmap.label]
            below.set_xlabel("\n".join(lines), fontsize=SMALL, labelpad=1)
    return ax


def _extent(heatmap: HeatMap, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the left, right, lower and upper end of a map, in pixels of the image."""
    pixels = pixels_per_cell(heatmap.stride)
    rows, columns = size
    if pixels is not None:
        rows, columns = (cells * pixels for cells in heatmap.values.shape)
    return 0.0, float(columns), float(rows), 0.0


def draw_bar(heatmap: HeatMap, *, ax: Axes) -> Axes:
    """Draw the colour bar of a map below its axes; return the bar's axes.

    It is as wide as the map, but never too narrow for its numbers.
    """
    ax.apply_aspect()
    width, height = inches(ax)
    share = max(1.0, BAR_WIDTH / width)
    place = (0.5 - share / 2, -(BAR_GAP + BAR_HEIGHT) / height, share, BAR_HEIGHT / height)
    bar = ax.inset_axes(place)
    fill_bar(heatmap, bar)
    return bar


def fill_bar(heatmap: HeatMap, bar: Axes) -> None:
    """Draw a horizontal colour bar into ``bar``, its numbers below and inside its width.

    The bar has the full colours of the numbers, also where the map is mixed with the image.
    """
    below, above = heatmap.clipped
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[below, above]
    ticks = bar_ticks(heatmap)
    table = colormap(heatmap.mode, heatmap.colors)
    colors = ScalarMappable(Normalize(heatmap.low, heatmap.high), table)
    colorbar = bar.figure.colorbar(
        colors, cax=bar, orientation="horizontal", extend=extend, extendfrac=0.06
    )
    colorbar.outline.set_linewidth(0.4)
    bar.set_xticks(ticks, [number(tick) for tick in ticks], fontsize=SMALL)
    bar.tick_params(length=1.5, pad=1, width=0.4)
    bar.minorticks_off()
    labels = bar.get_xticklabels()
    labels[0].set_horizontalalignment("left")
    labels[-1].set_horizontalalignment("right")


def bar_ticks(heatmap: HeatMap) -> list[float]:
    """Return where the bar has numbers: both ends, and the middle where that means something."""
    symmetric = heatmap.low == -heatmap.high
    if symmetric or heatmap.mode == "percentile":
        return [heatmap.low, (heatmap.low + heatmap.high) / 2, heatmap.high]
    return [heatmap.low, heatmap.high]


def number(value: float) -> str:
    """Return ``value`` with three significant digits."""
    return f"{value:.3g}"
