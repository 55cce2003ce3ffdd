"""The matrix of the page "Gates": what opens for which objects, by source and target branch."""

from typing import Any

import altair as alt

from gsto_viz.explorer.charts import GUIDE, Layers, Range
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
