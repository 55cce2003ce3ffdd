"""Effective receptive fields of branches, and objects followed over image scales.

The gradient of a cell's channels with respect to the image is squared and summed over channels.
Sums over channels are estimated with random signs (Hutchinson): with v_c = +1 or -1, independent,
the mean of (sum over c of v_c dF_c/dI)^2 is the sum of squares. Each channel is divided by its
standard deviation where gains are given, so that gains of channels do not matter.

Image and labels are resized by 2^m; the regions keep their numbers. The control of blur resizes the
image by 2^-|m| and back, so that only detail is lost and no size changes.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from gsto_viz.activity import cell_at, cell_edges
from gsto_viz.attribution.interventions import constant, frozen_twin, intervene, list_places
from gsto_viz.attribution.targets import stride_of
from gsto_viz.capture.names import resolve
from gsto_viz.data import resize_image, resize_map
from gsto_viz.errors import GstoVizError, RefusedImageError
from gsto_viz.gains import Gains
from gsto_viz.network import Network
from gsto_viz.regions.pooling import PreparedRegions, prepare_regions
from gsto_viz.regions.table import table_of_prepared
from gsto_viz.stats.causal import BORDER_COLUMN, border_distance, effective_size
from gsto_viz.types import (
    BranchMaps,
    Sample,
    Stride,
    Tap,
    coarsest_pixels,
    pixels_per_cell,
)

DRAWS = 4


@dataclass(frozen=True, eq=False)
class ReceptiveField:
    """What one cell of one tap sees of the image.

    Attributes:
        tap: The tap.
        stride: Its grid.
        cell: Row and column on the tap's grid.
        centre: Row and column of the cell's centre, pixels: cell times stride, where a convolution
            with stride puts it; of a pooled cell its middle.
        gradient: (H, W) float64: squared gradients, summed over channels and colours.
        erf_px: Effective size, pixels.
    """

    tap: str
    stride: Stride
    cell: tuple[int, int]
    centre: tuple[float, float]
    gradient: npt.NDArray[np.float64]
    erf_px: float


def receptive_fields(
    model: nn.Module,
    image: Tensor,
    pixels: Sequence[tuple[int, int]],
    taps: str | Sequence[str] | Mapping[str, str] = "stage4.branch*",
    *,
    gated: bool = True,
    gains: Mapping[str, Gains] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[ReceptiveField]:
    """Measure what the cells that hold some pixels see.

    Args:
        model: Any network; it stays as it is.
        image: (1, 3, H, W), normalised, on the network's device.
        pixels: (x, y) each; a tap's cell is the one that holds the pixel.
        taps: As ``Capture`` takes them.
        gated: False: all gates are fixed to 1, which leaves the plain network of the same weights.
        gains: By tap; channels are divided by their standard deviation, dead ones left out.
        draws: Random sign vectors.
        seed: Of the signs.

    Returns:
        By tap and, within it, by pixel.

    Raises:
        GstoVizError: Unknown tap, a pixel outside the image, or a cell that sees nothing.
    """
    if image.shape[0] != 1:
        raise GstoVizError(f"axis 0 of the image {tuple(image.shape)} is not 1; give one image")
    height, width = int(image.shape[-2]), int(image.shape[-1])
    for x, y in pixels:
        if not (0 <= x < width and 0 <= y < height):
            raise GstoVizError(
                f"pixel x={x}, y={y} lies outside the image, which has axes (height {height}, "
                f"width {width}); choose one inside"
            )
    twin = frozen_twin(model)
    found = resolve(twin, taps)
    leaf = image.detach().clone().requires_grad_()
    outputs: dict[str, Tensor] = {}
    with ExitStack() as stack:
        if not gated:
            gates = [constant(p.name, 1.0) for p in list_places(twin) if p.kind == "gate"]
            stack.enter_context(intervene(twin, *gates))
        for tap in found:
            keep = _keeper(outputs, tap)
            stack.callback(twin.get_submodule(tap.module).register_forward_hook(keep).remove)
        stack.enter_context(torch.enable_grad())
        twin(leaf)
    fields = []
    for tap in found:
        stride = tap.stride or _stride(outputs[tap.name], (height, width), tap)
        scale = _scale(outputs[tap.name], (gains or {}).get(tap.name))
        signs = _signs(outputs[tap.name].shape[1], draws, seed).to(scale)
        for x, y in pixels:
            row, column = cell_at(y, x, (height, width), stride)
            cell = (int(row), int(column))
            own = outputs[tap.name][0, :, cell[0], cell[1]]
            gradient = _gradient(own, leaf, signs * scale)
            centre = _centre(cell, (height, width), stride)
            size = effective_size(gradient, centre)
            fields.append(ReceptiveField(tap.name, stride, cell, centre, gradient, size))
    return fields


def _keeper(outputs: dict[str, Tensor], tap: Tap) -> Callable[[nn.Module, object, Tensor], None]:
    """Return a hook that keeps a tap's output with its graph."""

    def keep(module: nn.Module, inputs: object, output: Tensor) -> None:
        outputs[tap.name] = output

    return keep


def _centre(cell: tuple[int, int], size: tuple[int, int], stride: Stride) -> tuple[float, float]:
    """Return row and column of a cell's centre, pixels."""
    pixels = pixels_per_cell(stride)
    if pixels is not None:
        return float(cell[0] * pixels), float(cell[1] * pixels)
    rows, columns = cell_edges(*size, stride)
    down, across = (
        float(edges[k] + edges[k + 1] - 1) / 2
        for edges, k in zip((rows, columns), cell, strict=True)
    )
    return down, across


def _stride(output: Tensor, size: tuple[int, int], tap: Tap) -> int:
    """Return the stride of a foreign tap by its size."""
    if not isinstance(output, Tensor) or output.ndim != 4:
        raise GstoVizError(f"tap '{tap.name}' gives no (N, C, H, W) tensor; name another module")
    return stride_of(size, (int(output.shape[-2]), int(output.shape[-1])))


def _scale(output: Tensor, gains: Gains | None) -> Tensor:
    """Return 1 / sigma of live channels and 0 of dead ones, (C,); 1 without gains."""
    if gains is None:
        return output.new_ones(output.shape[1])
    inverse = np.zeros(gains.channels)
    inverse[gains.live] = 1.0 / gains.sigma[gains.live]
    return torch.from_numpy(inverse).to(output)


def _signs(channels: int, draws: int, seed: int) -> Tensor:
    """Return random signs, (draws, C); every draw is +1 for a single channel."""
    if channels == 1:
        return torch.ones(1, 1)
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 2, (draws, channels), generator=generator) * 2.0 - 1.0


def _gradient(own: Tensor, leaf: Tensor, vectors: Tensor) -> npt.NDArray[np.float64]:
    """Average the squared gradients of random combinations of a cell's channels, (H, W)."""
    total = np.zeros(tuple(leaf.shape[-2:]))
    for vector in vectors:
        (gradient,) = torch.autograd.grad(own @ vector, leaf, retain_graph=True)
        total += gradient[0].double().pow(2).sum(dim=0).cpu().numpy()
    return total / len(vectors)


def field_rows(fields: Sequence[ReceptiveField], image: str) -> pd.DataFrame:
    """Return one row per field: ``image``, ``tap``, ``stride``, ``row``, ``column``, ``erf_px``."""
    return pd.DataFrame(
        {
            "image": pd.Series([image] * len(fields), dtype=str),
            "tap": pd.Series([f.tap for f in fields], dtype=str),
            "stride": [f.stride for f in fields],
            "row": [f.cell[0] for f in fields],
            "column": [f.cell[1] for f in fields],
            "erf_px": [f.erf_px for f in fields],
        }
    )


OCTAVES = (-1.0, -0.5, 0.5, 1.0)


@dataclass(frozen=True, eq=False)
class SizedMaps:
    """Activity maps of one image at several sizes."""

    strides: tuple[Stride, ...]
    base: BranchMaps
    """At the image's own size."""
    resized: dict[float, BranchMaps]
    """By m: at factor 2^m."""
    blurred: dict[float, BranchMaps]
    """By m: of the image resized by 2^-|m| and back."""


@dataclass(frozen=True, eq=False)
class TransferTables:
    """Region tables of one image at several sizes, each with ``border_distance_px``."""

    base: pd.DataFrame
    """At the image's own size."""
    resized: dict[float, pd.DataFrame]
    """By m: at factor 2^m; ``instance_id`` is the region's number in ``base``."""
    blurred: dict[float, pd.DataFrame]
    """By m: of the image resized by 2^-|m| and back."""
    coarsest: int
    """Stride of the coarsest branch, pixels: objects nearer to the border do not count."""


def sized_maps(
    network: Network, image: npt.NDArray[np.uint8], octaves: Sequence[float] = OCTAVES
) -> SizedMaps:
    """Run one image through a network at several sizes: 2 passes per m, and 1.

    Args:
        network: A network with gains.
        image: (H, W, 3) uint8 sRGB.
        octaves: m != 0 each; |m| <= 1 is what training augmentations reach.

    Raises:
        GstoVizError: m is 0.
        RefusedImageError: The network does not take one of these sizes.
    """
    size = (int(image.shape[0]), int(image.shape[1]))
    base = network.look(image, raw=False, gates=False)
    resized, blurred = {}, {}
    for m in octaves:
        if m == 0:
            raise GstoVizError("m = 0 is the image as it is; give octaves other than 0")
        resized[m] = maps_at(network, image, m)
        there = resize_image(image, resized_size(size, -abs(m)))
        back = resize_image(there, size)
        blurred[m] = network.look(back, raw=False, gates=False).activity
    return SizedMaps(base.strides, base.activity, resized, blurred)


def maps_at(network: Network, image: npt.NDArray[np.uint8], m: float) -> BranchMaps:
    """Return the activity maps of one image at factor 2^m; arguments as of ``sized_maps``.

    Raises:
        RefusedImageError: The network does not take this size.
    """
    size = (int(image.shape[0]), int(image.shape[1]))
    resized = resize_image(image, resized_size(size, m))
    try:
        return network.look(resized, raw=False, gates=False).activity
    except RefusedImageError as error:
        raise RefusedImageError(
            f"an image of {size[0]}x{size[1]} resized by {m:g} octaves: {error}"
        ) from error


def sized_tables(maps: SizedMaps, sample: Sample) -> TransferTables:
    """Measure the regions of an annotated image on its maps at several sizes.

    Args:
        maps: Of the image, from ``sized_maps``.
        sample: The image, with labels.

    Raises:
        GstoVizError: No labels.
    """
    labels = _labels_of(sample)
    own = prepare_regions(labels, maps.strides, sample.instances)
    ids = own.regions.ids
    size = (int(labels.shape[0]), int(labels.shape[1]))
    again = prepare_regions(labels, maps.strides, ids)
    return TransferTables(
        base=placed_table(own, maps.base, sample.id),
        resized={
            m: placed_table(
                regions_at(labels, ids, resized_size(size, m), maps.strides), one, sample.id
            )
            for m, one in maps.resized.items()
        },
        blurred={m: placed_table(again, one, sample.id) for m, one in maps.blurred.items()},
        coarsest=coarsest_pixels(maps.strides),
    )


def regions_at(
    labels: npt.NDArray[np.integer],
    ids: npt.NDArray[np.integer],
    size: tuple[int, int],
    strides: tuple[Stride, ...],
) -> PreparedRegions:
    """Resize an annotation; its regions keep their numbers, as ``instance_id``.

    Args:
        labels: (H, W) class indices.
        ids: (H, W) region numbers, 0 = none.
        size: (H, W) to resize to.
        strides: Of the branches.
    """
    return prepare_regions(resize_map(labels, size), strides, resize_map(ids, size))


def placed_table(prepared: PreparedRegions, maps: BranchMaps, image: str) -> pd.DataFrame:
    """Return the region table of one size with ``border_distance_px``, as ``transfer_rows`` reads.

    Args:
        prepared: The regions of the image at the size of the maps.
        maps: One activity map per branch.
        image: Name of the image.
    """
    table = table_of_prepared(prepared, maps, image)
    table[BORDER_COLUMN] = border_distance(prepared.regions.ids)
    return table


def _labels_of(sample: Sample) -> npt.NDArray[np.integer]:
    if sample.labels is None:
        raise GstoVizError(f"{sample.id} has no labels; scale transfer needs annotated images")
    return sample.labels


def resized_size(size: tuple[int, int], m: float) -> tuple[int, int]:
    """Return (H, W) times 2^m, rounded to whole pixels, at least one."""
    height, width = (max(1, round(n * 2.0**m)) for n in size)
    return height, width
