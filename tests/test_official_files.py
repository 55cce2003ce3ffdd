"""An official file goes through every command as the same network does in a checkpoint of ours."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file

from gsto_viz.cli import main
from gsto_viz.data import load_data, write_png
from gsto_viz.models import HRNet, build_model, initialize, save_checkpoint, to_official_keys
from gsto_viz.models.checkpoint import read_tensors

SPEC = "scenes:count=3,seed=1,size=64x96"
RECIPE = {"epochs": 1, "crop": [64, 64], "batch_size": 3, "ema_decay": 0.5}
IMAGE = ("photo.png", "--device", "cpu")


def random_network(name: str) -> HRNet:
    """Return a network of which no two channels are alike, batch norm's statistics included."""
    torch.manual_seed(3)
    model = build_model(name, num_classes=len(load_data(SPEC).classes))
    initialize(model, "kaiming")
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(2, 3, 64, 96))
    return model.eval()


def as_pth(model: HRNet) -> str:
    """Save as a loop with data parallelism in a wrapper saves: numbers, scalars, prefixes."""
    weights = {f"module.model.{key}": one for key, one in to_official_keys(model).items()}
    torch.save(
        {"epoch": 3, "best_mIoU": np.float64(0.5), "state_dict": weights, "optimizer": {}},
        "official/ours.pth",
    )
    return "official/ours.pth"


def as_safetensors(model: HRNet) -> str:
    weights = to_official_keys(model)
    # The format takes no two names for one piece of memory.
    own = {f"module.backbone.{key}": one.clone().contiguous() for key, one in weights.items()}
    save_file(own, "official/ours.safetensors")
    return "official/ours.safetensors"


def without_file(values: Any) -> Any:
    """Return JSON without what it says of the file: its name and fingerprint."""
    if isinstance(values, list):
        return [without_file(one) for one in values]
    if not isinstance(values, dict):
        return values
    kept = {key: one for key, one in values.items() if key not in ("sha256", "name", "notice")}
    return {key: without_file(one) for key, one in kept.items()}


def numbers(folder: Path) -> dict[str, Any]:
    """Return every table, array and JSON of a folder by name, without names of files and times."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".parquet":
            found[name] = pd.read_parquet(path)
        elif path.suffix == ".csv":
            found[name] = path.read_text(encoding="utf-8")
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                found |= {f"{name}/{key}": file[key] for key in file.files if key != "metadata"}
        elif path.suffix == ".safetensors":
            found |= {f"{name}/{key}": one.numpy() for key, one in read_tensors(path)[0].items()}
        elif path.name in ("summary.json", "e.json", "d.json"):
            found[name] = without_file(json.loads(path.read_text(encoding="utf-8")))
    return found


def assert_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(value, other[name])
        elif isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, other[name], err_msg=name)
        else:
            assert value == other[name], name


def words(command: str, source: str, out: str) -> list[str]:
    data = ("--data", SPEC, "--device", "cpu")
    return {
        "evaluate": [source, *data, "--json", f"{out}/e.json"],
        "analyze": ["--model", f"A={source}", *data, "--out", out],
        "capture": [source, *IMAGE, "--taps", "*", "--reduce", "none", "--out", f"{out}/m.npz"],
        "attribute": [
            source, *IMAGE, "--target", "pixel:20,30:road", "--calibration", SPEC, "--out", out,
            "--method", "activation",
        ],
        "doctor": [source, "--device", "cpu", "--size", "64x96", "--json", f"{out}/d.json"],
        "train": ["r.yaml", *data, "--set", f"initialization={source}", "--out", out],
    }[command]  # fmt: skip


COMMANDS = ("evaluate", "analyze", "capture", "attribute", "doctor", "train")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "write"), [("hrnetv2-tiny", as_safetensors), ("gsto-hrnet-tiny", as_pth)]
)
def test_official_files_give_the_numbers_of_ours(
    name: str, write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("official").mkdir()
    model, data = random_network(name), load_data(SPEC)
    Path("r.yaml").write_text(yaml.safe_dump({"model": name, **RECIPE}), encoding="utf-8")
    write_png(Path("photo.png"), data[0].image)
    official = write(model)
    save_checkpoint(model, "ours.safetensors", classes=data.classes)
    for command in COMMANDS:
        for source, out in ((official, f"{command}-official"), ("ours.safetensors", f"{command}")):
            if command in ("evaluate", "capture", "doctor"):
                Path(out).mkdir()
            assert main([command, *words(command, source, out)]) == 0, command
        ours = numbers(Path(command))
        assert ours
        assert_equal(numbers(Path(f"{command}-official")), ours)
