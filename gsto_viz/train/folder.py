"""The folder of a training run: its files, and when it may be written to."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gsto_viz.errors import GstoVizError
from gsto_viz.files import read_small_text, remove_leftovers, write_text
from gsto_viz.recipe import Recipe, recipe_from_dict
from gsto_viz.train.identity import ids_digest, portable_name
from gsto_viz.types import Dataset

OWN_FILES = (
    "config.yaml",
    "log.jsonl",
    "state.safetensors",
    "best.safetensors",
    "last.safetensors",
)

SNAPSHOTS = "epoch-*.safetensors"
"""Names of the files in ``snapshots``."""

CHANGE_NOTHING = ("loader_threads", "loader_processes")
"""Settings on which no result depends: a run may go on with others."""


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run."""

    path: Path

    @property
    def config(self) -> Path:
        """Recipe and data of the run."""
        return self.path / "config.yaml"

    @property
    def state(self) -> Path:
        """What a stopped run continues from."""
        return self.path / "state.safetensors"

    @property
    def best(self) -> Path:
        """Checkpoint with the best validation score."""
        return self.path / "best.safetensors"

    @property
    def last(self) -> Path:
        """Checkpoint of the last evaluation."""
        return self.path / "last.safetensors"

    @property
    def snapshots(self) -> Path:
        """Folder of the weights that ``keep_every`` keeps."""
        return self.path / "snapshots"

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

    def prepare(self, recipe: Recipe, data: Dataset, val: Dataset | None, *, resume: bool) -> None:
        """Write ``config.yaml`` and remove what a killed or a replaced run has left."""
        config = {"recipe": recipe.to_dict(), **_data_config(data, val)}
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
    """Say which images a run uses: names, and digests that hold wherever the images lie."""
    config: dict[str, Any] = {}
    for part, images in (("data", data), ("val", val)):
        config[part] = None if images is None else images.name
        config[f"{part}_images"] = (
            None if images is None else f"{portable_name(images.name)} {ids_digest(images)}"
        )
    return config


def _same_data(part: str, before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Compare the images of two runs; data that were moved are the same data."""
    key = f"{part}_images"
    return bool(before[key] == now[key] if key in before else before.get(part) == now[part])
