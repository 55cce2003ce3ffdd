"""A few images with all their maps, kept so that figures need neither network nor data.

One example, whose regions span the most octaves, and for each network the images with its worst
pairs: the regions that lie farthest apart in size and are still ordered the wrong way round.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.errors import GstoVizError
from gsto_viz.files import atomic_path
from gsto_viz.report.measure import prepared
from gsto_viz.report.subjects import Subject
from gsto_viz.stats.pairs import squared_sizes, wrong_pairs
from gsto_viz.types import Dataset, Inspection, Sample, WorstPair

FOLDER = "examples"
WORST = 3
"""Worst pairs of each network, each of another image."""
SEGMENTED = 4
"""Images of the figure of segmentations side by side."""


@dataclass(frozen=True, eq=False)
class Example:
    """One image with everything that the networks show for it.

    Attributes:
        sample: The image and its annotation.
        regions: (H, W) region numbers, 0 = none.
        inspections: By key, what each network shows.
        role: ``example``, ``worst`` or ``segmented``.
        pairs: Worst pairs of this image.
    """

    sample: Sample
    regions: npt.NDArray[np.int32]
    inspections: dict[str, Inspection]
    role: str
    pairs: tuple[WorstPair, ...] = ()


def worst_pairs(table: pd.DataFrame, model: str, count: int = WORST) -> list[WorstPair]:
    """Find the wrongly ordered pairs with the largest size gap, at most one per image.

    Args:
        table: Region table of one model (``image, region, area_px, size_octave, q, qualifies``).
        model: Its key.
        count: How many.
    """
    kept = table[table["qualifies"].astype(bool)].dropna(subset=["q"])
    found = []
    for image, group in kept.groupby("image"):
        size, q = group["size_octave"].to_numpy(), group["q"].to_numpy()
        region = group["region"].to_numpy()
        larger, smaller = wrong_pairs(squared_sizes(group["area_px"].to_numpy()), q)
        if larger.size == 0:
            continue
        gap = size[larger] - size[smaller]
        widest = int(gap.argmax())
        large, small = larger[widest], smaller[widest]
        found.append(
            WorstPair(
                model=model,
                image=str(image),
                small_region=int(region[small]),
                large_region=int(region[large]),
                gap_octaves=float(gap[widest]),
                q_small=float(q[small]),
                q_large=float(q[large]),
            )
        )
    return sorted(found, key=lambda pair: (-pair.gap_octaves, pair.image))[:count]


def choose(table: pd.DataFrame, pairs: Sequence[WorstPair]) -> dict[str, str]:
    """Choose which images are kept, by id, and their role.

    Args:
        table: Region table of the first model.
        pairs: Worst pairs of all models.
    """
    kept = table[table["qualifies"].astype(bool)]
    octaves = kept.groupby("image")["size_octave"]
    span = (octaves.max() - octaves.min()).sort_values(ascending=False, kind="stable")
    chosen: dict[str, str] = {}
    if len(span):
        chosen[str(span.index[0])] = "example"
    for pair in pairs:
        chosen.setdefault(pair.image, "worst")
    images = sorted(map(str, span.index))
    # Evenly spread over the data set: neighbouring frames of a film look alike.
    for k in range(SEGMENTED if len(images) > SEGMENTED else 0):
        chosen.setdefault(images[(2 * k + 1) * len(images) // (2 * SEGMENTED)], "segmented")
    return chosen


def make_example(
    subjects: Sequence[Subject], sample: Sample, role: str, pairs: Iterable[WorstPair]
) -> Example:
    """Look at one image through all networks."""
    first = subjects[0].site.strides
    return Example(
        sample=sample,
        regions=np.asarray(prepared(sample, first).regions.ids, dtype=np.int32),
        inspections={subject.key: _inspection(subject, sample) for subject in subjects},
        role=role,
        pairs=tuple(pair for pair in pairs if pair.image == sample.id),
    )


def _inspection(subject: Subject, sample: Sample) -> Inspection:
    look = subject.look(sample.image, raw=True)
    blank = np.zeros(sample.image.shape[:2], dtype=np.uint8)
    return Inspection(
        name=subject.name,
        network=subject.network,
        strides=subject.site.strides,
        prediction=blank if look.prediction is None else look.prediction,
        raw=look.raw,
        activity=look.activity,
        gates=look.gates,
        gate_range=subject.site.bounds,
        site=", ".join(subject.site.branches),
    )


def save_example(folder: Path, number: int, example: Example) -> Path:
    """Write one example as ``NNN.npz`` (arrays and a JSON text, no pickle)."""
    arrays: dict[str, npt.NDArray] = {"image": example.sample.image, "regions": example.regions}
    for name in ("labels", "instances"):
        values = getattr(example.sample, name)
        if values is not None:
            arrays[name] = values
    about: dict[str, Any] = {
        "id": example.sample.id,
        "group": example.sample.group,
        "role": example.role,
        "pairs": [asdict(pair) for pair in example.pairs],
        "inspections": {},
    }
    for key, seen in example.inspections.items():
        arrays[f"{key}/prediction"] = seen.prediction
        for what in ("raw", "activity"):
            for r, values in enumerate(getattr(seen, what)):
                arrays[f"{key}/{what}/{r}"] = values
        for k, values in enumerate(seen.gates.values()):
            arrays[f"{key}/gate/{k}"] = values
        about["inspections"][key] = {
            "name": seen.name,
            "network": seen.network,
            "strides": list(seen.strides),
            "gates": list(seen.gates),
            "gate_range": seen.gate_range,
            "site": seen.site,
        }
    target = folder / f"{number:03d}.npz"
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]
    return target


def load_example(path: Path) -> Example:
    """Read one example.

    Raises:
        GstoVizError: The file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        about = json.loads(str(arrays.pop("about")))
        return _example_of(arrays, about)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GstoVizError(f"{path} is damaged ({error}); analyze the data again") from error


def _example_of(arrays: Mapping[str, npt.NDArray], about: Mapping[str, Any]) -> Example:
    inspections = {}
    for key, one in about["inspections"].items():
        branches = range(len(one["strides"]))
        inspections[key] = Inspection(
            name=one["name"],
            network=one["network"],
            strides=tuple(one["strides"]),
            prediction=arrays[f"{key}/prediction"],
            raw=tuple(arrays[f"{key}/raw/{r}"] for r in branches),
            activity=tuple(arrays[f"{key}/activity/{r}"] for r in branches),
            gates={tap: arrays[f"{key}/gate/{k}"] for k, tap in enumerate(one["gates"])},
            gate_range=None if one["gate_range"] is None else tuple(one["gate_range"]),
            site=one["site"],
        )
    return Example(
        sample=Sample(
            id=about["id"],
            image=arrays["image"],
            labels=arrays.get("labels"),
            instances=arrays.get("instances"),
            group=about["group"],
        ),
        regions=arrays["regions"],
        inspections=inspections,
        role=about["role"],
        pairs=tuple(WorstPair(**pair) for pair in about["pairs"]),
    )


def write_examples(
    folder: Path,
    subjects: Sequence[Subject],
    data: Dataset,
    tables: Mapping[str, pd.DataFrame],
) -> int:
    """Choose, look at and write the examples of an analysis; return how many there are.

    Args:
        folder: Where; made if missing.
        subjects: The networks.
        data: The images.
        tables: Region tables by key.
    """
    pairs = [pair for key, table in tables.items() for pair in worst_pairs(table, key)]
    chosen = choose(next(iter(tables.values())), pairs)
    index = {name: k for k, name in enumerate(data.ids)}
    for number, (image, role) in enumerate(chosen.items()):
        example = make_example(subjects, data[index[image]], role, pairs)
        save_example(folder, number, example)
    return len(chosen)
