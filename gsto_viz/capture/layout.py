"""Where the channels of a map are: second, as in convolutional networks, or last, as in Swin's.

The size of the image tells it where only one reading is a grid over the image. Where both are, the
last part of the module that knows its width tells it: a linear layer or a layer norm works on the
last axis, a convolution or a batch norm on the second.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from gsto_viz.activity import grid_shape, grid_stride
from gsto_viz.errors import GstoVizError
from gsto_viz.types import Stride, Tap

NCHW, NHWC = LAYOUTS = ("nchw", "nhwc")


def channels_first(value: Tensor, place: Tap, module: nn.Module, size: Sequence[int]) -> Tensor:
    """Return a map as (N, C, h, w), whichever way the module gives it.

    Args:
        value: What the module gave.
        place: Where it was taken, and what is known of it.
        module: The module.
        size: Height and width of the image; empty when it is not known.

    Raises:
        GstoVizError: Both readings are possible.
    """
    if value.ndim != 4 or place.kind != "feature":
        return value
    layout = place.layout or layout_of(tuple(value.shape), place, module, size)
    return value.permute(0, 3, 1, 2) if layout == NHWC else value


def layout_of(shape: Sequence[int], place: Tap, module: nn.Module, size: Sequence[int] = ()) -> str:
    """Return ``nchw`` or ``nhwc`` for a map of four axes.

    Args:
        shape: Of the map.
        place: Its stride and channels, where they are known.
        module: What gave it.
        size: Height and width of the image; empty when it is not known.

    Raises:
        GstoVizError: Both readings are possible.
    """
    if place.channels is not None and shape[1] == place.channels:
        return NCHW
    by_size = [NCHW, NHWC]
    if len(size) == 2:
        grids = {NCHW: tuple(shape[2:]), NHWC: tuple(shape[1:3])}
        by_size = [name for name, grid in grids.items() if _fits(grid, place.stride, size)]
    if len(by_size) == 1:
        return by_size[0]
    if not by_size:
        return NCHW
    last, width = _last_width(module)
    if not last:
        return NCHW
    if width == shape[3] and width != shape[1]:
        return NHWC
    if width == shape[3] and type(module) is nn.LayerNorm:
        return NHWC
    if width == shape[3]:
        raise GstoVizError(
            f"tap '{place.name}' gives {'x'.join(map(str, shape))}, whose channels may be second "
            "or last; write layout: nchw or layout: nhwc in the taps file (in Python Site(layout=))"
        )
    return NCHW


def _fits(grid: tuple[int, ...], stride: Stride | None, size: Sequence[int]) -> bool:
    """Return whether a grid of more than one cell lies over an image, with a stride if known."""
    if 0 in grid or grid == (1, 1):
        return False
    if stride is not None:
        return grid == grid_shape(size[0], size[1], stride)
    return grid_stride((size[0], size[1]), (grid[0], grid[1])) is not None


def _last_width(module: nn.Module) -> tuple[bool, int]:
    """Return whether the last part with a width works on the last axis, and its width."""
    last, width = False, 0
    for part in module.modules():
        if isinstance(part, nn.LayerNorm):
            last, width = True, int(part.normalized_shape[-1])
        elif isinstance(part, nn.Linear):
            last, width = True, part.out_features
        elif isinstance(part, nn.Conv2d):
            last, width = False, part.out_channels
        elif isinstance(part, nn.BatchNorm2d | nn.GroupNorm):
            last, width = False, 0
    return last, width
