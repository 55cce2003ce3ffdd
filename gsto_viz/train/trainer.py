"""Train a network, or continue a run that was stopped.

A run's folder holds ``config.yaml`` (recipe and data), ``log.jsonl``, ``tensorboard/``,
``state.safetensors`` (to continue from), ``last.safetensors``, ``best.safetensors`` and, where the
recipe asks for them, ``snapshots/``.
"""

import math
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from tqdm import tqdm

from gsto_viz.data import check_dataset, portable_name, raise_problems, weights_notice
from gsto_viz.distributed import ALONE, World
from gsto_viz.errors import GstoVizError, RefusedImageError
from gsto_viz.evaluate import LogitsNotFiniteError
from gsto_viz.models.base import ModelInfo
from gsto_viz.models.checkpoint import checkpoint_bytes, save_checkpoint
from gsto_viz.train.build import Stopwatch, build_for, peak_memory, plan_lines
from gsto_viz.train.folder import (
    Progress,
    RunFolder,
    RunLog,
    check_splits,
    load_state,
    portable_recipe,
    read_progress,
    save_state,
)
from gsto_viz.train.measures import (
    add_gains,
    check_confusion,
    equalize,
    scale_confusion,
)
from gsto_viz.train.reading import CACHE_BYTES, Readers
from gsto_viz.train.recipe import Recipe
from gsto_viz.train.step import Batch, Stepper, TrainingSamples
from gsto_viz.train.tasks import Scored, measure_of, task_of
from gsto_viz.types import Dataset


class TrainingStopped(KeyboardInterrupt):
    """The run was asked to stop (SIGTERM, Ctrl-C) and has saved its state."""


class Trainer:
    """Everything that is built from a recipe, and the loop over it.

    Nothing is written before ``run``; with ``check`` all images are read once before. With several
    processes each has a trainer of its own, and all call the same methods; process 0 writes.

    Attributes:
        progress: Where the run stands.
        stop_requested: Set it (from a signal handler, another thread) to stop after the step or
            validation image under way, in any one process.

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
        check: bool = False,
        world: World = ALONE,
    ) -> None:
        self.recipe, self.data, self.val, self.world = recipe, data, val, world
        self.folder, self.device, self.quiet = folder, device, quiet or not world.is_main
        self.task = task_of(recipe, data, quiet=self.quiet)
        network = build_for(recipe, len(self.task.classes)).to(device)
        with world.together():
            if recipe.sci_every and world.is_main:
                check_confusion(network, val)
        self.readers = Readers(
            self.task.reader(CACHE_BYTES // world.local_size),
            threads=recipe.loader_threads,
            processes=recipe.loader_processes,
        )
        self.samples = TrainingSamples(
            self.readers,
            batch_size=recipe.batch_size,
            seed=recipe.seed,
            world=world,
            parts=recipe.accumulate,
        )
        if check:  # last, for it reads all images
            self._check()
        self.steps = recipe.epochs * self.samples.batches_per_epoch
        objective = self.task.objective(network, self.samples, device)
        self.stepper = Stepper(recipe, network, steps=self.steps, objective=objective, world=world)
        self.progress = Progress()
        self.stopwatch = Stopwatch()
        self.stop_requested = False

    def _check(self) -> None:
        """Look at every image once, so that none stops the run in the middle."""
        with self.world.together():
            for part in (self.data, self.val) if self.world.is_main else ():
                if part is not None:
                    raise_problems(part, check_dataset(part, self.quiet))

    def resume(self) -> None:
        """Continue from the folder's state if it has one."""
        if self.folder.state.is_file():
            self.progress = load_state(self.folder.state, self.stepper)

    def equalize(self) -> None:
        """Estimate the equalizers of the network, if it has any, from its start weights."""
        network, average = self.stepper.network, self.stepper.average
        if not network.config.equalized:
            return
        equalize(network, self.data, world=self.world, quiet=self.quiet)
        if average is not None:
            average.network.load_state_dict(network.state_dict())

    def check_room(self, *, resume: bool) -> None:
        """Refuse a run whose snapshots do not fit on the disk; see ``RunFolder.check_room``."""
        every = self.recipe.keep_every
        if every:
            left = self.recipe.epochs // every - self.progress.epoch // every
            size = checkpoint_bytes(self.stepper.network, half_weights=True)
            self.folder.check_room(left * size, resume=resume)

    def run(self, log: RunLog | None) -> None:
        """Train until the last epoch is done.

        Args:
            log: In process 0, else None.

        Raises:
            TrainingStopped: As asked; the state is saved.
            GstoVizError: The loss or a weight is not finite, a sample cannot be read, a file
                cannot be written, or memory is short.
        """
        with (
            closing(self.readers),
            _explained(self.recipe, self.world),
            tqdm(
                total=self.steps,
                initial=self.progress.step,
                desc=self.recipe.model,
                unit="step",
                disable=self.quiet,
                dynamic_ncols=True,
            ) as bar,
        ):
            while self.progress.epoch < self.recipe.epochs:
                self._epoch(log, bar)
                self._finish_epoch(log)

    def save_state(self, log: RunLog | None) -> None:
        """Write the state from which a killed run continues."""
        with self.world.together():
            self._refuse_weights_that_are_not_finite()
            if log is not None:
                self.progress.log_bytes = log.bytes_written
                save_state(self.folder.state, self.stepper, self.progress)

    def _epoch(self, log: RunLog | None, bar: "tqdm[Any]") -> None:
        """Take the steps of the epoch under way that are still to do."""
        progress = self.progress
        self.stepper.network.train()
        clock = time.perf_counter()
        with closing(self.samples.batches(progress.epoch, progress.batch)) as batches:
            while (batch := self._next(batches)) is not None:
                loss = self._step(batch)
                progress.batch += 1
                progress.loss_sum += loss
                progress.loss_count += 1
                now = time.perf_counter()
                self.stopwatch.add(now - clock)
                progress.seconds, clock = progress.seconds + now - clock, now
                bar.update()
                self._say_estimate(bar)
                if progress.step % self.recipe.log_every == 0:
                    self._log_training(log, bar)
                if self.world.any(self.stop_requested):
                    self.save_state(log)
                    raise self._stopped()
                if progress.step % self.recipe.state_every == 0:
                    self.save_state(log)

    def _next(self, batches: Iterator[Batch]) -> Batch | None:
        """Return the next batch or None, unless a process cannot read its share of it."""
        with self.world.together():
            return next(batches, None)

    def _finish_epoch(self, log: RunLog | None) -> None:
        """Count the epoch as done, evaluating and keeping weights where the recipe says so."""
        recipe, done = self.recipe, self.progress.epoch + 1
        last = done == recipe.epochs
        evaluates = last or done % recipe.eval_every == 0
        measures = recipe.sci_every and (last or done % recipe.sci_every == 0)
        keeps = recipe.keep_every and done % recipe.keep_every == 0
        if evaluates or measures or keeps:
            self.save_state(log)  # a run that is killed from here on repeats only this
        value = self._evaluate(log, epochs_done=done) if evaluates else None
        if measures and self.val is not None:
            self._measure_confusion(log, self.val, epochs_done=done)
        if keeps:
            with self.world.together():
                if self.world.is_main:
                    info = self.checkpoint_info(value, epochs_done=done)
                    path = self.folder.snapshot(done)
                    save_checkpoint(self.stepper.evaluated, path, info=info, half_weights=True)
        self.progress.epoch, self.progress.batch = done, 0
        self.progress.finished = done == self.recipe.epochs
        self.save_state(log)

    def _stopped(self) -> TrainingStopped:
        return TrainingStopped(f"stopped at step {self.progress.step}; the state is saved")

    def _step(self, batch: Batch) -> float:
        """Take one optimiser step; return the loss."""
        loss = self.stepper.take(batch, self.progress.step)
        if not math.isfinite(loss):
            self.world.agree(
                GstoVizError(
                    f"the loss is {loss} at step {self.progress.step} (images "
                    f"{', '.join(batch.ids)}); {self._last_good_state()}; lower lr or check these "
                    "images"
                )
            )
        self.progress.step += 1
        return loss

    def _refuse_weights_that_are_not_finite(self) -> None:
        for name, tensor in self.stepper.network.state_dict().items():
            if not torch.isfinite(tensor).all():
                raise GstoVizError(
                    f"{name} is not finite at step {self.progress.step}; "
                    f"{self._last_good_state()}; lower lr"
                )

    def _last_good_state(self) -> str:
        saved = self.folder.state.is_file()
        return f"the last good state is {self.folder.state}" if saved else "no state was saved yet"

    def _say_estimate(self, bar: "tqdm[Any]") -> None:
        left = self.steps - self.progress.step
        text = self.stopwatch.estimate(left, self.recipe.batch_size, self.device)
        if text is not None and not self.quiet:
            bar.write(text, file=sys.stderr)

    def _log_training(self, log: RunLog | None, bar: "tqdm[Any]") -> None:
        progress = self.progress
        loss = progress.loss_sum / progress.loss_count
        rate = self.stepper.rate
        speed = progress.step * self.recipe.batch_size / max(progress.seconds, 1e-9)
        self._write(
            log,
            "train",
            epoch=progress.epoch,
            loss=loss,
            lr=rate,
            images_per_s=speed,
            seconds=progress.seconds,
        )
        bar.set_postfix(loss=f"{loss:.3f}", lr=f"{rate:.4f}", img_s=f"{speed:.1f}", refresh=False)
        progress.loss_sum, progress.loss_count = 0.0, 0

    def _write(self, log: RunLog | None, kind: str, **values: Any) -> None:
        with self.world.together():
            if log is not None:
                log.write(kind, self.progress.step, **values)

    def _evaluate(self, log: RunLog | None, *, epochs_done: int) -> float | None:
        """Score the network, keep it as the last checkpoint and, if it is, as the best.

        Returns:
            What it scores, in percent; None without validation data.
        """
        progress = self.progress
        clock = time.perf_counter()
        value: float | None = None
        if self.val is not None:
            scored = self._score(self.val)
            value = scored.value
            skipped = {self.val.ids[index]: why for index, why in scored.skipped.items()}
            for id_, why in () if self.quiet else skipped.items():
                tqdm.write(f"gsto-viz train: skipped {id_}: {why}", file=sys.stderr)
            self._write(
                log,
                "val",
                epoch=epochs_done,
                **scored.record,
                **({"skipped": list(skipped)} if skipped else {}),
            )
        progress.seconds += time.perf_counter() - clock
        better = progress.best_score is None or value is None or value > progress.best_score
        if better:
            progress.best_score, progress.best_epoch = value, epochs_done
        with self.world.together():
            if self.world.is_main:
                info = self.checkpoint_info(value, epochs_done=epochs_done)
                save_checkpoint(self.stepper.evaluated, self.folder.last, info=info)
                if better:
                    save_checkpoint(self.stepper.evaluated, self.folder.best, info=info)
        return value

    def _measure_confusion(self, log: RunLog | None, val: Dataset, *, epochs_done: int) -> None:
        """Log SCI and what belongs to it; process 0 measures, the others wait."""
        clock = time.perf_counter()
        found: dict[str, Any] | None = None
        with self.world.together():
            if self.world.is_main:
                found = scale_confusion(
                    self.stepper.evaluated, val, stopped=lambda: self.stop_requested
                )
        if self.world.any(self.stop_requested):
            raise self._stopped()
        self._write(log, "sci", epoch=epochs_done, **(found or {}))
        self.progress.seconds += time.perf_counter() - clock

    def _score(self, val: Dataset) -> Scored:
        error: GstoVizError | None = None
        scored: Scored | None = None
        try:
            scored = self.task.score(
                self.stepper.evaluated,
                val,
                self.world,
                stopped=lambda: self.stop_requested,
                quiet=self.quiet,
            )
        except LogitsNotFiniteError:
            error = GstoVizError(
                f"at step {self.progress.step} the network gives no finite logits for a validation "
                f"image; {self._last_good_state()}; lower lr"
            )
        self.world.agree(error)
        if scored is None:
            raise self._stopped()
        return scored

    def checkpoint_info(self, value: float | None, *, epochs_done: int) -> ModelInfo:
        """Describe the network as it is now, without any path of this machine."""
        training = {
            "recipe": portable_recipe(self.recipe),
            "data": portable_name(self.data.name),
            "val": None if self.val is None else portable_name(self.val.name),
            "seed": self.recipe.seed,
            "epoch": epochs_done,
            "step": self.progress.step,
            "seconds": self.progress.seconds,
            self.task.measure: value,
            "processes": self.world.size,
            "torch": torch.__version__,
        }
        return ModelInfo(
            self.folder.path.name,
            self.recipe.model,
            self.task.classes,
            notice=weights_notice(self.data.name),
            training=training,
        )


@contextmanager
def _explained(recipe: Recipe, world: World) -> Iterator[None]:
    """Put into one sentence what torch says in many, where the user can do something about it."""
    try:
        yield
    except RefusedImageError as error:
        height, width = recipe.crop
        raise GstoVizError(
            f"recipe: crop is {height}x{width}, and {recipe.model} does not take it: {error}"
        ) from error
    except RuntimeError as error:
        text = " ".join(str(error).split())
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in text:
            raise GstoVizError(
                f"memory is short ({text[:120]}); lower batch_size or crop, raise accumulate, or "
                "take more processes"
            ) from error
        if recipe.compile and isinstance(error, torch._dynamo.exc.TorchDynamoException):
            raise GstoVizError(
                f"torch.compile fails here ({text[:200]}); use --set compile=false"
            ) from error
        if world.size > 1 and ("peer" in text or "NCCL" in text):
            raise GstoVizError(
                f"another process of this run has ended; see what it says ({text[:120]})"
            ) from error
        raise


@dataclass(frozen=True)
class TrainingResult:
    """What a finished run gives.

    Attributes:
        folder: Where everything lies.
        best: The checkpoint with the best validation score (the last one without validation).
        best_score: Its score in percent, None without validation data.
        best_epoch: Epochs done when it was reached.
        seconds: Training time, restarts included.
        steps: Optimiser steps taken.
        measure: What the score is, such as ``mIoU``.
        memory: Most memory taken, in words; empty when nothing was left to do.
    """

    folder: Path
    best: Path
    best_score: float | None
    best_epoch: int | None
    seconds: float
    steps: int
    measure: str = "mIoU"
    memory: str = field(default="", compare=False)


def train(
    recipe: Recipe,
    data: Dataset,
    out: str | Path,
    *,
    val: Dataset | None = None,
    resume: bool = False,
    overwrite: bool = False,
    check_data: bool | None = False,
    census: Mapping[str, Any] | None = None,
    device: torch.device | None = None,
    quiet: bool = True,
    world: World = ALONE,
) -> TrainingResult:
    """Train a network, or continue a run that was stopped.

    On the CPU with the same number of threads, a run that was killed and resumed ends with the same
    weights, bit for bit, as one that was not. A run that was finished is left as it is.

    Args:
        recipe: What to compute.
        data: Training images.
        out: The run's folder.
        val: Validation images, scored every few epochs; None keeps the last weights as the best.
        resume: Continue a run in ``out`` (start it when there is none).
        overwrite: Replace what ``out`` holds; not with ``resume``.
        check_data: Read every image once before the first step; None: if no step was taken yet.
        census: What was found in the labels before, for the record.
        device: None for the CPU.
        quiet: No plan and no progress bars on stderr.
        world: The processes that share the run (``gsto_viz.distributed.join_world``); all call this
            with the same words, and all get the result.

    Raises:
        GstoVizError: ``out`` is taken or holds another run, or data or recipe do not fit: nothing
            is written. The loss is not finite, or a file cannot be written: what was there is kept.
        TrainingStopped: SIGTERM or Ctrl-C; the state is saved.
    """
    device = device or torch.device("cpu")
    folder = RunFolder(Path(out))
    with world.together():
        check_splits(data, val)
        folder.check(recipe, data, val, resume=resume, overwrite=overwrite)
        progress = read_progress(folder.state) if resume and folder.state.is_file() else Progress()
    finished = progress.finished
    if not finished:
        # Nothing of ours draws from torch's generator between steps (dropout seeds it in each);
        # whatever does is reproducible too, and the caller's own numbers go on as if nothing had
        # happened.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            with world.together():
                trainer = Trainer(
                    recipe,
                    data,
                    val,
                    folder,
                    device,
                    quiet=quiet,
                    check=progress.step == 0 if check_data is None else check_data,
                    world=world,
                )
            progress = _run(trainer, census or {}, resume=resume)
    with world.together():
        if world.is_main:
            for checkpoint in (folder.best, folder.last):
                add_gains(checkpoint, data, quiet=quiet)
    return TrainingResult(
        folder.path,
        folder.best,
        progress.best_score,
        progress.best_epoch,
        progress.seconds,
        progress.step,
        measure_of(recipe),
        "" if finished else peak_memory(device),
    )


def _run(trainer: Trainer, census: Mapping[str, Any], *, resume: bool) -> Progress:
    """Train to the end; nothing was written before."""
    folder, world = trainer.folder, trainer.world
    with world.together():
        if resume:
            trainer.resume()
        if world.is_main:
            trainer.check_room(resume=resume)
    progress = trainer.progress
    if progress.step == 0:
        trainer.equalize()
    with ExitStack() as stack:
        log: RunLog | None = None
        with world.together():
            # Not before every process has seen that the folder may be used.
            if world.is_main:
                folder.prepare(trainer.recipe, trainer.data, trainer.val, census, resume=resume)
                log = stack.enter_context(
                    RunLog(folder.path, start=progress.log_bytes, step=progress.step)
                )
        if not trainer.quiet:
            lines = plan_lines(
                trainer.recipe,
                trainer.stepper.network,
                trainer.task,
                trainer.val,
                steps=trainer.steps,
                done=progress.step,
                device=trainer.device,
                world=world,
            )
            sys.stderr.write("\n".join(lines) + "\n")
        stack.enter_context(_stop_signals(trainer))
        trainer.run(log)
    return progress


@contextmanager
def _stop_signals(trainer: Trainer) -> Iterator[None]:
    """Let SIGTERM and Ctrl-C finish the step under way; a second Ctrl-C interrupts at once."""

    def request(number: int, frame: FrameType | None) -> None:
        if trainer.stop_requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        trainer.stop_requested = True

    # Signal handlers belong to the main thread; elsewhere nobody can send us one.
    main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGTERM, signal.SIGINT) if main else ()
    before = {number: signal.signal(number, request) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
