"""A contact sheet: maps of any taps of one image."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from gsto_viz.errors import GstoVizError
from gsto_viz.heatmaps import RAW_BADGE, HeatMap, gate_map, normalise_map
from gsto_viz.plots import style
from gsto_viz.plots.heatmaps import BAR_SPACE, draw_heatmap
from gsto_viz.plots.layout import GAP, MARGIN, Page, fit_panel, shorten, text_height, wrap
from gsto_viz.plots.panels import draw_image
from gsto_viz.plots.save import set_alt_text

COLUMN_CHOICES = (4, 5, 3)
"""Panels in a row: the first choice that leaves the fewest places of the last row empty."""
MAX_MAPS = 60
"""More than fit a page or two are refused."""
TITLE = 0.17
CAPTIONS = {
    "percentile": "Percentile of each value among the cells of its map, scale 0 to 1.",
    "zscore": "Standard deviations from the mean of each map, scale -3 to 3.",
    "per_map": f"Each map on its own scale ({RAW_BADGE}); colours cannot be compared between maps.",
}


def maps_figure(
    maps: Mapping[str, npt.NDArray[np.floating]],
    image: npt.NDArray[np.uint8],
    *,
    strides: Mapping[str, int],
    mode: str = "percentile",
    gate_range: tuple[float, float] | None = None,
    overlay: bool = False,
    width: float = 8.0,
) -> Figure:
    """Draw an image and maps of any taps, each with a colour bar.

    Args:
        maps: By tap name, (h, w).
        image: (H, W, 3) uint8, the image that the maps were captured from.
        strides: By tap name, pixels per cell.
        mode: ``percentile``, ``zscore`` or ``per_map``.
        gate_range: Infimum and supremum of the gates' form: taps with ``.gate`` in their name are
            drawn on it, whatever the mode. None: gates are drawn as the other maps.
        overlay: Lay the maps over the grey image.
        width: Of the page, inches.

    Raises:
        GstoVizError: No maps or more than 60, a map that is not (h, w) or not on its grid.
    """
    _check_maps(maps, strides)
    size = (image.shape[0], image.shape[1])
    drawn = {
        tap: _prepare(tap, values, strides[tap], mode, gate_range) for tap, values in maps.items()
    }
    caption = _caption(drawn, mode)
    panels = len(maps) + 1
    columns = min(COLUMN_CHOICES, key=lambda count: -panels % count)
    slot = (width - 2 * MARGIN - (columns - 1) * GAP) / columns
    panel = fit_panel(size, slot, 2.2)
    step = TITLE + panel[1] + BAR_SPACE + GAP
    rows = -(-panels // columns)
    with style.context():
        text = wrap(caption, width - 2 * MARGIN, 7.0)
        page = Page(width, rows * step + text_height(text, 7.0) + 2 * MARGIN)
        for k, tap in enumerate(["input", *drawn]):
            row, column = divmod(k, columns)
            left = MARGIN + column * (slot + GAP) + (slot - panel[0]) / 2
            ax = page.axes(left, MARGIN + TITLE + row * step, *panel, label=tap)
            ax.set_title(shorten(tap, slot, 7.0), pad=3)
            if k == 0:
                draw_image(image, ax=ax)
            else:
                under = image if overlay else None
                draw_heatmap(drawn[tap], ax=ax, image=under, size=size, caption=False)
        page.text(MARGIN, page.height - MARGIN, text, va="bottom")
    names = ", ".join(maps)
    set_alt_text(page.figure, f"An image and maps of {len(maps)} taps: {names}. {caption}")
    return page.figure


def _check_maps(maps: Mapping[str, npt.NDArray], strides: Mapping[str, int]) -> None:
    """Refuse what a contact sheet cannot show."""
    if not maps:
        raise GstoVizError("there are no maps to draw; capture at least one tap")
    if len(maps) > MAX_MAPS:
        raise GstoVizError(
            f"{len(maps)} maps do not fit one figure; choose at most {MAX_MAPS} taps"
        )
    for tap, values in maps.items():
        if np.ndim(values) != 2:
            raise GstoVizError(
                f"'{tap}' has shape {np.shape(values)}, not (h, w); reduce its channels to draw it"
            )
        if tap not in strides:
            raise GstoVizError(f"'{tap}' has no stride, so its place in the image is unknown")


def _prepare(
    tap: str,
    values: npt.NDArray[np.floating],
    stride: int,
    mode: str,
    gate_range: tuple[float, float] | None,
) -> HeatMap:
    if gate_range is not None and ".gate" in tap:
        return gate_map(values, stride=stride, limits=gate_range)
    return normalise_map(values, stride=stride, mode=mode)


def _caption(drawn: Mapping[str, HeatMap], mode: str) -> str:
    """Say how the maps were normalised."""
    gates = sum(heatmap.mode == "gate" for heatmap in drawn.values())
    parts = [] if gates == len(drawn) else [CAPTIONS[mode]]
    if gates:
        parts.append("Gates on the range of their form.")
    return " ".join(parts)
