"""Altair charts of training runs, which differ by colour, dash and marker."""

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from gsto_viz.colors import NETWORKS
from gsto_viz.explorer.charts import mark_scale
from gsto_viz.explorer.training_log import SCORES, TrainingLog, thinned_curve


def curve(logs: Mapping[str, TrainingLog], column: str, title: str) -> alt.Chart | None:
    """Draw a column of the training records against the step; None when no run has any.

    Args:
        logs: By run.
        column: ``loss`` or ``lr``.
        title: Of the axis.
    """
    parts = [
        thinned_curve(log.train, column)[["step", column]].assign(run=run)
        for run, log in logs.items()
    ]
    table = pd.concat(parts, ignore_index=True)
    if table.empty:
        return None
    names = list(logs)
    return (
        alt.Chart(table)
        .mark_line(strokeWidth=1.4)
        .encode(
            x=alt.X("step:Q", title="step"),
            y=alt.Y(f"{column}:Q", title=title, scale=alt.Scale(zero=column == "lr")),
            color=_color(names),
            strokeDash=_dash(names),
            tooltip=["run:N", "step:Q", f"{column}:Q"],
        )
        .properties(height=330)
    )


def scores(logs: Mapping[str, TrainingLog], score: str = "miou") -> alt.Chart | None:
    """Draw a score on the validation images by epoch; None when no run was evaluated by it yet.

    Args:
        logs: By run.
        score: One of ``SCORES``.
    """
    columns = ["epoch", "step", score]
    parts = [log.val.reindex(columns=columns).assign(run=run) for run, log in logs.items()]
    table = pd.concat(parts, ignore_index=True).dropna(subset=["epoch", score])
    if table.empty:
        return None
    names = list(logs)
    scale = mark_scale(names, NETWORKS, "shape")
    return (
        alt.Chart(table)
        .mark_line(point={"size": 50, "filled": True}, strokeWidth=1.4)
        .encode(
            x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y(f"{score}:Q", title=f"{SCORES[score]} (%)", scale=alt.Scale(zero=False)),
            color=_color(names),
            strokeDash=_dash(names).legend(None),
            shape=alt.Shape("run:N", title="run", scale=scale),
            tooltip=["run:N", "epoch:Q", "step:Q", alt.Tooltip(f"{score}:Q", format=".2f")],
        )
        .properties(height=330)
    )


def _color(names: Sequence[str]) -> alt.Color:
    scale = mark_scale(names, NETWORKS, "color")
    return alt.Color("run:N", title="run", scale=scale, legend=alt.Legend(orient="bottom"))


def _dash(names: Sequence[str]) -> alt.StrokeDash:
    scale = mark_scale(names, NETWORKS, "dash")
    return alt.StrokeDash("run:N", title="run", scale=scale)
