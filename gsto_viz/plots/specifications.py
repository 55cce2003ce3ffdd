"""One dot per choice or network: specification curve, costs, and training curves."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gsto_viz.errors import GstoVizError
from gsto_viz.plots import style
from gsto_viz.plots.chart import (
    MARGIN,
    WIDTH,
    ChartPage,
    Page,
    check_columns,
    head_line,
    round_axis,
    set_alt_text,
    shorten,
    text_height,
    wrap,
)
from gsto_viz.plots.dots import NOT_ESTIMATED
from gsto_viz.plots.style import CHANCE_BAND, GUIDE, MODEL_LINES, model_style
from gsto_viz.stats.compare import FALSE_SIGNAL, SpecificationCurve
from gsto_viz.stats.inference import Estimate
from gsto_viz.words import NETWORKS

RESULTS = ("difference", "low", "high", "p", "n_images", "n_pairs", "reason")
"""Columns of ``SpecificationCurve.table`` that are no settings."""
SETTING_NAMES = {
    "size": "size measured by",
    "gap": "least gap, octaves",
    "response": "response",
    "min_area_px": "least area, px",
    "same_class": "pairs",
    "inside": "regions",
    "pure": "purity",
}
VALUE_NAMES: dict[tuple[str, object], str] = {
    ("size", "area_px"): "sqrt(area)",
    ("size", "inscribed"): "inscribed disc",
    ("response", "q"): "core or whole",
    ("response", "q_whole"): "whole",
    ("response", "q_core"): "core",
    ("same_class", None): "all",
    ("same_class", True): "one class",
    ("same_class", False): "two classes",
    ("inside", False): "all",
    ("inside", True): "off the border",
    ("pure", False): "any",
    ("pure", True): "above 0.5",
}
"""Words for settings of ``gsto_viz.stats.compare.Specification``; others are written out."""
HEADLINE = NETWORKS[1].color
SIDE, LINE, CURVE = 2.1, 0.125, 1.7
"""Inches: left of the axes, per line of the matrix of choices, of the curve."""
CAPTION = (
    "Difference of SCI, B - A, under every choice of how to measure, sorted; bars: 95% bootstrap "
    "interval over images, not adjusted for the number of choices. Below 0 B is less confused. "
    "Below the curve, each specification's choices. The specifications share their images and are "
    "not independent of each other."
)


def figure_specification(curve: SpecificationCurve, *, width: float = WIDTH) -> Figure:
    """Draw the specification curve: sorted differences above, their choices below.

    Settings that never vary are left out. Specifications that are not estimated are counted in the
    caption and not drawn.

    Args:
        curve: What ``gsto_viz.stats.compare_curve`` or ``table_curve`` returns; its
            ``table`` is the data of the figure.
        width: Inches.

    Raises:
        GstoVizError: A column is missing, or no specification is estimated.
    """
    check_columns(curve.table, RESULTS, "a SpecificationCurve")
    table = curve.table.assign(headline=np.arange(len(curve.table)) == 0)
    rows = table.dropna(subset=["difference"]).sort_values("difference", kind="stable")
    if rows.empty:
        raise GstoVizError(f"no specification is estimated: {curve.table['reason'].iloc[0]}")
    lines = _lines(curve.table)
    text = wrap(_caption(curve), width - 2 * MARGIN, style.SMALL)
    with style.context():
        matrix = max(1, len(lines)) * LINE
        page = Page(width, MARGIN + 0.25 + CURVE + 0.1 + matrix + 0.35
                    + text_height(text, style.SMALL) + MARGIN)  # fmt: skip
        across = width - SIDE - MARGIN
        top = page.axes(SIDE, MARGIN + 0.25, across, CURVE, label="curve")
        _draw_curve(top, rows)
        below = page.axes(SIDE, MARGIN + 0.35 + CURVE, across, matrix, label="choices")
        _draw_choices(below, rows, lines)
        for k, (setting, value) in enumerate(lines):
            y = MARGIN + 0.35 + CURVE + (k + 0.5) * LINE
            first = k == 0 or lines[k - 1][0] != setting
            if first:
                page.text(MARGIN, y, shorten(SETTING_NAMES.get(setting, setting), 1.05, 6.5),
                          va="center", fontsize=6.5)  # fmt: skip
            page.text(SIDE - 0.08, y, shorten(_value_name(setting, value), 0.9, 6.5),
                      va="center", ha="right", fontsize=6.5)  # fmt: skip
        page.figure.legend(
            handles=_legend(), loc="upper right", ncols=3, borderpad=0, borderaxespad=0,
            bbox_to_anchor=(1 - MARGIN / width, 1 - MARGIN / page.height), columnspacing=1.2,
        )  # fmt: skip
        page.text(MARGIN, page.height - MARGIN, text, va="bottom", fontsize=style.SMALL)
    set_alt_text(page.figure, _alt_text(curve, rows))
    return page.figure


def _lines(table: pd.DataFrame) -> list[tuple[str, object]]:
    """Return the lines of the matrix: every value of every setting that varies."""
    lines: list[tuple[str, object]] = []
    for setting in [name for name in table if name not in RESULTS]:
        values = list(dict.fromkeys(_plain(value) for value in table[setting]))
        if len(values) > 1:
            lines += [(str(setting), value) for value in _ordered(values)]
    return lines


def _plain(value: Any) -> object:
    """Return a setting's value as a plain object; missing ones as None."""
    plain = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(plain, float) and np.isnan(plain) else plain


def _ordered(values: list[object]) -> list[object]:
    numeric = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    return sorted(values, key=lambda v: float(str(v))) if numeric else values


def _value_name(setting: str, value: object) -> str:
    known = VALUE_NAMES.get((setting, value))
    if known is not None:
        return known
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


def _draw_curve(ax: Axes, rows: pd.DataFrame) -> None:
    """Draw the sorted differences with their intervals, the headline's in its own colour."""
    x = np.arange(len(rows))
    difference, low, high = (
        rows[name].to_numpy(dtype=np.float64) for name in ("difference", "low", "high")
    )
    head = rows["headline"].to_numpy()
    ax.axhline(0, color=GUIDE, linewidth=0.7, linestyle="--", zorder=1)
    for chosen, color in ((~head, GUIDE), (head, HEADLINE)):
        ax.vlines(x[chosen], low[chosen], high[chosen], color=color, linewidth=1.0, zorder=2)
        for exact, face in ((~np.isnan(low), color), (np.isnan(low), "white")):
            at = chosen & exact
            ax.plot(
                x[at], difference[at], color=color, marker="o", markersize=3.5,
                markerfacecolor=face, linestyle="None", zorder=3,
            )  # fmt: skip
    ax.set_xlim(-0.7, len(rows) - 0.3)
    ax.set_xticks([])
    ax.spines["bottom"].set_visible(False)
    ends = np.concatenate([difference, low, high])
    reach = max(0.02, 1.1 * float(np.nanmax(np.abs(ends))))
    round_axis(ax.yaxis, -reach, reach)
    ax.set_ylabel("SCI, B - A")


def _draw_choices(ax: Axes, rows: pd.DataFrame, lines: Sequence[tuple[str, object]]) -> None:
    """Draw a square where a specification makes a choice; settings alternate on grey stripes."""
    settings = list(dict.fromkeys(setting for setting, _ in lines))
    head = rows["headline"].to_numpy()
    for y, (setting, value) in enumerate(lines):
        if settings.index(setting) % 2 == 0:
            ax.axhspan(y - 0.5, y + 0.5, color="0.95", linewidth=0, zorder=0)
        made = np.array([_plain(one) == value for one in rows[setting]])
        for chosen, color in ((made & ~head, GUIDE), (made & head, HEADLINE)):
            x = np.flatnonzero(chosen)
            ax.plot(
                x, np.full(x.size, y), marker="s", markersize=2.6, color=color, linestyle="None",
                zorder=2,
            )  # fmt: skip
    ax.set_xlim(-0.7, len(rows) - 0.3)
    ax.set_ylim(max(1, len(lines)) - 0.5, -0.5)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    ax.set_xlabel(f"specifications by difference: {len(rows)}")


def _legend() -> list[Line2D]:
    look: dict[str, Any] = {"marker": "o", "markersize": 3.5}
    return [
        Line2D([], [], color=HEADLINE, label="the headline's choices", **look),
        Line2D([], [], color=GUIDE, label="other choices", **look),
        Line2D([], [], color=GUIDE, linestyle="--", linewidth=0.7, label="no difference"),
    ]


def _caption(curve: SpecificationCurve) -> str:
    """Say how many agree in sign, and how many are missing and why."""
    if curve.same_sign is None:
        parts = [f"Signs are not compared: {curve.reason}."]
    else:
        share = round(curve.same_sign * curve.estimated)
        parts = [f"{share} of {curve.estimated} have the sign of the headline's difference."]
    if missing := len(curve.table) - curve.estimated:
        why = str(curve.table.loc[curve.table["difference"].isna(), "reason"].iloc[0])
        parts.append(
            f"{missing} more: {why if NOT_ESTIMATED in why else f'{NOT_ESTIMATED}: {why}'}."
        )
    return " ".join([CAPTION, *parts])


def _alt_text(curve: SpecificationCurve, rows: pd.DataFrame) -> str:
    low, high = rows["difference"].iloc[0], rows["difference"].iloc[-1]
    first = curve.table["difference"].iloc[0]
    head = "not estimated" if pd.isna(first) else f"{first:+.3f}"
    return (
        f"Specification curve of SCI, B - A: {len(rows)} differences from {low:+.3f} to "
        f"{high:+.3f}, the headline's {head}. {_caption(curve)}"
    )


COSTS_CAPTION = (
    "Cost: multiply-adds of one 1024x2048 image, divided by 2^30, as the papers "
    "count them. mIoU and SCI on the analysed images; bars: 95% bootstrap interval over images. "
    "Each dot is one trained network: the distance between two dots is not evidence about a method."
)
MIOU_MARGIN = 5.0
"""Least room beside the values of mIoU, in percent: small differences shall look small."""
COST = "multiply-adds at 1024x2048 / 2^30 (GMAC)"
MIOU = "mIoU, %"
SCI = "SCI (0 aware, 0.5 chance)"


@dataclass(frozen=True)
class CostPoint:
    """One network.

    Attributes:
        key: Its letter (A, B) or short name, written at its dot.
        name: The checkpoint's name, for the legend.
        macs_gi: Multiply-adds / 2^30 at 1024x2048; None when not counted.
        miou: Percent on the analysed images; None without labels.
        sci: Its SCI with interval.
        miou_low: Lower end of an interval of mIoU; None without.
        miou_high: Upper end.
    """

    key: str
    name: str
    macs_gi: float | None
    miou: float | None
    sci: Estimate
    miou_low: float | None = None
    miou_high: float | None = None


def costs_data(points: Sequence[CostPoint]) -> pd.DataFrame:
    """Return the networks as a table.

    Returns:
        ``model``, ``name``, ``macs_gi``, ``miou``, ``miou_low``, ``miou_high``, ``sci``,
        ``sci_low``, ``sci_high`` (null where missing), ``n_images``, ``reason`` (of SCI).
    """
    rows = []
    for point in points:
        row = {key: value for key, value in asdict(point).items() if key not in ("key", "sci")}
        one = point.sci
        rows.append(
            {"model": point.key}
            | row
            | {"sci": one.value, "sci_low": one.low, "sci_high": one.high}
            | {"n_images": one.n_images, "reason": one.reason}
        )
    numbers = ["macs_gi", "miou", "miou_low", "miou_high", "sci", "sci_low", "sci_high"]
    columns = ["model", "name", *numbers, "n_images", "reason"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(numbers, "float64"))


def figure_costs(points: Sequence[CostPoint], *, width: float = WIDTH) -> Figure:
    """Draw mIoU against cost, SCI against cost, and SCI against mIoU.

    A network that lacks one of the two numbers of a panel is left out there and named below it.

    Args:
        points: One per network, up to six.
        width: Inches.

    Raises:
        GstoVizError: No network, or more than there are colours.
    """
    if not points:
        raise GstoVizError("there is nothing to draw; give at least one network")
    data = costs_data(points)
    with style.context():
        handles = _costs_legend(points)
        page = ChartPage(
            (1, 3),
            width=width,
            height=1.8,
            caption=COSTS_CAPTION,
            handles=handles,
            head=0.2,
            foot=0.45,
            gap=0.6,
        )
        for ax, (x, y) in zip(page.charts[0], PANELS, strict=True):
            _draw_panel(ax, data, x, y)
    set_alt_text(page.figure, _costs_alt_text(data))
    return page.figure


PANELS = (("macs_gi", "miou"), ("macs_gi", "sci"), ("miou", "sci"))
_LABELS = {"macs_gi": COST, "miou": MIOU, "sci": SCI}


def _draw_panel(ax: Axes, data: pd.DataFrame, x: str, y: str) -> None:
    known = data[x].notna() & data[y].notna()
    if y == "sci":
        ax.axhspan(FALSE_SIGNAL, 1 - FALSE_SIGNAL, color=CHANCE_BAND, linewidth=0, zorder=0)
        ax.axhline(0.5, color=GUIDE, linewidth=0.7, linestyle="--", zorder=1)
    for position, row in enumerate(data.to_dict("records")):
        if not known.iloc[position]:
            continue
        color, marker = model_style(position)
        ax.errorbar(
            row[x],
            row[y],
            xerr=_arms(row, x),
            yerr=_arms(row, y),
            color=color,
            marker=marker,
            markersize=5,
            elinewidth=1.0,
            linestyle="None",
            zorder=3,
        )
        _write_key(ax, row, x, y, position)
    _limits(ax.xaxis, data[known], x)
    _limits(ax.yaxis, data[known], y)
    ax.set_xlabel(_LABELS[x])
    ax.set_ylabel(_LABELS[y])
    if not known.all():
        names = ", ".join(data["model"][~known])
        room = ax.bbox.width / ax.figure.dpi
        ax.set_title(shorten(f"not estimated: {names}", room, style.SMALL), fontsize=style.SMALL)


def _write_key(ax: Axes, row: dict, x: str, y: str, position: int) -> None:
    """Write a network's letter above its bar, every second one below it."""
    below = position % 2 == 1
    end = row.get(f"{y}_low" if below else f"{y}_high")
    ax.annotate(
        row["model"],
        (row[x], row[y] if end is None or np.isnan(end) else end),
        xytext=(0, -5 if below else 5),
        textcoords="offset points",
        ha="center",
        va="top" if below else "bottom",
        color=model_style(position)[0],
        annotation_clip=False,
    )


def _arms(row: dict, name: str) -> list[list[float]] | None:
    """Return the lengths of an error bar's two arms; None where there is no interval."""
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    if low is None or high is None or np.isnan(low) or np.isnan(high):
        return None
    return [[max(row[name] - low, 0.0)], [max(high - row[name], 0.0)]]


def _limits(axis: Axis, data: pd.DataFrame, name: str) -> None:
    """Give an axis limits: cost from 0, SCI 0 to at least 0.6, mIoU around the values."""
    ends = [c for c in (name, f"{name}_low", f"{name}_high") if c in data]
    values = data[ends].to_numpy(dtype=np.float64)
    values = values[np.isfinite(values)]
    high = float(values.max(initial=0.0))
    if name == "sci":
        limits = (0.0, max(0.6, min(1.0, high * 1.1)))
    elif name == "macs_gi":
        limits = (0.0, high * 1.25 or 1.0)
    elif values.size:
        margin = max(MIOU_MARGIN, 0.4 * (high - float(values.min())))
        limits = (max(0.0, float(values.min()) - margin), min(100.0, high + margin))
    else:
        limits = (0.0, 100.0)
    round_axis(axis, *limits)


def _costs_legend(points: Sequence[CostPoint]) -> list[Line2D]:
    handles = []
    for position, point in enumerate(points):
        color, marker = model_style(position)
        label = shorten(f"{point.key}  {point.name}", 3.0, style.RC["legend.fontsize"])
        handles.append(Line2D([], [], color=color, marker=marker, linestyle="None", label=label))
    handles.append(Line2D([], [], color=GUIDE, linestyle="--", linewidth=0.7, label="chance"))
    return handles


def _costs_alt_text(data: pd.DataFrame) -> str:
    """Give every number in words."""
    units = {"macs_gi": "GMAC {:.1f}", "miou": "mIoU {:.1f} %", "sci": "SCI {:.3f}"}
    parts = []
    for row in data.to_dict("records"):
        said = [
            text.format(row[name]) if not np.isnan(row[name]) else f"no {name}"
            for name, text in units.items()
        ]
        parts.append(f"{row['model']} ({row['name']}): {', '.join(said)}")
    return f"Cost, mIoU and SCI of networks, a dot each. {'; '.join(parts)}."


TRAINING_CAPTION = (
    "Left: mIoU over all validation images, percent, one confusion matrix. Right: loss of training "
    "steps, mean since the record before, with the losses of supervised gates. One training run "
    "each: another seed gives another curve."
)


def figure_training(
    scores: Mapping[str, pd.DataFrame],
    losses: Mapping[str, pd.DataFrame],
    *,
    width: float = WIDTH,
) -> Figure:
    """Draw mIoU by epoch and loss by step.

    Args:
        scores: By run, with columns ``epoch`` and ``miou`` (percent); may have no rows.
        losses: By run, the same runs, with columns ``step`` and ``loss``; may have no rows.
        width: Inches.

    Raises:
        GstoVizError: No run, more than six, or a frame without these columns.
    """
    if not scores:
        raise GstoVizError("there is nothing to draw; give at least one training run")
    for frame in scores.values():
        check_columns(frame, ("epoch", "miou"), "the evaluations of a run")
    for frame in losses.values():
        check_columns(frame, ("step", "loss"), "the steps of a run")
    with style.context():
        page = ChartPage(
            (1, 2),
            width=width,
            height=2.2,
            caption=TRAINING_CAPTION,
            handles=_training_legend(scores),
        )
        left, right = page.charts[0]
        _draw(left, scores, "epoch", "miou", marked=True)
        _draw(right, losses, "step", "loss", marked=False)
        head_line(left, "Validation mIoU", page.column_width)
        head_line(right, "Training loss", page.column_width)
        left.set_xlabel("epoch")
        left.set_ylabel("mIoU (%)")
        right.set_xlabel("step")
        right.set_ylabel("loss")
    set_alt_text(page.figure, _training_alt_text(scores))
    return page.figure


def _draw(ax: Axes, frames: Mapping[str, pd.DataFrame], x: str, y: str, *, marked: bool) -> None:
    for position, frame in enumerate(frames.values()):
        color, marker = model_style(position)
        known = frame[np.isfinite(frame[x]) & np.isfinite(frame[y])]
        ax.plot(
            known[x],
            known[y],
            color=color,
            linestyle=MODEL_LINES[position],
            marker=marker if marked else "None",
            markersize=3,
            linewidth=1.0 if marked else 0.7,
        )
    if all(frame.empty for frame in frames.values()):
        ax.text(0.5, 0.5, "nothing logged yet", transform=ax.transAxes, ha="center")


def _training_legend(frames: Mapping[str, pd.DataFrame]) -> list[Line2D]:
    handles = []
    for position, run in enumerate(frames):
        color, marker = model_style(position)
        label = shorten(run, 3.0, style.RC["legend.fontsize"])
        line: Any = MODEL_LINES[position]
        handles.append(Line2D([], [], color=color, marker=marker, linestyle=line, label=label))
    return handles


def _training_alt_text(scores: Mapping[str, pd.DataFrame]) -> str:
    """Give the best score of every run in words."""
    said = [
        f"{run} not evaluated" if frame.empty else f"{run} up to {frame['miou'].max():.1f} %"
        for run, frame in scores.items()
    ]
    return f"mIoU on the validation images by epoch, and loss by step: {', '.join(said)}."
