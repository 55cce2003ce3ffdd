"""What a run writes while it goes: ``log.jsonl`` (one JSON object a line) and TensorBoard."""

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch.utils.tensorboard import SummaryWriter

from gsto_viz.errors import GstoVizError


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
