"""One chunk of images through all networks: the tables it adds."""

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from gsto_viz.errors import GstoVizError
from gsto_viz.look import Look
from gsto_viz.network import Network
from gsto_viz.regions.table import region_arrays
from gsto_viz.report.causal import shapley_columns, transfer_frame
from gsto_viz.report.folder import Columns, Settings, arrow_table, filled, joined, rows_in
from gsto_viz.report.measure import (
    Annotated,
    Measured,
    NullTable,
    Row,
    annotated,
    cut,
    indices_of,
    measure,
    null_tables,
    rows_kept,
    rows_of,
)
from gsto_viz.stats.outcome import confusion_matrix
from gsto_viz.types import BranchMaps, Dataset, Sample

VALUE_COLUMNS = ["model", "null", "draw", "image", "index", "value", "pairs"]
MOVED = ("region", "area_px", "max_distance_px", "class_id", "size_octave", "qualifies")
"""What is kept of regions with moved annotation, beside their Shapley values."""
OWN = "none"
"""The value of ``null`` in rows of the networks themselves."""


@dataclass
class Chunk:
    """What a few images add, table by table."""

    regions: list[Columns] = field(default_factory=list)
    random: list[Columns] = field(default_factory=list)
    moved: list[Columns] = field(default_factory=list)
    images: list[Row] = field(default_factory=list)
    values: list[Row] = field(default_factory=list)
    classes: list[Columns] = field(default_factory=list)
    gates: list[Columns] = field(default_factory=list)
    profile: list[Columns] = field(default_factory=list)
    confusion: list[Columns] = field(default_factory=list)
    atlas: list[Columns] = field(default_factory=list)
    transfer: list[pd.DataFrame] = field(default_factory=list)
    maps: dict[str, BranchMaps] = field(default_factory=dict)
    """By ``KEY/INDEX``, the activity maps of an image; only with nulls."""

    def extend(self, other: "Chunk") -> None:
        """Add what another image adds."""
        for one in fields(self):
            mine, theirs = getattr(self, one.name), getattr(other, one.name)
            if isinstance(mine, dict):
                mine.update(theirs)
            else:
                mine.extend(theirs)

    def tables(self) -> dict[str, pa.Table]:
        """Return the tables that have rows."""
        columns = (
            "regions", "random", "moved", "classes", "gates", "profile", "confusion", "atlas",
        )  # fmt: skip
        found = {name: joined(getattr(self, name)) for name in columns if getattr(self, name)}
        found["images"] = arrow_table(pd.DataFrame(self.images))
        if self.transfer:
            found["transfer"] = arrow_table(pd.concat(self.transfer, ignore_index=True))
        if self.values:
            found["values"] = arrow_table(pd.DataFrame(self.values, columns=VALUE_COLUMNS))
        return found


@dataclass(frozen=True, eq=False)
class _Seen:
    """One image and what all networks show for it.

    Attributes:
        index: Of the image in the data.
        sample: The image.
        partner: Whose annotation N2 takes.
        looks: By key.
        random: By key, the activity maps of every random-weight draw.
    """

    index: int
    sample: Sample
    partner: Sample | None
    looks: dict[str, Look]
    random: dict[str, list[BranchMaps]]


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
        settings: Of the analysis.
        partners: For N2: by index, whose annotation it takes; empty without nulls.
    """
    chunk = Chunk()
    waiting: deque[Future[Chunk]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="measure") as worker:
        for index in indices:
            try:
                sample = data[index]
            except GstoVizError as error:
                waiting.append(worker.submit(_skipped, data.ids[index], str(error)))
                continue
            other = partners.get(index)
            partner = None if other is None else data[other]
            seen = _look(networks, random, index, sample, partner, features=settings.atlas)
            waiting.append(worker.submit(_measured, networks, random, seen, settings))
            while len(waiting) > 1:
                chunk.extend(waiting.popleft().result())
        while waiting:
            chunk.extend(waiting.popleft().result())
    return chunk


def _look(
    networks: Sequence[Network],
    random: Mapping[str, Sequence[Network]],
    index: int,
    sample: Sample,
    partner: Sample | None,
    *,
    features: bool,
) -> _Seen:
    """Run every network on one image."""
    looks = {one.key: one.look(sample.image, raw=False, features=features) for one in networks}
    drawn = {
        key: [twin.look(sample.image, raw=False, gates=False).activity for twin in twins]
        for key, twins in random.items()
    }
    return _Seen(index, sample, partner, looks, drawn)


def _measured(
    networks: Sequence[Network],
    random: Mapping[str, Sequence[Network]],
    seen: _Seen,
    settings: Settings,
) -> Chunk:
    """Turn what the networks show for one image into rows."""
    chunk = Chunk()
    known: dict[tuple[int, ...], Annotated] = {}
    for network in networks:
        strides, look = network.anatomy.strides, seen.looks[network.key]
        if strides not in known:
            known[strides] = annotated(seen.sample, seen.partner, strides, settings)
        image = known[strides]
        one = measure(network, image, look, settings)
        drawn = list(
            zip(random.get(network.key, ()), seen.random.get(network.key, ()), strict=True)
        )
        explained = None
        if network.baseline is not None:
            own, *explained = shapley_columns(network, seen.sample, [image.grids, *image.broken])
            one.regions.update(own)
            chunk.transfer.append(transfer_frame(network, image, drawn))
        _add(chunk, network, seen.sample, look, one)
        if settings.nulls:
            chunk.maps[f"{network.key}/{seen.index}"] = look.activity
            for null in null_tables(image, look, one.kept, settings, explained):
                _add_null(chunk, network, seen.sample.id, null)
        for draw, (twin, maps) in enumerate(drawn):
            _add_random(chunk, twin, draw, maps, image, settings)
    return chunk


def _skipped(image: str, reason: str) -> Chunk:
    """Name an image that cannot be read."""
    return Chunk(images=[{"image": image, "model": None, "reason": " ".join(reason.split())}])


def _add(chunk: Chunk, network: Network, sample: Sample, look: Look, seen: Measured) -> None:
    """Add what one image says of one network."""
    key = network.key
    table = cut(seen.regions, seen.kept)
    chunk.regions.append(filled(rows_in(table), model=key, image=sample.id) | table)
    qualifying = np.asarray(seen.regions["qualifies"], dtype=bool)
    assert sample.labels is not None
    chunk.images.append(
        {
            "image": sample.id,
            "model": key,
            "reason": None,
            "group": sample.group or sample.id,
            "height": sample.image.shape[0],
            "width": sample.image.shape[1],
            "regions": int(qualifying.size),
            "qualifying": int(qualifying.sum()),
            "kept": int(seen.kept.sum()),
            "largest_share": float(np.max(seen.regions["area_px"], initial=0) / sample.labels.size),
        }
    )
    chunk.values += rows_of(key, OWN, 0, sample.id, seen.indices)
    if seen.outcome is not None:
        classes = seen.outcome.class_columns()
        count = rows_in(classes)
        chunk.classes.append(filled(count, image=sample.id) | classes | filled(count, model=key))
        matrix = confusion_matrix(sample.labels, look.prediction, network.predicts or 0)
        label, predicted = np.nonzero(matrix)
        pixels = {"label": label, "predicted": predicted, "pixels": matrix[label, predicted]}
        chunk.confusion.append(filled(label.size, model=key, image=sample.id) | pixels)
    if seen.gates:
        names = filled(rows_in(seen.gates), image=sample.id, model=key)
        chunk.gates.append(seen.gates | names)
    if seen.atlas:
        names = filled(rows_in(seen.atlas), model=key, image=sample.id)
        chunk.atlas.append(names | seen.atlas)
    chunk.profile.append(_profile_rows(seen, key))


def _profile_rows(seen: Measured, key: str) -> Columns:
    """List the cells of the distance profile that have pixels."""
    counts = seen.boundary
    at = np.argwhere(counts.profile_pixels > 0)
    branch, size, distance = at.T
    return filled(len(at), model=key, image=counts.image) | {
        "branch": branch,
        "size_octave": size,
        "distance_octave": distance,
        "sum": counts.profile_sum[branch, size, distance],
        "pixels": counts.profile_pixels[branch, size, distance],
    }


def _add_null(chunk: Chunk, network: Network, image: str, null: NullTable) -> None:
    """Add what one image says of one network when its annotation or its maps are broken."""
    table = null.regions
    chunk.values += rows_of(network.key, null.null, null.draw, image, indices_of(network, table))
    if "psi_0" in table:
        names = filled(
            rows_in(table), model=network.key, null=null.null, draw=null.draw, image=image
        )
        asked = {name: table[name] for name in table if name in MOVED or name.startswith("psi_")}
        chunk.moved.append(names | asked)


def _add_random(
    chunk: Chunk,
    network: Network,
    draw: int,
    maps: BranchMaps,
    image: Annotated,
    settings: Settings,
) -> None:
    """Add what one image says of one random-weight draw of a network (N3)."""
    table: dict[str, npt.NDArray] = dict(region_arrays(image.grids, maps))
    if network.baseline is not None:
        table |= shapley_columns(network, image.sample, [image.grids])[0]
    name = image.sample.id
    table = cut(table, rows_kept(table, name, settings))
    chunk.values += rows_of(network.key, "N3", draw, name, indices_of(network, table))
    names = filled(rows_in(table), model=network.key, draw=draw, image=name)
    chunk.random.append(names | table)
