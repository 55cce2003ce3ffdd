"""``gsto-viz capture`` and the file of maps."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gsto_viz import GstoVizError
from gsto_viz.calibrate import calibrate
from gsto_viz.capture import ImageMaps, canonical_name, capture_image, save_maps, tap_names
from gsto_viz.commands import capture as command
from gsto_viz.data import CAMVID_CLASSES
from gsto_viz.files import sha256_of
from gsto_viz.models import ModelInfo, build_model, load_model, save_checkpoint
from gsto_viz.torch_utils import image_to_tensor

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint that has gains, and a photograph of 67x101 pixels."""
    folder = tmp_path_factory.mktemp("capture")
    torch.manual_seed(4)
    net = build_model("gsto-hrnet-tiny", num_classes=len(CAMVID_CLASSES))
    for part in net.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
    info = ModelInfo("tiny", "gsto-hrnet-tiny", CAMVID_CLASSES, MEAN, STD, notice="for tests only")
    gains = calibrate(net, [torch.randn(3, 64, 64)])
    save_checkpoint(net, folder / "tiny.safetensors", info=replace(info, gains=gains))
    pixels = np.random.default_rng(0).integers(0, 256, (67, 101, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    return folder


def call(*words: object) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quiet", action="store_true")
    command.add_arguments(parser)
    return command.run(parser.parse_args([*map(str, words), "--device", "cpu"]))


def by_hand(files: Path, pixels: np.ndarray) -> list[torch.Tensor]:
    """The four stage-4 features through the network's own method, without hooks."""
    net = load_model(files / "tiny.safetensors")
    with torch.no_grad():
        return net.branches(image_to_tensor(pixels, MEAN, STD)[None])[0]


def pixels_of(files: Path) -> np.ndarray:
    return np.array(Image.open(files / "photo.png"))


def test_maps_and_metadata(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "maps.npz"
    assert call(files / "tiny.safetensors", files / "photo.png", "--out", out) == 0
    printed = capsys.readouterr()
    assert f"4 maps in {out}" in printed.out
    assert "17x26" in printed.out
    with np.load(out, allow_pickle=False) as file:
        assert file.files == [*(f"stage4.branch{r}" for r in range(4)), "metadata"]
        for r, features in enumerate(by_hand(files, pixels_of(files))):
            expected = features[0].double().numpy().mean(axis=0)
            np.testing.assert_allclose(file[f"stage4.branch{r}"], expected, rtol=1e-5, atol=1e-6)
        about = json.loads(str(file["metadata"]))
    assert about["checkpoint"]["sha256"] == sha256_of(files / "tiny.safetensors")
    assert about["checkpoint"]["network"] == "gsto-hrnet-tiny"
    assert about["image"] == {
        "name": "photo.png",
        "sha256": sha256_of(files / "photo.png"),
        "native_size": [67, 101],
    }
    assert about["normalisation"] == {"mean": [*MEAN], "std": [*STD], "channel_order": "RGB"}
    assert [tap["stride"] for tap in about["taps"].values()] == [4, 8, 16, 32]
    assert all(tap["badge"].startswith("raw: the size") for tap in about["taps"].values())
    assert str(files) not in json.dumps(about)


def load_maps(path: Path) -> ImageMaps:
    """Read a file as anybody would who has NumPy alone."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    about = json.loads(str(arrays.pop("metadata")))
    assert about["schema_version"] == 1
    return ImageMaps({canonical_name(name): array for name, array in arrays.items()}, about)


def test_gain_fixed_uses_the_gains_of_the_checkpoint(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "maps.npz"
    call(files / "tiny.safetensors", files / "photo.png", "--out", out, "--reduce", "gain_fixed")
    result = load_maps(out)
    net = load_model(files / "tiny.safetensors")
    for r, features in enumerate(by_hand(files, pixels_of(files))):
        gains = net.info.gains[f"stage4.branch{r}"]
        live = np.flatnonzero(gains.live)
        array = features[0].double().numpy()
        expected = sum(array[c] / gains.sigma[c] for c in live) / len(live)
        np.testing.assert_allclose(result[f"stage4.branch{r}"], expected, rtol=1e-5, atol=1e-6)
        assert result.about["taps"][f"stage4.branch{r}"]["badge"] is None


def test_every_tap_survives_the_file(files: Path, tmp_path: Path) -> None:
    net = load_model(files / "tiny.safetensors")
    result = capture_image(net, pixels_of(files), "*", reduce="none")
    save_maps(tmp_path / "all.npz", result, {})
    read = load_maps(tmp_path / "all.npz")
    assert list(read.maps) == list(tap_names(net))
    for tap, array in result.maps.items():
        np.testing.assert_array_equal(read[tap], array)
    assert read["stage3.m0.gate.2to0"] is read["stage3.m0.gate[2->0]"]


def test_size_several_patterns_and_json(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "maps.npz"
    words = ("--taps", "stage3.m0.gate.2to0", "--taps", "head.logits", "--size", "64x96")
    call(files / "tiny.safetensors", files / "photo.png", "--out", out, *words, "--json", "-")
    rows = json.loads(capsys.readouterr().out)
    assert [(row["tap"], row["shape"]) for row in rows] == [
        ("stage3.m0.gate.2to0", [4, 6]),
        ("head.logits", [11, 16, 24]),
    ]
    assert rows[0]["min"] == pytest.approx(load_maps(out)["stage3.m0.gate[2->0]"].min())
    assert load_maps(out).about["input_size"] == [64, 96]


def test_read_only_images_are_welcome(files: Path) -> None:
    net, pixels = load_model(files / "tiny.safetensors"), pixels_of(files)
    frozen = pixels.copy()
    frozen.flags.writeable = False
    first, second = capture_image(net, pixels), capture_image(net, frozen)
    np.testing.assert_array_equal(first["stage4.branch2"], second["stage4.branch2"])


def test_training_flags_are_restored(files: Path) -> None:
    net = load_model(files / "tiny.safetensors").train()
    net.stem.eval()
    flags = [m.training for m in net.modules()]
    capture_image(net, pixels_of(files))
    assert [m.training for m in net.modules()] == flags


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--taps", "stage4.brnch0"), r"called 'stage4.brnch0'; did you mean stage4\.branch0"),
        (("--size", "64"), "not a size"),
        (("--taps", "stem", "--reduce", "gain_fixed"), "no gains for tap 'stem'"),
    ],
)
def test_wrong_input_writes_nothing(
    files: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    out = tmp_path / "maps.npz"
    with pytest.raises(GstoVizError, match=message):
        call(files / "tiny.safetensors", files / "photo.png", "--out", out, *words)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept_unless_told(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "maps.npz"
    out.write_bytes(b"mine")
    words = (files / "tiny.safetensors", files / "photo.png", "--out", out)
    with pytest.raises(GstoVizError, match="--overwrite"):
        call(*words)
    assert out.read_bytes() == b"mine"
    assert call(*words, "--overwrite", "--quiet") == 0
    assert len(load_maps(out).maps) == 4


def test_maps_are_written_as_npz_alone(files: Path, tmp_path: Path) -> None:
    net = load_model(files / "tiny.safetensors")
    with pytest.raises(GstoVizError, match=r"written as \.npz"):
        save_maps(tmp_path / "maps.npy", capture_image(net, pixels_of(files)), {})


def test_figure_is_drawn_beside_the_file(files: Path, tmp_path: Path) -> None:
    words = (files / "tiny.safetensors", files / "photo.png", "--out", tmp_path / "m.npz")
    assert call(*words, "--reduce", "gain_fixed", "--figure", tmp_path / "m.png") == 0
    with Image.open(tmp_path / "m.png") as figure:
        assert min(figure.size) > 300
    with pytest.raises(GstoVizError, match=r"m\.png exists"):
        call(*words[:3], tmp_path / "n.npz", "--figure", tmp_path / "m.png")
    with pytest.raises(GstoVizError, match=r"end it in \.png"):
        call(*words[:3], tmp_path / "n.npz", "--figure", tmp_path / "m.bmp")
    with pytest.raises(GstoVizError, match="no map is"):
        call(
            *words[:3], tmp_path / "n.npz", "--taps", "head.logits", "--figure", tmp_path / "l.png"
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.npz", "m.png"]


def test_what_cannot_be_drawn_is_named(
    files: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = (files / "tiny.safetensors", files / "photo.png", "--out", tmp_path / "m.npz")
    taps = ("--taps", "stage4.branch*", "--taps", "head.logits")
    with caplog.at_level("WARNING", logger="gsto_viz"):
        assert call(*words, *taps, "--figure", tmp_path / "m.png") == 0
    assert caplog.messages == ["--figure: left out, not (h, w): head.logits; --out holds them"]


def test_outputs_that_cannot_be_are_refused_before_any_work(files: Path, tmp_path: Path) -> None:
    start = (files / "tiny.safetensors", files / "photo.png", "--out")
    for words, message in (
        ((tmp_path / "m.txt",), r"end it in \.npz"),
        ((tmp_path / "m.npz", "--json", tmp_path), "is not a file name"),
        ((tmp_path / "m.npz", "--json", ""), "is not a file name"),
        ((tmp_path / "m.npz", "--json", tmp_path / "m.npz"), "need different names"),
        (("/dev/null/m.npz",), "cannot write"),
    ):
        with pytest.raises(GstoVizError, match=message):
            call(*start, *words)
    assert list(tmp_path.iterdir()) == []
