"""One step: parts of a batch, clipping, the moving average, mixed precision, compilation."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gsto_viz.distributed import ALONE
from gsto_viz.errors import GstoVizError
from gsto_viz.train.build import build_for
from gsto_viz.train.recipe import Recipe
from gsto_viz.train.step import SMALLEST_SCALE, Batch, Stepper, WeightAverage, dropout_seed
from gsto_viz.train.tasks import CrossEntropy

BASE: dict[str, Any] = {
    "model": "hrnetv2-tiny",
    "crop": [64, 64],
    "lr": 0.1,
    "warmup_steps": 0,
    "poly_power": 0,
    "class_weights": "none",
}


def batch_of(seed: int, count: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 64, 64, 3), generator=generator).to(torch.uint8)
    labels = torch.randint(0, 3, (count, 64, 64), generator=generator).to(torch.uint8)
    labels[0, :40] = 255
    return Batch(images, labels, tuple("abcdefgh"[:count]))


def stepper_of(*, frozen_norm: bool = False, double: bool = False, **settings: Any) -> Stepper:
    recipe = Recipe(**{**BASE, **settings})
    network = build_for(recipe, 3)
    if double:
        network = network.double()
    stepper = Stepper(recipe, network, steps=10, objective=CrossEntropy(recipe), world=ALONE)
    network.train()
    if frozen_norm:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    return stepper


def weights_of(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in network.named_parameters()}


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_give_the_gradients_of_the_whole_batch(parts: int) -> None:
    """Without batch norm's statistics, in float64: images have different numbers of labels."""
    whole = stepper_of(frozen_norm=True, double=True)
    parted = stepper_of(frozen_norm=True, double=True, accumulate=parts)
    for step in range(2):
        losses = [stepper.take(batch_of(step), step) for stepper in (whole, parted)]
        assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    for name, weight in weights_of(whole.network).items():
        torch.testing.assert_close(weights_of(parted.network)[name], weight, rtol=1e-9, atol=1e-12)


def test_gradients_are_shortened_to_the_norm_and_short_ones_are_left() -> None:
    """One plain SGD step moves the weights by lr times the clipped gradient."""
    settings = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
    moved = {}
    for limit in (0.0, 0.01, 1e6):
        stepper = stepper_of(clip_norm=limit, **settings)
        before = weights_of(stepper.network)
        stepper.take(batch_of(0), 0)
        after = weights_of(stepper.network)
        moved[limit] = torch.cat([(after[k] - before[k]).ravel() for k in before]) / 0.1
    assert float(moved[0.0].norm()) > 0.05
    assert float(moved[0.01].norm()) == pytest.approx(0.01, rel=1e-3)
    direction = moved[0.0] * (0.01 / moved[0.0].norm())
    torch.testing.assert_close(moved[0.01], direction, rtol=1e-2, atol=1e-6)
    torch.testing.assert_close(moved[1e6], moved[0.0])


def test_the_average_is_its_closed_form() -> None:
    """a_T = sum of (1 - d_t) prod of later d times w_t, plus the product of all d times w_0."""
    stepper = stepper_of(ema_decay=0.6)
    average = stepper.average
    assert average is not None
    assert stepper.evaluated is average.network
    assert not average.network.training
    seen = [{k: v.clone() for k, v in stepper.network.state_dict().items()}]
    for step in range(5):
        stepper.take(batch_of(step), step)
        seen.append({k: v.clone() for k, v in stepper.network.state_dict().items()})
    decays = [min(0.6, (1 + t) / (10 + t)) for t in range(5)]
    assert decays[0] == 0.1
    shares = [float(np.prod(decays))]
    shares += [(1 - decays[t]) * float(np.prod(decays[t + 1 :])) for t in range(5)]
    assert sum(shares) == pytest.approx(1)
    for name, tensor in average.network.state_dict().items():
        if tensor.is_floating_point():
            expected = sum(w * s[name].double() for w, s in zip(shares, seen, strict=True))
            torch.testing.assert_close(tensor.double(), expected, rtol=1e-5, atol=1e-6)
        else:
            assert torch.equal(tensor, seen[-1][name])


def test_an_average_is_no_part_of_what_is_trained() -> None:
    stepper = stepper_of(ema_decay=0.5)
    plain = stepper_of()
    for step in range(2):
        assert stepper.take(batch_of(step), step) == plain.take(batch_of(step), step)
    state = plain.network.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in stepper.network.state_dict().items())
    copy = WeightAverage(plain.network, 0.5).network
    assert {id(p) for p in copy.parameters()}.isdisjoint(id(p) for p in plain.network.parameters())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_goes_the_way_of_full_precision(precision: str) -> None:
    half, full = stepper_of(precision=precision), stepper_of()
    start = weights_of(full.network)
    if precision == "fp16":  # its first scale is a guess, which costs the first steps
        half.scaler.load_state_dict({**half.scaler.state_dict(), "scale": 256.0})
    assert half.take(batch_of(0), 0) == pytest.approx(full.take(batch_of(0), 0), rel=0.03)
    ours, theirs = weights_of(half.network), weights_of(full.network)
    moved = [torch.cat([(w[k] - start[k]).ravel() for k in start]) for w in (ours, theirs)]
    assert float(torch.cosine_similarity(*moved, dim=0)) > 0.9
    assert all(p.dtype == torch.float32 for p in half.network.parameters())


def test_gradients_that_overflow_in_fp16_leave_a_step_out_and_then_stop() -> None:
    stepper = stepper_of(precision="fp16")
    before = weights_of(stepper.network)
    stepper.network.head.classifier.weight.register_hook(lambda g: g * torch.inf)
    scale = stepper.scaler.get_scale()
    assert np.isfinite(stepper.take(batch_of(0), 0))
    assert stepper.scaler.get_scale() == scale / 2
    after = weights_of(stepper.network)
    assert all(torch.equal(after[k], before[k]) for k in before)
    state = stepper.scaler.state_dict()
    stepper.scaler.load_state_dict({**state, "scale": SMALLEST_SCALE * 1.5})
    with pytest.raises(GstoVizError, match="gradients overflow in fp16 at step 1, however small"):
        stepper.take(batch_of(0), 1)


def test_a_loss_that_is_not_finite_changes_no_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    stepper = stepper_of()
    before = weights_of(stepper.network)
    monkeypatch.setattr(
        "gsto_viz.train.tasks.segmentation_loss", lambda out, *a, **k: out.logits.sum() * torch.inf
    )
    assert not np.isfinite(stepper.take(batch_of(0), 0))
    after = weights_of(stepper.network)
    assert all(torch.equal(after[k], before[k]) for k in before)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_a_compiled_network_takes_the_same_steps() -> None:
    compiled, plain = stepper_of(compile=True), stepper_of()
    # The first loss differs by the order of sums alone; batch norms over few cells then enlarge it.
    for step, tolerance in enumerate((1e-4, 1e-2)):
        losses = [stepper.take(batch_of(step), step) for stepper in (compiled, plain)]
        assert losses[0] == pytest.approx(losses[1], rel=tolerance)
    assert compiled.network.state_dict().keys() == plain.network.state_dict().keys()


def test_dropped_channels_follow_from_seed_and_step_alone() -> None:
    """A step does the same whatever was drawn before it, and another one where the seed differs."""

    def after(seed: int, drawn: int, **options: float) -> dict[str, torch.Tensor]:
        stepper = stepper_of(model_options=options, accumulate=2)
        stepper.recipe = stepper.recipe.with_settings({"seed": seed})  # the weights stay the same
        for step in range(2):
            torch.rand(drawn)
            stepper.take(batch_of(step), step)
        return weights_of(stepper.network)

    with torch.random.fork_rng(devices=[]):
        first, same = after(0, 0, head_dropout=0.5), after(0, 3, head_dropout=0.5)
        assert all(torch.equal(first[name], same[name]) for name in first)
        for other in (after(1, 0, head_dropout=0.5), after(0, 0)):
            assert any(not torch.equal(first[name], other[name]) for name in first)


def test_every_forward_pass_drops_channels_of_its_own() -> None:
    words = [(s, step, part, rank) for s in (0, 7) for step in range(5) for part in (1, 2)
             for rank in range(3)]  # fmt: skip
    assert len({dropout_seed(*each) for each in words}) == len(words)
    assert dropout_seed(2**62, 10**6, 3, 4) == dropout_seed(2**62, 10**6, 3, 4)
