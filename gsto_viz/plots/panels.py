"""Panels in image coordinates: photographs, label maps, class legends, region outlines.

Pixel k covers [k, k + 1) on both axes, so that a map whose cells cover s pixels can lie on top.
"""

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from scipy.ndimage import distance_transform_edt, label

from gsto_viz.errors import GstoVizError
from gsto_viz.plots.layout import shorten
from gsto_viz.types import IGNORE, ClassList

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
    labels = np.asarray(labels)
    if labels.ndim != 2:
        raise GstoVizError(f"a label map is (H, W), got {labels.shape}; pass that")
    unknown = labels[(labels != IGNORE) & ((labels < 0) | (labels >= len(classes)))]
    if unknown.size:
        raise GstoVizError(
            f"label {int(unknown[0])} is outside the {len(classes)} classes of '{classes.name}'; "
            "pass the class list of this map"
        )
    palette = np.full((256, 3), ignored, dtype=np.uint8)
    palette[: len(classes)] = classes.colors
    if image is not None:
        check_same_size(labels, image)
        show(grey(image), ax=ax)
    show(palette[labels], ax=ax, opacity=1.0 if image is None else opacity)
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
    width, height = ax.bbox.width / ax.figure.dpi, ax.bbox.height / ax.figure.dpi  # inches
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
