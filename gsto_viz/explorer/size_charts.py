"""Altair charts of the page "Sizes"; networks differ by colour and marker, branches likewise."""

from collections.abc import Sequence, Sized
from functools import partial

import altair as alt
import numpy as np
import pandas as pd

from gsto_viz.colors import NETWORKS
from gsto_viz.explorer.charts import every_label, mark_scale
from gsto_viz.explorer.fan_chart import Layers
from gsto_viz.explorer.size_report import INTERVAL
from gsto_viz.report.folder import shown_p
from gsto_viz.words import INDICES, index_label

Limits = tuple[tuple[float, float], tuple[float, float]]
BRUSH = "box"
"""Name of the scatter's selection."""
GUIDE = "#8a8a8a"
"""Colour of reference lines, seen on light and on dark."""
FEW_POINTS = 400
"""Up to so many regions are drawn larger."""


def scatter(
    rows: pd.DataFrame, letter: str, position: int, limits: Limits, box: Limits | None = None
) -> alt.Chart:
    """Draw q against size for one network, with a box to draw.

    Args:
        rows: What ``region_rows`` gave, thinned.
        letter: The network.
        position: 0 for the first network, 1 for the second.
        limits: Of octaves and of q, shared by the networks.
        box: Ends, in octaves and in q, of a box that is there from the start.
    """
    q = f"q_{letter}"
    brush = partial(alt.selection_interval, name=BRUSH, encodings=["x", "y"])
    shown = rows[["octave", q, "image", "region", "class", "size_px"]].dropna(subset=[q])
    # A tooltip with a field called "image" makes the browser fetch what it holds.
    shown = shown.rename(columns={q: "q", "image": "of"}).round({"octave": 3, "q": 4, "size_px": 1})
    (left, right), (low, high) = limits
    few = len(rows) <= FEW_POINTS
    x = alt.X(
        "octave:Q",
        title="size (octaves: log2 of pixels)",
        scale=alt.Scale(domain=[left, right], nice=False),
        axis=alt.Axis(tickMinStep=1, format="d"),
    )
    return (
        alt.Chart(shown)
        .mark_point(
            filled=True,
            size=70 if few else 22,
            opacity=0.8 if few else 0.45,
            color=NETWORKS[position].color,
            shape=NETWORKS[position].shape,
        )
        .encode(
            x=x,
            y=alt.Y(
                "q:Q",
                title="q (coarser upwards)",
                scale=alt.Scale(domain=[low, high], nice=False),
            ),
            tooltip=[
                alt.Tooltip("of:N", title="name of image"),
                "region:Q",
                "class:N",
                "size_px:Q",
                "q:Q",
            ],
        )
        .add_params(brush() if box is None else brush(value={"x": box[0], "y": box[1]}))
        # One canvas instead of thousands of elements, none of which has a text of its own.
        .properties(height=300, usermeta={"embedOptions": {"renderer": "canvas"}})
    )


def limits_of(rows: pd.DataFrame, letters: Sequence[str]) -> Limits:
    """Return the limits of octaves (whole) and of q (rounded outwards to halves) of all points."""
    octaves = rows["octave"].to_numpy(dtype=np.float64)
    q = rows[[f"q_{letter}" for letter in letters]].to_numpy(dtype=np.float64)
    bottom, top = np.nanmin(q), np.nanmax(q)
    return (
        (float(np.floor(octaves.min())), float(np.floor(octaves.max()) + 1)),
        (float(np.floor(2 * bottom) / 2), float(np.ceil(2 * top) / 2)),
    )


def nulls(table: pd.DataFrame, letters: Sequence[str]) -> Layers:
    """Draw SCI of the networks with intervals, and their null models below each.

    Args:
        table: ``model``, ``source`` (``model`` or the null), ``value``, ``low``, ``high``; one row
            each, see ``gsto_viz.plots.sci_dots_data``.
        letters: The networks, in order.
    """
    table = table[table["value"].notna()].copy()
    table["name"] = [
        model if source == "model" else f"{model} {source}"
        for model, source in zip(table["model"], table["source"], strict=True)
    ]
    table["kind"] = np.where(table["source"] == "model", "network", "null model")
    shown = table[["name", "model", "kind", "value", "low", "high"]].round(4)
    order = list(dict.fromkeys(shown["name"]))
    y = alt.Y("name:N", sort=order, title=None, axis=every_label())
    color = alt.Color("model:N", title="network", scale=_models(letters))
    x = alt.X("value:Q", title=f"SCI ({INDICES['sci'].axis})", scale=_share())
    base = alt.Chart(shown)
    bars = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", scale=_share()), x2="high:Q", y=y, color=color
    )
    dots = base.mark_point(filled=True, size=80).encode(
        x=x,
        y=y,
        color=color,
        shape=alt.Shape(
            "kind:N",
            legend=None,
            scale=alt.Scale(domain=["network", "null model"], range=["circle", "square"]),
        ),
        tooltip=["name:N", "value:Q", "low:Q", "high:Q"],
    )
    chance = alt.Chart(pd.DataFrame({"value": [0.5]})).mark_rule(strokeDash=[2, 3], color=GUIDE)
    return alt.layer(chance.encode(x=x), bars, dots).properties(height=_height(order))


def differences(table: pd.DataFrame) -> Layers:
    """Draw B - A of every index with its interval; confirmatory ones are filled.

    Args:
        table: What ``paired_table`` gave.
    """
    shown = table[table["difference"].notna()].copy()
    shown["name"] = [index_label(name) for name in shown["index"]]
    shown["adjusted"] = [
        shown_p(*both) for both in zip(shown["p_adjusted"], shown["p"], strict=True)
    ]
    shown = shown[["name", "family", "difference", "low", "high", "adjusted"]].round(4)
    y = alt.Y("name:N", sort=list(shown["name"]), title=None, axis=every_label())
    base = alt.Chart(shown)
    bars = base.mark_rule(strokeWidth=2, color=NETWORKS[0].color).encode(
        x="low:Q", x2="high:Q", y=y
    )
    dots = base.mark_point(size=80, stroke=NETWORKS[0].color).encode(
        x=alt.X("difference:Q", title="B - A"),
        y=y,
        shape=alt.Shape("family:N", title="family", scale=_families(["circle", "diamond"])),
        fill=alt.Fill("family:N", title="family", scale=_families([NETWORKS[0].color, "white"])),
        tooltip=[
            alt.Tooltip("name:N", title="index"),
            alt.Tooltip("difference:Q", title="B - A"),
            *(alt.Tooltip(f"{end}:Q", title=title) for end, title in INTERVAL.items()),
            alt.Tooltip("adjusted:N", title="p, adjusted"),
        ],
    )
    zero = alt.Chart(pd.DataFrame({"difference": [0.0]})).mark_rule(strokeDash=[2, 3], color=GUIDE)
    layers = alt.layer(zero.encode(x="difference:Q"), bars, dots)
    return layers.properties(height=_height(shown))


def _models(letters: Sequence[str]) -> alt.Scale:
    return mark_scale(letters, NETWORKS, "color")


def _families(values: list[str]) -> alt.Scale:
    return alt.Scale(domain=["confirmatory", "exploratory"], range=values)


def _share() -> alt.Scale:
    return alt.Scale(domain=[0, 1])


def _height(lines: Sized) -> int:
    """Return the height of a chart with so many lines, axis and title included."""
    return 70 + 22 * len(lines)
