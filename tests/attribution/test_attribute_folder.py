"""The folder of ``gsto-viz attribute``: what its manifest says, and inputs that are resized."""

import hashlib
import json
import math

import captum
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gsto_viz.cli import main
from gsto_viz.data import CAMVID_CLASSES

QUICK = ("--target", "pixel:30,20:car", "--method", "activation")


def attribute(files, *words):
    """The exit status of the command on the picture of 64x80 pixels."""
    given = ("attribute", files / "tiny.safetensors", files / "photo.png", "--device", "cpu")
    return main([*map(str, (*given, "--steps", 2, "--quiet", *words))])


def annotated(root, pictures):
    """An annotated folder of pictures without any annotated pixel."""
    for name in ("images", "labels"):
        (root / name).mkdir(parents=True)
    (root / "classes.json").write_text(json.dumps(CAMVID_CLASSES.to_json()))
    for stem, picture in pictures.items():
        Image.fromarray(picture).save(root / "images" / f"{stem}.png")
        nothing = np.full(picture.shape[:2], 255, dtype=np.uint8)
        Image.fromarray(nothing).save(root / "labels" / f"{stem}.png")
    return root


def noise(count, seed=5):
    rng = np.random.default_rng(seed)
    return {f"p{k}": rng.integers(0, 256, (64, 80, 3), dtype=np.uint8) for k in range(count)}


def halved(picture):
    """Every pixel the mean of two by two, halves upwards."""
    fours = picture.reshape(32, 2, 40, 2, 3).astype(int).sum(axis=(1, 3))
    return ((fours + 2) // 4).astype(np.uint8)


def printed(capsys):
    return json.loads(capsys.readouterr().out)


def test_the_manifest_names_all_that_results_depend_on(files, tmp_path, capsys):
    out, mask = tmp_path / "run", tmp_path / "where.png"
    marked = np.zeros((64, 80), dtype=np.uint8)
    marked[10:30, 20:40] = 1
    Image.fromarray(marked).save(mask)
    numbers = tmp_path / "numbers.png"
    Image.fromarray(marked).save(numbers)
    data = annotated(tmp_path / "means", noise(3))
    change = "stage4.m0.gate[2->0]=0.5"
    words = ("--labels", files / "labels.png", "--instances", numbers, "--ignore", 11, "--other")
    more = ("--method", "activation", "--method", "saliency", "--method", "activation")
    rest = ("--tap", "transition2.*", "--change", change, "--score", "mean", "--memory", 0.5)
    asked = (*words, files / "photo.png", *more, *rest, "--seed", 3, "--calibration")
    target = ("--target", f"mask:{mask}", "--out", out, "--json", "-")
    assert attribute(files, *asked, f"folder:{data}", *target) == 0
    found = json.loads((out / "manifest.json").read_text())
    for key, path in (
        ("image", files / "photo.png"), ("other", files / "photo.png"), ("mask", mask),
        ("labels", files / "labels.png"), ("instances", numbers),
    ):  # fmt: skip
        expected = {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        assert found[key].items() >= expected.items(), key
    digest = hashlib.sha256(b"p0\x00p1\x00p2").hexdigest()
    assert found["calibration"] == {"data": "folder", "images": 3, "ids_sha256": digest}
    assert found["request"] == {
        "score": "mean", "head": "main", "methods": ["activation", "saliency"],
        "taps": ["transition2.*"], "changes": [change], "ignore": 11, "steps": 2,
        "memory_gib": 0.5, "sanity": False, "erf": False, "seed": 3, "device": "cpu",
    }  # fmt: skip
    assert found["versions"]["captum"] == captum.__version__
    assert str(tmp_path) not in json.dumps(found)
    assert str(files) not in json.dumps(found)


def test_what_was_not_given_is_null_and_a_split_is_named(files, tmp_path, capsys):
    annotated(tmp_path / "means" / "val", noise(1))
    words = (*QUICK, "--json", "-", "--calibration", f"folder:{tmp_path / 'means'}:val")
    assert attribute(files, *words, "--out", tmp_path / "a") == 0
    found = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert found["calibration"]["data"] == "folder:val"
    assert {found[k] for k in ("labels", "instances", "mask", "other")} == {None}
    assert found["request"]["methods"] == ["activation"]


def test_images_of_the_calibration_take_the_size_of_the_image(files, tmp_path, capsys):
    pictures = noise(2)
    large = annotated(tmp_path / "large", pictures)
    small = annotated(tmp_path / "small", {k: halved(one) for k, one in pictures.items()})
    rows = []
    for data, size in ((large, "32x40"), (small, "32x40"), (large, "64x80")):
        out = tmp_path / f"out{len(rows)}"
        words = ("--target", "pixel:15,10:car", "--method", "activation", "--json", "-")
        given = ("--size", size, "--calibration", f"folder:{data}", "--out", out)
        assert attribute(files, *words, *given) == 0
        rows.append(printed(capsys))
    assert rows[0] == rows[1]
    assert rows[0] != rows[2]


def test_a_mask_of_the_native_size_is_resized_with_the_image(files, tmp_path, capsys):
    native = np.random.default_rng(1).integers(0, 2, (64, 80), dtype=np.uint8)
    # The pixel that holds the centre of each new one, by exact fractions of a pixel.
    height, width = 48, 33
    small = np.array(
        [
            [
                native[math.floor((y + 0.5) * 64 / height), math.floor((x + 0.5) * 80 / width)]
                for x in range(width)
            ]
            for y in range(height)
        ],
        dtype=np.uint8,
    )
    found = []
    for name, mask in (("native", native), ("small", small)):
        (tmp_path / name).mkdir()
        Image.fromarray(mask).save(tmp_path / name / "mask.png")
        words = ("--target", f"mask:{tmp_path / name / 'mask.png'}", "--method", "activation")
        out = ("--size", f"{height}x{width}", "--json", "-", "--out", tmp_path / name / "out")
        assert attribute(files, *words, *out) == 0
        found.append(printed(capsys))
    assert found[0] == found[1]
    Image.fromarray(native[:40]).save(tmp_path / "odd.png")
    words = ("--target", f"mask:{tmp_path / 'odd.png'}", "--method", "activation")
    assert attribute(files, *words, "--size", "48x33", "--out", tmp_path / "none") == 2
    assert "the mask is (40, 80)" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["file/run", "file/new/run", "file"])
def test_a_place_that_cannot_be_made_is_refused_before_any_work(tmp_path, capsys, place):
    (tmp_path / "file").write_text("mine")
    out = str(tmp_path / place)
    # The checkpoint does not exist either: the place is looked at first.
    assert main(["attribute", "none.safetensors", "none.png", *QUICK, "--out", out]) == 2
    error = capsys.readouterr().err
    assert out in error
    assert "choose another place" in error
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_looking_at_a_place_leaves_nothing_there(tmp_path, capsys):
    out = str(tmp_path / "a" / "b")
    assert main(["attribute", "none.safetensors", "none.png", *QUICK, "--out", out]) == 2
    assert "none.safetensors" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_slopes_of_receptive_fields_are_in_the_folder_and_in_the_json(files, tmp_path, capsys):
    out = tmp_path / "run"
    words = ("--target", "box:20,10,29,19:car", "--method", "activation", "--erf", "--json", "-")
    assert attribute(files, *words, "--out", out) == 0
    rows = [row for row in printed(capsys) if row["method"] == "erf_px"]
    table = pd.read_csv(out / "erf.csv")
    found = json.loads((out / "manifest.json").read_text())["erf"]
    assert found["pixel"] in [[x, y] for x in (24, 25) for y in (14, 15)]
    assert found["slope_n"] == 4
    assert list(found["slopes"]) == [row["condition"] for row in rows]
    assert len(rows) == 4
    for row, (condition, own) in zip(rows, table.groupby("condition", sort=False), strict=True):
        line = np.polyfit(np.log2(own["stride"]), np.log2(own["erf_px"]), 1)[0]
        assert row["condition"] == condition
        assert own["slope"].tolist() == pytest.approx([line] * 4)
        assert set(own["slope_n"]) == {4}
        assert row["slope"] == found["slopes"][condition] == pytest.approx(line)
        assert [row[f"branch_{r}"] for r in range(4)] == pytest.approx(own["erf_px"].tolist())
