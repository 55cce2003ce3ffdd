"""Decode heads through the command line: trained, scored, captured, analysed, compared, drawn."""

import json
from pathlib import Path

import pytest
from PIL import Image

from gsto_viz.cli import main
from gsto_viz.data import load_data
from gsto_viz.models import load_checkpoint
from gsto_viz.report import load_report

DATA = "scenes:count=5,size=96x128,seed=3"
NAMES = (
    "ppm-tiny",
    "gsto-ppm-tiny-sup",
    "aspp-tiny",
    "gsto-aspp-tiny",
    "upernet-tiny",
    "deeplabv3plus-tiny",
    "rsp-tiny",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict[str, Path]:
    """A short epoch of each family, and of RSP on HRNet, by the recipe of the half-width twins."""
    place = tmp_path_factory.mktemp("pyramids")
    found = {}
    for name in ("rsp-hrnet-tiny", *NAMES):
        out = place / name
        words = ["train", "scenes-rsp-r18-half", "--model", name, "--quiet", "--out", str(out)]
        words += [
            "--data",
            "scenes:count=4,size=64x96",
            "--val",
            "scenes:count=2,size=64x96,seed=7",
        ]
        for setting in ("epochs=1", "crop=[64,96]", "batch_size=2", "precision=fp32"):
            words += ["--set", setting]
        assert main(words) == 0
        found[name] = out / "best.safetensors"
    return found


@pytest.fixture(scope="module")
def report(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("analysed") / "run"
    models = [f"--model=M{k}={path}" for k, path in enumerate(trained.values())]
    assert len(models) == 8
    words = ["analyze", *models, "--data", DATA, "--nulls", "N5", "--atlas", "--quiet"]
    assert main([*words, "--out", str(out)]) == 0
    return out


@pytest.mark.slow
def test_all_families_are_analysed_in_one_command(report: Path) -> None:
    found = load_report(report)
    assert [found.strides[f"M{k}"] for k in range(8)] == [
        (4, 8, 16, 32),
        (8, "6x6", "3x3", "2x2", "1x1"),
        (8, "6x6", "3x3", "2x2", "1x1"),
        (8, "8r2", "8r4", "8r6", "1x1"),
        (8, "8r2", "8r4", "8r6", "1x1"),
        (4, 8, 16, 32),
        (4, 8, "8r2", "8r4", "8r6", "1x1"),
        (4, 8, 16, 32),
    ]
    summary = json.loads((report / "summary.json").read_text())["models"]
    for key in ("M1", "M2", "M3", "M4", "M6"):
        indices = summary[key]["indices"]
        assert indices["sci"]["value"] is not None
        assert indices["sci"]["nulls"]["N5"]["value"] == 0.5
        for index in ("c_coarse", "a_last", "a_first_matched"):
            one = indices[index]
            assert one["value"] is None
            assert one["reason"] == "not estimated: the coarsest map has one cell, and so one rank"
        assert (indices["sci_edge"]["value"] is None) == (key in ("M1", "M2"))
        assert summary[key]["tuning"]["slope"]["value"] is None
    for key in ("M5", "M7"):
        assert summary[key]["indices"]["c_coarse"]["value"] is not None
    gates = {key: one["gates"] for key, one in summary.items()}
    assert [key for key, one in gates.items() if one is not None] == ["M2", "M4"]
    assert len(gates["M2"]["gates"]) == 4
    assert len(gates["M4"]["gates"]) == 5


@pytest.mark.slow
def test_they_are_compared_and_drawn(report: Path, capsys) -> None:
    assert main(["compare", str(report)]) == 0
    printed = capsys.readouterr().out
    assert (
        "A coarsest                  -      -  not estimated: the coarsest map has one" in printed
    )
    assert main(["figures", str(report), "--format", "png", "--quiet"]) == 0
    page = (report / "report.html").read_text("utf-8")
    assert "6x6 cells" in page


@pytest.mark.parametrize("name", NAMES)
def test_one_image(name: str, trained, tmp_path: Path, capsys) -> None:
    image = tmp_path / "x.png"
    Image.fromarray(load_data(DATA)[0].image).save(image)
    words = [str(trained[name]), str(image), "--out", str(tmp_path / "m.npz")]
    assert main(["capture", *words, "--figure", str(tmp_path / "m.png")]) == 0
    printed = capsys.readouterr().out
    count = len(load_checkpoint(trained[name]).anatomy().branches)
    assert f"{count} maps in" in printed
    assert main(["doctor", str(trained[name])]) == 0
    printed = capsys.readouterr().out
    assert ", for training only" in printed
    assert "dead" not in printed
    assert "not as declared" not in printed
    words = [str(trained[name]), str(image), "--target", "pixel:30,40", "--out"]
    done = main(["attribute", *words, str(tmp_path / "why"), "--method", "grad_cam", "--quiet"])
    splits = "aspp" not in name and "deeplab" not in name
    assert done == (0 if splits else 2)
    told = capsys.readouterr()
    if splits:
        assert ("/6x6" if "ppm" in name else "/32") in told.out
        assert (tmp_path / "why" / "figure.png").is_file()
    else:
        assert "no head that can be split by branch" in told.err
        assert not (tmp_path / "why").exists()


def test_images_smaller_than_the_bins_end_in_one_line(trained, tmp_path: Path, capsys) -> None:
    image, out = tmp_path / "x.png", tmp_path / "m.npz"
    Image.fromarray(load_data(DATA)[0].image).save(image)
    words = ["capture", str(trained["ppm-tiny"]), str(image), "--size", "40x64"]
    assert main([*words, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "5x8 cells of stride 8, and this network needs at least 6x6 (PPM pools to" in error
    assert not out.exists()
    for name in ("ppm-tiny", "upernet-tiny"):
        words = ["train", "scenes-ppm-r18-half", "--model", name, "--data"]
        words += ["scenes:count=4,size=64x96", "--set", "model_options={bins: [1]}", "--quiet"]
        assert main([*words, "--out", str(tmp_path / "t")]) == 2
        assert "all have one cell" in capsys.readouterr().err
        assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("name", ["rsp-tiny", "rsp-hrnet-tiny"])
def test_relations_that_cannot_be_end_in_one_line(name, trained, tmp_path: Path, capsys) -> None:
    image, out = tmp_path / "x.png", tmp_path / "out"
    Image.fromarray(load_data(DATA)[0].image).save(image)
    words = ["capture", str(trained[name]), str(image), "--size", "32x64", "--out", f"{out}.npz"]
    train = ["train", "scenes-rsp-r18-half", "--model", name, "--data", "scenes:count=4,size=64x96"]
    train += ["--quiet", "--out", str(out), "--set"]
    for asked, said in (
        (words, "1x2 cells of stride 32, and this network needs at least 2x2"),
        ([*train, "model_options={window: 4}"], "window is 4; give an odd number from 1 to 15"),
        ([*train, "model_options={heads: 3}"], "heads is 3; give a number whose double divides"),
        ([*train, "model_options={channels: 12}"], "heads is 4; give a number whose double"),
    ):
        assert main(asked) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert said in error
    assert [one.name for one in tmp_path.iterdir()] == ["x.png"]
