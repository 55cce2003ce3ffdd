"""Runs that are killed at awkward moments and continued end as one that was left alone."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from gsto_viz.cli import main

RECIPE = """
model: gsto-hrnet-tiny
crop: [32, 48]
contrast: 0.2
batch_size: 2
epochs: 2
lr: 0.02
warmup_steps: 3
eval_every: 1
keep_every: 1
sci_every: 2
state_every: 3
log_every: 2
loader_threads: 2
accumulate: 2
clip_norm: 1.0
ema_decay: 0.9
seed: 5
"""
# 8 images: 4 steps an epoch. States: after steps 3 and 6, and around each evaluation (4 and 8).

CHILD = '''
"""One scenario per word of the command line; each forks, so that torch is imported once."""
import os, signal, sys

root, *scenarios = sys.argv[1:]
import gsto_viz.train.trainer as trainer
import gsto_viz.evaluate.counting as counting, gsto_viz.train.measures as measures
from gsto_viz.cli import main

def on_call(owner, name, number, act):
    """Run ``act`` in front of the call ``number`` (from 1) of ``owner.name``."""
    original, calls = getattr(owner, name), [0]
    def counted(*args, **kwargs):
        calls[0] += 1
        if calls[0] == number:
            act()
        return original(*args, **kwargs)
    setattr(owner, name, counted)

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def terminate():
    os.kill(os.getpid(), signal.SIGTERM)

PLANS = {
    "in-epoch": lambda: on_call(trainer.Trainer, "_step", 8, die),
    "in-evaluation": lambda: on_call(counting, "class_evidence", 4, die),
    "in-write": lambda: on_call(os, "fsync", 7, die),
    "in-snapshot": lambda: on_call(os, "fsync", 6, die),
    "in-confusion": lambda: on_call(measures, "region_table", 2, die),
    "before-gains": lambda: on_call(trainer, "add_gains", 2, die),
    "sigterm": lambda: on_call(trainer.Trainer, "_step", 6, terminate),
    "sigterm-in-evaluation": lambda: on_call(counting, "class_evidence", 2, terminate),
}
for scenario in scenarios:
    child = os.fork()
    if child == 0:
        PLANS[scenario]()
        data = ["--data", f"folder:{root}/train", "--val", f"folder:{root}/val"]
        os._exit(main(["train", f"{root}/r.yaml", *data, "--out", f"{root}/{scenario}", "--quiet"]))
    _, status = os.waitpid(child, 0)
    print(scenario, os.waitstatus_to_exitcode(status), flush=True)
'''

SCENARIOS = (
    "in-epoch",
    "in-evaluation",
    "in-write",
    "in-snapshot",
    "in-confusion",
    "before-gains",
    "sigterm",
    "sigterm-in-evaluation",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, make_folder: Any) -> Path:
    """A folder with data, recipe, an uninterrupted run in ``whole`` and a stopped run each."""
    root = tmp_path_factory.mktemp("killed")
    make_folder(root / "train")
    make_folder(root / "val", count=2, seed=9)
    (root / "r.yaml").write_text(RECIPE)
    assert run(root, "whole") == 0
    outcome = subprocess.run(
        [sys.executable, "-c", CHILD, str(root), *SCENARIOS],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    statuses = dict(line.rsplit(" ", 1) for line in outcome.stdout.splitlines())
    expected = {s: 130 if s.startswith("sigterm") else -signal.SIGKILL for s in SCENARIOS}
    assert {s: int(code) for s, code in statuses.items()} == expected, outcome.stderr
    for line in outcome.stderr.splitlines():
        assert line.endswith("the state is saved; continue with --resume")
    return root


def run(root: Path, out: str, *more: str) -> int:
    data = ["--data", f"folder:{root}/train", "--val", f"folder:{root}/val"]
    return main(["train", str(root / "r.yaml"), *data, "--out", str(root / out), "--quiet", *more])


def lines_of(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k not in ("seconds", "images_per_s")} for r in lines]


def about(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        value: dict[str, Any] = json.loads(file.metadata()["gsto_viz"])
    del value["training"]["seconds"]
    return value


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_stopped_run_ends_like_one_that_was_left_alone(root: Path, scenario: str) -> None:
    whole, stopped = root / "whole", root / scenario
    place = stopped / "snapshots" if scenario == "in-snapshot" else stopped
    assert len(list(place.glob(".*"))) == scenario.startswith(("in-write", "in-snapshot"))
    assert run(root, scenario, "--resume") == 0
    for name in ("best", "last", "state"):
        expected = load_file(whole / f"{name}.safetensors")
        got = load_file(stopped / f"{name}.safetensors")
        assert got.keys() == expected.keys()
        assert all(torch.equal(got[k], expected[k]) for k in expected), name
        assert any(k.startswith("gains/") for k in got) == (name != "state")
    assert about(stopped / "best.safetensors") == about(whole / "best.safetensors")
    assert about(stopped / "last.safetensors") == about(whole / "last.safetensors")
    assert lines_of(stopped) == lines_of(whole)
    assert not list(stopped.glob(".*"))
    names = ["epoch-0001.safetensors", "epoch-0002.safetensors"]
    assert sorted(path.name for path in (stopped / "snapshots").iterdir()) == names
    for name in names:
        expected, got = (load_file(run / "snapshots" / name) for run in (whole, stopped))
        assert all(torch.equal(got[k], expected[k]) for k in expected), name
        assert about(stopped / "snapshots" / name) == about(whole / "snapshots" / name)


@pytest.mark.slow
def test_the_uninterrupted_log_is_what_the_recipe_asks_for(root: Path) -> None:
    records = lines_of(root / "whole")
    assert [(r["kind"], r["step"]) for r in records] == [
        ("train", 2),
        ("train", 4),
        ("val", 4),
        ("train", 6),
        ("train", 8),
        ("val", 8),
        ("sci", 8),
    ]
    assert records[2]["epoch"] == 1
    assert records[5]["epoch"] == 2
    assert all(r["loss"] > 0 for r in records if r["kind"] == "train")
