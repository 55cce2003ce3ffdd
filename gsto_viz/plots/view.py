"""The figure of a view: rows of tiles with one probe on all of them.

What the explorer's viewer shows, on paper. Pictures and maps go into vector formats with one pixel
per cell, so nothing is invented between cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from gsto_viz.activity import BoolMap, HeatMap
from gsto_viz.errors import GstoVizError
from gsto_viz.plots import style
from gsto_viz.plots.chart import (
    GAP,
    MARGIN,
    Page,
    fit_panel,
    set_alt_text,
    shorten,
    text_height,
    text_width,
    wrap,
)
from gsto_viz.plots.panels import (
    BAR_SPACE,
    check_same_size,
    draw_bar,
    draw_class_legend,
    draw_image,
    draw_labels,
    draw_outlines,
    paint,
    present_classes,
    show,
)
from gsto_viz.plots.style import INVALID
from gsto_viz.types import IGNORE, ClassList
from gsto_viz.words import BRANCHES, RAW_BADGE

CROSS, PIN = 8.0, 5.0
"""Sizes of the marks of probe and pin, points."""
LINE, EDGE = 0.9, 1.3
"""Width of the white line of a mark, and what its black edge adds, points."""
CHOSEN = BRANCHES[1].color
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


WIDTH = 8.0
"""Inches: an A4 page is 8.27 wide."""
ROOM = WIDTH - 2 * MARGIN
PANEL_HEIGHT = 2.1
"""Largest height of a tile in a row, inches; portrait images become narrower instead."""
BLOCK_GAP = 0.2
BLOCK_SLOT = (ROOM - BLOCK_GAP - 6 * GAP) / 8
"""Width of a tile in a block, inches: two blocks of four columns fill the page."""
HEAD = 0.17
"""Inches for the heading of a row."""
TEXT = 7.0
"""Size of titles and caption, points."""
LEGEND_COLUMNS, LEGEND_LINE = 6, 0.15
"""Entries side by side, and inches that a line of them takes."""


@dataclass(frozen=True, eq=False)
class _Place:
    """A tile on the page: its left upper corner and size, and where its title stands (inches)."""

    panel: Panel
    left: float
    top: float
    width: float
    height: float
    title: str
    middle: float


@dataclass(frozen=True)
class _Heading:
    """Words above a row: at the left, and at the right of its room (inches)."""

    left: float
    top: float
    room: float
    title: str
    note: str
    badge: bool


def figure_view(
    rows: Sequence[PanelRow],
    *,
    image: npt.NDArray[np.uint8],
    classes: ClassList,
    marks: Marks | None = None,
    opacity: float = 1.0,
    caption: str = "",
) -> Figure:
    """Draw a view as the explorer shows it.

    Args:
        rows: What it shows; classes that occur are named below the first row that has class maps,
            and rows of raw maps carry the badge.
        image: (H, W, 3) uint8: what all tiles are of.
        classes: Names and colours.
        marks: Probe, pin and outlined region, drawn on every tile.
        opacity: Of heat maps over the image, 0..1.
        caption: What image, networks and scale are; what grey stands for is added.

    Raises:
        GstoVizError: No tiles, or one that is not of this image.
    """
    panels = [panel for row in rows for panel in row.panels]
    if not panels:
        raise GstoVizError("a view without tiles cannot be drawn; give at least one")
    for panel in panels:
        for pixels in (panel.pixels, panel.labels):
            if pixels is not None:
                check_same_size(pixels, image)
    marks = marks or Marks()
    text = f"{caption} {grey_notes(rows)}".strip()
    words = " ".join(shorten(word, ROOM / 2, TEXT) for word in text.split())
    below = wrap(words, ROOM - 0.05, TEXT)
    with style.context():
        sheet = _Sheet((image.shape[0], image.shape[1]), _classes_of(panels, classes))
        sheet.lay_out(rows)
        page = Page(WIDTH, sheet.top + text_height(below, TEXT) + MARGIN)
        sheet.draw_words(page)
        if sheet.legend is not None:
            ax = page.axes(MARGIN, sheet.legend, ROOM, sheet.legend_height, label="classes")
            draw_class_legend(classes, sheet.present, ax=ax, columns=LEGEND_COLUMNS)
        for place in sheet.places:
            _draw_place(page, place, image, classes, marks, opacity)
        page.text(MARGIN, page.height - MARGIN, below, va="bottom", fontsize=TEXT, parse_math=False)
    set_alt_text(page.figure, _alt_text(rows, text))
    return page.figure


def _classes_of(panels: Sequence[Panel], classes: ClassList) -> list[int]:
    return present_classes(classes, *(panel.labels for panel in panels))


def _draw_place(
    page: Page,
    place: _Place,
    image: npt.NDArray[np.uint8],
    classes: ClassList,
    marks: Marks,
    opacity: float,
) -> None:
    """Draw a tile with its title and marks."""
    panel = place.panel
    ax = page.axes(place.left, place.top, place.width, place.height, label=panel.title)
    draw_panel(panel, image, classes, ax=ax, opacity=opacity)
    draw_marks(marks, ax=ax, stride=1 if panel.heat is None else panel.heat.stride)
    page.text(
        place.middle,
        place.top - 0.03,
        place.title,
        ha="center",
        va="bottom",
        fontsize=TEXT,
        fontweight="bold" if panel.chosen else "normal",
        parse_math=False,
    )


class _Sheet:
    """Places on the page, from the top down.

    Args:
        size: (H, W) of the image.
        present: Classes that the legend names.
    """

    def __init__(self, size: tuple[int, int], present: list[int]) -> None:
        self.size, self.present = size, present
        self.top = MARGIN
        self.places: list[_Place] = []
        self.headings: list[_Heading] = []
        self.legend: float | None = None

    @property
    def legend_height(self) -> float:
        """Inches that the legend takes."""
        return -(-len(self.present) // LEGEND_COLUMNS) * LEGEND_LINE

    def lay_out(self, rows: Sequence[PanelRow]) -> None:
        """Place all rows; blocks that follow each other stand side by side."""
        for blocks, group in groupby(rows, key=lambda row: row.columns is not None):
            if blocks:
                self._add_blocks(list(group))
                continue
            for row in group:
                self._add_row(row)
                if self.legend is None and any(p.labels is not None for p in row.panels):
                    self.legend = self.top
                    self.top += self.legend_height + GAP
        self.top += 0.03

    def _add_row(self, row: PanelRow) -> None:
        """Place a row as wide as the page."""
        self._add_heading(row, MARGIN, self.top, ROOM)
        if row.title:
            self.top += HEAD
        count = len(row.panels)
        if count == 0:
            return
        slot = (ROOM - (count - 1) * GAP) / count
        panel = fit_panel(self.size, slot, PANEL_HEIGHT)
        titles = [_title(one, slot) for one in row.panels]
        self.top += max(text_height(title, TEXT) for title in titles) + 0.03
        for k, (one, title) in enumerate(zip(row.panels, titles, strict=True)):
            self._add_place(one, title, MARGIN + k * (slot + GAP), self.top, slot, panel)
        bars = any(one.heat is not None for one in row.panels)
        self.top += panel[1] + (BAR_SPACE if bars else 0.0) + GAP

    def _add_blocks(self, rows: Sequence[PanelRow]) -> None:
        """Place blocks of small tiles, side by side as far as they fit."""
        left, lowest = MARGIN, self.top
        for row in rows:
            columns = row.columns or 1
            width = columns * BLOCK_SLOT + (columns - 1) * GAP
            if left > MARGIN and left + width > MARGIN + ROOM + 1e-6:
                left, self.top = MARGIN, lowest
            lowest = max(lowest, self._add_block(row, left, width))
            left += width + BLOCK_GAP
        self.top = lowest

    def _add_block(self, row: PanelRow, left: float, width: float) -> float:
        """Place one block; return where it ends."""
        self._add_heading(row, left, self.top, width)
        panel = fit_panel(self.size, BLOCK_SLOT, BLOCK_SLOT)
        title_height = text_height("x", TEXT) + 0.03
        step = title_height + panel[1] + BAR_SPACE + 0.02
        begin = self.top + HEAD
        lines = 0
        for k, one in enumerate(row.panels):
            line, column = one.cell or divmod(k, row.columns or 1)
            lines = max(lines, line + 1)
            at = left + column * (BLOCK_SLOT + GAP), begin + line * step + title_height
            title = shorten(one.title, BLOCK_SLOT, TEXT, one.chosen)
            self._add_place(one, title, *at, BLOCK_SLOT, panel)
        return begin + lines * step + GAP

    def _add_heading(self, row: PanelRow, left: float, top: float, room: float) -> None:
        if row.title:
            badge = any(one.heat is not None and one.heat.raw for one in row.panels)
            self.headings.append(_Heading(left, top, room, row.title, row.note, badge))

    def _add_place(
        self,
        panel: Panel,
        title: str,
        left: float,
        top: float,
        slot: float,
        size: tuple[float, float],
    ) -> None:
        """Place a tile in the middle of its slot."""
        inset = (slot - size[0]) / 2
        self.places.append(_Place(panel, left + inset, top, *size, title, left + slot / 2))

    def draw_words(self, page: Page) -> None:
        """Write all headings, with their notes or badges at the right."""
        for one in self.headings:
            room, right = one.room, one.left + one.room
            note = RAW_BADGE if one.badge else shorten(one.note, 0.6 * room, style.SMALL)
            if note:
                room -= text_width(note, style.SMALL) + 0.25
                box = {"boxstyle": "round,pad=0.25", "fc": "#FFF3C4", "ec": "#8A6D00", "lw": 0.5}
                page.text(
                    right - (0.05 if one.badge else 0.0),
                    one.top + 0.015,
                    note,
                    ha="right",
                    fontsize=style.SMALL,
                    parse_math=False,
                    bbox=box if one.badge else None,
                )
            page.text(
                one.left,
                one.top,
                shorten(one.title, room, style.HEADING, bold=True),
                fontsize=style.HEADING,
                fontweight="bold",
                parse_math=False,
            )


def _title(panel: Panel, slot: float) -> str:
    """Return a title in lines that fit its slot; what stands in brackets stays together."""
    parts = [panel.title]
    if text_width(panel.title, TEXT, panel.chosen) > slot:
        words, bracket, inside = panel.title.partition(" (")
        parts = [words, *([f"({inside}"] if bracket else [])]
    lines = [line for part in parts for line in wrap(part, slot, TEXT).split("\n")]
    return "\n".join(shorten(line, slot, TEXT, panel.chosen) for line in lines)


def _alt_text(rows: Sequence[PanelRow], caption: str) -> str:
    """Describe the figure in words."""
    parts = []
    for row in rows:
        tiles = ", ".join(panel.title for panel in row.panels)
        parts.append(": ".join(part for part in (row.title, tiles) if part))
    return f"Tiles of one image, row by row. {'; '.join(parts)}. {caption}"
