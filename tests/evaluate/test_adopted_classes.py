"""Official files name no classes: those of the data are taken, once and aloud."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from gsto_viz.cli import main
from gsto_viz.data import load_data, write_png
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate import check_classes
from gsto_viz.models import build_model, load_model, save_checkpoint, to_official_keys

SPEC = "scenes:count=1,seed=1,size=64x96"


def official(path: Path, count: int) -> str:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model("hrnetv2-tiny", num_classes=count)
    torch.save(to_official_keys(model), path)
    return str(path)


def test_the_data_name_the_classes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = load_data(SPEC)
    model = load_model(official(tmp_path / "w.pth", len(data.classes)))
    with caplog.at_level("WARNING", logger="gsto_viz"):
        check_classes(model, data)
        check_classes(model, data)
    assert model.info is not None
    assert model.info.classes == data.classes
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"w names no classes; taken as those of {data.name}: ")
    other = replace(data.classes, classes=data.classes.classes[::-1])
    model.info = replace(model.info, classes=other)
    with pytest.raises(GstoVizError, match="class 0 is"):
        check_classes(model, data)


def test_another_count_is_refused(tmp_path: Path) -> None:
    model = load_model(official(tmp_path / "w.pth", 3))
    with pytest.raises(GstoVizError, match="the network has 3 classes"):
        check_classes(model, load_data(SPEC))


TINY = {
    "model": "hrnetv2-tiny", "epochs": 1, "crop": [64, 64], "batch_size": 2, "state_every": 50,
}  # fmt: skip
IMAGE = ["photo.png", "--device", "cpu"]
WORDS = {
    "evaluate": ["{}", "--data", SPEC, "--no-sizes", "--device", "cpu", "--json", "e.json"],
    "analyze": ["--model", "A={}", "--data", SPEC, "--out", "a", "--device", "cpu"],
    "check": [SPEC, "{}", "--json", "e.json"],
    "capture": ["{}", *IMAGE, "--out", "m.npz"],
    "attribute": ["{}", *IMAGE, "--target", "pixel:9,9:1", "--out", "t", "--method", "activation"],
    "doctor": ["{}", "--device", "cpu", "--size", "64x96", "--json", "e.json"],
    "train": [
        "r.yaml", "--data", "scenes:count=2,size=64x96", "--out", "t", "--device", "cpu",
        "--set", "initialization={}", "--no-check-data",
    ],
}  # fmt: skip
OPTIONS = ["--arch", "hrnetv2-tiny", "--align-corners", "--inplace-abn"]
SAID = {"arch": "hrnetv2-tiny", "align_corners": True, "inplace_abn": True}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Go to a folder with a photograph, a recipe and an official file; return the file's name."""
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(yaml.safe_dump(TINY), encoding="utf-8")
    write_png(Path("photo.png"), np.zeros((64, 96, 3), np.uint8))
    return Path(official(tmp_path / "w.ckpt", len(load_data(SPEC).classes))).name


def said(command: str) -> object:
    """Return what the files of a command say of how the checkpoint was opened."""
    if command == "train":
        recipe = yaml.safe_load(Path("t/config.yaml").read_text(encoding="utf-8"))["recipe"]
        corners = recipe["model_options"]["align_corners"]
        return {
            "arch": recipe["model"], "align_corners": corners, "inplace_abn": recipe["inplace_abn"]
        }  # fmt: skip
    if command == "capture":
        with np.load("m.npz", allow_pickle=False) as file:
            return json.loads(str(file["metadata"]))["checkpoint"]["official_file"]
    files = {"analyze": "a/manifest.json", "attribute": "t/manifest.json"}
    found = json.loads(Path(files.get(command, "e.json")).read_text(encoding="utf-8"))
    one = found["models"]["A"] if command == "analyze" else found["checkpoint"]
    return one["official_file"]


@pytest.mark.parametrize("command", WORDS)
def test_every_command_takes_the_options_of_official_files_and_records_them(
    command: str, place: str
) -> None:
    filled = [word.format(place) for word in WORDS[command]]
    assert main([command, *filled, *OPTIONS]) == 0
    if command != "doctor":  # its report says what was seen, aligned corners among it
        assert said(command) == SAID


@pytest.mark.parametrize("command", ["analyze", "train"])
def test_a_run_is_not_resumed_with_other_options(
    command: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [command, *(word.format(place) for word in WORDS[command])]
    assert main([*filled, "--inplace-abn"]) == 0
    assert main([*filled, "--inplace-abn", "--resume"]) == 0
    capsys.readouterr()
    assert main([*filled, "--resume"]) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert "inplace_abn" in line


def test_align_corners_of_the_start_are_those_of_the_run(place: str) -> None:
    words = [word.format(place) for word in WORDS["train"]]
    assert main(["train", *words, "--align-corners"]) == 0
    assert load_model("t/last.safetensors").config.align_corners


@pytest.mark.parametrize(
    ("start", "options", "message"),
    [
        ("kaiming", ["--inplace-abn"], "initialization is kaiming, and --arch"),
        ("scenes-hrnetv2-w18-small-v1", ["--align-corners"], "are for official files only"),
        ("{}", ["--arch", "gsto-hrnet-tiny", "--model", "hrnetv2-tiny"], "leave one out"),
    ],
)
def test_options_that_say_nothing_of_the_start_are_refused(
    start: str, options: list[str], message: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["r.yaml", "--data", "scenes:count=2,size=64x96", "--out", "t", "--device", "cpu"]
    filled = ["--set", f"initialization={start.format(place)}"]
    assert main(["train", *words, *filled, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("t").exists()


def test_a_start_of_ours_with_other_corners_is_said(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    start = build_model("hrnetv2-tiny", num_classes=11, align_corners=True)
    save_checkpoint(start, "start.safetensors", classes=load_data(SPEC).classes)
    words = [word.format("start.safetensors") for word in WORDS["train"]]
    with caplog.at_level("WARNING", logger="gsto_viz"):
        assert main(["train", *words]) == 0
    (warning,) = [one for one in caplog.messages if "align_corners" in one]
    assert warning.endswith("to keep it, --set 'model_options={align_corners: true}'")
