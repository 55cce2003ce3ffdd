"""Runs of two processes as torchrun launches them: results, refusals, kills, resumption."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

RECIPE = """
model: hrnetv2-tiny
crop: [32, 48]
batch_size: 4
ema_decay: 0.9
clip_norm: 1.0
epochs: 2
lr: 0.02
warmup_steps: 3
eval_every: 1
state_every: 3
log_every: 2
seed: 5
"""
# 16 images: 4 steps an epoch, 8 in all.


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, make_folder: Any) -> Path:
    """Data, recipe, and a run that was left alone in ``whole``."""
    root = tmp_path_factory.mktemp("launched")
    make_folder(root / "train", count=16)
    make_folder(root / "val", count=3, seed=9)
    (root / "r.yaml").write_text(RECIPE)
    done = finish(launch(root, "whole"))
    assert done.returncode == 0, done.stderr
    return root


def launch(root: Path, out: str, *more: str, environment: dict[str, str] | None = None) -> Any:
    """Start torchrun with two processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
            *("--master-port", str(port), "-m", "gsto_viz", "train", str(root / "r.yaml")),
            *("--data", f"folder:{root}/train", "--val", f"folder:{root}/val"),
            *("--device", "cpu", "--out", str(root / out), *more),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: Any) -> subprocess.CompletedProcess[str]:
    out, error = process.communicate(timeout=900)
    return subprocess.CompletedProcess(process.args, process.returncode, out, error)


def spoken(error: str) -> list[str]:
    """The lines that the command itself writes; the launcher writes more."""
    return [line for line in error.splitlines() if line.startswith("gsto-viz train:")]


def lines_of(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k not in ("seconds", "images_per_s")} for r in lines]


def test_one_process_speaks_and_writes(root: Path) -> None:
    kinds = [(r["kind"], r["step"]) for r in lines_of(root / "whole")]
    assert kinds == [(k, s) for s in (2, 4, 6, 8) for k in ("train", "val")[: 1 + (s % 4 == 0)]]
    again = finish(launch(root, "whole", "--resume"))
    assert again.returncode == 0
    assert again.stdout.count("checkpoint") == 1
    assert not spoken(again.stderr)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_run_of_two_ends_like_one_that_was_left_alone(
    root: Path, number: signal.Signals
) -> None:
    """One of the processes is killed; or the launcher is asked to stop, and asks both."""
    name = number.name
    process = launch(root, name)
    log = root / name / "log.jsonl"
    deadline = time.monotonic() + 600
    while not (log.is_file() and log.read_text().count("\n") >= 2):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]) if number == signal.SIGKILL else process.pid, number)
    stopped = finish(process)
    assert stopped.returncode != 0
    said = spoken(stopped.stderr)
    if number == signal.SIGTERM:
        # None at all if the launcher lost its patience, which is 30 seconds.
        assert len(said) <= 1
        assert all(line.endswith("the state is saved; continue with --resume") for line in said)
    resumed = finish(launch(root, name, "--resume"))
    assert resumed.returncode == 0, resumed.stderr
    for file in ("best", "last", "state"):
        expected = load_file(root / "whole" / f"{file}.safetensors")
        got = load_file(root / name / f"{file}.safetensors")
        assert got.keys() == expected.keys()
        assert all(torch.equal(got[k], expected[k]) for k in expected), file
    assert lines_of(root / name) == lines_of(root / "whole")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--set", "batch_size=5"], "a batch of 5 images cannot be shared by 2 processes in 1"),
        (["--set", "epoch=1"], "unknown key 'epoch'; did you mean epochs"),
        (["--data", "folder:/nonexistent"], "/nonexistent"),
    ],
)
def test_what_is_wrong_is_said_once(root: Path, more: list[str], message: str) -> None:
    done = finish(launch(root, "wrong", *more))
    assert done.returncode != 0
    said = spoken(done.stderr)
    assert len(said) == 1
    assert message in said[0]
    assert not (root / "wrong").exists()


def test_an_image_that_one_of_them_cannot_read_stops_both_before_the_first_step(
    root: Path, make_folder: Any
) -> None:
    make_folder(root / "bad", count=16)
    (root / "bad" / "images" / "011.png").write_bytes(b"no image")
    done = finish(launch(root, "with-bad", "--data", f"folder:{root}/bad"))
    assert done.returncode != 0
    said = spoken(done.stderr)
    assert len(said) == 1
    assert "1 of 16 samples" in said[0]
    assert "011.png" in said[0]
    assert not (root / "with-bad").exists()
    # Unlooked at, it stops them where it is due, and the state before is whole.
    done = finish(launch(root, "with-bad", "--data", f"folder:{root}/bad", "--no-check-data",
                         "--set", "class_weights=none"))  # fmt: skip
    assert done.returncode != 0
    census, stop = spoken(done.stderr)
    assert "1 of 16 samples cannot be used" in census
    assert "011.png" in census
    assert "011.png" in stop
