"""The training loop: SGD with a poly schedule, deep supervision, evaluation, resume.

A run's folder holds ``config.yaml`` (recipe and data), ``log.jsonl``, ``tensorboard/``,
``state.safetensors`` (to continue from), ``last.safetensors`` and ``best.safetensors``.
"""

import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import SGD
from tqdm import tqdm

from gsto_viz.data.transforms import Augmentation
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate import Evaluation, evaluate
from gsto_viz.models.checkpoint import ModelInfo, save_checkpoint
from gsto_viz.models.hrnet import HRNet, initialize
from gsto_viz.models.losses import log_inverse_frequency, segmentation_loss
from gsto_viz.models.registry import build_model
from gsto_viz.recipe import Recipe
from gsto_viz.train.folder import RunFolder
from gsto_viz.train.log import RunLog
from gsto_viz.train.samples import Batch, TrainingSamples
from gsto_viz.train.state import Progress, load_state, save_state
from gsto_viz.types import IGNORE, Dataset


class TrainingStopped(Exception):
    """The run was asked to stop (SIGTERM, Ctrl-C) and has saved its state."""


@dataclass(frozen=True)
class TrainingResult:
    """What a finished run gives.

    Attributes:
        folder: Where everything lies.
        best: The checkpoint with the best validation score (the last one without validation).
        best_miou: Its score in percent, None without validation data.
        best_epoch: Epochs done when it was reached.
        seconds: Training time, restarts included.
    """

    folder: Path
    best: Path
    best_miou: float | None
    best_epoch: int | None
    seconds: float


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Return the rate of step 0..steps-1: a linear warm-up times the poly decay."""
    warmup = min(1.0, (step + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0
    return float(recipe.lr * warmup * (1.0 - step / steps) ** recipe.poly_power)


def build_for(recipe: Recipe, num_classes: int) -> HRNet:
    """Make the recipe's network with weights that follow from its seed.

    The generator of the caller is left as it was.
    """
    options = {**recipe.model_options, "num_classes": num_classes}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = build_model(recipe.model, **options)
        fresh = recipe.initialization in ("kaiming", "normal")
        initialize(model, recipe.initialization if fresh else "kaiming")
    if not fresh:
        from gsto_viz.models.official import load_official

        load_official(model, recipe.initialization)
    return model


def count_pixels(data: Dataset, *, quiet: bool = True) -> np.ndarray:
    """Count the labelled pixels of each class over a data set: (K,) int64."""
    counts = np.zeros(256, dtype=np.int64)
    for index in tqdm(range(len(data)), desc="class frequencies", disable=quiet, leave=False):
        labels = data[index].labels
        if labels is None:
            raise GstoVizError(f"{data.ids[index]} has no labels; training needs annotated images")
        counts += np.bincount(labels.ravel(), minlength=256)
    stray = [k for k in range(len(data.classes), 256) if counts[k] and k != IGNORE]
    if stray:
        raise GstoVizError(f"{data.name} has label {stray[0]}, outside its class list")
    return counts[: len(data.classes)]


class Trainer:
    """One run: everything that is built from a recipe, and the loop over it."""

    def __init__(
        self,
        recipe: Recipe,
        data: Dataset,
        val: Dataset | None,
        folder: RunFolder,
        device: torch.device,
        *,
        quiet: bool,
    ) -> None:
        self.recipe, self.data, self.val = recipe, data, val
        self.folder, self.device, self.quiet = folder, device, quiet
        self.samples = TrainingSamples(
            data,
            Augmentation(
                recipe.crop, recipe.scale_range, recipe.flip, recipe.brightness, recipe.contrast
            ),
            batch_size=recipe.batch_size,
            seed=recipe.seed,
            threads=recipe.loader_threads,
        )
        self.steps = recipe.epochs * self.samples.batches_per_epoch
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self.layout = layout
        self.model = build_for(recipe, len(data.classes)).to(device, memory_format=layout)
        self.optimizer = SGD(
            self.model.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
        )
        self.class_weights: Tensor | None = None
        if recipe.class_weights == "log_inverse_frequency":
            weights = log_inverse_frequency(count_pixels(data, quiet=quiet))
            self.class_weights = weights.to(device)
        self.progress = Progress()
        self.stop_requested = False

    def resume(self) -> None:
        """Continue from the folder's state if it has one."""
        if self.folder.state.is_file():
            self.progress = load_state(self.folder.state, self.model, self.optimizer)

    def save_state(self, log: RunLog) -> None:
        """Write the state from which a killed run continues."""
        self.progress.log_bytes = log.bytes_written
        save_state(self.folder.state, self.model, self.optimizer, self.progress)

    def run(self, log: RunLog) -> None:
        """Train until the last epoch is done, or raise ``TrainingStopped``."""
        with tqdm(
            total=self.steps,
            initial=self.progress.step,
            desc=self.recipe.model,
            unit="step",
            disable=self.quiet,
            dynamic_ncols=True,
        ) as bar:
            while self.progress.epoch < self.recipe.epochs:
                self._epoch(log, bar)
        self.progress.finished = True
        self.save_state(log)

    def _epoch(self, log: RunLog, bar: "tqdm[Any]") -> None:
        self.model.train()
        clock = time.perf_counter()
        for batch in self.samples.batches(self.progress.epoch, self.progress.batch):
            loss = self._step(batch)
            self.progress.batch += 1
            self.progress.loss_sum += loss
            self.progress.loss_count += 1
            now = time.perf_counter()
            self.progress.seconds, clock = self.progress.seconds + now - clock, now
            bar.update()
            if self.progress.step % self.recipe.log_every == 0:
                self._log_training(log, bar)
            if self.stop_requested:
                self.save_state(log)
                raise TrainingStopped(f"stopped at step {self.progress.step}; the state is saved")
            if self.progress.step % self.recipe.state_every == 0:
                self.save_state(log)
        self.progress.epoch, self.progress.batch = self.progress.epoch + 1, 0
        last = self.progress.epoch == self.recipe.epochs
        if last or self.progress.epoch % self.recipe.eval_every == 0:
            self._evaluate(log)
            self.progress.seconds += time.perf_counter() - clock
        self.save_state(log)

    def _step(self, batch: Batch) -> float:
        """Take one optimiser step; return the loss."""
        recipe = self.recipe
        rate = learning_rate(recipe, self.progress.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        images = batch.images.to(self.device, memory_format=self.layout)
        labels = batch.labels.to(self.device)
        bf16 = recipe.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            output = self.model(images)
        loss = segmentation_loss(
            output,
            labels,
            class_weights=self.class_weights,
            auxiliary_weights=recipe.auxiliary_weights,
            align_corners=self.model.config.align_corners,
        )
        value = float(loss.detach())
        if not math.isfinite(value):
            raise GstoVizError(
                f"the loss is {value} at step {self.progress.step} (images {', '.join(batch.ids)});"
                f" the last good state is {self.folder.state}; lower lr or check these images"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.progress.step += 1
        return value

    def _log_training(self, log: RunLog, bar: "tqdm[Any]") -> None:
        progress = self.progress
        loss = progress.loss_sum / progress.loss_count
        rate = float(self.optimizer.param_groups[0]["lr"])
        speed = progress.step * self.recipe.batch_size / max(progress.seconds, 1e-9)
        log.write(
            "train",
            progress.step,
            epoch=progress.epoch,
            loss=loss,
            lr=rate,
            images_per_s=speed,
            seconds=progress.seconds,
        )
        bar.set_postfix(loss=f"{loss:.3f}", lr=f"{rate:.4f}", img_s=f"{speed:.1f}", refresh=False)
        progress.loss_sum, progress.loss_count = 0.0, 0

    def _evaluate(self, log: RunLog) -> None:
        """Score the network, keep it as the last checkpoint and, if it is, as the best."""
        progress = self.progress
        scores: Evaluation | None = None
        if self.val is not None:
            indices = tqdm(range(len(self.val)), desc="val", disable=self.quiet, leave=False)
            scores = evaluate(self.model, self.val, indices=indices)
            log.write(
                "val",
                progress.step,
                epoch=progress.epoch,
                miou=scores.scores.miou,
                pixel_accuracy=scores.scores.pixel_accuracy,
                mean_accuracy=scores.scores.mean_accuracy,
                iou=list(scores.scores.iou),
            )
        info = self.checkpoint_info(scores)
        save_checkpoint(self.folder.last, self.model, info)
        miou = None if scores is None else scores.scores.miou
        if progress.best_miou is None or miou is None or miou > progress.best_miou:
            progress.best_miou, progress.best_epoch = miou, progress.epoch
            save_checkpoint(self.folder.best, self.model, info)

    def checkpoint_info(self, scores: Evaluation | None) -> ModelInfo:
        """Describe the network as it is now."""
        training = {
            "recipe": self.recipe.to_dict(),
            "data": self.data.name,
            "val": None if self.val is None else self.val.name,
            "seed": self.recipe.seed,
            "epoch": self.progress.epoch,
            "step": self.progress.step,
            "seconds": self.progress.seconds,
            "miou": None if scores is None else scores.scores.miou,
            "torch": torch.__version__,
        }
        return ModelInfo(
            self.folder.path.name, self.recipe.model, self.data.classes, training=training
        )


@contextmanager
def _stop_signals(trainer: Trainer) -> Iterator[None]:
    """Let SIGTERM and Ctrl-C finish the step under way; a second Ctrl-C interrupts at once."""

    def request(number: int, frame: FrameType | None) -> None:
        if trainer.stop_requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        trainer.stop_requested = True

    try:
        before = {s: signal.signal(s, request) for s in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:
        # Signal handlers belong to the main thread; elsewhere nobody can send us one.
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(
    recipe: Recipe,
    data: Dataset,
    out: str | Path,
    *,
    val: Dataset | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: torch.device | None = None,
    quiet: bool = True,
) -> TrainingResult:
    """Train a network, or continue a run that was stopped.

    On the CPU with the same number of threads, a run that was killed and resumed ends with the same
    weights, bit for bit, as one that was not.

    Args:
        recipe: What to compute.
        data: Training images.
        out: The run's folder.
        val: Validation images, scored every few epochs; None keeps the last weights as the best.
        resume: Continue a run in ``out`` (start it when there is none).
        overwrite: Replace what ``out`` holds.
        device: None for the CPU.
        quiet: No progress bars on stderr.

    Raises:
        GstoVizError: ``out`` is taken or holds another run; data or recipe do not fit; the loss is
            not finite.
        TrainingStopped: SIGTERM or Ctrl-C; the state is saved.
    """
    folder = RunFolder(Path(out))
    folder.prepare(recipe, data, val, resume=resume, overwrite=overwrite)
    trainer = Trainer(recipe, data, val, folder, device or torch.device("cpu"), quiet=quiet)
    if resume:
        trainer.resume()
    if not quiet:
        sys.stderr.write(_plan(trainer) + "\n")
    progress = trainer.progress
    with RunLog(folder.path, start=progress.log_bytes, step=progress.step) as log:
        with _stop_signals(trainer):
            trainer.run(log)
    add_gains(folder.best, data, quiet=quiet)
    add_gains(folder.last, data, quiet=quiet)
    return TrainingResult(
        folder.path, folder.best, progress.best_miou, progress.best_epoch, progress.seconds
    )


def _plan(trainer: Trainer) -> str:
    recipe = trainer.recipe
    millions = sum(p.numel() for p in trainer.model.parameters()) / 1e6
    done = f", continuing at step {trainer.progress.step}" if trainer.progress.step else ""
    return (
        f"{recipe.model}: {millions:.2f} M parameters, {len(trainer.data.classes)} classes; "
        f"{len(trainer.data)} images, {recipe.epochs} epochs of "
        f"{trainer.samples.batches_per_epoch} steps x {recipe.batch_size} images, crop "
        f"{recipe.crop[0]}x{recipe.crop[1]}, {recipe.precision} on {trainer.device}{done}"
    )


def add_gains(checkpoint: Path, data: Dataset, *, images: int = 64, quiet: bool = True) -> None:
    """Measure per-channel gains of the default taps on training images and store them.

    Args:
        checkpoint: One of our files; it is rewritten with the gains inside.
        data: Training images; the first ``images`` of them by id are used, at native size.
        images: How many.
        quiet: No progress bar.
    """
    from gsto_viz.calibrate import calibrate
    from gsto_viz.models.checkpoint import load_checkpoint
    from gsto_viz.torch_utils import image_to_tensor

    model = load_checkpoint(checkpoint)
    if model.info is None:
        raise GstoVizError(f"{checkpoint} says nothing about its network")
    info = model.info
    chosen = sorted(range(len(data)), key=lambda i: data.ids[i])[:images]
    batches = (
        image_to_tensor(data[i].image, info.mean, info.std).unsqueeze(0)
        for i in tqdm(chosen, desc="gains", disable=quiet, leave=False)
    )
    save_checkpoint(checkpoint, model, replace(info, gains=calibrate(model, batches)))
