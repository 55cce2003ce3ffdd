"""What a network is trained for: targets, loss and score, a class for each task."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gsto_viz.data import Augmentation, BaseSize, Photometric
from gsto_viz.data.masks import load_pycocotools
from gsto_viz.data.people import PersonDataset
from gsto_viz.data.pose import PoseAugmentation
from gsto_viz.distributed import World
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate.counting import Options, Tally, count_images
from gsto_viz.evaluate.keypoints import (
    FoundPeople,
    PoseOptions,
    find_people,
    score_people,
)
from gsto_viz.models import SegmentationNetwork, model_config
from gsto_viz.models.base import SegmentationOutput
from gsto_viz.models.joint_loss import joint_loss, joint_mass
from gsto_viz.models.losses import (
    HardPixels,
    label_mass,
    log_inverse_frequency,
    segmentation_loss,
)
from gsto_viz.stats.outcome import scores_of
from gsto_viz.train.measures import on_share, refuse_all_skipped
from gsto_viz.train.reading import SampleReader, the_person
from gsto_viz.train.recipe import ONLY, Recipe, parse_base_size
from gsto_viz.train.step import TrainingSamples
from gsto_viz.types import ClassList, Dataset


class Scored(NamedTuple):
    """What a network is worth on validation data.

    Attributes:
        value: In percent, the more the better.
        record: What the log says of it.
        skipped: By index, images that could not be scored, and why.
    """

    value: float | None
    record: dict[str, Any]
    skipped: dict[int, str]


@dataclass(frozen=True)
class CrossEntropy:
    """The loss of segmentation; see ``segmentation_loss``."""

    recipe: Recipe
    class_weights: Tensor | None = None
    align_corners: bool = False

    @property
    def hard_pixels(self) -> HardPixels | None:
        """Which pixels count, where not all of them do."""
        recipe = self.recipe
        if not recipe.ohem_kept:
            return None
        return HardPixels(recipe.ohem_threshold, recipe.ohem_kept, recipe.accumulate)

    def mass(self, targets: Tensor) -> Tensor:
        """Return the ``label_mass`` of labels (N, h, w)."""
        return label_mass(targets.long(), self.class_weights)

    def loss(
        self, output: SegmentationOutput, targets: Tensor, mass: Tensor, world: World
    ) -> Tensor:
        """Return what labels (N, h, w) add to the loss."""
        return segmentation_loss(
            output,
            targets.long(),
            class_weights=self.class_weights,
            auxiliary_weights=self.recipe.auxiliary_weights,
            align_corners=self.align_corners,
            mass=mass,
            hard_pixels=self.hard_pixels,
            world=world,
        )


class Segmentation:
    """A class for each pixel, scored by mIoU.

    Attributes:
        measure: Key of the score in logs and checkpoints.
        title: What it is called.
        unit: What a sample is, in the plural.
        classes: What the channels of the network's output are.
        words: How many of them there are, in words.
        samples: What an epoch passes over.

    Raises:
        GstoVizError: Another number of class weights than classes.
    """

    measure, title, unit = "miou", "mIoU", "images"

    def __init__(self, recipe: Recipe, data: Dataset, *, quiet: bool) -> None:
        self.recipe, self.samples, self.quiet = recipe, data, quiet
        self.classes = data.classes
        self.words = f"{len(data.classes)} classes"
        given = recipe.class_weights
        if isinstance(given, tuple) and len(given) != len(data.classes):
            raise GstoVizError(
                f"recipe: class_weights has {len(given)} numbers and {data.name} has "
                f"{len(data.classes)} classes; give one for each"
            )

    def reader(self, cache_bytes: int) -> SampleReader:
        """Return what reads images with their label maps."""
        recipe = self.recipe
        return SampleReader(
            self.samples,
            augmentation_of(recipe, self.classes),
            seed=recipe.seed,
            paste=recipe.paste,
            cache_bytes=cache_bytes,
        )

    def objective(
        self, network: SegmentationNetwork, samples: TrainingSamples, device: torch.device
    ) -> CrossEntropy:
        """Return the cross-entropy, weighted as the recipe says; the labels may be counted."""
        weights = self._class_weights(samples)
        return CrossEntropy(
            self.recipe,
            None if weights is None else weights.to(device),
            network.config.align_corners,
        )

    def _class_weights(self, samples: TrainingSamples) -> Tensor | None:
        chosen = self.recipe.class_weights
        if chosen == "none":
            return None
        if isinstance(chosen, tuple):
            return torch.tensor(chosen)
        pixels = samples.count_pixels(quiet=self.quiet)
        return log_inverse_frequency(pixels, 0.5 if chosen.startswith("sqrt") else 1.0)

    def score(
        self,
        network: SegmentationNetwork,
        val: Dataset,
        world: World,
        *,
        stopped: Callable[[], bool],
        quiet: bool,
    ) -> Scored | None:
        """Return mIoU and what belongs to it."""
        count = partial(_tally, network, val)
        own = on_share(count, val, world, stopped=stopped, quiet=quiet)
        if own is None:
            return None
        tally = own.added_over(world)
        refuse_all_skipped(tally.skipped, val)
        scores = scores_of(tally.confusion)
        record = {
            "miou": scores.miou,
            "pixel_accuracy": scores.pixel_accuracy,
            "mean_accuracy": scores.mean_accuracy,
            "iou": list(scores.iou),
        }
        return Scored(scores.miou, record, tally.skipped)


def _tally(network: SegmentationNetwork, val: Dataset, indices: Iterable[int]) -> Tally:
    return count_images(network, val, Options(skip_unreadable=True), indices=indices)


@dataclass(frozen=True)
class JointError:
    """The loss of pose networks; see ``joint_loss``."""

    recipe: Recipe
    stride: int

    def mass(self, targets: Tensor) -> Tensor:
        """Return the ``joint_mass`` of joints (N, J, 3)."""
        return joint_mass(targets)

    def loss(
        self, output: SegmentationOutput, targets: Tensor, mass: Tensor, world: World
    ) -> Tensor:
        """Return what persons with joints (N, J, 3) add to the loss."""
        return joint_loss(
            output,
            targets,
            stride=self.stride,
            sigma=self.recipe.sigma,
            auxiliary_weights=self.recipe.auxiliary_weights,
            mass=mass,
        )


class Pose:
    """A heat map for each joint of a person, scored by AP of key points.

    Attributes are those of ``Segmentation``; ``joints`` are the data's.

    Raises:
        GstoVizError: The data have no key points, or pycocotools is not installed.
    """

    measure, title, unit = "ap", "AP", "persons"

    def __init__(self, recipe: Recipe, data: Dataset, *, quiet: bool) -> None:
        load_pycocotools("cocoeval", "scores of key points need")  # not hours later
        persons = PersonDataset(data)
        assert persons.joints is not None
        self.samples: Dataset = persons
        self.recipe, self.joints = recipe, persons.joints
        self.classes = self.joints.classes
        self.words = f"{len(self.joints)} joints"

    def reader(self, cache_bytes: int) -> SampleReader:
        """Return what reads persons."""
        recipe = self.recipe
        augmentation = PoseAugmentation(
            recipe.crop,
            self.joints,
            scale=recipe.scale_deviation,
            rotation=recipe.rotation,
            rotated=recipe.rotated,
            flip=recipe.flip,
            half_body=recipe.half_body,
            brightness=recipe.brightness,
            contrast=recipe.contrast,
            photometric=photometric_of(recipe),
        )
        return SampleReader(
            self.samples,
            augmentation,
            seed=recipe.seed,
            cache_bytes=cache_bytes,
            annotation=the_person,
        )

    def objective(
        self, network: SegmentationNetwork, samples: TrainingSamples, device: torch.device
    ) -> JointError:
        """Return the squared error of heat maps."""
        anatomy = network.anatomy()
        stride = anatomy.taps[anatomy.outputs["main"]].stride
        assert isinstance(stride, int)
        return JointError(self.recipe, stride)

    def score(
        self,
        network: SegmentationNetwork,
        val: Dataset,
        world: World,
        *,
        stopped: Callable[[], bool],
        quiet: bool,
    ) -> Scored | None:
        """Return AP and what belongs to it, with the mirror image, as the papers test."""
        options = PoseOptions(self.recipe.crop)
        count = partial(_people, network, val, options)
        own = on_share(count, val, world, stopped=stopped, quiet=quiet)
        if own is None:
            return None
        found = own.added_over(world, val.ids)
        refuse_all_skipped(found.skipped, val)
        scores = score_people(found, val)
        percent = scores.percent()
        return Scored(percent["ap"], percent, found.skipped)


def _people(
    network: SegmentationNetwork, val: Dataset, options: PoseOptions, indices: Iterable[int]
) -> FoundPeople:
    return find_people(network, val, options, indices=indices)


Task = Segmentation | Pose

TASKS: dict[str, type[Task]] = {"segmentation": Segmentation, "pose": Pose}
"""By what a network's configuration says that it is for."""


def task_of(recipe: Recipe, data: Dataset, *, quiet: bool) -> Task:
    """Return the task of a recipe's network on training data.

    Raises:
        GstoVizError: The recipe has settings of another task, or the data are not for this one.
    """
    task = model_config(recipe.model).task
    for other in ONLY.keys() - {task}:
        for name in ONLY[other]:
            if getattr(recipe, name) != DEFAULTS[name]:
                raise GstoVizError(
                    f"recipe: {name} is for networks for {other} and {recipe.model} is for {task}; "
                    "leave it out"
                )
    return TASKS[task](recipe, data, quiet=quiet)


DEFAULTS = {one.name: one.default for one in fields(Recipe)}


def measure_of(recipe: Recipe) -> str:
    """Return what the network of a recipe is scored by, in words."""
    return TASKS[model_config(recipe.model).task].title


def augmentation_of(recipe: Recipe, classes: ClassList) -> Augmentation:
    """Return what a recipe does to each sample."""
    base = parse_base_size(recipe.base_size)
    return Augmentation(
        recipe.crop,
        recipe.scale_range,
        recipe.flip,
        recipe.brightness,
        recipe.contrast,
        flip_pairs=classes.flip_pairs,
        scale_step=recipe.scale_step,
        base=BaseSize(**base) if base else None,
        window_first=recipe.window_first,
        photometric=photometric_of(recipe),
    )


def photometric_of(recipe: Recipe) -> Photometric:
    """Return what a recipe does to the colours of each sample."""
    return Photometric(**{f.name: getattr(recipe, f.name) for f in fields(Photometric)})
