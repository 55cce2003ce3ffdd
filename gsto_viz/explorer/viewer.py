"""The viewer as a Streamlit component: linked tiles, a probe that is clicked, one zoom."""

from collections.abc import Mapping
from importlib import resources
from typing import Any

import pandas as pd
import streamlit as st

from gsto_viz.colors import HEARD
from gsto_viz.explorer.texts import written_zoom
from gsto_viz.explorer.values.probe import Point, read_point
from gsto_viz.plots.tiles import color_table

KEY = "viewer"
_FILES = resources.files("gsto_viz") / "explorer"
_component = st.components.v2.component(
    "gsto_viz_viewer",
    html='<div class="viewer"></div>',
    css=(_FILES / "viewer.css").read_text(encoding="utf-8"),
    js=(_FILES / "viewer.js").read_text(encoding="utf-8"),
)
_PAINT_JS = """
export default function ({ data }) {
  if (!data) return;
  const all = (window.gstoVizPaint = window.gstoVizPaint || {});
  all[data.viewer] = { ...all[data.viewer], ...data };
  document.dispatchEvent(new CustomEvent("gsto-viz-paint", { detail: data.viewer }));
}
"""
_paint = st.components.v2.component("gsto_viz_paint", js=_PAINT_JS)
"""Brings to the viewer what changes alone: colours and opacity, the cells that a pixel listens to.
A few kilobytes, where the viewer's numbers are a megabyte."""


def draw_colors(colors: Mapping[str, str], *, opacity: float = 1.0, key: str = KEY) -> None:
    """Show how the viewer colours its maps; draw it outside the fragment that a click runs.

    Args:
        colors: Names of Matplotlib colour maps, by what tiles call their colours.
        opacity: Of maps over the image, 0..1.
        key: Of the viewer.
    """
    tables = {kind: color_table(name) for kind, name in colors.items()}
    data = {"viewer": key, "tables": tables, "opacity": round(opacity, 3)}
    _paint(key=f"{key}-paint", data=data)


def draw_heard(cells: Mapping[str, pd.DataFrame], point: Point, *, key: str = KEY) -> None:
    """Show on the tiles of ``heard_tile`` which cells a pixel listens to.

    Args:
        cells: By letter, what ``heard_cells`` gave.
        point: The pixel; the viewer shows no cells while it probes another one.
        key: Of the viewer.
    """
    columns = ["y0", "x0", "y1", "x1", "weight"]
    tiles = {
        f"heard{letter}": table.loc[table["inside"], columns].round(6).to_numpy().tolist()
        for letter, table in cells.items()
    }
    heard = {"x": point.x, "y": point.y, "color": HEARD, "tiles": tiles}
    _paint(key=f"{key}-heard-paint", data={"viewer": key, "heard": heard})


def draw_viewer(
    data: Mapping[str, Any],
    point: Point,
    *,
    size: tuple[int, int],
    turn: int,
    marks: Mapping[str, Any],
    zoom: str | None = None,
    opened: bool = False,
    key: str = KEY,
) -> Point | None:
    """Draw the tiles and return the pixel that was clicked last; ``draw_colors`` colours them.

    The data stay the same from click to click, so that only the click travels.

    Args:
        data: What ``viewer_data`` and its like gave.
        point: Where the probe starts, and where it goes when ``turn`` changes.
        size: (H, W) of the image.
        turn: Raised whenever the page itself moves the probe.
        marks: ``pin``, x and y of a second pixel that stays marked, or None; ``outline``, whether
            the region under the probe is outlined.
        zoom: The part of the image that the view shows (``ViewState.zoom``).
        opened: The page was just opened or a link was followed: the viewer takes ``zoom``. Else it
            keeps its own.
        key: Of the component.

    Returns:
        None before the first click, and when the page has moved the probe since.
    """
    start = st.session_state.setdefault(f"{key}-start", {})
    if start.get("turn") != turn or start.get("image") != data["image"]:
        # Only where the page itself put the probe, or every click would send the data again.
        if opened or "opened" not in start:
            start.update(opened=turn, zoom=zoom)
        start.update(turn=turn, image=data["image"], x=point.x, y=point.y)
    places = {
        "turn": turn,
        "start": {name: start[name] for name in ("x", "y", "zoom", "opened")},
        **marks,
    }
    result = _component(
        key=key,
        data={"viewer": key, **data, **places},
        on_point_change=lambda: None,
        on_zoom_change=lambda: None,
    )
    return _clicked(result, size, turn)


def last_click(size: tuple[int, int], turn: int, *, key: str = KEY) -> Point | None:
    """Return the pixel that was clicked last, before the viewer is drawn in this run.

    For pages whose tiles depend on the probe. Arguments and result as of ``draw_viewer``.
    """
    return _clicked(st.session_state.get(key), size, turn)


def last_tile(turn: int, *, key: str = KEY) -> str | None:
    """Return the key of the tile that was clicked last, as the page's script says, or None.

    Arguments as of ``draw_viewer``; None also when the page has moved the probe since.
    """
    sent = _sent(st.session_state.get(key), turn)
    tile = None if sent is None else sent.get("tile")
    return tile if isinstance(tile, str) else None


def last_zoom(held: str | None, *, key: str = KEY) -> str | None:
    """Return the part of the image that the viewer shows, once it is drawn in this run.

    Args:
        held: What the view holds; returned until the viewer says something else.
        key: Of the viewer.
    """
    result = st.session_state.get(key)
    sent = result.get("zoom") if isinstance(result, Mapping) else None
    if not isinstance(sent, Mapping):
        return held
    values = [sent.get(name) for name in ("zoom", "left", "top")]
    numbers = [float(one) for one in values if isinstance(one, int | float)]
    since = st.session_state.get(f"{key}-start", {}).get("opened")
    if len(numbers) < len(values) or sent.get("opened") != since:
        return held
    return written_zoom(*numbers)


def _clicked(result: object, size: tuple[int, int], turn: int) -> Point | None:
    sent = _sent(result, turn)
    return None if sent is None else read_point(sent, size)


def _sent(result: object, turn: int) -> Mapping[str, Any] | None:
    sent = result.get("point") if isinstance(result, Mapping) else None
    return sent if isinstance(sent, Mapping) and sent.get("turn") == turn else None
