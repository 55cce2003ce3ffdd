"""Scale transfer: the same objects, larger and smaller, as tables for ``gsto_viz.stats.transfer``.

Image and labels are resized by 2^m; the regions keep their numbers. The control of blur resizes the
image by 2^-|m| and back, so that only detail is lost and no size changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.data.spec import resize_image, resize_map
from gsto_viz.errors import GstoVizError
from gsto_viz.gains import Gains
from gsto_viz.inspection import inspect_image
from gsto_viz.models.hrnet import MIN_SIZE, HRNet
from gsto_viz.regions.prepared import PreparedRegions, prepare_regions
from gsto_viz.regions.table import table_of_prepared
from gsto_viz.stats.transfer import BORDER_COLUMN, border_distance
from gsto_viz.types import BranchMaps, Sample

OCTAVES = (-1.0, -0.5, 0.5, 1.0)


@dataclass(frozen=True, eq=False)
class SizedMaps:
    """Activity maps of one image at several sizes."""

    strides: tuple[int, ...]
    base: BranchMaps
    """Of the image as it is."""
    resized: dict[float, BranchMaps]
    """By m: at factor 2^m."""
    blurred: dict[float, BranchMaps]
    """By m: of the image resized by 2^-|m| and back."""


@dataclass(frozen=True, eq=False)
class TransferTables:
    """Region tables of one image at several sizes, each with ``border_distance_px``."""

    base: pd.DataFrame
    """Of the image as it is."""
    resized: dict[float, pd.DataFrame]
    """By m: at factor 2^m; ``instance_id`` is the region's number in ``base``."""
    blurred: dict[float, pd.DataFrame]
    """By m: of the image resized by 2^-|m| and back."""
    coarsest: int
    """Stride of the coarsest branch, pixels: objects nearer to the border do not count."""


def sized_maps(
    model: HRNet,
    image: npt.NDArray[np.uint8],
    octaves: Sequence[float] = OCTAVES,
    *,
    gains: Mapping[str, Gains] | None = None,
) -> SizedMaps:
    """Run one image through a network at several sizes: 2 passes per m, and 1.

    Args:
        model: A network from a checkpoint.
        image: (H, W, 3) uint8 sRGB.
        octaves: m != 0 each; |m| <= 1 is what training augmentations reach.
        gains: Per-channel gains; None takes those of the checkpoint.

    Raises:
        GstoVizError: m is 0, or an image would be smaller than 32 pixels.
    """
    size = (int(image.shape[0]), int(image.shape[1]))
    base = inspect_image(model, image, gains=gains)
    resized, blurred = {}, {}
    for m in octaves:
        if m == 0:
            raise GstoVizError("m = 0 is the image as it is; give octaves other than 0")
        resized[m] = maps_at(model, image, m, gains=gains)
        there = resize_image(image, resized_size(size, -abs(m)))
        back = resize_image(there, size)
        blurred[m] = inspect_image(model, back, gains=gains).activity
    return SizedMaps(base.strides, base.activity, resized, blurred)


def maps_at(
    model: HRNet,
    image: npt.NDArray[np.uint8],
    m: float,
    *,
    gains: Mapping[str, Gains] | None = None,
) -> BranchMaps:
    """Return the activity maps of one image at factor 2^m; arguments as of ``sized_maps``."""
    at = resized_size((int(image.shape[0]), int(image.shape[1])), m)
    return inspect_image(model, resize_image(image, at), gains=gains).activity


def transfer_tables(
    model: HRNet,
    sample: Sample,
    octaves: Sequence[float] = OCTAVES,
    *,
    gains: Mapping[str, Gains] | None = None,
) -> TransferTables:
    """Run ``sized_maps`` on an image with labels, and measure its regions on what it gives.

    Raises:
        GstoVizError: No labels, m is 0, or an image would be smaller than 32 pixels.
    """
    _labels_of(sample)
    return sized_tables(sized_maps(model, sample.image, octaves, gains=gains), sample)


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
        coarsest=max(maps.strides),
    )


def regions_at(
    labels: npt.NDArray[np.integer],
    ids: npt.NDArray[np.integer],
    size: tuple[int, int],
    strides: tuple[int, ...],
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
    """Return (H, W) times 2^m, rounded to whole pixels.

    Raises:
        GstoVizError: Smaller than the networks take.
    """
    height, width = (round(n * 2.0**m) for n in size)
    if min(height, width) < MIN_SIZE:
        raise GstoVizError(
            f"an image of {size[0]}x{size[1]} resized by {m:g} octaves is {height}x{width}, and "
            f"networks need {MIN_SIZE}x{MIN_SIZE}; give larger images or smaller octaves"
        )
    return height, width
