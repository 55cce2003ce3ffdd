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
from gsto_viz.inspection import DEFAULT_SITE, inspect_image
from gsto_viz.models.hrnet import MIN_SIZE, HRNet
from gsto_viz.regions import find_regions, table_of_regions
from gsto_viz.stats.transfer import BORDER_COLUMN, border_distance
from gsto_viz.types import Sample

OCTAVES = (-1.0, -0.5, 0.5, 1.0)


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


def transfer_tables(
    model: HRNet,
    sample: Sample,
    octaves: Sequence[float] = OCTAVES,
    *,
    gains: Mapping[str, Gains] | None = None,
    site: str = DEFAULT_SITE,
) -> TransferTables:
    """Run one annotated image through a network at several sizes: 2 passes per m, and 1.

    Args:
        model: A network from a checkpoint.
        sample: With labels.
        octaves: m != 0 each; |m| <= 1 is what training augmentations reach.
        gains: Per-channel gains; None takes those of the checkpoint.
        site: Taps of the branches.

    Raises:
        GstoVizError: No labels, m is 0, or an image would be smaller than 32 pixels.
    """
    if sample.labels is None:
        raise GstoVizError(f"{sample.id} has no labels; scale transfer needs annotated images")
    labels = sample.labels
    ids = find_regions(labels, sample.instances).ids
    size = (int(labels.shape[0]), int(labels.shape[1]))

    def table(
        image: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.integer],
        numbers: npt.NDArray[np.integer] | None,
    ) -> tuple[pd.DataFrame, int]:
        seen = inspect_image(model, image, gains=gains, site=site)
        regions = find_regions(labels, numbers)
        rows = table_of_regions(regions, labels, seen.activity, seen.strides, image=sample.id)
        rows[BORDER_COLUMN] = border_distance(regions.ids)
        return rows, max(seen.strides)

    base, coarsest = table(sample.image, labels, sample.instances)
    resized, blurred = {}, {}
    for m in octaves:
        if m == 0:
            raise GstoVizError("m = 0 is the image as it is; give octaves other than 0")
        at = resized_size(size, m)
        image = resize_image(sample.image, at)
        resized[m] = table(image, resize_map(labels, at), resize_map(ids, at))[0]
        there = resize_image(sample.image, resized_size(size, -abs(m)))
        blurred[m] = table(resize_image(there, size), labels, ids)[0]
    return TransferTables(base, resized, blurred, coarsest)


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
