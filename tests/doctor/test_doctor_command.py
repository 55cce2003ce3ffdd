"""``gsto-viz doctor``: names, checkpoints, official files, factory files."""

import json
from pathlib import Path

import pytest
import torch

from gsto_viz.cli import main
from gsto_viz.data import CAMVID_CLASSES
from gsto_viz.models import ModelInfo, build_model, save_checkpoint, to_official_keys

FACTORY = """
import helper_of_factory

from torch import nn

NUMBER = 3


def build():
    return nn.Sequential(
        nn.Conv2d(3, helper_of_factory.WIDTH, 2, 2), nn.ReLU(True), nn.Conv2d(5, 1, 2, 2)
    )


def wrong():
    return 5


def fails():
    raise RuntimeError("first\\nsecond")


def leaves():
    raise SystemExit(0)
"""


@pytest.fixture
def factory(tmp_path) -> Path:
    (tmp_path / "helper_of_factory.py").write_text("WIDTH = 5\n")
    path = tmp_path / "net.py"
    path.write_text(FACTORY)
    return path


def words(*given: object) -> list[str]:
    return ["doctor", *map(str, given), "--size", "64x96", "--device", "cpu"]


def test_a_registered_network(capsys) -> None:
    assert main(words("gsto-hrnet-tiny")) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith("gsto-hrnet-tiny (HRNet)")
    assert "stage4.branch3" in printed.out
    assert "problems: none" in printed.out


def test_facts_as_json(tmp_path, capsys) -> None:
    assert main(words("hrnetv2-tiny", "--json", "-")) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["height"], facts["width"], facts["name"]) == (64, 96, "hrnetv2-tiny")
    taps = {tap["name"]: tap for tap in facts["taps"]}
    assert taps["stage4.branch2"]["shape"] == [1, 16, 4, 6]
    assert facts["gates"] == []
    assert all(module["calls"] == 1 for module in facts["modules"])
    assert main(words("hrnetv2-tiny", "--json", tmp_path / "facts.json")) == 0
    assert json.loads((tmp_path / "facts.json").read_text()) == facts


def test_checkpoints_and_official_files_say_the_same(tmp_path, capsys) -> None:
    torch.manual_seed(0)
    model = build_model("hrnetv2-w18-small-v1", num_classes=len(CAMVID_CLASSES)).eval()
    info = ModelInfo("ours", "hrnetv2-w18-small-v1", CAMVID_CLASSES)
    save_checkpoint(model, tmp_path / "ours.safetensors", info=info)
    torch.save(to_official_keys(model), tmp_path / "official.pth")
    facts = []
    for file in ("ours.safetensors", "official.pth"):
        assert main(words(tmp_path / file, "--json", "-")) == 0
        facts.append(json.loads(capsys.readouterr().out))
    for record in facts:
        record.pop("name")
    assert facts[0] == facts[1]
    assert main(words(tmp_path / "official.pth", "--align-corners", "--json", "-")) == 0
    corners = json.loads(capsys.readouterr().out)
    assert corners["align_corners"] is True
    assert {one["align_corners"] for one in corners["resizings"]} == {True}


def test_a_factory_file_runs_and_it_is_said(factory, capsys, caplog) -> None:
    assert main(words(f"{factory}:build")) == 0
    printed = capsys.readouterr()
    assert caplog.messages == [f"running the code of {factory}:build"]
    assert "in place: 1 layer, 0 outputs" in printed.out
    assert "branches: [1, 2]" in printed.out
    caplog.clear()
    assert main(["doctor", f"{factory}:build", "--quiet"]) == 0
    assert not caplog.messages


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "has no function 'nothing'; it has build, wrong, fails, leaves"),
        ("NUMBER", "has no function 'NUMBER'"),
        ("wrong", "returns a int, no network"),
        ("fails", "fails: RuntimeError: first second"),
        ("leaves", "fails: SystemExit: 0"),
        ("a-b", "is not a factory"),
    ],
)
def test_what_a_factory_file_can_do_wrong(factory, capsys, name, message) -> None:
    assert main(words(f"{factory}:{name}", "--quiet")) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_code_that_cannot_be_read(tmp_path, capsys) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("def build(:\n")
    assert main(words(f"{broken}:build", "--quiet")) == 2
    assert "SyntaxError" in capsys.readouterr().err
    assert main(words(f"{tmp_path}/none.py:build", "--quiet")) == 2
    assert "is not a factory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("no-such-network",), "no checkpoint 'no-such-network'"),
        (("hrnetv2-tiny", "--align-corners"), "official files only"),
        (("hrnetv2-tiny", "--json", "/dev/null/x.json"), "cannot write"),
    ],
)
def test_wrong_input_is_one_sentence(given, message, capsys) -> None:
    assert main(words(*given)) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_size_that_a_network_refuses(tmp_path, capsys) -> None:
    path = tmp_path / "fixed.py"
    path.write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))\n"
    )
    assert main(words(f"{path}:build", "--quiet")) == 2
    assert "try another --size" in capsys.readouterr().err
    assert main(["doctor", f"{path}:build", "--quiet", "--size", "32x32"]) == 0
    assert "no module gives a grid" in capsys.readouterr().out


def test_several_outputs_are_asked_about(tmp_path, capsys):
    path = tmp_path / "two.py"
    path.write_text(
        "from torch import nn\n"
        "class Two(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv = nn.Conv2d(3, 5, 3, padding=1)\n"
        "    def forward(self, x):\n"
        "        return [self.conv(x), -self.conv(x)]\n"
        "build = Two\n"
    )
    assert main(words(f"{path}:build")) == 0
    assert "2 outputs with 5 classes" in capsys.readouterr().out
    assert main([*words(f"{path}:build"), "--output", "1"]) == 0
    assert "2 outputs with 5 classes" not in capsys.readouterr().out
    assert main([*words(f"{path}:build"), "--output", "7"]) == 2
    assert "no head '7'; it has main, 0, 1" in capsys.readouterr().err
