"""Networks that were trained in a loop of one's own: saved, opened, given gains."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import gsto_viz as gv
from gsto_viz.data import load_data
from gsto_viz.errors import GstoVizError
from gsto_viz.explorer.checkpoints import list_choices
from gsto_viz.gains import Gains
from gsto_viz.models import HRNet, ModelInfo, build_model, load_checkpoint, save_checkpoint
from gsto_viz.models.base import generic_classes
from gsto_viz.models.checkpoint import read_tensors

NAMES = ("road", "car", "pole")


@pytest.fixture
def model() -> HRNet:
    torch.manual_seed(0)
    return build_model("hrnetv2-tiny", num_classes=3)


def test_names_are_enough(model: HRNet, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save_checkpoint(model, path, classes=NAMES)
    info = load_checkpoint(path).info
    assert info is not None
    assert info.classes.names == NAMES
    assert len({tuple(color) for color in info.classes.colors}) == 3
    assert (info.name, info.network) == ("mine", "hrnetv2-tiny")
    assert (info.mean, info.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert info.gains == {}


@pytest.mark.parametrize(
    ("options", "network"),
    [
        ({}, "gsto-hrnet-tiny"),
        ({"head_dropout": 0.2, "align_corners": True}, "gsto-hrnet-tiny"),
        ({"gate_form": "paper"}, "gsto-hrnet (width 4)"),
    ],
)
def test_the_network_is_named(options: dict[str, Any], network: str, tmp_path: Path) -> None:
    model = build_model("gsto-hrnet-tiny", num_classes=3, **options)
    save_checkpoint(model, tmp_path / "a.safetensors", classes=NAMES)
    loaded = load_checkpoint(tmp_path / "a.safetensors")
    assert loaded.info is not None
    assert loaded.info.network == network
    assert loaded.config == model.config


def compiled(model: nn.Module) -> Any:
    return torch.compile(model, backend="eager")


@pytest.mark.parametrize("wrap", [compiled, nn.DataParallel, AveragedModel])
def test_a_network_in_a_wrapper_is_saved_as_itself(wrap: Any, model: HRNet, tmp_path: Path) -> None:
    save_checkpoint(wrap(model), tmp_path / "a.safetensors", classes=NAMES)
    loaded = load_checkpoint(tmp_path / "a.safetensors").state_dict()
    assert loaded.keys() == model.state_dict().keys()
    assert all(torch.equal(loaded[key], one) for key, one in model.state_dict().items())


def test_of_another_training_only_what_still_holds_is_kept(model: HRNet, tmp_path: Path) -> None:
    gains = {"stage4.branch0": Gains(np.ones(4), np.ones(4, bool))}
    start = ModelInfo(
        "start", "hrnetv2-tiny", generic_classes(3, NAMES), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6),
        gains, "non-commercial", {"miou": 50.0},
    )  # fmt: skip
    save_checkpoint(model, tmp_path / "start.safetensors", info=start)
    tuned = load_checkpoint(tmp_path / "start.safetensors")
    save_checkpoint(tuned, tmp_path / "tuned.safetensors", std=(0.5, 0.5, 0.5))
    info = load_checkpoint(tmp_path / "tuned.safetensors").info
    assert info is not None
    assert info.classes == start.classes
    assert (info.mean, info.std) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    assert (info.gains, dict(info.training), info.notice) == ({}, {}, "non-commercial")


def wrong_order(model: HRNet, path: Path) -> None:
    save_checkpoint(path, model, classes=NAMES)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (wrong_order, r"the network first, then the path: save_checkpoint\(model"),
        (lambda m, p: save_checkpoint(m, m, classes=NAMES), "the network first, then the path"),
        (lambda m, p: save_checkpoint(m, p), "nothing says what the classes are; give classes="),
        (lambda m, p: save_checkpoint(m, p, classes="road"), "nothing says what the classes are"),
        (lambda m, p: save_checkpoint(m, p, classes=NAMES[:2]), "2 classes are given and .* 3;"),
        (
            lambda m, p: save_checkpoint(m, p, classes=["a", "b", "a"]),
            "have one name; give each its own",
        ),
        (lambda m, p: save_checkpoint(m, p.with_suffix(".pth"), classes=NAMES), "safetensors"),
        (
            lambda m, p: save_checkpoint(m, p, classes=NAMES, mean=(123.7, 116.3, 103.5)),
            "mean is .* 0..1 scale",
        ),
        (lambda m, p: save_checkpoint(m, p, classes=NAMES, std=(0, 1, 1)), "std is .* from 0.001"),
        (
            lambda m, p: save_checkpoint(m.stem, p, classes=NAMES),
            "not a network of the register .* factory file",
        ),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    save: Any, message: str, model: HRNet, tmp_path: Path
) -> None:
    with pytest.raises(GstoVizError, match=message):
        save(model, tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("given", ["data set", "images"])
def test_gains_are_those_of_a_literal_pass(
    given: str, half: bool, model: HRNet, tmp_path: Path
) -> None:
    data = load_data("scenes:count=3,seed=2,size=64x96", purpose="train")
    path = tmp_path / "mine.safetensors"
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    save_checkpoint(model, path, classes=NAMES, mean=mean, std=std, half_weights=half)
    before, about = read_tensors(path)
    assert [one.key for one in list_choices(tmp_path)[0] if one.key == path.name] == []
    gv.add_gains(path, data if given == "data set" else [one.image for one in data], images=2)
    after, same = read_tensors(path)
    assert same == about
    assert all(torch.equal(after[key], one) for key, one in before.items())
    assert [one.key for one in list_choices(tmp_path)[0] if one.key == path.name] == [path.name]
    loaded = load_checkpoint(path)
    cells = []
    for sample in (data[0], data[1]):
        values = (sample.image / 255 - np.array(mean)) / np.array(std)
        batch = torch.from_numpy(values.transpose(2, 0, 1)[None]).float()
        with gv.Capture(loaded, "stage4.branch2", reduce="none") as maps, torch.no_grad():
            loaded(batch)
        cells.append(maps["stage4.branch2"][0].flatten(1).double().numpy())
    assert loaded.info is not None
    gains = loaded.info.gains
    assert list(gains) == [f"stage4.branch{k}" for k in range(4)]
    expected = np.concatenate(cells, axis=1).std(axis=1)
    assert np.allclose(gains["stage4.branch2"].sigma, expected, rtol=1e-4, atol=1e-9)
    gv.add_gains(path, data, images=1)
    assert read_tensors(path)[0].keys() == after.keys()


def test_gains_are_for_files_of_ours(model: HRNet, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(model.state_dict(), path)
    with pytest.raises(GstoVizError, match=r"a\.pth is not a checkpoint of ours; save_checkpoint"):
        gv.add_gains(path, [])
    save_checkpoint(model, tmp_path / "a.safetensors", classes=NAMES)
    with pytest.raises(GstoVizError, match="there are no calibration images; give some"):
        gv.add_gains(tmp_path / "a.safetensors", [])
