"""The figure of maps at any taps and on the image: one panel each, one scale per method."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from gsto_viz.errors import GstoVizError
from gsto_viz.heatmaps import HeatMap
from gsto_viz.plots import style
from gsto_viz.plots.attribution import LABELS, check_height, method_maps
from gsto_viz.plots.attribution_captions import color_words
from gsto_viz.plots.attribution_checks import CHECKED, panel_checks
from gsto_viz.plots.heatmaps import fill_bar, paint
from gsto_viz.plots.layout import (
    GAP,
    MARGIN,
    Page,
    fit_panel,
    shorten,
    text_height,
    text_width,
    wrap,
)
from gsto_viz.plots.panels import draw_image, draw_outlines
from gsto_viz.plots.save import set_alt_text

WIDTH = 8.0
COLUMNS = 5
"""Panels side by side at most, the image among them."""
LARGEST = (2.4, 2.0)
"""Greatest width and height of a panel, inches."""
NARROWEST = 5.0
"""Least width of the page: a colour bar with its label and the caption fit."""
TITLE = 7.0
"""Font size of the panels' titles, points."""
HEAD, BAR = 0.2, 0.36
"""Inches above a panel for its title, and below a method's panels for the bar."""
CAPTION = (
    "Each method has one scale, symmetric about 0. White outline: the target. After each tap: its "
    "stride. Every tap inside the network is explained alone. Colours end at the 99.5th percentile "
    "of a method's map."
)


def figure_taps(
    image: npt.NDArray[np.uint8],
    outline: npt.NDArray[np.integer],
    maps: Mapping[str, npt.NDArray[np.floating]],
    map_strides: Mapping[str, int],
    *,
    title: str,
    score: str = "margin",
    sanity: pd.DataFrame | None = None,
) -> Figure:
    """Draw maps of one target, method by method: the image first, then a panel per tap.

    Args:
        image: (H, W, 3) uint8.
        outline: (H, W): 0 outside the target.
        maps: By name, ``{method}/{tap}`` or ``{method}/input``.
        map_strides: Pixels per cell of each map.
        title: What is explained.
        score: ``margin``, ``mean`` or ``sum``: what the methods explain.
        sanity: ``check``, ``subject``, ``value``, ``cells``: written below each map.

    Raises:
        GstoVizError: There are no maps, one does not lie on its grid, or the score is unknown.
    """
    groups: dict[str, list[str]] = {}
    for name in maps:
        groups.setdefault(name.split("/")[0], []).append(name)
    if not groups:
        raise GstoVizError("there are no maps at taps to draw; name a tap or a method on the image")
    columns = min(COLUMNS, 1 + max(map(len, groups.values())))
    room = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS
    slot = min(LARGEST[0], room * COLUMNS / columns)
    width = max(NARROWEST, 2 * MARGIN + columns * slot + (columns - 1) * GAP)
    panel = fit_panel((image.shape[0], image.shape[1]), slot, LARGEST[1])
    step = HEAD + panel[1] + (0.05 if sanity is None else check_height())
    rows = [-(-(1 + len(names)) // columns) for names in groups.values()]
    caption = f"{CAPTION} {color_words(groups, score)}"
    if sanity is not None:
        caption += f" {CHECKED}"
    caption = wrap(caption, width - 2 * MARGIN, style.SMALL)
    height = MARGIN + 0.25 + sum(rows) * step + len(rows) * BAR
    height += text_height(caption, style.SMALL) + 2 * MARGIN
    with style.context():
        page = Page(width, height)
        heading = shorten(title, width - 2 * MARGIN, style.HEADING, bold=True)
        page.text(MARGIN, MARGIN, heading, fontsize=style.HEADING, fontweight="bold")
        top = MARGIN + 0.25
        for (method, names), count in zip(groups.items(), rows, strict=True):
            label = LABELS.get(method, method)
            drawn = method_maps(method, names, maps, map_strides, label)
            for k in range(1 + len(names)):
                row, column = divmod(k, columns)
                corner = (MARGIN + column * (slot + GAP), top + row * step + HEAD)
                if k == 0:
                    ax = page.axes(*corner, *panel)
                    draw_image(image, ax=ax).set_title("input and target", pad=3)
                    draw_outlines(outline, ax=ax)
                    continue
                below = None if sanity is None else panel_checks(sanity, names[k - 1])
                _draw_map(page, corner, panel, outline, names[k - 1], drawn[k - 1], below, slot)
            top += count * step
            fill_bar(drawn[0], page.axes(MARGIN, top + 0.06, 1.6, 0.07))
            page.text(MARGIN + 1.7, top + 0.04, label, fontsize=style.SMALL)
            top += BAR
        page.text(MARGIN, height - MARGIN, caption, fontsize=style.SMALL, va="bottom")
    set_alt_text(page.figure, f"{title}. {_in_words(groups)}")
    return page.figure


def _draw_map(
    page: Page,
    corner: tuple[float, float],
    panel: tuple[float, float],
    outline: npt.NDArray[np.integer],
    name: str,
    heatmap: HeatMap,
    below: str | None,
    slot: float,
) -> None:
    """Draw one map with the target's outline, its tap above and its checks below."""
    ax = page.axes(*corner, *panel)
    paint(heatmap, ax=ax, size=(outline.shape[0], outline.shape[1]))
    draw_outlines(outline, ax=ax)
    tap = name.split("/", 1)[1]
    end = f" /{heatmap.stride}"
    ax.set_title(shorten(tap, slot - text_width(end, TITLE), TITLE) + end, pad=3)
    if below is not None:
        page.text(corner[0], corner[1] + panel[1] + 0.04, below, fontsize=style.SMALL)


def _in_words(groups: Mapping[str, list[str]]) -> str:
    """Say which maps there are."""
    parts = [
        f"{LABELS.get(method, method)} at {', '.join(name.split('/', 1)[1] for name in names)}"
        for method, names in groups.items()
    ]
    return f"Maps: {'; '.join(parts)}."
