"""A few images with all their maps, kept so that figures need neither network nor data.

One example, whose regions span the most octaves, and for each network the images with its worst
pairs: the regions far apart in size whose q is farthest in the wrong order (gap times error).
"""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.activity import grid_stride
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate import person_boxes, skeletons
from gsto_viz.look import Look, load_arrays, save_arrays, unpacked
from gsto_viz.network import Network
from gsto_viz.report.measure import prepared
from gsto_viz.stats.pairs import squared_sizes, wrong_pairs
from gsto_viz.types import Dataset, Person, Sample, WorstPair

WORST = 3
"""Worst pairs of each network, each of another image."""
SEGMENTED = 4
"""Images of the figure of segmentations side by side."""


COLUMNS = ("image", "region", "area_px", "size_octave", "q", "qualifies")
"""Columns of the region table that examples are chosen by."""


@dataclass(frozen=True, eq=False)
class Example:
    """One image with everything that the networks show for it.

    Attributes:
        sample: The image and its annotation.
        regions: (H, W) region numbers, 0 = none.
        looks: By key, what each network shows.
        role: ``example``, ``worst`` or ``segmented``.
        pairs: Worst pairs of this image.
    """

    sample: Sample
    regions: npt.NDArray[np.int32]
    looks: dict[str, Look]
    role: str
    pairs: tuple[WorstPair, ...] = ()


def worst_pairs(table: pd.DataFrame, model: str, count: int = WORST) -> list[WorstPair]:
    """Find the wrongly ordered pairs that are worst, at most one per image.

    Worst is the size gap in octaves times the difference of q in the wrong direction.

    Args:
        table: Region table of one model (``COLUMNS``).
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
        worst = int((gap * (q[smaller] - q[larger])).argmax())
        large, small = larger[worst], smaller[worst]
        found.append(
            WorstPair(
                model=model,
                image=str(image),
                small_region=int(region[small]),
                large_region=int(region[large]),
                gap_octaves=float(gap[worst]),
                q_small=float(q[small]),
                q_large=float(q[large]),
            )
        )
    return sorted(found, key=lambda pair: (-pair.error, pair.image))[:count]


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


def save_example(path: Path, example: Example) -> None:
    """Write one example as ``.npz`` (arrays and a JSON text, no pickle)."""
    sample = example.sample
    given: dict[str, npt.NDArray | None] = {
        "image": sample.image,
        "regions": example.regions,
        "labels": sample.labels,
        "instances": sample.instances,
    }
    arrays = {name: values for name, values in given.items() if values is not None}
    people = sample.people
    if people is not None:
        arrays["joints"] = np.array([one.joints for one in people], dtype=np.float32)
    about: dict[str, Any] = {
        "id": sample.id,
        "group": sample.group,
        "role": example.role,
        "pairs": [asdict(pair) for pair in example.pairs],
        "inspections": {},
    } | ({} if people is None else {"people": [_without_joints(one) for one in people]})
    for key, look in example.looks.items():
        own, about["inspections"][key] = look.packed(key)
        arrays |= own
    save_arrays(path, arrays, about)


def _without_joints(person: Person) -> dict[str, Any]:
    return {"box": person.box, "area": person.area, "instance": person.instance}


def _people(
    arrays: Mapping[str, npt.NDArray], about: Mapping[str, Any]
) -> tuple[Person, ...] | None:
    if "people" not in about:
        return None
    return tuple(
        Person(joints, tuple(one["box"]), one["area"], one["instance"])
        for joints, one in zip(arrays["joints"], about["people"], strict=True)
    )


def load_example(path: Path) -> Example:
    """Read one example.

    Raises:
        GstoVizError: The file is damaged.
    """
    try:
        arrays, about = load_arrays(path)
        return Example(
            sample=Sample(
                id=about["id"],
                image=arrays["image"],
                labels=arrays.get("labels"),
                instances=arrays.get("instances"),
                group=about["group"],
                people=_people(arrays, about),
            ),
            regions=arrays["regions"],
            looks={key: unpacked(arrays, one, key) for key, one in about["inspections"].items()},
            role=about["role"],
            pairs=tuple(WorstPair(**pair) for pair in about["pairs"]),
        )
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise GstoVizError(f"{path} is damaged ({error}); analyze the data again") from error


def _look(network: Network, sample: Sample) -> Look:
    """Look at an image; networks for pose read the skeletons of its persons, too."""
    if network.task != "pose":
        return network.look(sample.image)
    look = network.look(sample.image, logits=True)
    return replace(with_skeletons(look, sample), logits=None)


def with_skeletons(look: Look, sample: Sample) -> Look:
    """Return what a network shows, with the skeletons of the image's persons if it is for pose.

    Args:
        look: With its logits.
        sample: The image; where its persons are not annotated, it counts as one.
    """
    if look.joints is None:
        return look
    assert look.logits is not None
    stride = grid_stride(sample.image.shape[:2], look.logits.shape[1:])
    assert stride is not None
    maps = look.logits.astype(np.float32)
    return replace(look, skeletons=skeletons(maps, person_boxes(sample), stride))


def write_examples(
    folder: Path,
    networks: Sequence[Network],
    data: Dataset,
    tables: Mapping[str, pd.DataFrame],
) -> int:
    """Choose, look at and write the examples of an analysis; return how many there are.

    Args:
        folder: Where; made if missing.
        networks: The networks.
        data: The images.
        tables: Region tables by key.
    """
    pairs = [pair for key, table in tables.items() for pair in worst_pairs(table, key)]
    chosen = choose(next(iter(tables.values())), pairs)
    index = {name: k for k, name in enumerate(data.ids)}
    strides = networks[0].anatomy.strides
    for number, (image, role) in enumerate(chosen.items()):
        sample = data[index[image]]
        example = Example(
            sample=sample,
            regions=np.asarray(prepared(sample, strides).regions.ids, dtype=np.int32),
            looks={one.key: _look(one, sample) for one in networks},
            role=role,
            pairs=tuple(pair for pair in pairs if pair.image == image),
        )
        save_example(folder / f"{number:03d}.npz", example)
    return len(chosen)
