"""What a run writes while it goes: ``log.jsonl`` (one JSON object a line) and TensorBoard."""

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch.utils.tensorboard import SummaryWriter


class RunLog:
    """Append records to ``log.jsonl`` and their numbers to TensorBoard.

    Args:
        folder: The run's folder.
        start: Length in bytes of the part of ``log.jsonl`` to keep; a run that is continued
            drops what was logged after the state that it continues from.
        step: Step at which a continued run starts; TensorBoard hides what it had beyond.
    """

    def __init__(self, folder: Path, *, start: int = 0, step: int = 0) -> None:
        self.path = folder / "log.jsonl"
        self._file = self.path.open("a+b")
        self._file.truncate(start)
        self._file.seek(0, os.SEEK_END)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step or None)

    @property
    def bytes_written(self) -> int:
        """Length of the log so far."""
        return self._file.tell()

    def write(self, kind: str, step: int, **values: Any) -> None:
        """Write one record; its numbers become TensorBoard curves named ``kind/name``."""
        record = {"kind": kind, "step": step, **values}
        self._file.write((json.dumps(record, allow_nan=False) + "\n").encode())
        self._file.flush()
        for name, value in values.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._board.close()
