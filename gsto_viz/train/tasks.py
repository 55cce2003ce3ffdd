"""What a network is trained for: targets, loss and score, a class for each task."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from gsto_viz.data import Augmentation, BaseSize, Photometric
from gsto_viz.distributed import World
from gsto_viz.errors import GstoVizError
from gsto_viz.models import SegmentationNetwork, model_config
from gsto_viz.models.base import SegmentationOutput
from gsto_viz.models.losses import (
    HardPixels,
    label_mass,
    log_inverse_frequency,
    segmentation_loss,
)
from gsto_viz.stats.outcome import scores_of
from gsto_viz.train.measures import score
from gsto_viz.train.reading import SampleReader
from gsto_viz.train.recipe import ONLY, Recipe, parse_base_size
from gsto_viz.train.step import Objective, TrainingSamples
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


class Task(Protocol):
    """What the trainer asks of a task.

    Attributes:
        measure: Key of the score in logs and checkpoints.
        title: What it is called.
        classes: What the channels of the network's output are.
        words: How many of them there are, in words.
        samples: What an epoch passes over.
        unit: What a sample is, in the plural.
    """

    measure: str
    title: str
    unit: str
    classes: ClassList
    words: str
    samples: Dataset

    def reader(self, cache_bytes: int) -> SampleReader:
        """Return what reads and augments the samples."""

    def objective(
        self, network: SegmentationNetwork, samples: TrainingSamples, device: torch.device
    ) -> Objective:
        """Return what is minimised."""

    def score(
        self,
        network: SegmentationNetwork,
        val: Dataset,
        world: World,
        *,
        stopped: Callable[[], bool],
        quiet: bool,
    ) -> Scored | None:
        """Score a network; None if a process was asked to stop."""


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
        tally = score(network, val, world, stopped=stopped, quiet=quiet)
        if tally is None:
            return None
        scores = scores_of(tally.confusion)
        record = {
            "miou": scores.miou,
            "pixel_accuracy": scores.pixel_accuracy,
            "mean_accuracy": scores.mean_accuracy,
            "iou": list(scores.iou),
        }
        return Scored(scores.miou, record, tally.skipped)


TASKS: dict[str, type[Segmentation]] = {"segmentation": Segmentation}
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
