"""What networks and data cannot give is said before the first pass, and null models stand alone."""

import json
import re

import numpy as np
import pytest
import torch
from torch import nn

from gsto_viz.cli import main
from gsto_viz.data import write_png
from gsto_viz.errors import GstoVizError
from gsto_viz.models import save_checkpoint
from gsto_viz.network import open_network
from gsto_viz.report import Site, analyze, load_report, run
from gsto_viz.report.catalogue import write_figures
from gsto_viz.report.page import page
from gsto_viz.report.text import headline_text
from gsto_viz.types import Sample

SITE = Site(("fine", "coarse"), (4, 8))


class Foreign(nn.Module):
    """Two branches and 11 classes, with the parts that null models trip over.

    Args:
        pooled: A batch norm behind global pooling.
        scaled: A weight of its own (layer scale).
        bad: Logits are NaN.
    """

    def __init__(self, *, pooled=False, scaled=False, bad=False):
        super().__init__()
        self.fine = nn.Conv2d(3, 6, 7, stride=4, padding=3)
        self.coarse = nn.Conv2d(6, 6, 3, stride=2, padding=1)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(6)) if pooled else None
        self.scale = nn.Parameter(torch.ones(1, 11, 1, 1)) if scaled else None
        self.head = nn.Conv2d(6, 11, 1)
        self.bad = bad

    def forward(self, x):
        fine = self.fine(x)
        coarse = self.coarse(fine)
        if self.pool is not None:
            coarse = coarse + self.pool(coarse)
        logits = self.head(nn.functional.interpolate(coarse, size=fine.shape[2:]) + fine)
        logits = logits if self.scale is None else logits * self.scale
        return logits * float("nan") if self.bad else logits


def made(**what):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Foreign(**what).eval()


def options(out, **more):
    return {"out": out, "sites": {"A": SITE}, "limit": 3, "random_draws": 1} | more


def test_a_null_model_that_cannot_be_leaves_the_others(scenes, tmp_path):
    models = {"A": made(scaled=True), "B": made()}
    sites = {"A": SITE, "B": SITE}
    report = analyze(models, scenes, **options(tmp_path / "r", nulls=True, sites=sites))
    assert {"N1", "N2", "N4", "N5"} <= set(report.nulls("A")["sci"])
    assert "N3" not in report.nulls("A")["sci"]
    assert "N3" in report.nulls("B")["sci"]
    assert "holds scale" in report.missing_nulls("A")["N3"]
    assert report.missing_nulls("B") == {}
    assert f"N3 is missing: {report.missing_nulls('A')['N3']}" in headline_text(report)
    again = load_report(report.folder)
    assert again.missing_nulls("A") == report.missing_nulls("A")


def test_random_weights_also_where_batch_norm_has_one_value_per_image(scenes, tmp_path):
    more = {"nulls": ["N3"]}
    report = analyze({"A": made(pooled=True)}, scenes, **options(tmp_path / "r", **more))
    assert report.missing_nulls("A") == {}
    (value,) = report.nulls("A")["sci"]["N3"].values
    assert 0 <= value <= 1


def test_a_negative_seed_is_refused_before_anything_is_written(networks, scenes, tmp_path):
    with pytest.raises(GstoVizError, match="seed -1 is negative"):
        analyze({"A": networks["A"]}, scenes, tmp_path / "r", seed=-1)
    assert list(tmp_path.iterdir()) == []


def test_null_models_can_be_chosen(networks, scenes, tmp_path):
    out = tmp_path / "r"
    more = {"limit": 3, "random_draws": 1}
    report = analyze({"A": networks["A"]}, scenes, out, nulls=["N2", "N1"], **more)
    whole = analyze({"A": networks["A"]}, scenes, nulls=True, **more)
    assert set(report.nulls("A")["sci"]) == {"N1", "N2"}
    for null in ("N1", "N2"):
        assert report.nulls("A")["sci"][null] == whole.nulls("A")["sci"][null]
    with pytest.raises(
        GstoVizError, match=r"begun with nulls=\['N1', 'N2'\] and now nulls is True"
    ):
        analyze({"A": networks["A"]}, scenes, out, nulls=True, resume=True, **more)
    with pytest.raises(GstoVizError, match="no null model 'N9'; choose out of N1, N2"):
        analyze({"A": networks["A"]}, scenes, tmp_path / "s", nulls=["N9"], **more)
    assert not (tmp_path / "s").exists()


def test_an_error_before_the_first_images_leaves_no_folder(networks, scenes, tmp_path):
    """Nothing could be resumed; a folder that is somebody else's stays, of course."""
    more = {"calibration": Unreadable(scenes.classes), "limit": 2}
    with pytest.raises(GstoVizError, match="there are no calibration images"):
        analyze({"A": networks["A"]}, scenes, tmp_path / "r", **more)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "mine").write_text("")
    with pytest.raises(GstoVizError, match="is not empty"):
        analyze({"A": networks["A"]}, scenes, tmp_path / "r", **more)
    assert [one.name for one in (tmp_path / "r").iterdir()] == ["mine"]


def test_an_error_in_a_later_chunk_leaves_what_resume_goes_on_with(
    networks, scenes, tmp_path, monkeypatch
):
    whole = analyze({"A": networks["A"]}, scenes, tmp_path / "whole")
    out = tmp_path / "r"
    write = run.write_chunk

    def full(folder, number, *words):
        if number == 1:
            raise GstoVizError("cannot write: No space left on device")
        write(folder, number, *words)

    monkeypatch.setattr(run, "CHUNK_IMAGES", 2)
    monkeypatch.setattr(run, "write_chunk", full)
    with pytest.raises(GstoVizError, match="No space left"):
        analyze({"A": networks["A"]}, scenes, out)
    monkeypatch.setattr(run, "write_chunk", write)
    for left in (".regions-0123456789abcdef.parquet", "examples/.000-0123456789abcdef.npz"):
        (out / left).parent.mkdir(exist_ok=True)
        (out / left).write_text("of a process that was killed")
    report = analyze({"A": networks["A"]}, scenes, out, resume=True)
    assert report.summary == whole.summary
    assert sorted(p.name for p in out.rglob("*")) == sorted(p.name for p in whole.folder.rglob("*"))


def test_nan_is_refused_with_the_image_before_anything_is_written(scenes, tmp_path):
    out = tmp_path / "r"
    with pytest.raises(GstoVizError, match=f"{scenes.ids[0]}: A: .*not finite"):
        analyze({"A": made(bad=True)}, scenes, **options(out))
    assert not out.exists()


def test_nan_in_a_later_image_names_it(scenes, tmp_path, networks):
    class Later(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = made()
            self.fine, self.coarse = self.inner.fine, self.inner.coarse

        def forward(self, x):
            return self.inner(x) * (float("nan") if torch.equal(x[0], third) else 1.0)

    third = open_network(Later()).tensor(scenes[2].image)

    with pytest.raises(GstoVizError, match=f"{scenes.ids[2]}: A: .*not finite"):
        analyze({"A": Later()}, scenes, **options(tmp_path / "r"))


def test_a_wrong_stride_is_said_at_once(scenes, tmp_path):
    out = tmp_path / "r"
    wrong = Site(("fine", "coarse"), (4, 16))
    with pytest.raises(GstoVizError, match=r"coarse gives .* and stride 16 means a grid of"):
        analyze({"A": made()}, scenes, **options(out, sites={"A": wrong}))
    assert not out.exists()


class Unreadable:
    """A data set of which no label map can be read."""

    name, ids = "rgb", ("one", "two")

    def __init__(self, classes):
        self.classes = classes

    def __len__(self):
        return 2

    def __getitem__(self, index):
        raise GstoVizError(f"labels of {self.ids[index]} are RGB")


def test_the_first_real_reason_is_said(scenes, networks, tmp_path):
    out = tmp_path / "r"
    with pytest.raises(GstoVizError, match=r"none of 2 images .*; labels of one are RGB"):
        analyze({"A": networks["A"]}, Unreadable(scenes.classes), out)
    assert not out.exists()


def test_three_and_four_branches_are_compared(networks, scenes, tmp_path):
    site = Site(tuple(f"stage3.m0.branch{r}" for r in range(3)), (4, 8, 16))
    report = analyze(networks, scenes, sites={"A": site}, nulls=True, limit=3, random_draws=1)
    assert report.strides == {"A": (4, 8, 16), "B": (4, 8, 16, 32)}
    found = {one.index: one for one in report.compare().comparisons}
    sci = found["sci"]
    assert sci.difference.value == pytest.approx(sci.b - sci.a)


class Flat:
    """Images of one label everywhere."""

    name, ids = "flat", ("a", "b", "c")

    def __init__(self, classes, label):
        self.classes, self.label = classes, label

    def __len__(self):
        return 3

    def __getitem__(self, index):
        image = np.random.default_rng(index).integers(0, 255, (64, 96, 3), dtype=np.uint8)
        return Sample(self.ids[index], image, np.full((64, 96), self.label, np.uint8))


def test_without_pairs_the_other_figures_are_drawn(networks, scenes, tmp_path):
    report = analyze(networks, Flat(scenes.classes, 0), tmp_path / "r")
    written = write_figures(report, formats=["png"])
    drawn = {one.kind.name for one in written if one.reason is None}
    assert {"figure1_percentile", "sci_by_gap", "costs"} <= drawn
    assert all(one.files or one.reason for one in written)
    reason = next(one.reason for one in written if one.kind.name == "worst_pairs")
    assert reason == "no image has two regions an octave apart"
    assert "worst_pairs" not in drawn
    assert "<figure>" in page(report, written)


def test_labels_that_are_all_ignored_are_refused(networks, scenes, tmp_path):
    data = Flat(scenes.classes, 255)
    with pytest.raises(GstoVizError, match="none of 3 images has a region that counts"):
        analyze({"A": networks["A"]}, data, tmp_path / "r", resume=True)
    assert not (tmp_path / "r").exists()


def blank(value):
    return np.full((64, 96), value, np.uint8)


def patches(label, *boxes):
    """A label map that is ignored but for boxes (top, left, height, width)."""
    labels = blank(255)
    for top, left, height, width in boxes:
        labels[top : top + height, left : left + width] = label
    return labels


PAIRLESS = {
    "one region": ([blank(0), blank(1), blank(0)], r"3 images without a pair: .* and 3 of 3 "
                   r"regions have that size, at most 1 in one image"),
    "ignored": ([blank(255)] * 2, "none of 2 images has a region that counts: pixels of no class"),
    "tiny": ([patches(0, (0, 0, 7, 9), (20, 20, 3, 3)), patches(1, (5, 5, 2, 2))],
             "none of 3 regions in 2 images has 64 px, .* the largest has 63"),
    # 28 and 15 px: half a pixel too little for an octave.
    "near": ([patches(0, (0, 0, 28, 28), (0, 40, 14, 15)), patches(1, (0, 0, 9, 9))],
             r"2 images without a pair: .* and 3 of 3 regions .* at most 2 in one image"),
    "one small": ([patches(0, (0, 0, 30, 30), (0, 40, 7, 9))],
                  r"1 image without a pair: .* and 1 of 2 regions .* at most 1 in one image"),
}  # fmt: skip


def test_pairs_whose_cells_are_ignored_are_none(networks, scenes, tmp_path, capsys):
    # 28 px and 14 px are an octave apart; the cell of 32 px around the smaller is mostly ignored.
    hidden = patches(0, (2, 68, 28, 28), (40, 40, 14, 14))
    data = written(networks, scenes, tmp_path / "data", [hidden, blank(1)])
    assert main([*data, "--out", str(tmp_path / "r"), "--accept", "absent-class"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(r"2 images without a pair: .*\(1 image with pairs among ignored pixels", line)
    assert not (tmp_path / "r").exists()


def written(networks, scenes, folder, maps):
    """Write label maps with noise for images, and a checkpoint; return the words of a command."""
    classes = scenes.classes.to_json()
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for k, labels in enumerate(maps):
        image = np.random.default_rng(k).integers(0, 255, (64, 96, 3), dtype=np.uint8)
        write_png(folder / "images" / f"{k}.png", image)
        write_png(folder / "labels" / f"{k}.png", labels)
    (folder / "classes.json").write_text(json.dumps(classes))
    path = folder.parent / "a.safetensors"
    save_checkpoint(networks["A"], path, info=networks["A"].info)
    return ["analyze", "--model", f"A={path}", "--data", f"folder:{folder}", "--quiet"]


@pytest.mark.parametrize("case", PAIRLESS)
def test_labels_without_pairs_stop_the_command(networks, scenes, tmp_path, capsys, case):
    maps, message = PAIRLESS[case]
    words = written(networks, scenes, tmp_path / "data", maps)
    out = tmp_path / "r"
    accepted = ["--accept", "one-class", "--accept", "absent-class"]
    assert main([*words, "--out", str(out), *accepted]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    # Where not one region counts, nothing is left to accept.
    hopeless = case in ("ignored", "tiny")
    assert re.search(message + (".*gsto-viz check" if hopeless else ".*--accept no-pairs"), line)
    assert ("--accept" in line) != hopeless
    assert not out.exists()
    # The absent classes, where they stop too, are said first; both in one line.
    assert main([*words, "--out", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line)
    assert not out.exists()


def test_the_figures_of_a_folder_without_pairs(networks, scenes, tmp_path, capsys):
    words = written(networks, scenes, tmp_path / "data", [blank(0), blank(1), blank(0)])
    out = str(tmp_path / "r")
    assert main([*words, "--nulls", "--out", out, "--accept", "no-pairs"]) == 0
    said = capsys.readouterr().out
    assert "3 images without a pair" in said
    assert main(["figures", out, "--format", "png", "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "worst_pairs: left out, no image has two regions an octave apart" in lines
    assert f"{out}/figures/figure1_percentile.png" in lines
    assert not [line for line in lines if "left out" in line and line.endswith("left out, ")]
    assert main(["compare", out]) == 2


def test_one_pair_is_enough(networks, scenes, tmp_path):
    pair = np.where(patches(0, (8, 8, 32, 32)) == 0, 0, 1).astype(np.uint8)
    words = written(networks, scenes, tmp_path / "data", [blank(0), blank(1), pair])
    words += ["--accept", "absent-class", "--accept", "one-class"]
    assert main([*words, "--out", str(tmp_path / "r")]) == 0
    assert load_report(tmp_path / "r").index("A", "sci").n_pairs == 1
    assert main([*words, "--out", str(tmp_path / "s"), "--limit", "2"]) == 2
