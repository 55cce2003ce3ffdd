"""The page "Which files can I open?": every cell of its tables is tried on a tiny input."""

import re
import shlex
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from gsto_viz.cli import main
from gsto_viz.data import (
    read_image,
    read_instance_map,
    read_values,
    shipped_classes,
    write_png,
)
from gsto_viz.errors import GstoVizError
from gsto_viz.models import (
    ModelInfo,
    build_model,
    load_checkpoint,
    save_checkpoint,
    to_official_keys,
)

PAGE = (Path(__file__).parents[2] / "docs" / "files.md").read_text(encoding="utf-8")
SCENES = "scenes:count=1,seed=1,size=64x96"
SMALL = "hrnetv2-w18-small-v1"
FACTORY = """
from gsto_viz.models import build_model

def build():
    return build_model("hrnetv2-tiny", num_classes=11)
"""


def table(first: str) -> tuple[list[str], dict[str, list[str]]]:
    """Return the head and the rows, by first cell, of the table whose head begins so."""
    lines = PAGE[PAGE.index(f"| {first} |") :].split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return cells[0], {row[0]: row[1:] for row in cells[2:]}


def official(name: str) -> dict[str, torch.Tensor]:
    return to_official_keys(build_model(name, num_classes=11))


def imagenet() -> dict[str, torch.Tensor]:
    weights = official(SMALL)
    head = {"classifier.weight": torch.zeros(1000, 2048), "classifier.bias": torch.zeros(1000)}
    return {k: v for k, v in weights.items() if "last_layer" not in k} | head


def ours(path: Path) -> None:
    info = ModelInfo("ours", SMALL, shipped_classes("camvid"))
    save_checkpoint(build_model(SMALL, num_classes=11), path, info=info)


def scripted(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(torch.nn.Conv2d(3, 11, 1)), path)


MAKERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "shipped name": ("scenes-hrnetv2-w18-small-v1", lambda path: None),
    "registered name": ("hrnetv2-tiny", lambda path: None),
    "checkpoint of ours": ("ours.safetensors", ours),
    "official `.pth`": ("official.pth", lambda path: torch.save(official(SMALL), path)),
    "official `.safetensors`": (
        "official.safetensors",
        lambda path: save_file({k: v.contiguous() for k, v in official(SMALL).items()}, path),
    ),
    "official, other suffix": (
        "checkpoint.pth.tar",
        lambda path: torch.save({"state_dict": official(SMALL)}, path),
    ),
    "ImageNet `.pth`": ("imagenet.pth", lambda path: torch.save(imagenet(), path)),
    "HRNet-OCR": (
        "ocr.pth",
        lambda path: torch.save(official(SMALL) | {"ocr_gather_head.a": torch.ones(1)}, path),
    ),
    "whole pickled module": (
        "module.pth",
        lambda path: torch.save(build_model("hrnetv2-tiny"), path),
    ),
    "TorchScript": ("scripted.pt", scripted),
    "factory file": ("net.py:build", lambda path: Path("net.py").write_text(FACTORY)),
}


def words(command: str, source: str) -> list[str]:
    return {
        "evaluate": ["evaluate", source, "--data", SCENES, "--no-sizes"],
        "analyze": ["analyze", "--model", f"A={source}", "--data", SCENES, "--out", "a"],
        "capture": ["capture", source, "image.png", "--taps", "stage4.branch*", "--out", "m.npz"],
        "attribute": [
            "attribute", source, "image.png", "--target", "pixel:20,20:1", "--out", "t",
            "--method", "gradient_x_activation",
        ],
        "doctor": ["doctor", source, "--size", "64x96"],
        "train from it": [
            "train", "camvid", "--data", "scenes:count=4,size=64x96", "--val", SCENES,
            "--model", SMALL, "--out", "r", "--set", f"initialization={source}",
            "--set", "crop=[64,64]", "--set", "batch_size=2", "--set", "epochs=1",
        ],
    }[command]  # fmt: skip


def run_cell(
    kind: str, command: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str
) -> int:
    name, make = MAKERS[kind]
    monkeypatch.chdir(folder)
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    write_png(Path("image.png"), image)
    make(Path(name))
    return main([*words(command, name), *options, "--device", "cpu"])


COMMANDS = ("evaluate", "analyze", "capture", "attribute", "doctor", "train from it")


def test_the_tables_name_what_is_tried() -> None:
    head, rows = table("CHECKPOINT")
    assert tuple(head[1:]) == COMMANDS
    assert set(rows) == set(MAKERS)
    head, rows = table("file")
    assert head[1:] == ["image", "label map", "instance map"]
    assert set(rows) == set(PICTURES)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAKERS)
def test_networks_are_opened_as_the_table_says(
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, rows = table("CHECKPOINT")
    for command, cell in zip(COMMANDS, rows[kind], strict=True):
        folder = tmp_path / command
        folder.mkdir()
        status = run_cell(kind, command, folder, monkeypatch)
        said = capsys.readouterr().err
        assert status == (0 if cell == "✓" else 2), (command, said)
        assert cell == "✓" or said.count("\n") == 1, said
        if cell == "`--arch`":
            assert run_cell(kind, command, folder, monkeypatch, "--arch", SMALL) == 0


def picture(mode: str) -> Image.Image:
    values = np.arange(64 * 96, dtype=np.uint8).reshape(64, 96) % 2
    return Image.fromarray(values).convert(mode)


PICTURES: dict[str, tuple[str, Image.Image]] = {
    "PNG, grey, 8 bits": ("a.png", picture("L")),
    "PNG, grey, 16 bits": ("a.png", picture("I;16")),
    "PNG, 1 bit": ("a.png", picture("1")),
    "PNG, palette": ("a.png", picture("P")),
    "PNG, RGB": ("a.png", picture("RGB")),
    "PNG, with alpha": ("a.png", picture("RGBA")),
    "JPEG": ("a.jpg", picture("RGB")),
    "JPEG, CMYK": ("a.jpg", picture("CMYK")),
    "WebP": ("a.webp", picture("RGB")),
    "TIFF": ("a.tif", picture("L")),
    "BMP": ("a.bmp", picture("L")),
    "GIF": ("a.gif", picture("L")),
    "PPM": ("a.ppm", picture("RGB")),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_are_read_as_the_table_says(kind: str, tmp_path: Path) -> None:
    name, image = PICTURES[kind]
    image.save(tmp_path / name)
    _, rows = table("file")
    for read, cell in zip((read_image, read_values, read_instance_map), rows[kind], strict=True):
        if cell == "✓":
            assert read(tmp_path / name).shape[:2] == (64, 96)
        else:
            with pytest.raises(GstoVizError):
                read(tmp_path / name)


def test_an_official_file_becomes_a_checkpoint_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    monkeypatch.chdir(tmp_path)
    torch.save(official(SMALL), "official.pth")
    assert "camvid:PATH:train" in code
    exec(textwrap.dedent(code).replace("camvid:PATH:train", SCENES), {})
    assert main(words("evaluate", "mine.safetensors")) == 0
    info = load_checkpoint("mine.safetensors").info
    assert info is not None
    assert (info.network, len(info.gains)) == (SMALL, 4)
    (commands,) = re.findall(r"```sh\n(.*?)```", PAGE, re.S)
    first, app = (shlex.split(line)[1:] for line in commands.strip().splitlines())
    first[first.index("camvid:PATH:val")] = SCENES
    assert main(first) == 0
    monkeypatch.setattr("gsto_viz.explorer.server.serve", lambda *words, **options: None)
    app[app.index("camvid:PATH:val")] = SCENES
    assert main([*app, "--no-browser", "--port", "8599"]) == 0
