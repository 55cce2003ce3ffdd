"""Two processes do together what one does alone: batch norm, losses, whole runs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gsto_viz.data import load_data
from gsto_viz.distributed import ALONE
from gsto_viz.models import load_model
from gsto_viz.train import train
from gsto_viz.train.recipe import Recipe

BODY = '''
from pathlib import Path
import gsto_viz.train.trainer as trainer
from gsto_viz.data import load_data
from gsto_viz.distributed import join_world
from gsto_viz.errors import GstoVizError
from gsto_viz.models.losses import HardPixels, hard_pixel_loss
from gsto_viz.train.recipe import recipe_from_dict
from gsto_viz.train import train
from gsto_viz.train.step import synchronize_batch_norm
from gsto_viz.train.build import build_for
from gsto_viz.train.reading import Readers, SampleReader
from gsto_viz.train.step import TrainingSamples
from gsto_viz.train.step import Stepper
from gsto_viz.train.tasks import augmentation_of
from gsto_viz.train.tasks import CrossEntropy
from safetensors.torch import save_file

def batch_norm(world):
    """Two steps of batch norm on half of the images each; output, gradients, statistics."""
    generator = torch.Generator().manual_seed(5)
    norm = torch.nn.Sequential(torch.nn.BatchNorm2d(3, momentum=0.3))
    norm[0].weight.data = torch.tensor([0.5, 1.0, 2.0])
    norm = synchronize_batch_norm(norm, world)
    found = {"kind": type(norm[0]).__name__, "names": list(norm.state_dict())}
    for step in range(2):
        x = 3 + torch.randn(4, 3, 5, 7, generator=generator)
        weight = torch.randn(4, 3, 5, 7, generator=generator)
        own = slice(2 * world.rank, 2 * world.rank + 2)
        x, weight = x[own].requires_grad_(), weight[own]
        norm.zero_grad()
        out = norm(x)
        # Not a sum that a normalisation makes trivial.
        (weight * out ** 2).sum().backward()
    found |= {"out": out.tolist(), "by_x": x.grad.tolist()}
    found |= {"by_weight": norm[0].weight.grad.tolist(), "by_bias": norm[0].bias.grad.tolist()}
    found |= {k: norm[0].state_dict()[k].tolist() for k in ("running_mean", "running_var")}
    norm.eval()
    found["evaluated"] = norm(x.detach()).tolist()
    return found

def hard_pixels(world):
    generator = torch.Generator().manual_seed(7)
    logits = torch.randn(4, 3, 6, 6, generator=generator)
    labels = torch.randint(0, 3, (4, 6, 6), generator=generator)
    labels[0, 1:] = 255  # the processes have different numbers of labelled pixels
    own = slice(2 * world.rank, 2 * world.rank + 2)
    return [
        float(hard_pixel_loss(logits[own], labels[own], HardPixels(0.3, kept), None, world))
        for kept in (3, 60, 10**6)
    ]

def steps(settings, root, world):
    """Weights, average and losses after some steps in float64."""
    recipe = recipe_from_dict(settings)
    data = load_data(f"folder:{root}/train")
    network = build_for(recipe, 3).double()
    weights = torch.tensor([0.5, 1.0, 3.0]).double() if recipe.class_weights != "none" else None
    objective = CrossEntropy(recipe, weights)
    stepper = Stepper(recipe, network, steps=6, objective=objective, world=world)
    network.train()
    reader = SampleReader(data, augmentation_of(recipe, data.classes), seed=recipe.seed)
    made = TrainingSamples(
        Readers(reader), batch_size=8, seed=recipe.seed, world=world, parts=recipe.accumulate
    )
    losses = []
    for epoch in range(2):
        for batch in made.batches(epoch):
            losses.append(stepper.take(batch, len(losses)))
    plain = {"memory_format": torch.contiguous_format}
    tensors = {k: v.clone(**plain) for k, v in network.state_dict().items()}
    if stepper.average is not None:
        averaged = stepper.average.network.state_dict()
        tensors |= {f"average/{k}": v.clone(**plain) for k, v in averaged.items()}
    return losses, tensors

def broken(*words, **options):
    raise GstoVizError("features are not finite")

def body(root):
    root = Path(root)
    with join_world("cpu") as (world, device):
        found = {"norm": batch_norm(world), "hard": hard_pixels(world), "losses": {}}
        for name, settings in json.loads((root / "runs.json").read_text()).items():
            losses, tensors = steps(settings, root, world)
            found["losses"][name] = losses
            save_file(tensors, root / f"{name}-{world.rank}.safetensors")
        data, val = load_data(f"folder:{root}/train"), load_data(f"folder:{root}/val")
        settings = json.loads((root / "runs.json").read_text())["weighted"]
        train(recipe_from_dict(settings), data, root / "run", val=val, world=world)
        found["errors"] = []
        for wrong in ({"batch_size": 7}, {"sci_every": 1}, {"keep_every": 1, "epochs": 10**6}):
            try:
                odd = recipe_from_dict({**settings, **wrong})
                chosen = None if wrong == {"sci_every": 1} else val
                train(odd, data, root / "odd", val=chosen, world=world)
            except GstoVizError as error:
                found["errors"].append([type(error).__name__, str(error)])
        if world.is_main:
            trainer.scale_confusion = broken
        try:
            train(recipe_from_dict(settings), data, root / "broken", val=val, world=world)
        except GstoVizError as error:
            found["errors"].append([type(error).__name__, str(error)])
        return found
'''

BASE = {
    "model": "gsto-hrnet-tiny",
    "crop": [64, 64],
    "batch_size": 8,
    "epochs": 1,
    "lr": 0.02,
    "warmup_steps": 0,
    "log_every": 1,
    "seed": 3,
}
RUNS: dict[str, dict[str, Any]] = {
    "weighted": {"clip_norm": 1.0, "keep_every": 1, "sci_every": 1},
    "hard": {"class_weights": "none", "ohem_kept": 9000, "ohem_threshold": 0.3},
    "parts": {"accumulate": 2, "ema_decay": 0.5, "channels_last": False},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, make_folder: Any) -> Path:
    root = tmp_path_factory.mktemp("worlds")
    make_folder(root / "train", count=16, size=(80, 80))
    make_folder(root / "val", count=3, size=(64, 64), seed=9)
    runs = {name: {**BASE, **more} for name, more in RUNS.items()}
    (root / "runs.json").write_text(json.dumps(runs))
    return root


@pytest.fixture(scope="module")
def found(root: Path, run_world: Any) -> list[dict[str, Any]]:
    """What each of two processes found."""
    result: list[dict[str, Any]] = run_world(BODY, 2, str(root))
    return result


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_take_the_steps_of_one(
    name: str, root: Path, found: list[dict[str, Any]]
) -> None:
    """In float64, where only an error can make a difference that is seen."""
    scope: dict[str, Any] = {"torch": torch, "json": json}
    exec(BODY, scope)
    losses, tensors = scope["steps"]({**BASE, **RUNS[name]}, root, ALONE)
    assert len(losses) == 4
    for rank, said in enumerate(found):
        assert said["losses"][name] == pytest.approx(losses, rel=1e-7)
        for key, theirs in load_file(root / f"{name}-{rank}.safetensors").items():
            torch.testing.assert_close(theirs, tensors[key], rtol=1e-6, atol=1e-9)


def test_two_processes_make_the_run_of_one(
    root: Path, found: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert found
    data, val = load_data(f"folder:{root}/train"), load_data(f"folder:{root}/val")
    train(Recipe(**{**BASE, **RUNS["weighted"]}), data, tmp_path / "one", val=val)
    one, two = (
        [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (tmp_path / "one", root / "run")
    )
    assert [list(r) for r in two] == [list(r) for r in one]
    assert [r["kind"] for r in two] == ["train", "train", "val", "sci"]
    assert two[3]["pairs"] == one[3]["pairs"] > 0
    assert two[0]["loss"] == pytest.approx(one[0]["loss"], rel=1e-4)
    files = {"config.yaml", "log.jsonl", "tensorboard", "snapshots"}
    files |= {f"{name}.safetensors" for name in ("state", "best", "last")}
    assert {path.name for path in (root / "run").iterdir()} == files
    info = load_model(root / "run" / "best.safetensors").info
    assert info is not None
    assert info.gains
    assert info.training["processes"] == 2


def test_batch_norm_sees_the_images_of_all(found: list[dict[str, Any]]) -> None:
    """Against torch's own batch norm in one process, in float64."""
    generator = torch.Generator().manual_seed(5)
    norm = torch.nn.BatchNorm2d(3, momentum=0.3).double()
    norm.weight.data = torch.tensor([0.5, 1.0, 2.0]).double()
    for _ in range(2):
        x = (3 + torch.randn(4, 3, 5, 7, generator=generator)).double().requires_grad_()
        weight = torch.randn(4, 3, 5, 7, generator=generator)
        norm.zero_grad()
        out = norm(x)
        (weight * out**2).sum().backward()
    assert x.grad is not None
    evaluated = norm.eval()(x.detach())
    halves = [said["norm"] for said in found]
    assert {half["kind"] for half in halves} == {"SharedBatchNorm2d"}
    assert halves[0]["names"] == [f"0.{k}" for k in norm.state_dict()]
    for key, expected in (("out", out), ("by_x", x.grad), ("evaluated", evaluated)):
        got = torch.tensor([value for half in halves for value in half[key]])
        torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-4)
    for key, parameter in (("by_weight", norm.weight), ("by_bias", norm.bias)):
        got = sum(torch.tensor(half[key]) for half in halves)
        assert parameter.grad is not None
        torch.testing.assert_close(got.double(), parameter.grad, rtol=1e-4, atol=1e-4)
    for half in halves:
        for key in ("running_mean", "running_var"):
            got = torch.tensor(half[key]).double()
            torch.testing.assert_close(got, getattr(norm, key), rtol=1e-5, atol=1e-6)


def test_hard_pixels_are_chosen_among_those_of_all(found: list[dict[str, Any]]) -> None:
    generator = torch.Generator().manual_seed(7)
    logits = torch.randn(4, 3, 6, 6, generator=generator)
    labels = torch.randint(0, 3, (4, 6, 6), generator=generator)
    labels[0, 1:] = 255
    pixels = []
    for n, y, x in torch.nonzero(labels != 255).tolist():
        share = torch.softmax(logits[n, :, y, x].double(), 0)[labels[n, y, x]]
        pixels.append(float(share))
    pixels.sort()
    for number, kept in enumerate((3, 60, 10**6)):
        level = max(pixels[min(kept, len(pixels) - 1)], 0.3)
        losses = [-torch.log(torch.tensor(p)) for p in pixels if p < level]
        expected = float(sum(losses)) / len(losses)
        assert sum(said["hard"][number] for said in found) == pytest.approx(expected, rel=1e-4)


def test_what_one_process_finds_wrong_is_said_once(root: Path, found: list[dict[str, Any]]) -> None:
    messages = [
        "a batch of 7 images cannot be shared by 2 processes in 1 parts each",
        "sci_every measures SCI on validation images and there are none",
        "the snapshots of keep_every take about",
        "features are not finite",
    ]
    for said in zip(*(each["errors"] for each in found), strict=True):
        assert [kind for kind, _ in said] == ["AgreedError", "SaidElsewhereError"]
        assert all(messages[0] in text for _, text in said)
        messages.pop(0)
    assert messages == []
    assert not (root / "odd").exists()
    assert (root / "broken" / "state.safetensors").is_file()
