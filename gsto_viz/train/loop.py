"""Train a network, or continue a run that was stopped.

A run's folder holds ``config.yaml`` (recipe and data), ``log.jsonl``, ``tensorboard/``,
``state.safetensors`` (to continue from), ``last.safetensors``, ``best.safetensors`` and, where the
recipe asks for them, ``snapshots/``.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

import torch
from tqdm import tqdm

from gsto_viz.calibrate import calibrate
from gsto_viz.distributed import ALONE, World
from gsto_viz.errors import GstoVizError
from gsto_viz.models.checkpoint import load_checkpoint, save_checkpoint
from gsto_viz.torch_utils import image_to_tensor
from gsto_viz.train.build import peak_memory
from gsto_viz.train.folder import RunFolder, RunLog, check_splits
from gsto_viz.train.recipe import Recipe
from gsto_viz.train.step import Progress, read_progress
from gsto_viz.train.trainer import Trainer
from gsto_viz.types import Dataset


def add_gains(checkpoint: Path, data: Dataset, *, images: int = 64, quiet: bool = True) -> None:
    """Measure per-channel gains of the default taps and store them; keep those that are there.

    Args:
        checkpoint: One of our files; it is rewritten with the gains inside.
        data: Training images; the first ``images`` of them by id are used, at native size.
        images: How many.
        quiet: No progress bar.
    """
    model = load_checkpoint(checkpoint)
    info = model.info
    if info is None:
        raise GstoVizError(f"{checkpoint} says nothing about its network; take another copy")
    if info.gains:
        return
    chosen = sorted(range(len(data)), key=lambda i: data.ids[i])[:images]
    batches = (
        image_to_tensor(data[i].image, info.mean, info.std).unsqueeze(0)
        for i in tqdm(chosen, desc="gains", disable=quiet, leave=False)
    )
    save_checkpoint(checkpoint, model, replace(info, gains=calibrate(model, batches)))


@dataclass(frozen=True)
class TrainingResult:
    """What a finished run gives.

    Attributes:
        folder: Where everything lies.
        best: The checkpoint with the best validation score (the last one without validation).
        best_miou: Its score in percent, None without validation data.
        best_epoch: Epochs done when it was reached.
        seconds: Training time, restarts included.
        steps: Optimiser steps taken.
        memory: Most memory taken, in words; empty when nothing was left to do.
    """

    folder: Path
    best: Path
    best_miou: float | None
    best_epoch: int | None
    seconds: float
    steps: int
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
            progress = _run(trainer, resume=resume)
    with world.together():
        if world.is_main:
            for checkpoint in (folder.best, folder.last):
                add_gains(checkpoint, data, quiet=quiet)
    return TrainingResult(
        folder.path,
        folder.best,
        progress.best_miou,
        progress.best_epoch,
        progress.seconds,
        progress.step,
        "" if finished else peak_memory(device),
    )


def _run(trainer: Trainer, *, resume: bool) -> Progress:
    """Train to the end; nothing was written before."""
    folder, world = trainer.folder, trainer.world
    with world.together():
        if resume:
            trainer.resume()
        if world.is_main:
            trainer.check_room(resume=resume)
    progress = trainer.progress
    with ExitStack() as stack:
        log: RunLog | None = None
        with world.together():
            # Not before every process has seen that the folder may be used.
            if world.is_main:
                folder.prepare(trainer.recipe, trainer.data, trainer.val, resume=resume)
                log = stack.enter_context(
                    RunLog(folder.path, start=progress.log_bytes, step=progress.step)
                )
        if not trainer.quiet:
            sys.stderr.write("\n".join(trainer.plan().lines()) + "\n")
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
