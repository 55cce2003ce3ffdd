"""The annotation of one image, prepared once for all networks, and as null models have it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from gsto_viz.attribution.transfer import regions_at, resized_size
from gsto_viz.errors import GstoVizError
from gsto_viz.regions.prepared import PreparedRegions, prepare_regions
from gsto_viz.report.settings import DOUBLED, Settings
from gsto_viz.stats.annotation import Annotation, annotate
from gsto_viz.stats.boundary_pixels import BoundaryPixels, boundary_pixels
from gsto_viz.stats.nulls import shift_map, shift_regions, toroidal_shift
from gsto_viz.types import Sample


@dataclass(frozen=True, eq=False)
class Annotated:
    """One image with everything that its labels alone decide.

    Attributes:
        sample: The image.
        grids: Its regions on the grids of a network.
        truth: What predictions are counted against.
        edges: Its pixels by distance to the edge, on the same grids.
        shifts: The shifts of N1, (rows, columns); empty without nulls or for tiny images.
        moved: Its regions under each of them.
        partner: The image whose annotation N2 takes, with its regions; None without one.
    """

    sample: Sample
    grids: PreparedRegions
    truth: Annotation
    edges: BoundaryPixels
    shifts: tuple[tuple[int, int], ...] = ()
    moved: tuple[PreparedRegions, ...] = ()
    partner: tuple[Sample, PreparedRegions] | None = None

    @property
    def broken(self) -> tuple[PreparedRegions, ...]:
        """The regions of N1, draw by draw, and then those of N2, where there are any."""
        return (*self.moved, *(() if self.partner is None else (self.partner[1],)))

    @property
    def broken_names(self) -> tuple[tuple[str, int], ...]:
        """Null model and draw of each entry of ``broken``."""
        shifts = tuple(("N1", draw) for draw in range(len(self.moved)))
        return (*shifts, *(() if self.partner is None else (("N2", 0),)))

    def doubled(self) -> Iterator[PreparedRegions]:
        """Yield its regions, and then those of ``broken``, in the image at twice its size.

        One after the other: of a large image all of them together take a gigabyte.
        """
        size = resized_size(self.grids.shape, DOUBLED)
        for labels, cut in zip(self._labels(), (self.grids, *self.broken), strict=True):
            yield regions_at(labels, cut.regions.ids, size, self.grids.strides)

    def _labels(self) -> Iterator[npt.NDArray[np.integer]]:
        """Yield the labels that its regions, and then those of ``broken``, are cut from."""
        assert self.sample.labels is not None
        yield self.sample.labels
        for shift in self.shifts:
            yield shift_map(self.sample.labels, shift)
        if self.partner is not None:
            assert self.partner[0].labels is not None
            yield self.partner[0].labels


def prepared(sample: Sample, strides: tuple[int, ...]) -> PreparedRegions:
    """Cut an image's annotation and weigh its regions on every grid.

    Raises:
        GstoVizError: The image has no labels.
    """
    if sample.labels is None:
        raise GstoVizError(f"{sample.id} has no labels; sizes of objects need annotated images")
    return prepare_regions(sample.labels, strides, sample.instances)


def annotated(
    sample: Sample, partner: Sample | None, strides: tuple[int, ...], settings: Settings
) -> Annotated:
    """Prepare an image's annotation, and with nulls that of its partner and its own under shifts.

    Args:
        sample: The image.
        partner: Whose annotation N2 takes; None leaves N2 out.
        strides: Of the network's branches.
        settings: Of the analysis.

    Raises:
        GstoVizError: The image has no labels.
    """
    grids = prepared(sample, strides)
    regions = grids.regions
    shifts = _shifts(grids, sample, settings)
    return Annotated(
        sample,
        grids,
        truth=annotate(regions.ids, regions.class_id),
        edges=boundary_pixels(regions, strides),
        shifts=shifts,
        moved=tuple(_shifted(grids, sample, shift) for shift in shifts),
        partner=None if partner is None else (partner, prepared(partner, strides)),
    )


def _shifts(
    grids: PreparedRegions, sample: Sample, settings: Settings
) -> tuple[tuple[int, int], ...]:
    """Draw the shifts of N1; none without nulls, and where the image is too small."""
    if not settings.nulls:
        return ()
    draw = partial(toroidal_shift, grids.shape, grids.strides[-1], image=sample.id)
    try:
        return tuple(draw(seed=settings.seed, draw=k) for k in range(settings.shifts))
    except GstoVizError:
        return ()


def _shifted(grids: PreparedRegions, sample: Sample, shift: tuple[int, int]) -> PreparedRegions:
    """Return the regions of an image shifted on the torus (N1)."""
    assert sample.labels is not None
    return prepare_regions(
        shift_map(sample.labels, shift),
        grids.strides,
        regions=shift_regions(grids.regions, shift),
    )
