"""Charts of the page "Gates": histogram, and means by size and class, of one gate of A and B."""

import altair as alt
import pandas as pd

from gsto_viz.explorer.charts import every_label, model_color, model_dash, model_shape

HEIGHT = 240
Limits = tuple[float, float]


def histogram_chart(table: pd.DataFrame, limits: Limits) -> alt.LayerChart | alt.FacetChart:
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
        color=model_color().legend(_legend(table)),
        tooltip=_tips("left", "right", "share"),
    )
    area = base.mark_area(interpolate="step-after", opacity=0.25)
    line = base.mark_line(interpolate="step-after").encode(
        strokeDash=model_dash().legend(_legend(table))
    )
    return alt.layer(area, line).properties(height=HEIGHT)


def size_chart(table: pd.DataFrame, limits: Limits) -> alt.Chart:
    """Draw the mean gate by object size.

    Args:
        table: What ``means_by_size`` gave.
        limits: Ends of the gate's range.
    """
    order = table.drop_duplicates("octave").sort_values("octave")["size"].tolist()
    size = alt.X("size:O", sort=order, title="size of the region (px)", axis=alt.Axis(labelAngle=0))
    chart: alt.Chart = (
        alt.Chart(table)
        .mark_line(point={"size": 70, "filled": True})
        .encode(
            x=size,
            y=alt.Y("mean:Q", title="mean gate", scale=_range(limits)),
            color=model_color().legend(_legend(table)),
            shape=model_shape().legend(_legend(table)),
            strokeDash=model_dash().legend(_legend(table)),
            tooltip=[alt.Tooltip("size:O"), *_tips("mean"), alt.Tooltip("regions:Q")],
        )
        .properties(height=HEIGHT)
    )
    return chart


def class_chart(table: pd.DataFrame, limits: Limits) -> alt.Chart:
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


def _range(limits: Limits) -> alt.Scale:
    return alt.Scale(domain=list(limits), nice=False, zero=False)


def _legend(table: pd.DataFrame) -> alt.Legend | None:
    """Return a legend where two networks are drawn; the headline names a single one."""
    return alt.Legend() if table["model"].nunique() > 1 else None


def _tips(*numbers: str) -> list[alt.Tooltip]:
    return [alt.Tooltip("model:N"), *(alt.Tooltip(f"{n}:Q", format=".3f") for n in numbers)]
