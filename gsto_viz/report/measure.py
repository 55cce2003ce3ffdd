"""One image: its regions as annotated and as null models move them, its gates and its features.

N1 shifts the annotation, N2 takes that of another image. (N3, random weights, is a network of its
own; N4, permuted sizes, needs the table alone; N5 replaces the branches by one common map.)
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gsto_viz.activity import pool_to
from gsto_viz.attribution.receptive import regions_at, resized_size
from gsto_viz.data import annotation_of
from gsto_viz.errors import GstoVizError, NumberingError
from gsto_viz.look import Look
from gsto_viz.network import Network
from gsto_viz.regions.find import MIN_AREA_PX, number_regions
from gsto_viz.regions.pooling import PreparedRegions, prepare_regions
from gsto_viz.regions.table import region_arrays
from gsto_viz.report.folder import DOUBLED, Settings
from gsto_viz.report.tables import Columns
from gsto_viz.stats.atlas import PASSED, PICTURE, RESIZED, feature_sums
from gsto_viz.stats.boundary import BoundaryPixels, boundary_pixels
from gsto_viz.stats.gates import gate_columns, gate_ends, gate_sums
from gsto_viz.stats.listening import Heard, listen
from gsto_viz.stats.nulls import (
    Annotation,
    annotate,
    shift_length,
    shift_map,
    shift_regions,
    toroidal_shift,
)
from gsto_viz.stats.pairs import find_pairs, squared_sizes
from gsto_viz.stats.upsampling import neighbour_sums
from gsto_viz.types import Dataset, Sample, Stride
from gsto_viz.words import counted


@dataclass(frozen=True, eq=False)
class Moved:
    """The annotation of an image as a null model has it.

    Attributes:
        null: ``N1`` or ``N2``.
        draw: Number of the draw.
        image: Whose annotation it is.
        labels: (H, W) labels that the regions are cut from.
        grids: The regions on the grids of a network.
    """

    null: str
    draw: int
    image: str
    labels: npt.NDArray[np.integer]
    grids: PreparedRegions


@dataclass(frozen=True, eq=False)
class Annotated:
    """One image with everything that its labels alone decide.

    Attributes:
        sample: The image.
        grids: Its regions on the grids of a network.
        truth: What predictions are counted against.
        edges: Its pixels by distance to the edge, on the same grids.
        moved: N1, draw by draw, and N2; empty without nulls.
    """

    sample: Sample
    grids: PreparedRegions
    truth: Annotation
    edges: BoundaryPixels
    moved: tuple[Moved, ...] = ()

    def doubled(self) -> Iterator[PreparedRegions]:
        """Yield its regions, and then the moved ones, in the image at twice its size.

        One after the other: of a large image all of them together take a gigabyte.
        """
        size = resized_size(self.grids.shape, DOUBLED)
        own = (self.sample.labels, self.grids)
        for labels, grids in (own, *((one.labels, one.grids) for one in self.moved)):
            assert labels is not None
            yield regions_at(labels, grids.regions.ids, size, self.grids.strides)


def prepared(sample: Sample, strides: tuple[Stride, ...]) -> PreparedRegions:
    """Cut an image's annotation and weigh its regions on every grid.

    Raises:
        GstoVizError: The image has no labels.
    """
    if sample.labels is None:
        raise GstoVizError(f"{sample.id} has no labels; sizes of objects need annotated images")
    return prepare_regions(sample.labels, strides, sample.instances)


class ObjectCount(NamedTuple):
    """What label maps hold that statistics could be made of, up to the first image with a pair.

    Attributes:
        images: Label maps that could be read.
        regions: Regions of all of them.
        qualifying: Regions of at least 64 px.
        most: Qualifying regions of one image at most.
        largest_px: Area of the largest region.
        paired: Whether an image has two that qualify and are an octave apart.
        hidden: Images in which two of that size are an octave apart, but of any two one lies in
            cells that are mostly ignored.
    """

    images: int = 0
    regions: int = 0
    qualifying: int = 0
    most: int = 0
    largest_px: int = 0
    paired: bool = False
    hidden: int = 0

    @property
    def lack(self) -> str:
        """What is missing for pairs, with counts; empty where nothing is, or nothing was read."""
        if self.paired or not self.images:
            return ""
        if not self.regions:
            return (
                f"none of {counted(self.images, 'image')} has a region that counts: pixels of no "
                "class and crowds do not, nor what is no person with joints where a network finds "
                "joints"
            )
        regions = counted(self.regions, "region")
        images = counted(self.images, "image")
        if not self.qualifying:
            return (
                f"none of {regions} in {images} has {MIN_AREA_PX} px, and smaller ones do not "
                f"count: the largest has {self.largest_px}"
            )
        return (
            f"{images} without a pair: SCI compares two regions of one image, of at least "
            f"{MIN_AREA_PX} px and an octave apart, and {self.qualifying} of {regions} have that "
            f"size, at most {self.most} in one image"
            + f" ({counted(self.hidden, 'image')} with pairs among ignored pixels, whose cells "
            "do not count)" * bool(self.hidden)
        )

    def refuse_none(self) -> None:
        """Refuse label maps of which no region qualifies, also where maps cannot be read.

        Raises:
            GstoVizError: Nothing can be measured.
        """
        if not self.qualifying:
            raise GstoVizError(f"{self.lack}; gsto-viz check says what the label maps hold")


def count_objects(
    data: Dataset, count: int, grids: Collection[tuple[Stride, ...]] = ()
) -> ObjectCount:
    """Count what the first images of a data set hold, up to the first that has a pair.

    Images that cannot be read are left out; of files, labels alone are read.

    Args:
        data: The images.
        count: How many of them.
        grids: Grids of the branches of each network: a pair counts on the grids of any of them.

    Raises:
        NumberingError: Label maps are of another convention.
    """
    found = ObjectCount()
    for index in range(count):
        try:
            one = annotation_of(data, index)
        except NumberingError:
            raise
        except GstoVizError:
            continue
        if one.labels is None:
            continue
        ids = number_regions(one.labels, one.instances, crowds=False)
        area = np.bincount(ids.ravel())[1:]
        large = area[area >= MIN_AREA_PX]
        apart = find_pairs(squared_sizes(large))[0].size > 0
        paired = apart and (
            not grids or any(_has_pair(one.labels, one.instances, strides) for strides in grids)
        )
        found = ObjectCount(
            found.images + 1,
            found.regions + area.size,
            found.qualifying + large.size,
            max(found.most, large.size),
            max(found.largest_px, int(area.max(initial=0))),
            paired,
            found.hidden + (apart and not paired),
        )
        if found.paired:
            break
    return found


def _has_pair(
    labels: npt.NDArray[np.uint8],
    instances: npt.NDArray[np.int32] | None,
    strides: tuple[Stride, ...],
) -> bool:
    """Return whether two regions that qualify on all grids are an octave apart."""
    there = prepare_regions(labels, strides, instances)
    table = region_arrays(there, [np.zeros(grid.shape, np.float32) for grid in there.grids])
    return find_pairs(squared_sizes(table["area_px"][table["qualifies"]]))[0].size > 0


def annotated(
    sample: Sample, partner: Sample | None, strides: tuple[Stride, ...], settings: Settings
) -> Annotated:
    """Prepare an image's annotation, and with nulls that of its partner and its own under shifts.

    Args:
        sample: The image.
        partner: Whose annotation N2 takes; None leaves N2 out.
        strides: Of the network's branches.

    Raises:
        GstoVizError: The image has no labels.
    """
    grids = prepared(sample, strides)
    moved: list[Moved] = []
    if settings.has_null("N1"):
        moved += shifted_annotations(sample, grids, settings.shifts, settings.seed)
    if partner is not None:
        there = prepared(partner, strides)
        assert partner.labels is not None
        moved.append(Moved("N2", 0, partner.id, partner.labels, there))
    return Annotated(
        sample,
        grids,
        truth=annotate(grids.regions.ids, grids.regions.class_id),
        edges=boundary_pixels(grids.regions, strides),
        moved=tuple(moved),
    )


def shifted_annotations(
    sample: Sample, grids: PreparedRegions, shifts: int, seed: int
) -> Iterator[Moved]:
    """Shift the regions of an image on the torus (N1); none where the image is too small."""
    assert sample.labels is not None
    least = shift_length(grids.shape, grids.strides)
    for draw in range(shifts):
        try:
            shift = toroidal_shift(grids.shape, least, image=sample.id, seed=seed, draw=draw)
        except GstoVizError:
            return
        labels = shift_map(sample.labels, shift)
        there = prepare_regions(labels, grids.strides, regions=shift_regions(grids.regions, shift))
        yield Moved("N1", draw, sample.id, labels, there)


def reservoir(
    qualifies: npt.NDArray[np.bool_], image: str, *, seed: int, limit: int
) -> npt.NDArray[np.bool_]:
    """Choose the rows of one image that stay: those that qualify first, at random beyond ``limit``.

    A region's place in the draw is fixed by seed, image and region number, so the choice is the
    same for every model and on every machine.

    Args:
        qualifies: (K,).
        image: Name of the image.
        seed: Of the draw.
        limit: Rows that stay at most.

    Returns:
        (K,) True for rows that stay.
    """
    if qualifies.size <= limit:
        return np.ones(qualifies.size, dtype=bool)
    draw = [
        hashlib.blake2b(f"{seed}\0{image}\0{k + 1}".encode(), digest_size=8).digest()
        for k in range(qualifies.size)
    ]
    order = sorted(range(qualifies.size), key=lambda k: (not qualifies[k], draw[k]))
    kept = np.zeros(qualifies.size, dtype=bool)
    kept[order[:limit]] = True
    return kept


def gate_tables(network: Network, grids: PreparedRegions, look: Look) -> tuple[Columns, Columns]:
    """Describe the gates of one image.

    Returns:
        ``g/TAP``, ``g_core/TAP`` and ``g_band/TAP``, the mean g' over parts of regions, (K,) each;
        and sums over the valid cells of every gate map, one row per gate. Both are empty without
        gates.
    """
    anatomy = network.anatomy
    if anatomy.gate_range is None:
        return {}, {}
    means: dict[str, npt.NDArray] = {}
    taps: list[str] = []
    sums = []
    for stride in dict.fromkeys(gate.stride for gate in anatomy.gates):
        maps = {one.name: look.gates[one.name] for one in anatomy.gates if one.stride == stride}
        at = grids.strides.index(stride)
        valid, part = grids.valid[at], grids.regions.part
        means |= gate_columns(maps, grids.grids[at], valid, anatomy.gate_range, part)
        stack = np.stack(list(maps.values()))
        sums.append(gate_sums(stack, valid, anatomy.gate_range) | gate_ends(stack, valid))
        taps += maps
    order = [taps.index(gate.name) for gate in anatomy.gates]
    rows = {name: np.concatenate([one[name] for one in sums])[order] for name in sums[0]}
    kept = {k: v.astype(np.float32) for k, v in means.items() if not k.startswith("g_whole/")}
    return kept, {"tap": np.array(taps)[order]} | rows


def heard_by(network: Network, look: Look) -> dict[str, Heard]:
    """Return by tap what the pixels of one image listen to; nothing without relations."""
    strides = network.anatomy.relations
    return {tap: listen(one, strides[tap], tap) for tap, one in look.relations.items()}


def atlas_tables(image: Annotated, look: Look, settings: Settings) -> dict[str, Columns]:
    """Describe the features: rows of ``atlas``, of ``enlarged`` and of ``equalizers``.

    Sums of every channel, and of the picture on their grids; of every branch what enlarging it
    takes; of every equalizer what passes it. One object of the image, the same for every network,
    stands for it in ``object``.
    """
    grids, name = image.grids, image.sample.id
    qualifies = grids.regions.qualifies
    first = reservoir(qualifies, name, seed=settings.seed, limit=1) & qualifies
    size, corners = look.features[0].shape[1:], look.align_corners
    picture = image.sample.image.mean(axis=2)
    channels, branches = [], []
    for r, (features, grid) in enumerate(zip(look.features, grids.grids, strict=True)):
        pooled = pool_to(picture, grids.shape, 1, grids.strides[r])
        object_ = np.full(len(features), np.nan)
        if first.any():
            object_ = grid.means(features, grids.valid[r])["whole"][:, first][:, 0]
        own = feature_sums(features, size, align_corners=corners)
        height, width = features.shape[1:]
        branches.append(
            {"branch": r, "height": height, "width": width}
            | neighbour_sums(features, size, align_corners=corners)
            | {key: own[key].sum() for key in RESIZED}
        )
        for sums, channel, mean in (
            (own, np.arange(len(features)), object_),
            (
                feature_sums(pooled[None], size, align_corners=corners),
                np.array([PICTURE]),
                np.array([np.nan]),
            ),
        ):
            branch = np.full(channel.size, r)
            channels.append({"branch": branch, "channel": channel, **sums, "object": mean})
    passed = [
        {"site": site} | dict(zip(PASSED, sums, strict=True))
        for site, sums in look.equalizers.items()
    ]
    return {
        "atlas": {key: np.concatenate([part[key] for part in channels]) for key in channels[0]},
        "enlarged": _columns(branches),
        **({"equalizers": _columns(passed)} if passed else {}),
    }


def _columns(rows: Sequence[Mapping[str, Any]]) -> Columns:
    """Turn rows into columns."""
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}
