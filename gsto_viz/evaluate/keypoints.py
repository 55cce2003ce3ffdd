"""Scores of one pose network on one data set: every annotated person in a crop of its own."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from gsto_viz.data.pose import person_crop
from gsto_viz.distributed import ALONE, World
from gsto_viz.errors import GstoVizError, UnreadableImageError
from gsto_viz.evaluate.evaluation import check_classes
from gsto_viz.evaluate.pose import (
    FoundPerson,
    KeypointScores,
    found_people,
    heat_maps,
    is_sought,
    keypoint_scores,
    oks_nms,
)
from gsto_viz.evaluate.protocols import Precision
from gsto_viz.joints import Joints, joints_of
from gsto_viz.stats.inference import Images
from gsto_viz.torch_utils import eval_mode
from gsto_viz.types import Dataset, Person, Sample

AT_ONCE = 16
"""Crops of an image that go through the network together."""


@dataclass(frozen=True)
class PoseOptions:
    """How persons are looked at.

    Attributes:
        size: Height and width of crops.
        flip: Average with the mirror image, as the papers test.
        precision: Of the network.
    """

    size: tuple[int, int]
    flip: bool = True
    precision: Precision = "fp32"


@dataclass(eq=False)
class FoundPeople:
    """Annotated and found persons by image, in the order of the data.

    Attributes:
        truth: Annotated persons.
        found: Found ones; duplicates are dropped.
        groups: Groups of images that are not independent of each other.
        skipped: By index, images that could not be read, and why.
    """

    truth: dict[str, tuple[Person, ...]] = field(default_factory=dict)
    found: dict[str, tuple[FoundPerson, ...]] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    skipped: dict[int, str] = field(default_factory=dict)

    def added_over(self, world: World, ids: Iterable[str]) -> "FoundPeople":
        """Return the persons of all processes in each of them."""
        if world.size == 1:
            return self
        text = json.dumps(
            [
                {name: [_plain(vars(one)) for one in people] for name, people in part.items()}
                for part in (self.truth, self.found)
            ]
            + [self.groups, list(self.skipped.items())]
        )
        every = FoundPeople()
        for content in world.gather_bytes(text.encode()):
            truth, found, groups, skipped = json.loads(content)
            every.truth |= {k: tuple(_person(one) for one in v) for k, v in truth.items()}
            every.found |= {k: tuple(_found(one) for one in v) for k, v in found.items()}
            every.groups |= groups
            every.skipped |= dict(skipped)
        order = [name for name in ids if name in every.truth]
        every.truth = {name: every.truth[name] for name in order}
        every.found = {name: every.found[name] for name in order}
        every.skipped = dict(sorted(every.skipped.items()))
        return every


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in values.items()}


def _person(values: Mapping[str, Any]) -> Person:
    joints = np.array(values["joints"], dtype=np.float32)
    return Person(**{**values, "joints": joints, "box": tuple(values["box"])})


def _found(values: Mapping[str, Any]) -> FoundPerson:
    return FoundPerson(**{**values, "joints": np.array(values["joints"], dtype=np.float64)})


def find_people(
    model: nn.Module,
    data: Dataset,
    options: PoseOptions,
    *,
    indices: Iterable[int],
    progress: Callable[[], object] | None = None,
) -> FoundPeople:
    """Find the joints of every annotated person; the network is in evaluation mode meanwhile.

    Args:
        model: A pose network.
        data: Images with annotated persons.
        options: How they are looked at.
        indices: Images to use.
        progress: Called after every image.

    Raises:
        GstoVizError: The network does not take such crops, or has other joints than the data; its
            heat maps are not finite. The message names the image.
    """
    joints = check_joints(model, data)
    found = FoundPeople()
    with eval_mode(model):
        for index, sample in _read(data, indices, found.skipped):
            try:
                people = _look(model, sample, joints, options)
            except GstoVizError as error:
                raise type(error)(f"{sample.id}: {error}") from error
            found.truth[data.ids[index]] = sample.people or ()
            found.found[data.ids[index]] = oks_nms(people, joints.sigmas)
            if sample.group is not None:
                found.groups[data.ids[index]] = sample.group
            if progress is not None:
                progress()
    return found


def _read(
    data: Dataset, indices: Iterable[int], skipped: dict[int, str]
) -> Iterator[tuple[int, Sample]]:
    for index in indices:
        try:
            yield index, data[index]
        except UnreadableImageError as error:
            skipped[index] = str(error)


def _look(
    model: nn.Module, sample: Sample, joints: Joints, options: PoseOptions
) -> list[FoundPerson]:
    """Find the persons of an image, a crop each."""
    order = joints.classes.flip_order if options.flip else None
    people: list[FoundPerson] = []
    crops = [person_crop(one.box, options.size) for one in sample.people or () if is_sought(one)]
    for start in range(0, len(crops), AT_ONCE):
        some = crops[start : start + AT_ONCE]
        cut = [crop.cut(sample.image) for crop in some]
        maps = heat_maps(model, cut, order, options.precision)
        people += found_people(maps, some, round(options.size[0] / maps.shape[-2]))
    return people


def check_joints(model: nn.Module, data: Dataset) -> Joints:
    """Return the joints of a data set, which must be those of a network.

    Raises:
        GstoVizError: The data have no key points, or others than the network.
    """
    joints = joints_of(data)
    if joints is None:
        raise GstoVizError(
            f"{data.name} has no persons with key points, which a pose network is scored on; take "
            "figures or coco_keypoints:PATH"
        )
    check_classes(model, data)
    return joints


def evaluate_pose(
    model: nn.Module,
    data: Dataset,
    options: PoseOptions,
    *,
    indices: Iterable[int] | None = None,
    world: World = ALONE,
    progress: Callable[[], object] | None = None,
) -> tuple[KeypointScores, dict[int, str]]:
    """Score a pose network on the annotated persons of a data set; every process gets the scores.

    Args:
        model: A pose network.
        data: Images with annotated persons.
        options: How they are looked at.
        indices: Images of this process; None: its share of all.
        world: The processes.
        progress: Called after every image.

    Returns:
        The scores, and by index the images that could not be read, and why.

    Raises:
        GstoVizError: As ``find_people`` and ``keypoint_scores``.
    """
    with world.together():
        chosen = world.share(len(data)) if indices is None else indices
        own = find_people(model, data, options, indices=chosen, progress=progress)
    found = own.added_over(world, data.ids)
    return score_people(found, data), found.skipped


def score_people(found: FoundPeople, data: Dataset) -> KeypointScores:
    """Return the scores of found persons."""
    joints = joints_of(data)
    assert joints is not None
    return keypoint_scores(found.truth, found.found, joints, Images(found.groups))
