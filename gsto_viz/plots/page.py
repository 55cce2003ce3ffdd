"""The page of every figure: its style, its places in inches, legend, caption, alt text, and saving.

``@context()`` sets matplotlib's parameters for a function that draws and puts them back after it.
They are global to the process, so threads that draw must take turns.

Places are given in inches, from the upper left corner, and a page grows downwards as it is filled.
Matplotlib's constrained layout would shrink pictures to make room for text, and it decides when the
figure is drawn, after titles were shortened and ticks were thinned to the room they have.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator

from gsto_viz.colors import Mark, network_mark
from gsto_viz.errors import GstoVizError
from gsto_viz.files import atomic_path
from gsto_viz.stats.compare import FALSE_SIGNAL
from gsto_viz.words import COLORMAPS

T = TypeVar("T")
RC: dict[str, Any] = {
    # The one family that comes with matplotlib: figures look the same on every machine.
    "font.family": ["DejaVu Sans"],
    "font.size": 7.0,
    "axes.titlesize": 7.0,
    "axes.labelsize": 7.0,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": False,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.0,
    "figure.dpi": 100.0,
    "savefig.dpi": 200.0,
    "image.interpolation": "nearest",
    # TrueType fonts inside PDF, text as text inside SVG: searchable and editable.
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    # Without a salt, the ids inside an SVG are random.
    "svg.hashsalt": "gsto_viz",
}
SMALL, BODY, HEADING = 6.0, 7.0, 8.0
"""Font sizes, in points: numbers at colour bars and notes; titles; headings."""
LEGEND: float = RC["legend.fontsize"]
CHANCE_BAND = "#E4E4E4"
"""Where networks without any tuning can lie by accident."""
INVALID = "#B0B0B0"
"""Cells that do not count (more than half ignored)."""
FEW = "#9A9A9A"
"""Values that rest on few regions."""
GUIDE = "#555555"
"""Reference lines and notes."""
FORMATS = ("pdf", "png", "svg")
BADGE = {"boxstyle": "round,pad=0.25", "fc": "#FFF3C4", "ec": "#8A6D00", "lw": 0.5}
"""The frame of words that warn."""
WIDTH = 8.0
"""Inches: an A4 page is 8.27 wide."""
MARGIN = 0.12
"""Inches left free around the page's content."""
GAP = 0.1
"""Inches between neighbouring panels."""
RIGHT = 0.2
"""Inches right of the last chart: the last tick label is centred on the edge of its axes."""
LINE = 1.45
"""Height of a text line in units of its font size."""
NOTE_LINE = 7.5
"""Points between lines of notes above a chart."""
POINTS = 72.0
"""Points per inch."""
_HANDLE = 2.2
"""Length of a legend's handle in units of its font size."""
_UNFINISHED = 11.0
"""Height of a page that still grows, inches."""


@contextmanager
def context() -> Iterator[None]:
    """Apply the style inside a ``with`` block or, as a decorator, while a function runs."""
    parameters: Any = RC  # newer type stubs of matplotlib list every key, older ones say str
    with mpl.rc_context(parameters):
        yield


def colormap(mode: str, name: str | None = None) -> Colormap:
    """Return the colormap of a normalisation, or the named one; uncounted cells are grey."""
    return mpl.colormaps[name or COLORMAPS[mode]].with_extremes(bad=INVALID)


def line_of(mark: Mark) -> Any:
    """Return the line style of a network, where the colour says the branch."""
    return (0, mark.dash) if mark.dash else "-"


def alt_text(figure: Figure) -> str:
    """Return the description of a figure made by this package; empty when there is none."""
    return str(figure.get_label())


def save_figure(
    figure: Figure,
    path: str | Path,
    *,
    formats: Sequence[str] = ("pdf", "png"),
    dpi: float | None = None,
) -> tuple[Path, ...]:
    """Write a figure to ``path`` + ``.pdf``, ``.png`` and/or ``.svg``.

    The same figure gives the same bytes under one matplotlib version: no date is written. The alt
    text goes into the file's description.

    Args:
        figure: What to write; its size in inches is kept.
        path: Path without suffix, e.g. ``runs/demo/figure1``.
        formats: Out of ``FORMATS``.
        dpi: Of PNGs and of pictures inside the others; None: that of the style.

    Returns:
        The files, in the order of ``formats``.

    Raises:
        GstoVizError: Unknown or no format, or the file cannot be written.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise GstoVizError(
            f"cannot write figures as '{', '.join(unknown)}'; choose from {', '.join(FORMATS)}"
        )
    stem = Path(path)
    files = []
    with context():
        for name in formats:
            target = stem.parent / f"{stem.name}.{name}"
            # In memory first: on a full disk matplotlib fails again while it closes its file.
            content = BytesIO()
            about = _metadata(name, alt_text(figure))
            figure.savefig(content, format=name, dpi=dpi, metadata=about)
            with atomic_path(target) as temporary:
                temporary.write_bytes(content.getbuffer())
            files.append(target)
    return tuple(files)


def _metadata(name: str, description: str) -> dict[str, Any]:
    """Return the file's own fields; None takes out what matplotlib would write by itself."""
    if name == "pdf":
        return {"CreationDate": None, "Creator": "gsto_viz", "Subject": description}
    if name == "svg":
        return {"Date": None, "Creator": "gsto_viz", "Description": description}
    return {"Software": "gsto_viz", "Description": description}


class Page:
    """A figure that grows downwards; places are in inches, from its upper left corner.

    Args:
        width: Inches.

    Attributes:
        figure: To be taken from ``finish``.
        top: Where the next thing goes; what is drawn below each other moves it.
    """

    def __init__(self, width: float = WIDTH) -> None:
        self.width, self.top = width, MARGIN
        self.figure = Figure(figsize=(width, _UNFINISHED))
        FigureCanvasAgg(self.figure)
        self._moves: list[Callable[[float], None]] = []

    @property
    def room(self) -> float:
        """Inches between the margins."""
        return self.width - 2 * MARGIN

    def axes(self, left: float, top: float, width: float, height: float, **kwargs: Any) -> Axes:
        """Add axes whose upper left corner lies at (left, top)."""
        ax = self.figure.add_axes((0, 0, 1, 1), **kwargs)

        def move(page: float) -> None:
            bottom = page - top - height
            across, down = (left / self.width, width / self.width), (bottom / page, height / page)
            ax.set_position((across[0], down[0], across[1], down[1]))

        self._place(move)
        return ax

    def text(self, left: float, top: float, text: str, **kwargs: Any) -> Text:
        """Write text that begins at (left, top); ``ha`` and ``va`` may say otherwise."""
        kwargs = {"ha": "left", "va": "top", "parse_math": False, **kwargs}
        artist = self.figure.text(left / self.width, 0, text, **kwargs)
        self._place(lambda page: artist.set_y(1 - top / page))
        return artist

    def heading(
        self, text: str, note: str = "", *, size: float = HEADING, step: float = 0.25
    ) -> None:
        """Write a bold line across the page, a note at its right, and move below it."""
        self.title(text, note, (MARGIN, self.top, self.room), size=size)
        self.top += step

    def title(
        self,
        text: str,
        note: str,
        place: tuple[float, float, float],
        *,
        size: float = HEADING,
        bold: bool = True,
        badge: bool = False,
    ) -> None:
        """Write a line at (left, top) in so much room, and a note, or a badge, at its right."""
        left, top, room = place
        right = left + room
        note = note if badge else shorten(note, 0.6 * room, SMALL)
        if note:
            room -= text_width(note, SMALL) + 0.25
            look = {"ha": "right", "fontsize": SMALL, "bbox": BADGE if badge else None}
            self.text(right - (0.05 if badge else 0.0), top + 0.015, note, **look)
        weight = "bold" if bold else "normal"
        line = shorten(text, room, size, bold=bold)
        self.text(left, top, line, fontsize=size, fontweight=weight)

    def charts(
        self,
        shape: tuple[int, int],
        *,
        height: float,
        left: float = 0.55,
        head: float = 0.38,
        foot: float = 0.56,
        gap: float = 0.3,
    ) -> list[list[Axes]]:
        """Add a grid of charts, and move below it.

        Args:
            shape: Rows and columns.
            height: Of one chart, inches.
            left: Inches left of the first column: its tick labels and the label of its y axis.
            head: Inches above each row, for headings.
            foot: Inches below each row, for ticks and the label of the x axis.
            gap: Inches between columns.
        """
        rows, columns = shape
        wide = (self.width - left - RIGHT - (columns - 1) * gap) / columns
        grid: list[list[Axes]] = []
        for r in range(rows):
            grid.append([])
            for c in range(columns):
                place = (left + c * (wide + gap), self.top + head, wide, height)
                grid[r].append(self.axes(*place, label=f"chart {r} {c}"))
            self.top += head + height + foot
        return grid

    def legend(self, handles: Sequence[Artist], *, middle: float = 0.5, **kwargs: Any) -> None:
        """Draw one legend, in as many lines as it needs, and move below it.

        Args:
            handles: Artists with labels; none: there is no legend.
            middle: Where its middle lies, 0 left and 1 right.
            **kwargs: Of Matplotlib's legend.
        """
        if not handles:
            return
        columns = _legend_columns(handles, self.room)
        legend = self.figure.legend(
            handles=handles,
            loc="upper center",
            ncols=columns,
            columnspacing=1.2,
            handlelength=_HANDLE,
            borderaxespad=0,
            borderpad=0,
            **kwargs,
        )
        top = self.top
        self._place(lambda page: legend.set_bbox_to_anchor((middle, 1 - top / page)))
        self.top += -(-len(handles) // columns) * 1.5 * LEGEND / POINTS + 0.05

    def finish(self, caption: str, alt: str, *, size: float = SMALL) -> Figure:
        """Write the caption, cut the page below it, and attach the alt text.

        Args:
            caption: What is drawn, how it was made; wrapped to the page; may be empty.
            alt: For readers who cannot see the figure.
            size: Of the caption, points.
        """
        if caption:
            text = wrap(caption, self.room, size)
            self.text(MARGIN, self.top, text, fontsize=size)
            self.top += text_height(text, size)
        height = self.top + MARGIN
        self.figure.set_size_inches(self.width, height)
        for move in self._moves:
            move(height)
        self.figure.set_label(alt)
        return self.figure

    def _place(self, move: Callable[[float], None]) -> None:
        """Put an artist where it belongs, now and when the height of the page is known."""
        self._moves.append(move)
        move(_UNFINISHED)


def chunks(items: Sequence[T], count: int) -> list[Sequence[T]]:
    """Cut a sequence into parts of ``count`` items, the last one shorter where it must be."""
    return [items[k : k + count] for k in range(0, len(items), count)]


def fit_panel(size: tuple[int, int], max_width: float, max_height: float) -> tuple[float, float]:
    """Return the largest (width, height) in inches for an image of (H, W) pixels."""
    height, width = size
    scale = min(max_width / width, max_height / height)
    return width * scale, height * scale


def inches(ax: Axes) -> tuple[float, float]:
    """Return width and height of axes on their page."""
    return ax.bbox.width / ax.figure.dpi, ax.bbox.height / ax.figure.dpi


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, bold: bool = False) -> float:
    """Return the width of one line in inches at a font size in points."""
    font = FontProperties(family=["DejaVu Sans"], size=size, weight="bold" if bold else "normal")
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / POINTS


def shorten(text: str, width: float, size: float, bold: bool = False) -> str:
    """Return ``text``, or as much of its beginning and end as fits ``width`` inches."""
    if text_width(text, size, bold) <= width:
        return text

    def kept(count: int) -> str:
        tail = count // 2
        return f"{text[: count - tail]}…{text[len(text) - tail :]}"

    # The more is kept, the wider: names of ten thousand letters take a dozen steps, too.
    counts = range(2, len(text))
    most = bisect_right(counts, width, key=lambda count: text_width(kept(count), size, bold))
    return kept(counts[most - 1]) if most else "…"


def wrap(text: str, width: float, size: float) -> str:
    """Break ``text`` at blanks so that no line is wider than ``width`` inches."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and text_width(longer, size) > width:
            lines.append(line)
            line = word
        else:
            line = longer
    return "\n".join([*lines, line])


def text_height(text: str, size: float) -> float:
    """Return the height of ``text`` in inches, by its lines."""
    return (text.count("\n") + 1) * LINE * size / POINTS


def _legend_columns(handles: Sequence[Artist], room: float) -> int:
    """Return the most columns of a legend that fit ``room`` inches."""
    widths = np.array([text_width(str(handle.get_label()), LEGEND) for handle in handles])
    for columns in range(len(handles), 1, -1):
        # Matplotlib fills a legend column by column.
        texts = sum(float(part.max()) for part in np.array_split(widths, columns))
        if texts + columns * (_HANDLE + 2.0) * LEGEND / POINTS <= room:
            return columns
    return 1


def title_of(key: str, names: Mapping[str, str] | None) -> str:
    """Return how a network is called on a page: its letter and, if known, its name."""
    name = (names or {}).get(key)
    return f"{key}  {name}" if name else key


def network_handles(
    keys: Iterable[str], names: Mapping[str, str] | None, room: float = 3.0, **look: Any
) -> list[Line2D]:
    """Return one handle per network for a legend, its label shortened to ``room`` inches."""
    handles = []
    for position, key in enumerate(keys):
        mark = network_mark(position)
        shown = {"color": mark.color, "marker": mark.marker, **look}
        label = shorten(title_of(key, names), room, LEGEND)
        handles.append(Line2D([], [], **shown, label=label))
    return handles


def guide(label: str, **look: Any) -> Line2D:
    """Return the handle of a reference line."""
    return Line2D([], [], **{"color": GUIDE, "linewidth": 0.7, **look}, label=label)


def head_line(ax: Axes, text: str, *, pad: float = 4.0) -> None:
    """Write a bold heading above a chart, shortened to its width."""
    name = shorten(text, inches(ax)[0], HEADING, bold=True)
    ax.set_title(name, loc="left", pad=pad, fontsize=HEADING, fontweight="bold", parse_math=False)


def draw_above(
    text: str, x: float, units: str, ax: Axes, *, ha: str, color: str = GUIDE, line: int = 0
) -> None:
    """Write a note above the axes at ``x`` (``data`` or ``axes fraction``), in a line from 0 up."""
    ax.annotate(
        text,
        (x, 1.0),
        xycoords=(units, "axes fraction"),
        xytext=(0, 5 + line * NOTE_LINE),
        textcoords="offset points",
        fontsize=SMALL - 0.5,
        color=color,
        ha=ha,
    )


def check_columns(frame: pd.DataFrame, columns: Sequence[str], source: str) -> None:
    """Refuse a frame that lacks one of ``columns``; ``source`` says what makes such frames."""
    missing = [name for name in columns if name not in frame]
    if missing:
        raise GstoVizError(f"the frame has no column '{missing[0]}'; give {source}")


def check_frames(frames: Mapping[str, pd.DataFrame], columns: Sequence[str], source: str) -> None:
    """Refuse frames of which there is none, or one lacks one of ``columns``."""
    if not frames:
        raise GstoVizError(f"there is nothing to draw; give at least one frame of {source}")
    for frame in frames.values():
        check_columns(frame, columns, source)


def join_frames(frames: Mapping[str, pd.DataFrame], key: str = "model") -> pd.DataFrame:
    """Return frames of several networks as one table, the network's name in a first column."""
    if not frames:
        raise GstoVizError("there is nothing to join; give at least one frame")
    parts = [frame.assign(**{key: name}) for name, frame in frames.items()]
    return begin_with(pd.concat(parts, ignore_index=True), key)


def begin_with(table: pd.DataFrame, *names: str) -> pd.DataFrame:
    """Return a table with these columns first, the others as they are."""
    return table[[*names, *(name for name in table if name not in names)]]


def numbers(frame: pd.DataFrame, *columns: str) -> list[npt.NDArray[np.float64]]:
    """Return columns as arrays of numbers, NaN where there is none."""
    return [frame[name].to_numpy(dtype=np.float64) for name in columns]


def chance_band(ax: Axes) -> None:
    """Draw the line of chance, and the band that noise alone reaches."""
    ax.axhspan(FALSE_SIGNAL, 1 - FALSE_SIGNAL, color=CHANCE_BAND, linewidth=0, zorder=0)
    ax.axhline(0.5, color=GUIDE, linewidth=0.7, linestyle="--", zorder=1)


def draw_curve(
    ax: Axes,
    rows: pd.DataFrame,
    octave: str,
    color: str,
    *,
    few: npt.NDArray[np.bool_] | None = None,
    hollow: bool = False,
    line: Mapping[str, Any] | None = None,
    label: str = "",
    **marker: Any,
) -> None:
    """Draw means by octave, each in the middle of its octave, and a ribbon where intervals are.

    Args:
        ax: Where.
        rows: ``mean``, ``low``, ``high`` and the column of octaves, named ``octave``.
        octave: Its name.
        color: Of line, ribbon and markers.
        few: Which markers are grey, because they rest on few regions.
        hollow: Whether markers are white inside.
        line: Of Matplotlib's ``plot``, for the line, such as its style.
        label: Of the line.
        **marker: Of Matplotlib's ``plot``, for the markers.
    """
    x, mean, low, high = numbers(rows, octave, "mean", "low", "high")
    x = x + 0.5
    ax.fill_between(x, low, high, where=~np.isnan(low), color=color, alpha=0.16, linewidth=0)
    drawn = {"linewidth": RC["lines.linewidth"], **(line or {})}
    ax.plot(x, mean, color=color, label=label, zorder=3, **drawn)
    few = np.zeros(x.size, dtype=bool) if few is None else few
    for chosen, edge in ((~few, color), (few, FEW)):
        face = "white" if hollow else edge
        look = {"color": edge, "markerfacecolor": face, "linestyle": "None", "zorder": 4, **marker}
        ax.plot(x[chosen], mean[chosen], **look)


def draw_estimates(
    ax: Axes,
    x: npt.NDArray,
    estimates: Sequence[npt.NDArray[np.float64]],
    color: str,
    *,
    bar: float,
    **marker: Any,
) -> None:
    """Draw values, low and high ends as dots with bars; dots without an interval are hollow.

    Args:
        ax: Where.
        x: (K,) places.
        estimates: Values, low ends and high ends, (K,) each, NaN where there is none.
        color: Of all of them.
        bar: Width of a bar, points.
        **marker: Of Matplotlib's ``plot``, for the dots.
    """
    value, low, high = estimates
    ax.vlines(x, low, high, color=color, linewidth=bar, zorder=3)
    bare = np.isnan(low)
    for chosen, face in ((~bare, color), (bare, "white")):
        look = {"color": color, "markerfacecolor": face, "linestyle": "None", "zorder": 4, **marker}
        ax.plot(x[chosen], value[chosen], **look)


def share_axis(ax: Axes, label: str = "") -> None:
    """Give the y axis the range 0 to 1 with quarters."""
    ax.set_ylim(0, 1)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    ax.set_ylabel(label)


def octave_axis(ax: Axes, first: int, last: int, *labels: str, px: bool = True) -> None:
    """Give the x axis the edges of octaves ``first`` to ``last``, below each its pixels if ``px``.

    Every edge has a number where there is room, else every second or third. The first label that
    fits is taken, else the last.
    """
    width = inches(ax)[0]
    room = max(1, int(width / 0.27))  # inches for four digits
    step = -(-(last + 2 - first) // room)
    edges = range(first, last + 2)
    texts = [f"{edge}\n{2.0**edge:g}" if px else f"{edge}" for edge in edges]
    ax.set_xticks([*edges], [text if k % step == 0 else "" for k, text in enumerate(texts)])
    ax.set_xlim(first, last + 1)
    ax.set_xlabel(next((one for one in labels if text_width(one, BODY) < width), labels[-1]))


def round_axis(axis: Axis, low: float, high: float) -> None:
    """Give an axis limits, and round numbers within them only."""
    ticks = [t for t in MaxNLocator(6).tick_values(low, high) if low <= t <= high]
    axis.set_ticks(ticks, [f"{0.0 if abs(t) < 1e-12 else t:.6g}" for t in ticks])
    ax = axis.axes
    (ax.set_xlim if axis is ax.xaxis else ax.set_ylim)(low, high)
