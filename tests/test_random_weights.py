"""Random-weight copies: everything is drawn anew, nothing else moves, and the result is alive."""

import copy

import pytest
import torch
from torch import nn

from gsto_viz.calibrate import calibrate
from gsto_viz.errors import GstoVizError
from gsto_viz.gains import Gains
from gsto_viz.models import ModelInfo, build_model
from gsto_viz.nulls import DRAWS, estimate_batch_norm, random_draws, randomized_copy
from gsto_viz.types import ClassInfo, ClassList

NETWORKS = ["hrnetv2-tiny", "gsto-hrnet-tiny"]


def pictures(count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(3, 64, 96, generator=generator) for _ in range(count)]


def trained(name, **options):
    """A network whose weights and statistics are all away from where they start."""
    model = build_model(name, num_classes=3, **options)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator) + 3)
        for norm in model.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.running_mean.fill_(5)
                norm.running_var.fill_(7)
                norm.num_batches_tracked.fill_(4)
    return model


def state_of(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_trained_weight_is_left(name):
    model = trained(name)
    twin = randomized_copy(model, 0, pictures())
    before, after = state_of(model), state_of(twin)
    assert before.keys() == after.keys()
    for key in before:
        if key.endswith("num_batches_tracked"):
            assert after[key] == 3
        else:
            assert not torch.isclose(after[key], before[key]).any(), key


@pytest.mark.parametrize("name", NETWORKS)
def test_the_given_network_and_the_random_state_stay(name):
    model = trained(name).train()
    model.stage1.eval()
    flags, before = [m.training for m in model.modules()], state_of(model)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    twin = randomized_copy(model, 0, pictures())
    assert torch.equal(torch.rand(4), expected)
    assert same(state_of(model), before)
    assert [m.training for m in model.modules()] == flags
    assert [m.training for m in twin.modules()] == flags
    momenta = [[m.momentum for m in n.modules() if hasattr(m, "momentum")] for n in (model, twin)]
    assert momenta[0] == momenta[1]
    assert None not in momenta[1]
    shared = {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in twin.parameters()}
    assert not shared


def test_a_failing_image_leaves_no_trace():
    model = trained("hrnetv2-tiny").train()
    before = state_of(model)
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    with pytest.raises(GstoVizError, match="not a normalised tensor"):
        randomized_copy(model, 0, [pictures()[0], "picture.png"])
    assert same(state_of(model), before)
    assert torch.equal(torch.random.get_rng_state(), state)
    norm = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2, momentum=0.3))
    with pytest.raises(GstoVizError, match="give some"):
        estimate_batch_norm(norm, [])
    assert norm[1].momentum == 0.3
    assert all(module.training for module in norm.modules())


def test_a_seed_is_a_draw():
    model = build_model("gsto-hrnet-tiny")
    first, again = (randomized_copy(model, 5, pictures()) for _ in range(2))
    other = randomized_copy(model, 6, pictures())
    assert same(state_of(first), state_of(again))
    weight = first.stem.unit1.conv.weight
    assert not torch.isclose(weight, other.stem.unit1.conv.weight).any()
    # The draw does not depend on what the weights were.
    from_trained = randomized_copy(trained("gsto-hrnet-tiny"), 5, pictures(1))
    assert torch.equal(from_trained.stem.unit1.conv.weight, weight)


def test_all_convolutions_follow_one_scheme():
    twin = randomized_copy(build_model("gsto-hrnet-w18-small-v1"), 1, pictures(1))
    for module in twin.modules():
        if isinstance(module, nn.Conv2d):
            weight = module.weight.detach()
            fan_out = weight.shape[0] * weight.shape[2] * weight.shape[3]
            if weight.numel() > 3000:
                assert float(weight.std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
            assert module.bias is None or (module.bias == 0).all()
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_random_networks_are_alive_on_every_branch(name):
    images = pictures(4)
    for twin in random_draws(build_model(name), images, draws=2):
        gains = calibrate(twin, images)
        assert len(gains) == 4
        for gain in gains.values():
            assert gain.live.mean() > 0.5
            assert 0.05 < gain.sigma[gain.live].mean() < 20


def test_statistics_are_plain_averages_over_images():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.01), nn.Dropout(0.5))
    images = [torch.randn(3, 8, 9), torch.randn(3, 12, 7), torch.randn(2, 3, 6, 6)]
    estimate_batch_norm(model, images)
    with torch.no_grad():
        maps = [model[0](im[None] if im.ndim == 3 else im) for im in images]
    means = torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0)
    variances = torch.stack([m.var((0, 2, 3), unbiased=True) for m in maps]).mean(0)
    torch.testing.assert_close(model[1].running_mean, means)
    torch.testing.assert_close(model[1].running_var, variances)
    estimate_batch_norm(model, images)  # starts anew, does not go on
    torch.testing.assert_close(model[1].running_mean, means)
    assert model[1].num_batches_tracked == 3
    estimate_batch_norm(nn.Conv2d(3, 1, 1), [])  # nothing to measure


def test_draws_are_at_least_five_and_a_series_goes_on():
    model, images = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2)), pictures(1)
    draws = [state_of(twin) for twin in random_draws(model, images)]
    assert len(draws) == DRAWS == 5
    assert len({float(d["0.weight"].sum()) for d in draws}) == 5
    longer = [state_of(twin) for twin in random_draws(model, images, draws=6)]
    assert all(same(a, b) for a, b in zip(draws, longer[:5], strict=True))
    assert not same(draws[0], state_of(next(random_draws(model, images, seed=1))))
    with pytest.raises(GstoVizError, match="at least 1"):
        next(random_draws(model, images, draws=0))


def test_what_a_checkpoint_knew_about_its_weights_is_gone():
    model = build_model("hrnetv2-tiny", num_classes=1)
    classes = ClassList("toy", (ClassInfo(0, "thing", (1, 2, 3), True),))
    gains = {"stage4.branch0": Gains(torch.ones(4).double().numpy(), torch.ones(4).bool().numpy())}
    model.info = ModelInfo("a", "hrnetv2-tiny", classes, gains=gains, sha256="12", notice="mind")
    twin = randomized_copy(model, 2, pictures(1))
    assert (twin.info.gains, twin.info.training, twin.info.sha256) == ({}, {}, None)
    assert twin.info.name == "a (random weights 2)"
    assert (twin.info.classes, twin.info.notice) == (classes, "mind")
    assert model.info.gains is gains


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        self.scale = nn.Parameter(torch.ones(2, 1, 1))

    def forward(self, x):
        return self.conv(x) * self.scale


def test_foreign_networks_are_drawn_or_refused():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.ConvTranspose2d(4, 2, 2))
    before = state_of(copy.deepcopy(model))
    nn.init.constant_(model[1].weight, 8)
    twin = randomized_copy(model, 0, [])
    assert (twin[1].weight == 1).all()
    assert not torch.equal(twin[2].weight, before["2.weight"])
    with pytest.raises(GstoVizError, match=r"module 'inner' \(Scaled\) holds scale"):
        randomized_copy(nn.ModuleDict({"inner": Scaled()}), 0, [])


@pytest.mark.parametrize("count", [2, 3])
def test_statistics_behind_global_pooling_are_measured_on_pairs(count: int) -> None:
    """Of one image a pooled map has one value per channel and no variance."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    images = [torch.randn(3, 8, 12) for _ in range(count)]
    estimate_batch_norm(model, images)
    with torch.no_grad():
        values = [model[1](model[0](image[None])).double().flatten() for image in images]
    # The last of three runs beside the one before.
    pairs = [torch.stack(values[k : k + 2]) for k in range(count - 1)]
    mean = torch.stack([pair.mean(dim=0) for pair in pairs]).mean(dim=0)
    variance = torch.stack([pair.var(dim=0) for pair in pairs]).mean(dim=0)
    torch.testing.assert_close(model[2].running_mean.double(), mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model[2].running_var.double(), variance, rtol=1e-5, atol=1e-6)


def test_one_image_behind_global_pooling_is_refused() -> None:
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3))
    with pytest.raises(GstoVizError, match="cannot be measured anew"):
        estimate_batch_norm(model, [torch.randn(3, 8, 8)])
    assert model[1].momentum == 0.1
