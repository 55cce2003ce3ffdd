"""Where the runs of an arm and their results lie, and how far each run is.

``OUT/runs/NAME`` is the folder of ``gsto-viz train``; beside it lie logs, analyses, and a line for
each run that diverged. ``RESULTS`` holds the small tables that are kept for good.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from arms import Arm, Run, check_same_study, read_mapping

from gsto_viz.errors import GstoVizError
from gsto_viz.files import read_small_text, write_text
from gsto_viz.models import load_checkpoint
from gsto_viz.train.folder import Progress, RunFolder, read_progress

RECORD = "study.yaml"


@dataclass(frozen=True)
class Places:
    """The folders of one arm.

    Attributes:
        arm: What is studied.
        out: Folder of the runs.
        results: Folder of the tables.
    """

    arm: Arm
    out: Path
    results: Path

    def folder(self, run: Run) -> RunFolder:
        """Return the training folder of a run."""
        return RunFolder(self.out / "runs" / run.name)

    def analysis(self, run: Run, part: str) -> Path:
        """Return the analyze folder of a run: ``post``, ``pre`` or ``attribution``."""
        return self.out / "analyses" / run.name / part

    def log(self, run: Run, what: str) -> Path:
        """Return the file that takes what a process says."""
        return self.out / "logs" / f"{run.name}-{what}.txt"

    def divergence(self, run: Run) -> Path:
        """Return the file that says why a run diverged."""
        return self.out / "diverged" / f"{run.name}.txt"

    def result(self, run: Run, ending: str) -> Path:
        """Return a file of results: ``json`` for the run, ``csv`` for its images."""
        return self.results / f"{run.name}.{ending}"

    def reason(self, run: Run) -> str | None:
        """Return why a run diverged, or None."""
        if self.divergence(run).is_file():
            return read_small_text(self.divergence(run), "the reason").strip()
        result = self.read_result(run)
        return result["reason"] if result and result["status"] == "diverged" else None

    def read_result(self, run: Run) -> dict[str, Any] | None:
        """Return what was measured of a run, None before it was."""
        path = self.result(run, "json")
        return read_result(path) if path.is_file() else None

    def progress(self, run: Run) -> Progress | None:
        """Return how far the training of a run is, None before its first state."""
        state = self.folder(run).state
        return read_progress(state) if state.is_file() else None

    def is_trained(self, run: Run) -> bool:
        """Return whether a run has come to its end, with gains in its checkpoints."""
        progress = self.progress(run)
        if progress is None or not progress.finished:
            return False
        info = load_checkpoint(self.folder(run).last).info
        return info is not None and bool(info.gains)

    def is_done(self, run: Run) -> bool:
        """Return whether nothing of a run is left to train: also where only its results are."""
        return (
            self.result(run, "json").is_file()
            or self.reason(run) is not None
            or self.is_trained(run)
        )

    def check(self, *, resume: bool) -> None:
        """Refuse folders that this study may not use; write nothing.

        Raises:
            GstoVizError: The runs' folder is taken, or one of them is of another study.
        """
        for place in (self.out, self.results):
            if place.exists() and not place.is_dir():
                raise GstoVizError(f"{place} is a file; give a folder")
            if (place / RECORD).is_file():
                before = read_mapping(place / RECORD, "the record")
                check_same_study(before, self.arm.record(), place)
            elif place.is_dir() and any(place.iterdir()):
                raise GstoVizError(f"{place} holds no {RECORD}, so no study; give another folder")
        if not resume and self.out.is_dir() and any(self.out.iterdir()):
            raise GstoVizError(
                f"{self.out} is not empty; --resume goes on with it, or give another --out"
            )

    @contextmanager
    def held(self, place: Path) -> Iterator[int]:
        """Make ``out`` or ``results`` a folder of this study and hold it against other processes.

        Yields:
            A descriptor: the folder stays held for as long as any process lives that has it.

        Raises:
            GstoVizError: Processes are at work in it, or it cannot be written.
        """
        place.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(place, os.O_RDONLY)
        try:
            _lock(descriptor, place)
            write_text(place / RECORD, yaml.safe_dump(self.arm.record(), sort_keys=False))
            yield descriptor
        finally:
            os.close(descriptor)


def _lock(descriptor: int, place: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise GstoVizError(
            f"processes of another start are at work in {place}; wait for them, or end them"
        ) from error


def read_result(path: Path) -> dict[str, Any]:
    """Read what was measured of one run.

    Raises:
        GstoVizError: The file is damaged.
    """
    try:
        found: dict[str, Any] = json.loads(read_small_text(path, "the result"))
        found["status"], found["reason"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, GstoVizError):
            raise
        raise GstoVizError(f"{path} is damaged ({error}); remove it to measure again") from error
    return found


def seconds_per_step(places: Places, runs: Sequence[Run]) -> tuple[float, str]:
    """Return the time of a step, evaluations included, and where it comes from."""
    done = [p for run in runs if (p := places.progress(run)) is not None and p.finished and p.step]
    if not done:
        return places.arm.seconds_per_step, "assumed until a run has finished"
    rate = sum(p.seconds for p in done) / sum(p.step for p in done)
    return rate, f"from {len(done)} finished runs"
