"""The script that makes shipped checkpoints and their cards, for networks of every task."""

import json
import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gsto_viz.cli import main
from gsto_viz.data import load_data
from gsto_viz.models import load_checkpoint
from gsto_viz.train import train
from gsto_viz.train.recipe import Recipe
from gsto_viz.train.tasks import TASKS

SCRIPTS = Path(__file__).parents[2] / "analysis"
BASE: dict[str, Any] = {
    "initialization": "normal",
    "batch_size": 2,
    "warmup_steps": 0,
    "lr": 1e-3,
    "epochs": 1,
    "eval_every": 1,
}
RUNS = {
    "segmentation": ({"model": "hrnetv2-tiny", "crop": (64, 96)}, "scenes:count=2,size=64x96"),
    "pose": ({"model": "hrnet-pose-tiny", "crop": (64, 64)}, "figures:count=2,size=64x64"),
}


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPTS)
    monkeypatch.delitem(sys.modules, "make_weights", raising=False)
    return import_module("make_weights")


def test_networks_of_every_task_are_scored(scripts: ModuleType) -> None:
    assert scripts.SCORING.keys() == TASKS.keys()
    for task, row in TASKS.items():
        assert row.measure in scripts.SCORING[task].columns


@pytest.mark.slow
@pytest.mark.parametrize("task", RUNS)
def test_a_run_becomes_a_checkpoint_with_a_card(
    task: str, scripts: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The card prints what the command of its rows prints, and the record holds no path."""
    settings, spec = RUNS[task]
    data = load_data(spec, purpose="train")
    train(Recipe(**{**BASE, **settings}), data, tmp_path / "run", val=data)
    monkeypatch.setattr(scripts, "WEIGHTS", tmp_path)
    monkeypatch.setattr(scripts, "write_readme", lambda: None)
    command = f"gsto-viz train {settings['model']} --data {spec} --out runs/x"
    words = [str(tmp_path / "run"), "x", "--command", command, "--score", f"two={spec}"]
    monkeypatch.setattr(sys, "argv", ["make_weights.py", *words])
    scripts.main()
    card = (tmp_path / "x.md").read_text()
    network = load_checkpoint(tmp_path / "x.safetensors")
    assert network.task == task
    assert network.info is not None
    assert str(tmp_path) not in json.dumps(network.info.training)
    titles = re.findall(r"^\| data \| (.*) \| command \|$", card, re.MULTILINE)
    command = rf"`gsto-viz evaluate x --data {spec}`"
    rows = re.findall(rf"^\| two \| (.*) \| {command} \|$", card, re.MULTILINE)
    cells = dict(zip(titles[0].split(" | "), rows[0].split(" | "), strict=True))
    result = tmp_path / "scores.json"
    assert main(["evaluate", f"{tmp_path}/x.safetensors", "--data", spec, f"--json={result}"]) == 0
    scores = json.loads(result.read_text())
    assert cells[TASKS[task].title] == f"{scores[TASKS[task].measure]:.2f}"
    parts = scores["classes" if task == "segmentation" else "sizes"]
    assert len(re.findall(r"^\| [^|]+ \| (?:[0-9.]+|-) \|$", card, re.MULTILINE)) >= len(parts)
