"""What pixels listen to by object size: share that leaves the object, entropy and offset."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gsto_viz.colors import network_mark
from gsto_viz.plots.gates import PARTS, SHORT_SIZE, SIZE, part_handles
from gsto_viz.plots.page import (
    GUIDE,
    WIDTH,
    Page,
    check_frames,
    context,
    draw_curve,
    guide,
    head_line,
    network_handles,
    numbers,
    octave_axis,
    share_axis,
)
from gsto_viz.plots.sizes import FEW_REGIONS
from gsto_viz.stats.listening import BESIDE, EXCESS
from gsto_viz.words import NULLS, OWN

COLUMNS = ("null", "stride", "part", "octave", "measure", "mean", "low", "high", "n_regions")
"""What a frame must have (``gsto_viz.stats.listening_means`` by octave)."""
PANELS = {
    "outside": "share outside the object",
    EXCESS["outside"]: "minus equal weights",
    "entropy": "entropy, of its largest",
    "offset_px": "offset, image px",
}
"""Measures and the labels of their axes, a column each."""
SHIFTED = "N1"
LIMITS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Ends of the axis of differences; the smallest that holds everything is taken for all rows."""
NULL_LINES = {"core": ":", "band": (0, (1, 1, 4, 1))}
CAPTION = (
    "A pixel of the fine map chooses from a window of cells of the coarse one; a row for each such "
    "step. Weights are averaged over heads, then over the image pixels of core or band, regions of "
    "one size octave, and images, which weigh alike. Share outside: weight on what of the cells "
    "does not belong to the pixel's object; below equal weights (negative in the second column) "
    "pixels keep to their object. Shifted annotation says how much of that is only closeness of "
    "cells, which helps wherever an object lies. Entropy: 0 one cell, 1 all cells alike. Offset: "
    "mean distance of the cells, in image pixels. Bands: 95% bootstrap interval over images, where "
    f"there are at least 10. Grey points: fewer than {FEW_REGIONS} regions."
)


@context()
def figure_listening(
    frames: Mapping[str, pd.DataFrame],
    *,
    names: Mapping[str, str] | None = None,
    width: float = WIDTH,
) -> Figure:
    """Draw what pixels listen to, a row for each step from a coarser to a finer map.

    Args:
        frames: By network, what ``listening_means`` returns by octave, of the network (``null`` =
            ``none``) and, where it is known, of shifted annotation (``N1``).
        names: By network, the checkpoint's name for the legend.
        width: Inches.

    Raises:
        GstoVizError: No frame was given, or one lacks a column.
    """
    check_frames(frames, COLUMNS, "listening_means(rows, ['octave'])")
    rows = pd.concat(frames.values())
    octaves = (int(rows["octave"].min()), int(rows["octave"].max()))
    strides = sorted({int(one) for one in rows["stride"]}, reverse=True)
    limit = _limit(rows)
    page = Page(width)
    grid = page.charts(
        (len(strides), len(PANELS)), height=1.15, left=0.6, head=0.27, foot=0.42, gap=0.52
    )
    for stride, charts in zip(strides, grid, strict=True):
        head_line(charts[0], f"stride {2 * stride} -> {stride}")
        for (measure, label), ax in zip(PANELS.items(), charts, strict=True):
            ax.set_label(f"{measure} {stride}")
            for position, frame in enumerate(frames.values()):
                own = frame[frame["stride"] == stride]
                _draw_measure(ax, own, measure, network_mark(position).color)
            _axis(ax, measure, label, limit)
            octave_axis(ax, *octaves, SIZE, SHORT_SIZE, px=False)
    handles = network_handles(frames, names, linestyle="-", marker="None")
    shifted = SHIFTED in set(rows["null"])
    page.legend([*(handles if len(frames) > 1 else ()), *part_handles(), *_guides(shifted)])
    return page.finish(CAPTION, _alt_text(frames))


def _limit(rows: pd.DataFrame) -> float:
    """Return where the axis of differences ends, both ways."""
    excess = rows[rows["measure"] == EXCESS["outside"]][["mean", "low", "high"]]
    largest = float(np.nanmax(np.abs(excess.to_numpy(dtype=np.float64)), initial=0.0))
    return next(one for one in LIMITS if largest <= one)


def _draw_measure(ax: Axes, rows: pd.DataFrame, measure: str, color: str) -> None:
    """Draw one measure of core and band, and what it is read against."""
    for part, line in PARTS.items():
        of_part = rows[rows["part"] == part].sort_values("octave")
        own = of_part[of_part["null"] == OWN]
        found, beside = (own[own["measure"] == name] for name in (measure, BESIDE.get(measure, "")))
        octave, mean = numbers(beside, "octave", "mean")
        ax.plot(octave + 0.5, mean, color=GUIDE, linewidth=0.8, linestyle=line, zorder=2)
        shifted = of_part[(of_part["null"] == SHIFTED) & (of_part["measure"] == measure)]
        octave, mean = numbers(shifted, "octave", "mean")
        ax.plot(octave + 0.5, mean, color=color, linewidth=0.9, linestyle=NULL_LINES[part])
        few = found["n_regions"].to_numpy() < FEW_REGIONS
        draw_curve(
            ax, found, "octave", color, few=few, hollow=part == "band",
            line={"linestyle": line, "linewidth": 1.0}, label=part,
            marker="o", markersize=2.8, markeredgewidth=0.7, clip_on=False,
        )  # fmt: skip


def _axis(ax: Axes, measure: str, label: str, limit: float) -> None:
    """Give one chart its y axis."""
    if measure == EXCESS["outside"]:
        ax.axhline(0, color=GUIDE, linewidth=0.8, zorder=1)
        ax.set_ylim(-limit, limit)
        ax.set_yticks([-limit, -limit / 2, 0, limit / 2, limit])
    elif measure == "offset_px":
        ax.set_ylim(0, 1.1 * ax.dataLim.y1)
    else:
        share_axis(ax)
    if measure == "entropy":
        ax.axhline(1, color=GUIDE, linewidth=0.8, zorder=1, clip_on=False)
    ax.set_ylabel(label)


def _guides(shifted: bool) -> list[Line2D]:
    """Return the handles of reference lines."""
    found = [guide("equal weights in the same window", linewidth=0.8)]
    if shifted:
        words = NULLS[SHIFTED].label
        found += [
            guide(f"{words}, {part}", linestyle=line, linewidth=0.9)
            for part, line in NULL_LINES.items()
        ]
    return found


def _alt_text(frames: Mapping[str, pd.DataFrame]) -> str:
    """Give the share outside and that of equal weights from the smallest to the largest size."""
    said: list[str] = []
    for key, frame in frames.items():
        own = frame[frame["null"] == OWN]
        for (stride, part), rows in own.groupby(["stride", "part"]):
            step = f"stride {2 * int(str(stride))} -> {stride}"
            by_measure = rows.sort_values("octave").groupby("measure")["mean"]
            ends = [
                f"{mean.iloc[0]:.2f} to {mean.iloc[-1]:.2f}"
                for mean in map(by_measure.get_group, ("outside", BESIDE["outside"]))
            ]
            said.append(f"{key} {step} {part} {ends[0]} ({ends[1]})")
    return (
        "Share of weight outside the object by region size (and of equal weights): "
        f"{'; '.join(said)}."
    )
