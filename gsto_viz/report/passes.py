"""One chunk of images through all networks: the tables it adds.

Roads lie at the bottom and large, poles stand in the middle and thin, so a branch that only knows
rows looks aware of scale. The mean map over all images is subtracted from every map before it is
ranked. That needs all maps twice; they wait in the chunks until the mean is known.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gsto_viz.errors import GstoVizError, NumberingError, RefusedImageError
from gsto_viz.look import Look
from gsto_viz.network import Network
from gsto_viz.regions.pooling import PreparedRegions, rank_maps
from gsto_viz.regions.table import region_arrays
from gsto_viz.report.causal import is_followed, shapley_columns, transfer_frame
from gsto_viz.report.folder import Settings
from gsto_viz.report.measure import (
    Annotated,
    annotated,
    atlas_tables,
    gate_tables,
    heard_by,
    prepared,
    reservoir,
)
from gsto_viz.report.tables import Chunk, Columns, chunk_maps
from gsto_viz.stats.boundary import BoundaryCounts, boundary_counts
from gsto_viz.stats.listening import Heard, listening_columns
from gsto_viz.stats.nulls import LayoutMean
from gsto_viz.stats.outcome import COUNTS, confusion_matrix, count_outcome
from gsto_viz.stats.pairs import indices_at
from gsto_viz.stats.sizes import edge_values
from gsto_viz.types import Dataset, Sample
from gsto_viz.words import NULLS, OWN, load_function

LAYOUT = "layout"
"""The value of ``null`` in rows of this variant (it is none: a part of the signal is taken out)."""
MOVED = ("region", "area_px", "max_distance_px", "class_id", "size_octave", "qualifies")
"""What is kept of regions with moved annotation, beside their Shapley values."""


class View(NamedTuple):
    """What one network, and its random-weight draws (N3), show for an image."""

    network: Network
    look: Look
    drawn: list[tuple[Network, Look]]


def run_chunk(
    networks: Sequence[Network],
    random: Mapping[str, Sequence[Network]],
    data: Dataset,
    indices: Sequence[int],
    settings: Settings,
    partners: Mapping[int, int | None],
) -> Chunk:
    """Measure the images of one chunk through all networks.

    While the networks look at an image, a second thread measures the image before it. Nothing
    depends on which of them is faster.

    Args:
        networks: The networks, calibrated.
        random: By key, the random-weight draws of each network, calibrated; empty without nulls.
        data: The images.
        indices: Which images.
        partners: For N2: by index, whose annotation it takes; empty without nulls.
    """
    chunk = Chunk()
    waiting: deque[Future[Chunk]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="measure") as worker:
        for index in indices:
            try:
                sample = data[index]
            except NumberingError:
                raise
            except GstoVizError as error:
                waiting.append(worker.submit(_skipped, data.ids[index], str(error)))
                continue
            other = partners.get(index)
            partner = None if other is None else data[other]
            try:
                views = [
                    _view(one, random.get(one.key, ()), sample, features=settings.atlas)
                    for one in networks
                ]
            except RefusedImageError as error:
                waiting.append(worker.submit(_skipped, sample.id, str(error)))
                continue
            waiting.append(worker.submit(_measured, index, sample, partner, views, settings))
            while len(waiting) > 1:
                chunk.extend(waiting.popleft().result())
        while waiting:
            chunk.extend(waiting.popleft().result())
    return chunk


def _skipped(image: str, reason: str) -> Chunk:
    """Name an image that cannot be read, or that a network does not take."""
    chunk = Chunk()
    chunk.add("images", image=image, model=None, reason=" ".join(reason.split()))
    return chunk


def _view(network: Network, draws: Sequence[Network], sample: Sample, *, features: bool) -> View:
    """Run one network and its random-weight draws on one image."""
    try:
        look = network.look(sample.image, raw=False, features=features, relations=True)
        network.check_grids([one.shape for one in look.activity], sample.image.shape[:2])
    except GstoVizError as error:
        raise type(error)(f"{sample.id}: {network.key}: {error}") from error
    drawn = [(t, t.look(sample.image, raw=False, gates=False, relations=True)) for t in draws]
    return View(network, look, drawn)


def _measured(
    index: int,
    sample: Sample,
    partner: Sample | None,
    views: Sequence[View],
    settings: Settings,
) -> Chunk:
    """Turn what the networks show for one image into rows."""
    chunk = Chunk()
    cut = cache(partial(annotated, sample, partner, settings=settings))
    for view in views:
        image: Annotated = cut(view.network.anatomy.strides)
        _add_network(chunk, view, image, settings)
        if settings.nulls:
            chunk.maps[f"{view.network.key}/{index}"] = view.look.activity
    return chunk


def _add_network(chunk: Chunk, view: View, image: Annotated, settings: Settings) -> None:
    """Add what one image says of one network and its null models."""
    network, look, drawn = view
    sample, grids = image.sample, image.grids
    names = {"model": network.key, "image": sample.id}
    ranked = rank_maps(grids, look.activity)
    table = region_arrays(grids, ranked)
    kept = _kept(table, sample.id, settings)
    edges = boundary_counts(sample.id, image.edges, ranked.native, look.activity)
    indices = _indices(network, _cut(table, kept)) | edge_values(edges)
    _add_values(chunk, network, OWN, 0, sample.id, indices)
    chunk.add("profile", **names, **_profile(edges))
    if look.predicts:
        table |= _add_outcome(chunk, view, image)
    of_regions, of_gates = gate_tables(network, grids, look)
    table |= of_regions
    if of_gates:
        chunk.add("gates", **of_gates, image=sample.id, model=network.key)
    if settings.atlas:
        for name, columns in atlas_tables(image, look, settings).items():
            chunk.add(name, **names, **columns)
    moved: Sequence[Columns] = [{}] * len(image.moved)
    if network.baseline is not None:
        everything = [grids, *(one.grids for one in image.moved)]
        own, *moved = shapley_columns(network, sample, everything)
        table |= own
    if settings.attribution and is_followed(network):
        random = [(twin, there.activity) for twin, there in drawn]
        chunk.add("transfer", **transfer_frame(network, image, random))
    chunk.add("regions", **names, **_cut(table, kept))
    heard = heard_by(network, look)
    _add_listening(chunk, {**names, "null": OWN, "draw": 0}, heard, grids, table, kept)
    assert sample.labels is not None
    chunk.add(
        "images",
        image=sample.id,
        model=network.key,
        reason=None,
        group=sample.group or sample.id,
        height=sample.image.shape[0],
        width=sample.image.shape[1],
        regions=kept.size,
        qualifying=int(table["qualifies"].sum()),
        kept=int(kept.sum()),
        largest_share=float(np.max(table["area_px"], initial=0) / sample.labels.size),
    )
    if settings.nulls:
        _add_nulls(chunk, view, image, (moved, heard), kept, settings)
    for draw, (twin, there) in enumerate(drawn):
        table = region_arrays(grids, there.activity)
        if twin.baseline is not None:
            table |= shapley_columns(twin, sample, [grids])[0]
        kept = _kept(table, sample.id, settings)
        heard, null = heard_by(twin, there), {**names, "null": "N3", "draw": draw}
        _add_listening(chunk, null, heard, grids, table, kept)
        table = _cut(table, kept)
        _add_values(chunk, network, "N3", draw, sample.id, _indices(network, table))
        chunk.add("random", model=network.key, draw=draw, image=sample.id, **table)


def _add_listening(
    chunk: Chunk,
    names: Mapping[str, Any],
    heard: Mapping[str, Heard],
    grids: PreparedRegions,
    table: Columns,
    kept: npt.NDArray[np.bool_],
) -> None:
    """Add what regions listen to; nothing for networks without relations.

    Args:
        chunk: Takes the rows.
        names: Columns that are the same in every row.
        heard: By tap.
        grids: The regions.
        table: Their table, all rows.
        kept: (K,) which of them stay.
    """
    if not heard:
        return
    rows = listening_columns(heard, grids)
    at = rows["region"] - 1
    rows |= {name: table[name][at] for name in ("class_id", "size_octave", "qualifies")}
    chunk.add("listening", **names, **_cut(rows, kept[at]))


def _add_outcome(chunk: Chunk, view: View, image: Annotated) -> dict[str, npt.NDArray]:
    """Add right and wrong pixels by class; return their counts by region."""
    key, sample, prediction = view.network.key, image.sample, view.look.prediction
    assert sample.labels is not None
    outcome = count_outcome(image.truth, prediction, image=sample.id)
    chunk.add("classes", image=sample.id, **outcome.class_columns(), model=key)
    matrix = confusion_matrix(sample.labels, prediction, view.network.predicts or 0)
    label, predicted = np.nonzero(matrix)
    pixels = {"label": label, "predicted": predicted, "pixels": matrix[label, predicted]}
    chunk.add("confusion", model=key, image=sample.id, **pixels)
    counts = outcome.region_columns()
    return {column: counts[column] for column in COUNTS if column != "area_px"}


def _add_nulls(
    chunk: Chunk,
    view: View,
    image: Annotated,
    known: tuple[Sequence[Columns], Mapping[str, Heard]],
    kept: npt.NDArray[np.bool_],
    settings: Settings,
) -> None:
    """Add what one image says of one network under N1, N2 and each null model that has a function.

    Args:
        chunk: Takes the rows.
        view: What the network shows.
        image: The image.
        known: Columns of Shapley values for each of ``image.moved``, empty ones without; and by
            tap what pixels listen to.
        kept: (K,) regions of this image that stay.
    """
    network, activity = view.network, view.look.activity
    explained, heard = known
    for one, columns in zip(image.moved, explained, strict=True):
        names = {"model": network.key, "null": one.null, "draw": one.draw}
        names["image"] = image.sample.id
        table = {**region_arrays(one.grids, activity), **columns}
        here = kept if one.null == "N1" else _kept(table, one.image, settings)
        _add_listening(chunk, names, heard, one.grids, table, here)
        table = _cut(table, here)
        indices = _indices(network, table)
        _add_values(chunk, network, one.null, one.draw, image.sample.id, indices)
        if columns:
            asked = {name: table[name] for name in table if name in MOVED or name[:4] == "psi_"}
            chunk.add("moved", **names, **asked)
    for null, row in NULLS.items():
        draws = (
            load_function(row.function)(image.grids, activity)
            if row.function and settings.has_null(null)
            else ()
        )
        for draw, (regions, maps) in enumerate(draws):
            table = _cut(region_arrays(regions, maps), kept)
            _add_values(chunk, network, null, draw, image.sample.id, _indices(network, table))


def _kept(table: Columns, image: str, settings: Settings) -> npt.NDArray[np.bool_]:
    """Return which rows of one image's table stay, (K,)."""
    return reservoir(table["qualifies"], image, seed=settings.seed, limit=settings.max_regions)


def _cut(columns: Columns, kept: npt.NDArray[np.bool_]) -> dict[str, npt.NDArray]:
    """Return the rows that stay."""
    return {name: values[kept] for name, values in columns.items()}


def _indices(network: Network, table: Columns) -> dict[str, tuple[float, int]]:
    """Compute the indices of one image from columns of its region table."""
    return indices_at(table, network.anatomy.strides)


def _add_values(
    chunk: Chunk,
    network: Network,
    null: str,
    draw: int,
    image: str,
    indices: Mapping[str, tuple[float, int]],
) -> None:
    """Add the indices of one image, a row each."""
    chunk.add(
        "layout" if null == LAYOUT else "values",
        model=network.key,
        null=null,
        draw=draw,
        image=image,
        index=np.array(list(indices), dtype=str),
        value=np.array([value for value, _ in indices.values()], dtype=np.float64),
        pairs=np.array([pairs for _, pairs in indices.values()], dtype=np.int64),
    )


def _profile(counts: BoundaryCounts) -> Columns:
    """List the cells of the distance profile that have pixels."""
    branch, size, distance = at = np.nonzero(counts.profile_pixels > 0)
    return {
        "branch": branch,
        "size_octave": size,
        "distance_octave": distance,
        "sum": counts.profile_sum[at],
        "pixels": counts.profile_pixels[at],
    }


def layout_chunk(
    out: Path, chunks: int, networks: Sequence[Network], data: Dataset, settings: Settings
) -> Chunk:
    """Measure every image on layout-adjusted maps; nothing where image sizes differ.

    Args:
        out: The analyze folder, with its chunks.
        chunks: How many.
        networks: The networks.
        data: The images.
    """
    chunk = Chunk()
    for network in networks:
        mean = LayoutMean()
        shapes = set()
        for _, maps in chunk_maps(out, chunks, network.key):
            shapes.add(tuple(one.shape for one in maps))
            if len(shapes) > 1:
                return chunk
            mean.update(maps)
        if mean.count < 2:
            return chunk
        for index, maps in chunk_maps(out, chunks, network.key):
            sample = data[index]
            table = region_arrays(prepared(sample, network.anatomy.strides), mean.adjust(maps))
            table = _cut(table, _kept(table, sample.id, settings))
            _add_values(chunk, network, LAYOUT, 0, sample.id, _indices(network, table))
    return chunk
