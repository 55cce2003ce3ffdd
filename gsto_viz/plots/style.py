"""The look of all figures: fonts, sizes, vector formats, and fixed colours.

``with style.context():`` sets matplotlib's parameters for the block and puts them back after it.
They are global to the process, so threads that draw must take turns.

Colours and markers of branches and networks are those of ``gsto_viz.words``.
"""

from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
from matplotlib.colors import Colormap

from gsto_viz.words import COLORMAPS, NETWORKS, branch_mark, network_mark

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
SMALL = 6.0
"""Font size, in points, of numbers at colour bars and of notes."""
HEADING = 8.0
"""Font size, in points, of row headings."""


def context() -> AbstractContextManager[None]:
    """Apply the style inside a ``with`` block."""
    parameters: Any = RC  # newer type stubs of matplotlib list every key, older ones say str
    return mpl.rc_context(parameters)


MODEL_LINES = tuple((0, mark.dash) if mark.dash else "-" for mark in NETWORKS)
"""Line style by network, A first, where the colour says the branch."""
CHANCE_BAND = "#E4E4E4"
"""Where networks without any tuning can lie by accident."""
INVALID = "#B0B0B0"
"""Cells that do not count (more than half ignored)."""
FEW = "#9A9A9A"
"""Values that rest on few regions."""
GUIDE = "#555555"
"""Reference lines and notes."""


def branch_style(branch: int) -> tuple[str, str]:
    """Return the colour and the marker of a branch, 0 = the finest."""
    mark = branch_mark(branch)
    return mark.color, mark.marker


def model_style(position: int) -> tuple[str, str]:
    """Return the colour and the marker of a network by its position, 0 = A."""
    mark = network_mark(position)
    return mark.color, mark.marker


def colormap(mode: str, name: str | None = None) -> Colormap:
    """Return the colormap of a normalisation, or the named one; uncounted cells are grey."""
    return mpl.colormaps[name or COLORMAPS[mode]].with_extremes(bad=INVALID)
