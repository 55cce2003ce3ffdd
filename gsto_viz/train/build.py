"""From a recipe to network and augmentation, and what a run says of itself before it starts."""

import logging
import resource
import sys
from pathlib import Path

import torch

from gsto_viz.distributed import World
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate.protocols import aligns_corners
from gsto_viz.models import (
    SegmentationNetwork,
    initialize,
    load_official,
    model_config,
    network_of,
    registered,
    shipped_checkpoints,
)
from gsto_viz.models.checkpoint import load_weights, says_itself
from gsto_viz.models.equalizer import equalizer_weights
from gsto_viz.models.pyramid import PyramidNetwork
from gsto_viz.models.resnet import load_imagenet
from gsto_viz.network import open_network
from gsto_viz.text_table import text_table
from gsto_viz.train.recipe import Recipe
from gsto_viz.train.tasks import Task
from gsto_viz.types import Dataset

SCHEMES = ("kaiming", "normal")

logger = logging.getLogger(__name__)


def build_for(recipe: Recipe, num_classes: int) -> SegmentationNetwork:
    """Make the recipe's network with weights that follow from its seed.

    The generator of the caller is left as it was.

    Raises:
        GstoVizError: An unknown network or option, an auxiliary head without loss weight, or an
            initialisation that is neither a scheme nor a file that fits.
    """
    if recipe.initialization == "imagenet":
        raise GstoVizError(_missing_start(recipe.model))
    if "{model}" in recipe.initialization and not Path(start_of(recipe)).is_file():
        raise GstoVizError(
            f"this recipe starts from {start_of(recipe)}, which does not come with gsto_viz; give "
            "a file with --set initialization=PATH, or --set initialization=kaiming to start from "
            "random weights"
        )
    fresh = recipe.initialization in SCHEMES
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        options = {**recipe.model_options, "num_classes": num_classes}
        model = network_of(model_config(recipe.model, **options))
        _check_auxiliary_weights(recipe, model)
        initialize(model, recipe.initialization if fresh else "kaiming")
    if not fresh:
        _load_start(model, recipe)
    return model


def start_of(recipe: Recipe) -> str:
    """Return the file that a recipe starts from, or the scheme of its fresh weights.

    ``{model}`` stands for the recipe's network, and the name of a shipped checkpoint for its file.
    """
    start = recipe.initialization.replace("{model}", recipe.model)
    return str(shipped_checkpoints().get(start, start))


def starts_official(recipe: Recipe) -> bool:
    """Return whether a recipe starts from a file that is none of ours."""
    start = start_of(recipe)
    return start not in (*SCHEMES, "imagenet") and not says_itself(start)


def _missing_start(model: str) -> str:
    known = registered().get(model)
    official = known and known[0].imagenet.get(known[1])
    named = f" of {official} or of timm's file" if official else ""
    return (
        f"this recipe starts from ImageNet weights: give the path{named} with --set "
        "initialization=PATH, or --set initialization=kaiming to start from random weights"
    )


def _check_auxiliary_weights(recipe: Recipe, model: SegmentationNetwork) -> None:
    missing = sorted(set(model.auxiliary_heads) - set(recipe.auxiliary_weights))
    if missing:
        raise GstoVizError(
            f"recipe: auxiliary_weights lacks {', '.join(missing)}, where {recipe.model} has an "
            "auxiliary head; give each a loss weight"
        )


def head_weights(model: SegmentationNetwork) -> list[str]:
    """Return the names of the weights whose shape depends on the number of classes."""
    with torch.device("meta"):
        options = model.config.with_options(num_classes=model.config.num_classes + 1)
        other = network_of(options).state_dict()
    return [key for key, one in model.state_dict().items() if one.shape != other[key].shape]


def _load_start(model: SegmentationNetwork, recipe: Recipe) -> None:
    """Copy the weights of one of our checkpoints, or of an official file, into the network.

    With a new head the weights that depend on the number of classes keep what they have.

    Raises:
        GstoVizError: The file is unreadable or of another architecture or class count.
    """
    path, own = start_of(recipe), model.state_dict()
    new_head = recipe.head == "new"
    new = {key: own[key].clone() for key in head_weights(model)} if new_head else {}
    # They are estimated anew, from the training images.
    fixed = {key: own[key].clone() for key in equalizer_weights(model)}
    try:
        if says_itself(path):
            start = open_network(path).module
            if equalizer_weights(start) and not fixed:
                raise GstoVizError(
                    f"{path} has equalizers and this run has none; give it some with --set "
                    "'model_options={equalized: true}'"
                )
            load_weights(model, {**start.state_dict(), **new, **fixed}, source=path)
            if aligns_corners(start) != aligns_corners(model):
                logger.warning(
                    "%s was trained with align_corners=%s and goes on without; to keep it, --set "
                    "'model_options={align_corners: %s}'",
                    *(path, aligns_corners(start), str(aligns_corners(start)).lower()),
                )
        elif isinstance(model, PyramidNetwork):
            if recipe.inplace_abn:
                raise GstoVizError(
                    f"{path}: inplace_abn is for files of HRNet's and GSTO's code, and "
                    f"{recipe.model} starts from a ResNet; leave it out"
                )
            load_imagenet(model.backbone, path)
        else:
            load_official(model, path, keep=tuple(new), inplace_abn=recipe.inplace_abn)
    except GstoVizError as error:
        if new_head or "of another shape" not in str(error):
            raise
        raise GstoVizError(
            f"{error}; where the classes alone differ, --set head=new starts the last layer anew"
        ) from error


WARM_UP = 2
"""Steps that are not timed: they fill caches and choose kernels."""

TIMED = 20
"""Steps after which the time that is left is estimated."""


def plan_lines(
    recipe: Recipe,
    network: SegmentationNetwork,
    task: Task,
    val: Dataset | None,
    *,
    steps: int,
    done: int,
    device: torch.device,
    world: World,
) -> list[str]:
    """Return what is about to be computed, a fact a line.

    Args:
        recipe: How.
        network: What is trained.
        task: What for, and on which images.
        val: Validation images or None.
        steps: Optimiser steps of the whole run.
        done: Steps that an earlier start has done.
        device: Where.
        world: The processes that share it.
    """
    count = sum(p.numel() for p in network.parameters()) / 1e6
    # Weights, their gradients and momentum, and the average.
    held = 4 * (3 + bool(recipe.ema_decay)) * count
    scored = "none" if val is None else f"{len(val)} images of {val.name}"
    each, size = steps // recipe.epochs, recipe.batch_size
    before = f"; {done} are done" if done else ""
    rows = {
        "network": f"{network.config.named(recipe.model)}, {task.words}",
        "parameters": f"{count:.2f} M; with gradients and momentum {held:.0f} MB, activations come "
        "on top",
        "starts from": recipe.initialization + _new_head(recipe, network),
        "data": f"{len(task.samples)} {task.unit} of {task.samples.name}, crops of "
        f"{recipe.crop[0]}x{recipe.crop[1]}",
        "validation": f"{scored}, every {recipe.eval_every} epochs",
        "SCI": f"on validation images, every {recipe.sci_every} epochs" * bool(recipe.sci_every),
        "snapshots": f"every {recipe.keep_every} epochs" * bool(recipe.keep_every),
        "steps": f"{steps} = {recipe.epochs} epochs of {each}, {size} images each{before}",
        "on": _place(recipe, device, world.size),
    }
    return text_table([row for row in rows.items() if row[1]], "<")


def _new_head(recipe: Recipe, network: SegmentationNetwork) -> str:
    if recipe.head != "new":
        return ""
    layers = dict.fromkeys(key.rpartition(".")[0] for key in head_weights(network))
    return f", the last layer anew ({', '.join(layers)})"


def _place(recipe: Recipe, device: torch.device, size: int) -> str:
    shared = "" if size == 1 else f" in {size} processes of {recipe.batch_size // size} images"
    parts = "" if recipe.accumulate == 1 else f" in {recipe.accumulate} parts"
    compiled = ", compiled" if recipe.compile else ""
    return f"{device}{shared}{parts}, {recipe.precision}{compiled}"


class Stopwatch:
    """Times the first steps of a session and says once how long the rest will take."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.steps = 0
        self.said = False

    def add(self, seconds: float) -> None:
        """Count one step that took so long."""
        self.steps += 1
        if self.steps > WARM_UP:
            self.seconds += seconds

    def estimate(self, left: int, batch_size: int, device: torch.device) -> str | None:
        """Return the estimate when it is due, once; ``left`` steps are still to do."""
        if self.said or self.steps < TIMED:
            return None
        self.said = True
        each = self.seconds / (TIMED - WARM_UP)
        return (
            f"after {TIMED} steps: {each:.2f} s a step, {batch_size / max(each, 1e-9):.1f} images/s"
            f", {peak_memory(device)}; about {duration(each * left)} left, evaluations not counted"
        )


def duration(seconds: float) -> str:
    """Return a time in words: ``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(minutes / 60)
    return f"{hours // 24} d {hours % 24} h"


def peak_memory(device: torch.device) -> str:
    """Return the most memory taken so far, in words: of the GPU, or of this process on the CPU."""
    if device.type == "cuda":
        return f"peak {torch.cuda.max_memory_allocated(device) / 1e9:.2f} GB of GPU memory"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    return f"peak {peak * unit / 1e9:.2f} GB of memory"
