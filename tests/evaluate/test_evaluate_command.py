"""``gsto-viz evaluate`` from its words to tables, files and exit statuses."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gsto_viz.cli import main
from gsto_viz.data import shipped_classes
from gsto_viz.evaluate import predict
from gsto_viz.models import ModelInfo, build_model, initialize, load_model, save_checkpoint


@pytest.fixture
def folder(tmp_path: Path, make_folder: Any) -> Path:
    return make_folder(tmp_path / "data", count=3, size=(40, 56))


def evaluate(checkpoint: Path, data: str, *more: str) -> int:
    return main(["evaluate", str(checkpoint), "--data", data, "--device", "cpu", *more])


def test_table_and_json(tiny_checkpoint: Path, folder: Path, capsys: Any, tmp_path: Path) -> None:
    out = tmp_path / "scores.json"
    assert evaluate(tiny_checkpoint, f"folder:{folder}", "--json", str(out)) == 0
    text = capsys.readouterr().out
    value = json.loads(out.read_text())
    lines = {line.split("  ")[0]: line.split() for line in text.splitlines()}
    assert text.startswith(f"folder:{folder}: 3 images, protocol single\n")
    assert float(lines["mIoU"][-1]) == pytest.approx(value["miou"], abs=0.005)
    for entry in value["classes"]:
        shown = [float(cell) for cell in lines[entry["name"]][1:]]
        expected = [entry[key] for key in ("iou", "accuracy", "boundary_iou", "pixels")]
        assert shown == pytest.approx(expected, abs=0.005)
    assert "no interval: 3 independent images, an interval needs 10" in text
    row = next(r for r in value["sizes"] if r["measure"] == "recall" and r["octave"] == 3)
    shown_row = next(line for line in text.splitlines() if line.lstrip().startswith("8 to 16"))
    assert shown_row.split()[3:5] == [str(row["n_regions"]), f"{row['mean']:.2f}"]
    assert (value["schema_version"], value["size"], value["precision"]) == (1, None, "fp32")
    assert value["checkpoint"]["network"] == "hrnetv2-tiny"
    assert value["sizes_in"] == "pixels of the label map"
    assert value["protocol"]["name"] == "single"


def test_the_scores_are_those_of_predict(tiny_checkpoint: Path, folder: Path, capsys: Any) -> None:
    assert evaluate(tiny_checkpoint, f"folder:{folder}", "--json", "-", "--no-sizes") == 0
    value = json.loads(capsys.readouterr().out)
    model = load_model(tiny_checkpoint)
    expected = np.zeros((3, 3), int)
    for path in sorted((folder / "images").iterdir()):
        labels = np.asarray(Image.open(folder / "labels" / path.name))
        guess = predict(model, np.asarray(Image.open(path)))
        for true, said in zip(labels.ravel().tolist(), guess.ravel().tolist(), strict=True):
            if true != 255:
                expected[true, said] += 1
    assert value["confusion"] == expected.tolist()
    assert "sizes" not in value
    assert "boundary_iou" not in value


def test_options_reach_the_protocol(tiny_checkpoint: Path, folder: Path, capsys: Any) -> None:
    data = f"folder:{folder}"
    words = ["--scales", "1,1.5", "--flip", "--size", "64x64", "--json", "-", "--workers", "0"]
    assert evaluate(tiny_checkpoint, data, *words) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["protocol"]["name"] == "single with scales 1,1.5, flip"
    assert (value["protocol"]["scales"], value["protocol"]["flip"]) == ([1, 1.5], True)
    assert value["size"] == [64, 64]
    assert sum(map(sum, value["confusion"])) == pytest.approx(3 * 64 * 64, rel=0.01)
    words = ["--protocol", "lip", "--no-flip", "--precision", "bf16", "--no-sizes"]
    assert evaluate(tiny_checkpoint, data, *words) == 0
    assert "protocol lip with no flip\n" in capsys.readouterr().out


def test_unreadable_images_are_named_and_the_rest_is_scored(
    tiny_checkpoint: Path, folder: Path, capsys: Any
) -> None:
    (folder / "images" / "001.png").write_bytes(b"no image")
    assert evaluate(tiny_checkpoint, f"folder:{folder}", "--json", "-") == 3
    said = capsys.readouterr()
    value = json.loads(said.out)
    assert value["images"] == 2
    assert [entry["id"] for entry in value["skipped"]] == ["001"]
    assert said.err.startswith("gsto-viz evaluate: skipped 001: ")
    assert "001.png" in said.err
    assert said.err.count("\n") == 1


def test_wrong_labels_are_an_error(tiny_checkpoint: Path, folder: Path, capsys: Any) -> None:
    Image.fromarray(np.full((40, 56), 7, np.uint8)).save(folder / "labels" / "002.png")
    assert evaluate(tiny_checkpoint, f"folder:{folder}") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "002.png holds label 7" in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--protocol", "lips"], "no protocol 'lips'; did you mean 'lip'?"),
        (["--scales", "0"], "--scales 0: a scale lies above 0"),
        (["--protocol", "lip", "--size", "64x64"], "protocol lip fixes the size"),
        (["--workers", "-1"], "--workers -1: give a number from 0 to 64"),
        (["--scales", "0.5"], "000: at scale 0.5: the image is 20x28"),
        (["--export", "out"], "has other classes; leave it out"),
    ],
)
def test_words_that_are_wrong(
    words: list[str], message: str, tiny_checkpoint: Path, folder: Path, capsys: Any
) -> None:
    assert evaluate(tiny_checkpoint, f"folder:{folder}", *words) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


@pytest.fixture(scope="module")
def city_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = build_model("hrnetv2-tiny", num_classes=19)
        initialize(model, "kaiming")
    path = tmp_path_factory.mktemp("city") / "city.safetensors"
    save_checkpoint(
        model, path, info=ModelInfo("city", "hrnetv2-tiny", shipped_classes("cityscapes"))
    )
    return path


def add_frame(root: Path, split: str, frame: str, *, annotated: bool = True) -> None:
    """A frame of 48 x 64 with boxes of every label id, some of them instances."""
    city = frame.split("_")[0]
    rng = np.random.default_rng(len(frame))
    image = rng.integers(0, 256, (48, 64, 3)).astype(np.uint8)
    labels = np.full((48, 64), 7, np.uint8)
    instances = labels.astype(np.uint16)
    for number in range(40):
        y, x, id_ = int(rng.integers(0, 40)), int(rng.integers(0, 56)), int(rng.integers(0, 34))
        labels[y : y + 8, x : x + 8] = id_
        instances[y : y + 8, x : x + 8] = 1000 * id_ + number if id_ > 23 else id_
    for kind, name, array in (
        ("leftImg8bit", "leftImg8bit", image),
        ("gtFine", "gtFine_labelIds", labels),
        ("gtFine", "gtFine_instanceIds", instances),
    ):
        if kind == "leftImg8bit" or annotated:
            (root / kind / split / city).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / kind / split / city / f"{frame}_{name}.png")


def test_cityscapes_from_tree_to_server(city_checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    root, out = tmp_path / "cityscapes", tmp_path / "submission"
    add_frame(root, "val", "lindau_000000_000019")
    add_frame(root, "test", "bonn_000004_000019", annotated=False)
    assert evaluate(city_checkpoint, f"cityscapes:{root}", "--json", str(tmp_path / "c.json")) == 0
    text = capsys.readouterr().out
    scores = json.loads((tmp_path / "c.json").read_text())["cityscapes"]
    assert set(scores["categories"]) == {
        "flat", "construction", "object", "nature", "sky", "human", "vehicle",
    }  # fmt: skip
    line = next(line for line in text.splitlines() if line.startswith("iIoU of classes  "))
    assert line.split()[-1] == f"{scores['iiou_class']:.2f}"
    assert evaluate(city_checkpoint, f"cityscapes:{root}:test", "--export", str(out)) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"gsto-viz evaluate: 1 label maps in {out}\n")
    assert [path.name for path in out.iterdir()] == ["bonn_000004_000019_labelIds.png"]
    written = np.asarray(Image.open(out / "bonn_000004_000019_labelIds.png"))
    image = np.asarray(Image.open(next((root / "leftImg8bit/test").glob("*/*.png"))))
    ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert np.array_equal(written, np.array(ids)[predict(load_model(city_checkpoint), image)])
    for words, message in (
        ([], "is not empty; --overwrite replaces it"),
        (["--overwrite", "--size", "64x64"], "leave --size out"),
    ):
        words = ["--export", str(out), *words]
        assert evaluate(city_checkpoint, f"cityscapes:{root}:test", *words) == 2
        assert message in capsys.readouterr().err
    words = ["--export", str(out), "--overwrite", "--json", "-"]
    assert evaluate(city_checkpoint, f"cityscapes:{root}:test", *words) == 2
    assert "no labelled pixel" in capsys.readouterr().err
    add_frame(root, "test", "bonn_4_19", annotated=False)
    words = ["--export", str(tmp_path / "new")]
    assert evaluate(city_checkpoint, f"cityscapes:{root}:test", *words) == 2
    assert "'bonn_4_19' is not named as Cityscapes" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


DAMAGED = {
    "8 bits, one of two": (0, lambda ids: (ids % 256).astype(np.uint8), "1 of 2 images have no "),
    "8 bits, all": (None, lambda ids: (ids % 256).astype(np.uint8), "2 of 2 images have no "),
    "clipped to 8 bits": (None, lambda ids: ids.clip(0, 255).astype(np.uint8), "2 of 2 images"),
    "8 bits in a file of 16": (None, lambda ids: ids % 256, "no instance map numbers a thing"),
    "label ids": (None, lambda ids: np.where(ids > 999, ids // 1000, ids), "no instance map num"),
    "train ids": (None, lambda ids: np.where(ids > 999, ids - 13000, ids), "no instance map num"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_iiou_of_instance_maps_that_lost_their_numbers(
    city_checkpoint: Path, tmp_path: Path, capsys: Any, kind: str
) -> None:
    frames = ("lindau_000000_000019", "lindau_000001_000019")
    for frame in frames:
        add_frame(tmp_path, "val", frame)
    which, change, reason = DAMAGED[kind]
    for frame in frames if which is None else frames[which : which + 1]:
        path = tmp_path / "gtFine" / "val" / "lindau" / f"{frame}_gtFine_instanceIds.png"
        ids = np.array(Image.open(path)).astype(np.uint16)
        Image.fromarray(change(ids)).save(path)
    assert evaluate(city_checkpoint, f"cityscapes:{tmp_path}", "--json", "-", "--no-sizes") == 0
    said = capsys.readouterr()
    scores = json.loads(said.out)["cityscapes"]
    assert scores["iiou_reason"].startswith(reason)
    assert scores["iiou_class"] is scores["iiou_category"] is None
    assert scores["class_iiou"] == scores["category_iiou"] == {}
    assert scores["iou_category"] is not None
    assert evaluate(city_checkpoint, f"cityscapes:{tmp_path}", "--no-sizes") == 0
    out = capsys.readouterr().out
    assert f"iIoU is not estimated: {reason}" in out
    assert ("[lost-instances]" in out) == (" 8 bits" in f" {kind}" and "file" not in kind)


@pytest.mark.slow
def test_torchrun_writes_what_one_process_writes(
    tiny_checkpoint: Path, folder: Path, tmp_path: Path
) -> None:
    """A damaged image makes status 3, which torchrun reports as 1; the scores are there."""
    (folder / "images" / "001.png").write_bytes(b"no image")
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    words = ["--protocol", "single", "--flip"]
    assert evaluate(tiny_checkpoint, f"folder:{folder}", *words, "--json", str(one)) == 3
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = ["-m", "gsto_viz", "evaluate", str(tiny_checkpoint), "--data", f"folder:{folder}"]
    done = subprocess.run(
        [sys.executable, *launch, *command, *words, "--device", "cpu", "--json", str(two)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 1
    assert two.read_bytes() == one.read_bytes()
    assert done.stderr.count("gsto-viz evaluate: skipped 001: ") == 1
    assert done.stdout.count("2 images, protocol single with flip") == 1
