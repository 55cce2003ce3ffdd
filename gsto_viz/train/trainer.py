"""One training run: SGD with a poly schedule, deep supervision, evaluation, states to resume."""

import math
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD
from tqdm import tqdm

from gsto_viz.data.transforms import Augmentation
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate import Evaluation, LogitsNotFiniteError, evaluate
from gsto_viz.models.checkpoint import save_checkpoint
from gsto_viz.models.losses import log_inverse_frequency, segmentation_loss
from gsto_viz.models.model_info import ModelInfo
from gsto_viz.recipe import Recipe
from gsto_viz.train.build import build_for
from gsto_viz.train.folder import RunFolder
from gsto_viz.train.identity import NOTICES, data_kind, portable_name, portable_recipe
from gsto_viz.train.log import RunLog
from gsto_viz.train.samples import Batch, TrainingSamples
from gsto_viz.train.state import Progress, load_state, save_state
from gsto_viz.types import Dataset


class TrainingStopped(KeyboardInterrupt):
    """The run was asked to stop (SIGTERM, Ctrl-C) and has saved its state."""


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Return the rate of step 0..steps-1: a linear warm-up times the poly decay."""
    warmup = min(1.0, (step + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0
    return float(recipe.lr * warmup * (1.0 - step / steps) ** recipe.poly_power)


class Trainer:
    """Everything that is built from a recipe, and the loop over it.

    Nothing is written before ``run``.

    Attributes:
        progress: Where the run stands.
        stop_requested: Set it (from a signal handler, another thread) to stop after the step or
            validation image under way.

    Raises:
        GstoVizError: Recipe and data do not fit: see ``build_for``, ``TrainingSamples``.
    """

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
        self.layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self.model = build_for(recipe, len(data.classes)).to(device)
        self.model.to(memory_format=self.layout)  # type: ignore[call-overload]
        self.samples = TrainingSamples(
            data,
            Augmentation(
                recipe.crop,
                recipe.scale_range,
                recipe.flip,
                recipe.brightness,
                recipe.contrast,
                flip_pairs=data.classes.flip_pairs,
            ),
            batch_size=recipe.batch_size,
            seed=recipe.seed,
            threads=recipe.loader_threads,
        )
        self.steps = recipe.epochs * self.samples.batches_per_epoch
        self.optimizer = SGD(
            self.model.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
        )
        self.class_weights: Tensor | None = None
        if recipe.class_weights != "none":
            pixels = self.samples.count_pixels(quiet=quiet)
            power = 0.5 if recipe.class_weights.startswith("sqrt") else 1.0
            self.class_weights = log_inverse_frequency(pixels, power).to(device)
        self.progress = Progress()
        self.stop_requested = False

    def resume(self) -> None:
        """Continue from the folder's state if it has one."""
        if self.folder.state.is_file():
            self.progress = load_state(self.folder.state, self.model, self.optimizer)

    def run(self, log: RunLog) -> None:
        """Train until the last epoch is done.

        Raises:
            TrainingStopped: As asked; the state is saved.
            GstoVizError: The loss or a weight is not finite, a sample cannot be read, or a file
                cannot be written.
        """
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
                self._finish_epoch(log)

    def save_state(self, log: RunLog) -> None:
        """Write the state from which a killed run continues."""
        self._refuse_weights_that_are_not_finite()
        self.progress.log_bytes = log.bytes_written
        save_state(self.folder.state, self.model, self.optimizer, self.progress)

    def _epoch(self, log: RunLog, bar: "tqdm[Any]") -> None:
        """Take the steps of the epoch under way that are still to do."""
        progress = self.progress
        self.model.train()
        clock = time.perf_counter()
        with closing(self.samples.batches(progress.epoch, progress.batch)) as batches:
            for batch in batches:
                loss = self._step(batch)
                progress.batch += 1
                progress.loss_sum += loss
                progress.loss_count += 1
                now = time.perf_counter()
                progress.seconds, clock = progress.seconds + now - clock, now
                bar.update()
                if progress.step % self.recipe.log_every == 0:
                    self._log_training(log, bar)
                if self.stop_requested:
                    self.save_state(log)
                    self._stop()
                if progress.step % self.recipe.state_every == 0:
                    self.save_state(log)

    def _finish_epoch(self, log: RunLog) -> None:
        """Count the epoch as done, evaluating where the recipe says so."""
        done = self.progress.epoch + 1
        if done == self.recipe.epochs or done % self.recipe.eval_every == 0:
            self.save_state(log)  # a run that is killed in the evaluation repeats only that
            self._evaluate(log, epochs_done=done)
        self.progress.epoch, self.progress.batch = done, 0
        self.progress.finished = done == self.recipe.epochs
        self.save_state(log)

    def _stop(self) -> None:
        raise TrainingStopped(f"stopped at step {self.progress.step}; the state is saved")

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
                f" {self._last_good_state()}; lower lr or check these images"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.progress.step += 1
        return value

    def _refuse_weights_that_are_not_finite(self) -> None:
        for name, tensor in self.model.state_dict().items():
            if not torch.isfinite(tensor).all():
                raise GstoVizError(
                    f"{name} is not finite at step {self.progress.step}; "
                    f"{self._last_good_state()}; lower lr"
                )

    def _last_good_state(self) -> str:
        saved = self.folder.state.is_file()
        return f"the last good state is {self.folder.state}" if saved else "no state was saved yet"

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

    def _evaluate(self, log: RunLog, *, epochs_done: int) -> None:
        """Score the network, keep it as the last checkpoint and, if it is, as the best."""
        progress = self.progress
        clock = time.perf_counter()
        scores: Evaluation | None = None
        if self.val is not None:
            scores = self._score(self.val)
            log.write(
                "val",
                progress.step,
                epoch=epochs_done,
                miou=scores.scores.miou,
                pixel_accuracy=scores.scores.pixel_accuracy,
                mean_accuracy=scores.scores.mean_accuracy,
                iou=list(scores.scores.iou),
            )
        progress.seconds += time.perf_counter() - clock
        info = self.checkpoint_info(scores, epochs_done=epochs_done)
        save_checkpoint(self.folder.last, self.model, info)
        miou = None if scores is None else scores.scores.miou
        if progress.best_miou is None or miou is None or miou > progress.best_miou:
            progress.best_miou, progress.best_epoch = miou, epochs_done
            save_checkpoint(self.folder.best, self.model, info)

    def _score(self, val: Dataset) -> Evaluation:
        try:
            return evaluate(self.model, val, indices=self._val_indices(len(val)))
        except LogitsNotFiniteError as error:
            raise GstoVizError(
                f"at step {self.progress.step} the network gives no finite logits for a validation "
                f"image; {self._last_good_state()}; lower lr"
            ) from error

    def _val_indices(self, count: int) -> Iterator[int]:
        for index in tqdm(range(count), desc="val", disable=self.quiet, leave=False):
            if self.stop_requested:
                self._stop()
            yield index

    def checkpoint_info(self, scores: Evaluation | None, *, epochs_done: int) -> ModelInfo:
        """Describe the network as it is now, without any path of this machine."""
        training = {
            "recipe": portable_recipe(self.recipe),
            "data": portable_name(self.data.name),
            "val": None if self.val is None else portable_name(self.val.name),
            "seed": self.recipe.seed,
            "epoch": epochs_done,
            "step": self.progress.step,
            "seconds": self.progress.seconds,
            "miou": None if scores is None else scores.scores.miou,
            "torch": torch.__version__,
        }
        return ModelInfo(
            self.folder.path.name,
            self.recipe.model,
            self.data.classes,
            notice=NOTICES.get(data_kind(self.data.name)),
            training=training,
        )
