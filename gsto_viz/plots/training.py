"""Curves of training runs: mIoU on the validation images and loss."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gsto_viz.errors import GstoVizError
from gsto_viz.plots import style
from gsto_viz.plots.chart import WIDTH, ChartPage, check_columns, head_line
from gsto_viz.plots.colors import MODEL_LINES, model_style
from gsto_viz.plots.layout import shorten
from gsto_viz.plots.save import set_alt_text

CAPTION = (
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
        page = ChartPage((1, 2), width=width, height=2.2, caption=CAPTION, handles=_legend(scores))
        left, right = page.charts[0]
        _draw(left, scores, "epoch", "miou", marked=True)
        _draw(right, losses, "step", "loss", marked=False)
        head_line(left, "Validation mIoU", page.column_width)
        head_line(right, "Training loss", page.column_width)
        left.set_xlabel("epoch")
        left.set_ylabel("mIoU (%)")
        right.set_xlabel("step")
        right.set_ylabel("loss")
    set_alt_text(page.figure, _alt_text(scores))
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


def _legend(frames: Mapping[str, pd.DataFrame]) -> list[Line2D]:
    handles = []
    for position, run in enumerate(frames):
        color, marker = model_style(position)
        label = shorten(run, 3.0, style.RC["legend.fontsize"])
        line: Any = MODEL_LINES[position]
        handles.append(Line2D([], [], color=color, marker=marker, linestyle=line, label=label))
    return handles


def _alt_text(scores: Mapping[str, pd.DataFrame]) -> str:
    """Give the best score of every run in words."""
    said = [
        f"{run} not evaluated" if frame.empty else f"{run} up to {frame['miou'].max():.1f} %"
        for run, frame in scores.items()
    ]
    return f"mIoU on the validation images by epoch, and loss by step: {', '.join(said)}."
