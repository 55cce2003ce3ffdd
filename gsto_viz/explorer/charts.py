"""What all charts of the pages share: A and B by colour, dash and marker, on light and on dark."""

from typing import Any

import altair as alt

from gsto_viz.explorer.shown import LETTERS

MODEL_COLORS = ("#4477aa", "#dd5f4b")
"""A and B; both keep a contrast of 3 to 1 on white and on Streamlit's dark background."""
BRANCH_COLORS = ("#3a86c8", "#d5693a", "#2e9e78", "#b5739d", "#b08a1e", "#7b7fb8")
"""By branch, the finest first; likewise."""


def model_color(title: str = "network") -> alt.Color:
    """Return the colour channel of a column ``model`` that holds A and B."""
    return alt.Color("model:N", scale=alt.Scale(domain=LETTERS, range=MODEL_COLORS), title=title)


def model_dash(title: str = "network") -> alt.StrokeDash:
    """Return the dash channel of a column ``model``: A solid, B dashed."""
    scale = alt.Scale(domain=LETTERS, range=[[1, 0], [5, 3]])
    return alt.StrokeDash("model:N", scale=scale, title=title)


def model_shape(title: str = "network") -> alt.Shape:
    """Return the marker channel of a column ``model``: A a disc, B a diamond."""
    scale = alt.Scale(domain=LETTERS, range=["circle", "diamond"])
    return alt.Shape("model:N", scale=scale, title=title)


def every_label(**more: Any) -> alt.Axis:
    """Return an axis of names, each beside its mark: Streamlit's theme moves the first and last."""
    return alt.Axis(labelOverlap=False, labelLimit=260, labelFlush=False, **more)
