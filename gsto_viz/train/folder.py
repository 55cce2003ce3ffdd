"""The folder of a training run: its files, log and state, and when it may be written to."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, Self

import torch
import yaml
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from gsto_viz.data import PROCEDURAL, is_held_out, portable_name
from gsto_viz.errors import GstoVizError
from gsto_viz.files import RUN_STATE, check_creatable, read_small_text, remove_leftovers, write_text
from gsto_viz.models.checkpoint import load_weights, read_metadata, read_tensors, write_tensors
from gsto_viz.train.recipe import Recipe, recipe_from_dict
from gsto_viz.train.step import Stepper
from gsto_viz.types import Dataset


class RunLog:
    """Append records to ``log.jsonl`` and their numbers to TensorBoard.

    Args:
        folder: The run's folder.
        start: Length in bytes of the part of ``log.jsonl`` to keep; a run that is continued
            drops what was logged after the state that it continues from.
        step: Step at which a continued run starts; TensorBoard hides what it had beyond.

    Raises:
        GstoVizError: The operating system refused a write (here and in ``write``).
    """

    def __init__(self, folder: Path, *, start: int = 0, step: int = 0) -> None:
        self.path = folder / "log.jsonl"
        try:
            # Unbuffered: a line is with the system when its state is saved, and a full disk
            # leaves nothing behind that closing the file would try to write again.
            self._file = self.path.open("ab", buffering=0)
            self._file.truncate(min(start, self.path.stat().st_size))
            self._file.seek(0, os.SEEK_END)
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step or None)
        except OSError as error:
            raise self._refused(error) from error

    @property
    def bytes_written(self) -> int:
        """Length of the log so far."""
        return self._file.tell()

    def write(self, kind: str, step: int, **values: Any) -> None:
        """Write one record; its numbers become TensorBoard curves named ``kind/name``."""
        record = {"kind": kind, "step": step, **values}
        line = (json.dumps(record, allow_nan=False) + "\n").encode()
        try:
            while line:
                line = line[self._file.write(line) :]
            for name, value in values.items():
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    self._board.add_scalar(f"{kind}/{name}", value, step)
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> GstoVizError:
        reason = error.strerror or str(error)
        return GstoVizError(f"cannot write {self.path}: {reason}; free space and use --resume")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        try:
            self._board.close()
        except OSError as error:
            # What stopped the run says more than what closing its curves adds to it.
            if value is None:
                raise self._refused(error) from error


def portable_recipe(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe with the file name only where it starts from a file."""
    return {**recipe.to_dict(), "initialization": PurePath(recipe.initialization).name}


OWN_FILES = (
    "config.yaml",
    "log.jsonl",
    RUN_STATE,
    "best.safetensors",
    "last.safetensors",
)

SNAPSHOTS = "epoch-*.safetensors"
"""Names of the files in ``snapshots``."""

CHANGE_NOTHING = ("loader_threads", "loader_processes")
"""Settings on which no result depends: a run may go on with others."""


class RunFolder:
    """Paths of one run.

    Attributes:
        path: The folder.
        config: Recipe and data of the run.
        state: What a stopped run continues from.
        best: Checkpoint with the best validation score.
        last: Checkpoint of the last evaluation.
        snapshots: Folder of the weights that ``keep_every`` keeps.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config, _, self.state, self.best, self.last = (path / name for name in OWN_FILES)
        self.snapshots = path / "snapshots"

    def snapshot(self, epoch: int) -> Path:
        """Return the file of the weights after so many epochs."""
        return self.snapshots / SNAPSHOTS.replace("*", f"{epoch:04d}")

    def check_room(self, size: int, *, resume: bool) -> None:
        """Refuse a run whose snapshots do not fit on the disk.

        Args:
            size: Bytes that are still to be written.
            resume: Whether the snapshots that are there will stay.

        Raises:
            GstoVizError: There is less free space, or the system does not say how much.
        """
        place = next(p for p in (self.path.absolute(), *self.path.absolute().parents) if p.exists())
        try:
            free = shutil.disk_usage(place).free
            if not resume:
                free += sum(path.stat().st_size for path in self.snapshots.glob(SNAPSHOTS))
        except OSError as error:
            raise GstoVizError(f"cannot look at {place}: {error.strerror}; check it") from error
        if size > free:
            raise GstoVizError(
                f"the snapshots of keep_every take about {size / 1e9:.3g} GB and {place} has "
                f"{free / 1e9:.3g} GB free; raise keep_every, free space or choose another folder"
            )

    def check(
        self, recipe: Recipe, data: Dataset, val: Dataset | None, *, resume: bool, overwrite: bool
    ) -> None:
        """Refuse a folder that this run may not write to; write nothing.

        Raises:
            GstoVizError: The folder holds something and neither ``resume`` nor ``overwrite`` is
                given, it holds a run of another recipe or data, or it cannot be read.
        """
        if self.path.exists() and not self.path.is_dir():
            raise GstoVizError(f"{self.path} is a file; give a folder")
        try:
            taken = self.path.is_dir() and any(self.path.iterdir())
        except OSError as error:
            raise GstoVizError(f"cannot read {self.path}: {error.strerror}; check it") from error
        if taken and resume:
            self._check_same(recipe, _data_config(data, val))
        elif taken and not overwrite:
            raise GstoVizError(
                f"{self.path} is not empty; --resume continues its run, --overwrite replaces it"
            )
        check_creatable(self.path, inside=True)

    def prepare(
        self,
        recipe: Recipe,
        data: Dataset,
        val: Dataset | None,
        census: Mapping[str, Any] | None = None,
        *,
        resume: bool,
    ) -> None:
        """Write ``config.yaml`` and remove what a killed or a replaced run has left."""
        config = {"recipe": recipe.to_dict(), **_data_config(data, val)}
        if census:
            config["census"] = dict(census)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.path, OWN_FILES)
            remove_leftovers(self.snapshots, [SNAPSHOTS])
            if not resume:
                self._clear()
        except OSError as error:
            raise GstoVizError(
                f"cannot write to {self.path}: {error.strerror}; choose another folder"
            ) from error
        write_text(self.config, yaml.safe_dump(config, sort_keys=False))

    def _check_same(self, recipe: Recipe, data: dict[str, Any]) -> None:
        if not self.config.is_file():
            raise GstoVizError(f"{self.path} holds no run to resume (no config.yaml)")
        try:
            before = yaml.safe_load(read_small_text(self.config, "the configuration"))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise GstoVizError(f"{self.config} is damaged: {error}; start anew") from error
        if not isinstance(before, dict) or not isinstance(before.get("recipe"), dict):
            raise GstoVizError(f"{self.config} is damaged: no recipe in it; start anew")
        old, new = recipe_from_dict(before["recipe"]).to_dict(), recipe.to_dict()
        changed = [
            f"{k}: {old[k]!r} -> {new[k]!r}"
            for k in new
            if old[k] != new[k] and k not in CHANGE_NOTHING
        ]
        changed += [
            f"{part}: {before.get(part)!r} -> {data[part]!r}"
            for part in ("data", "val")
            if not _same_data(part, before, data)
        ]
        if changed:
            raise GstoVizError(
                f"{self.path} holds another run ({'; '.join(changed)}); give the same recipe and "
                "data, or another folder"
            )
        kept = (self.best, self.last, *self.snapshots.glob(SNAPSHOTS))
        if not self.state.is_file() and any(path.is_file() for path in kept):
            raise GstoVizError(
                f"{self.path} holds checkpoints but no {self.state.name} to continue from; "
                "give another folder, or --overwrite to start anew"
            )

    def _clear(self) -> None:
        """Remove the files of an earlier run, and nothing else."""
        for name in OWN_FILES:
            (self.path / name).unlink(missing_ok=True)
        for snapshot in self.snapshots.glob(SNAPSHOTS):
            snapshot.unlink()
        board = self.path / "tensorboard"
        if board.is_dir():
            for event in board.glob("events.out.tfevents.*"):
                event.unlink()


def _data_config(data: Dataset, val: Dataset | None) -> dict[str, Any]:
    """Return which images a run uses: names, and SHA-256 of ids that hold wherever they lie."""
    config: dict[str, Any] = {}
    for part, images in (("data", data), ("val", val)):
        config[part] = config[f"{part}_images"] = None
        if images is not None:
            digest = hashlib.sha256("\n".join(images.ids).encode()).hexdigest()
            config[part] = images.name
            config[f"{part}_images"] = f"{portable_name(images.name)} {digest}"
    return config


def _same_data(part: str, before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Compare the images of two runs; data that were moved are the same data."""
    key = f"{part}_images"
    return bool(before[key] == now[key] if key in before else before.get(part) == now[part])


def validation_spec(spec: str) -> str:
    """Return the SPEC of the validation images that belong to training images.

    Rendered images: 64 of an evaluation seed, of the same size and kind. Anything else: the ``val``
    split where ``spec`` says ``train`` or no split, else the same images.
    """
    name, _, rest = spec.partition(":")
    if name in PROCEDURAL:
        parts = [part.strip() for part in rest.split(",")]
        kept = [part for part in parts if part.startswith(("size=", "decorrelated="))]
        return ":".join([name, ",".join(["count=64", *kept])])
    path, colon, split = rest.rpartition(":")
    return f"{name}:{path}:val" if colon and split == "train" else spec


def check_splits(data: Dataset, val: Dataset | None) -> None:
    """Refuse data sets that do not go together in a training run, by what they say of themselves.

    Raises:
        GstoVizError: A split that is kept for evidence (CamVid's ``eval``), or validation images
            with other classes than the training images.
    """
    for part in (data, val):
        if part is not None and is_held_out(part.name):
            raise GstoVizError(
                f"{part.name} is kept for evidence and never trained or tuned on; take the splits "
                "train and val"
            )
    if val is None:
        return
    ours, theirs = data.classes.names, val.classes.names
    if len(ours) != len(theirs):
        raise GstoVizError(
            f"{data.name} has {len(ours)} classes and {val.name} has {len(theirs)}; validate on "
            "data of the same classes"
        )
    for k, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if a.casefold() != b.casefold():
            raise GstoVizError(
                f"class {k} is '{a}' in {data.name} and '{b}' in {val.name}; validate on data of "
                "the same classes"
            )


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        epoch: Epoch under way, from 0.
        batch: Batches of it that are done.
        step: Optimiser steps done in all.
        best_score: Best validation score so far, in percent; None before the first.
        best_epoch: Epochs done when it was reached.
        loss_sum: Sum of the losses since the last line of the log.
        loss_count: Their number.
        log_bytes: Length of ``log.jsonl`` at this state; what lies beyond is from a lost future.
        seconds: Training time so far, restarts included.
        finished: All epochs done.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best_score: float | None = None
    best_epoch: int | None = None
    loss_sum: float = 0.0
    loss_count: int = 0
    log_bytes: int = 0
    seconds: float = 0.0
    finished: bool = False


_KEPT = {
    "momentum_buffer": "momentum",
    "exp_avg": "first_moment",
    "exp_avg_sq": "second_moment",
    "step": "adam_step",
}
"""What SGD and Adam keep of a parameter, and what it is called in a state file."""


def save_state(path: Path, stepper: Stepper, progress: Progress) -> None:
    """Write the state, whole or not at all, every tensor as it is."""
    network, optimizer = stepper.network, stepper.optimizer
    tensors = {f"model/{k}": t for k, t in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        for key, kept in optimizer.state.get(parameter, {}).items():
            if isinstance(kept, Tensor):
                tensors[f"{_KEPT[key]}/{name}"] = kept
    if stepper.average is not None:
        averaged = stepper.average.network.state_dict()
        tensors.update({f"average/{k}": t for k, t in averaged.items()})
    tensors["rng/torch"] = torch.get_rng_state()
    scaler = json.dumps(stepper.scaler.state_dict())
    write_tensors(path, tensors, {"progress": json.dumps(asdict(progress)), "scaler": scaler})


def load_state(path: Path, stepper: Stepper) -> Progress:
    """Put network, average, optimiser, scaler and torch's generator where ``save_state`` was.

    Raises:
        GstoVizError: The file is damaged or belongs to another network.
    """
    progress = read_progress(path)
    tensors, metadata = read_tensors(path)
    load_weights(stepper.network, _part(tensors, "model/"), source=str(path))
    if stepper.average is not None:
        load_weights(stepper.average.network, _part(tensors, "average/"), source=str(path))
    for key, name_in_file in _KEPT.items():
        kept = _part(tensors, f"{name_in_file}/")
        for name, parameter in stepper.network.named_parameters():
            if name in kept:
                one = kept[name]
                if one.shape == parameter.shape:
                    # The layout decides the order of summation in kernels: the parameter's own.
                    one = torch.empty_like(parameter).copy_(one).detach()
                stepper.optimizer.state[parameter][key] = one
    if stepper.scaler.is_enabled():
        stepper.scaler.load_state_dict(_scaler_state(metadata, path))
    if "rng/torch" in tensors:
        torch.set_rng_state(tensors["rng/torch"])
    return progress


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}


def _scaler_state(metadata: dict[str, str], path: Path) -> dict[str, Any]:
    """Read the loss scale of fp16 and what decides when it changes."""
    try:
        return {
            name: float(value) if name == "scale" else value
            for name, value in json.loads(metadata["scaler"]).items()
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise GstoVizError(
            f"{path} holds no loss scale; remove it to start the run anew"
        ) from error


def read_progress(path: Path) -> Progress:
    """Read where a run stands, without its tensors.

    Raises:
        GstoVizError: Not a resume state.
    """
    try:
        values = json.loads(read_metadata(path)["progress"])
        if "best_miou" in values:  # written when mIoU was the only score
            values["best_score"] = values["best_miou"]
        return Progress(**{f.name: values[f.name] for f in fields(Progress)})
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise GstoVizError(
            f"{path} is not a resume state; remove it to start the run anew"
        ) from error
