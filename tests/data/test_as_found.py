"""Folders as people bring them: read right, or said in one line that names the cause."""

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gsto_viz.census import take_census
from gsto_viz.cli import main
from gsto_viz.data import load_data
from gsto_viz.errors import GstoVizError

SIZE = (36, 48)


def drawn(k: int, classes: int = 2) -> np.ndarray:
    return np.random.default_rng(k).integers(0, classes, SIZE).astype(np.uint8)


def write(root: Path, maps: list[np.ndarray], classes: int = 2, **more: Any) -> str:
    """Write a folder of maps and noise; return its SPEC."""
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True)
    entries = [
        {"id": k, "name": f"c{k}", "color": [k, 9, 9], "kind": "thing"} for k in range(classes)
    ]
    value = {"name": "toy", "ignore": 255, "classes": entries, **more}
    (root / "classes.json").write_text(json.dumps(value))
    for k, labels in enumerate(maps):
        noise = np.random.default_rng(k).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
        Image.fromarray(noise).save(root / "images" / f"{k}.png")
        Image.fromarray(labels).save(root / "labels" / f"{k}.png")
    return f"folder:{root}"


def codes(spec: str) -> dict[str, str]:
    return {one.code: str(one) for one in take_census(load_data(spec)).findings()}


@pytest.mark.parametrize("flags", [(1, 3), (3, 2), (8, 6), (3, 1)])
@pytest.mark.parametrize("form", ["png", "tif"])
def test_maps_and_images_that_exif_turns_in_different_ways(
    tmp_path: Path, flags: tuple[int, int], form: str
) -> None:
    spec = write(tmp_path, [drawn(0), drawn(1)])
    for part, flag in zip(("images", "labels"), flags, strict=True):
        path = tmp_path / part / "1.png"
        image = Image.open(path)
        image.load()
        exif = Image.Exif()
        exif[0x0112] = flag
        path.unlink()
        image.save(path.with_suffix(f".{form}"), exif=exif)
    said = codes(spec)["turned"]
    assert said.startswith("EXIF turns 1 image and what is annotated in different ways: 1 ")


@pytest.mark.parametrize("flag", [2, 3, 6])
def test_maps_that_are_turned_as_their_images_are(tmp_path: Path, flag: int) -> None:
    maps = [drawn(0), drawn(1)]
    spec = write(tmp_path, maps)
    exif = Image.Exif()
    exif[0x0112] = flag
    for path in (tmp_path / "images" / "1.png", tmp_path / "labels" / "1.png"):
        Image.open(path).save(path, exif=exif)
    assert "turned" not in codes(spec)
    upright = {2: maps[1][:, ::-1], 3: maps[1][::-1, ::-1], 6: np.rot90(maps[1], -1)}[flag]
    assert (load_data(spec)[1].labels == upright).all()


@pytest.mark.parametrize("part", ["images", "labels"])
def test_a_size_that_exif_changes_names_what_is_turned(tmp_path: Path, part: str) -> None:
    spec = write(tmp_path, [drawn(0)])
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / part / "0.png"
    Image.open(path).save(path, exif=exif)
    name = {"images": "image", "labels": "map"}[part]
    with pytest.raises(GstoVizError, match=f"EXIF turns the {name} by 90 degrees"):
        load_data(spec)[0]


def test_names_with_accents_written_in_two_ways_are_pairs(tmp_path: Path) -> None:
    maps = [drawn(0)]
    spec = write(tmp_path, maps)
    for part, form in (("images", "NFC"), ("labels", "NFD")):
        name = unicodedata.normalize(form, "caf\u00e9 \u65e5\u672c") + ".png"
        (tmp_path / part / "0.png").rename(tmp_path / part / name)
    data = load_data(spec)
    assert data.ids == ("caf\u00e9 \u65e5\u672c",)
    assert (data[0].labels == maps[0]).all()


def test_links_that_lead_back_and_what_systems_leave_behind(tmp_path: Path) -> None:
    spec = write(tmp_path / "data", [drawn(0), drawn(1)])
    images = tmp_path / "data" / "images"
    (images / "again").symlink_to(images)
    (images / "up").symlink_to(tmp_path / "data")
    (images / "top").symlink_to(tmp_path)
    (images / "__MACOSX").mkdir()
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._0.png", "__MACOSX/0.png"):
        (images / name).write_bytes(b"x")
    assert load_data(spec).ids == ("0", "1")
    assert codes(spec) == {}


@pytest.mark.parametrize("suffix", ["jpg", "npy", "webp"])
def test_label_maps_of_a_format_that_is_not_read_are_named(tmp_path: Path, suffix: str) -> None:
    spec = write(tmp_path, [drawn(0), drawn(1)])
    for path in (tmp_path / "labels").iterdir():
        path.rename(path.with_suffix(f".{suffix}"))
    words = rf"2 of 2 images have no label map of a format .* first \S+/labels/0\.{suffix}; save"
    with pytest.raises(GstoVizError, match=words):
        load_data(spec)


@pytest.mark.parametrize("kind", ["8 bits", "12 bits", "transparent", "honest 16", "honest alpha"])
def test_images_that_come_out_black_or_white_are_named(tmp_path: Path, kind: str) -> None:
    spec = write(tmp_path, [drawn(0), drawn(1)])
    path = tmp_path / "images" / "1.png"
    grey = np.array(Image.open(path).convert("L")).astype(np.uint16)
    if kind in ("transparent", "honest alpha"):
        image = Image.open(path).convert("RGBA")
        image.putalpha(0 if kind == "transparent" else 40)
    else:
        image = Image.fromarray(grey * {"8 bits": 1, "12 bits": 16, "honest 16": 257}[kind])
    image.save(path)
    said = codes(spec).get("empty", "")
    expected = "" if "honest" in kind else "1 image comes out all black or all white: 1 "
    assert said.startswith(expected)
    assert bool(said) == bool(expected)


def test_masks_of_which_some_say_255_for_a_class(tmp_path: Path) -> None:
    maps = [drawn(k) * (255 if k % 2 else 1) for k in range(4)]
    said = codes(write(tmp_path / "mixed", maps))["mixed-masks"]
    assert said.startswith("2 label maps have ignored pixels and never class 'c1'")
    line = re.search(r'"map": \{.*\}', said)
    assert line is not None
    spec = write(tmp_path / "mapped", maps, **json.loads(f"{{{line[0]}}}"))
    assert "mixed-masks" not in codes(spec)
    for sample, labels in zip(load_data(spec), maps, strict=True):
        assert (sample.labels == (labels > 0)).all()
    # Honest maps, some of them with ignored pixels beside both classes.
    honest = [drawn(k) for k in range(4)]
    honest[2][:4] = 255
    assert "mixed-masks" not in codes(write(tmp_path / "honest", honest))


def test_the_line_for_another_number_keeps_what_is_said_already(tmp_path: Path) -> None:
    spec = write(tmp_path / "a", [np.where(drawn(0), 255, 7).astype(np.uint8)], map={"255": 1})
    with pytest.raises(GstoVizError, match="outside the numbers of classes") as error:
        load_data(spec)[0]
    line = re.search(r'"map": \{.*?\}', str(error.value))
    assert line is not None
    keys = json.loads(f"{{{line[0]}}}")
    assert keys == {"map": {"0": 0, "255": 1, "7": 0}}
    data = load_data(write(tmp_path / "b", [np.where(drawn(0), 255, 7).astype(np.uint8)], **keys))
    assert (data[0].labels == drawn(0)).all()


def test_smoothed_edges_are_told_from_other_numbers(tmp_path: Path) -> None:
    blocks = np.kron(np.arange(12).reshape(3, 4) % 2, np.ones((12, 12))).astype(np.uint8) * 255
    smooth = Image.fromarray(blocks).resize((24, 18), Image.Resampling.BILINEAR)
    smoothed = np.array(smooth.resize(SIZE[::-1], Image.Resampling.BILINEAR))
    spec = write(tmp_path / "a", [smoothed], map={"255": 1})
    with pytest.raises(GstoVizError, match="smoothed, resize label maps by nearest neighbour"):
        load_data(spec)[0]


def test_a_label_map_with_negative_numbers_says_which(tmp_path: Path) -> None:
    spec = write(tmp_path, [drawn(0)])
    (tmp_path / "labels" / "0.png").unlink()
    Image.fromarray(drawn(0).astype(np.int32) - 1).save(tmp_path / "labels" / "0.tif")
    with pytest.raises(GstoVizError, match="of the kind 'I', from -1 to 0, but a label map"):
        load_data(spec)[0]


def test_the_census_of_many_faults_is_one_table(tmp_path: Path, capsys: Any) -> None:
    spec = write(tmp_path, [drawn(k) for k in range(4)])
    (tmp_path / "labels" / "1.png").write_bytes(b"")
    (tmp_path / "images" / "2.png").write_bytes(b"")
    assert main(["check", spec, "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "2 of 4 samples cannot be used, first: " in out
    assert "is empty (0 bytes)" in out


def test_train_ids_without_255_in_files_of_label_ids(tmp_path: Path) -> None:
    def codes_of(numbers: list[int], name: str = "labelIds") -> dict[str, str]:
        root = tmp_path / f"{name}{numbers[0]}"
        for kind, file, array in (
            ("leftImg8bit", "leftImg8bit", np.zeros((*SIZE, 3), np.uint8)),
            ("gtFine", f"gtFine_{name}", np.resize(np.array(numbers, np.uint8), SIZE)),
        ):
            folder = root / kind / "val" / "ulm"
            folder.mkdir(parents=True)
            Image.fromarray(array).save(folder / f"ulm_000000_000019_{file}.png")
        return codes(f"cityscapes:{root}:val")

    assert "if these are train ids" in codes_of([0, 1, 2, 8, 10, 13])["numbering"]
    assert "numbering" not in codes_of([1, 0, 2, 8, 10, 13], "labelTrainIds")
    # Honest label ids: road, building, vegetation, sky, car, and what is not scored.
    assert "numbering" not in codes_of([7, 11, 21, 23, 26, 1, 4])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("heic", r"no images in \S+images that are read, but 2 other files, first 0\.heic"),
        ("sub", r"2 of 2 images have no label map, .*labels/s/0\.png lies in another sub-folder"),
        ("lfs", r"is a Git LFS pointer \(git lfs pull gets the image\), not a PNG"),
        ("key", "the keys are name, ignore, classes, flip_pairs, ids, map, label_suffix"),
    ],
)
def test_what_is_wrong_is_said_with_its_cause(tmp_path: Path, change: str, said: str) -> None:
    spec = write(tmp_path, [drawn(0), drawn(1)], **({"count": 2} if change == "key" else {}))
    if change == "heic":
        for path in (tmp_path / "images").iterdir():
            path.rename(path.with_suffix(".heic"))
    if change == "sub":
        (tmp_path / "labels" / "s").mkdir()
        for path in (tmp_path / "labels").glob("*.png"):
            path.rename(path.parent / "s" / path.name)
    if change == "lfs":
        (tmp_path / "images" / "0.png").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(GstoVizError, match=said):
        load_data(spec)[0]
