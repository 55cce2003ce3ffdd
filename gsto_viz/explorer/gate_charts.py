"""Charts of the page "Gates": all transfers as a matrix; one gate by value, size and class."""

from typing import Any

import altair as alt
import pandas as pd

from gsto_viz.explorer.charts import (
    GUIDE,
    HEIGHT,
    Layers,
    Range,
    every_label,
    marker,
    model_color,
    model_dash,
    model_shape,
)
from gsto_viz.explorer.values.gate_matrix import GateMatrix

CELL = "cell"
"""Name of the matrix's selection."""
MARGIN = 0.1
"""Of a cell of the matrix, on each side of its line."""


def matrix_chart(matrix: GateMatrix, limits: Range, chosen: str) -> Layers:
    """Draw gates by source and target: colour is G, the line the mean gate by object size.

    Args:
        matrix: Of one network.
        limits: Ends of the gates' range, bottom and top of the lines.
        chosen: The edge that is framed, as ``3->0``.
    """
    edges = matrix.edges.assign(
        right=matrix.edges["target"] + 1,
        bottom=matrix.edges["source"] + 1,
        middle=matrix.edges["target"] + 0.5,
        line=matrix.edges["source"] + 0.22,
        chosen=matrix.edges["edge"] == chosen,
        number=[f"G {g:+.2f}" if g == g else "no pairs" for g in matrix.edges["G"]],
    ).round({"mean": 4, "G": 4})
    octaves = matrix.sizes["octave"]
    span, inside = max(1, octaves.max() - octaves.min()), 1 - 2 * MARGIN
    lines = matrix.sizes.merge(edges[["edge", "source", "target"]], on="edge")
    share = (lines["mean"] - limits[0]) / (limits[1] - limits[0])
    lines = lines.assign(
        x=lines["target"] + MARGIN + inside * (lines["octave"] - octaves.min()) / span,
        y=lines["source"] + 1 - MARGIN - (1 - 4 * MARGIN) * share,
    )
    x, y = (
        alt.X("target:Q", title="to branch", scale=alt.Scale(nice=False), axis=None),
        alt.Y(
            "source:Q", title="from branch", scale=alt.Scale(nice=False, reverse=True), axis=None
        ),
    )
    color = alt.Color(
        "G:Q",
        title="G",
        scale=alt.Scale(domain=[-1, 0, 1], range=["#ca7a2c", "#f4f4f4", "#6a8fd0"]),
        legend=alt.Legend(orient="bottom", gradientLength=160, values=[-1, 0, 1]),
    )
    tips = [
        alt.Tooltip("arrow:N", title="transfer"),
        alt.Tooltip("gates:Q", title="gates (mean)"),
        alt.Tooltip("mean:Q", title="mean gate", format=".3f"),
        alt.Tooltip("G:Q", format="+.3f"),
        alt.Tooltip("pairs:Q", title="pairs"),
    ]
    pick = alt.selection_point(name=CELL, fields=["edge"], on="click", clear=False)
    base = alt.Chart(edges)
    cells = base.mark_rect(stroke=GUIDE, strokeWidth=1, cursor="pointer").encode(
        x=x, x2="right:Q", y=y, y2="bottom:Q", color=color, tooltip=tips
    )
    dark: dict[str, Any] = {"color": "#1a1a1a", "fontSize": 11, "tooltip": None}
    names = base.mark_text(dy=-1, **dark).encode(
        x=alt.X("middle:Q", axis=None), y=alt.Y("line:Q", axis=None), text="arrow:N"
    )
    numbers = base.mark_text(dy=12, **dark).encode(
        x=alt.X("middle:Q", axis=None), y=alt.Y("line:Q", axis=None), text="number:N"
    )
    frame = (
        base.transform_filter("datum.chosen")
        .mark_rect(fill=None, stroke="#1a1a1a", strokeWidth=4, tooltip=None)
        .encode(x=x, x2="right:Q", y=y, y2="bottom:Q")
    )
    drawn = (
        alt.Chart(lines[["edge", "octave", "x", "y"]].round(4))
        .mark_line(color="#1a1a1a", strokeWidth=2, tooltip=None)
        .encode(
            x=alt.X("x:Q", axis=None), y=alt.Y("y:Q", axis=None), detail="edge:N", order="octave:Q"
        )
    )
    return alt.layer(cells.add_params(pick), drawn, names, numbers, frame).properties(
        height=75 * len(set(edges["source"])) + 60
    )


def histogram_chart(table: pd.DataFrame, limits: Range) -> alt.LayerChart | alt.FacetChart:
    """Draw shares of cells by gate value; small shares stay visible (square-root scale).

    Args:
        table: ``model``, ``left``, ``right``, ``share``.
        limits: Ends of the axis.
    """
    # A step ends where the next one starts, so each network needs a last point.
    last = table[table["right"] == table["right"].max()]
    table = pd.concat([table, last.assign(left=last["right"])], ignore_index=True)
    share = alt.Y(
        "share:Q",
        title="share of cells (root scale)",
        stack=None,
        scale=alt.Scale(type="sqrt", domainMin=0),
        axis=alt.Axis(
            format="~%", values=[0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1], labelOverlap="greedy"
        ),
    )
    base = alt.Chart(table).encode(
        x=alt.X("left:Q", title="gate value", scale=_range(limits)),
        y=share,
        color=model_color().legend(_legend(table, symbolType="stroke", symbolSize=300)),
        tooltip=_tips("left", "right", "share"),
    )
    area = base.mark_area(interpolate="step-after", opacity=0.25)
    line = base.mark_line(interpolate="step-after").encode(
        strokeDash=model_dash().legend(_legend(table, symbolType="stroke", symbolSize=300))
    )
    return alt.layer(area, line).properties(height=HEIGHT)


def size_chart(table: pd.DataFrame, limits: Range) -> alt.Chart:
    """Draw the mean gate by object size.

    Args:
        table: What ``means_by_size`` gave.
        limits: Ends of the gate's range.
    """
    order = table.drop_duplicates("octave").sort_values("octave")["size"].tolist()
    size = alt.X("size:O", sort=order, title="size of the region (px)", axis=alt.Axis(labelAngle=0))
    chart: alt.Chart = (
        alt.Chart(table)
        .mark_line(point=marker(70))
        .encode(
            x=size,
            y=alt.Y("mean:Q", title="mean gate", scale=_range(limits)),
            color=model_color().legend(_legend(table)),
            shape=model_shape().legend(_legend(table)),
            strokeDash=model_dash(),
            tooltip=[alt.Tooltip("size:O"), *_tips("mean"), alt.Tooltip("regions:Q")],
        )
        .properties(height=HEIGHT)
    )
    return chart


def class_chart(table: pd.DataFrame, limits: Range) -> alt.Chart:
    """Draw the mean gate by class.

    Args:
        table: What ``means_by_class`` gave.
        limits: Ends of the gate's range.
    """
    order = table.groupby("class")["mean"].mean().sort_values(ascending=False).index.tolist()
    names = alt.Y(
        "class:N",
        sort=order,
        title=None,
        axis=every_label(grid=True),
    )
    chart: alt.Chart = (
        alt.Chart(table)
        .mark_point(size=70, filled=True, opacity=1)
        .encode(
            x=alt.X("mean:Q", title="mean gate", scale=_range(limits)),
            y=names,
            color=model_color().legend(_legend(table)),
            shape=model_shape().legend(_legend(table)),
            tooltip=[alt.Tooltip("class:N"), *_tips("mean"), alt.Tooltip("regions:Q")],
        )
        .properties(height=max(HEIGHT, 20 * len(order) + 40))
    )
    return chart


def _range(limits: Range) -> alt.Scale:
    return alt.Scale(domain=list(limits), nice=False, zero=False)


def _legend(table: pd.DataFrame, **more: Any) -> alt.Legend | None:
    """Return a legend where two networks are drawn; the headline names a single one."""
    return alt.Legend(**more) if table["model"].nunique() > 1 else None


def _tips(*numbers: str) -> list[alt.Tooltip]:
    return [alt.Tooltip("model:N"), *(alt.Tooltip(f"{n}:Q", format=".3f") for n in numbers)]
