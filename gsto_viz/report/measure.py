"""What one image says: region rows, pixel scores, gates, null models, layout-adjusted indices.

N1 shifts the annotation, N2 takes that of another image, N5 replaces the branches by one common
map. (N3, random weights, is a network of its own; N4, permuted sizes, needs the table alone.)

Roads lie at the bottom and large, poles stand in the middle and thin, so a branch that only knows
rows looks aware of scale. The mean map over all images is subtracted from every map before it is
ranked. That needs all maps twice; they wait in the chunks until the mean is known.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gsto_viz.activity import matched_pool
from gsto_viz.attribution.receptive import regions_at, resized_size
from gsto_viz.errors import GstoVizError
from gsto_viz.look import Look
from gsto_viz.network import Network
from gsto_viz.regions.pooling import PreparedRegions, prepare_regions, rank_maps
from gsto_viz.regions.table import region_arrays
from gsto_viz.report.folder import DOUBLED, Settings, chunk_folder
from gsto_viz.stats.atlas import PICTURE, feature_sums
from gsto_viz.stats.boundary import BoundaryCounts, BoundaryPixels, boundary_counts, boundary_pixels
from gsto_viz.stats.gates import gate_columns, gate_ends, gate_sums
from gsto_viz.stats.nulls import (
    Annotation,
    LayoutMean,
    annotate,
    common_maps,
    shift_map,
    shift_regions,
    toroidal_shift,
)
from gsto_viz.stats.outcome import COUNTS, Outcome, count_outcome
from gsto_viz.stats.pairs import image_indices
from gsto_viz.stats.sizes import edge_values
from gsto_viz.types import BranchMaps, Dataset, Sample


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
        for labels, shown in zip(self._labels(), (self.grids, *self.broken), strict=True):
            yield regions_at(labels, shown.regions.ids, size, self.grids.strides)

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


Arrays = dict[str, npt.NDArray]


@dataclass(frozen=True, eq=False)
class Measured:
    """One image through one network.

    Attributes:
        regions: Columns of the region table and, beside them, of gates and outcome, (K,) each.
        kept: (K,) rows that stay in the table.
        indices: By index, its value and pairs.
        boundary: Counts by distance to the edge.
        outcome: Right and wrong pixels; None without a prediction.
        gates: Columns of sums that describe each gate map; empty without gates.
        atlas: Columns of sums over each channel of the features; empty without the atlas.
    """

    regions: Arrays
    kept: npt.NDArray[np.bool_]
    indices: dict[str, tuple[float, int]]
    boundary: BoundaryCounts
    outcome: Outcome | None
    gates: Arrays
    atlas: Arrays


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


def rows_kept(table: Arrays, image: str, settings: Settings) -> npt.NDArray[np.bool_]:
    """Return which rows of one image's table stay, (K,)."""
    qualifies = table["qualifies"]
    return reservoir(qualifies, image, seed=settings.seed, limit=settings.max_regions)


def measure(network: Network, image: Annotated, look: Look, settings: Settings) -> Measured:
    """Measure one image through one network.

    Args:
        network: The network.
        image: The image, its annotation on the grids of the network.
        look: What the network shows for it.
        settings: Of the analysis.
    """
    name, grids = image.sample.id, image.grids
    ranked = rank_maps(grids, look.activity)
    table = region_arrays(grids, ranked)
    kept = rows_kept(table, name, settings)
    indices = indices_of(network, cut(table, kept))
    edges = boundary_counts(name, image.edges, ranked.native, look.activity)
    outcome = None
    if look.predicts:
        outcome = count_outcome(image.truth, look.prediction, image=name)
        counts = outcome.region_columns()
        table |= {column: counts[column] for column in COUNTS if column != "area_px"}
    table |= _gate_columns(network, grids, look)
    return Measured(
        regions=table,
        kept=kept,
        indices=indices | edge_values(edges),
        boundary=edges,
        outcome=outcome,
        gates=_gate_sums(network, grids, look),
        atlas=_atlas_sums(image, look, settings) if settings.atlas else {},
    )


def cut(columns: Arrays, kept: npt.NDArray[np.bool_]) -> Arrays:
    """Return the rows that stay."""
    return {name: values[kept] for name, values in columns.items()}


def indices_of(network: Network, table: Arrays) -> dict[str, tuple[float, int]]:
    """Compute the indices of one image from columns of its region table."""
    strides = network.anatomy.strides
    return image_indices(table, len(strides), min_depth_px=float(strides[-1]))


def _by_stride(network: Network, look: Look) -> dict[int, dict[str, npt.NDArray]]:
    """Group the gate maps by the stride of their grid."""
    grouped: dict[int, dict[str, npt.NDArray]] = {}
    for gate in network.anatomy.gates:
        grouped.setdefault(gate.stride, {})[gate.name] = look.gates[gate.name]
    return grouped


def _gate_columns(network: Network, grids: PreparedRegions, look: Look) -> Arrays:
    """Return ``g/TAP``, ``g_core/TAP`` and ``g_band/TAP``: mean g' over parts of regions."""
    columns: Arrays = {}
    if network.anatomy.gate_range is None:
        return columns
    for stride, gates in _by_stride(network, look).items():
        at = grids.strides.index(stride)
        columns |= gate_columns(
            gates, grids.grids[at], grids.valid[at], network.anatomy.gate_range, grids.regions.part
        )
    return {
        name: values.astype(np.float32)
        for name, values in columns.items()
        if not name.startswith("g_whole/")
    }


def _gate_sums(network: Network, grids: PreparedRegions, look: Look) -> Arrays:
    """Describe every gate map by sums over its valid cells: one row per gate."""
    bounds = network.anatomy.gate_range
    if bounds is None:
        return {}
    taps: list[str] = []
    parts = []
    for stride, gates in _by_stride(network, look).items():
        valid = grids.valid[grids.strides.index(stride)]
        maps = np.stack(list(gates.values()))
        taps += gates
        parts.append(gate_sums(maps, valid, bounds) | gate_ends(maps, valid))
    order = [taps.index(gate.name) for gate in network.anatomy.gates]
    columns = {name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]}
    return {"tap": np.array(taps)[order]} | columns


def _atlas_sums(image: Annotated, look: Look, settings: Settings) -> Arrays:
    """Sum over every channel of the features, and of the picture on their grids.

    One object of the image, the same for every network, stands for it in ``object``.
    """
    grids, name = image.grids, image.sample.id
    qualifies = grids.regions.qualifies
    first = reservoir(qualifies, name, seed=settings.seed, limit=1) & qualifies
    size, corners = look.features[0].shape[1:], look.align_corners
    picture = image.sample.image.mean(axis=2)
    parts = []
    for r, (features, grid) in enumerate(zip(look.features, grids.grids, strict=True)):
        stride = grids.strides[r]
        pooled = reduce(lambda one, _: matched_pool(one), range(stride.bit_length() - 1), picture)
        object_ = np.full(len(features), np.nan)
        if first.any():
            object_ = grid.means(features, grids.valid[r])["whole"][:, first][:, 0]
        for maps, channel, mean in (
            (features, np.arange(len(features)), object_),
            (pooled[None], np.array([PICTURE]), np.array([np.nan])),
        ):
            sums = feature_sums(maps, (size[0], size[1]), align_corners=corners)
            branch = np.full(channel.size, r)
            parts.append({"branch": branch, "channel": channel, **sums, "object": mean})
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


Row = dict[str, Any]


def rows_of(
    key: str, null: str, draw: int, image: str, indices: Mapping[str, tuple[float, int]]
) -> list[Row]:
    """Lay the indices of one image out as rows."""
    return [
        {
            "model": key,
            "null": null,
            "draw": draw,
            "image": image,
            "index": name,
            "value": value,
            "pairs": pairs,
        }
        for name, (value, pairs) in indices.items()
    ]


@dataclass(frozen=True, eq=False)
class NullTable:
    """The regions of one image as a null model has them.

    Attributes:
        null: ``N1``, ``N2`` or ``N5``.
        draw: Number of the draw.
        regions: Columns of the region table that stay, (K,) each.
    """

    null: str
    draw: int
    regions: Arrays


def null_tables(
    cuts: Annotated,
    look: Look,
    kept: npt.NDArray[np.bool_],
    settings: Settings,
    explained: Sequence[Arrays] | None = None,
) -> Iterator[NullTable]:
    """Give the region tables of one image under N1, N2 and N5.

    Args:
        cuts: The annotation of the image.
        look: What a network shows for it.
        kept: (K,) regions of this image that stay.
        settings: Of the analysis.
        explained: Columns of Shapley values for each entry of ``cuts.broken``; None: none.
    """
    grids = cuts.grids
    more: Sequence[Arrays] = [{}] * len(cuts.broken) if explained is None else explained
    for (null, draw), broken, columns in zip(cuts.broken_names, cuts.broken, more, strict=True):
        table = dict(region_arrays(broken, look.activity)) | columns
        if cuts.partner is not None and null == "N2":
            kept_here = rows_kept(table, cuts.partner[0].id, settings)
        else:
            kept_here = kept
        yield NullTable(null, draw, cut(table, kept_here))
    ranked = rank_maps(grids, look.activity)
    common = common_maps(ranked.native, grids.shape, grids.strides)
    yield NullTable("N5", 0, cut(dict(region_arrays(grids, common)), kept))


LAYOUT = "layout"
"""The value of ``null`` in rows of this variant (it is none: a part of the signal is taken out)."""
MAPS = "maps.npz"


def save_maps(folder: Path, maps: dict[str, BranchMaps]) -> None:
    """Write the activity maps of a chunk.

    Args:
        folder: Of the chunk.
        maps: By ``KEY/INDEX``, one map per branch.
    """
    arrays = {f"{name}/{r}": one for name, each in maps.items() for r, one in enumerate(each)}
    np.savez(folder / MAPS, **arrays)  # type: ignore[arg-type]


def _stored(out: Path, chunks: int, network: Network) -> Iterator[tuple[int, BranchMaps]]:
    """Give index and maps of every image of one network, a chunk at a time."""
    branches = range(len(network.anatomy.branch_taps))
    for number in range(chunks):
        path = chunk_folder(out, number) / MAPS
        if not path.is_file():
            continue
        with np.load(path, allow_pickle=False) as stored:
            names = {n.rpartition("/")[0] for n in stored.files if n.startswith(f"{network.key}/")}
            for name in sorted(names):
                yield int(name.split("/")[1]), tuple(stored[f"{name}/{r}"] for r in branches)


def layout_rows(
    out: Path, chunks: int, networks: Sequence[Network], data: Dataset, settings: Settings
) -> Iterator[Row]:
    """Give the indices of every image on layout-adjusted maps; none when image sizes differ.

    Args:
        out: The analyze folder, with its chunks.
        chunks: How many.
        networks: The networks.
        data: The images.
        settings: Of the analysis.
    """
    for network in networks:
        mean = LayoutMean()
        shapes = set()
        for _, maps in _stored(out, chunks, network):
            shapes.add(tuple(one.shape for one in maps))
            if len(shapes) > 1:
                return
            mean.update(maps)
        if mean.count < 2:
            return
        for index, maps in _stored(out, chunks, network):
            sample = data[index]
            grids = prepared(sample, network.anatomy.strides)
            table = region_arrays(grids, mean.adjust(maps))
            table = cut(table, rows_kept(table, sample.id, settings))
            found = indices_of(network, table)
            yield from rows_of(network.key, LAYOUT, 0, sample.id, found)
