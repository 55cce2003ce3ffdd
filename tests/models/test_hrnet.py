"""Whole networks: sizes, batches, switches, gradients, initialisation, blocks."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gsto_viz.errors import GstoVizError
from gsto_viz.models import build_model, count_costs, initialize
from gsto_viz.models.blocks import BasicBlock, Bottleneck, Resize

SWITCHES = [
    {"gate_fusion": False},
    {"gate_diagonal": False},
    {"gate_form": "paper"},
    {"gate_supervised": ()},
    {"gate_supervised": (1, 2, 3)},
    {"gate_supervised": (1, 2, 3), "gate_form": "paper"},
    {"gate_supervised": (), "gate_unsupervised": (1, 2, 3)},
    {"gate_supervised": (3,), "gate_unsupervised": (1, 2), "gate_form": "paper"},
    {"gate_supervised": (), "gate_auxiliary_heads": (1, 2, 3)},
    {"gate_source": "concat"},
    {"gate_source": "concat", "gate_supervised": (), "gate_unsupervised": (1, 2, 3)},
    {"align_corners": True},
    {"resize_mode": "nearest"},
    {"bn_momentum": 0.1},
    {"num_classes": 1},
]


@pytest.mark.parametrize("family", ["hrnetv2", "gsto-hrnet"])
@pytest.mark.parametrize("size", [(67, 101), (473, 473), (32, 32), (33, 64), (32, 200)])
def test_any_size_from_32_on(family: str, size: tuple[int, int]) -> None:
    model = build_model(f"{family}-tiny", num_classes=3).eval()
    with torch.no_grad():
        out = model(torch.randn(1, 3, *size))
    expected = (1, 3, *(math.ceil(s / 4) for s in size))
    assert out.logits.shape == expected
    assert sorted(out.auxiliary) == (["stage2", "stage3"] if family == "gsto-hrnet" else [])
    assert all(logits.shape == expected for logits in out.auxiliary.values())


@pytest.mark.parametrize("size", [(31, 64), (64, 31), (1, 1)])
def test_smaller_images_are_refused(size: tuple[int, int]) -> None:
    model = build_model("gsto-hrnet-tiny")
    with pytest.raises(GstoVizError, match=f"the image is {size[0]}x{size[1]} .*at least 32x32"):
        model(torch.randn(1, 3, *size))


def test_images_of_a_batch_do_not_meet_in_evaluation() -> None:
    torch.manual_seed(0)
    model = build_model("gsto-hrnet-tiny").double().eval()
    initialize(model, "kaiming")
    images = torch.randn(3, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        together = model(images).logits
        apart = torch.cat([model(image[None]).logits for image in images])
    torch.testing.assert_close(together, apart, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("options", SWITCHES, ids=str)
def test_every_switch_builds_and_runs(options: dict[str, object]) -> None:
    model = build_model("gsto-hrnet-tiny", **{"num_classes": 4, **options})
    out = model(torch.randn(2, 3, 64, 96))
    gating = model.config.gating
    stages = {*gating.supervised, *gating.auxiliary_heads}
    assert set(out.auxiliary) == {f"stage{s}" for s in stages}
    assert torch.isfinite(out.logits).all()
    total = sum(logits.sum() for logits in (out.logits, *out.auxiliary.values()))
    total.backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None]


@pytest.mark.parametrize(
    ("option", "value"), [("align_corners", True), ("resize_mode", "nearest"), ("bn_momentum", 0.1)]
)
def test_conventions_change_what_they_should(option: str, value: object) -> None:
    """Same weights, another convention: other logits (momentum: other statistics only)."""
    torch.manual_seed(0)
    one = build_model("hrnetv2-tiny")
    initialize(one, "kaiming")
    two = build_model("hrnetv2-tiny", **{option: value})
    two.load_state_dict(one.state_dict())
    image = torch.randn(2, 3, 64, 96)
    same = torch.equal(one(image).logits, two(image).logits)
    assert same == (option == "bn_momentum")
    if option == "bn_momentum":
        mean = F.conv2d(image, one.stem.unit1.conv.weight, stride=2, padding=1).mean((0, 2, 3))
        torch.testing.assert_close(one.stem.unit1.bn.running_mean, 0.01 * mean)
        torch.testing.assert_close(two.stem.unit1.bn.running_mean, 0.1 * mean)


@pytest.mark.parametrize("form", ["released", "paper"])
def test_gradients_reach_every_parameter(form: str) -> None:
    """No weight is dead: with all three losses each parameter tensor has a gradient."""
    torch.manual_seed(0)
    model = build_model("gsto-hrnet-tiny", num_classes=4, gate_form=form)
    initialize(model, "kaiming")
    out = model(torch.randn(2, 3, 128, 128))
    labels = torch.randint(0, 4, (2, 32, 32))
    loss = sum(F.cross_entropy(x, labels) for x in (out.logits, *out.auxiliary.values()))
    loss.backward()
    # A gate on one small map may sit wholly on the flat side of its ReLU by chance; being in the
    # graph is what is asked of it, the rest must move.
    assert not [n for n, p in model.named_parameters() if p.grad is None]
    still = [n for n, p in model.named_parameters() if not p.grad.abs().max() > 0]
    assert all(".gate." in name for name in still)
    assert len(still) < len(list(model.named_parameters())) / 10


@pytest.mark.parametrize("form", ["released", "paper"])
def test_main_loss_reaches_the_predictors_through_the_gates(form: str) -> None:
    torch.manual_seed(0)
    model = build_model("gsto-hrnet-tiny", num_classes=4, gate_form=form)
    initialize(model, "kaiming")
    model(torch.randn(2, 3, 128, 128)).logits.pow(2).sum().backward()
    for transition in (model.transition2, model.transition3):
        grads = [p.grad for p in transition.predictor.parameters()]
        assert all(g is not None for g in grads)
        assert max(float(g.abs().max()) for g in grads) > 0


@pytest.mark.parametrize("family", ["hrnetv2", "gsto-hrnet"])
def test_nothing_works_in_place(family: str) -> None:
    model = build_model(f"{family}-tiny")
    assert not [n for n, m in model.named_modules() if getattr(m, "inplace", False)]
    seen: list[tuple[str, torch.Tensor, torch.Tensor]] = []

    def keep(name: str):
        def hook(module: nn.Module, inputs: tuple, output: object) -> None:
            if isinstance(output, torch.Tensor):
                seen.append((name, output, output.clone()))

        return hook

    calls: dict[str, int] = {}

    def count(name: str):
        def hook(module: nn.Module, inputs: tuple) -> None:
            calls[name] = calls.get(name, 0) + 1

        return hook

    for name, module in model.named_modules():
        module.register_forward_hook(keep(name))
        if not list(module.children()) and not isinstance(module, Resize):
            module.register_forward_pre_hook(count(name))
    image = torch.randn(2, 3, 64, 64)
    original = image.clone()
    model(image)
    assert len(seen) > 100
    assert not [name for name, now, then in seen if not torch.equal(now, then)]
    assert torch.equal(image, original)
    assert set(calls.values()) == {1}


def test_normal_initialisation_is_hrnets() -> None:
    torch.manual_seed(0)
    model = build_model("gsto-hrnet-w18-small-v1").requires_grad_(False)
    weights = torch.cat([m.weight.flatten() for m in model.modules() if isinstance(m, nn.Conv2d)])
    assert float(weights.mean()) == pytest.approx(0, abs=5e-6)
    assert float(weights.std()) == pytest.approx(1e-3, rel=0.01)
    bias = model.head.conv.bias
    bound = 1 / math.sqrt(model.head.conv.in_channels)
    assert 0.5 * bound < float(bias.abs().max()) <= bound
    check_batch_norms(model)


def test_kaiming_initialisation_keeps_the_fan_out() -> None:
    torch.manual_seed(0)
    model = build_model("hrnetv2-w18-small-v1").requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.fill_(3)
            module.weight.fill_(3)
    initialize(model, "kaiming")
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            if module.bias is not None:
                assert not module.bias.any()
            if module.weight.numel() > 5000:
                fan_out = module.out_channels * module.kernel_size[0] ** 2
                expected = math.sqrt(2 / fan_out)
                assert float(module.weight.std()) == pytest.approx(expected, rel=0.06)
    check_batch_norms(model)


def check_batch_norms(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.running_var == 1).all()
            assert not module.bias.any()
            assert not module.running_mean.any()
            assert module.eps == 1e-5


def test_unknown_initialisation_is_refused() -> None:
    with pytest.raises(GstoVizError, match="unknown initialisation 'xavier'"):
        initialize(nn.Conv2d(1, 1, 1), "xavier")


def test_basic_block_without_weights_is_a_relu() -> None:
    block = BasicBlock(3).eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(1, 3, 5, 7)
    assert torch.equal(block(x), x.clamp(min=0))


def test_bottleneck_shortcut_only_where_channels_change() -> None:
    assert isinstance(Bottleneck(16, 4).shortcut, nn.Identity)
    wide = Bottleneck(8, 4).eval()
    nn.init.zeros_(wide.conv3.weight)
    x = torch.randn(1, 8, 5, 7)
    expected = F.conv2d(x, wide.shortcut.conv.weight) / math.sqrt(1 + 1e-5)
    torch.testing.assert_close(wide(x), expected.clamp(min=0))


def test_resize_states_its_convention() -> None:
    ramp = torch.arange(4.0).view(1, 1, 1, 4)
    centres = Resize()(ramp, (1, 8)).flatten().tolist()
    assert centres == pytest.approx([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
    corners = Resize(align_corners=True)(ramp, (1, 7)).flatten().tolist()
    assert corners == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5, 3])
    nearest = Resize("nearest")(ramp, (1, 8)).flatten().tolist()
    assert nearest == [0, 0, 1, 1, 2, 2, 3, 3]
    assert repr(Resize(align_corners=True)) == "Resize(mode=bilinear, align_corners=True)"


@pytest.mark.parametrize("family", ["hrnetv2", "gsto-hrnet"])
def test_dropout_changes_training_of_the_main_head_and_nothing_else(family: str) -> None:
    """The same modules, keys, costs and evaluation as without; its channels and its scale."""
    torch.manual_seed(0)
    plain = build_model(f"{family}-tiny", num_classes=3)
    dropping = build_model(f"{family}-tiny", num_classes=3, head_dropout=0.5)
    assert [name for name, _ in dropping.named_modules()] == [n for n, _ in plain.named_modules()]
    assert list(dropping.state_dict()) == list(plain.state_dict())
    assert count_costs(dropping, 64, 96) == count_costs(plain, 64, 96)
    for network in (plain, dropping):
        initialize(network, "kaiming")
    dropping.load_state_dict(plain.state_dict())
    image = torch.randn(4, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(dropping.eval()(image).logits, plain.eval()(image).logits)
        entering: list[torch.Tensor] = []
        for network in (plain.train(), dropping.train()):
            hook = network.head.classifier.register_forward_pre_hook(
                lambda _, args: entering.append(args[0])
            )
            torch.manual_seed(1)
            output = network(image)
            hook.remove()
            entering.extend(output.auxiliary.values())
    half = len(entering) // 2
    (hidden, *auxiliary), (dropped, *others) = entering[:half], entering[half:]
    for ours, theirs in zip(auxiliary, others, strict=True):
        assert torch.equal(ours, theirs)
    kept = 0
    for image_hidden, image_dropped in zip(hidden, dropped, strict=True):
        for channel, result in zip(image_hidden, image_dropped, strict=True):
            lives = bool((result != 0).any())
            kept += lives
            assert torch.equal(result, 2 * channel if lives else torch.zeros_like(channel))
    assert 0.3 < kept / hidden.shape[0] / hidden.shape[1] < 0.6  # channels that are 0 before count


def test_without_dropout_training_draws_nothing() -> None:
    network = build_model("gsto-hrnet-tiny", num_classes=3).train()
    before = torch.get_rng_state()
    network(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), before)
