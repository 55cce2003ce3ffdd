"""Charts of the page "Scale probe": tuning curves by branch, and q, against the object's size."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from gsto_viz.colors import BRANCHES
from gsto_viz.explorer.charts import mark_scale, model_color, model_dash, model_shape
from gsto_viz.explorer.view_state import MAX_OBJECT, MIN_OBJECT
from gsto_viz.types import Stride

HEIGHT = 260
TICKS = (4, 8, 16, 32, 64, 128, 256)


def tuning_chart(
    table: pd.DataFrame, strides: Sequence[Stride], side: float
) -> alt.LayerChart | alt.FacetChart:
    """Draw the response of each branch of one network against the object's size.

    Args:
        table: Rows of one network of ``curve_table``.
        strides: Of all branches, the finest first.
        side: The size that is marked, px.
    """
    names = [f"/{stride}" for stride in strides]
    colors = mark_scale(names, BRANCHES, "color")
    shapes = mark_scale(names, BRANCHES, "shape")
    lines = (
        alt.Chart(table.assign(branch="/" + table["stride"].astype(str)))
        .mark_line(point={"size": 60, "filled": True})
        .encode(
            x=_size(),
            y=alt.Y(
                "percentile:Q",
                title="mean percentile on the object",
                scale=alt.Scale(domain=[0, 1]),
            ),
            color=alt.Color("branch:N", scale=colors, sort=names, title="branch"),
            shape=alt.Shape("branch:N", scale=shapes, sort=names, title="branch"),
            tooltip=[
                alt.Tooltip("branch:N"),
                alt.Tooltip("side:Q", format=".1f", title="size (px)"),
                alt.Tooltip("percentile:Q", format=".3f"),
            ],
        )
    )
    return alt.layer(_mark(side), lines).properties(height=HEIGHT)


def coarseness_chart(table: pd.DataFrame, side: float) -> alt.LayerChart | alt.FacetChart:
    """Draw q of A and B against the object's size.

    Args:
        table: What ``curve_table`` gave.
        side: The size that is marked, px.
    """
    rows = table.drop_duplicates(["model", "side"])[["model", "side", "q"]]
    lines = (
        alt.Chart(rows)
        .mark_line(point={"size": 60, "filled": True})
        .encode(
            x=_size(),
            y=alt.Y("q:Q", title="q (larger = coarser)"),
            color=model_color(),
            shape=model_shape(),
            strokeDash=model_dash(),
            tooltip=[
                alt.Tooltip("model:N"),
                alt.Tooltip("side:Q", format=".1f", title="size (px)"),
                alt.Tooltip("q:Q", format="+.3f"),
            ],
        )
    )
    return alt.layer(_mark(side), lines).properties(height=HEIGHT)


def _size() -> alt.X:
    """Return the axis of sizes: octaves, from the smallest to the largest object."""
    scale = alt.Scale(type="log", base=2, domain=[MIN_OBJECT * 0.9, MAX_OBJECT * 1.1], nice=False)
    return alt.X(
        "side:Q",
        title="size of the object (px)",
        scale=scale,
        axis=alt.Axis(values=list(TICKS), format="d"),
    )


def _mark(side: float) -> alt.Chart:
    """Return a vertical line at the size that is shown above."""
    rule: alt.Chart = (
        alt.Chart(pd.DataFrame({"side": [side]}))
        .mark_rule(strokeDash=[2, 2], color="#888888", strokeWidth=2)
        .encode(x=_size())
    )
    return rule
