"""Images that a network does not take are named and left out; the others give the same numbers."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from torch import nn

from gsto_viz.cli import main
from gsto_viz.errors import GstoVizError, RefusedImageError
from gsto_viz.evaluate import Options, evaluate
from gsto_viz.models import save_checkpoint
from gsto_viz.report import Site, analyze
from gsto_viz.train.measures import check_confusion, scale_confusion
from gsto_viz.types import Sample

SITE = Site(("fine", "coarse"), (4, 8))


class Mixed:
    """Scenes, among them images of other sizes.

    Args:
        base: The scenes.
        others: Sizes by index; None leaves the image out.
    """

    def __init__(self, base, others):
        self.base, self.name, self.classes = base, "mixed", base.classes
        self.others = others
        self.kept = [k for k in range(len(base)) if others.get(k, 1) is not None]
        self.ids = tuple(base.ids[k] for k in self.kept)

    def __len__(self):
        return len(self.kept)

    def __getitem__(self, index) -> Sample:
        sample = self.base[self.kept[index]]
        height, width = self.others.get(self.kept[index], sample.labels.shape)
        return replace(
            sample,
            image=np.ascontiguousarray(sample.image[:height, :width]),
            labels=sample.labels[:height, :width],
            instances=None if sample.instances is None else sample.instances[:height, :width],
        )


class Picky(nn.Module):
    """Two branches and 11 classes; halves that do not fit end in an error of torch."""

    def __init__(self):
        super().__init__()
        self.fine = nn.Conv2d(3, 6, 7, stride=4, padding=3)
        self.coarse = nn.Conv2d(6, 6, 3, stride=2, padding=1)
        self.head = nn.Conv2d(6, 11, 1)

    def forward(self, x):
        fine = self.fine(x)
        coarse = self.coarse(fine)
        return self.head(fine + coarse.repeat_interleave(2, 2).repeat_interleave(2, 3))


SMALL = {0: (1, 1), 2: (20, 90), 3: (31, 96)}


def without(others, base):
    """The same data without the images of other sizes."""
    return Mixed(base, dict.fromkeys(others))


def same(one, two):
    for key in one.keys:
        for column, values in one.table(key).items():
            other = two.table(key)[column]
            assert (values == other).all() or np.allclose(values, other, equal_nan=True)
        assert one.model(key)["scores"] == two.model(key)["scores"]


def test_small_images_are_named_and_the_others_give_the_same_numbers(networks, scenes, tmp_path):
    more = {
        "nulls": ["N1", "N2", "N3"],
        "attribution": True,
        "atlas": True,
        "random_draws": 1,
        "limit": 5,
    }
    models = {"B": networks["B"]}
    report = analyze(models, Mixed(scenes, SMALL), tmp_path / "r", **more)
    assert [one["image"] for one in report.skipped] == [scenes.ids[k] for k in SMALL]
    assert (
        "the image is 1x1 (height x width) and the network needs at least 32x32"
        in (report.skipped[0]["reason"])
    )
    less = analyze(models, without(SMALL, scenes), tmp_path / "s", **more | {"limit": 2})
    same(report, less)
    for null in ("N1", "N2", "N3"):
        one, two = (x.nulls("B")["sci"][null] for x in (report, less))
        assert one.values == pytest.approx(two.values, nan_ok=True)


def test_a_size_that_a_foreign_network_does_not_take_is_left_out(scenes, tmp_path):
    odd = {1: (96, 156), 4: (1, 20)}
    options = {"sites": {"A": SITE}, "nulls": ["N1", "N2"], "limit": 6}
    model = Picky().eval()
    report = analyze({"A": model}, Mixed(scenes, odd), tmp_path / "r", **options)
    assert [one["image"] for one in report.skipped] == [scenes.ids[1], scenes.ids[4]]
    reason = f"{scenes.ids[1]}: A: the network does not take an image of 96x156 (height x width)"
    assert report.skipped[0]["reason"].startswith(reason)
    same(report, analyze({"A": model}, without(odd, scenes), **options | {"limit": 4}))
    scores = evaluate(model, Mixed(scenes, odd), Options(skip_unreadable=True))
    assert [id_ for id_, _ in scores.skipped] == [scenes.ids[1], scenes.ids[4]]
    assert (scores.confusion == evaluate(model, without(odd, scenes)).confusion).all()
    with pytest.raises(RefusedImageError, match=scenes.ids[1]):
        evaluate(model, Mixed(scenes, odd))


def test_a_network_that_rounds_down_takes_only_sides_that_its_strides_divide(scenes, tmp_path):
    model = Picky()
    model.fine = nn.Conv2d(3, 6, 4, stride=4)
    model.coarse = nn.Conv2d(6, 6, 2, stride=2)
    data = Mixed(scenes, {0: (90, 160), 2: (3, 3)})
    report = analyze({"A": model.eval()}, data, tmp_path / "r", sites={"A": SITE}, limit=4)
    assert [one["image"] for one in report.skipped] == [scenes.ids[0], scenes.ids[2]]
    assert "means a grid of 23x40; take images" in report.skipped[0]["reason"]


@pytest.mark.parametrize("model", ["ours", "foreign"])
def test_nothing_is_written_when_no_image_can_be_taken(networks, scenes, tmp_path, model):
    data = Mixed(scenes, dict.fromkeys(range(len(scenes)), (20, 35)))
    models = {"A": networks["A"] if model == "ours" else Picky()}
    sites = None if model == "ours" else {"A": SITE}
    with pytest.raises(GstoVizError, match=rf"none of 4 images can be analyzed; {scenes.ids[0]}"):
        analyze(models, data, tmp_path / "r", sites=sites, limit=4)
    assert not (tmp_path / "r").exists()
    with pytest.raises(GstoVizError, match=r"none of 12 images can be scored, first: "):
        evaluate(models["A"], data, Options(skip_unreadable=True))


def test_what_is_not_about_the_size_is_no_reason_to_skip(scenes):
    class Full(nn.Module):
        def forward(self, x):
            raise MemoryError("no memory")

    class Wrong(nn.Module):
        def forward(self, x):
            raise GstoVizError("a setting is wrong")

    for model, error in ((Full(), MemoryError), (Wrong(), GstoVizError)):
        with pytest.raises(error, match=r"no memory|a setting is wrong"):
            evaluate(model, scenes, Options(skip_unreadable=True))


@pytest.fixture
def folder(make_folder, tmp_path):
    root = make_folder(tmp_path / "data", count=8, classes=11, size=(64, 96))
    for name, size in (("002", (1, 1)), ("005", (20, 40))):
        for part in ("images", "labels"):
            path = root / part / f"{name}.png"
            Image.open(path).crop((0, 0, *size[::-1])).save(path)
    entries = json.loads((root / "classes.json").read_text())
    names = ["Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car",
             "Pedestrian", "Bicyclist"]  # fmt: skip
    for entry, name in zip(entries["classes"], names, strict=True):
        entry["name"] = name
    (root / "classes.json").write_text(json.dumps(entries))
    return root


def test_the_commands_name_small_images(networks, folder, tmp_path, capsys):
    path = tmp_path / "a.safetensors"
    save_checkpoint(networks["A"], path, info=networks["A"].info)
    data = ["--data", f"folder:{folder}", "--quiet"]
    assert main(["evaluate", str(path), *data, "--json", "-"]) == 3
    said = capsys.readouterr()
    assert [one["id"] for one in json.loads(said.out)["skipped"]] == ["002", "005"]
    assert "skipped 002: the image is " in said.err
    out = tmp_path / "run"
    assert main(["analyze", "--model", f"A={path}", *data, "--out", str(out), "--nulls"]) == 3
    skipped = json.loads((out / "manifest.json").read_text())["skipped"]
    assert [one["image"] for one in skipped] == ["002", "005"]
    assert "002" in capsys.readouterr().out
    assert main(["check", f"folder:{folder}", str(path), "--quiet"]) == 0
    assert "2 images are smaller than the stride of the coarsest branch, 32" in (
        capsys.readouterr().out
    )
    recipe = tmp_path / "small.yaml"
    recipe.write_text(
        "{model: hrnetv2-tiny, crop: [32, 32], batch_size: 4, epochs: 1, lr: 0.01, "
        "warmup_steps: 0, sci_every: 1}"
    )
    run = ["train", str(recipe), *data, "--val", f"folder:{folder}"]
    assert main([*run, "--out", str(tmp_path / "train")]) == 0
    log = [json.loads(x) for x in (tmp_path / "train" / "log.jsonl").read_text().splitlines()]
    assert next(x for x in log if x["kind"] == "val")["skipped"] == ["002", "005"]
    assert next(x for x in log if x["kind"] == "sci")["images"] == 6


def test_sci_under_training_leaves_small_images_out(networks, scenes):
    found = scale_confusion(networks["A"], Mixed(scenes, SMALL))
    assert found == scale_confusion(networks["A"], without(SMALL, scenes))
    none = Mixed(scenes, dict.fromkeys(range(len(scenes)), (8, 8)))
    with pytest.raises(GstoVizError, match="none of the first 12 validation images"):
        check_confusion(networks["A"], none)
