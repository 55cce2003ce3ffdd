"""Official files name no classes: those of the data are taken, once and aloud."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gsto_viz.cli import main
from gsto_viz.data import load_data
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate import check_classes
from gsto_viz.models import build_model, load_model, to_official_keys

SPEC = "scenes:count=1,seed=1,size=64x96"


def official(path: Path, count: int) -> str:
    torch.save(to_official_keys(build_model("hrnetv2-tiny", num_classes=count)), path)
    return str(path)


def test_the_data_name_the_classes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = load_data(SPEC)
    model = load_model(official(tmp_path / "w.pth", len(data.classes)))
    with caplog.at_level("WARNING", logger="gsto_viz"):
        check_classes(model, data)
        check_classes(model, data)
    assert model.info is not None
    assert model.info.classes == data.classes
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"w names no classes; taken as those of {data.name}: ")
    other = replace(data.classes, classes=data.classes.classes[::-1])
    model.info = replace(model.info, classes=other)
    with pytest.raises(GstoVizError, match="class 0 is"):
        check_classes(model, data)


def test_another_count_is_refused(tmp_path: Path) -> None:
    model = load_model(official(tmp_path / "w.pth", 3))
    with pytest.raises(GstoVizError, match="the network has 3 classes"):
        check_classes(model, load_data(SPEC))


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "{}", "--data", SPEC, "--no-sizes", "--device", "cpu"],
        ["analyze", "--model", "A={}", "--data", SPEC, "--out", "a", "--device", "cpu"],
        ["check", SPEC, "{}"],
    ],
    ids=lambda words: words[0],
)
def test_every_command_takes_the_options_of_official_files(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = official(tmp_path / "w.ckpt", len(load_data(SPEC).classes))
    filled = [word.format(path) for word in words]
    assert main([*filled, "--arch", "hrnetv2-tiny", "--align-corners", "--inplace-abn"]) == 0
