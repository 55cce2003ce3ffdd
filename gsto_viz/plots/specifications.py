"""The specification curve: the difference B - A under every choice, sorted, with the choices."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gsto_viz.errors import GstoVizError
from gsto_viz.plots import style
from gsto_viz.plots.chart import WIDTH, check_columns, round_axis
from gsto_viz.plots.colors import GUIDE, MODEL_COLORS
from gsto_viz.plots.dots import NOT_ESTIMATED
from gsto_viz.plots.layout import MARGIN, Page, shorten, text_height, wrap
from gsto_viz.plots.save import set_alt_text
from gsto_viz.stats.specification import SpecificationCurve

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
"""Words for settings of ``gsto_viz.stats.specification.Specification``; others are written out."""
HEADLINE = MODEL_COLORS[1]
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
        curve: What ``gsto_viz.stats.specification_curve`` or ``table_curve`` returns; its
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
