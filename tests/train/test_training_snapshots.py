"""``keep_every``: which weights are kept, in what form, and what happens without room."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml
from safetensors.torch import load_file

from gsto_viz.cli import main
from gsto_viz.data import CAMVID_CLASSES
from gsto_viz.models import ModelInfo, build_model, load_checkpoint, save_checkpoint
from gsto_viz.models.checkpoint import checkpoint_bytes
from gsto_viz.train import trainer

SETTINGS = {
    "model": "gsto-hrnet-tiny",
    "crop": [32, 32],
    "batch_size": 4,
    "epochs": 5,
    "lr": 0.01,
    "warmup_steps": 0,
    "eval_every": 4,
    "ema_decay": 0.9,
    "keep_every": 2,
}
KEPT = ["epoch-0002.safetensors", "epoch-0004.safetensors"]


class Disk(NamedTuple):
    """As ``shutil.disk_usage`` says it."""

    total: int
    used: int
    free: int


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, make_folder: Any) -> Path:
    root = tmp_path_factory.mktemp("snapshots")
    make_folder(root / "train")
    make_folder(root / "val", count=2, seed=3)
    (root / "r.yaml").write_text(yaml.safe_dump(SETTINGS))
    assert run(root, root / "whole") == 0
    return root


def run(root: Path, out: Path, *more: str) -> int:
    data = ["--data", f"folder:{root}/train", "--val", f"folder:{root}/val", "--quiet"]
    return main(["train", str(root / "r.yaml"), *data, "--out", str(out), *more])


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_the_averaged_weights_are_kept_as_shipped_ones_are(root: Path, tmp_path: Path) -> None:
    folder = root / "whole" / "snapshots"
    assert names_in(folder) == KEPT
    stored = load_file(folder / KEPT[1])
    for name, tensor in stored.items():
        assert (tensor.dtype == torch.float16) == (tensor.dim() == 4), name
    network = load_checkpoint(folder / KEPT[1])
    assert network.info is not None
    assert network.info.training["epoch"] == 4
    assert network.info.training["miou"] is not None
    early = load_checkpoint(folder / KEPT[0]).info
    assert early is not None
    assert early.training["miou"] is None  # not scored in this epoch
    # The same run, stopped at this epoch, keeps the same weights as its last; lr is constant then.
    settings = ["--set", "epochs=4", "--set", "keep_every=4", "--set", "poly_power=0"]
    assert run(root, tmp_path / "short", *settings) == 0
    last = load_file(tmp_path / "short" / "last.safetensors")
    for name, tensor in load_file(tmp_path / "short" / "snapshots" / KEPT[1]).items():
        torch.testing.assert_close(tensor.float(), last[name].float(), rtol=1e-3, atol=1e-6)
    averaged = load_file(tmp_path / "short" / "state.safetensors")
    assert any(
        not torch.equal(last[name], averaged[f"model/{name}"]) for name in network.state_dict()
    )
    sizes = [
        (root / "whole" / part).stat().st_size
        for part in ("last.safetensors", "snapshots/" + KEPT[0])
    ]
    assert sizes[1] < sizes[0]


def test_keeping_weights_changes_nothing_else(root: Path, tmp_path: Path) -> None:
    assert run(root, tmp_path / "none", "--set", "keep_every=0") == 0
    assert not (tmp_path / "none" / "snapshots").exists()
    for name in ("best", "last", "state"):
        ours = load_file(root / "whole" / f"{name}.safetensors")
        theirs = load_file(tmp_path / "none" / f"{name}.safetensors")
        assert all(torch.equal(ours[k], theirs[k]) for k in theirs)


def test_overwriting_removes_snapshots_and_nothing_else(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(root / "whole", out)
    (out / "snapshots" / "notes.txt").write_text("mine")
    assert run(root, out, "--resume") == 0
    assert names_in(out / "snapshots") == [*KEPT, "notes.txt"]
    assert run(root, out, "--overwrite", "--set", "keep_every=3") == 0
    assert names_in(out / "snapshots") == ["epoch-0003.safetensors", "notes.txt"]
    for name in ("state", "best", "last"):
        (out / f"{name}.safetensors").unlink()
    capsys.readouterr()
    assert run(root, out, "--resume", "--set", "keep_every=3") == 2
    assert "holds checkpoints but no state.safetensors" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["gsto-hrnet-tiny", "hrnetv2-w18-small-v1"])
@pytest.mark.parametrize("half", [True, False])
def test_the_size_of_a_file_is_known_before(name: str, half: bool, tmp_path: Path) -> None:
    network = build_model(name, num_classes=11)
    save_checkpoint(
        network,
        tmp_path / "a.safetensors",
        info=ModelInfo("a", name, CAMVID_CLASSES),
        half_weights=half,
    )
    size = (tmp_path / "a.safetensors").stat().st_size
    assert checkpoint_bytes(network, half_weights=half) == pytest.approx(size, rel=0.1)


def test_a_disk_without_room_is_refused_before_anything_is_written(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    each = checkpoint_bytes(load_checkpoint(root / "whole" / "best.safetensors"), half_weights=True)
    free = [2 * each - 1]
    asked: list[Path] = []

    def usage(path: Path) -> Disk:
        asked.append(Path(path))
        return Disk(10**9, 0, free[0])

    monkeypatch.setattr(shutil, "disk_usage", usage)
    out = tmp_path / "a" / "b"
    assert run(root, out) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "the snapshots of keep_every take about" in error
    assert "raise keep_every, free space or choose another folder" in error
    assert asked == [tmp_path]
    assert not (tmp_path / "a").exists()
    assert run(root, out, "--set", "keep_every=4") == 0  # one of them fits
    assert run(root, out, "--overwrite") == 0  # with the place of the one that goes
    free[0] = 0
    assert run(root, out, "--resume") == 0  # nothing is left to keep


@pytest.mark.parametrize("number", [1, 2])
def test_a_disk_that_gets_full_keeps_the_state(
    number: int,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real, written = save_checkpoint, []

    def save(model: Any, path: Path, **options: Any) -> None:
        if path.parent.name == "snapshots":
            written.append(path)
            if len(written) == number:
                monkeypatch.setattr(os, "fsync", full)
        real(model, path, **options)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(trainer, "save_checkpoint", save)
    out = tmp_path / "run"
    assert run(root, out) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"cannot write {out}/snapshots/{KEPT[number - 1]}: No space left on device" in error
    assert names_in(out / "snapshots") == KEPT[: number - 1]
    assert (out / "state.safetensors").is_file()
    monkeypatch.undo()
    assert run(root, out, "--resume") == 0
    assert names_in(out / "snapshots") == KEPT
    for part in ("state.safetensors", *(f"snapshots/{name}" for name in KEPT)):
        expected = load_file(root / "whole" / part)
        assert all(torch.equal(t, expected[k]) for k, t in load_file(out / part).items()), part
