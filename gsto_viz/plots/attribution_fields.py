"""The ladder of effective receptive fields: what each branch sees around a pixel."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from scipy.ndimage import gaussian_filter

from gsto_viz.errors import GstoVizError
from gsto_viz.plots import style
from gsto_viz.plots.colors import branch_style
from gsto_viz.plots.layout import GAP, MARGIN, Page, fit_panel, shorten, text_height, wrap
from gsto_viz.plots.panels import draw_outlines, grey, show
from gsto_viz.plots.save import set_alt_text
from gsto_viz.stats.receptive import Sized, fields_slope

WIDTH = 8.0
CAPTION = (
    "Yellow: squared gradient of the branch's cell with respect to the image, on a square-root "
    "scale from 0 to the largest of each panel; the yellow line holds half of it (blurred by an "
    "eighth of the radius). Circle: effective receptive field (ERF), radius two standard "
    "deviations per axis. White: outline of the object. Slope: of log2 radius on log2 stride, a "
    "line through the {count} branches at this one pixel, hence without an interval; 1 as in a "
    "pyramid, 0 all branches see alike."
)
DARK, SPAN = 20, 0.5
"""Grey of black in the photograph below, and how much of its contrast stays."""
BLUR = 8
"""Parts of the radius that the line around half of the gradient is smoothed by."""


class Field(Sized, Protocol):
    """What is drawn of one receptive field."""

    @property
    def centre(self) -> tuple[float, float]: ...  # noqa: D102
    @property
    def gradient(self) -> npt.NDArray[np.float64]: ...  # noqa: D102


def figure_receptive_fields(
    image: npt.NDArray[np.uint8],
    outline: npt.NDArray[np.integer],
    rows: Sequence[tuple[str, Sequence[Field]]],
    *,
    title: str,
) -> Figure:
    """Draw receptive fields, one row per condition and one column per branch.

    Args:
        image: (H, W, 3) uint8.
        outline: (H, W) region numbers, 0 = none.
        rows: A name, such as ``after the last fusion, gated``, and one field per branch.
        title: Of the figure.

    Raises:
        GstoVizError: There is nothing to draw, or rows of different lengths.
    """
    counts = {len(fields) for _, fields in rows}
    if len(counts) != 1 or 0 in counts:
        raise GstoVizError("receptive fields need rows of equal length; give one field per branch")
    count = counts.pop()
    slot = (WIDTH - 2 * MARGIN - (count - 1) * GAP) / count
    panel = fit_panel((image.shape[0], image.shape[1]), slot, 1.9)
    step = 0.36 + panel[1] + 0.06
    caption = wrap(CAPTION.format(count=count), WIDTH - 2 * MARGIN, style.SMALL)
    height = MARGIN + 0.25 + len(rows) * step + text_height(caption, style.SMALL) + 2 * MARGIN
    with style.context():
        page = Page(WIDTH, height)
        heading = shorten(title, WIDTH - 2 * MARGIN, style.HEADING, bold=True)
        page.text(MARGIN, MARGIN, heading, fontsize=style.HEADING, fontweight="bold")
        for k, (name, fields) in enumerate(rows):
            top = MARGIN + 0.25 + k * step
            page.text(MARGIN, top, f"{name}: slope {fields_slope(fields):.2f}")
            for r, field in enumerate(fields):
                left = MARGIN + r * (slot + GAP) + (slot - panel[0]) / 2
                ax = page.axes(left, top + 0.36, *panel)
                show((DARK + SPAN * grey(image)).astype(np.uint8), ax=ax)
                _draw_field(ax, field, r)
                draw_outlines(outline, ax=ax)
                ax.set_title(f"stride {field.stride}: ERF radius {field.erf_px:.0f} px", pad=3)
        page.text(MARGIN, height - MARGIN, caption, fontsize=style.SMALL, va="bottom")
    words = "; ".join(
        f"{name}, slope {fields_slope(fields):.2f}: "
        + ", ".join(f"stride {f.stride} {f.erf_px:.0f} px" for f in fields)
        for name, fields in rows
    )
    set_alt_text(page.figure, f"{title}. Effective receptive fields. {words}.")
    return page.figure


def half_inside(
    gradient: npt.NDArray[np.float64], blur: float
) -> tuple[npt.NDArray[np.float64], float]:
    """Return a blurred map and the level above which half of its sum lies.

    Args:
        gradient: (H, W), not negative.
        blur: Standard deviation of the blur, px.
    """
    blurred = gaussian_filter(np.asarray(gradient, dtype=np.float64), blur, mode="constant")
    falling = np.sort(blurred, axis=None)[::-1]
    sums = np.cumsum(falling)
    return blurred, float(falling[np.searchsorted(sums, sums[-1] / 2)])


def _draw_field(ax, field: Field, branch: int) -> None:  # type: ignore[no-untyped-def]
    """Lay the gradient over the darkened image, the line around half of it, and the circle."""
    strength = np.sqrt(field.gradient / field.gradient.max())
    height, width = strength.shape
    ax.imshow(
        np.ones((height, width)),
        cmap="autumn",
        vmin=0,
        vmax=1,
        alpha=strength,
        extent=(0, width, height, 0),
        zorder=1,
    )
    blurred, level = half_inside(field.gradient, max(1.0, field.erf_px / BLUR))
    if blurred.min() < level < blurred.max():
        columns, rows = np.arange(width) + 0.5, np.arange(height) + 0.5
        for edge, line in (("black", 1.8), ("yellow", 0.9)):
            ax.contour(
                columns, rows, blurred, [level], colors=[edge], linewidths=[line], zorder=3.5
            )
    row, column = field.centre
    color, _ = branch_style(branch)
    for edge, line in (("black", 2.0), (color, 1.1)):
        ax.add_patch(
            Circle(
                (column + 0.5, row + 0.5),
                field.erf_px,
                fill=False,
                edgecolor=edge,
                linewidth=line,
                zorder=4,
            )
        )
