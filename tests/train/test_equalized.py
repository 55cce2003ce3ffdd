"""Equalizers from the command line and in training, against statistics of an own loop."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from gsto_viz.cli import main
from gsto_viz.data import load_data
from gsto_viz.errors import GstoVizError
from gsto_viz.joints import COCO_JOINTS
from gsto_viz.models import (
    NetworkConfig,
    SegmentationNetwork,
    build_model,
    initialize,
    load_checkpoint,
    load_official,
    save_checkpoint,
    to_official_keys,
)
from gsto_viz.models.costs import describe_checkpoint
from gsto_viz.torch_utils import image_to_tensor
from gsto_viz.train.build import build_for
from gsto_viz.train.measures import equalized_of
from gsto_viz.train.recipe import Recipe

DATA = "scenes:count=4,seed=3,size=64x96"


def start(tmp_path: Path, name: str = "hrnetv2-tiny", **options: object) -> Path:
    torch.manual_seed(1)
    classes = load_data(DATA).classes
    model = build_model(name, num_classes=len(classes), **options)
    for one in model.modules():
        if isinstance(one, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(one.weight)
    path = tmp_path / "start.safetensors"
    save_checkpoint(model, path, classes=classes)
    return path


def statistics(model: SegmentationNetwork) -> np.ndarray:
    """Mean and deviation of the branches at the finest grid over all images, (2, 4)."""
    stacked: list[list[np.ndarray]] = [[] for _ in range(4)]
    for sample in load_data(DATA, purpose="train"):
        with torch.no_grad():
            maps, _ = model.eval().branches(image_to_tensor(sample.image)[None])
        for kept, one in zip(stacked, maps, strict=True):
            up = F.interpolate(one, maps[0].shape[-2:], mode="bilinear", align_corners=False)
            kept.append(up.double().numpy().ravel())
    values = [np.concatenate(kept) for kept in stacked]
    return np.array([[one.mean() for one in values], [one.std() for one in values]])


def held(path: Path) -> np.ndarray:
    tensors = load_file(path)
    return np.array(
        [[float(tensors[f"head.equalizers.{r}.{part}"]) for r in range(4)]
         for part in ("mean", "deviation")]
    )  # fmt: skip


def test_the_command_writes_the_network_with_statistics_of_the_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = start(tmp_path), tmp_path / "e.safetensors"
    assert main(["equalize", str(path), "--data", DATA, "--out", str(out)]) == 0
    np.testing.assert_allclose(held(out), statistics(load_checkpoint(path)), rtol=1e-5)
    printed = capsys.readouterr().out
    assert f"{held(out)[1, 2]:.4f}" in printed
    assert "4 images; saved" in printed
    variances = held(out)[1] ** 2
    octaves = np.log2(variances.max() / variances.min())
    assert f"disequilibrium of head: {octaves:.2f} octaves of variance before, 0" in printed
    before, after = load_file(path), load_file(out)
    assert all(torch.equal(one, after[key]) for key, one in before.items())
    info = load_checkpoint(out).info
    assert info is not None
    assert info.training == {"equalized": {"of": "start", "data": DATA, "images": 4}}
    assert main(["equalize", str(path), "--data", DATA, "--out", str(out)]) == 2
    assert "exists; choose another name or give --overwrite" in capsys.readouterr().err
    arguments = ["equalize", str(path), "--data", DATA, "--out", str(out), "--overwrite"]
    assert main(arguments) == 0
    assert main(["evaluate", str(out), "--data", DATA, "--device", "cpu"]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "e.pt"], "end its name in .safetensors"),
        (["--out", "."], "end its name in .safetensors"),
        (["--out", "start.safetensors/e.safetensors"], "--out"),
        (["--out", "e.safetensors", "--size", "32x32"], ": the image is 32x32"),
    ],
)
def test_what_does_not_fit_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: list[str], said: str,
) -> None:  # fmt: skip
    path = start(tmp_path, "ppm-tiny")
    monkeypatch.chdir(tmp_path)
    assert main(["equalize", str(path), "--data", DATA, *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert sorted(one.name for one in tmp_path.iterdir()) == ["start.safetensors"]


def test_data_of_other_classes_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "a.safetensors", tmp_path / "e.safetensors"
    save_checkpoint(build_model("hrnetv2-tiny", num_classes=3), path, classes=list("abc"))
    assert main(["equalize", str(path), "--data", DATA, "--out", str(out)]) == 2
    assert "the network has 3 classes and scenes" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "joints", "said"),
    [
        ("hrnet-pose-tiny", 17, "(hrnet-pose-tiny) whose head concatenates no branches"),
        ("gsto-hrnet-pose-tiny", 2, "the network has 2 joints and figures"),
        ("gsto-hrnet-pose-tiny", 17, ""),
    ],
)
def test_networks_for_pose_are_asked_about_their_head_and_joints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, joints: int, said: str
) -> None:
    path, out = tmp_path / "a.safetensors", tmp_path / "e.safetensors"
    network = build_model(name, num_classes=joints)
    initialize(network, "kaiming")
    save_checkpoint(network, path, classes=list(COCO_JOINTS.classes.names[:joints]))
    words = ["--data", "figures:count=1,size=64x64", "--out", str(out)]
    assert main(["equalize", str(path), *words]) == (2 if said else 0)
    assert said in capsys.readouterr().err
    assert out.exists() == (not said)


def test_features_that_do_not_vary_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "a.safetensors", tmp_path / "e.safetensors"
    model = build_model("aspp-tiny", num_classes=len(load_data(DATA).classes))
    torch.nn.init.zeros_(model.head.scales["1"].bn.weight)
    save_checkpoint(model, path, classes=load_data(DATA).classes)
    assert main(["equalize", str(path), "--data", DATA, "--out", str(out)]) == 2
    assert "features at head.equalizers.1 do not vary (variance 0)" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    "name",
    [
        "hrnetv2-tiny",
        *(pytest.param(name, marks=pytest.mark.slow)
          for name in ("gsto-hrnet-tiny", "ppm-tiny", "upernet-tiny")),
    ],
)  # fmt: skip
def test_training_estimates_before_the_first_step_and_never_again(
    name: str, tmp_path: Path
) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"model: {name}\nmodel_options: {{equalized: true}}\ninitialization: kaiming\n"
        "crop: [64, 64]\nbatch_size: 2\nepochs: 2\nema_decay: 0.9\n"
    )
    for out, more in (("a", ["epochs=1"]), ("b", ["epochs=2"])):
        words = ["train", str(recipe), "--data", DATA, "--out", str(tmp_path / out)]
        assert main([*words, *[w for one in more for w in ("--set", one)], "--device", "cpu"]) == 0
    one, two = (load_file(tmp_path / run / "last.safetensors") for run in "ab")
    numbers = [key for key in one if ".equalizers." in key]
    assert numbers
    assert all(torch.equal(one[key], two[key]) for key in numbers)
    assert not any(float(one[key]) in (0.0, 1.0) for key in numbers)
    if name == "hrnetv2-tiny":
        settings = {"equalized": True}
        begun = build_for(
            Recipe(model=name, model_options=settings, initialization="kaiming"),
            len(load_data(DATA).classes),
        )
        np.testing.assert_allclose(held(tmp_path / "a" / "last.safetensors"), statistics(begun),
                                   rtol=1e-5)  # fmt: skip


@pytest.mark.parametrize(("part", "value"), [("deviation", 0.0), ("deviation", -1.0),
                                             ("mean", float("nan"))])  # fmt: skip
def test_a_damaged_equalizer_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str, value: float
) -> None:
    path = start(tmp_path, equalized=True)
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
    tensors = load_file(path)
    tensors[f"head.equalizers.2.{part}"].fill_(value)
    save_file(tensors, path, metadata=about)
    assert main(["evaluate", str(path), "--data", DATA, "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert "has a damaged equalizer head.equalizers.2 (" in error
    assert error.count("\n") == 1


def test_an_equalized_network_says_so_in_one_word_until_it_is_folded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out, folded = start(tmp_path), tmp_path / "e.safetensors", tmp_path / "f.safetensors"
    assert main(["equalize", str(path), "--data", DATA, "--out", str(out)]) == 0
    assert main(["equalize", str(out), "--fold", "--out", str(folded)]) == 0
    assert "4 equalizers folded; saved" in capsys.readouterr().out
    for file, named in ((path, ""), (out, ", equalized"), (folded, "")):
        assert load_checkpoint(file).architecture == f"hrnetv2-tiny{named}"
        assert describe_checkpoint(file)[1].startswith(f"hrnetv2-tiny{named} with the classes")
        assert main(["doctor", str(file), "--size", "64x96", "--device", "cpu"]) == 0
        assert f"{file} (HRNet{named}), " in capsys.readouterr().out
        record = tmp_path / "r.json"
        words = ["evaluate", str(file), "--data", DATA, "--device", "cpu", "--json", str(record)]
        assert main(words) == 0
        said = json.loads(record.read_text())["checkpoint"]["network"]
        assert said == f"hrnetv2-tiny{named}"
        capsys.readouterr()
    with pytest.raises(GstoVizError, match=r"no names for scale equalizers; fold .* --fold or "):
        to_official_keys(load_checkpoint(out))
    again = build_model("hrnetv2-tiny", num_classes=load_checkpoint(out).config.num_classes)
    load_official(again, to_official_keys(load_checkpoint(folded)))
    image = image_to_tensor(load_data(DATA)[0].image)[None]
    with torch.no_grad():
        logits = load_checkpoint(out)(image).logits
        apart = (logits - again.eval()(image).logits).abs().max()
    assert apart <= 1e-5 * logits.abs().max()


@pytest.mark.parametrize(
    ("name", "options", "words", "said"),
    [
        ("hrnetv2-tiny", {"equalized": True}, ["--data", DATA], "is equalized already; give the"),
        ("hrnetv2-tiny", {}, ["--fold"], "this network has no equalizers, so there is nothing"),
        ("hrnetv2-tiny", {"equalized": True}, ["--fold", "--size", "64x96"], "--size is for"),
        ("hrnetv2-tiny", {}, ["--fold", "--data", DATA], "not allowed with argument"),
        ("hrnetv2-tiny", {}, [], "one of the arguments --data --fold is required"),
    ],
)
def test_what_cannot_be_equalized_or_folded_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
    name: str, options: dict[str, bool], words: list[str], said: str,
) -> None:  # fmt: skip
    path, out = start(tmp_path, name, **options), tmp_path / "e.safetensors"
    try:
        status: object = main(["equalize", str(path), *words, "--out", str(out)])
    except SystemExit as error:
        status = error.code
    assert status == 2
    error_text = capsys.readouterr().err
    assert said in error_text
    assert error_text.count("\n") == 1
    assert sorted(one.name for one in tmp_path.iterdir()) == ["start.safetensors"]


def test_ppm_keeps_its_equalizers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = start(tmp_path, "ppm-tiny", equalized=True), tmp_path / "f.safetensors"
    tensors = load_file(path)
    tensors["head.equalizers.1.mean"].fill_(0.5)
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
    save_file(tensors, path, metadata=about)
    assert main(["equalize", str(path), "--fold", "--out", str(out)]) == 2
    assert "the 3x3 convolution behind head.equalizers pads with zeros" in capsys.readouterr().err
    assert not out.exists()


@dataclass(frozen=True)
class PlainConfig(NetworkConfig):
    """Of a network whose head concatenates nothing."""

    num_classes: int = 5


def test_networks_without_a_place_for_equalizers_are_refused() -> None:
    with pytest.raises(GstoVizError, match=r"^x is not a network of the register"):
        equalized_of(torch.nn.Conv2d(3, 5, 1), "x")
    with pytest.raises(
        GstoVizError, match=r"^x is a network \(Seg\w+\) whose head concatenates no"
    ):
        equalized_of(SegmentationNetwork(PlainConfig()), "x")


@pytest.mark.parametrize(
    ("tensor", "value", "said"),
    [
        ("head.equalizers.2.mean", torch.zeros(3), r"1 of another shape (head.equalizers.2.mean)"),
        ("head.equalizers.4.mean", torch.tensor(0.0), "1 left over (head.equalizers.4.mean)"),
        ("head.equalizers.2.mean", None, "1 missing (head.equalizers.2.mean)"),
    ],
)
def test_equalizers_of_another_network_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
    tensor: str, value: torch.Tensor | None, said: str,
) -> None:  # fmt: skip
    path = start(tmp_path, equalized=True)
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
    tensors = load_file(path)
    if value is None:
        del tensors[tensor]
    else:
        tensors[tensor] = value
    save_file(tensors, path, metadata=about)
    assert main(["evaluate", str(path), "--data", DATA, "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert f"does not fit this network: {said}" in error
    assert error.count("\n") == 1


def test_equalizers_of_another_normalisation_are_refused(tmp_path: Path) -> None:
    path, out = start(tmp_path, equalized=True), tmp_path / "n.safetensors"
    model, other = load_checkpoint(path), (0.5, 0.5, 0.5)
    with pytest.raises(GstoVizError, match=r"^the equalizers of start hold for images normalised"):
        save_checkpoint(model, out, mean=other)
    with pytest.raises(GstoVizError, match=r"not with .* and \(0\.5, 0\.5, 0\.5\); save it with"):
        save_checkpoint(model, out, std=other)
    assert not out.exists()
    save_checkpoint(model, out, mean=model.info.mean)
    plain = load_checkpoint(start(tmp_path))
    save_checkpoint(plain, out, mean=other)
    assert load_checkpoint(out).info.mean == other


@pytest.mark.slow
def test_two_processes_write_the_same_numbers(tmp_path: Path) -> None:
    path = start(tmp_path, "gsto-hrnet-tiny")
    words = ["-m", "gsto_viz", "equalize", str(path), "--data", DATA, "--device", "cpu"]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for out, more in (("one", []), ("two", launcher)):
        done = subprocess.run(
            [sys.executable, *more, *words, "--out", str(tmp_path / f"{out}.safetensors")],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    one, two = (load_file(tmp_path / f"{out}.safetensors") for out in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(torch.equal(tensor, two[key]) for key, tensor in one.items())


def test_a_run_starts_from_weights_with_or_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = start(tmp_path), tmp_path / "e.safetensors"
    assert main(["equalize", str(path), "--data", DATA, "--out", str(out)]) == 0
    classes = len(load_data(DATA).classes)
    for source in (path, out):
        recipe = Recipe(
            model="hrnetv2-tiny", model_options={"equalized": True}, initialization=str(source)
        )
        begun = build_for(recipe, classes).state_dict()
        assert all(torch.equal(one, begun[key]) for key, one in load_file(path).items())
        assert begun["head.equalizers.3.deviation"] == 1  # estimated anew
    words = ["train", "camvid", "--model", "hrnetv2-tiny", "--set", f"initialization={out}"]
    assert main([*words, "--data", DATA, "--out", str(tmp_path / "run")]) == 2
    assert "has equalizers and this run has none; give it some with" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
