"""The census counts what label maps hold, and stops a run only where it must."""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.measure import label as components

from gsto_viz.census import CODES, Finding, quick_findings, stop_at, take_census
from gsto_viz.cli import main
from gsto_viz.data import load_data
from gsto_viz.errors import GstoVizError
from gsto_viz.models import ModelInfo, build_model, initialize, save_checkpoint
from gsto_viz.types import ClassInfo, ClassList


def write_folder(
    root: Path, maps: list[np.ndarray], names: tuple[str, ...] = ("ground", "x"), **keys: object
) -> str:
    """Write an annotated folder; return its SPEC."""
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for k, labels in enumerate(maps):
        image = rng.integers(0, 256, (*labels.shape, 3), dtype=np.uint8)
        Image.fromarray(image).save(root / "images" / f"{k}.png")
        Image.fromarray(labels).save(root / "labels" / f"{k}.png")
    classes = [
        {"id": k, "name": name, "color": [k, 9, 9], "kind": "thing"} for k, name in enumerate(names)
    ]
    value = {"name": "toy", "ignore": 255, "classes": classes, **keys}
    (root / "classes.json").write_text(json.dumps(value), encoding="utf-8")
    return f"folder:{root}"


def masks(foreground: int, count: int = 3) -> list[np.ndarray]:
    """Maps of 40 x 50 pixels in which a quarter is foreground."""
    maps = [np.zeros((40, 50), np.uint8) for _ in range(count)]
    for labels in maps:
        labels[:20, :25] = foreground
    return maps


def test_counts_are_those_of_a_literal_loop(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    maps = [rng.choice(np.array([0, 1, 255], np.uint8), (17 + k, 23)) for k in range(4)]
    census = take_census(load_data(write_folder(tmp_path, maps)))
    pixels: Counter[tuple[int, int]] = Counter()
    objects: Counter[tuple[int, int]] = Counter()
    for labels in maps:
        for value in labels.ravel().tolist():
            pixels[value, value] += 1
        for class_id in (0, 1):
            numbered = components(labels == class_id, connectivity=2)
            for number in range(1, numbered.max() + 1):
                area = int((numbered == number).sum())
                octave = next(k for k in range(20) if area < 4 ** (k + 1))
                objects[class_id, octave] += 1
    assert census.values == pixels
    assert census.objects == objects
    assert census.sizes == {(17 + k, 23): 1 for k in range(4)}
    assert census.maps == {0: 4, 1: 4, 255: 4}
    assert census.ignored == pixels[255, 255] / sum(pixels.values())


def test_foreground_255_stops_and_says_what_to_write(tmp_path: Path) -> None:
    data = load_data(write_folder(tmp_path, masks(255)))
    with pytest.raises(
        GstoVizError, match=r"only class 'ground' occurs, and 25\.0 % of the pixels"
    ):
        quick_findings(data)
    with pytest.raises(GstoVizError, match="--accept one-class"):
        quick_findings(data)
    found = quick_findings(data, ["one-class"])
    assert [one.code for one in found] == ["one-class"]
    assert '"map": {"255": 1}' in found[0].advice


def test_foreground_of_few_pixels_is_named_too(tmp_path: Path) -> None:
    labels = np.zeros((40, 50), np.uint8)
    labels[:4, :10] = 255
    data = load_data(write_folder(tmp_path, [labels] * 3))
    with pytest.raises(GstoVizError, match=r"2\.0 % of the pixels are ignored; if 255 marks class"):
        quick_findings(data)


def test_absent_class_stops_only_beside_ignored_pixels(tmp_path: Path) -> None:
    three = ("ground", "x", "y")
    maps = masks(1)
    data = load_data(write_folder(tmp_path / "a", maps, three))
    (note,) = quick_findings(data)
    assert (note.code, note.stops) == ("absent-class", False)
    assert "1 class in none of 3 label maps: 'y'" in note.sentence
    for labels in maps:
        labels[30:, :] = 255
    data = load_data(write_folder(tmp_path / "b", maps, three))
    with pytest.raises(GstoVizError, match="in none of 3 label maps: 'y'"):
        quick_findings(data)


def test_a_sample_only_warns(tmp_path: Path) -> None:
    data = load_data(write_folder(tmp_path, masks(255, 5)))
    census = take_census(data, most=4, seed=1)
    assert (census.read, census.samples, census.seed) == (4, 5, 1)
    assert [(one.code, one.stops) for one in census.findings()] == [("one-class", False)]
    assert take_census(data, most=5).seed is None


def test_other_data_sets_are_never_stopped_for_their_classes(tmp_path: Path) -> None:
    for part in ("val", "valannot"):
        (tmp_path / part).mkdir()
    for k in range(2):
        Image.fromarray(np.zeros((36, 48, 3), np.uint8)).save(tmp_path / "val" / f"0_{k}.png")
        labels = np.full((36, 48), 11, np.uint8)
        labels[:, :40] = 3
        Image.fromarray(labels).save(tmp_path / "valannot" / f"0_{k}.png")
    found = quick_findings(load_data(f"camvid:{tmp_path}:val"))
    assert [(one.code, one.stops) for one in found] == [("one-class", False)]
    assert "classes.json" not in found[0].advice, "CamVid's numbers are what they are"


def test_negative_seeds_are_refused(tmp_path: Path) -> None:
    data = load_data(write_folder(tmp_path, masks(1)))
    with pytest.raises(GstoVizError, match="seed -1 is negative"):
        take_census(data, most=1, seed=-1)


def test_instances_over_classes_are_counted(tmp_path: Path) -> None:
    maps = masks(1)
    spec = write_folder(tmp_path, maps)
    (tmp_path / "instances").mkdir()
    for k, labels in enumerate(maps):
        instances = np.zeros_like(labels)
        instances[:10, :10] = 1  # inside class 1
        instances[15:25, :10] = 2 if k else 0  # over both classes
        Image.fromarray(instances).save(tmp_path / "instances" / f"{k}.png")
    census = take_census(load_data(spec))
    assert census.mixed == {"1": 1, "2": 1}
    (note,) = census.findings()
    assert note.code == "mixed-instances"
    assert note.sentence.startswith("2 instances cover several classes in 2 images, first 1")


def test_turned_images_and_files_left_out_are_named(tmp_path: Path) -> None:
    spec = write_folder(tmp_path, masks(1))
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(tmp_path / "images" / "1.png").save(tmp_path / "images" / "1.png", exif=exif)
    Image.new("RGB", (5, 5)).save(tmp_path / "images" / "photo.ico")
    (tmp_path / "images" / "more").mkdir()
    (tmp_path / "images" / "more" / "notes.txt").write_text("x")
    by_code = {one.code: one.sentence for one in take_census(load_data(spec)).findings()}
    assert by_code["turned"].startswith("EXIF turns 1 image ")
    assert by_code["turned"].endswith(": 1")
    assert by_code["left-out"] == "2 files are not read: images/more/notes.txt, images/photo.ico"


def test_what_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    spec = write_folder(tmp_path, masks(1))
    (tmp_path / "labels" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    census = take_census(load_data(spec))
    assert list(census.problems) == ["1"]
    assert census.read == census.samples == 3
    assert "1 of 3 samples cannot be used, first: " in census.findings()[0].sentence


def test_procedural_scenes_are_counted_but_never_before_a_run() -> None:
    data = load_data("scenes:count=2,size=64x128")
    census = take_census(data)
    assert sum(census.values.values()) == 2 * 64 * 128
    assert census.ignored == 0
    assert quick_findings(data) == []


def test_an_unknown_code_names_the_known_ones() -> None:
    with pytest.raises(GstoVizError, match="did you mean one-class"):
        stop_at((), ["one-clas"])
    stops = Finding("absent-class", "a", "b", stops=True)
    assert stop_at([stops], ["absent-class"]) == [stops]
    assert "absent-class" in CODES


def test_check_prints_the_census_and_leaves_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = write_folder(tmp_path / "bad", masks(255))
    assert main(["check", bad]) == 2
    out, err = capsys.readouterr()
    assert "3 label maps (all)" in out
    assert err.startswith("gsto-viz check: only class 'ground' occurs")
    good = write_folder(tmp_path / "good", masks(1))
    target = tmp_path / "census.json"
    assert main(["check", good, "--json", str(target)]) == 0
    assert "nothing to remark" in capsys.readouterr().out
    facts = json.loads(target.read_text(encoding="utf-8"))
    assert facts["values"][1] == {"value": 1, "class": 1, "pixels": 1500, "maps": 3}
    assert facts["findings"] == []


WORDS = {
    "analyze": ["analyze", "--model", "A={}", "--device", "cpu"],
    "train": ["train", "scenes-hrnetv2-w18-small-v1", "--model", "hrnetv2-tiny", "--set",
              "epochs=1", "--set", "crop=[64, 64]", "--set", "batch_size=2", "--device", "cpu"],
}  # fmt: skip


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network of the classes ground and x."""
    path = tmp_path_factory.mktemp("network") / "two.safetensors"
    classes = ClassList(
        "toy", (ClassInfo(0, "ground", (0, 9, 9), True), ClassInfo(1, "x", (1, 9, 9), True))
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model("hrnetv2-tiny", num_classes=2)
        initialize(model, "kaiming")
    save_checkpoint(model, path, info=ModelInfo("two", "hrnetv2-tiny", classes))
    return path


@pytest.mark.parametrize("command", ["analyze", "train"])
def test_a_run_begins_with_the_census(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], two_classes: Path, command: str
) -> None:
    maps = [np.zeros((64, 96), np.uint8) for _ in range(2)]
    for labels in maps:
        labels[10:50, 10:50] = 255
    out = tmp_path / "out"
    words = [word.format(two_classes) for word in WORDS[command]] + ["--out", str(out)]
    bad = write_folder(tmp_path / "bad", maps)
    assert main([*words, "--data", bad]) == 2
    assert "--accept one-class" in capsys.readouterr().err
    assert not out.exists()
    for labels in maps:
        labels[10:30, 10:50] = 1
    good = write_folder(tmp_path / "good", maps)
    (tmp_path / "good" / "images" / "notes.txt").write_text("x")
    assert main([*words, "--data", good]) == 0
    said = capsys.readouterr()
    assert "1 file is not read: images/notes.txt" in said.out + said.err
    record = (out / {"analyze": "manifest.json", "train": "config.yaml"}[command]).read_text()
    assert "left-out" in record


def test_check_compares_a_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = write_folder(tmp_path, masks(1))
    assert main(["check", spec, "scenes-hrnetv2-w18-small-v1"]) == 2
    assert "the network has 11 classes" in capsys.readouterr().err


@pytest.mark.parametrize("split", ["train", "val", "eval"])
def test_camvid_passes(split: str) -> None:
    camvid = os.environ.get("GSTO_VIZ_CAMVID")
    if camvid is None:
        pytest.skip("GSTO_VIZ_CAMVID does not say where CamVid lies")
    data = load_data(f"camvid:{camvid}:{split}")
    assert not any(one.stops for one in take_census(data, objects=False).findings())
