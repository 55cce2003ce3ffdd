"""Training through the command line and the front function: results, refusals, errors."""

import errno
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from gsto_viz.cli import main
from gsto_viz.data import CAMVID_CLASSES, load_data, portable_name
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate import evaluate
from gsto_viz.models import ModelInfo, load_model, save_checkpoint
from gsto_viz.models.checkpoint import read_tensors, write_tensors
from gsto_viz.torch_utils import image_to_tensor
from gsto_viz.train import TrainingStopped, train, validation_spec
from gsto_viz.train import tasks as tasks_module
from gsto_viz.train.build import build_for, duration
from gsto_viz.train.folder import RunFolder, portable_recipe
from gsto_viz.train.recipe import Recipe, load_recipe
from gsto_viz.train.step import learning_rate
from gsto_viz.train.trainer import Trainer
from gsto_viz.types import ClassInfo, ClassList, Sample

SMALL = {
    "model": "hrnetv2-tiny",
    "crop": [32, 32],
    "batch_size": 4,
    "epochs": 1,
    "lr": 0.01,
    "warmup_steps": 0,
    "log_every": 1,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, make_folder: Any) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_folder(root / "train")
    make_folder(root / "val", count=2, seed=3)
    return root


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return path


def words(recipe: Path, data: Path, out: Path, *more: str) -> list[str]:
    return ["train", str(recipe), "--data", f"folder:{data}:train", "--out", str(out), *more]


def test_train_prints_the_score_that_evaluate_gives_and_ships_no_path(
    data: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(words(recipe_file, data, out, "--check-data")) == 0
    captured = capsys.readouterr()
    model = load_model(out / "best.safetensors")
    again = evaluate(model, load_data(f"folder:{data}:val"))
    assert model.info is not None
    # Another memory layout may round otherwise: allow for one pixel.
    assert model.info.training["miou"] == pytest.approx(again.scores.miou, abs=0.1)
    assert f"{model.info.training['miou']:.2f} %" in captured.out
    assert str(out / "best.safetensors") in captured.out
    assert captured.err == ""
    assert set(model.info.gains) == {f"stage4.branch{r}" for r in range(4)}
    content = (out / "best.safetensors").read_bytes()
    assert str(tmp_path).encode() not in content
    assert str(data).encode() not in content
    assert model.info.training["data"] == "folder:train"
    assert list((out / "tensorboard").glob("events*"))
    assert yaml.safe_load((out / "config.yaml").read_text())["data"] == f"folder:{data}:train"


def test_decoded_copies_change_nothing_but_the_time(
    data: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = ("--cache", str(tmp_path / "cache"))
    for name, more in (("plain", ()), ("first", cache), ("second", cache)):
        assert main(words(recipe_file, data, tmp_path / name, *more)) == 0
    weights = {
        name: read_tensors(tmp_path / name / "last.safetensors")[0]
        for name in ("plain", "first", "second")
    }
    for name in ("first", "second"):
        assert weights[name].keys() == weights["plain"].keys()
        for key, tensor in weights["plain"].items():
            assert torch.equal(weights[name][key], tensor)
    count = len(load_data(f"folder:{data}:train"))
    assert len(list((tmp_path / "cache").rglob("image-*.npy"))) == count
    line = ["train", str(recipe_file), "--data", "scenes:count=4", "--out", str(tmp_path / "s")]
    assert main([*line, *cache]) == 2
    assert "is not read from files, so it cannot be kept decoded" in capsys.readouterr().err


def test_a_finished_run_is_left_as_it_is(
    data: Path, recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(**SMALL)
    train_data, val = load_data(f"folder:{data}:train"), load_data(f"folder:{data}:val")
    first = train(recipe, train_data, tmp_path / "run", val=val)
    files = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in (tmp_path / "run").glob("*.*")}
    monkeypatch.setattr(Trainer, "__init__", lambda *a, **k: pytest.fail("a trainer was built"))
    assert train(recipe, train_data, tmp_path / "run", val=val, resume=True) == first
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in files} == files


def test_a_run_of_an_earlier_version_is_continued(data: Path, tmp_path: Path) -> None:
    """Its state has a field that is gone, its configuration lacks digests and newer settings."""
    recipe, train_data = Recipe(**SMALL), load_data(f"folder:{data}:train")
    first = train(recipe, train_data, tmp_path / "run")
    state = tmp_path / "run" / "state.safetensors"
    tensors, metadata = read_tensors(state)
    progress = {**json.loads(metadata["progress"]), "last_scores": {}}
    write_tensors(state, tensors, {"progress": json.dumps(progress)})
    old = {"recipe": {**SMALL}, "data": train_data.name, "val": None}
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(old))
    assert train(recipe, train_data, tmp_path / "run", resume=True) == first
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump({**old, "data": "folder:x"}))
    with pytest.raises(GstoVizError, match="holds another run"):
        train(recipe, train_data, tmp_path / "run", resume=True)


@pytest.mark.parametrize("metadata", [{}, {"progress": "{}"}, {"progress": "["}])
def test_a_damaged_state_is_refused(metadata: dict[str, str], data: Path, tmp_path: Path) -> None:
    recipe, train_data = Recipe(**SMALL), load_data(f"folder:{data}:train")
    folder = RunFolder(tmp_path / "run")
    folder.prepare(recipe, train_data, None, resume=False)
    write_tensors(folder.state, {"x": torch.zeros(1)}, metadata)
    with pytest.raises(GstoVizError, match="is not a resume state"):
        train(recipe, train_data, folder.path, resume=True)
    folder.state.write_bytes(b"torn")
    with pytest.raises(GstoVizError, match="is not a readable safetensors file"):
        train(recipe, train_data, folder.path, resume=True)


def test_without_validation_the_last_weights_are_the_best(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(yaml.safe_dump(SMALL))
    status = main(
        ["train", str(recipe), "--data", f"folder:{data / 'train'}", "--out", str(tmp_path / "o")]
    )
    captured = capsys.readouterr()
    assert status == 0
    assert "no split for validation" in captured.err
    assert captured.out.splitlines()[0].split() == ["best", "mIoU", "-"]
    best = load_file(tmp_path / "o" / "best.safetensors")
    last = load_file(tmp_path / "o" / "last.safetensors")
    assert all(torch.equal(best[k], last[k]) for k in last)


WRONG = {
    "unknown key": (["--set", "epoch=3"], "unknown key 'epoch'; did you mean epochs"),
    "wrong type": (["--set", "epochs=ten"], "epochs is 'ten'; it must be a whole number"),
    "no value": (["--set", "foo"], "write KEY=VALUE"),
    "not YAML": (["--set", "crop=[1"], "not YAML"),
    "no such date": (["--set", "model=2020-02-30"], "not YAML"),
    "endless": (["--set", "crop=" + "[" * 50_000], "not YAML"),
    "unknown model": (["--model", "hrnetv2-w19"], "unknown model 'hrnetv2-w19'; did you mean"),
    "small crop": (["--set", "crop=[16, 64]"], "at least 32 each"),
    "negative seed": (["--seed", "-1"], "seed is -1"),
    "vast seed": (["--set", f"seed={2**70}"], "below 2**63"),
    "batch": (["--set", "batch_size=9"], "fewer than one batch of 9"),
    "option": (["--set", "model_options={widht: 3}"], "unknown model option widht"),
    "option type": (["--set", "model_options={width: wide}"], "width is 'wide'"),
    "option name": (["--set", "model_options={name: x}"], "unknown model option name"),
    "option list": (["--set", "model_options={gating: [1]}"], "gating is [1]"),
    "stages": (
        ["--model", "gsto-hrnet-tiny", "--set", "model_options={gate_supervised: [x]}"],
        "gating.supervised is ['x']",
    ),
    "one cell": (["--set", "batch_size=1"], "batch norm needs two"),
    "no loss weight": (
        ["--model", "gsto-hrnet-tiny", "--set", "auxiliary_weights={stage3: 1}"],
        "auxiliary_weights lacks stage2, where gsto-hrnet-tiny has an auxiliary head",
    ),
    "classes": (["--set", "model_options={num_classes: 3}"], "comes from the data"),
    "start": (["--set", "initialization=nowhere.pth"], "nowhere.pth"),
    "no start for this network": (
        ["--set", "initialization=scenes-{model}"],
        "starts from scenes-hrnetv2-tiny, which does not come with gsto_viz; give a file with",
    ),
    "no start": (
        ["--set", "initialization=imagenet"],
        "starts from ImageNet weights: give the path",
    ),
    "start of a size": (
        ["--model", "gsto-hrnet-w18-small-v2", "--set", "initialization=imagenet"],
        "of hrnet_w18_small_model_v2.pth or of timm's file with --set initialization=PATH",
    ),
    "weights": (["--set", "class_weights=[1, 2]"], "has 2 numbers and folder:"),
    "parts": (["--set", "accumulate=3"], "accumulate is 3; it must be a divisor of batch_size, 4"),
    "device": (["--device", "tpu"], "unknown device 'tpu'"),
    "data": (["--data", "camvit:x"], "did you mean 'camvid'"),
    "no data": (["--data", "folder:/nonexistent"], "/nonexistent"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_words_give_one_line_and_write_nothing(
    name: str, data: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more, expected = WRONG[name]
    out = tmp_path / "run"
    assert main(words(recipe_file, data, out, *more)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("gsto-viz train: ")
    assert expected in captured.err
    assert not out.exists()


@pytest.mark.parametrize("name", ["batch", "weights", "place"])
def test_images_are_read_last(
    name: str,
    data: Path,
    recipe_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What recipe, data and folder say is said before the check of all images, which takes long."""
    more, expected = WRONG["batch" if name == "place" else name]
    out = tmp_path / "run"
    if name == "place":
        more, expected, out = [], "cannot write /proc/nowhere", Path("/proc/nowhere/run")

    def late(*words: Any) -> None:
        raise AssertionError("all images were read before")

    monkeypatch.setattr("gsto_viz.train.trainer.check_dataset", late)
    assert main(words(recipe_file, data, out, *more)) == 2
    assert expected in capsys.readouterr().err
    assert not out.exists()


def test_images_that_cannot_be_used_stop_a_run_before_its_first_step(
    make_folder: Any, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the training or the validation images; a run that goes on is not looked at again."""
    good, bad, out = make_folder(tmp_path / "good"), make_folder(tmp_path / "bad"), tmp_path / "run"
    image = bad / "images" / "003.png"
    content = image.read_bytes()
    image.write_bytes(content[:100])
    line = ["train", str(recipe_file), "--out", str(out)]
    for data, val in ((bad, good), (good, bad)):
        assert main([*line, "--data", f"folder:{data}", "--val", f"folder:{val}"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "1 of 8 samples of folder:" in error
        assert error.count("003.png") == 1
        assert not out.exists()
    image.write_bytes(content)
    assert main([*line, "--data", f"folder:{bad}", "--val", f"folder:{good}"]) == 0
    image.write_bytes(content[:100])
    again = [*line, "--data", f"folder:{bad}", "--val", f"folder:{good}", "--resume"]
    assert main(again) == 0


def test_the_plan_comes_first_and_the_table_last(
    data: Path,
    recipe_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("gsto_viz.commands.train.is_quiet", lambda args: False)
    out = tmp_path / "run"
    settings = ["epochs=12", "eval_every=12", "ema_decay=0.9", "keep_every=6", "sci_every=12"]
    more = [word for setting in settings for word in ("--set", setting)]
    assert main(words(recipe_file, data, out, *more)) == 0
    captured = capsys.readouterr()
    plan, _, rest = captured.err.partition("\non ")
    network = build_for(Recipe(**SMALL), 3)
    count = sum(p.numel() for p in network.parameters())
    assert f"{count / 1e6:.2f} M" in plan
    assert "network      hrnetv2-tiny, 3 classes" in plan
    assert "steps        24 = 12 epochs of 2, 4 images each" in plan
    assert "8 images of folder:" in plan
    assert "SCI          on validation images, every 12 epochs\n" in plan
    assert "snapshots    every 6 epochs\n" in plan
    assert "cpu, fp32" in rest
    estimate = [line for line in rest.splitlines() if line.startswith("after 20 steps: ")]
    assert len(estimate) == 1
    assert re.search(r"GB of memory; about \d+ s left, evaluations not counted$", estimate[0])
    assert "loss=" in rest
    assert "img_s=" in rest
    table = dict(line.split(maxsplit=1) for line in captured.out.splitlines() if " m" not in line)
    assert table["steps"] == "24"
    assert table["checkpoint"] == str(out / "best.safetensors")
    assert "GB of memory" in captured.out


def test_times_are_said_in_two_units() -> None:
    said = [duration(s) for s in (0.4, 89, 90, 3540, 3600, 12_000, 86_000, 187_200)]
    assert said == [
        "0 s", "89 s", "2 min", "59 min", "1 h 0 min", "3 h 20 min", "23 h 53 min", "2 d 4 h"
    ]  # fmt: skip


def test_a_label_outside_the_class_list_names_file_and_value(
    make_folder: Any, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_folder(tmp_path / "bad")
    labels = np.zeros((40, 56), np.uint8)
    labels[3, 4] = 77
    Image.fromarray(labels).save(root / "labels" / "005.png")
    out = tmp_path / "run"
    assert main(["train", str(recipe_file), "--data", f"folder:{root}", "--out", str(out)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "77" in error
    assert "005" in error
    assert not out.exists()


class Memory:
    """A data set in memory; ``labels`` may be what no loader would give."""

    name = "memory"
    classes = ClassList("two", tuple(ClassInfo(k, f"c{k}", (k, k, k), thing=True) for k in (0, 1)))

    def __init__(self, labels: np.ndarray | None, count: int = 4) -> None:
        self.labels, self.ids = labels, tuple(f"m{k}" for k in range(count))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        image = np.random.default_rng(index).integers(0, 256, (40, 40, 3)).astype(np.uint8)
        return Sample(self.ids[index], image, self.labels)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("c0", "c1", "c2"), "memory has 2 classes and memory has 3"),
        (("c1", "c0"), "class 0 is 'c0' in memory and 'c1' in memory"),
    ],
)
def test_validation_on_other_classes_is_refused_before_anything_is_written(
    names: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    labels = np.zeros((40, 40), np.uint8)
    val = Memory(labels)
    val.classes = ClassList(
        "other", tuple(ClassInfo(k, n, (k, k, k), thing=True) for k, n in enumerate(names))
    )
    with pytest.raises(GstoVizError, match=message):
        train(Recipe(**SMALL), Memory(labels), tmp_path / "run", val=val)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("part", ["data", "val"])
def test_the_split_kept_for_evidence_is_refused(part: str, tmp_path: Path) -> None:
    parts = {"data": Memory(np.zeros((40, 40), np.uint8)), "val": None}
    parts[part] = Memory(np.zeros((40, 40), np.uint8))
    parts[part].name = "camvid:/data/camvid:eval"
    with pytest.raises(GstoVizError, match=r"camvid:eval is kept for evidence and never trained"):
        train(Recipe(**SMALL), parts["data"], tmp_path / "run", val=parts["val"])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("class_weights", ["none", "log_inverse_frequency"])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "m. has no labels"),
        (np.full((40, 40), 2, np.uint8), "m. has label 2 and the class list ends at 1"),
        (np.zeros((40, 41), np.uint8), "image is 40x40 and its labels are 40x41"),
    ],
)
def test_samples_that_cannot_be_trained_on_are_named(
    labels: np.ndarray | None, message: str, class_weights: str, tmp_path: Path
) -> None:
    recipe = Recipe(**{**SMALL, "class_weights": class_weights})
    with pytest.raises(GstoVizError, match=message):
        train(recipe, Memory(labels), tmp_path / "run")


def test_an_unlabelled_crop_is_no_loss_at_all(tmp_path: Path) -> None:
    recipe = Recipe(**{**SMALL, "class_weights": "none"})
    result = train(recipe, Memory(np.full((40, 40), 255, np.uint8)), tmp_path / "run")
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert result.best.is_file()
    assert [json.loads(line)["loss"] for line in lines] == [0.0]


def test_folders_that_are_taken_are_refused(
    data: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    assert main(words(recipe_file, data, out)) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(words(recipe_file, data, out, "--resume")) == 2
    assert "no run to resume" in capsys.readouterr().err
    assert main(words(recipe_file, data, out, "--overwrite")) == 0
    assert (out / "thesis.tex").read_text() == "years of work"
    capsys.readouterr()
    assert main(words(recipe_file, data, out, "--resume", "--set", "lr=0.5")) == 2
    assert "lr: 0.01 -> 0.5" in capsys.readouterr().err
    assert main(words(recipe_file, data, out, "--resume", "--set", "loader_threads=3")) == 0
    other = ["--val", f"folder:{data / 'train'}"]
    assert main(words(recipe_file, data, out, "--resume", *other)) == 2
    assert "val: " in capsys.readouterr().err
    (out / "state.safetensors").unlink()
    assert main(words(recipe_file, data, out, "--resume")) == 2
    assert "no state.safetensors to continue from" in capsys.readouterr().err
    assert main(words(recipe_file, data, tmp_path / "small.yaml")) == 2
    assert "is a file" in capsys.readouterr().err
    assert main(words(recipe_file, data, tmp_path / "small.yaml" / "x")) == 2
    assert "cannot write" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(words(recipe_file, data, out, "--resume", "--overwrite"))
    assert "not allowed with" in capsys.readouterr().err


def test_data_that_were_moved_are_the_same_data(
    make_folder: Any, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_folder(tmp_path / "here")
    line = ["train", str(recipe_file), "--out", str(tmp_path / "run"), "--quiet", "--data"]
    assert main([*line, f"folder:{root}"]) == 0
    (tmp_path / "here").rename(tmp_path / "there")
    assert main([*line, f"folder:{tmp_path / 'there'}", "--resume"]) == 0
    (tmp_path / "there" / "images" / "007.png").unlink()
    capsys.readouterr()
    assert main([*line, f"folder:{tmp_path / 'there'}", "--resume"]) == 2
    assert "holds another run (data: " in capsys.readouterr().err


def test_a_loss_that_explodes_names_step_images_and_state_and_spoils_nothing(
    data: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    settings = ["lr=1e6", "epochs=40", "state_every=1", "eval_every=1", "class_weights=none"]
    more = [word for setting in settings for word in ("--set", setting)]
    assert main(words(recipe_file, data, out, *more)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "at step " in error
    assert "state.safetensors" in error
    assert "lower lr" in error
    for path in out.glob("*.safetensors"):
        for name, tensor in load_file(path).items():
            assert torch.isfinite(tensor).all(), (path, name)


def nan_loss(output: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
    return output.logits.sum() * np.nan


def test_a_loss_that_is_not_finite_names_the_images(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks_module, "segmentation_loss", nan_loss)
    with pytest.raises(
        GstoVizError, match=r"loss is nan at step 0 \(images 00.*no state was saved yet"
    ):
        train(Recipe(**SMALL), load_data(f"folder:{data}:train"), tmp_path / "run")


@pytest.mark.parametrize("call", [2, 3])
def test_a_full_disk_leaves_what_was_there(
    call: int,
    data: Path,
    recipe_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The second file flushed is the first state, the third is ``last.safetensors``."""
    real, calls = os.fsync, []

    def fsync(handle: int) -> None:
        calls.append(handle)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    out = tmp_path / "run"
    assert main(words(recipe_file, data, out)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "No space left on device" in error
    assert not list(out.glob(".*"))
    assert len(list(out.glob("*.safetensors"))) == call - 2
    monkeypatch.undo()
    assert main(words(recipe_file, data, out, "--resume", "--quiet")) == 0


def test_stopping_from_another_thread_saves_the_state(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Trainer._step

    def step(self: Trainer, batch: Any) -> float:
        self.stop_requested = True
        return real(self, batch)

    monkeypatch.setattr(Trainer, "_step", step)
    with pytest.raises(TrainingStopped, match="stopped at step 1; the state is saved"):
        train(Recipe(**SMALL), load_data(f"folder:{data}:train"), tmp_path / "run")
    assert (tmp_path / "run" / "state.safetensors").is_file()


def test_a_stopped_run_with_dropout_ends_like_one_that_was_left_alone(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the generator's state is lost, as a GPU's is."""
    recipe = Recipe(**{**SMALL, "epochs": 2, "model_options": {"head_dropout": 0.5}})
    train_data = load_data(f"folder:{data}:train")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    train(recipe, train_data, tmp_path / "whole")
    assert torch.equal(torch.get_rng_state(), before)
    real = Trainer._step

    def step(self: Trainer, batch: Any) -> float:
        self.stop_requested = self.progress.step == 2
        return real(self, batch)

    monkeypatch.setattr(Trainer, "_step", step)
    with pytest.raises(TrainingStopped):
        train(recipe, train_data, tmp_path / "cut")
    monkeypatch.undo()
    state = tmp_path / "cut" / "state.safetensors"
    tensors, metadata = read_tensors(state)
    write_tensors(state, {k: t for k, t in tensors.items() if k != "rng/torch"}, metadata)
    train(recipe, train_data, tmp_path / "cut", resume=True)
    whole, cut = (load_file(tmp_path / run / "last.safetensors") for run in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    model = load_model(tmp_path / "cut" / "last.safetensors")
    assert model.config.head_dropout == 0.5


def test_the_rate_rises_and_falls_as_written() -> None:
    recipe = Recipe(model="hrnetv2-tiny", lr=0.04, warmup_steps=4, poly_power=0.9)
    rates = [learning_rate(recipe, step, 10) for step in range(10)]
    for step, rate in enumerate(rates):
        warm = (step + 1) / 4 if step < 4 else 1.0
        assert rate == pytest.approx(0.04 * warm * ((10 - step) / 10) ** 0.9, rel=1e-12)
    flat = Recipe(model="hrnetv2-tiny", lr=0.04, warmup_steps=0, poly_power=0)
    assert [learning_rate(flat, s, 7) for s in range(7)] == [0.04] * 7


def test_weights_follow_from_the_seed_and_the_callers_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    first = build_for(Recipe(**SMALL), 3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    again = build_for(Recipe(**SMALL), 3).state_dict()
    other = build_for(Recipe(**{**SMALL, "seed": 1}), 3).state_dict()
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["head.classifier.weight"], other["head.classifier.weight"])


def test_a_run_may_start_from_one_of_our_checkpoints(tmp_path: Path) -> None:
    start = build_for(Recipe(**{**SMALL, "seed": 5}), 3)
    classes = ClassList("k", tuple(ClassInfo(k, f"c{k}", (k, k, k), thing=False) for k in range(3)))
    path = tmp_path / "start.safetensors"
    save_checkpoint(start, path, info=ModelInfo("start", "hrnetv2-tiny", classes))
    model = build_for(Recipe(**{**SMALL, "initialization": str(path)}), 3)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, start.state_dict()[name]), name
    with pytest.raises(GstoVizError, match="another architecture or class count"):
        build_for(Recipe(**{**SMALL, "initialization": str(path)}), 4)


def test_one_step_is_sgd_with_nesterov_momentum_written_out(data: Path, tmp_path: Path) -> None:
    """Two steps by hand: v = 0.9 v + g, w -= lr (g + 0.9 v), with g the gradient plus decay."""
    recipe = Recipe(**{**SMALL, "channels_last": False, "class_weights": "none"})
    train_data = load_data(f"folder:{data}:train")
    train(recipe, train_data, tmp_path / "run")
    model = build_for(recipe, 3).train()
    trainer = Trainer(
        recipe,
        train_data,
        None,
        RunFolder(tmp_path),
        torch.device("cpu"),
        quiet=True,
    )
    velocity = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for step, batch in enumerate(trainer.samples.batches(0)):
        inputs = torch.stack([image_to_tensor(image.numpy()) for image in batch.images])
        full = torch.nn.functional.interpolate(
            model(inputs).logits, size=(32, 32), mode="bilinear", align_corners=False
        )
        loss = torch.nn.functional.cross_entropy(full, batch.targets.long(), ignore_index=255)
        model.zero_grad()
        loss.backward()
        rate = 0.01 * (1 - step / 2) ** 0.9
        with torch.no_grad():
            for name, p in model.named_parameters():
                assert p.grad is not None
                gradient = p.grad + 5e-4 * p
                velocity[name] = 0.9 * velocity[name] + gradient
                p -= rate * (gradient + 0.9 * velocity[name])
    stored = load_file(tmp_path / "run" / "last.safetensors")
    for name, p in model.state_dict().items():
        assert torch.allclose(stored[name].double(), p.double(), rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("scenes", "scenes:count=64"),
        ("scenes:count=800,seed=3,size=64x96", "scenes:count=64,size=64x96"),
        ("figures:count=800,size=128x128", "figures:count=64,size=128x128"),
        ("scenes:decorrelated=1, count=8,seed=3", "scenes:count=64,decorrelated=1"),
        ("camvid:/data/camvid", "camvid:/data/camvid"),
        ("camvid:/data/camvid:train", "camvid:/data/camvid:val"),
        ("folder:/a:b:train", "folder:/a:b:val"),
    ],
)
def test_validation_images_that_belong_to_training_images(spec: str, expected: str) -> None:
    assert validation_spec(spec) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("camvid:/home/me/camvid:train", "camvid:train"),
        ("folder:/home/me:x:val", "folder:val"),
        ("folder:/home/me/images", "folder"),
        ("scenes:count=6,seed=0,size=64x96", "scenes:count=6,seed=0,size=64x96"),
        ("scenes:count=6,decorrelated=1", "scenes:count=6,decorrelated=1"),
        ("/home/me/own", "own"),
    ],
)
def test_portable_names_hold_no_path(name: str, expected: str) -> None:
    assert portable_name(name) == expected


@pytest.mark.parametrize("model", ["hrnetv2-w18-small-v1", "gsto-hrnet-w18-small-v1"])
def test_a_recipe_may_start_from_a_shipped_checkpoint_of_its_network(model: str) -> None:
    recipe = load_recipe("camvid-hrnetv2-w18-small-v1", model=model)
    start = load_model(f"scenes-{model}").state_dict()
    built = build_for(recipe, 11).state_dict()
    assert built.keys() == start.keys()
    assert all(torch.equal(built[name], start[name]) for name in start)
    with pytest.raises(GstoVizError, match="no-such"):
        build_for(recipe.with_settings({"initialization": "no-such-{model}"}), 11)


def test_the_twin_recipes_differ_in_the_network_alone() -> None:
    plain, gated = (
        load_recipe(f"camvid-{name}-w18-small-v1").to_dict() for name in ("hrnetv2", "gsto-hrnet")
    )
    assert {**plain, "model": gated["model"]} == gated


def test_what_a_checkpoint_says_of_its_start_holds_no_path() -> None:
    recipe = Recipe(**{**SMALL, "initialization": "/home/me/imagenet.pth"})
    assert portable_recipe(recipe)["initialization"] == "imagenet.pth"


def test_weights_trained_on_camvid_say_so(tmp_path: Path) -> None:
    images = Memory(np.zeros((40, 40), np.uint8))
    images.name, images.classes = "camvid:/somewhere:train", CAMVID_CLASSES
    train(Recipe(**SMALL), images, tmp_path / "run")
    info = load_model(tmp_path / "run" / "best.safetensors").info
    assert info is not None
    assert info.notice is not None
    assert "non-commercial" in info.notice


def test_a_crop_that_the_network_does_not_take_is_called_a_crop(tmp_path: Path) -> None:
    recipe = Recipe(model="ppm-tiny", crop=(32, 32), class_weights="none")
    data = load_data("scenes:count=8,size=64x96", purpose="train")
    with pytest.raises(GstoVizError, match=r"crop is 32x32, and ppm-tiny does not take it: .* 6x6"):
        train(recipe, data, tmp_path / "run")
