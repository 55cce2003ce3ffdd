"""The chart of mean responses by object size, for one image as for many."""

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd
import streamlit as st

from gsto_viz.colors import BRANCHES
from gsto_viz.explorer.charts import mark_scale
from gsto_viz.explorer.safe_text import plain
from gsto_viz.plots import tuning_fan_data
from gsto_viz.plots.sizes import response_words

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
    line = base.mark_line(point={"size": 60, "filled": True}).encode(
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
