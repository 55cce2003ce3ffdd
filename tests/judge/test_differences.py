"""The comparison of two folders finds every kind of planted difference, and names it."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from differences import LEFT_OUT, Compared, compare_folders
from PIL import Image
from safetensors.torch import save_file

ARRAYS = {"map": np.array([[0.5, np.nan], [1.0, -0.0]], np.float32), "n": np.arange(3)}
NEXT = float(np.nextafter(0.1, 1))


def write(folder: Path) -> Path:
    """A folder with one file of every kind."""
    (folder / "scenes").mkdir(parents=True)
    frame = pd.DataFrame({"x": [0.1, np.nan], "name": ["a", "b"], "n": [1, 2]})
    frame.to_parquet(folder / "t.parquet")
    frame.to_csv(folder / "t.csv", index=False)
    record = {"a": [1, {"b": 0.1}], "seconds": 3.0, "deep": {"time": "now", "versions": {"x": "1"}}}
    (folder / "t.json").write_text(json.dumps(record))
    (folder / "log.jsonl").write_text('{"loss": 1.5, "images_per_s": 3}\n')
    np.savez(folder / "t.npz", **ARRAYS)
    save_file({"w": torch.ones(2)}, folder / "t.safetensors", {"info": '{"time": 3, "k": 1}'})
    (folder / "t.txt").write_text(f"wrote {folder}\ntime   3 s\nSCI 0.3\n")
    (folder / "t.yaml").write_text("recipe:\n  lr: 0.5\n")
    (folder / "t.svg").write_text("drawn")
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(folder / "scenes" / "0.png")
    return folder


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path / "base"), write(tmp_path / "head")


def compared(pair: tuple[Path, Path], rtol: float = 0.0) -> dict[str, Compared]:
    """What differs, by file."""
    places = {str(path): "OUT" for path in pair}

    def clean(text: str) -> str:
        for path, name in places.items():
            text = text.replace(path, name)
        return text

    results = compare_folders(*pair, rtol=rtol, clean=clean)
    assert {"t.svg"} & {one.file for one in results} == set()
    return {one.file: one for one in results if one.differing}


def places(pair: tuple[Path, Path], rtol: float = 0.0) -> list[tuple[str, str]]:
    return [(one.file, d.place) for one in compared(pair, rtol).values() for d in one.shown]


def test_equal_folders_are_equal_whatever_was_left_out(pair):
    head = pair[1]
    record = json.loads((head / "t.json").read_text())
    record |= {"seconds": 9.0, "deep": {"time": "later", "versions": {"x": "2"}}}
    (head / "t.json").write_text(json.dumps(record))
    (head / "log.jsonl").write_text('{"loss": 1.5, "images_per_s": 9}\n')
    (head / "t.txt").write_text(f"wrote {head}\ntime   9 s\nSCI 0.3\n")
    (head / "t.svg").write_text("drawn anew")
    save_file({"w": torch.ones(2)}, head / "t.safetensors", {"info": '{"time": 9, "k": 1}'})
    assert compared(pair) == {}
    assert all(LEFT_OUT.values())


def test_one_bit_of_a_float_is_found_in_every_kind_of_file(pair):
    head = pair[1]
    frame = pd.DataFrame({"x": [NEXT, np.nan], "name": ["a", "b"], "n": [1, 2]})
    frame.to_parquet(head / "t.parquet")
    frame.to_csv(head / "t.csv", index=False)
    (head / "t.json").write_text((head / "t.json").read_text().replace("0.1", repr(NEXT)))
    moved = ARRAYS["map"].copy()
    moved[1, 0] = np.nextafter(np.float32(1), np.float32(2))
    np.savez(head / "t.npz", map=moved, n=ARRAYS["n"])
    expected = [
        ("t.csv", "x[0]"),
        ("t.json", "a[1].b"),
        ("t.npz", "map[1,0]"),
        ("t.parquet", "x[0]"),
    ]
    assert places(pair) == expected
    first = compared(pair)["t.parquet"].shown[0]
    assert (first.old, first.new) == ("0.1", repr(NEXT))
    assert places(pair, rtol=1e-12) == [("t.npz", "map[1,0]")]


@pytest.mark.parametrize(
    ("left", "rtol", "equal"),
    [
        (1e-16, 1e-12, True),
        (1e-16, 0.0, False),
        (1e-14, 1e-12, False),
        (-0.0, 0.0, False),
    ],
)
def test_what_is_left_of_a_difference_of_equal_numbers(pair, left, rtol, equal):
    for folder, value in zip(pair, (0.0, left), strict=True):
        (folder / "t.json").write_text(json.dumps([value]))
        (folder / "t.csv").write_text(f"x\n{value}\n")
    assert (places(pair, rtol) == []) == equal


@pytest.mark.parametrize(
    ("file", "change", "place"),
    [
        ("t.parquet", lambda f: f.assign(n=[1, 3]), "n[1]"),
        ("t.parquet", lambda f: f.assign(n=[1.0, 2.0]), "n: type"),
        ("t.parquet", lambda f: f.assign(x=[0.1, 0.0]), "x[1]"),
        ("t.parquet", lambda f: f.assign(name=["a", "c"]), "name[1]"),
        ("t.parquet", lambda f: f[["name", "x", "n"]], "order"),
        ("t.parquet", lambda f: f.drop(columns="n"), "n"),
        ("t.parquet", lambda f: f.iloc[:1], "x: shape"),
    ],
)
def test_a_planted_change_of_a_table_is_named(pair, file, change, place):
    frame = pd.read_parquet(pair[1] / file)
    change(frame).to_parquet(pair[1] / file)
    assert (file, place) in places(pair, rtol=1e-9)


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("1,", "2,", "a[0]"),
        ("1,", "1.0,", "a[0]"),
        ("0.1", "true", "a[1].b"),
        ("0.1", "null", "a[1].b"),
        ("0.1", "NaN", "a[1].b"),
        ('"b"', '"c"', "a[1].c"),
    ],
)
def test_a_planted_change_of_a_json_file_is_named(pair, old, new, place):
    path = pair[1] / "t.json"
    path.write_text(path.read_text().replace(old, new, 1))
    assert ("t.json", place) in places(pair, rtol=1e-9)


def test_texts_pixels_tensors_signs_and_missing_files_are_named(pair):
    head = pair[1]
    (head / "t.txt").write_text(f"wrote {head}\nSCI 0.4\n")
    Image.fromarray(np.full((2, 2, 3), 1, np.uint8)).save(head / "scenes" / "0.png")
    save_file({"w": torch.tensor([1.0, 2.0])}, head / "t.safetensors", {"info": '{"k": 2}'})
    np.savez(head / "t.npz", map=np.abs(ARRAYS["map"]), n=ARRAYS["n"])
    (head / "t.yaml").write_text("recipe:\n  hue: 0\n  lr: 0.5\n")
    (head / "log.jsonl").unlink()
    (head / "new.bin").write_bytes(b"1")
    found = places(pair)
    for one in (
        ("t.txt", "line 2"),
        ("t.yaml", "recipe.hue"),
        ("scenes/0.png", "pixels[0,0,0]"),
        ("t.safetensors", "w[1]"),
        ("t.safetensors", "metadata.info.k"),
        ("t.npz", "map[1,1]"),
        ("log.jsonl", "file"),
        ("new.bin", "file"),
    ):
        assert one in found
    assert compared(pair)["log.jsonl"].largest == math.inf
