"""A new architecture is one file and one row: a network of another module goes every way."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from gsto_viz.cli import main
from gsto_viz.data.scenes import SceneDataset
from gsto_viz.errors import GstoVizError
from gsto_viz.models import ARCHITECTURES, ModelInfo, registered, save_checkpoint
from gsto_viz.network import open_network

TOY = Path(__file__).parents[1] / "helpers" / "pyramid.py"


@pytest.fixture
def pyramid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The row of a network that lies in a file outside the package."""
    path = tmp_path / "pyramid_network.py"
    path.write_text(TOY.read_text("utf-8"))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)
    spec.loader.exec_module(module)
    monkeypatch.setitem(ARCHITECTURES, "pyramid", module.ROW)
    return


@pytest.mark.usefixtures("pyramid")
def test_it_is_listed_with_its_costs_and_words(capsys, monkeypatch) -> None:
    known = registered()
    few = {name: known[name] for name in ("hrnetv2-tiny", "gsto-hrnet-tiny", "pyramid-tiny")}
    monkeypatch.setattr("gsto_viz.models.costs.registered", lambda: few)
    monkeypatch.setattr("gsto_viz.models.costs.ABLATIONS", ())
    monkeypatch.setattr("gsto_viz.models.costs.shipped_checkpoints", dict)
    assert main(["models", "--size", "64x64", "--classes", "5", "--giga", "1e9"]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line.split() for line in lines if line.startswith("pyramid-tiny"))
    params = 6 * (27 + 1) + 6 * (54 + 1) + 5 * (6 + 1)
    macs = 16 * 16 * 6 * 27 + 8 * 8 * 6 * 54 + 16 * 16 * 5 * 6
    assert row[1:3] == [f"{params / 1e6:.4f}", f"{macs / 1e9:.3f}"]
    assert "pyramid: two branches and nothing between them" in lines


@pytest.mark.usefixtures("pyramid")
def test_it_opens_by_name_and_from_its_checkpoint(tmp_path: Path) -> None:
    scenes = SceneDataset(1, 0, (64, 96), "eval")
    network = open_network("pyramid-tiny", code=True, num_classes=len(scenes.classes))
    assert network.anatomy.branch_taps == ("fine", "coarse")
    assert network.costs["params"] == sum(p.numel() for p in network.module.parameters())
    path = tmp_path / "a.safetensors"
    save_checkpoint(network.module, path, info=ModelInfo("a", "pyramid-tiny", scenes.classes))
    again = open_network(path)
    assert (again.architecture, type(again.module)) == ("pyramid-tiny", type(network.module))
    assert again.module.config == network.module.config
    for key, tensor in network.module.state_dict().items():
        assert torch.equal(again.module.state_dict()[key], tensor)
    image = scenes[0].image
    look = again.calibrated([image]).look(image)
    assert [m.shape for m in look.activity] == [(16, 24), (8, 12)]
    assert np.isfinite(look.activity[0]).all()


@pytest.mark.usefixtures("pyramid")
def test_it_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "scenes-hrnetv2-w18-small-v1", "--model", "pyramid-tiny", "--device", "cpu"]
    data = ["--data", "scenes:count=4,size=64x96", "--val", "scenes:count=2,size=64x96"]
    small = ["epochs=1", "batch_size=2", "crop=[64,64]", "loader_processes=0", "keep_every=0"]
    settings = [word for one in (*small, "sci_every=1") for word in ("--set", one)]
    status = main([*words, *data, *settings, "--out", str(tmp_path / "run"), "--quiet"])
    assert status == 0, capsys.readouterr().err
    network = open_network(tmp_path / "run" / "best.safetensors")
    assert network.architecture == "pyramid-tiny"
    assert set(network.gains) == {"fine", "coarse"}


def test_files_of_unknown_architectures_say_so(
    pyramid: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = SceneDataset(1, 0, (64, 96), "eval")
    network = open_network("pyramid-tiny", code=True, num_classes=len(scenes.classes))
    path = tmp_path / "a.safetensors"
    save_checkpoint(network.module, path, info=ModelInfo("a", "pyramid-tiny", scenes.classes))
    monkeypatch.delitem(ARCHITECTURES, "pyramid")
    with pytest.raises(GstoVizError, match="architecture 'pyramid', which this version"):
        open_network(path)


def test_modules_out_of_the_register_are_not_saved(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    info = ModelInfo("a", "conv", SceneDataset(1, 0, (64, 96), "eval").classes)
    with pytest.raises(GstoVizError, match="a Conv2d is not a network of the register"):
        save_checkpoint(torch.nn.Conv2d(3, 3, 1), path, info=info)
    assert not path.exists()
