"""Outputs of networks of all kinds: read as what they are, or refused in one sentence."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from gsto_viz.cli import main
from gsto_viz.data import load_data, write_png
from gsto_viz.doctor import examine
from gsto_viz.evaluate import Options, evaluate
from gsto_viz.evaluate.protocols import Protocol, full_logits
from gsto_viz.models.outputs import ANY, Wanted, class_logits, misfit
from gsto_viz.network import open_network
from gsto_viz.types import Dataset

K = 11
SPEC = "scenes:count=4,seed=3,size=64x96"

FACTORY = """
import torch
from torch import nn
from torch.nn import functional as F

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fine = nn.Conv2d(3, 8, 3, 4, 1)
        self.coarse = nn.Conv2d(8, 8, 3, 2, 1)
        self.head = nn.Conv2d(8, 11, 1)

    def forward(self, x):
        fine = self.fine(x)
        coarse = F.interpolate(self.coarse(fine), scale_factor=2)
        logits = 30 * self.head(fine + coarse)
        return {returns}

def build():
    torch.manual_seed(0)
    return {wrap}(Net())
"""


def scored(returns: str, *options: str, wrap: str = "") -> tuple[int, float | None]:
    """Evaluate a network of a factory file; return the exit status and the pixel accuracy."""
    text = FACTORY.replace("{returns}", returns).replace("{wrap}", wrap)
    Path("net.py").write_text(text, encoding="utf-8")
    words = ["net.py:build", "--data", SPEC, "--no-sizes", "--json", "e.json", "--device", "cpu"]
    status = main(["evaluate", *words, *options])
    if status:
        return status, None
    return status, json.loads(Path("e.json").read_text(encoding="utf-8"))["pixel_accuracy"]


@pytest.fixture
def right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> float:
    """Pixel accuracy of the plain network, counted by hand."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(
        FACTORY.replace("{returns}", "logits").replace("{wrap}", ""), encoding="utf-8"
    )
    scope: dict[str, Any] = {}
    exec(Path("net.py").read_text(encoding="utf-8"), scope)
    model, good, seen = scope["build"]().eval(), 0, 0
    for sample in load_data(SPEC):
        values = (sample.image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        with torch.no_grad():
            logits = model(torch.from_numpy(values.transpose(2, 0, 1)[None]).float())
        large = nn.functional.interpolate(logits, (64, 96), mode="bilinear")
        known = sample.labels != 255
        good += int((large[0].argmax(0).numpy() == sample.labels)[known].sum())
        seen += int(known.sum())
    return 100 * good / seen


@pytest.mark.parametrize(
    "returns",
    [
        "logits.permute(0, 2, 3, 1)",
        "F.interpolate(logits, x.shape[-2:], mode='bilinear').permute(0, 2, 3, 1)",
        "logits.softmax(1)",
        "logits.softmax(1).permute(0, 2, 3, 1)",
        "logits.log_softmax(1)",
        "{'out': logits, 'aux': -logits}",
        "{'seg': logits}",
        "(logits, fine)",
        "F.interpolate(logits, x.shape[-2:], mode='bilinear')",
    ],
)
def test_one_network_in_many_forms_scores_the_same(returns: str, right: float) -> None:
    status, accuracy = scored(returns)
    assert status == 0
    assert accuracy == pytest.approx(right, abs=0.02)


TRACED = "(lambda n: torch.jit.trace(n.eval(), torch.zeros(1, 3, 64, 96)))"


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("wrap", ["nn.DataParallel", TRACED, "(lambda n: n.double())"])
def test_wrapped_and_double_networks_score_the_same(wrap: str, right: float) -> None:
    assert scored("logits", wrap=wrap) == (0, pytest.approx(right, abs=0.02))


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        ("logits.argmax(1)", "the network returns 1x16x24 of int64, and logits are 1xKxhxw"),
        ("logits.argmax(1, keepdim=True)", "returns 1x1x16x24 of int64, and logits"),
        ("logits > 0", "of bool, and logits are"),
        ("logits[0]", "returns 11x16x24 of float32, and logits are 1xKxhxw"),
        ("torch.cat([logits, logits])", "returns 2x11x16x24 of float32, and logits are 1xKxhxw"),
        ("[logits, -logits]", "say which one is meant: --output 0"),
        ("logits[:, :1]", "the network has 1 class and .* both logits"),
        ("F.pad(logits, (0, 0, 0, 0, 0, 1))", "has 12 classes and .* leave its background out"),
        ("logits / 0", "not finite for this image"),
        ("None", "the network returns a NoneType"),
        ("logits.nonsense()", r"scene.*: the network's own code fails \(AttributeError: "),
        (
            "self.head(logits[:, :9])",
            r"of 4 images can be scored, first: .* does not take an image ",
        ),
    ],
)
def test_what_are_no_logits_is_refused_in_one_line(
    returns: str, message: str, right: float, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scored(returns)[0] == 2
    (line,) = [one for one in capsys.readouterr().err.splitlines() if "running the" not in one]
    assert line.startswith("gsto-viz evaluate: ")
    assert re.search(message, line), line


def logits_of(shape: tuple[int, ...], size: tuple[int, int], *, last: bool = False) -> Tensor:
    torch.manual_seed(0)
    return class_logits(torch.randn(shape), Wanted(shape[1]), torch.zeros(1, 3, *size), last=last)


def test_a_grid_as_wide_as_there_are_classes_is_told_by_the_image() -> None:
    # 11 classes, 11 cells a row: 64x44 at stride 4 is 16x11.
    assert logits_of((1, 11, 16, 11), (64, 44)).shape == (1, 11, 16, 11)
    assert logits_of((1, 11, 16, 11), (44, 64)).shape == (1, 11, 11, 16)
    assert logits_of((1, 11, 11, 11), (44, 44)).shape == (1, 11, 11, 11)
    with pytest.raises(ValueError, match=r"classes may be second or last; return logits\.permute"):
        logits_of((1, 11, 11, 11), (44, 44), last=True)


@pytest.mark.parametrize("make", [torch.zeros, torch.ones])
def test_logits_that_only_look_like_probabilities_stay(make: Callable[..., Tensor]) -> None:
    plain = make(1, 3, 4, 4)
    assert torch.equal(class_logits(plain, ANY, torch.zeros(1, 3, 16, 16), last=False), plain)


def test_misfits_say_what_to_do() -> None:
    assert misfit(3, 11, "d").endswith("take data of the classes that it was trained on")
    assert "the network has 1 class and d has 2; " in misfit(1, 2, "d")


class Halving(nn.Module):
    """Changes its input, as some networks do that normalise it themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, K, 1)

    def forward(self, image: Tensor) -> Tensor:
        own: Tensor = self.head(image.mul_(0.5))
        return own


class Kept(Halving):
    def forward(self, image: Tensor) -> Tensor:
        own: Tensor = self.head(image * 0.5)
        return own


@pytest.mark.parametrize("protocol", [Protocol(flip=True), Protocol(scales=(1.0, 0.5, 1.0))])
def test_a_network_that_changes_its_input_sees_every_scale_as_it_is(protocol: Protocol) -> None:
    data, (changing, kept) = load_data(SPEC), (Halving(), Kept())
    kept.load_state_dict(changing.state_dict())
    one, other = (evaluate(net, data, Options(protocol)).confusion for net in (changing, kept))
    assert np.array_equal(one, other)


class Unrepeatable(Kept):
    def forward(self, image: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(image), 0.5, True)


@pytest.mark.parametrize(("network", "said"), [(Kept, False), (Unrepeatable, True)])
def test_the_doctor_says_what_cannot_be_repeated(network: type[nn.Module], said: bool) -> None:
    seen = examine(network(), torch.randn(1, 3, 32, 48))
    assert any("cannot be repeated" in one for one in seen.problems) == said


def u_net(data: Dataset, place: Path, odd: int) -> None:
    """Write a folder with one image whose sides are no multiples of 8."""
    for index, sample in enumerate(data):
        height, width = (60, 90) if index == odd else (64, 96)
        write_png(place / f"images/{index}.png", sample.image[:height, :width])
        write_png(place / f"labels/{index}.png", sample.labels[:height, :width])
    text = json.dumps(data.classes.to_json())
    (place / "classes.json").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("odd", [0, 2])
@pytest.mark.parametrize("command", ["evaluate", "analyze"])
def test_an_image_that_a_network_refuses_is_named_and_the_rest_counts(
    command: str, odd: int, right: float, capsys: pytest.CaptureFixture[str]
) -> None:
    u_net(load_data(SPEC), Path("data"), odd)
    Path("taps.yaml").write_text("branches: [fine, coarse]\nstrides: [4, 8]\n", encoding="utf-8")
    words = {
        "evaluate": ["net.py:build", "--no-sizes", "--json", "e.json"],
        "analyze": ["--model", "A=net.py:build", "--taps", "taps.yaml", "--out", "a"],
    }[command]
    assert main([command, *words, "--data", "folder:data", "--device", "cpu"]) == 3
    printed = capsys.readouterr()
    assert f"skipped {odd}: " in printed.out + printed.err
    assert "the network does not take an image of 60x90" in printed.out + printed.err
    if command == "evaluate":
        assert json.loads(Path("e.json").read_text(encoding="utf-8"))["images"] == 3
    else:
        images = pd.read_parquet("a/images.parquet").dropna(subset="model")
        assert sorted(images["image"]) == sorted({"0", "1", "2", "3"} - {str(odd)})


def test_a_wrapped_network_is_read_inside(right: float) -> None:
    scope: dict[str, Any] = {}
    exec(Path("net.py").read_text(encoding="utf-8"), scope)
    net = scope["build"]()
    for wrapped in (torch.compile(net, backend="eager"), nn.DataParallel(net)):
        assert open_network(wrapped).module is net


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        ("(lambda n: n.half())", "calibration runs in float32 and the network has torch.float16"),
        (TRACED, "a TorchScript module has no submodules"),
    ],
)
def test_what_cannot_be_analyzed_is_said_before_anything_is_written(
    wrap: str, message: str, right: float, capsys: pytest.CaptureFixture[str]
) -> None:
    text = FACTORY.replace("{returns}", "logits").replace("{wrap}", wrap)
    Path("net.py").write_text(text, encoding="utf-8")
    Path("taps.yaml").write_text("branches: [fine, coarse]\nstrides: [4, 8]\n", encoding="utf-8")
    words = ["--model", "A=net.py:build", "--taps", "taps.yaml", "--out", "a", "--data", SPEC]
    assert main(["analyze", *words, "--device", "cpu"]) == 2
    assert message in capsys.readouterr().err
    assert not Path("a").exists()


def test_predictions_of_other_classes_are_said_not_to_be_scored(
    right: float, caplog: pytest.LogCaptureFixture
) -> None:
    text = FACTORY.replace("{returns}", "logits[:, :5]").replace("{wrap}", "")
    Path("net.py").write_text(text, encoding="utf-8")
    Path("taps.yaml").write_text("branches: [fine, coarse]\nstrides: [4, 8]\n", encoding="utf-8")
    words = ["--model", "A=net.py:build", "--taps", "taps.yaml", "--out", "a", "--data", SPEC]
    with caplog.at_level("WARNING", logger="gsto_viz"):
        assert main(["analyze", *words, "--device", "cpu"]) == 0
    said = [one for one in caplog.messages if "predictions are not scored" in one]
    assert said == [f"A: predictions are not scored: {misfit(5, K, 'the data set')}"]


def test_full_logits_of_probabilities_are_their_logarithm() -> None:
    class Soft(Kept):
        def forward(self, image: Tensor) -> Tensor:
            return super().forward(image).softmax(1)

    image = np.random.default_rng(0).integers(0, 256, (8, 12, 3)).astype(np.uint8)
    soft, plain = Soft(), Kept()
    plain.load_state_dict(soft.state_dict())
    expected = full_logits(plain, image).log_softmax(0)
    torch.testing.assert_close(full_logits(soft, image), expected, rtol=1e-4, atol=1e-4)
