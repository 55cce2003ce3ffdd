"""Persons with key points: a data set of single persons, resized ones, and their census."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import ceil, floor, log2
from typing import Any

import numpy as np
import numpy.typing as npt

from gsto_viz.data.base import WrappedDataset, at
from gsto_viz.errors import GstoVizError
from gsto_viz.joints import Joints, joints_of
from gsto_viz.types import CROWD, IGNORE, ClassList, Dataset, Person, Sample

Box = tuple[float, float, float, float]


def mask_box(mask: npt.NDArray[np.bool_]) -> Box:
    """Return the box of a mask (H, W): x, y, width and height of the pixels' outer edges.

    The centre of the first pixel is 0, so its edges are -1/2 and 1/2. All 0 for an empty mask.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return 0.0, 0.0, 0.0, 0.0
    top, left = int(rows[0]), int(columns[0])
    return left - 0.5, top - 0.5, float(columns[-1] - left + 1), float(rows[-1] - top + 1)


def resized(person: Person, before: tuple[int, int], after: tuple[int, int]) -> Person:
    """Return a person in an image that was resized, both sizes as (height, width).

    Centres of pixels move as those of ``resize_map``: x' = (x + 1/2) W' / W - 1/2.
    """
    down, across = after[0] / before[0], after[1] / before[1]
    joints = person.joints.copy()
    there = joints[:, 2] > 0
    joints[there, :2] = (joints[there, :2] + 0.5) * np.array([across, down]) - 0.5
    x, y, width, height = person.box
    box = ((x + 0.5) * across - 0.5, (y + 0.5) * down - 0.5, width * across, height * down)
    return replace(person, joints=joints, box=box, area=person.area * down * across)


class PersonDataset(WrappedDataset):
    """Each person with key points of a data set as a sample of its own.

    The images are whole and unchanged; ``people`` holds the one person. The id is ``IMAGE#K``, K
    counted from 1 among the image's people. Persons of one image are one group.

    Args:
        base: A data set whose samples have ``people``. Its length follows from its attribute
            ``people_counts`` without reading an image; where it has none, all samples are read
            once, and persons without an annotated joint are left out.

    Raises:
        GstoVizError: The data set has no key points, or no person with one.
    """

    def __init__(self, base: Dataset) -> None:
        super().__init__(base)
        if joints_of(base) is None:
            raise GstoVizError(
                f"{base.name} has no key points; take coco_keypoints:PATH or figures"
            )
        counts = people_counts(base)
        if counts is None:
            self._places = [(k, n) for k in range(len(base)) for n in _annotated(base[k])]
        else:
            self._places = [(k, n) for k, count in enumerate(counts) for n in range(count)]
        if not self._places:
            raise GstoVizError(
                f"{base.name} has no person with key points in {len(base)} images; take another "
                "split or annotate some"
            )

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Sample ids, in index order: ``000000397133#1``."""
        names = self.base.ids
        return tuple(f"{names[image]}#{place + 1}" for image, place in self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Sample:
        """Read the image of one person, with this person alone.

        Raises:
            IndexError: No such person.
        """
        position = at(index, len(self))
        image, place = self._places[position]
        sample = self.base[image]
        assert sample.people is not None
        return replace(
            sample,
            id=f"{sample.id}#{place + 1}",
            group=sample.id if sample.group is None else sample.group,
            people=(sample.people[place],),
        )


def _annotated(sample: Sample) -> list[int]:
    """Return the places of persons with an annotated joint."""
    return [k for k, one in enumerate(sample.people or ()) if (one.joints[:, 2] > 0).any()]


def people_counts(data: Dataset) -> Sequence[int] | None:
    """Return how many persons with key points each image has; None where only images tell."""
    counts: Sequence[int] | None = _of_root(data, "people_counts")
    return counts


def _of_root(data: Dataset, attribute: str) -> Any:
    """Return what the data set under all others says; None where it does not say it."""
    while isinstance(data, WrappedDataset):
        data = data.base
    return getattr(data, attribute, None)


@dataclass
class PeopleCount:
    """Counts of persons and joints over images.

    Attributes:
        joints: The joints that persons have.
        left_out: Why persons of the files are not among those of the samples, a sentence each.
        persons: How many there are.
        without: Ids of images without a person.
        seen: Persons by (number of a joint, 0 absent, 1 hidden or 2 visible).
        sizes: Persons by octave of the square root of their area.
        outside: Joints that lie outside their image, by its id.
    """

    joints: Joints
    left_out: tuple[str, ...] = ()
    persons: int = 0
    without: list[str] = field(default_factory=list)
    seen: Counter[tuple[int, int]] = field(default_factory=Counter)
    sizes: Counter[int] = field(default_factory=Counter)
    outside: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, data: Dataset) -> "PeopleCount | None":
        """Begin to count; None for a data set without key points."""
        joints = joints_of(data)
        return None if joints is None else cls(joints, tuple(_of_root(data, "left_out") or ()))

    def add(self, id_: str, people: Sequence[Person], size: tuple[int, int]) -> None:
        """Count the persons of an image (height, width)."""
        if not people:
            self.without.append(id_)
        for person in people:
            x, y, seen = person.joints.T
            self.persons += 1
            self.seen.update(enumerate(seen.astype(int).tolist()))
            self.sizes[floor(0.5 * log2(max(person.area, 1.0)))] += 1
            beyond = (np.minimum(x, y) < -0.5) | (x > size[1] - 0.5) | (y > size[0] - 0.5)
            if outside := int((beyond & (seen > 0)).sum()):
                self.outside[id_] += outside

    @property
    def joints_per_person(self) -> float:
        """Annotated joints, hidden ones too, of a person on average; 0 without persons."""
        annotated = sum(count for (_, seen), count in self.seen.items() if seen)
        return annotated / max(self.persons, 1)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "persons": self.persons,
            "images_without": len(self.without),
            "joints_per_person": self.joints_per_person,
            "joints": [
                {
                    "joint": name,
                    **{word: self.seen[k, n] for n, word in enumerate(VISIBILITY)},
                }
                for k, name in enumerate(self.joints.classes.names)
            ],
            "sizes": [
                {"octave": octave, "persons": count} for octave, count in sorted(self.sizes.items())
            ],
        }


VISIBILITY = ("absent", "hidden", "visible")
"""What 0, 1 and 2 say of a joint."""


class _Persons(WrappedDataset):
    """A data set whose only regions are persons, see ``with_persons``."""

    def __getitem__(self, index: int) -> Sample:
        """Return one sample."""
        sample = self.base[index]
        if sample.people is None:
            return sample
        labels, instances = _persons_alone(sample, sample.people, self.classes)
        return replace(sample, labels=labels, instances=instances)


def with_persons(data: Dataset) -> Dataset:
    """Return a data set in which persons are the only regions that count, one each.

    A person is its mask; one that has none is its box, but for pixels of masks and of smaller
    boxes. All other pixels that are annotated, groups of persons among them, stay annotated and
    become crowds, whose regions do not count. Images without persons of their own (``people`` None)
    and data without joints are left as they are.
    """
    return data if joints_of(data) is None else _Persons(data)


def _persons_alone(
    sample: Sample, people: Sequence[Person], classes: ClassList
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Return labels and instances, (H, W) each, in which only persons have numbers."""
    size = sample.image.shape[:2]
    rest, thing = (next(c.id for c in classes if c.thing == kind) for kind in (False, True))
    labels = np.full(size, rest, np.uint8) if sample.labels is None else sample.labels.copy()
    drawn = np.zeros(size, np.int32) if sample.instances is None else sample.instances
    instances = np.where((drawn > 0) & (labels == thing), drawn, 0).astype(np.int32)
    free, shown = instances == 0, set(np.unique(instances))
    boxes = [one for one in people if one.instance != CROWD and one.instance not in shown - {0}]
    boxes.sort(key=lambda one: -one.box[2] * one.box[3])
    for number, one in enumerate(boxes, int(instances.max(initial=0)) + 1):
        inside = np.zeros(size, dtype=bool)
        inside[_pixels(one.box)] = True
        labels[inside & free], instances[inside & free] = thing, number
    instances[(instances == 0) & (labels != IGNORE)] = CROWD
    return labels, instances


def _pixels(box: Box) -> tuple[slice, slice]:
    """Return rows and columns of the pixels whose centres lie in a box."""
    left, top, width, height = box
    return _stretch(top, height), _stretch(left, width)


def _stretch(start: float, extent: float) -> slice:
    return slice(max(ceil(start), 0), max(floor(start + extent) + 1, 0))
