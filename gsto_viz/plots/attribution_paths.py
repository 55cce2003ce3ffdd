"""Matrices of interventions and of contributions by size, and receptive fields."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from scipy.ndimage import gaussian_filter

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
    wrap,
)
from gsto_viz.plots.panels import draw_outlines, grey, number, show
from gsto_viz.plots.style import branch_style, colormap
from gsto_viz.stats.causal import Sized, fields_slope
from gsto_viz.stats.inference import Estimate
from gsto_viz.stats.sizes import Tuning
from gsto_viz.types import FloatArray

CELL = 0.42
"""Inches of a matrix cell."""
NOISE = 1e-9
"""Share of a scale's end below which a value is the rounding of a sum, and shown as 0."""


def edge_matrix(paths: pd.DataFrame, kind: str, branches: int) -> FloatArray | None:
    """Arrange the drops of closed transfers or gates of one fusion by source and target.

    Args:
        paths: ``place``, ``kind``, ``source``, ``target``, ``drop``.
        kind: ``transfer`` or ``gate``.
        branches: R.

    Returns:
        (R, R), source x target, NaN where there is none; None when there are none at all.
    """
    rows = paths[(paths["kind"] == kind) & ~paths["place"].str.startswith("transition")]
    if rows.empty:
        return None
    matrix = np.full((branches, branches), np.nan)
    columns = (rows[name].tolist() for name in ("source", "target", "drop"))
    for source, target, drop in zip(*columns, strict=True):
        matrix[source, target] = drop
    return matrix


def draw_matrix(
    matrix: FloatArray,
    *,
    ax: Axes,
    bar: Axes | None,
    digits: int = 2,
    limit: float | None = None,
    unit: str | None = None,
) -> None:
    """Draw a matrix in diverging colours symmetric about 0, its numbers in the cells.

    Args:
        matrix: (rows, columns); NaN cells stay empty.
        ax: Where.
        bar: Where its colour bar goes; None: it has none.
        digits: Significant digits of the numbers.
        limit: End of the scale; None: the greatest |value|.
        unit: Written below the colour bar.
    """
    known = np.abs(matrix[np.isfinite(matrix)])
    end = limit if limit is not None else float(known.max(initial=0.0)) or 1.0
    colors = colormap("attribution")
    rows, columns = (np.arange(n + 1) - 0.5 for n in matrix.shape)
    shown = np.ma.masked_invalid(matrix)
    ax.pcolormesh(columns, rows, shown, cmap=colors.with_extremes(bad="w"), vmin=-end, vmax=end)
    ax.invert_yaxis()
    for y, x in np.argwhere(np.isfinite(matrix)):
        value = float(matrix[y, x])
        dark = abs(value) > 0.6 * end
        text = cell_text(value, digits) if abs(value) > NOISE * end else "0"
        ax.text(x, y, text, ha="center", va="center", fontsize=5.5, color="w" if dark else "k")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    if bar is None:
        return
    mappable = ScalarMappable(Normalize(-end, end), colors)
    colorbar = ax.figure.colorbar(mappable, cax=bar, orientation="horizontal")
    colorbar.outline.set_linewidth(0.4)
    bar.set_xticks([-end, 0, end], [number(v) for v in (-end, 0, end)], fontsize=style.SMALL)
    bar.tick_params(length=1.5, pad=1, width=0.4)
    if unit is not None:
        bar.set_xlabel(unit, labelpad=1, fontsize=style.SMALL)


def cell_text(value: float, digits: int = 2) -> str:
    """Return a number that fits a cell: its significant digits, or all before the point.

    Below 0.001 and from 10000 on with a power of ten, as short as it goes: ``-1.2e-5``.
    """
    mantissa, power = f"{value:.{digits - 1}e}".split("e")
    exponent = int(power)
    if value and not -3 <= exponent <= 3:
        return f"{mantissa}e{exponent}"
    text = f"{value:.{max(0, digits - 1 - exponent)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def plot_edges(matrix: FloatArray, *, ax: Axes, bar: Axes, strides: Sequence[int]) -> Axes:
    """Draw a source x target matrix of drops (see :func:`edge_matrix`)."""
    draw_matrix(matrix, ax=ax, bar=bar, unit="logits")
    names = [f"/{s}" for s in strides]
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(names)), names)
    ax.set_xlabel("to branch", labelpad=1)
    ax.set_ylabel("from branch", labelpad=1)
    return ax


def figure_branch_size(
    tuned: Mapping[str, Tuning],
    *,
    title: str,
    unit: str = "logits",
    names: Mapping[str, str] | None = None,
) -> Figure:
    """Draw branch x size matrices of contributions or drops, with their interaction coefficients.

    Args:
        tuned: By model, ``tuning(table, response="psi")`` of a table with Shapley values, or of
            drops; all are drawn on one scale.
        title: What the numbers are.
        unit: Their unit.
        names: What to call the models beside their keys.

    Raises:
        GstoVizError: No octave has enough images.
    """
    if not any(one.octaves for one in tuned.values()):
        raise GstoVizError("no size octave is found in enough images; analyse more images")
    known = {key: one for key, one in tuned.items() if one.octaves}
    heads = {key: f"{key}: {(names or {}).get(key, '')}".rstrip(": ") for key in tuned}
    columns = max(len(one.octaves) for one in known.values())
    with style.context():
        width = max(3.6, 0.7 + columns * CELL * 1.3 + 2 * MARGIN)
        texts = [f"{heads[key]}: {interaction_words(one.sic)}." for key, one in tuned.items()]
        note = wrap(f"{' '.join(texts)} {_note(unit)}", width - 2 * MARGIN, style.SMALL)
        panels = [len(one.strides) * CELL for one in known.values()]
        below = 0.75 + text_height(note, style.SMALL) + MARGIN
        page = Page(width, 0.35 + sum(panels) + 0.55 * len(panels) + below)
        page.text(MARGIN, MARGIN, title, fontsize=style.HEADING, fontweight="bold")
        limit = max(float(np.abs(one.matrix).max()) for one in known.values())
        top = 0.35
        bar = page.axes(MARGIN + 0.45, page.height - below + 0.35, 1.6, 0.07)
        for k, ((key, one), panel) in enumerate(zip(known.items(), panels, strict=True)):
            wide = len(one.octaves) * CELL * 1.3
            ax = page.axes(MARGIN + 0.45, top + 0.25, wide, panel)
            last = k == len(panels) - 1
            draw_matrix(one.matrix, ax=ax, bar=bar if last else None, limit=limit or None)
            ax.set_title(heads[key], loc="left", pad=3)
            ax.set_xticks(range(len(one.octaves)), [f"{o}\n{2**o:g} px" for o in one.octaves])
            ax.set_yticks(range(len(one.strides)), [f"/{s}" for s in one.strides])
            ax.set_ylabel("branch", labelpad=1)
            top += panel + 0.55
        ax.set_xlabel("size octave (from)", labelpad=1)
        page.text(MARGIN, page.height - MARGIN, note, fontsize=style.SMALL, va="bottom")
    set_alt_text(page.figure, f"{title}: mean by branch and size octave. {' '.join(texts)}")
    return page.figure


def _note(unit: str) -> str:
    return (
        f"Numbers: mean over regions and then images, {unit}. SIC 1: coarse branches go with large "
        "regions, 0: undirected, -1: reversed; main effects of branch and size removed."
    )


def branch_size_data(tuned: Mapping[str, Tuning]) -> pd.DataFrame:
    """Return what the figure shows.

    Columns: ``model``, ``stride`` (px), ``octave``, ``value``, ``n_images``, and of the model
    ``sic``, ``sic_low``, ``sic_high``.
    """
    rows = [
        {
            "model": key,
            "stride": stride,
            "octave": octave,
            "value": float(one.matrix[r, b]),
            "n_images": one.n_images[b],
            "sic": one.sic.value,
            "sic_low": one.sic.low,
            "sic_high": one.sic.high,
        }
        for key, one in tuned.items()
        for r, stride in enumerate(one.strides)
        for b, octave in enumerate(one.octaves)
    ]
    return pd.DataFrame(rows)


def interaction_words(sic: Estimate) -> str:
    """Say the Scale Interaction Coefficient with its interval, or why there is none."""
    if sic.value is None:
        return f"SIC {sic.reason}"
    if sic.low is None or sic.high is None:
        return f"SIC {sic.value:.2f}, no interval: {sic.reason}"
    return f"SIC {sic.value:.2f} [{sic.low:.2f}, {sic.high:.2f}]"


def figure_drops(frame: pd.DataFrame, *, measure: str = "recall", title: str) -> Figure:
    """Draw mean drops as a matrix, interventions x size octaves.

    Args:
        frame: ``mean_drops(..., by="octave")``.
        measure: ``recall`` or ``iou``.
        title: Of the figure.

    Raises:
        GstoVizError: Nothing to draw.
    """
    rows = frame[frame["measure"] == measure]
    if rows.empty:
        raise GstoVizError(f"there are no drops of {measure} to draw; count some interventions")
    names = list(dict.fromkeys(rows["intervention"]))
    octaves = sorted(int(o) for o in rows["octave"].unique())
    matrix = np.full((len(names), len(octaves)), np.nan)
    columns = (rows[name].tolist() for name in ("intervention", "octave", "mean"))
    for name, octave, mean in zip(*columns, strict=True):
        matrix[names.index(name), octaves.index(octave)] = mean
    with style.context():
        width = 2.1 + len(octaves) * CELL * 1.3 + 2 * MARGIN
        note = wrap(
            f"Drop of region {measure}, mean over regions and then images: positive where the "
            "change hurts. Empty: no region of this size.",
            width - 2 * MARGIN,
            style.SMALL,
        )
        height = 0.45 + len(names) * 0.2 + 1.0 + text_height(note, style.SMALL) + MARGIN
        page = Page(width, height)
        ax = page.axes(MARGIN + 2.0, 0.45, len(octaves) * CELL * 1.3, len(names) * 0.2)
        bar = page.axes(MARGIN + 2.0, 0.45 + len(names) * 0.2 + 0.58, 1.6, 0.07)
        draw_matrix(matrix, ax=ax, bar=bar)
        ax.set_xticks(range(len(octaves)), [f"{o}\n{2.0**o:g} px" for o in octaves])
        ax.set_yticks(range(len(names)), names, fontsize=style.SMALL)
        ax.set_xlabel("size octave (from)", labelpad=1)
        page.text(MARGIN, MARGIN, title, fontsize=style.HEADING, fontweight="bold")
        page.text(MARGIN, height - MARGIN, note, fontsize=style.SMALL, va="bottom")
    worst, at = divmod(int(np.nanargmax(matrix)), len(octaves))
    set_alt_text(
        page.figure,
        f"{title}. The largest drop of {measure} is {matrix[worst, at]:.3f}, {names[worst]} at "
        f"octave {octaves[at]}.",
    )
    return page.figure


FIELDS_WIDTH = 8.0
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
    slot = (FIELDS_WIDTH - 2 * MARGIN - (count - 1) * GAP) / count
    panel = fit_panel((image.shape[0], image.shape[1]), slot, 1.9)
    step = 0.36 + panel[1] + 0.06
    caption = wrap(CAPTION.format(count=count), FIELDS_WIDTH - 2 * MARGIN, style.SMALL)
    height = MARGIN + 0.25 + len(rows) * step + text_height(caption, style.SMALL) + 2 * MARGIN
    with style.context():
        page = Page(FIELDS_WIDTH, height)
        heading = shorten(title, FIELDS_WIDTH - 2 * MARGIN, style.HEADING, bold=True)
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
