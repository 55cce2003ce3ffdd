"""Reading ``log.jsonl`` of training runs, also while it is written, and the table of runs."""

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from gsto_viz.errors import GstoVizError
from gsto_viz.plots.specifications import VALIDATED

MAX_LOG_BYTES = 64 * 2**20
"""Only the last part of a longer log is read: some hundred thousand records."""
MAX_LINE_BYTES = 2**16
"""No record is that long; a longer line is damaged and never held in memory."""
MAX_STEP = 2**53
MAX_CURVE = 2000
"""Points of a drawn curve."""
COLUMNS = {
    "train": ("step", "epoch", "loss", "lr", "images_per_s", "seconds"),
    "val": ("step", "epoch", "miou", "pixel_accuracy", "mean_accuracy", "ap"),
    "sci": ("step", "epoch", "sci", "c_fine", "c_coarse", "images", "pairs"),
}
"""What is read of the records of each kind."""
SCORES = {name: title for name, (title, _) in VALIDATED.items()}
"""What networks of a task are evaluated by, those for pose by AP: column, and its title."""
NEEDED = {"train": ("loss",), "val": tuple(SCORES), "sci": ("images",)}
"""Of these columns one must be there and finite."""


@dataclass(frozen=True, eq=False)
class TrainingLog:
    """What a run has logged so far.

    Attributes:
        train: ``COLUMNS["train"]``, one row per step that was logged, in the order of steps.
        val: ``COLUMNS["val"]``, one row per evaluation; scores in percent. ``ap`` is left out where
            no record has it.
        sci: ``COLUMNS["sci"]``, one row per measurement of SCI on validation images (recipe:
            ``sci_every``); NaN where it was not estimated.
        damaged: Lines that are not records; they are left out.
        unfinished: The last line has no end yet: it is being written, and left out.
        left_out_bytes: Of the beginning of a log that is too long to be read whole.
    """

    train: pd.DataFrame
    val: pd.DataFrame
    sci: pd.DataFrame
    damaged: int = 0
    unfinished: bool = False
    left_out_bytes: int = 0


def read_log(path: Path, max_bytes: int = MAX_LOG_BYTES) -> TrainingLog:
    """Read a log; what cannot be read is counted and left out.

    Args:
        path: ``log.jsonl``.
        max_bytes: Of a longer file the last so many bytes are read.

    Raises:
        GstoVizError: The operating system refused it.
    """
    records: dict[str, list[tuple[float, ...]]] = {kind: [] for kind in COLUMNS}
    damaged, unfinished = 0, False
    try:
        with path.open("rb") as file:
            left_out = _seek_end(file, max_bytes)
            for line, complete in _lines(file):
                record = _record(line)
                if record is not None:
                    kind, values = record
                    if kind in records:
                        records[kind].append(values)
                elif complete:
                    damaged += 1
                else:
                    unfinished = True
    except OSError as error:
        reason = error.strerror or str(error)
        raise GstoVizError(f"cannot read {path}: {reason}; check it") from error
    frames = {kind: _frame(kind, rows) for kind, rows in records.items()}
    return TrainingLog(**frames, damaged=damaged, unfinished=unfinished, left_out_bytes=left_out)


def _seek_end(file: BinaryIO, max_bytes: int) -> int:
    """Go to the first whole line of the last ``max_bytes``; return how many bytes lie before."""
    size = file.seek(0, 2)
    file.seek(max(0, size - max_bytes))
    if size > max_bytes:
        while chunk := file.readline(MAX_LINE_BYTES):
            if chunk.endswith(b"\n"):
                break
    return file.tell()


def _lines(file: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Give each line that is not blank, and whether it has its end; too long: an empty one."""
    while line := file.readline(MAX_LINE_BYTES):
        whole = line.endswith(b"\n")
        if not whole and len(line) == MAX_LINE_BYTES:
            while not whole and (rest := file.readline(MAX_LINE_BYTES)):
                whole = rest.endswith(b"\n")
            yield b"", whole
        elif line.strip():
            yield line, whole


def _record(line: bytes) -> tuple[str, tuple[float, ...]] | None:
    """Return kind and numbers of a record; None: damaged. Unknown kinds have no numbers."""
    try:
        values: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or not isinstance(values.get("kind"), str):
        return None
    kind = values["kind"]
    if kind not in COLUMNS:
        return kind, ()
    numbers = tuple(_number(values, name) for name in COLUMNS[kind])
    known = (math.isfinite(numbers[COLUMNS[kind].index(name)]) for name in NEEDED[kind])
    if not (0 <= numbers[0] < MAX_STEP and any(known)):
        return None
    return kind, numbers


def _number(values: Mapping[str, Any], name: str) -> float:
    """Return a number, NaN where there is none."""
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def _frame(kind: str, rows: list[tuple[float, ...]]) -> pd.DataFrame:
    """Return the rows of one kind by step; a step that was logged twice counts as logged last."""
    frame = pd.DataFrame(rows, columns=list(COLUMNS[kind]), dtype="float64")
    frame = frame.drop_duplicates("step", keep="last").sort_values("step", ignore_index=True)
    if kind == "val" and frame["ap"].isna().all():
        frame = frame.drop(columns="ap")
    return frame.astype({"step": "int64"})


def scored_by(logs: Mapping[str, TrainingLog]) -> tuple[str, ...]:
    """Return the columns of ``SCORES`` that a run was evaluated by; mIoU where none was yet."""
    there = {name for log in logs.values() for name in log.val if log.val[name].notna().any()}
    return tuple(name for name in SCORES if name in there) or ("miou",)


def thinned_curve(frame: pd.DataFrame, column: str, limit: int = MAX_CURVE) -> pd.DataFrame:
    """Return rows that draw the same curve: in every stretch its lowest and its highest point.

    Args:
        frame: In the order of the x axis.
        column: Of the y axis; rows without a value are left out.
        limit: At most so many rows, 4 or more; first and last are among them.
    """
    frame = frame[np.isfinite(frame[column])]
    if len(frame) <= limit:
        return frame
    values = frame[column].to_numpy()
    stretches = (limit - 2) // 2
    edges = [k * len(frame) // stretches for k in range(stretches + 1)]
    kept = {0, len(frame) - 1}
    for start, end in itertools.pairwise(edges):
        part = values[start:end]
        kept |= {int(start + part.argmin()), int(start + part.argmax())}
    return frame.iloc[sorted(kept)]


def run_table(logs: Mapping[str, TrainingLog]) -> pd.DataFrame:
    """Lay runs out, one row each.

    Returns:
        ``run``, ``step``, ``epoch`` (so far), ``best mIoU (%)``, ``at epoch``, ``last mIoU (%)``,
        ``last SCI`` (where a run logs it), ``last loss``, ``images/s`` (mean so far), ``hours``;
        empty where not logged yet. Networks for pose have AP in place of mIoU.
    """
    rows, measures = [], scored_by(logs)
    confused = any(len(log.sci) for log in logs.values())
    for run, log in logs.items():
        train, val = log.train, log.val
        rows.append(
            {
                "run": run,
                "step": _greatest(train["step"], val["step"]),
                "epoch": _greatest(train["epoch"], val["epoch"]),
                **_scores(val, measures),
                **({"last SCI": _last(log.sci["sci"])} if confused else {}),
                "last loss": _last(train["loss"]),
                "images/s": _last(train["images_per_s"]),
                "hours": train["seconds"].max() / 3600,
            }
        )
    whole = dict.fromkeys(("step", "epoch", "at epoch"), "Int64")
    return pd.DataFrame(rows).astype(whole)


def _scores(val: pd.DataFrame, measures: Sequence[str]) -> dict[str, float]:
    """Return the best and the last of each score, and the epoch of the best one."""
    best, last, epoch = {}, {}, np.nan
    for name in measures:
        title = SCORES[name]
        known = val.dropna(subset=[name]) if name in val else val.iloc[:0]
        best[f"best {title} (%)"] = last[f"last {title} (%)"] = np.nan
        if not known.empty:
            top = known.iloc[int(known[name].to_numpy().argmax())]
            best[f"best {title} (%)"], epoch = top[name], np.floor(top["epoch"])
            last[f"last {title} (%)"] = known[name].iloc[-1]
    return {**best, "at epoch": epoch, **last}


def _last(column: pd.Series) -> float:
    return np.nan if column.empty else float(column.iloc[-1])


def _greatest(*columns: pd.Series) -> float:
    values = pd.concat([column.astype("float64") for column in columns])
    return float(np.floor(values.max())) if values.notna().any() else np.nan
