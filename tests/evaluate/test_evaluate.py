"""Evaluation against literal loops, on networks whose answer is known."""

import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gsto_viz.cli import main
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate import (
    LogitsNotFiniteError,
    Options,
    evaluate,
    full_logits,
    model_logits,
    predict,
)
from gsto_viz.models import ModelInfo, build_model, shipped_checkpoints
from gsto_viz.models.base import SegmentationOutput
from gsto_viz.models.outputs import Wanted
from gsto_viz.torch_utils import IMAGENET_MEAN, IMAGENET_STD
from gsto_viz.types import ClassInfo, ClassList, Sample


def class_list(count: int) -> ClassList:
    entries = (ClassInfo(k, f"c{k}", (k, k, k), thing=False) for k in range(count))
    return ClassList("toy", tuple(entries))


class Mixed:
    """Images of different sizes; the red value of a pixel is 80 times its label."""

    name = "mixed"

    def __init__(self, classes: int = 3, *, unlabelled: int | None = None) -> None:
        self.classes = class_list(classes)
        self.sizes = ((40, 33), (35, 64), (32, 32))
        self.ids = tuple(f"m{k}" for k in range(len(self.sizes)))
        self.unlabelled = unlabelled

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        labels = rng.integers(0, 3, self.sizes[index]).astype(np.uint8)
        image = np.zeros((*labels.shape, 3), np.uint8)
        image[..., 0] = labels * 80
        labels[rng.random(labels.shape) < 0.2] = 255
        return Sample(self.ids[index], image, None if index == self.unlabelled else labels)


class Reader(nn.Module):
    """Reads the class from the red channel: right for 0 and 1, and takes 2 for 1."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.classes = classes
        self.seen_training: list[bool] = []

    def forward(self, image: Tensor) -> Tensor:
        self.seen_training.append(self.training)
        red = (image[:, 0] * IMAGENET_STD[0] + IMAGENET_MEAN[0]) * 255
        guess = (red / 80).round().long().clamp(max=1)
        return nn.functional.one_hot(guess, self.classes).permute(0, 3, 1, 2) * self.scale


@pytest.mark.parametrize("training", [True, False])
def test_scores_and_confusion_pixel_by_pixel(training: bool) -> None:
    model, data = Reader().train(training), Mixed()
    result = evaluate(model, data)
    expected = np.zeros((3, 3), int)
    for k in range(3):
        labels = data[k].labels
        assert labels is not None
        for value in labels.ravel().tolist():
            if value != 255:
                expected[value, min(value, 1)] += 1
    assert np.array_equal(result.confusion, expected)
    assert result.images == 3
    n1, n2 = expected[1, 1], expected[2, 1]
    assert result.scores.iou == pytest.approx((100.0, 100 * n1 / (n1 + n2), 0.0))
    assert result.scores.accuracy == (100.0, 100.0, 0.0)
    value = result.to_json()
    assert value["miou"] == pytest.approx(np.mean(result.scores.iou))
    assert [c["pixels"] for c in value["classes"]] == expected.sum(axis=1).tolist()
    assert model.seen_training == [False] * 3
    assert model.training is training


def test_a_class_that_occurs_nowhere_has_no_score() -> None:
    result = evaluate(Reader(5), Mixed(5))
    assert result.scores.iou[3:] == (None, None)
    assert result.to_json()["miou"] == pytest.approx(np.mean(result.scores.iou[:3]))


def test_chosen_images_add_up_to_the_whole() -> None:
    model, data = Reader(), Mixed()
    parts = [evaluate(model, data, indices=[k]).confusion for k in range(3)]
    assert np.array_equal(sum(parts), evaluate(model, data).confusion)


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (Reader(4), Mixed(3), "network has 4 classes and mixed has 3"),
        (Reader(3), Mixed(3, unlabelled=1), "m1 has no labels"),
    ],
)
def test_what_cannot_be_scored_leaves_the_network_as_it_was(
    model: Reader, data: Mixed, message: str
) -> None:
    model.train()
    with pytest.raises(GstoVizError, match=message):
        evaluate(model, data)
    assert model.training
    with pytest.raises(GstoVizError, match="no labelled pixel"):
        evaluate(model, data, indices=[])


def test_our_network_follows_its_own_conventions() -> None:
    """Prediction = greatest of the resized logits of the normalised image, written out."""
    model = build_model("gsto-hrnet-tiny", num_classes=4, align_corners=True).eval()
    image = np.random.default_rng(3).integers(0, 256, (37, 51, 3)).astype(np.uint8)
    normal = (image / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    batch = torch.from_numpy(normal.transpose(2, 0, 1)).float()[None]
    before = torch.get_rng_state()
    with torch.no_grad():
        small = model(batch).logits
    full = nn.functional.interpolate(small, (37, 51), mode="bilinear", align_corners=True)[0]
    got = full_logits(model, image)
    assert torch.allclose(got, full, atol=1e-6)
    assert np.array_equal(predict(model, image), got.argmax(0).numpy())
    assert predict(model, image).dtype == np.uint8
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_of_several_outputs_the_right_one_is_taken_or_asked_for(caplog) -> None:
    main, aux, few = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8), torch.ones(1, 2, 8, 8)
    for output in ({"aux": aux, "out": main}, SegmentationOutput(main, {"stage3": aux})):
        assert model_logits(output, Wanted(3)) is main
        assert model_logits(output) is main
    for output in ([few, main], (few, main), {"x": few, "y": main}, [few, {"a": main}]):
        caplog.clear()
        assert model_logits(output, Wanted(3)) is main
        assert len(caplog.records) <= 1
    assert model_logits({"a": aux, "b": main}, Wanted(3, "b")) is main
    assert model_logits([aux, [aux, main]], Wanted(3, "1#1")) is main
    for output in ([aux, main], (aux, main), {"aux": aux, "final": main}, [[aux, main]]):
        with pytest.raises(GstoVizError, match=r"2 outputs with 3 classes .* --output "):
            model_logits(output, Wanted(3))
        with pytest.raises(GstoVizError, match=r"2 outputs .* say which one"):
            model_logits(output)
    with pytest.raises(GstoVizError, match="no head '2'; it has main, 0, 1"):
        model_logits([aux, main], Wanted(3, "2"))


class Deep(nn.Module):
    """An auxiliary output that is always wrong, before a main one that is always right."""

    def forward(self, x):
        right = (x[:, :1] > 0).float()
        main = torch.cat([1 - right, right], dim=1)
        return [1 - main, main]


class Halves:
    """Black and white halves, labelled as such."""

    name, ids = "halves", ("h0",)
    classes = ClassList("two", tuple(ClassInfo(k, f"c{k}", (k, k, k), True) for k in range(2)))

    def __len__(self):
        return 1

    def __getitem__(self, index):
        labels = np.repeat(np.uint8([[0, 1]]), 32, axis=1).repeat(48, axis=0)
        return Sample("h0", np.repeat(labels[..., None] * 255, 3, axis=2), labels)


def test_a_list_with_the_main_output_last_is_never_guessed() -> None:
    with pytest.raises(GstoVizError, match="h0: the network returns 2 outputs with 2 classes"):
        evaluate(Deep(), Halves())
    assert evaluate(Deep(), Halves(), Options(output="1")).scores.miou == 100
    assert evaluate(Deep(), Halves(), Options(output="0")).scores.miou == 0


def test_predictions_of_nan_are_refused() -> None:
    class Broken(nn.Module):
        def forward(self, x):
            return x[:, :2] * float("nan")

    with pytest.raises(LogitsNotFiniteError, match="not finite"):
        predict(Broken(), np.zeros((32, 40, 3), np.uint8))


def test_other_networks_are_read_too() -> None:
    logits = torch.zeros(1, 2, 8, 8)
    assert model_logits(logits) is logits
    assert model_logits(SimpleNamespace(logits=logits)) is logits
    assert model_logits([logits, "auxiliary"]) is logits
    for output in ({"out": "logits"}, [], None):
        with pytest.raises(GstoVizError, match=f"returns a {type(output).__name__};"):
            model_logits(output)
    image = np.zeros((32, 40, 3), np.uint8)
    conv = nn.Conv2d(3, 2, 1).to(torch.bfloat16)
    assert predict(conv, image).shape == (32, 40)
    assert predict(nn.AvgPool2d(4), image).shape == (32, 40)


def test_logits_with_the_classes_last_are_read_as_such() -> None:
    class Plain(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    class Last(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.permute(0, 2, 3, 1)

    one, other = (evaluate(net, Mixed(), indices=[0]).confusion for net in (Plain(), Last()))
    assert np.array_equal(one, other)


def test_an_image_that_is_too_small_is_refused() -> None:
    with pytest.raises(GstoVizError, match="20x40"):
        predict(build_model("hrnetv2-tiny").eval(), np.zeros((20, 40, 3), np.uint8))


@pytest.mark.slow
def test_other_class_names_or_logits_that_are_no_numbers_are_refused() -> None:
    data = Mixed()
    model = build_model("hrnetv2-tiny", num_classes=3)
    other = ClassList("b", tuple(ClassInfo(k, n, (k,) * 3, False) for k, n in enumerate("xyz")))
    model.info = ModelInfo("net", "hrnetv2-tiny", other)
    with pytest.raises(GstoVizError, match="class 0 is 'x' for net and 'c0' in mixed"):
        evaluate(model, data)
    model.info = ModelInfo("net", "hrnetv2-tiny", class_list(4))
    with pytest.raises(GstoVizError, match="has 4 classes and mixed has 3"):
        evaluate(model, data)
    model.info = ModelInfo("net", "hrnetv2-tiny", class_list(3))
    assert evaluate(model, data).images == 3
    with torch.no_grad():
        model.head.classifier.bias[1] = torch.nan
    with pytest.raises(GstoVizError, match="m0: the network's logits are not finite"):
        evaluate(model, data)
    data.sizes = ((40, 33), (20, 20), (32, 32))
    with pytest.raises(GstoVizError, match="m1: the image is 20x20"):
        evaluate(model, data, indices=[1])


def test_only_8_bit_colour_images_are_predicted() -> None:
    model = build_model("hrnetv2-tiny")
    for image in (np.zeros((40, 40, 3)), np.zeros((40, 40), np.uint8), np.zeros((40, 40, 4), "u1")):
        with pytest.raises(GstoVizError, match=r"give uint8 of shape \(H, W, 3\)"):
            predict(model.eval(), image)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(shipped_checkpoints()))
def test_shipped_weights_reach_what_their_cards_say(name: str, tmp_path: Path) -> None:
    """Each row ``| data | scores ... | command |`` is measured again, whatever the scores are."""
    card = shipped_checkpoints()[name].with_suffix(".md").read_text(encoding="utf-8")
    (titles,) = re.findall(r"^\| data \| (.*) \| command \|$", card, re.MULTILINE)
    command = r"`gsto-viz evaluate (\S+) --data (\S+)` \|$"
    rows = re.findall(rf"^\| [^|]* \| (.*) \| {command}", card, re.MULTILINE)
    assert rows
    folder = os.environ.get("GSTO_VIZ_CAMVID")
    for printed, called, spec in rows:
        assert called == name
        if "PATH" in spec and not folder:
            pytest.skip("GSTO_VIZ_CAMVID does not say where CamVid lies")
        result = tmp_path / "scores.json"
        data = spec.replace("PATH", str(folder))
        assert main(["evaluate", name, "--data", data, "--json", str(result), "--quiet"]) == 0
        scores = json.loads(result.read_text())
        measured = [scores[_key(title)] for title in titles.split(" | ")]
        assert measured == pytest.approx([float(p) for p in printed.split(" | ")], abs=0.1)


def _key(title: str) -> str:
    """The key of a score in the command's JSON."""
    special = {"AP M": "ap_medium", "AP L": "ap_large"}
    return special.get(title, title.lower().replace(" ", "_"))
