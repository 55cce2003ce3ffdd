"""What a run says of itself: its plan before, its speed after some steps, its table at the end."""

import resource
import sys
from dataclasses import dataclass

import torch

from gsto_viz.distributed import World
from gsto_viz.models.hrnet import HRNet
from gsto_viz.recipe import Recipe
from gsto_viz.types import Dataset

WARM_UP = 2
"""Steps that are not timed: they fill caches and choose kernels."""

TIMED = 20
"""Steps after which the time that is left is estimated."""


@dataclass(frozen=True)
class Plan:
    """What is about to be computed.

    Attributes:
        recipe: How.
        network: What is trained.
        data: Training images.
        val: Validation images or None.
        steps: Optimiser steps of the whole run.
        done: Steps that an earlier start has done.
        device: Where.
        world: The processes that share it.
    """

    recipe: Recipe
    network: HRNet
    data: Dataset
    val: Dataset | None
    steps: int
    done: int
    device: torch.device
    world: World

    def lines(self) -> list[str]:
        """Return the plan, a fact a line."""
        recipe = self.recipe
        count = sum(p.numel() for p in self.network.parameters())
        # Weights, their gradients and momentum, and the average.
        copies = 3 + bool(recipe.ema_decay)
        crop = f"{recipe.crop[0]}x{recipe.crop[1]}"
        scored = "none" if self.val is None else f"{len(self.val)} images of {self.val.name}"
        rows = [
            ("network", f"{recipe.model}, {len(self.data.classes)} classes"),
            (
                "parameters",
                f"{count / 1e6:.2f} M; with gradients and momentum {4 * copies * count / 1e6:.0f} "
                "MB, activations come on top",
            ),
            ("starts from", recipe.initialization),
            ("data", f"{len(self.data)} images of {self.data.name}, crops of {crop}"),
            ("validation", f"{scored}, every {recipe.eval_every} epochs"),
            *((name, text) for name, text in self._along_the_way() if text),
            ("steps", self._steps()),
            ("on", self._place()),
        ]
        return [f"{name:<12} {text}" for name, text in rows]

    def _along_the_way(self) -> list[tuple[str, str]]:
        recipe = self.recipe
        sci = f"on validation images, every {recipe.sci_every} epochs" if recipe.sci_every else ""
        kept = f"every {recipe.keep_every} epochs" if recipe.keep_every else ""
        return [("SCI", sci), ("snapshots", kept)]

    def _steps(self) -> str:
        recipe = self.recipe
        each = self.steps // recipe.epochs
        text = f"{self.steps} = {recipe.epochs} epochs of {each}, {recipe.batch_size} images each"
        return text + (f"; {self.done} are done" if self.done else "")

    def _place(self) -> str:
        recipe, size = self.recipe, self.world.size
        shared = "" if size == 1 else f" in {size} processes of {recipe.batch_size // size} images"
        parts = "" if recipe.accumulate == 1 else f" in {recipe.accumulate} parts"
        compiled = ", compiled" if recipe.compile else ""
        return f"{self.device}{shared}{parts}, {recipe.precision}{compiled}"


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
    """Say a time: ``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
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
    """Say the most memory that was taken so far: of the GPU, or of this process on the CPU."""
    if device.type == "cuda":
        return f"peak {torch.cuda.max_memory_allocated(device) / 1e9:.2f} GB of GPU memory"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    return f"peak {peak * unit / 1e9:.2f} GB of memory"
