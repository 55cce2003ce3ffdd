"""SCI against how far apart the two sizes of a pair are."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gsto_viz.errors import GstoVizError
from gsto_viz.plots import style
from gsto_viz.plots.chart import (
    NOTE_LINE,
    WIDTH,
    ChartPage,
    check_columns,
    draw_above,
    head_line,
    share_axis,
    title_of,
)
from gsto_viz.plots.colors import CHANCE_BAND, GUIDE, model_style
from gsto_viz.plots.layout import shorten
from gsto_viz.plots.save import set_alt_text
from gsto_viz.stats.verdict import FALSE_SIGNAL

COLUMNS = ("gap_low", "gap_high", "classes", "value", "low", "high", "n_images", "n_pairs")
"""What a frame must have (``gsto_viz.stats.sci.sci_by_gap``)."""
PANELS = {"all": "all pairs", "same": "pairs of one class", "different": "pairs of two classes"}
SPREAD = 0.16
"""Distance between neighbouring networks within a bin, bins being 1 apart."""
CAPTION = (
    "SCI over pairs of regions whose sizes differ by so many octaves, mean over images, with 95% "
    "bootstrap intervals where there are at least 10 independent images (hollow: no interval). "
    "Numbers above: pairs. 0 aware, 0.5 chance, 1 reversed; grey: reached by noise alone."
)


def figure_sci_by_gap(
    frames: Mapping[str, pd.DataFrame],
    *,
    names: Mapping[str, str] | None = None,
    width: float = WIDTH,
) -> Figure:
    """Draw SCI by octave gap: a panel each for all pairs, pairs of one and of two classes.

    Args:
        frames: By network (A, B), what ``gsto_viz.stats.sci_by_gap`` returns.
        names: By network, the checkpoint's name for the legend.
        width: Inches.

    Raises:
        GstoVizError: No frame, or one that is not what ``sci_by_gap`` returns.
    """
    if not frames:
        raise GstoVizError("there is nothing to draw; give at least one frame of sci_by_gap")
    for frame in frames.values():
        check_columns(frame, COLUMNS, "sci_by_gap(...)")
    with style.context():
        page = ChartPage(
            (1, len(PANELS)),
            width=width,
            height=1.7,
            caption=CAPTION,
            handles=_legend(frames, names),
            head=0.3 + len(frames) * NOTE_LINE / 72,
            foot=0.45,
        )
        for column, (classes, title) in enumerate(PANELS.items()):
            ax = page.charts[0][column]
            _draw_panel(ax, {k: f[f["classes"] == classes] for k, f in frames.items()})
            head_line(ax, title, page.column_width, pad=8 + NOTE_LINE * len(frames))
            ax.tick_params(labelleft=column == 0)
        page.charts[0][0].set_ylabel("SCI")
    set_alt_text(page.figure, _alt_text(frames))
    return page.figure


def _draw_panel(ax: Axes, frames: Mapping[str, pd.DataFrame]) -> None:
    bins = sorted({gap for frame in frames.values() for gap in _gaps(frame)})
    ax.axhspan(FALSE_SIGNAL, 1 - FALSE_SIGNAL, color=CHANCE_BAND, linewidth=0, zorder=0)
    ax.axhline(0.5, color=GUIDE, linewidth=0.7, linestyle="--", zorder=1)
    for position, (key, frame) in enumerate(frames.items()):
        frame = frame.sort_values("gap_low")
        places = [bins.index(gap) for gap in _gaps(frame)]
        shift = SPREAD * (position - (len(frames) - 1) / 2)
        _draw_network(ax, np.array(places) + shift, frame, position)
        note: dict[str, Any] = {
            "color": model_style(position)[0],
            "line": len(frames) - 1 - position,
        }
        draw_above(f"{key}:", 0.0, "axes fraction", ax, ha="right", **note)
        for place, pairs in zip(places, frame["n_pairs"].tolist(), strict=True):
            draw_above(str(pairs), place, "data", ax, ha="center", **note)
    ax.set_xlim(-0.5, len(bins) - 0.5)
    ax.set_xticks(range(len(bins)), [_gap_name(*gap) for gap in bins])
    ax.set_xlabel("difference of size, octaves (log2 px)")
    share_axis(ax)


def _gaps(frame: pd.DataFrame) -> list[tuple[float, float]]:
    return list(zip(frame["gap_low"].tolist(), frame["gap_high"].tolist(), strict=True))


def _gap_name(low: float, high: float) -> str:
    return f"{low:g} or more" if np.isinf(high) else f"{low:g} to {high:g}"


def _draw_network(ax: Axes, x: npt.NDArray, frame: pd.DataFrame, position: int) -> None:
    """Draw one network's line with intervals; dots without interval are hollow."""
    color, marker = model_style(position)
    value, low, high = (frame[name].to_numpy(dtype=np.float64) for name in ("value", "low", "high"))
    ax.plot(x, value, color=color, linewidth=0.8, alpha=0.6, label="curve", zorder=2)
    ax.vlines(x, low, high, color=color, linewidth=1.4, zorder=3)
    for chosen, face in ((~np.isnan(low), color), (np.isnan(low), "white")):
        ax.plot(
            x[chosen],
            value[chosen],
            color=color,
            marker=marker,
            markerfacecolor=face,
            linestyle="None",
            clip_on=False,
            zorder=4,
        )


def _legend(frames: Mapping[str, pd.DataFrame], names: Mapping[str, str] | None) -> list[Line2D]:
    handles: list[Line2D] = []
    for position, key in enumerate(frames):
        color, marker = model_style(position)
        label = shorten(title_of(key, names), 3.0, style.RC["legend.fontsize"])
        handles.append(Line2D([], [], color=color, marker=marker, label=label))
    handles.append(Line2D([], [], color=GUIDE, linestyle="--", linewidth=0.7, label="chance"))
    return handles


def _alt_text(frames: Mapping[str, pd.DataFrame]) -> str:
    """Give the values over all pairs in words."""
    parts = []
    for key, frame in frames.items():
        rows = frame[frame["classes"] == "all"].sort_values("gap_low")
        said = [
            f"{_gap_name(gap_low, gap_high)} octaves "
            + ("not estimated" if np.isnan(value) else f"{value:.2f}")
            for gap_low, gap_high, value in rows[["gap_low", "gap_high", "value"]].to_numpy()
        ]
        parts.append(f"{key}: {', '.join(said)}.")
    return (
        "SCI against the difference of size, for all pairs, pairs of one class and pairs of two "
        f"classes. All pairs: {' '.join(parts)}"
    )
