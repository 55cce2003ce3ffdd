"""Pages of charts laid out in inches: axes, legend, caption, and saving with an alt text.

And what charts share: axes of octaves and of shares, notes above the axes, checks of frames.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator

from gsto_viz.errors import GstoVizError
from gsto_viz.files import atomic_path
from gsto_viz.plots import style
from gsto_viz.plots.style import GUIDE

FORMATS = ("pdf", "png", "svg")


def set_alt_text(figure: Figure, text: str) -> None:
    """Attach a description for readers who cannot see the figure."""
    figure.set_label(text)


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
    with style.context():
        for name in formats:
            target = stem.parent / f"{stem.name}.{name}"
            with atomic_path(target) as temporary:
                about = _metadata(name, alt_text(figure))
                figure.savefig(temporary, format=name, dpi=dpi, metadata=about)
            files.append(target)
    return tuple(files)


def _metadata(name: str, description: str) -> dict[str, Any]:
    """Return the file's own fields; None takes out what matplotlib would write by itself."""
    if name == "pdf":
        return {"CreationDate": None, "Creator": "gsto_viz", "Subject": description}
    if name == "svg":
        return {"Date": None, "Creator": "gsto_viz", "Description": description}
    return {"Software": "gsto_viz", "Description": description}


MARGIN = 0.12
"""Inches left free around the page's content."""
GAP = 0.1
"""Inches between neighbouring panels."""
LINE = 1.45
"""Height of a text line in units of its font size."""
POINTS = 72.0
"""Points per inch."""


class Page:
    """A figure whose places are given in inches: x from the left, y from the top.

    Args:
        width: Inches.
        height: Inches.
    """

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height))
        FigureCanvasAgg(self.figure)

    def axes(self, left: float, top: float, width: float, height: float, **kwargs: Any) -> Axes:
        """Add axes whose upper left corner lies at (left, top)."""
        bottom = self.height - top - height
        place = (
            left / self.width,
            bottom / self.height,
            width / self.width,
            height / self.height,
        )
        return self.figure.add_axes(place, **kwargs)

    def text(self, left: float, top: float, text: str, **kwargs: Any) -> Text:
        """Write text that begins at (left, top); ``ha`` and ``va`` may say otherwise."""
        kwargs = {"ha": "left", "va": "top", **kwargs}
        return self.figure.text(left / self.width, 1 - top / self.height, text, **kwargs)


def fit_panel(size: tuple[int, int], max_width: float, max_height: float) -> tuple[float, float]:
    """Return the largest (width, height) in inches for an image of (H, W) pixels."""
    height, width = size
    scale = min(max_width / width, max_height / height)
    return width * scale, height * scale


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
    for keep in range(len(text) - 1, 1, -1):
        tail = keep // 2
        candidate = f"{text[: keep - tail]}…{text[len(text) - tail :]}"
        if text_width(candidate, size, bold) <= width:
            return candidate
    return "…"


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


WIDTH = 8.0
"""Inches: an A4 page is 8.27 wide."""
RIGHT = 0.2
"""Inches right of the last column: the last tick label is centred on the edge of its axes."""
NOTE_LINE = 7.5
"""Points between lines of notes above a chart."""
_HANDLE = 2.2
"""Length of a legend's handle in units of its font size."""
_EM = style.RC["legend.fontsize"] / POINTS


class ChartPage(Page):
    """A page with a grid of charts.

    Each row has room above it for headings and below it for ticks and the label of the x axis.

    Args:
        shape: Rows and columns.
        width: Of the page, inches.
        height: Of one chart, inches.
        caption: What is drawn, how it was made; wrapped to the page.
        handles: Artists with labels for the legend; none: no legend.
        left: Inches left of the first column: its tick labels and the label of its y axis.
        head: Inches above each row.
        foot: Inches below each row.
        gap: Inches between columns.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        *,
        width: float,
        height: float,
        caption: str,
        handles: Sequence[Artist] = (),
        left: float = 0.55,
        head: float = 0.38,
        foot: float = 0.56,
        gap: float = 0.3,
    ) -> None:
        rows, columns = shape
        text = wrap(caption, width - 2 * MARGIN, style.SMALL)
        legend = legend_height(handles, width)
        charts = rows * (head + height + foot)
        super().__init__(width, MARGIN + charts + legend + text_height(text, style.SMALL) + MARGIN)
        self.head = head
        self.column_width = (width - left - RIGHT - (columns - 1) * gap) / columns
        self.charts = [
            [
                self.axes(
                    left + c * (self.column_width + gap),
                    MARGIN + r * (head + height + foot) + head,
                    self.column_width,
                    height,
                    label=f"chart {r} {c}",
                )
                for c in range(columns)
            ]
            for r in range(rows)
        ]
        draw_legend(self, handles, MARGIN + charts)
        self.text(MARGIN, self.height - MARGIN, text, va="bottom", fontsize=style.SMALL)


def head_line(ax: Axes, text: str, room: float, *, pad: float = 4.0) -> None:
    """Write a bold heading above a chart, shortened to ``room`` inches."""
    name = shorten(text, room, style.HEADING, bold=True)
    ax.set_title(name, loc="left", pad=pad, fontsize=style.HEADING, fontweight="bold")


def title_of(key: str, names: Mapping[str, str] | None) -> str:
    """Return how a network is called on a page: its letter and, if known, its name."""
    name = (names or {}).get(key)
    return f"{key}  {name}" if name else key


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
        fontsize=style.SMALL - 0.5,
        color=color,
        ha=ha,
    )


def check_columns(frame: pd.DataFrame, columns: Sequence[str], source: str) -> None:
    """Refuse a frame that lacks one of ``columns``; ``source`` says what makes such frames."""
    missing = [name for name in columns if name not in frame]
    if missing:
        raise GstoVizError(f"the frame has no column '{missing[0]}'; give {source}")


def join_frames(frames: Mapping[str, pd.DataFrame], key: str = "model") -> pd.DataFrame:
    """Return frames of several networks as one table, the network's name in a first column."""
    if not frames:
        raise GstoVizError("there is nothing to join; give at least one frame")
    parts = [frame.assign(**{key: name}) for name, frame in frames.items()]
    table = pd.concat(parts, ignore_index=True)
    return table[[key, *(name for name in table if name != key)]]


def share_axis(ax: Axes, label: str = "") -> None:
    """Give the y axis the range 0 to 1 with quarters."""
    ax.set_ylim(0, 1)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    ax.set_ylabel(label)


def octave_axis(ax: Axes, first: int, last: int, label: str, *, px: bool = True) -> None:
    """Give the x axis the edges of octaves ``first`` to ``last``, below each its pixels if ``px``.

    Every edge has a number where there is room, else every second or third.
    """
    room = max(1, int(ax.bbox.width / ax.figure.dpi / 0.27))  # inches for four digits
    step = -(-(last + 2 - first) // room)
    edges = range(first, last + 2)
    texts = [f"{edge}\n{2.0**edge:g}" if px else f"{edge}" for edge in edges]
    ax.set_xticks([*edges], [text if k % step == 0 else "" for k, text in enumerate(texts)])
    ax.set_xlim(first, last + 1)
    ax.set_xlabel(label)


def round_axis(axis: Axis, low: float, high: float) -> None:
    """Give an axis limits, and round numbers within them only."""
    ticks = [t for t in MaxNLocator(6).tick_values(low, high) if low <= t <= high]
    axis.set_ticks(ticks, [f"{0.0 if abs(t) < 1e-12 else t:.6g}" for t in ticks])
    ax = axis.axes
    (ax.set_xlim if axis is ax.xaxis else ax.set_ylim)(low, high)


def legend_height(handles: Sequence[Artist], width: float) -> float:
    """Return the inches that ``draw_legend`` takes on a page of ``width``."""
    if not handles:
        return 0.0
    lines = -(-len(handles) // _legend_columns(handles, width - 2 * MARGIN))
    return lines * 1.5 * _EM + 0.05


def draw_legend(page: Page, handles: Sequence[Artist], top: float) -> None:
    """Draw one legend across the page below ``top``, in as many lines as it needs."""
    if not handles:
        return
    page.figure.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, 1 - top / page.height),
        ncols=_legend_columns(handles, page.width - 2 * MARGIN),
        columnspacing=1.2,
        handlelength=_HANDLE,
        borderaxespad=0,
        borderpad=0,
    )


def _legend_columns(handles: Sequence[Artist], room: float) -> int:
    """Return the most columns of a legend that fit ``room`` inches."""
    size = style.RC["legend.fontsize"]
    widths = [text_width(str(handle.get_label()), size) for handle in handles]
    for columns in range(len(handles), 1, -1):
        if sum(_column_widths(widths, columns)) + columns * (_HANDLE + 2.0) * _EM <= room:
            return columns
    return 1


def _column_widths(widths: Sequence[float], ncols: int) -> list[float]:
    """Return the widest text of each column, filled as matplotlib does: column by column."""
    return [float(part.max()) for part in np.array_split(np.array(widths), ncols)]
