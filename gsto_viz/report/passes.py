"""One chunk of images through all networks: the tables it adds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.errors import GstoVizError
from gsto_viz.regions.prepared import PreparedRegions
from gsto_viz.regions.table import region_arrays
from gsto_viz.report.annotations import Annotated, annotated
from gsto_viz.report.measure import Measured, cut, indices_of, measure, reservoir
from gsto_viz.report.null_models import Row, null_rows, rows_of
from gsto_viz.report.settings import Settings
from gsto_viz.report.subjects import Look, Subject
from gsto_viz.stats.segmentation import confusion_matrix
from gsto_viz.types import Dataset, Sample

VALUE_COLUMNS = ["model", "null", "draw", "image", "index", "value", "pairs"]
OWN = "none"
"""The value of ``null`` in rows of the networks themselves."""


@dataclass
class Chunk:
    """What a few images add, table by table."""

    regions: list[pd.DataFrame] = field(default_factory=list)
    random: list[pd.DataFrame] = field(default_factory=list)
    images: list[Row] = field(default_factory=list)
    values: list[Row] = field(default_factory=list)
    classes: list[pd.DataFrame] = field(default_factory=list)
    gates: list[pd.DataFrame] = field(default_factory=list)
    profile: list[pd.DataFrame] = field(default_factory=list)
    confusion: list[pd.DataFrame] = field(default_factory=list)
    maps: dict[str, tuple[npt.NDArray[np.float32], ...]] = field(default_factory=dict)
    """By ``KEY/INDEX``, the activity maps of an image; only with nulls."""

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the tables that have rows."""
        frames = {
            "regions": self.regions,
            "random": self.random,
            "classes": self.classes,
            "gates": self.gates,
            "profile": self.profile,
            "confusion": self.confusion,
        }
        found = {
            name: pd.concat(parts, ignore_index=True) for name, parts in frames.items() if parts
        }
        found["images"] = pd.DataFrame(self.images)
        if self.values:
            found["values"] = pd.DataFrame(self.values, columns=VALUE_COLUMNS)
        return found


def run_chunk(
    subjects: Sequence[Subject],
    random: Mapping[str, Sequence[Subject]],
    data: Dataset,
    indices: Sequence[int],
    settings: Settings,
    partners: Mapping[int, int | None],
) -> Chunk:
    """Measure the images of one chunk through all networks.

    Args:
        subjects: The networks, calibrated.
        random: By key, the random-weight draws of each network, calibrated; empty without nulls.
        data: The images.
        indices: Which images.
        settings: Of the analysis.
        partners: For N2: by index, whose annotation it takes; empty without nulls.
    """
    chunk = Chunk()
    for index in indices:
        try:
            sample = data[index]
        except GstoVizError as error:
            chunk.images.append(_skipped(data.ids[index], str(error)))
            continue
        other = partners.get(index)
        partner_sample = None if other is None else data[other]
        known: dict[tuple[int, ...], Annotated] = {}
        for subject in subjects:
            strides = subject.site.strides
            if strides not in known:
                known[strides] = annotated(sample, partner_sample, strides, settings)
            cuts = known[strides]
            look = subject.look(sample.image)
            seen = measure(
                subject,
                cuts,
                look,
                seed=settings.seed,
                limit=settings.max_regions,
            )
            _add(chunk, subject, sample, look, seen)
            if settings.nulls:
                chunk.maps[f"{subject.key}/{index}"] = look.activity
                chunk.values += null_rows(subject, cuts, look, seen.kept, settings)
            for draw, twin in enumerate(random.get(subject.key, ())):
                _add_random(chunk, twin, draw, sample, cuts.grids, settings)
    return chunk


def _skipped(image: str, reason: str) -> Row:
    return {"image": image, "model": None, "reason": " ".join(reason.split())}


def _add(chunk: Chunk, subject: Subject, sample: Sample, look: Look, seen: Measured) -> None:
    """Add what one image says of one network."""
    key = subject.key
    chunk.regions.append(_frame(cut(seen.regions, seen.kept), sample.id, model=key))
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
    if seen.outcome is not None and look.prediction is not None:
        chunk.classes.append(seen.outcome.classes.assign(model=key))
        matrix = confusion_matrix(sample.labels, look.prediction, subject.classes)
        label, predicted = np.nonzero(matrix)
        pixels = {"label": label, "predicted": predicted, "pixels": matrix[label, predicted]}
        chunk.confusion.append(_frame(pixels, sample.id, model=key))
    if len(seen.gates):
        chunk.gates.append(seen.gates.assign(image=sample.id, model=key))
    chunk.profile.append(_profile_rows(seen, key))


def _frame(columns: Mapping[str, Any], image: str, **extra: Any) -> pd.DataFrame:
    """Make a table of one image's columns; ``extra`` and the image's name come first."""
    frame = pd.DataFrame(dict(columns))
    for position, (name, value) in enumerate({**extra, "image": image}.items()):
        dtype = str if isinstance(value, str) else None
        frame.insert(position, name, pd.Series([value] * len(frame), dtype=dtype))
    return frame


def _profile_rows(seen: Measured, key: str) -> pd.DataFrame:
    """List the cells of the distance profile that have pixels."""
    counts = seen.boundary
    at = np.argwhere(counts.profile_pixels > 0)
    branch, size, distance = at.T
    return pd.DataFrame(
        {
            "model": pd.Series([key] * len(at), dtype=str),
            "image": pd.Series([counts.image] * len(at), dtype=str),
            "branch": branch,
            "size_octave": size,
            "distance_octave": distance,
            "sum": counts.profile_sum[branch, size, distance],
            "pixels": counts.profile_pixels[branch, size, distance],
        }
    )


def _add_random(
    chunk: Chunk,
    twin: Subject,
    draw: int,
    sample: Sample,
    grids: PreparedRegions,
    settings: Settings,
) -> None:
    """Add what one image says of one random-weight draw (N3)."""
    table = region_arrays(grids, twin.look(sample.image, gates=False).activity)
    kept = reservoir(table["qualifies"], sample.id, seed=settings.seed, limit=settings.max_regions)
    table = cut(table, kept)
    chunk.values += rows_of(twin.key, "N3", draw, sample.id, indices_of(twin, table))
    chunk.random.append(_frame(table, sample.id, model=twin.key, draw=draw))
