"""What all charts of the pages share: A and B by colour, dash and marker, on light and on dark."""

from collections.abc import Sequence
from typing import Any, Literal

import altair as alt

from gsto_viz.colors import NETWORKS, Mark
from gsto_viz.explorer.shown import LETTERS

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
    """Return the dash channel of a column ``model``: A solid, B dashed."""
    return alt.StrokeDash("model:N", scale=mark_scale(LETTERS, NETWORKS, "dash"), title=title)


def model_shape(title: str = "network") -> alt.Shape:
    """Return the marker channel of a column ``model``: A a disc, B a diamond."""
    return alt.Shape("model:N", scale=mark_scale(LETTERS, NETWORKS, "shape"), title=title)


def every_label(**more: Any) -> alt.Axis:
    """Return an axis of names, each beside its mark: Streamlit's theme moves the first and last."""
    return alt.Axis(labelOverlap=False, labelLimit=260, labelFlush=False, **more)
