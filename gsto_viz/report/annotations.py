"""The annotation of one image, prepared once for all networks, and as null models have it."""

from dataclasses import dataclass

from gsto_viz.errors import GstoVizError
from gsto_viz.regions.prepared import PreparedRegions, prepare_regions
from gsto_viz.report.settings import Settings
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
        moved: Its regions under every shift of N1; empty without nulls or for tiny images.
        partner: The image whose annotation N2 takes, with its regions; None without one.
    """

    sample: Sample
    grids: PreparedRegions
    truth: Annotation
    edges: BoundaryPixels
    moved: tuple[PreparedRegions, ...] = ()
    partner: tuple[Sample, PreparedRegions] | None = None


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
    moved = (
        shifted(grids, sample, draw, settings.seed)
        for draw in range(settings.shifts if settings.nulls else 0)
    )
    return Annotated(
        sample,
        grids,
        truth=annotate(regions.ids, regions.class_id),
        edges=boundary_pixels(regions, strides),
        moved=tuple(one for one in moved if one is not None),
        partner=None if partner is None else (partner, prepared(partner, strides)),
    )


def shifted(grids: PreparedRegions, sample: Sample, draw: int, seed: int) -> PreparedRegions | None:
    """Return the regions of an image shifted on the torus (N1); None where it is too small."""
    assert sample.labels is not None
    shape = (sample.labels.shape[0], sample.labels.shape[1])
    try:
        shift = toroidal_shift(shape, grids.strides[-1], image=sample.id, seed=seed, draw=draw)
    except GstoVizError:
        return None
    return prepare_regions(
        shift_map(sample.labels, shift),
        grids.strides,
        regions=shift_regions(grids.regions, shift),
    )
