"""Scale equalizers: NumPy over the stacked features, processes, bad input, checkpoints."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import enliven
from torch import Tensor, nn
from torch.nn import functional as F

from gsto_viz.attribution.head import head_pass
from gsto_viz.distributed import World
from gsto_viz.errors import GstoVizError
from gsto_viz.models import (
    SegmentationNetwork,
    build_model,
    initialize,
    load_checkpoint,
    save_checkpoint,
)
from gsto_viz.models.blocks import Equalizer
from gsto_viz.models.equalizer import (
    estimate_equalizers,
    fold_equalizers,
    passes,
    sites,
)

HEADS = {
    "hrnetv2-tiny": {"head": 4},
    "gsto-hrnet-tiny": {"transition2.predictor": 2, "transition3.predictor": 3, "head": 4},
    "ppm-tiny": {"head": 5},
    "gsto-ppm-tiny-sup": {"head": 5},
    "aspp-tiny": {"head": 5},
    "gsto-aspp-tiny": {"head": 5},
    "upernet-tiny": {"head.context": 3, "head": 4},
    "deeplabv3plus-tiny": {"head.context": 5, "head": 2},
    "fcn-tiny": {"head": 4},
    "rsp-hrnet-tiny": {"head": 4},
}
SIZES = [(64, 96), (96, 64), (64, 64)]


def images() -> list[Tensor]:
    torch.manual_seed(5)
    return [torch.randn(1, 3, *size) for size in SIZES]


def drawn(name: str, *, equalized: bool = True) -> SegmentationNetwork:
    """Build a network whose batch norms do something, from one seed; all features vary."""
    torch.manual_seed(3)
    model = build_model(name, num_classes=5, equalized=equalized).eval()
    for one in model.modules():
        if isinstance(one, nn.Conv2d):
            nn.init.kaiming_normal_(one.weight)
    enliven(model)
    return model


def entering(model: nn.Module, name: str, *, leaving: bool = False) -> np.ndarray:
    """Stack what enters (or leaves) a site over all images, as float64."""
    kept = []

    def keep(_: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        kept.append((out if leaving else given[0]).double().numpy().ravel())

    hook = model.get_submodule(name).register_forward_hook(keep)
    with torch.no_grad():
        for image in images():
            model(image)
    hook.remove()
    return np.concatenate(kept)


def estimated(model: SegmentationNetwork) -> SegmentationNetwork:
    given = images()
    estimate_equalizers(model, given.__getitem__, len(given))
    return model


@pytest.mark.parametrize("name", HEADS)
def test_sites_stand_in_front_of_each_concatenation(name: str) -> None:
    groups = passes(drawn(name))
    assert {group[0].removesuffix(".equalizers.0"): len(group) for group in groups} == HEADS[name]


@pytest.mark.parametrize("name", HEADS)
def test_names_of_weights_are_those_without(name: str) -> None:
    plain = drawn(name, equalized=False)
    own = set(drawn(name).state_dict()) - set(plain.state_dict())
    assert set(plain.state_dict()) < set(drawn(name).state_dict())
    assert own == {
        f"{site}.{part}" for site in sites(drawn(name)) for part in ("mean", "deviation")
    }
    assert [n for n, _ in plain.named_parameters()] == [
        n for n, _ in drawn(name).named_parameters()
    ]


@pytest.mark.parametrize("name", HEADS)
def test_statistics_are_those_of_numpy(name: str) -> None:
    model = estimated(drawn(name))
    for site, one in sites(model).items():
        values = entering(model, site)
        assert float(one.mean) == pytest.approx(values.mean(), rel=1e-6)
        assert float(one.deviation) == pytest.approx(values.std(), rel=1e-6)
        after = entering(model, site, leaving=True)
        assert after.mean() == pytest.approx(0, abs=1e-5)
        assert after.var() == pytest.approx(1, abs=1e-5)


def test_nothing_changes_before_the_estimate_and_the_function_after() -> None:
    plain, model, image = drawn("hrnetv2-tiny", equalized=False), drawn("hrnetv2-tiny"), images()[0]
    with torch.no_grad():
        assert torch.equal(model(image).logits, plain(image).logits)
        estimated(model)
        maps, _ = plain.branches(image)
        size = maps[0].shape[-2:]
        equalizers = model.head.equalizers
        scaled = [
            (F.interpolate(x, size, mode="bilinear") - se.mean) / se.deviation
            for x, se in zip(maps, equalizers, strict=True)
        ]
        head = plain.head
        hidden = head.relu(head.bn(head.conv(torch.cat(scaled, dim=1))))
        torch.testing.assert_close(model(image).logits, head.classifier(hidden))


class RecordedError(Exception):
    """The sums of one process are known."""


def test_any_number_of_processes_gives_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sums of three processes, played one after the other, add up to those of one."""
    alone, model, given = estimated(drawn("hrnetv2-tiny")), drawn("hrnetv2-tiny"), images()
    others: list[Tensor] = []

    def record(self: World, tensor: Tensor) -> Tensor:
        others.append(tensor)
        raise RecordedError

    monkeypatch.setattr(World, "agree", lambda self, error: None)
    monkeypatch.setattr(World, "sum", record)
    for rank in (2, 0):
        with pytest.raises(RecordedError):
            estimate_equalizers(model, given.__getitem__, 3, world=World(rank, 3))
    monkeypatch.setattr(World, "sum", lambda self, tensor: tensor + sum(others))
    estimate_equalizers(model, given.__getitem__, 3, world=World(1, 3))
    for one, other in zip(sites(alone).values(), sites(model).values(), strict=True):
        assert torch.equal(one.mean, other.mean)
        assert torch.equal(one.deviation, other.deviation)


def test_random_weights_forget_the_estimate() -> None:
    model = estimated(drawn("gsto-hrnet-tiny"))
    initialize(model, "kaiming")
    assert all(one.mean == 0 and one.deviation == 1 for one in sites(model).values())


def test_a_constant_site_is_refused_by_name_and_nothing_is_set() -> None:
    model = drawn("gsto-hrnet-tiny")
    coarse = model.get_submodule("stage4.m0.fusion.targets.2")
    coarse.register_forward_hook(lambda module, given, out: torch.ones_like(out))
    model.train()
    with pytest.raises(GstoVizError, match=r"^features at head\.equalizers\.2 do not vary .* use"):
        estimated(model)
    assert model.training
    assert all(one.mean == 0 and one.deviation == 1 for one in sites(model).values())
    assert not any(one._forward_hooks for one in sites(model).values())


def test_bad_input_is_one_sentence() -> None:
    with pytest.raises(GstoVizError, match="has no equalizers; make it with equalized=True"):
        estimated(drawn("hrnetv2-tiny", equalized=False))
    with pytest.raises(GstoVizError, match="there are no images"):
        estimate_equalizers(drawn("hrnetv2-tiny"), images().__getitem__, 0)
    with pytest.raises(GstoVizError, match="equalized is 3; it is true or false"):
        build_model("ppm-tiny", equalized=3)
    nan = torch.full((1, 3, 64, 64), float("nan"))
    with pytest.raises(GstoVizError, match=r"features at head\.equalizers\.0 hold NaN"):
        estimate_equalizers(drawn("hrnetv2-tiny"), lambda index: nan, 1)


@pytest.mark.parametrize("name", ["gsto-hrnet-tiny", "aspp-tiny"])
def test_checkpoints_keep_them(name: str, tmp_path: Path) -> None:
    model, path = estimated(drawn(name)), tmp_path / "a.safetensors"
    save_checkpoint(model, path, classes=list("abcde"))
    again = load_checkpoint(path)
    assert again.config == model.config
    assert again.info is not None
    assert again.info.network == name
    for site, one in sites(again).items():
        own = model.get_submodule(site)
        assert isinstance(own, Equalizer)
        assert torch.equal(one.mean, own.mean)
        assert torch.equal(one.deviation, own.deviation)
    assert json.loads(json.dumps(model.config.to_dict()))["equalized"] is True


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("hrnetv2-tiny", "main"),
        ("gsto-hrnet-tiny", "stage3"),
        ("ppm-tiny", "main"),
        ("upernet-tiny", "main"),
        ("fcn-tiny", "main"),
        ("rsp-hrnet-tiny", "main"),
    ],
)
def test_the_head_is_still_split_exactly(name: str, head: str) -> None:
    seen = head_pass(estimated(drawn(name)), images()[0], head)
    hidden = sum(seen.contributions) + seen.head.bias[:, None, None]
    logits = seen.head.logits(hidden[0].flatten(1))
    torch.testing.assert_close(logits, seen.logits[0].flatten(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", HEADS)
def test_the_anatomy_is_that_without(name: str) -> None:
    assert drawn(name).anatomy() == drawn(name, equalized=False).anatomy()


@pytest.mark.parametrize(
    "name",
    [
        *("hrnetv2-tiny", "gsto-hrnet-tiny", "aspp-tiny", "gsto-aspp-tiny", "fcn-tiny"),
        "rsp-hrnet-tiny",
    ],
)
def test_folded_networks_give_the_same_logits(name: str, tmp_path: Path) -> None:
    model = estimated(drawn(name))
    before = {key: one.clone() for key, one in model.state_dict().items()}
    folded = fold_equalizers(model)
    assert folded.config == drawn(name, equalized=False).config
    assert set(folded.state_dict()) == set(drawn(name, equalized=False).state_dict())
    with torch.no_grad():
        for image in images():
            one, other = model(image), folded(image)
            for a, b in zip(
                (one.logits, *one.auxiliary.values()),
                (other.logits, *other.auxiliary.values()),
                strict=True,
            ):
                assert (a - b).abs().max() <= 1e-5 * a.abs().max()
    assert all(torch.equal(one, before[key]) for key, one in model.state_dict().items())
    save_checkpoint(folded, tmp_path / "a.safetensors", classes=list("abcde"))
    assert not load_checkpoint(tmp_path / "a.safetensors").config.equalized


@pytest.mark.parametrize("name", ["ppm-tiny", "upernet-tiny", "deeplabv3plus-tiny"])
def test_folding_is_refused_where_zeros_would_become_means(name: str) -> None:
    model = estimated(drawn(name))
    with pytest.raises(
        GstoVizError, match=r"^the 3x3 convolution behind head\.equalizers pads with"
    ):
        fold_equalizers(model)
    for one in sites(model).values():
        one.mean.zero_()
    with torch.no_grad():
        image = images()[0]
        a, b = model(image).logits, fold_equalizers(model)(image).logits
    assert (a - b).abs().max() <= 1e-5 * a.abs().max()
    with pytest.raises(GstoVizError, match="has no equalizers, so there is nothing to fold"):
        fold_equalizers(fold_equalizers(model))
