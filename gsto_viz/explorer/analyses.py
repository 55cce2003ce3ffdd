"""An analysis that the explorer starts: ``gsto-viz analyze`` in a process of its own.

One at a time: it takes all cores. It ends with the server, and what it has not finished goes.
"""

import atexit
import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer.checkpoints import Choice
from gsto_viz.models import shipped_checkpoints

MAX_ANALYZED = 500
"""Images that an analysis from a page takes at most; more are for the command."""
FINISHED = (0, 3)
"""Exit statuses of a whole analysis; 3: images were skipped."""
TAIL = 4000
"""Characters of its output that are kept."""
GRACE_S = 10.0
"""Seconds between asking it to end and ending it."""
_BAR = re.compile(r"([^\r\n|%]*?):?\s+([0-9]{1,3})%\|")


@dataclass
class Analysis:
    """A running or ended ``gsto-viz analyze``.

    Attributes:
        folder: Where it writes; its name is what the run is offered as.
        process: The command.
        output: Where its messages are read.
        tail: The last of what it said.
        cancelled: Somebody has ended it.
    """

    folder: Path
    process: "subprocess.Popen[bytes]"
    output: int
    tail: str = ""
    cancelled: bool = False
    _reader: threading.Thread = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Begin to read what the command says."""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # a terminal whose other end has closed
            while piece := os.read(self.output, 4096):
                self.tail = (self.tail + piece.decode("utf-8", "replace"))[-TAIL:]
        os.close(self.output)

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    @property
    def progress(self) -> tuple[str, float]:
        """The step that it is at, and how much of that is done (0 to 1)."""
        bars = _BAR.findall(self.tail)
        return (bars[-1][0].strip(), min(int(bars[-1][1]), 100) / 100) if bars else ("", 0.0)

    @property
    def problem(self) -> str | None:
        """Why it has ended without an analysis; None while it runs and when it is whole."""
        if self.running or self.process.returncode in FINISHED:
            return None
        if self.cancelled:
            return "The analysis was cancelled; nothing of it is kept."
        self._reader.join(timeout=1.0)
        lines = [line.strip() for line in re.split(r"[\r\n]+", self.tail) if line.strip()]
        said = [line for line in lines if _BAR.search(line) is None]
        return said[-1] if said else f"gsto-viz analyze ended with {self.process.returncode}."

    def cancel(self) -> None:
        """End it, and take away what it has written."""
        if self.running:
            self.cancelled = True
            self.process.terminate()
            try:
                self.process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.returncode not in FINISHED:
            shutil.rmtree(self.folder, ignore_errors=True)


_lock = threading.Lock()
_latest: list[Analysis] = []
"""The analysis that was started last, if any; read through ``latest``."""


def latest() -> Analysis | None:
    """Return the analysis that was started last, running or ended; None before the first."""
    return _latest[-1] if _latest else None


def start(
    runs: Path, networks: Mapping[str, Choice], data: str, count: int, *, nulls: bool
) -> Analysis:
    """Start an analysis of the first images of a data set.

    Args:
        runs: Folder of runs; the analysis is a new folder in it.
        networks: By letter.
        data: SPEC of the images.
        count: How many, from 1 to ``MAX_ANALYZED``.
        nulls: Compute null models too.

    Raises:
        GstoVizError: One is running, or the folder cannot be written to.
    """
    if not 1 <= count <= MAX_ANALYZED:
        raise GstoVizError(f"{count} images cannot be analyzed here; give 1 to {MAX_ANALYZED}")
    with _lock:
        before = latest()
        if before is not None and before.running:
            raise GstoVizError("an analysis is running; wait for it, or cancel it")
        if not os.access(runs, os.W_OK):
            raise GstoVizError(f"{runs.name}, the folder of --runs, cannot be written to")
        folder = runs / time.strftime("analysis-%Y%m%d-%H%M%S")
        words = [f"--model={letter}={_source(choice)}" for letter, choice in networks.items()]
        words += [f"--data={data}", f"--limit={count}", f"--out={folder}"]
        command = [sys.executable, "-m", "gsto_viz", "analyze", *words, *["--nulls"] * nulls]
        output, theirs = _terminal()
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs
            )
        finally:
            os.close(theirs)
        _latest[:] = [Analysis(folder, process, output)]
        return _latest[0]


def _terminal() -> tuple[int, int]:
    """Return both ends of a terminal: only there does the command draw progress bars.

    Where there are none, a pipe gives at least what it says in the end.
    """
    try:
        import pty
    except ImportError:
        return os.pipe()
    return pty.openpty()


def _source(choice: Choice) -> str:
    """Return how the command names a checkpoint."""
    shipped = shipped_checkpoints().get(choice.key) == choice.path
    return choice.key if shipped else str(choice.path)


@atexit.register
def stop() -> None:
    """End what is running; called when the server ends."""
    before = latest()
    if before is not None and before.running:
        before.cancel()
