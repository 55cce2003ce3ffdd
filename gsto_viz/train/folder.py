"""The folder of a training run: its files, and when it may be written to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gsto_viz.errors import GstoVizError
from gsto_viz.files import write_text
from gsto_viz.recipe import Recipe
from gsto_viz.types import Dataset

OWN_FILES = (
    "config.yaml",
    "log.jsonl",
    "state.safetensors",
    "best.safetensors",
    "last.safetensors",
)


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

    def prepare(
        self, recipe: Recipe, data: Dataset, val: Dataset | None, *, resume: bool, overwrite: bool
    ) -> None:
        """Make the folder ready for this run and write its ``config.yaml``.

        Raises:
            GstoVizError: The folder holds something and neither ``resume`` nor ``overwrite`` is
                given, or it holds a run of another recipe or data.
        """
        config = {
            "recipe": recipe.to_dict(),
            "data": data.name,
            "val": None if val is None else val.name,
        }
        if self.path.exists() and not self.path.is_dir():
            raise GstoVizError(f"{self.path} is a file; give a folder")
        taken = self.path.is_dir() and any(self.path.iterdir())
        if taken and resume:
            self._check_same(config)
        elif taken and overwrite:
            self._clear()
        elif taken:
            raise GstoVizError(
                f"{self.path} is not empty; --resume continues its run, --overwrite replaces it"
            )
        write_text(self.config, yaml.safe_dump(config, sort_keys=False))

    def _check_same(self, config: dict[str, Any]) -> None:
        if not self.config.is_file():
            raise GstoVizError(f"{self.path} holds no run to resume (no config.yaml)")
        try:
            before = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise GstoVizError(f"{self.config} is damaged: {error}") from error
        if before == config:
            return
        before = before if isinstance(before, dict) else {}
        old, new = before.get("recipe") or {}, config["recipe"]
        changed = [f"{k}: {old.get(k)!r} -> {new[k]!r}" for k in new if old.get(k) != new[k]]
        changed += [
            f"{k}: {before.get(k)!r} -> {config[k]!r}"
            for k in ("data", "val")
            if before.get(k) != config[k]
        ]
        raise GstoVizError(
            f"{self.path} holds another run ({'; '.join(changed) or 'unknown keys'}); give the same "
            "recipe and data, or another folder"
        )

    def _clear(self) -> None:
        """Remove the files of an earlier run, and nothing else."""
        for name in OWN_FILES:
            (self.path / name).unlink(missing_ok=True)
        board = self.path / "tensorboard"
        if board.is_dir():
            for event in board.glob("events.out.tfevents.*"):
                event.unlink()
