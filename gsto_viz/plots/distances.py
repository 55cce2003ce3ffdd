"""Percentile response against the distance to a region's edge, for large regions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gsto_viz.errors import GstoVizError
from gsto_viz.plots import style
from gsto_viz.plots.chart import (
    WIDTH,
    ChartPage,
    check_columns,
    head_line,
    octave_axis,
    share_axis,
    title_of,
)
from gsto_viz.plots.colors import GUIDE, MODEL_LINES, branch_style, model_style
from gsto_viz.plots.layout import shorten
from gsto_viz.plots.save import set_alt_text
from gsto_viz.stats.boundary_pixels import BAND_PX

COLUMNS = ("branch", "size_octave", "distance_octave", "mean", "low", "high", "pixels", "n_images")
"""What a frame must have (``gsto_viz.stats.profile.distance_profile``)."""
LARGE_OCTAVE = 6
"""Regions from 2^6 = 64 px of sqrt(area) have pixels far from any edge."""
MAX_PANELS = 4
"""Of more size octaves the smallest are left to the table."""
CAPTION = (
    "Mean percentile of the finest and the coarsest branch over the pixels of regions of one size "
    "octave, by distance to the region's edge (octave o: from 2^o to 2^(o+1) px, network-input "
    "pixels). Ribbons: 95% bootstrap interval over images, where there are at least 10 with such "
    "pixels. Grey line: where the band ends and the core begins. Without scale confusion the "
    "finest branch falls towards the inside of large regions and the coarsest does not."
)


def figure_distance_profile(
    frames: Mapping[str, pd.DataFrame],
    *,
    strides: Mapping[str, Sequence[int]],
    names: Mapping[str, str] | None = None,
    from_octave: int = LARGE_OCTAVE,
    width: float = WIDTH,
) -> Figure:
    """Draw what the finest and the coarsest branch do from the edge of large regions inwards.

    One panel per size octave, the largest four; colours say the branch, line styles the network.

    Args:
        frames: By network (A, B), what ``gsto_viz.stats.distance_profile`` returns.
        strides: By network, pixels per cell of each branch.
        names: By network, the checkpoint's name for the legend.
        from_octave: Smallest size octave of a region that is called large.
        width: Inches.

    Raises:
        GstoVizError: No frame, one that is not what ``distance_profile`` returns, or no region
            that large.
    """
    if not frames:
        raise GstoVizError("there is nothing to draw; give at least one frame of distance_profile")
    for key, frame in frames.items():
        check_columns(frame, COLUMNS, "distance_profile(...)")
        if key not in strides:
            raise GstoVizError(f"'{key}' has no strides; give those of its branches")
    large = {key: _ends(frame, len(strides[key]), from_octave) for key, frame in frames.items()}
    sizes = sorted({int(o) for frame in large.values() for o in frame["size_octave"]})[-MAX_PANELS:]
    if not sizes:
        raise GstoVizError(
            f"no region reaches {2**from_octave} px, so there is no profile; lower from_octave"
        )
    depth = max(int(frame["distance_octave"].max()) for frame in large.values() if len(frame))
    with style.context():
        handles = _legend(strides, large, names)
        page = ChartPage(
            (1, len(sizes)), width=width, height=1.7, caption=CAPTION, handles=handles, head=0.25
        )
        for column, octave in enumerate(sizes):
            ax = page.charts[0][column]
            ax.axhline(0.5, color=GUIDE, linewidth=0.7, linestyle=":", zorder=1)
            ax.axvline(np.log2(BAND_PX), color="0.8", linewidth=0.8, zorder=0)
            for position, (key, frame) in enumerate(large.items()):
                _draw_network(ax, frame[frame["size_octave"] == octave], strides[key], position)
            head_line(ax, f"regions of {2**octave} to {2 ** (octave + 1)} px", page.column_width)
            octave_axis(ax, 0, depth, "distance to the edge: octaves, px")
            share_axis(ax)
            ax.tick_params(labelleft=column == 0)
        page.charts[0][0].set_ylabel("mean percentile")
    set_alt_text(page.figure, _alt_text(large, strides, sizes[-1]))
    return page.figure


def _ends(frame: pd.DataFrame, branches: int, from_octave: int) -> pd.DataFrame:
    """Return the rows of the finest and the coarsest branch of large regions."""
    chosen = frame["branch"].isin([0, branches - 1]) & (frame["size_octave"] >= from_octave)
    rows = frame[chosen].dropna(subset=["mean"])
    return rows.sort_values(["branch", "distance_octave"])


def _draw_network(ax: Axes, rows: pd.DataFrame, strides: Sequence[int], position: int) -> None:
    """Draw both branches of one network in one panel."""
    for branch in dict.fromkeys((0, len(strides) - 1)):
        one = rows[rows["branch"] == branch]
        color, _ = branch_style(branch)
        _, marker = model_style(position)
        x = one["distance_octave"].to_numpy(dtype=np.float64) + 0.5
        mean, low, high = (one[name].to_numpy(dtype=np.float64) for name in ("mean", "low", "high"))
        ax.fill_between(x, low, high, where=~np.isnan(low), color=color, alpha=0.15, linewidth=0)
        ax.plot(
            x,
            mean,
            color=color,
            linestyle=MODEL_LINES[position],
            marker=marker,
            markersize=3,
            markerfacecolor=color if position == 0 else "white",
            label=f"network {position} branch {branch}",
            zorder=3,
        )


def _legend(
    strides: Mapping[str, Sequence[int]],
    frames: Mapping[str, pd.DataFrame],
    names: Mapping[str, str] | None,
) -> list[Line2D]:
    handles = []
    ends = {
        (branch, strides[key][branch]) for key in frames for branch in (0, len(strides[key]) - 1)
    }
    for branch, stride in sorted(ends):
        color, _ = branch_style(branch)
        handles.append(Line2D([], [], color=color, linewidth=2, label=f"stride {stride}"))
    for position, key in enumerate(frames):
        _, marker = model_style(position)
        look: dict[str, Any] = {
            "color": "black",
            "linestyle": MODEL_LINES[position],
            "marker": marker,
        }
        face = "black" if position == 0 else "white"
        label = shorten(title_of(key, names), 2.6, style.RC["legend.fontsize"])
        handles.append(Line2D([], [], **look, markersize=3, markerfacecolor=face, label=label))
    return handles


def _alt_text(
    frames: Mapping[str, pd.DataFrame], strides: Mapping[str, Sequence[int]], octave: int
) -> str:
    """Say in words how each branch goes from the edge to the inside of the largest regions."""
    parts = []
    for key, frame in frames.items():
        for branch in dict.fromkeys((0, len(strides[key]) - 1)):
            mean = frame[(frame["size_octave"] == octave) & (frame["branch"] == branch)]["mean"]
            if len(mean):
                said = f"from {mean.iloc[0]:.2f} at the edge to {mean.iloc[-1]:.2f} inside"
                parts.append(f"{key} stride {strides[key][branch]} {said}")
    return (
        "Mean percentile of the finest and the coarsest branch against the distance to the edge. "
        f"Regions of {2**octave} px and more: {'; '.join(parts)}."
    )
