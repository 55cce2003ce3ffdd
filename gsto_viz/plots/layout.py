"""Pages laid out in inches from the top left corner, so that nothing can run into anything else."""

from functools import lru_cache
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.textpath import text_to_path

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
