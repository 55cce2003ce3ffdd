"""Views of an analysis and of training runs: saved, replayed on the command line, refused."""

import csv
import json
from pathlib import Path

import pandas as pd
import pytest

from gsto_viz.cli import main
from gsto_viz.explorer.exports.runs import run_exports
from gsto_viz.explorer.exports.sizes import size_exports
from gsto_viz.explorer.folders import list_runs
from gsto_viz.explorer.values.runs import read_log
from gsto_viz.explorer.values.sizes import Subject, of_report
from gsto_viz.explorer.view_state import ViewState
from gsto_viz.report import load_report
from gsto_viz.train.folder import RunLog


@pytest.fixture
def runs_view(training_runs, tmp_path) -> Path:
    """The page's own view of both runs."""
    folders = list_runs(training_runs)
    logs = {run.key: read_log(run.path / "log.jsonl") for run in folders}
    exports = run_exports(logs, folders, ViewState(run="one", others="two"))
    (view,) = (file for file in exports.files if file.name == "view.json")
    path = tmp_path / "view.json"
    path.write_bytes(view.make())
    return path


def export(view: Path, out: Path, *words: str) -> int:
    return main(["export", "--view", str(view), "--out", str(out), "--quiet", *words])


def test_runs_are_replayed_with_every_record(training_runs, runs_view, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    assert export(runs_view, out, "--runs", str(training_runs)) == 0
    assert "the numbers of the view: " in capsys.readouterr().out
    with (out / "training.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == ["one"] * 5 + ["two"] * 5
    assert [float(row["loss"]) for row in rows[5:]] == [2.0 / s for s in range(10, 60, 10)]
    scores = pd.read_csv(out / "validation.csv")
    assert scores["miou (%)"].tolist() == [30.0]
    table = pd.read_csv(out / "runs.csv")
    assert table["best mIoU (%)"].iloc[0] == 30.0
    assert table["best mIoU (%)"].isna().tolist() == [False, True]
    assert (out / "training.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "training.pdf").read_bytes().startswith(b"%PDF")
    assert "one up to 30.0 %, two not evaluated" in (out / "training.svg").read_text()
    saved, anew = (json.loads(path.read_text()) for path in (runs_view, out / "view.json"))
    assert saved["folders"] == anew["folders"]
    assert str(tmp_path) not in runs_view.read_text()


def test_a_run_that_went_on_or_is_missing_is_refused(
    training_runs, runs_view, tmp_path, capsys
) -> None:
    out = tmp_path / "out"
    assert export(runs_view, out) == 2
    assert "--runs" in capsys.readouterr().err
    assert export(runs_view, out, "--runs", str(training_runs / "one")) == 2
    assert "has no training one" in capsys.readouterr().err
    assert export(runs_view, out, "--runs", str(training_runs), "--data", "scenes") == 2
    assert "leave --data out" in capsys.readouterr().err
    length = (training_runs / "two" / "log.jsonl").stat().st_size
    with RunLog(training_runs / "two", start=length, step=50) as log:
        log.write("train", 60, epoch=3, loss=0.1, lr=0.1, images_per_s=4.0, seconds=60)
    assert export(runs_view, out, "--runs", str(training_runs)) == 2
    assert "training two has changed since the view was saved" in capsys.readouterr().err
    assert not out.exists()


def test_an_analysis_is_replayed_from_its_folder(analysis, tmp_path, capsys) -> None:
    report = load_report(analysis.folder)
    state = ViewState(run=analysis.folder.name, gap=2.0, panel="nulls")
    subject = Subject(of_report(report, "somewhere"), None, report)
    (view,) = (f for f in size_exports(subject, None, state).files if f.name == "view.json")
    path, out = tmp_path / "view.json", tmp_path / "out"
    path.write_bytes(view.make())
    record = json.loads(path.read_text())
    assert record["image"] is None
    assert record["checkpoints"] == {}
    by_what = {row["what"]: row["value"] for row in record["numbers"]["sci"]}
    assert set(by_what) == {"A", "B", "B - A"}
    assert export(path, out, "--runs", str(analysis.folder.parent)) == 0
    said = capsys.readouterr().out
    assert "largest difference 0 " in said
    assert json.loads((out / "view.json").read_text())["numbers"] == record["numbers"]
    sci = pd.read_csv(out / "sci.csv")
    assert sci["gap (octaves)"].eq(2.0).all()
    record["page"] = "runs"
    path.write_text(json.dumps(record))
    assert export(path, tmp_path / "other", "--runs", str(analysis.folder.parent)) == 2
    assert "does not show these folders" in capsys.readouterr().err
