"""Commands side by side, each a process with one thread; a stop reaches all of them."""

import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tqdm import tqdm

from gsto_viz.errors import GstoVizError

POLL_S = 0.1


@dataclass(frozen=True)
class Task:
    """A command, its name, and the file that takes what it says."""

    name: str
    command: tuple[str, ...]
    log: Path

    @property
    def said(self) -> str:
        """The last line that the command wrote."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "")


class Stop:
    """Whether SIGTERM or Ctrl-C has asked for the end."""

    asked = False


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Note SIGTERM and Ctrl-C instead of being interrupted by them."""
    stop = Stop()

    def note(number: int, frame: FrameType | None) -> None:
        stop.asked = True

    before = {n: signal.signal(n, note) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def work(
    tasks: Sequence[Task],
    *,
    jobs: int,
    failed: Callable[[Task, int], None],
    keep: Sequence[int] = (),
    what: str,
    quiet: bool,
) -> bool:
    """Run commands, ``jobs`` at a time, in their order.

    The processes belong to the group of this one: whatever ends the group ends them.

    Args:
        tasks: The commands.
        jobs: How many at a time.
        failed: Called with a task whose exit status is not 0; what it raises ends all others.
        keep: File descriptors that the processes inherit.
        what: For the progress bar.
        quiet: No progress bar.

    Returns:
        Whether all commands came to their end; False after SIGTERM or Ctrl-C, which every process
        has got and answered.
    """
    waiting = deque(tasks)
    running: dict[subprocess.Popen[bytes], Task] = {}
    with (
        stop_signals() as stop,
        tqdm(total=len(tasks), desc=what, unit="run", disable=quiet, dynamic_ncols=True) as bar,
    ):
        try:
            while (waiting or running) and not stop.asked:
                while waiting and len(running) < jobs:
                    task = waiting.popleft()
                    running[_start(task, keep)] = task
                    bar.set_postfix_str(", ".join(one.name for one in running.values()))
                for process in [one for one in running if one.poll() is not None]:
                    task = running.pop(process)
                    if process.returncode and not stop.asked:
                        failed(task, process.returncode)
                    bar.update()
                time.sleep(POLL_S)
        finally:
            _end(running)
    return not stop.asked


def _start(task: Task, keep: Sequence[int]) -> "subprocess.Popen[bytes]":
    """Start a command with one thread; it says nothing on the terminal."""
    task.log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    with task.log.open("wb") as log:
        return subprocess.Popen(
            task.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            pass_fds=tuple(keep),
        )


def _end(running: dict["subprocess.Popen[bytes]", Task]) -> None:
    """Ask processes to end, and wait until they have saved what they have."""
    for process in running:
        process.terminate()
    for process in running:
        process.wait()


def failure(task: Task, status: int) -> GstoVizError:
    """Return why a command failed."""
    if status < 0:
        name = signal.Signals(-status).name
        return GstoVizError(
            f"{task.name} was ended by {name}, for want of memory or by somebody; go on with "
            "--resume"
        )
    said = " ".join(task.said.split())
    return GstoVizError(f"{task.name} failed ({said or f'exit status {status}'}); see {task.log}")
