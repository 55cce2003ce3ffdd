"""What the page "Runs" offers for download: curves of training runs as tables and figure."""

from collections.abc import Mapping, Sequence
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from gsto_viz.explorer.exports.files import (
    ExportFile,
    Exports,
    csv_bytes,
    export_stem,
    figure_files,
)
from gsto_viz.explorer.folders import RunFolder, folder_view
from gsto_viz.explorer.values.runs import TrainingLog, read_log, run_table, scored_by
from gsto_viz.explorer.view_state import ViewState
from gsto_viz.plots import figure_training

PAGE = "runs"


def run_exports(
    logs: Mapping[str, TrainingLog], runs: Sequence[RunFolder], state: ViewState
) -> Exports:
    """Return every file of a view.

    Args:
        logs: By run, what it has logged so far; in the order of ``runs``, perhaps not of all.
        runs: The folders.
        state: The view.
    """
    shown = [run for run in runs if run.key in logs]
    files = [
        ExportFile("runs.csv", "Runs (CSV)", lambda: csv_bytes(run_table(logs))),
        ExportFile("training.csv", "Steps (CSV)", partial(records_csv, logs, "train")),
        ExportFile("validation.csv", "Evaluations (CSV)", partial(records_csv, logs, "val")),
    ]
    if any(len(log.sci) for log in logs.values()):
        files.append(ExportFile("sci.csv", "SCI (CSV)", partial(records_csv, logs, "sci")))
    files += figure_files("training", "Curves", partial(_figure, logs))
    view = partial(view_file, logs, shown, state)
    files.append(ExportFile("view.json", "This view (JSON)", view))
    first, *others = [run.key for run in shown]
    identity = [*logs, run_table(logs).to_csv()]
    return Exports(export_stem(first, others, PAGE, identity), tuple(files))


def replayed_runs(runs: Sequence[RunFolder], state: ViewState) -> Exports:
    """Return every file of a saved view.

    Raises:
        GstoVizError: A log cannot be read.
    """
    return run_exports({run.key: read_log(run.path / "log.jsonl") for run in runs}, runs, state)


def records_csv(logs: Mapping[str, TrainingLog], kind: str) -> bytes:
    """Return the records of all runs as a file, every step that was logged.

    Args:
        logs: By run.
        kind: ``train``, ``val`` or ``sci``.
    """
    units = {"miou": "miou (%)", "ap": "ap (%)", "pixel_accuracy": "pixel_accuracy (%)"}
    units |= {"mean_accuracy": "mean_accuracy (%)", "seconds": "time (s)"}
    parts = [getattr(log, kind).assign(run=run) for run, log in logs.items()]
    table = pd.concat(parts, ignore_index=True).rename(columns=units)
    return csv_bytes(table[["run", *(name for name in table if name != "run")]])


def _figure(logs: Mapping[str, TrainingLog]) -> Figure:
    score = scored_by(logs)[0]
    scores = {
        run: log.val.reindex(columns=["epoch", score]).dropna(subset=[score])
        for run, log in logs.items()
    }
    losses = {run: log.train for run, log in logs.items()}
    return figure_training(scores, losses, score=score)


def view_file(
    logs: Mapping[str, TrainingLog], runs: Sequence[RunFolder], state: ViewState
) -> bytes:
    """Return a view of training runs with the numbers of its table."""
    return folder_view(PAGE, state, runs, {"runs": run_table(logs)})
