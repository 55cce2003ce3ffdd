"""The look of all figures: fonts, sizes, vector formats, and fixed colours.

``with style.context():`` sets matplotlib's parameters for the block and puts them back after it.
They are global to the process, so threads that draw must take turns.

Branch colours are those of Okabe and Ito (2008), which stay apart for colour-blind readers; the
markers say the same without colour. Networks have colours of Paul Tol's muted scheme, which no
branch has. Sequential maps are perceptually uniform.
"""

from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
from matplotlib.colors import Colormap

from gsto_viz.errors import GstoVizError

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


BRANCH_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""By branch, the finest first."""
BRANCH_MARKERS = ("o", "s", "^", "D", "v", "P")
"""By branch, the finest first."""
MODEL_COLORS = ("#332288", "#CC6677", "#117733", "#999933", "#88CCEE", "#661100")
"""By network, A first; two that follow each other differ in lightness."""
MODEL_MARKERS = ("o", "D", "^", "s", "v", "P")
"""By network, A first."""
MODEL_LINES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
"""Line style by network, A first, where the colour says the branch."""
CHANCE_BAND = "#E4E4E4"
"""Where networks without any tuning can lie by accident."""
INVALID = "#B0B0B0"
"""Cells that do not count (more than half ignored)."""
FEW = "#9A9A9A"
"""Values that rest on few regions."""
GUIDE = "#555555"
"""Reference lines and notes."""
COLORMAPS = {
    "percentile": "viridis",
    "shared": "cividis",
    "per_map": "cividis",
    "zscore": "RdBu_r",
    "gate": "magma",
    "attribution": "RdBu_r",
}
"""By normalisation; the diverging one belongs to limits that are symmetric about 0."""


def branch_style(branch: int) -> tuple[str, str]:
    """Return the colour and the marker of a branch, 0 = the finest.

    Raises:
        GstoVizError: There are six; a seventh would repeat one.
    """
    if not 0 <= branch < len(BRANCH_COLORS):
        raise GstoVizError(f"branch {branch} has no colour; figures show branches 0 to 5")
    return BRANCH_COLORS[branch], BRANCH_MARKERS[branch]


def model_style(position: int) -> tuple[str, str]:
    """Return the colour and the marker of a network by its position, 0 = A.

    Raises:
        GstoVizError: There are six; a seventh would repeat one.
    """
    if not 0 <= position < len(MODEL_COLORS):
        raise GstoVizError(f"figures show up to {len(MODEL_COLORS)} networks; draw fewer at once")
    return MODEL_COLORS[position], MODEL_MARKERS[position]


def colormap(mode: str, name: str | None = None) -> Colormap:
    """Return the colormap of a normalisation, or the named one; uncounted cells are grey."""
    return mpl.colormaps[name or COLORMAPS[mode]].with_extremes(bad=INVALID)
