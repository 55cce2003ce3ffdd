"""Which object sizes each branch answers for: mean response against size octave."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gsto_viz.errors import GstoVizError
from gsto_viz.plots import style
from gsto_viz.plots.colors import FEW, GUIDE, branch_style
from gsto_viz.plots.layout import shorten, text_height, wrap
from gsto_viz.plots.save import set_alt_text

FEW_REGIONS = 20
"""Octaves with fewer regions are drawn with grey markers."""
COLUMNS = ("branch", "stride", "octave", "mean", "low", "high", "n_regions", "n_images")
"""What the frame must have (``gsto_viz.stats.sizes.response_by_octave``)."""
CAPTION = (
    "Mean percentile response of each branch over the regions of one size octave (octave o: sizes "
    "from 2^o to 2^(o+1) px of sqrt(area), network-input pixels), images weighted equally. Bands: "
    "95% bootstrap interval over images, where there are at least 10. n: number of regions."
)


def plot_sizes(frame: pd.DataFrame, *, ax: Axes, octaves: tuple[int, int] | None = None) -> Axes:
    """Draw one line per branch: its mean percentile response against the size of the regions.

    A point stands in the middle of its octave. Markers of octaves with fewer than ``FEW_REGIONS``
    regions are grey. Ribbons appear where the frame has intervals.

    Args:
        frame: What ``response_by_octave`` returns.
        ax: Where; the numbers of regions stand above it.
        octaves: First and last octave of the axis; by default those of the frame.

    Raises:
        GstoVizError: A column is missing, or there are no rows.
    """
    check_frame(frame)
    first, last = octaves or (int(frame["octave"].min()), int(frame["octave"].max()))
    ax.axhline(0.5, color=GUIDE, linewidth=0.7, linestyle="--", zorder=1)
    for branch, rows in frame.groupby("branch"):
        _draw_branch(rows.sort_values("octave"), int(str(branch)), ax)
    counts = frame.groupby("octave")["n_regions"].max()
    _draw_above("n =", 0.0, "axes fraction", ax, ha="right", color=GUIDE)
    for octave, count in zip(counts.index.tolist(), counts.tolist(), strict=True):
        color = FEW if count < FEW_REGIONS else GUIDE
        _draw_above(str(count), octave + 0.5, "data", ax, ha="center", color=color)
    edges = range(first, last + 2)
    ax.set_xticks(list(edges), [f"{edge}\n{2.0**edge:g}" for edge in edges])
    ax.set_xlim(first, last + 1)
    ax.set_ylim(0, 1)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    ax.set_xlabel("size of the region: octaves (log2 px) and, below them, px")
    return ax


def figure_sizes(frames: Mapping[str, pd.DataFrame], *, width: float = 8.0) -> Figure:
    """Draw the size responses of one or more networks side by side on one scale.

    Args:
        frames: By title, e.g. ``{"A": frame, "B": frame}``, what ``response_by_octave`` returns.
        width: Inches.

    Raises:
        GstoVizError: No frame, or one that is not what ``response_by_octave`` returns.
    """
    if not frames:
        raise GstoVizError("there is nothing to draw; give at least one frame of responses")
    for frame in frames.values():
        check_frame(frame)
    octaves = (
        min(int(frame["octave"].min()) for frame in frames.values()),
        max(int(frame["octave"].max()) for frame in frames.values()),
    )
    with style.context():
        caption = wrap(CAPTION, width - 0.3, style.SMALL)
        below = 0.95 + text_height(caption, style.SMALL)
        height = 0.5 + 1.9 + below
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(frames), sharey=True, squeeze=False)[0]
        figure.subplots_adjust(
            left=0.5 / width,
            right=1 - 0.3 / width,
            top=1 - 0.5 / height,
            bottom=below / height,
            wspace=0.12,
        )
        for ax, (title, frame) in zip(axes, frames.items(), strict=True):
            plot_sizes(frame, ax=ax, octaves=octaves)
            room = (width - 0.8) / len(frames) - 0.2
            name = shorten(title, room, style.HEADING, bold=True)
            ax.set_title(name, loc="left", pad=16, fontsize=style.HEADING, fontweight="bold")
        axes[0].set_ylabel("mean percentile response")
        _draw_legend(figure, pd.concat(list(frames.values())), (below - 0.6) / height)
        figure.text(0.15 / width, 0.1 / height, caption, fontsize=style.SMALL, va="bottom")
    set_alt_text(figure, _alt_text(frames))
    return figure


def check_frame(frame: pd.DataFrame) -> None:
    """Refuse a frame without the columns of ``response_by_octave`` or without rows."""
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        raise GstoVizError(f"the frame has no column '{missing[0]}'; give response_by_octave(...)")
    if frame.empty:
        raise GstoVizError("no region qualifies, so there is no response to draw; add images")


def _draw_above(text: str, x: float, units: str, ax: Axes, **options: Any) -> None:
    """Write a note just above the axes at ``x``."""
    ax.annotate(
        text,
        (x, 1.0),
        xycoords=(units, "axes fraction"),
        xytext=(0, 5),
        textcoords="offset points",
        fontsize=style.SMALL - 0.5,
        **options,
    )


def _draw_branch(rows: pd.DataFrame, branch: int, ax: Axes) -> None:
    color, marker = branch_style(branch)
    x = rows["octave"].to_numpy(dtype=np.float64) + 0.5
    mean = rows["mean"].to_numpy(dtype=np.float64)
    few = rows["n_regions"].to_numpy() < FEW_REGIONS
    low, high = (rows[name].to_numpy(dtype=np.float64) for name in ("low", "high"))
    known = ~(np.isnan(low) | np.isnan(high))
    ax.fill_between(x, low, high, where=known, color=color, alpha=0.18, linewidth=0, zorder=2)
    label = f"stride {int(rows['stride'].iloc[0])}"
    ax.plot(x, mean, color=color, marker="None", label=label, zorder=3)
    for chosen, face in ((~few, color), (few, FEW)):
        ax.plot(
            x[chosen],
            mean[chosen],
            linestyle="None",
            marker=marker,
            markerfacecolor=face,
            markeredgecolor=color if face == color else FEW,
            markeredgewidth=0.6,
            zorder=4,
        )


def _draw_legend(figure: Figure, rows: pd.DataFrame, y: float) -> None:
    """Explain colours, markers, the line at 0.5 and grey points, in one line below the axes."""
    handles = []
    for branch, stride in sorted(set(zip(rows["branch"], rows["stride"], strict=True))):
        color, marker = branch_style(int(branch))
        handles.append(Line2D([], [], color=color, marker=marker, label=f"stride {stride}"))
    guide = Line2D(
        [], [], color=GUIDE, linestyle="--", linewidth=0.7, label="0.5: average of the image"
    )
    few = f"grey: fewer than {FEW_REGIONS} regions"
    grey = Line2D([], [], color=FEW, marker="o", linestyle="None", label=few)
    figure.legend(
        handles=[*handles, guide, grey],
        loc="upper center",
        bbox_to_anchor=(0.5, y),
        ncols=len(handles) + 2,
        columnspacing=1.2,
        handlelength=1.8,
    )


def _alt_text(frames: Mapping[str, pd.DataFrame]) -> str:
    """Describe the figure in words, with each branch's best octave."""
    parts = []
    for title, frame in frames.items():
        best = frame.loc[frame.groupby("branch")["mean"].idxmax()]
        peaks = ", ".join(
            f"stride {row.stride} is highest at octave {row.octave} ({row.mean_:.2f})"
            for row in best.rename(columns={"mean": "mean_"}).itertuples()
        )
        parts.append(f"{title}: {peaks}.")
    return f"Mean percentile response against region size, one line per branch. {' '.join(parts)}"
