"""Heat maps at image coordinates, each with a colour bar that has numbers."""

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.image import AxesImage

from gsto_viz.errors import GstoVizError
from gsto_viz.heatmaps import RAW_BADGE, HeatMap, check_grid
from gsto_viz.plots.colors import colormap
from gsto_viz.plots.panels import frame_image, grey, show
from gsto_viz.plots.style import SMALL

BAR_GAP, BAR_HEIGHT = 0.04, 0.06
"""Inches between a map and its colour bar, and of the bar itself."""
BAR_WIDTH = 0.85
"""Smallest width of a bar in inches: two numbers of eight characters fit."""
BAR_SPACE = 0.26
"""Inches below a map that its bar and the bar's numbers take."""


def draw_heatmap(
    heatmap: HeatMap,
    *,
    ax: Axes,
    image: npt.NDArray[np.uint8] | None = None,
    size: tuple[int, int] | None = None,
    opacity: float = 0.6,
    interpolation: str = "nearest",
    caption: bool = True,
) -> Axes:
    """Draw a map where it lies in the image, with a colour bar below.

    Cell k of stride s covers pixels [k s, (k + 1) s); what the last cells have beyond the image is
    cut off. Cells that do not count are grey.

    Args:
        heatmap: What to draw.
        ax: Where; the bar takes ``BAR_SPACE`` inches below, the caption two more lines.
        image: (H, W, 3) uint8; drawn grey below the map.
        size: (H, W) of the image when it is not drawn; by default the whole grid is shown.
        opacity: Of the map over the image, 0..1; without an image the map is opaque.
        interpolation: ``nearest`` shows the cells that were measured; others invent values.
        caption: Write below the bar what the numbers are, and the badge of raw maps.

    Returns:
        ``ax``; its last child axes are the bar.

    Raises:
        GstoVizError: The map does not lie on its stride's grid for this image.
    """
    paint(heatmap, ax=ax, image=image, size=size, opacity=opacity, interpolation=interpolation)
    bar = draw_bar(heatmap, ax=ax)
    if caption:
        lines = [heatmap.label, RAW_BADGE] if heatmap.raw else [heatmap.label]
        bar.set_xlabel("\n".join(lines), fontsize=SMALL, labelpad=1)
    return ax


def paint(
    heatmap: HeatMap,
    *,
    ax: Axes,
    image: npt.NDArray[np.uint8] | None = None,
    size: tuple[int, int] | None = None,
    opacity: float = 0.6,
    interpolation: str = "nearest",
) -> AxesImage:
    """Draw a map where it lies in the image, without a bar; arguments as ``draw_heatmap``."""
    rows, columns = heatmap.values.shape
    if not 0 <= opacity <= 1:
        raise GstoVizError(f"opacity {opacity:g} is not possible; give 0 (clear) to 1 (opaque)")
    if image is not None:
        size = (image.shape[0], image.shape[1])
    elif size is None:
        size = (rows * heatmap.stride, columns * heatmap.stride)
    check_grid(heatmap.values, heatmap.stride, size, "the heat map")
    if image is not None:
        show(grey(image), ax=ax)
    artist = ax.imshow(
        np.ma.masked_invalid(heatmap.values),
        cmap=colormap(heatmap.mode, heatmap.colors),
        vmin=heatmap.low,
        vmax=heatmap.high,
        extent=(0, columns * heatmap.stride, rows * heatmap.stride, 0),
        interpolation=interpolation,
        alpha=1.0 if image is None else opacity,
        zorder=1,
    )
    frame_image(ax, size)
    return artist


def draw_bar(heatmap: HeatMap, *, ax: Axes) -> Axes:
    """Draw the colour bar of a map below its axes; return the bar's axes.

    It is as wide as the map, but never too narrow for its numbers.
    """
    ax.apply_aspect()
    width, height = ax.bbox.width / ax.figure.dpi, ax.bbox.height / ax.figure.dpi  # inches
    share = max(1.0, BAR_WIDTH / width)
    place = (0.5 - share / 2, -(BAR_GAP + BAR_HEIGHT) / height, share, BAR_HEIGHT / height)
    bar = ax.inset_axes(place)
    fill_bar(heatmap, bar)
    return bar


def fill_bar(heatmap: HeatMap, bar: Axes) -> None:
    """Draw a horizontal colour bar into ``bar``, its numbers below and inside its width.

    The bar has the full colours of the numbers, also where the map is mixed with the image.
    """
    below, above = heatmap.clipped
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[below, above]
    ticks = bar_ticks(heatmap)
    table = colormap(heatmap.mode, heatmap.colors)
    colors = ScalarMappable(Normalize(heatmap.low, heatmap.high), table)
    colorbar = bar.figure.colorbar(
        colors, cax=bar, orientation="horizontal", extend=extend, extendfrac=0.06
    )
    colorbar.outline.set_linewidth(0.4)
    bar.set_xticks(ticks, [number(tick) for tick in ticks], fontsize=SMALL)
    bar.tick_params(length=1.5, pad=1, width=0.4)
    bar.minorticks_off()
    labels = bar.get_xticklabels()
    labels[0].set_horizontalalignment("left")
    labels[-1].set_horizontalalignment("right")


def bar_ticks(heatmap: HeatMap) -> list[float]:
    """Return where the bar has numbers: both ends, and the middle where that means something."""
    symmetric = heatmap.low == -heatmap.high
    if symmetric or heatmap.mode == "percentile":
        return [heatmap.low, (heatmap.low + heatmap.high) / 2, heatmap.high]
    return [heatmap.low, heatmap.high]


def number(value: float) -> str:
    """Return ``value`` with three significant digits."""
    return f"{value:.3g}"
