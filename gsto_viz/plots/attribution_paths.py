"""Matrices of interventions and of contributions by size, and receptive fields."""

from collections.abc import Mapping, Sequence
from functools import partial
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

from gsto_viz.anatomy import find_edge
from gsto_viz.colors import branch_mark
from gsto_viz.errors import GstoVizError
from gsto_viz.plots.page import MARGIN, SMALL, Page, colormap, context
from gsto_viz.plots.panels import grey, number
from gsto_viz.plots.wall import Outline, Panel, PanelRow, Wall
from gsto_viz.stats.causal import Sized, fields_slope
from gsto_viz.stats.inference import Estimate
from gsto_viz.stats.sizes import Tuning
from gsto_viz.types import FloatArray, Stride, stride_words
from gsto_viz.words import ATTRIBUTION

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
    edges = map(find_edge, paths["place"])
    fused = np.array([edge is None or not edge.new for edge in edges], dtype=bool)
    rows = paths[(paths["kind"] == kind).to_numpy() & fused]
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
    colors = colormap(ATTRIBUTION.key)
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
    bar.set_xticks([-end, 0, end], [number(v) for v in (-end, 0, end)], fontsize=SMALL)
    bar.tick_params(length=1.5, pad=1, width=0.4)
    if unit is not None:
        bar.set_xlabel(unit, labelpad=1, fontsize=SMALL)


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


def plot_edges(
    matrix: FloatArray, *, ax: Axes, bar: Axes, strides: Sequence[Stride], unit: str = "logits"
) -> Axes:
    """Draw a source x target matrix of drops (see :func:`edge_matrix`)."""
    draw_matrix(matrix, ax=ax, bar=bar, unit=unit)
    names = [f"/{s}" for s in strides]
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(names)), names)
    ax.set_xlabel("to branch", labelpad=1)
    ax.set_ylabel("from branch", labelpad=1)
    return ax


@context()
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
    texts = " ".join(f"{heads[key]}: {interaction_words(one.sic)}." for key, one in tuned.items())
    limit = max(float(np.abs(one.matrix).max()) for one in known.values()) or None
    page = Page(max(3.6, 0.7 + columns * CELL * 1.3 + 2 * MARGIN))
    page.heading(title)
    for k, (key, one) in enumerate(known.items()):
        octaves = [f"{o}\n{2**o:g} px" for o in one.octaves]
        height = len(one.strides) * CELL
        ax = page.axes(MARGIN + 0.45, page.top + 0.25, len(octaves) * CELL * 1.3, height)
        page.top += height + 0.55
        last = k == len(known) - 1
        bar = page.axes(MARGIN + 0.45, page.top + 0.35, 1.6, 0.07) if last else None
        draw_matrix(one.matrix, ax=ax, bar=bar, limit=limit)
        ax.set_title(heads[key], loc="left", pad=3)
        ax.set_xticks(range(len(octaves)), octaves)
        ax.set_yticks(range(len(one.strides)), [f"/{s}" for s in one.strides])
        ax.set_ylabel("branch", labelpad=1)
    ax.set_xlabel("size octave (from)", labelpad=1)
    page.top += 0.7
    alt = f"{title}: mean by branch and size octave. {texts}"
    return page.finish(f"{texts} {_note(unit)}", alt)


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
    """Return the Scale Interaction Coefficient with its interval, or why there is none."""
    if sic.value is None:
        return f"SIC {sic.reason}"
    if sic.low is None or sic.high is None:
        return f"SIC {sic.value:.2f}, no interval: {sic.reason}"
    return f"SIC {sic.value:.2f} [{sic.low:.2f}, {sic.high:.2f}]"


@context()
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
    wide, high = len(octaves) * CELL * 1.3, len(names) * 0.2
    page = Page(2.1 + wide + 2 * MARGIN)
    page.heading(title, step=0.33)
    ax = page.axes(MARGIN + 2.0, page.top, wide, high)
    bar = page.axes(MARGIN + 2.0, page.top + high + 0.58, 1.6, 0.07)
    draw_matrix(matrix, ax=ax, bar=bar)
    ax.set_xticks(range(len(octaves)), [f"{o}\n{2.0**o:g} px" for o in octaves])
    ax.set_yticks(range(len(names)), names, fontsize=SMALL)
    ax.set_xlabel("size octave (from)", labelpad=1)
    page.top += high + 1.0
    worst, at = divmod(int(np.nanargmax(matrix)), len(octaves))
    return page.finish(
        f"Drop of region {measure}, mean over regions and then images: positive where the change "
        "hurts. Empty: no region of this size.",
        f"{title}. The largest drop of {measure} is {matrix[worst, at]:.3f}, {names[worst]} at "
        f"octave {octaves[at]}.",
    )


FIELDS_CAPTION = (
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


@context()
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
    wall = Wall((image.shape[0], image.shape[1]))
    wall.heading(title)
    dark = (DARK + SPAN * grey(image)).astype(np.uint8)
    said = []
    for name, fields in rows:
        slope = f"{fields_slope(fields):.2f}"
        panels = [
            Panel(
                f"{stride_words(field.stride)}: ERF radius {field.erf_px:.0f} px",
                pixels=dark,
                outlines=(Outline(outline),),
                over=partial(_draw_field, field=field, branch=r),
            )
            for r, field in enumerate(fields)
        ]
        wall.rows([PanelRow(f"{name}: slope {slope}", panels, height=1.9)])
        radii = ", ".join(f"{stride_words(f.stride)} {f.erf_px:.0f} px" for f in fields)
        said.append(f"{name}, slope {slope}: {radii}")
    alt = f"{title}. Effective receptive fields. {'; '.join(said)}."
    return wall.finish(FIELDS_CAPTION.format(count=counts.pop()), alt)


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


def _draw_field(ax: Axes, field: Field, branch: int) -> None:
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
    color = branch_mark(branch).color
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
