"""One tile of a view on paper: a picture, a class map or a heat map, with the probe's marks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from gsto_viz.activity import BoolMap
from gsto_viz.errors import GstoVizError
from gsto_viz.heatmaps import HeatMap
from gsto_viz.plots.colors import INVALID
from gsto_viz.plots.heatmaps import draw_bar, paint
from gsto_viz.plots.panels import draw_image, draw_labels, draw_outlines, show
from gsto_viz.types import IGNORE, ClassList

CROSS, PIN = 8.0, 5.0
"""Sizes of the marks of probe and pin, points."""
LINE, EDGE = 0.9, 1.3
"""Width of the white line of a mark, and what its black edge adds, points."""
CHOSEN = "#D55E00"
"""Frame of a tile that is marked as chosen."""


@dataclass(frozen=True, eq=False)
class Panel:
    """One tile: a picture, a class map or a heat map; exactly one of them is given.

    Attributes:
        title: Above it.
        pixels: (H, W, 3) uint8.
        labels: (H, W) class indices, 255 where it has none.
        heat: Numbers with limits; ``colors`` says their colour map.
        unmarked: Of class maps, what pixels without class are.
        cell: Row and column in a block, from 0; None in a row.
        chosen: Whether it stands out.

    Raises:
        GstoVizError: None or several are given.
    """

    title: str
    pixels: npt.NDArray[np.uint8] | None = None
    labels: npt.NDArray[np.integer] | None = None
    heat: HeatMap | None = None
    unmarked: str = "not annotated"
    cell: tuple[int, int] | None = None
    chosen: bool = False

    def __post_init__(self) -> None:
        given = [one for one in (self.pixels, self.labels, self.heat) if one is not None]
        if len(given) != 1:
            raise GstoVizError(
                f"a tile is a picture, labels or a heat map, '{self.title}' is {len(given)} of "
                "them; give one"
            )


@dataclass(frozen=True, eq=False)
class PanelRow:
    """Tiles that belong together.

    Attributes:
        title: Above them; may be empty.
        panels: From left to right, or by their ``cell``; may be empty.
        note: At the right of the title, such as a unit.
        columns: None: one row as wide as the page. Else a block of small tiles with so many
            columns; blocks stand side by side as far as they fit.
    """

    title: str
    panels: Sequence[Panel]
    note: str = ""
    columns: int | None = None


@dataclass(frozen=True, eq=False)
class Marks:
    """What is marked on every tile.

    Attributes:
        probe: Column and row of the probed pixel, or None.
        pin: Column and row of the pinned pixel, or None.
        outline: (H, W): the region that is outlined, or None.
    """

    probe: tuple[int, int] | None = None
    pin: tuple[int, int] | None = None
    outline: BoolMap | None = None


def draw_panel(
    panel: Panel,
    image: npt.NDArray[np.uint8],
    classes: ClassList,
    *,
    ax: Axes,
    opacity: float = 1.0,
) -> Axes:
    """Draw a tile without its title; heat maps get a bar below.

    Args:
        panel: What to draw.
        image: (H, W, 3), drawn below heat maps that are not opaque.
        classes: Names and colours of class maps.
        ax: Where; bars take ``BAR_SPACE`` inches below.
        opacity: Of heat maps, 0..1.

    Raises:
        GstoVizError: A map is not of this image, or a class has no name.
    """
    size = (image.shape[0], image.shape[1])
    if panel.pixels is not None:
        draw_image(panel.pixels, ax=ax)
    elif panel.labels is not None:
        red, green, blue = (round(255 * part) for part in to_rgb(INVALID))
        draw_labels(panel.labels, classes, ax=ax, ignored=(red, green, blue))
    elif panel.heat is not None:
        if opacity < 1:
            show(image, ax=ax)
        paint(panel.heat, ax=ax, size=size).set_alpha(opacity)
        draw_bar(panel.heat, ax=ax)
    for picture in ax.images:
        # One pixel per cell, also in vector formats.
        picture.set_interpolation("none")
    if panel.chosen:
        ax.spines[:].set(color=CHOSEN, linewidth=2.0)
    return ax


def draw_marks(marks: Marks, *, ax: Axes, stride: int = 1) -> Axes:
    """Draw outline, pin and probe in white on a black edge, readable on any colour.

    Args:
        marks: What is marked.
        ax: Axes in the coordinates of the image.
        stride: Pixels per cell of what is shown there; the probed cell is framed where it is more
            than one pixel.
    """
    if marks.outline is not None:
        numbers = marks.outline.astype(np.uint8)
        draw_outlines(numbers, ax=ax, width=LINE - 0.2, closed=True)
    for color, width in (("black", LINE + EDGE), ("white", LINE)):
        edge = 1.0 if color == "black" else 0.0
        if marks.pin is not None:
            _mark(ax, marks.pin, "s", PIN, color, width)
        if marks.probe is not None:
            _mark(ax, marks.probe, "+", CROSS + edge, color, width)
            if stride > 1:
                corner = [stride * (one // stride) for one in marks.probe]
                place = (corner[0], corner[1])
                frame = Rectangle(place, stride, stride, fill=False, edgecolor=color, zorder=4)
                frame.set_linewidth(width - 0.3)
                ax.add_patch(frame)
    return ax


def _mark(
    ax: Axes, point: tuple[int, int], marker: str, size: float, color: str, width: float
) -> None:
    x, y = point[0] + 0.5, point[1] + 0.5
    ax.plot(
        [x],
        [y],
        marker,
        markersize=size,
        markeredgewidth=width,
        markeredgecolor=color,
        markerfacecolor="none",
        zorder=5,
        # A mark at the edge of the image would be cut in half.
        clip_on=False,
        scalex=False,
        scaley=False,
    )


def grey_notes(rows: Sequence[PanelRow]) -> str:
    """Say what grey stands for in these tiles, and what the pointed end of a bar is."""
    notes: dict[str, list[str]] = {}
    uncounted = beyond = False
    for panel in (panel for row in rows for panel in row.panels):
        if panel.labels is not None and (panel.labels == IGNORE).any():
            notes.setdefault(panel.unmarked, []).append(panel.title.partition(" (")[0])
        if panel.heat is not None:
            uncounted = uncounted or bool(np.isnan(panel.heat.values).any())
            beyond = beyond or any(panel.heat.clipped)
    words = [f"Grey in {' and '.join(titles)}: {what}." for what, titles in notes.items()]
    if uncounted:
        words.append("Grey cells do not count.")
    if beyond:
        words.append("Bars end in a point where cells lie beyond them.")
    return " ".join(words)
