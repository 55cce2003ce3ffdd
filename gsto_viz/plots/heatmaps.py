"""Heat maps at image coordinates, each with a colour bar that has numbers."""

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.image import AxesImage

from gsto_viz.errors import GstoVizError
from gsto_viz.heatmaps import RAW_BADGE, HeatMap, check_grid
from gsto_viz.plots.colors import colormap
from gsto_viz.plots.panels import frame_image, grey, show
from gsto_viz.plots.style import SMALL

BAR_GAP, BAR_HEIGHT = 0.04, 0.06
"""Inches between a map and its colour bar, and of the bar itself."""
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
    artist = paint(
        heatmap, ax=ax, image=image, size=size, opacity=opacity, interpolation=interpolation
    )
    bar = draw_bar(heatmap, artist, ax=ax)
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
        cmap=colormap(heatmap.mode),
        vmin=heatmap.low,
        vmax=heatmap.high,
        extent=(0, columns * heatmap.stride, rows * heatmap.stride, 0),
        interpolation=interpolation,
        alpha=1.0 if image is None else opacity,
        zorder=1,
    )
    frame_image(ax, size)
    return artist


def draw_bar(heatmap: HeatMap, artist: AxesImage, *, ax: Axes) -> Axes:
    """Draw the colour bar of ``artist`` below ``ax``, as wide as the map; return its axes."""
    ax.apply_aspect()
    inches = ax.bbox.height / ax.figure.dpi
    place = (0.0, -(BAR_GAP + BAR_HEIGHT) / inches, 1.0, BAR_HEIGHT / inches)
    bar = ax.inset_axes(place)
    below, above = heatmap.clipped
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[below, above]
    ticks = bar_ticks(heatmap)
    colorbar = ax.figure.colorbar(
        artist, cax=bar, orientation="horizontal", extend=extend, ticks=ticks, extendfrac=0.06
    )
    style_bar(colorbar, ticks)
    return bar


def style_bar(colorbar: Colorbar, ticks: list[float]) -> None:
    """Write the numbers of a horizontal bar below it, inside its width."""
    # The bar shows the colours of the numbers; the map may be mixed with the image.
    colorbar.set_alpha(1.0)
    colorbar.outline.set_linewidth(0.4)
    colorbar.ax.set_xticks(ticks, [number(tick) for tick in ticks], fontsize=SMALL)
    colorbar.ax.tick_params(length=1.5, pad=1, width=0.4)
    colorbar.ax.minorticks_off()
    labels = colorbar.ax.get_xticklabels()
    labels[0].set_horizontalalignment("left")
    labels[-1].set_horizontalalignment("right")


def bar_ticks(heatmap: HeatMap) -> list[float]:
    """Return where the bar has numbers: both ends, and the middle where that means something."""
    if heatmap.mode in ("percentile", "zscore"):
        return [heatmap.low, (heatmap.low + heatmap.high) / 2, heatmap.high]
    return [heatmap.low, heatmap.high]


def number(value: float) -> str:
    """Return ``value`` with three significant digits."""
    return f"{value:.3g}"
