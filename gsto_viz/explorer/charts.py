"""Altair charts of the pages: networks and branches by colour, dash and marker."""

from collections.abc import Mapping, Sequence, Sized
from functools import partial
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st

from gsto_viz.colors import BRANCHES, NETWORKS, Mark
from gsto_viz.explorer.shown import LETTERS
from gsto_viz.explorer.texts import plain
from gsto_viz.explorer.values.runs import SCORES, TrainingLog, thinned_curve
from gsto_viz.explorer.values.sizes import INTERVAL
from gsto_viz.explorer.view_state import MAX_OBJECT, MIN_OBJECT
from gsto_viz.plots import tuning_fan_data
from gsto_viz.plots.sizes import response_words
from gsto_viz.report.folder import shown_p
from gsto_viz.types import Stride
from gsto_viz.words import INDICES, NULLS, index_label

TEXT = {"light": "#4d5160", "dark": "#c3c6d0"}
"""Of axes and legends by theme, 7 to 1 and more: Streamlit's grey on white has 3.7 to 1."""


@alt.theme.register("gsto_viz", enable=True)
def readable_text() -> alt.theme.ThemeConfig:
    """Return what every chart adds to Streamlit's theme: text with enough contrast."""
    words: Any = dict.fromkeys(("labelColor", "titleColor"), TEXT[st.context.theme.type or "light"])
    return {"config": {"axis": words, "legend": words, "header": words}}


COLORS = [mark.color for mark in NETWORKS[: len(LETTERS)]]
"""Of A and B."""


def mark_scale(
    names: Sequence[str], marks: Sequence[Mark], what: Literal["color", "shape", "dash"]
) -> alt.Scale:
    """Return the scale that draws names, in order, by a part of their marks."""
    drawn = marks[: len(names)]
    values: list[Any] = [getattr(mark, what) or (1, 0) for mark in drawn]
    return alt.Scale(domain=list(names), range=values)


def model_color(title: str = "network") -> alt.Color:
    """Return the colour channel of a column ``model`` that holds A and B."""
    return alt.Color("model:N", scale=mark_scale(LETTERS, NETWORKS, "color"), title=title)


def model_dash(title: str = "network") -> alt.StrokeDash:
    """Return the dash channel of a column ``model``: A solid, B dashed.

    It has no legend of its own: a legend draws markers, and a dashed outline makes one a blob.
    """
    scale = mark_scale(LETTERS, NETWORKS, "dash")
    return alt.StrokeDash("model:N", scale=scale, title=title, legend=None)


def model_shape(title: str = "network") -> alt.Shape:
    """Return the marker channel of a column ``model``: A a disc, B a diamond."""
    return alt.Shape("model:N", scale=mark_scale(LETTERS, NETWORKS, "shape"), title=title)


def marker(size: int) -> dict[str, Any]:
    """Return the markers of a line, filled and without an outline, which would be dashed too."""
    return {"size": size, "filled": True, "strokeWidth": 0}


def every_label(**more: Any) -> alt.Axis:
    """Return an axis of names, each beside its mark: Streamlit's theme moves the first and last."""
    return alt.Axis(labelOverlap=False, labelLimit=260, labelFlush=False, **more)


Layers = alt.LayerChart | alt.FacetChart


def draw_fans(
    frames: Mapping[str, pd.DataFrame],
    draws: Mapping[str, Sequence[pd.DataFrame]],
    names: Mapping[str, str],
) -> None:
    """Draw one fan per network, beside each other.

    Args:
        frames: By network, what ``response_by_octave`` gave.
        draws: By network, the same of random weights; may be empty.
        names: By network, the checkpoint.
    """
    for column, letter in zip(st.columns(len(frames)), frames, strict=True):
        with column:
            st.markdown(f"**{letter}: {plain(names[letter])}**")
            if frames[letter].empty:
                st.markdown("No such region.")
                continue
            st.altair_chart(
                fan(frames, draws, letter),
                width="stretch",
                alt=response_words({letter: frames[letter]}, draws),
            )


def fan(
    frames: Mapping[str, pd.DataFrame], draws: Mapping[str, Sequence[pd.DataFrame]], letter: str
) -> Layers:
    """Draw the mean response of every branch of one network by size, random weights dashed.

    Args:
        frames: By network, what ``response_by_octave`` gave.
        draws: By network, the same of random weights; may be empty.
        letter: Whose panel this is.
    """
    table = tuning_fan_data(
        {letter: frames[letter]}, {letter: draws[letter]} if letter in draws else None
    )
    table = table.assign(middle=table["octave"] + 0.5, branch="/" + table["stride"].astype(str))
    trained = table[table["weights"] == "trained"]
    shown = ["branch", "middle", "mean", "low", "high", "n_regions", "n_images"]
    names = list(dict.fromkeys(trained.sort_values("stride")["branch"]))
    color = alt.Color(
        "branch:N",
        title="branch (stride)",
        sort=names,
        legend=alt.Legend(symbolOpacity=1, orient="bottom"),
        scale=mark_scale(names, BRANCHES, "color"),
    )
    octaves = [f(table["octave"]) for f in (min, max)]
    x = alt.X(
        "middle:Q",
        title="size (octaves: log2 of pixels)",
        scale=alt.Scale(domain=[octaves[0], octaves[1] + 1], nice=False),
        axis=alt.Axis(tickMinStep=1, format="d"),
    )
    y = alt.Y("mean:Q", title="mean percentile", scale=alt.Scale(domain=[0, 1]))
    base = alt.Chart(trained[shown].round(4))
    band = base.mark_area(opacity=0.18).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=color)
    line = base.mark_line(point=marker(60)).encode(
        x=x,
        y=y,
        color=color,
        shape=alt.Shape(
            "branch:N",
            title="branch (stride)",
            sort=names,
            scale=mark_scale(names, BRANCHES, "shape"),
        ),
        tooltip=["branch:N", "mean:Q", "low:Q", "high:Q", "n_regions:Q", "n_images:Q"],
    )
    layers: list[alt.Chart] = [band, line]
    untrained = table[table["weights"] == "random"]
    if len(untrained):
        means = untrained.groupby(["branch", "middle"], as_index=False)["mean"].mean().round(4)
        dashed = alt.Chart(means).mark_line(strokeDash=[5, 3], strokeWidth=1.2)
        layers.append(dashed.encode(x=x, y=y, color=color))
    return alt.layer(*layers).properties(height=360)


HEIGHT = 240
Range = tuple[float, float]


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
        .mark_line(point=marker(60))
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
        .mark_line(point=marker(60))
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
        .properties(height=280)
    )


def scores(logs: Mapping[str, TrainingLog], score: str = "miou") -> alt.Chart | None:
    """Draw a score on the validation images by epoch; None when no run was evaluated by it yet.

    Args:
        logs: By run.
        score: One of ``SCORES``.
    """
    tables = {run: log.val for run, log in logs.items()}
    return _by_epoch(tables, score, f"{SCORES[score]} (%)", ())


def confusion(logs: Mapping[str, TrainingLog]) -> Layers | None:
    """Draw SCI on validation images by epoch, chance as a line; None when no run has logged it."""
    tables = {run: log.sci for run, log in logs.items()}
    curves = _by_epoch(tables, "sci", "SCI", ("images", "pairs"))
    if curves is None:
        return None
    chance = alt.Chart(pd.DataFrame({"sci": [0.5]})).mark_rule(strokeDash=[2, 3], color=GUIDE)
    return alt.layer(chance.encode(y="sci:Q"), curves)


def _by_epoch(
    tables: Mapping[str, pd.DataFrame], column: str, title: str, told: Sequence[str]
) -> alt.Chart | None:
    """Draw what is measured now and then by epoch, one curve per run; ``told`` is in tooltips."""
    columns = ["epoch", "step", column, *told]
    parts = [table.reindex(columns=columns).assign(run=run) for run, table in tables.items()]
    table = pd.concat(parts, ignore_index=True).dropna(subset=["epoch", column])
    if table.empty:
        return None
    names = list(tables)
    scale = mark_scale(names, NETWORKS, "shape")
    return (
        alt.Chart(table)
        .mark_line(point=marker(50), strokeWidth=1.4)
        .encode(
            x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y(f"{column}:Q", title=title, scale=alt.Scale(zero=False)),
            color=_color(names),
            strokeDash=_dash(names).legend(None),
            shape=alt.Shape("run:N", title="run", scale=scale),
            tooltip=[
                *("run:N", "epoch:Q", "step:Q", alt.Tooltip(f"{column}:Q", format=".3~f")),
                *(f"{name}:Q" for name in told),
            ],
        )
        .properties(height=280)
    )


def _color(names: Sequence[str]) -> alt.Color:
    scale = mark_scale(names, NETWORKS, "color")
    return alt.Color("run:N", title="run", scale=scale, legend=alt.Legend(orient="bottom"))


def _dash(names: Sequence[str]) -> alt.StrokeDash:
    scale = mark_scale(names, NETWORKS, "dash")
    return alt.StrokeDash("run:N", title="run", scale=scale)


def branch_chart(rows: pd.DataFrame, column: str, title: str) -> Layers:
    """Draw a number of every branch of A and B, with a line at 0.

    Args:
        rows: ``model``, ``stride`` and the column.
        column: What is drawn.
        title: Of the axis.
    """
    table = rows[["model", "stride", column]].dropna().round({column: 5})
    zero = alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(color=GUIDE).encode(y="zero:Q")
    line = (
        alt.Chart(table)
        .mark_line(point={"size": 70, "filled": True})
        .encode(
            x=alt.X("stride:O", title="stride of the branch (px)", axis=alt.Axis(labelAngle=0)),
            y=alt.Y(f"{column}:Q", title=title),
            color=model_color(),
            shape=model_shape(),
            strokeDash=model_dash(),
        )
    )
    return (zero + line).properties(height=220)


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
        model if source == "model" else f"{model}, {NULLS[source].label}"
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
    dots = base.mark_point(filled=True, size=80, opacity=1).encode(
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
