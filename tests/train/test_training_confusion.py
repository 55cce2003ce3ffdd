"""``sci_every``: SCI of the network under training, against ``analyze``, and what it leaves be."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from gsto_viz.calibrate import channel_moments
from gsto_viz.data import load_data
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate.protocols import input_batch
from gsto_viz.explorer.values.runs import read_log
from gsto_viz.models import build_model, initialize, load_model
from gsto_viz.report import analyze
from gsto_viz.train import TrainingStopped, measures, train
from gsto_viz.train.folder import RunLog
from gsto_viz.train.measures import check_confusion, chosen, scale_confusion
from gsto_viz.train.recipe import Recipe
from gsto_viz.train.trainer import Trainer
from gsto_viz.types import ClassList, Dataset, Sample

SETTINGS: dict[str, Any] = {
    "model": "gsto-hrnet-tiny",
    "crop": [64, 64],
    "batch_size": 4,
    "epochs": 3,
    "lr": 0.02,
    "warmup_steps": 0,
    "eval_every": 3,
    "sci_every": 2,
    "ema_decay": 0.5,
    "class_weights": "none",
}
SIZE = "size=64x96"
INDICES = ("sci", "c_fine", "c_coarse")


@dataclass(frozen=True)
class Part:
    """Some images of another data set under another name; without labels if so asked."""

    data: Dataset
    count: int
    name: str
    unlabelled: int | None = None

    @property
    def classes(self) -> ClassList:
        return self.data.classes

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self.data.ids[: self.count])

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        sample = self.data[index]
        bare = index == self.unlabelled
        return Sample(sample.id, sample.image, None, None) if bare else sample


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_data(f"scenes:count=4,{SIZE}", purpose="train")


@pytest.fixture(scope="module")
def val() -> Dataset:
    return load_data(f"scenes:count=26,seed=5,{SIZE}")


@pytest.fixture(scope="module")
def trained(data: Dataset, val: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("confusion") / "run"
    train(Recipe(**SETTINGS), data, out, val=val)
    return out


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_the_record_is_what_analyze_says(trained: Path, val: Dataset, tmp_path: Path) -> None:
    """Of the averaged weights, on the first 24 scenes, with gains of these scenes."""
    found = [r for r in records(trained) if r["kind"] == "sci"]
    assert [(r["epoch"], r["step"]) for r in found] == [(2, 2), (3, 3)]
    network = load_model(trained / "last.safetensors")
    report = analyze({"A": network}, val, tmp_path / "analysis", limit=24)
    indices = report.summary["models"]["A"]["indices"]
    for name in INDICES:
        assert found[-1][name] == pytest.approx(indices[name].estimate.value, abs=1e-12)
    assert found[-1]["images"] == indices["sci"].estimate.n_images
    assert found[-1]["pairs"] == indices["sci"].estimate.n_pairs > 100
    assert "reasons" not in found[-1]
    assert found[0]["sci"] != found[1]["sci"]


def test_curves_go_to_tensorboard_and_the_explorer_reads_on(trained: Path) -> None:
    events = EventAccumulator(str(trained / "tensorboard")).Reload()
    last = records(trained)[-1]
    for name in INDICES:
        assert events.Scalars(f"sci/{name}")[-1].value == pytest.approx(last[name], rel=1e-6)
    log = read_log(trained / "log.jsonl")
    assert (len(log.val), log.damaged) == (1, 0)


def test_measuring_changes_nothing_else(trained: Path, data: Dataset, val: Dataset) -> None:
    torch.manual_seed(4)
    before = torch.get_rng_state()
    other = trained.parent / "without"
    train(Recipe(**{**SETTINGS, "sci_every": 0}), data, other, val=val)
    assert torch.equal(torch.get_rng_state(), before)
    ours, theirs = (load_file(run / "state.safetensors") for run in (trained, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [r["kind"] for r in records(other)] == ["val"]


def test_flags_hooks_and_generators_are_as_before(val: Dataset) -> None:
    network = build_model("hrnetv2-tiny", num_classes=11, head_dropout=0.5)
    initialize(network, "kaiming")
    network.train()
    network.stem.eval()
    before = torch.get_rng_state()
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first = scale_confusion(network, Part(val, 4, "few"))
    assert first == scale_confusion(network, Part(val, 4, "few"))
    assert torch.equal(torch.get_rng_state(), before)
    assert network.training
    assert network.head.training
    assert not network.stem.training
    assert all(torch.equal(weights[name], t) for name, t in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_scenes_are_24_and_frames_16(val: Dataset) -> None:
    assert chosen(val) == range(24)
    assert chosen(Part(val, 26, "camvid:/some/where:val")) == range(16)
    assert chosen(Part(val, 5, "folder:x")) == range(5)


def test_gains_of_channels_do_not_matter(val: Dataset) -> None:
    """A branch's channels times positive numbers: SCI reads what is left."""
    network = build_model("hrnetv2-tiny", num_classes=11)
    initialize(network, "kaiming")
    few = Part(val, 3, "few")
    plain = scale_confusion(network, few)
    scale = torch.exp(torch.randn(1, network.config.widths[0], 1, 1))
    branch = network.get_submodule(network.taps()["stage4.branch0"].module)
    handle = branch.register_forward_hook(lambda _, __, out: scale * out)
    taps = scale_confusion(network, few)
    moments = channel_moments(network, [input_batch(network, few[0].image)])["stage4.branch0"]
    handle.remove()
    before = channel_moments(network, [input_batch(network, few[0].image)])["stage4.branch0"]
    expected = before.sigma * scale.flatten().numpy()
    np.testing.assert_allclose(moments.sigma, expected, rtol=1e-5, atol=1e-12)
    assert plain is not None
    assert taps is not None
    for name in INDICES:
        assert taps[name] == pytest.approx(plain[name], abs=0.02)


def test_what_is_not_estimated_is_null_with_its_reason(val: Dataset, tmp_path: Path) -> None:
    dead = build_model("hrnetv2-tiny", num_classes=11)
    for parameter in dead.parameters():
        parameter.data.zero_()
    found = scale_confusion(dead, Part(val, 2, "few"))
    assert found is not None
    assert [found[name] for name in INDICES] == [None, None, None]
    assert all("gains are not estimated" in found["reasons"][name] for name in INDICES)
    assert found["pairs"] == 0
    alive = build_model("hrnetv2-tiny", num_classes=11)
    initialize(alive, "kaiming")
    one = val[0]
    plain = Sample(one.id, one.image, np.zeros_like(one.labels), None)
    found = scale_confusion(alive, OneImage(val, plain))
    assert found is not None
    assert found["sci"] is None
    assert "not estimated" in found["reasons"]["sci"]
    with RunLog(tmp_path) as log:
        log.write("sci", 3, epoch=1, **found)
    assert json.loads((tmp_path / "log.jsonl").read_text())["sci"] is None
    assert read_log(tmp_path / "log.jsonl").damaged == 0


@dataclass(frozen=True)
class OneImage:
    """A data set of one image."""

    data: Dataset
    sample: Sample
    name: str = "one"

    @property
    def classes(self) -> ClassList:
        return self.data.classes

    @property
    def ids(self) -> tuple[str, ...]:
        return (self.sample.id,)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        return self.sample


def test_what_has_no_sci_is_refused_before_anything_is_written(
    data: Dataset, val: Dataset, tmp_path: Path
) -> None:
    recipe = Recipe(**SETTINGS)
    with pytest.raises(GstoVizError, match="there are none; give --val SPEC, or --set sci_every=0"):
        train(recipe, data, tmp_path / "run")
    bare = Part(val, 26, "scenes", unlabelled=23)
    with pytest.raises(GstoVizError, match=f"{val.ids[23]} has no labels; give others with --val"):
        train(recipe, data, tmp_path / "run", val=bare)
    assert not (tmp_path / "run").exists()
    check_confusion(build_model("hrnetv2-tiny"), Part(val, 26, "scenes", unlabelled=24))
    with pytest.raises(GstoVizError, match="Sequential does not know its branches"):
        check_confusion(nn.Sequential(nn.Conv2d(3, 4, 1)), val)


def test_features_that_are_not_finite_stop_the_run_and_keep_its_state(
    data: Dataset, val: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = measures.input_batch
    monkeypatch.setattr(measures, "input_batch", lambda *words: real(*words) * math.nan)
    with pytest.raises(GstoVizError, match="features hold NaN or infinite values"):
        train(Recipe(**SETTINGS), data, tmp_path / "run", val=val)
    assert (tmp_path / "run" / "state.safetensors").is_file()


@pytest.mark.parametrize("after", [1, 30])
def test_a_stop_while_it_measures_is_heard(
    after: int, data: Dataset, val: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While images are read, and between them and their regions."""
    asked: list[int] = []
    trainers: list[Trainer] = []
    real = Trainer._measure_confusion

    def measure(self: Trainer, *words: Any, **options: Any) -> None:
        trainers.append(self)
        real(self, *words, **options)

    table = measures.region_table
    annotated = measures._annotated

    def count(value: Any) -> Any:
        asked.append(1)
        if trainers and len(asked) >= after + 24:  # 24 are read before the first step
            trainers[0].stop_requested = True
        return value

    monkeypatch.setattr(Trainer, "_measure_confusion", measure)
    monkeypatch.setattr(measures, "_annotated", lambda sample: count(annotated(sample)))
    monkeypatch.setattr(measures, "region_table", lambda *w, **o: count(table(*w, **o)))
    with pytest.raises(TrainingStopped, match="stopped at step 2; the state is saved"):
        train(Recipe(**SETTINGS), data, tmp_path / "run", val=val)
    assert len(asked) == after + 24
    assert records(tmp_path / "run") == []
