"""Walls: rows of panels on a page, as a view of the explorer, a contact sheet or a figure.

A panel is a picture, a class map or a heat map with a title, outlines, and words or a colour bar
below it. Pictures and maps of a view go into vector formats with one pixel per cell, so nothing is
invented between cells.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from gsto_viz.activity import (
    BoolMap,
    HeatMap,
    cell_at,
    cell_edges,
    gate_map,
    normalise_map,
)
from gsto_viz.colors import BRANCHES
from gsto_viz.errors import GstoVizError
from gsto_viz.plots.page import (
    BODY,
    GAP,
    GUIDE,
    HEADING,
    INVALID,
    MARGIN,
    POINTS,
    SMALL,
    WIDTH,
    Page,
    chunks,
    context,
    fit_panel,
    shorten,
    text_height,
    text_width,
    wrap,
)
from gsto_viz.plots.panels import (
    BAR_SPACE,
    check_same_size,
    draw_class_legend,
    draw_heatmap,
    draw_image,
    draw_labels,
    draw_outlines,
    fill_bar,
    grey,
    present_classes,
    show,
)
from gsto_viz.types import IGNORE, ClassList, Stride, pixels_per_cell
from gsto_viz.words import GATE, MODES, RAW_BADGE

PANEL_HEIGHT = 2.1
"""Largest height of a tile in a row, inches; portrait images become narrower instead."""
BLOCK_GAP = 0.2
BLOCK_COLUMNS = 8
"""Tiles that blocks have side by side on a page: two blocks of four columns fill it."""
HEAD = 0.17
"""Inches for the heading of a row."""
TITLE_GAP = 0.03
"""Inches between a title and its tile."""
COMMON_BAR = (1.6, 0.07)
"""Width and height of the bar of a whole row, inches."""
COMMON_BAR_ROOM = 0.36
"""Inches that it takes, with its numbers."""
LEGEND_COLUMNS, LEGEND_LINE = 6, 0.15
"""Classes side by side, and inches that a line of them takes."""
CROSS, PIN = 8.0, 5.0
"""Sizes of the marks of probe and pin, points."""
MARK, EDGE = 0.9, 1.3
"""Width of the white line of a mark, and what its black edge adds, points."""
CHOSEN = BRANCHES[1].color
"""Frame of a tile that is marked as chosen."""


@dataclass(frozen=True, eq=False)
class Outline:
    """Borders between regions, drawn on a tile.

    Attributes:
        regions: (H, W) region numbers, 0 = none.
        color: Of the line.
        width: Points.
    """

    regions: npt.NDArray[np.integer]
    color: str = "white"
    width: float = 0.4


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
        name: What its axes are called; empty: as its title.
        bar: Whether a heat map has a colour bar of its own.
        below: Words below it.
        frame: Colour of its frame; None: thin and black.
        outlines: Drawn on it.
        over: Draws what else lies on it.

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
    name: str = ""
    bar: bool = True
    below: str = ""
    frame: str | None = None
    outlines: Sequence[Outline] = ()
    over: Callable[[Axes], None] | None = None

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
        panels: From left to right, or by their ``cell``; may be empty. Words stand where a tile is
            missing.
        note: At the right of the title, such as a unit.
        columns: None: one row as wide as the page. Else a block of small tiles with so many
            columns; blocks stand side by side as far as they fit.
        slots: Of a row, how many tiles would fill it; None: those it has.
        size: (H, W) of its image; None: that of the wall.
        height: Largest height of a tile in the row, inches.
        bar: One colour bar for all its tiles, with its label, below them.
        plain: Whether the title is small and not bold.
    """

    title: str
    panels: Sequence[Panel | str]
    note: str = ""
    columns: int | None = None
    slots: int | None = None
    size: tuple[int, int] | None = None
    height: float = PANEL_HEIGHT
    bar: HeatMap | None = None
    plain: bool = False

    @property
    def tiles(self) -> list[Panel]:
        """Its panels without the words."""
        return [panel for panel in self.panels if isinstance(panel, Panel)]


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


class Wall(Page):
    """A page of rows of tiles.

    Args:
        size: (H, W) of the image that tiles are of.
        classes: Names and colours of class maps; None: there are none.
        width: Inches.
        ignored: Colour of pixels without class.
        under: (H, W, 3): drawn below heat maps; None: they are opaque.
        opacity: Of heat maps over it, 0..1.
    """

    def __init__(
        self,
        size: tuple[int, int],
        classes: ClassList | None = None,
        *,
        width: float = WIDTH,
        ignored: str = "black",
        under: npt.NDArray[np.uint8] | None = None,
        opacity: float = 1.0,
    ) -> None:
        super().__init__(width)
        self.size, self.classes, self.under, self.opacity = size, classes, under, opacity
        self.ignored = ignored
        self.drawn = size
        self.shown: list[tuple[Panel, Axes]] = []

    def rows(self, rows: Sequence[PanelRow]) -> None:
        """Draw rows below each other; blocks that follow each other stand side by side."""
        for blocks, group in groupby(rows, key=lambda row: row.columns is not None):
            if blocks:
                self._blocks(list(group))
                continue
            for row in group:
                self._row(row)

    def class_legend(
        self,
        ids: list[int],
        columns: int = LEGEND_COLUMNS,
        place: tuple[float, float, float, float] | None = None,
    ) -> None:
        """Name classes at a place, or across the page and move below them."""
        if self.classes is None or not ids:
            return
        height = -(-len(ids) // columns) * LEGEND_LINE
        here = place or (MARGIN, self.top, self.room, height)
        draw_class_legend(self.classes, ids, ax=self.axes(*here, label="classes"), columns=columns)
        if place is None:
            self.top += height + GAP

    def _row(self, row: PanelRow) -> None:
        """Draw a row as wide as the page."""
        self._head(row, MARGIN, self.top, self.room)
        if row.title:
            self.top += HEAD if not row.plain else text_height("x", SMALL)
        if not row.panels:
            return
        slots = row.slots or len(row.panels)
        slot = (self.room - (slots - 1) * GAP) / slots
        self.drawn = row.size or self.size
        size = fit_panel(self.drawn, slot, row.height)
        titles = [title_lines(one, slot) if isinstance(one, Panel) else "" for one in row.panels]
        if any(titles):
            self.top += max(text_height(title, BODY) for title in titles) + TITLE_GAP
        for k, (one, title) in enumerate(zip(row.panels, titles, strict=True)):
            self._slot(one, title, MARGIN + k * (slot + GAP), self.top, slot, size)
        self.top += size[1] + self._below(row)
        if row.bar is not None:
            left = MARGIN + (slot + GAP if slots > 1 else 0)
            self.common_bar(row.bar, left)
        self.top += GAP

    def _below(self, row: PanelRow) -> float:
        """Return the inches that bars and words below the tiles of a row take."""
        bars = BAR_SPACE if any(one.heat is not None and one.bar for one in row.tiles) else 0.0
        words = [text_height(one.below, SMALL) + 0.05 for one in row.tiles if one.below]
        return max([bars, *words])

    def common_bar(self, heat: HeatMap, left: float) -> None:
        """Draw one bar for several maps, what it shows at its right, and move below it."""
        fill_bar(heat, self.axes(left, self.top + 0.06, *COMMON_BAR, label="bar"))
        room = self.width - MARGIN - left - COMMON_BAR[0] - GAP
        label = shorten(heat.label, room, SMALL)
        self.text(left + COMMON_BAR[0] + GAP, self.top + 0.04, label, fontsize=SMALL)
        self.top += COMMON_BAR_ROOM - GAP

    def _blocks(self, rows: Sequence[PanelRow]) -> None:
        """Draw blocks of small tiles, side by side as far as they fit."""
        slot = (self.room - BLOCK_GAP - (BLOCK_COLUMNS - 2) * GAP) / BLOCK_COLUMNS
        left, lowest = MARGIN, self.top
        for row in rows:
            columns = row.columns or 1
            width = columns * slot + (columns - 1) * GAP
            if left > MARGIN and left + width > MARGIN + self.room + 1e-6:
                left, self.top = MARGIN, lowest
            lowest = max(lowest, self._block(row, left, width, slot))
            left += width + BLOCK_GAP
        self.top = lowest

    def _block(self, row: PanelRow, left: float, width: float, slot: float) -> float:
        """Draw one block; return where it ends."""
        self._head(row, left, self.top, width)
        self.drawn = row.size or self.size
        size = fit_panel(self.drawn, slot, slot)
        above = text_height("x", BODY) + TITLE_GAP
        step = above + size[1] + BAR_SPACE + 0.02
        begin, lines = self.top + HEAD, 0
        for k, one in enumerate(row.tiles):
            line, column = one.cell or divmod(k, row.columns or 1)
            lines = max(lines, line + 1)
            title = shorten(one.title, slot, BODY, one.chosen)
            at = left + column * (slot + GAP), begin + line * step + above
            self._slot(one, title, *at, slot, size)
        return begin + lines * step + GAP

    def _slot(
        self,
        panel: Panel | str,
        title: str,
        left: float,
        top: float,
        slot: float,
        size: tuple[float, float],
    ) -> None:
        """Draw a tile in the middle of its slot, with its title above and its words below."""
        inset = (slot - size[0]) / 2
        if isinstance(panel, str):
            middle = {"ha": "center", "va": "center", "color": GUIDE}
            self.text(left + slot / 2, top + size[1] / 2, panel, **middle)
            return
        ax = self.axes(left + inset, top, *size, label=panel.name or panel.title)
        self.draw(panel, ax)
        if title:
            weight = "bold" if panel.chosen else "normal"
            ax.set_title(title, pad=TITLE_GAP * POINTS, fontweight=weight, parse_math=False)
        if panel.below:
            self.text(left + inset, top + size[1] + 0.04, panel.below, fontsize=SMALL)

    def draw(self, panel: Panel, ax: Axes) -> None:
        """Draw a tile without title and words; heat maps with a bar get it below."""
        if panel.pixels is not None:
            draw_image(panel.pixels, ax=ax)
        elif panel.labels is not None and self.classes is not None:
            red, green, blue = (round(255 * part) for part in to_rgb(self.ignored))
            draw_labels(panel.labels, self.classes, ax=ax, ignored=(red, green, blue))
        elif panel.heat is not None:
            if self.under is not None:
                show(self.under, ax=ax)
            draw_heatmap(panel.heat, ax=ax, size=self.drawn, bar=panel.bar, caption=False)
            if self.under is not None:
                ax.images[-1].set_alpha(self.opacity)
        if panel.frame or panel.chosen:
            width = 2.0 if panel.chosen else 1.2
            ax.spines[:].set(color=panel.frame or CHOSEN, linewidth=width)
        for outline in panel.outlines:
            draw_outlines(outline.regions, ax=ax, color=outline.color, width=outline.width)
        if panel.over is not None:
            panel.over(ax)
        self.shown.append((panel, ax))

    def _head(self, row: PanelRow, left: float, top: float, room: float) -> None:
        """Write the title of a row, with its note or the badge of raw maps at the right."""
        if not row.title:
            return
        raw = any(one.heat is not None and one.heat.raw for one in row.tiles)
        size, note = SMALL if row.plain else HEADING, RAW_BADGE if raw else row.note
        self.title(row.title, note, (left, top, room), size=size, bold=not row.plain, badge=raw)


def title_lines(panel: Panel, slot: float) -> str:
    """Return a title in lines that fit its slot; what stands in brackets stays together."""
    parts = [panel.title]
    if text_width(panel.title, BODY, panel.chosen) > slot:
        words, bracket, inside = panel.title.partition(" (")
        parts = [words, *([f"({inside}"] if bracket else [])]
    lines = [line for part in parts for line in wrap(part, slot, BODY).split("\n")]
    return "\n".join(shorten(line, slot, BODY, panel.chosen) for line in lines)


def draw_marks(
    marks: Marks, *, ax: Axes, stride: Stride = 1, size: tuple[int, int] | None = None
) -> Axes:
    """Draw outline, pin and probe in white on a black edge, readable on any colour.

    Args:
        marks: What is marked.
        ax: Axes in the coordinates of the image.
        stride: The grid of what is shown there; the probed cell is framed where it is more than
            one pixel.
        size: (H, W) of the image, for pooled grids.
    """
    if marks.outline is not None:
        numbers = marks.outline.astype(np.uint8)
        draw_outlines(numbers, ax=ax, width=MARK - 0.2, closed=True)
    for color, width, edge in (("black", MARK + EDGE, 1.0), ("white", MARK, 0.0)):
        if marks.pin is not None:
            _mark(ax, marks.pin, "s", PIN, color, width)
        if marks.probe is not None:
            _mark(ax, marks.probe, "+", CROSS + edge, color, width)
            if stride != 1:
                (x, y), across, down = probed_cell(marks.probe, stride, size)
                frame = Rectangle((x, y), across, down, fill=False, edgecolor=color, zorder=4)
                frame.set_linewidth(width - 0.3)
                ax.add_patch(frame)
    return ax


def probed_cell(
    probe: tuple[int, int], stride: Stride, size: tuple[int, int] | None
) -> tuple[tuple[int, int], int, int]:
    """Return the left upper corner, width and height of the cell that holds a pixel (x, y)."""
    pixels = pixels_per_cell(stride)
    if pixels is not None:
        x, y = (pixels * (one // pixels) for one in probe)
        return (x, y), pixels, pixels
    if size is None:
        raise GstoVizError(f"cells of a grid of {stride} depend on the image; give its size")
    rows, columns = cell_edges(*size, stride)
    row, column = cell_at(probe[1], probe[0], size, stride)
    corner = int(columns[column]), int(rows[row])
    return corner, int(columns[column + 1]) - corner[0], int(rows[row + 1]) - corner[1]


def _mark(
    ax: Axes, point: tuple[int, int], marker: str, size: float, color: str, width: float
) -> None:
    ax.plot(
        [point[0] + 0.5],
        [point[1] + 0.5],
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
    """Explain grey in these tiles, and the pointed end of a bar."""
    notes: dict[str, list[str]] = {}
    uncounted = beyond = False
    for panel in (panel for row in rows for panel in row.tiles):
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


@context()
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
    panels = [panel for row in rows for panel in row.tiles]
    if not panels:
        raise GstoVizError("a view without tiles cannot be drawn; give at least one")
    for pixels in (one for panel in panels for one in (panel.pixels, panel.labels)):
        if pixels is not None:
            check_same_size(pixels, image)
    size = (image.shape[0], image.shape[1])
    under = image if opacity < 1 else None
    wall = Wall(size, classes, ignored=INVALID, under=under, opacity=opacity)
    named = next((k for k, row in enumerate(rows) if _maps(row)), len(rows)) + 1
    wall.rows(rows[:named])
    wall.class_legend(present_classes(classes, *(one for row in rows for one in _maps(row))))
    wall.rows(rows[named:])
    for panel, ax in wall.shown:
        for picture in ax.images:
            # One pixel per cell, also in vector formats.
            picture.set_interpolation("none")
        stride = 1 if panel.heat is None else panel.heat.stride
        draw_marks(marks or Marks(), ax=ax, stride=stride, size=size)
    text = f"{caption} {grey_notes(rows)}".strip()
    below = " ".join(shorten(word, wall.room / 2, BODY) for word in text.split())
    parts = []
    for row in rows:
        tiles = ", ".join(panel.title for panel in row.tiles)
        parts.append(": ".join(part for part in (row.title, tiles) if part))
    said = f"Tiles of one image, row by row. {'; '.join(parts)}. {text}"
    return wall.finish(below, said, size=BODY)


def _maps(row: PanelRow) -> list[npt.NDArray[np.integer]]:
    """Return the class maps of a row."""
    return [one.labels for one in row.tiles if one.labels is not None]


COLUMN_CHOICES = (4, 5, 3)
"""Panels in a row: the first choice that leaves the fewest places of the last row empty."""
MAX_MAPS = 60
"""More than fit a page or two are refused."""


@context()
def maps_figure(
    maps: Mapping[str, npt.NDArray[np.floating]],
    image: npt.NDArray[np.uint8],
    *,
    strides: Mapping[str, Stride],
    mode: str = "percentile",
    gate_range: tuple[float, float] | None = None,
    overlay: bool = False,
    width: float = WIDTH,
) -> Figure:
    """Draw an image and maps of any taps, each with a colour bar.

    Args:
        maps: By tap name, (h, w).
        image: (H, W, 3) uint8, the image that the maps were captured from.
        strides: By tap name, its grid.
        mode: ``percentile``, ``zscore`` or ``per_map``.
        gate_range: Infimum and supremum of the gates' form: taps with ``.gate`` in their name are
            drawn on it, whatever the mode. None: gates are drawn as the other maps.
        overlay: Lay the maps over the grey image.
        width: Of the page, inches.

    Raises:
        GstoVizError: No maps or more than 60, a map that is not (h, w) or not on its grid.
    """
    _check_maps(maps, strides)
    heats = {
        tap: gate_map(values, stride=strides[tap], limits=gate_range)
        if gate_range is not None and ".gate" in tap
        else normalise_map(values, stride=strides[tap], mode=mode)
        for tap, values in maps.items()
    }
    count = len(maps) + 1
    columns = min(COLUMN_CHOICES, key=lambda choice: -count % choice)
    size = (image.shape[0], image.shape[1])
    wall = Wall(size, width=width, under=grey(image) if overlay else None, opacity=0.6)
    slot = (wall.room - (columns - 1) * GAP) / columns
    panels = [Panel("input", pixels=image)]
    for tap, heat in heats.items():
        panels.append(Panel(shorten(tap, slot, BODY), heat=heat, name=tap))
    wall.rows([PanelRow("", row, slots=columns) for row in chunks(panels, columns)])
    gates = any(heat.mode == GATE.key for heat in heats.values())
    others = any(heat.mode != GATE.key for heat in heats.values())
    parts = [f"Maps: {MODES[mode].said('the values')}"] if others else []
    caption = " ".join([*parts, *(["Gates on the range of their form."] if gates else [])])
    said = f"An image and maps of {len(maps)} taps: {', '.join(maps)}. {caption}"
    return wall.finish(caption, said, size=BODY)


def _check_maps(maps: Mapping[str, npt.NDArray], strides: Mapping[str, Stride | None]) -> None:
    """Refuse what a contact sheet cannot show."""
    if not maps:
        raise GstoVizError("there are no maps to draw; capture at least one tap")
    if len(maps) > MAX_MAPS:
        raise GstoVizError(
            f"{len(maps)} maps do not fit one figure; choose at most {MAX_MAPS} taps"
        )
    for tap, values in maps.items():
        if np.ndim(values) != 2:
            raise GstoVizError(
                f"'{tap}' has shape {np.shape(values)}, not (h, w); reduce its channels to draw it"
            )
        if strides.get(tap) is None:
            raise GstoVizError(f"'{tap}' has no stride, so its place in the image is unknown")
