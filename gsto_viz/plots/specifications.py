"""One dot per choice or network: specification curve, costs, and training curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gsto_viz.colors import NETWORKS, network_mark
from gsto_viz.errors import GstoVizError
from gsto_viz.plots.dots import NOT_ESTIMATED
from gsto_viz.plots.page import (
    GUIDE,
    MARGIN,
    SMALL,
    WIDTH,
    Page,
    chance_band,
    check_columns,
    check_frames,
    context,
    draw_estimates,
    guide,
    head_line,
    inches,
    line_of,
    network_handles,
    numbers,
    round_axis,
    shorten,
)
from gsto_viz.stats.compare import SpecificationCurve
from gsto_viz.words import INDICES

RESULTS = ("difference", "low", "high", "p", "n_images", "n_pairs", "reason")
"""Columns of ``SpecificationCurve.table`` that are not settings."""
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
_DOT: dict[str, Any] = {"marker": "o", "markersize": 3.5}
SIDE, LINE, CURVE = 2.1, 0.125, 1.7
"""Inches: left of the axes, per line of the matrix of choices, of the curve."""
CAPTION = (
    "Difference of SCI, {b} - {a}, under every choice of how to measure, sorted; bars: 95% "
    "bootstrap interval over images, not adjusted for the number of choices. Below 0 {b} is less "
    "confused. "
    "Below the curve, each specification's choices. The specifications share their images and are "
    "not independent of each other."
)


Pair = tuple[str, str]
"""Names of two networks that are compared, the reference first."""


@context()
def figure_specification(
    curves: SpecificationCurve | Mapping[Pair, SpecificationCurve], *, width: float = WIDTH
) -> Figure:
    """Draw specification curves: sorted differences above, their choices below.

    Settings that never vary are left out. Specifications that are not estimated are counted in the
    caption and not drawn.

    Args:
        curves: By pair of networks, or of A and B alone, what ``specification_curve`` or
            ``table_curve`` of ``gsto_viz.stats`` return; ``table`` is the data of the figure. A
            curve without any difference is left out where another has one.
        width: Inches.

    Raises:
        GstoVizError: A column is missing, or no specification is estimated.
    """
    given = curves if isinstance(curves, Mapping) else {("A", "B"): curves}
    for curve in given.values():
        check_columns(curve.table, RESULTS, "a SpecificationCurve")
    known = {pair: curve for pair, curve in given.items() if curve.estimated}
    if not known:
        reason = next(iter(given.values())).table["reason"].iloc[0]
        raise GstoVizError(f"no specification is estimated: {reason}")
    page = Page(width)
    page.legend(
        [
            Line2D([], [], color=HEADLINE, label="the headline's choices", **_DOT),
            Line2D([], [], color=GUIDE, label="other choices", **_DOT),
            guide("no difference", linestyle="--"),
        ]
    )
    said = [_draw_pair(page, pair, curve) for pair, curve in known.items()]
    counts = {pair: _count_words(curve) for pair, curve in known.items()}
    if len(known) == 1:
        ((a, b),) = known
        caption = " ".join([CAPTION.format(a=a, b=b), *counts.values()])
    else:
        reference = next(iter(known))[0]
        each = [f"{b}: {words}" for (_, b), words in counts.items()]
        caption = " ".join([CAPTION.format(a=reference, b="the other"), *each])
    return page.finish(caption, " ".join([*said, caption]))


def _draw_pair(page: Page, pair: Pair, curve: SpecificationCurve) -> str:
    """Draw the curve of one pair with its choices; return its differences in words."""
    table = curve.table.assign(headline=np.arange(len(curve.table)) == 0)
    rows = table.dropna(subset=["difference"]).sort_values("difference", kind="stable")
    lines = _lines(curve.table)
    across, matrix = page.width - SIDE - MARGIN, max(1, len(lines)) * LINE
    name = f"SCI, {pair[1]} - {pair[0]}"
    _draw_curve(page.axes(SIDE, page.top + 0.08, across, CURVE, label="curve"), rows, name)
    page.top += 0.18 + CURVE
    _draw_choices(page.axes(SIDE, page.top, across, matrix, label="choices"), rows, lines)
    for k, (setting, value) in enumerate(lines):
        y = page.top + (k + 0.5) * LINE
        look: dict[str, Any] = {"va": "center", "fontsize": 6.5}
        if k == 0 or lines[k - 1][0] != setting:
            page.text(MARGIN, y, shorten(SETTING_NAMES.get(setting, setting), 1.05, 6.5), **look)
        choice = shorten(_value_name(setting, value), 0.9, 6.5)
        page.text(SIDE - 0.08, y, choice, ha="right", **look)
    page.top += matrix + 0.35
    low, high = rows["difference"].iloc[0], rows["difference"].iloc[-1]
    first = curve.table["difference"].iloc[0]
    head = "not estimated" if pd.isna(first) else f"{first:+.3f}"
    return (
        f"Specification curve of {name}: {len(rows)} differences from {low:+.3f} to {high:+.3f}, "
        f"the headline's {head}."
    )


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


def _draw_curve(ax: Axes, rows: pd.DataFrame, label: str) -> None:
    """Draw the sorted differences with their intervals, the headline's in its own colour."""
    x = np.arange(len(rows))
    difference, low, high = numbers(rows, "difference", "low", "high")
    head = rows["headline"].to_numpy()
    ax.axhline(0, color=GUIDE, linewidth=0.7, linestyle="--", zorder=1)
    for chosen, color in ((~head, GUIDE), (head, HEADLINE)):
        estimates = [one[chosen] for one in (difference, low, high)]
        draw_estimates(ax, x[chosen], estimates, color, bar=1.0, **_DOT)
    ax.set_xlim(-0.7, len(rows) - 0.3)
    ax.set_xticks([])
    ax.spines["bottom"].set_visible(False)
    ends = np.concatenate([difference, low, high])
    reach = max(0.02, 1.1 * float(np.nanmax(np.abs(ends))))
    round_axis(ax.yaxis, -reach, reach)
    ax.set_ylabel(label)


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


def _count_words(curve: SpecificationCurve) -> str:
    """Return in words how many agree in sign, and how many are missing and why."""
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
    return " ".join(parts)


COUNTED = "Cost: multiply-adds of one image of {sizes}, divided by 2^30, as the papers count them. "
COSTS_CAPTION = (
    "mIoU and SCI on the analysed images; bars: 95% bootstrap interval over images. "
    "Each dot is one trained network: the distance between two dots is not evidence about a method."
)
MIOU_MARGIN = 5.0
"""Least room beside the values of mIoU, in percent: small differences shall look small."""
COST = "multiply-adds / 2^30 (GMAC)"
MIOU = "mIoU, %"
SCI = f"SCI ({INDICES['sci'].axis})"


_NUMBERS = ("macs_gi", "miou", "miou_low", "miou_high", "sci", "sci_low", "sci_high")


def costs_data(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Return networks as a table, null where a row lacks a number.

    Returns:
        ``model``, ``name``, ``macs_gi`` (multiply-adds / 2^30), ``miou`` (percent on
        the analysed images), ``miou_low``, ``miou_high``, ``sci``, ``sci_low``, ``sci_high`` (ends
        of intervals), ``n_images``, ``reason`` (of SCI).
    """
    columns = ["model", "name", *_NUMBERS, "n_images", "reason"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(_NUMBERS, "float64"))


@context()
def figure_costs(data: pd.DataFrame, *, sizes: Sequence[str] = (), width: float = WIDTH) -> Figure:
    """Draw mIoU against cost, SCI against cost, and SCI against mIoU.

    A network that lacks one of the two numbers of a panel is left out there and named above it. A
    panel that all of them lack a number of is left out, and the caption says which number.

    Args:
        data: What ``costs_data`` returns, a row per network, up to eight.
        sizes: Of the images that costs are counted on, HxW, for the caption.
        width: Inches.

    Raises:
        GstoVizError: No network, more than there are colours, or none with two of the numbers.
    """
    if data.empty:
        raise GstoVizError("there is nothing to draw; give at least one network")
    panels = [pair for pair in PANELS if data[list(pair)].notna().all(axis=1).any()]
    if not panels:
        raise GstoVizError("no network has two of cost, mIoU and SCI")
    page = Page(width)
    handles = network_handles(
        data["model"], dict(zip(data["model"], data["name"], strict=True)), linestyle="None"
    )
    (charts,) = page.charts((1, len(panels)), height=1.8, head=0.2, foot=0.45, gap=0.6)
    for ax, (x, y) in zip(charts, panels, strict=True):
        _draw_panel(ax, data, x, y)
    page.legend([*handles, guide("chance", linestyle="--")])
    lacking = [word for name, word in _WORDS.items() if data[name].isna().all()]
    missing = f" No network here has {' or '.join(lacking)}." if lacking else ""
    counted = COUNTED.format(sizes=" or ".join(sizes)) if sizes else ""
    return page.finish(counted + COSTS_CAPTION + missing, _costs_alt_text(data))


PANELS = (("macs_gi", "miou"), ("macs_gi", "sci"), ("miou", "sci"))
_LABELS = {"macs_gi": COST, "miou": MIOU, "sci": SCI}
_WORDS = {"macs_gi": "a known cost", "miou": "an mIoU", "sci": "an SCI"}


def _draw_panel(ax: Axes, data: pd.DataFrame, x: str, y: str) -> None:
    known = data[x].notna() & data[y].notna()
    if y == "sci":
        chance_band(ax)
    for position, row in enumerate(data.to_dict("records")):
        if not known.iloc[position]:
            continue
        mark = network_mark(position)
        ax.errorbar(
            row[x],
            row[y],
            xerr=_arms(row, x),
            yerr=_arms(row, y),
            color=mark.color,
            marker=mark.marker,
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
        ax.set_title(shorten(f"not estimated: {names}", inches(ax)[0], SMALL), fontsize=SMALL)


def _write_key(ax: Axes, row: dict, x: str, y: str, position: int) -> None:
    """Write a network's letter above its bar, every second one below it; words would collide."""
    if len(row["model"]) > 2:
        return
    below = position % 2 == 1
    end = row.get(f"{y}_low" if below else f"{y}_high")
    ax.annotate(
        row["model"],
        (row[x], row[y] if end is None or np.isnan(end) else end),
        xytext=(0, -5 if below else 5),
        textcoords="offset points",
        ha="center",
        va="top" if below else "bottom",
        color=network_mark(position).color,
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


VALIDATED = {
    "miou": ("mIoU", "mIoU over all validation images, percent, one confusion matrix"),
    "ap": ("AP", "AP of key points (COCO) over all validation images, percent"),
}
"""By column, the title of a score and what it is."""
TRAINING_CAPTION = (
    "Left: {score}. Right: loss of training "
    "steps, mean since the record before, with the losses of supervised gates. One training run "
    "each: another seed gives another curve."
)


@context()
def figure_training(
    scores: Mapping[str, pd.DataFrame],
    losses: Mapping[str, pd.DataFrame],
    *,
    score: str = "miou",
    width: float = WIDTH,
) -> Figure:
    """Draw mIoU by epoch, or AP of networks for pose, and loss by step.

    Args:
        scores: By run, with columns ``epoch`` and ``score`` (percent); may have no rows.
        losses: By run, the same runs, with columns ``step`` and ``loss``; may have no rows.
        score: ``miou`` or ``ap``.
        width: Inches.

    Raises:
        GstoVizError: No run, more than eight, or a frame without these columns.
    """
    check_frames(scores, ("epoch", score), "the evaluations of a run")
    check_frames(losses, ("step", "loss"), "the steps of a run")
    page = Page(width)
    handles = network_handles(scores, None)
    for position, handle in enumerate(handles):
        handle.set_linestyle(line_of(network_mark(position)))
    ((left, right),) = page.charts((1, 2), height=2.2)
    for ax, frames, x, y in ((left, scores, "epoch", score), (right, losses, "step", "loss")):
        _draw(ax, frames, x, y, marked=y == score)
        ax.set_xlabel(x)
    title, meaning = VALIDATED[score]
    head_line(left, f"Validation {title}")
    head_line(right, "Training loss")
    left.set_ylabel(f"{title} (%)")
    right.set_ylabel("loss")
    page.legend(handles)
    return page.finish(TRAINING_CAPTION.format(score=meaning), _training_alt_text(scores, score))


def _draw(ax: Axes, frames: Mapping[str, pd.DataFrame], x: str, y: str, *, marked: bool) -> None:
    for position, frame in enumerate(frames.values()):
        mark = network_mark(position)
        known = frame[np.isfinite(frame[x]) & np.isfinite(frame[y])]
        ax.plot(
            known[x],
            known[y],
            color=mark.color,
            linestyle=line_of(mark),
            marker=mark.marker if marked else "None",
            markersize=3,
            linewidth=1.0 if marked else 0.7,
        )
    if all(frame.empty for frame in frames.values()):
        ax.text(0.5, 0.5, "nothing logged yet", transform=ax.transAxes, ha="center")


def _training_alt_text(scores: Mapping[str, pd.DataFrame], score: str) -> str:
    """Give the best score of every run in words."""
    said = [
        f"{run} not evaluated" if frame.empty else f"{run} up to {frame[score].max():.1f} %"
        for run, frame in scores.items()
    ]
    title, _ = VALIDATED[score]
    return f"{title} on the validation images by epoch, and loss by step: {', '.join(said)}."
