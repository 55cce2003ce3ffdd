"""Fusions and transitions: gates at one change nothing; loops agree; inputs stay as they are."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gsto_viz.models import (
    GatingConfig,
    HRNet,
    HRNetConfig,
    SupervisedGate,
    UnsupervisedGate,
    build_model,
)
from gsto_viz.models.fusion import Fusion, Transition

CONFIG = HRNetConfig(width=2, stage1_blocks=1, stage1_planes=2, num_classes=3)
SIZES = ((9, 7), (5, 4), (3, 2), (2, 1))


def draw(module: nn.Module, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    for key, tensor in module.double().eval().requires_grad_(False).state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if "bn" in key else tensor.normal_()
    return module


def inputs(count: int) -> list[Tensor]:
    torch.manual_seed(9)
    return [torch.randn(1, 2 * 2**r, *SIZES[r], dtype=torch.float64) for r in range(count)]


def open_gates(model: nn.Module) -> None:
    """Make every gate exactly 1: sigmoid(40) rounds to 1 in float64."""
    for gate in model.modules():
        if isinstance(gate, UnsupervisedGate | SupervisedGate):
            if gate.form == "paper":
                last = gate.score
            else:
                last = (gate.score[-1] if isinstance(gate, SupervisedGate) else gate.score).bn
            last.weight.data.zero_()
            last.bias.data.fill_(40.0)


def without_gates(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of a gated network to those of the plain one."""
    return {
        key.replace(".transfer.", "."): value
        for key, value in state.items()
        if ".gate." not in key and ".predictor." not in key
    }


@pytest.mark.parametrize("form", ["paper", "released"])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_open_gates_make_a_gated_fusion_plain(form: str, count: int) -> None:
    gated = draw(Fusion(count, replace(CONFIG, gating=GatingConfig(form=form))))
    plain = draw(Fusion(count, CONFIG), seed=1)
    plain.load_state_dict(without_gates(gated.state_dict()))
    xs = inputs(count)
    before = gated(xs)
    assert not any(torch.equal(a, b) for a, b in zip(before, plain(xs), strict=True))
    open_gates(gated)
    for a, b in zip(gated(xs), plain(xs), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("form", ["paper", "released"])
def test_open_gates_make_gsto_hrnet_an_hrnet(form: str) -> None:
    gated = draw(build_model("gsto-hrnet-tiny", gate_form=form))
    plain = draw(build_model("hrnetv2-tiny"), seed=1)
    plain.load_state_dict(without_gates(gated.state_dict()))
    open_gates(gated)
    image = torch.randn(1, 3, 67, 101, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(gated(image).logits, plain(image).logits)


def loop_conv(x: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
    """(C, h, w) with (D, C, k, k), zero padding k // 2, one position at a time."""
    k = weight.shape[-1]
    height, width = x.shape[1:]
    out = np.zeros((weight.shape[0], -(-height // stride), -(-width // stride)))
    for d, row, column in np.ndindex(out.shape):
        for dy in range(k):
            for dx in range(k):
                y, z = row * stride + dy - k // 2, column * stride + dx - k // 2
                if 0 <= y < height and 0 <= z < width:
                    out[d, row, column] += x[:, y, z] @ weight[d, :, dy, dx]
    return out


def loop_unit(x: np.ndarray, unit: nn.Module, stride: int, relu: bool) -> np.ndarray:
    out = loop_conv(x, unit.conv.weight.detach().numpy(), stride)
    bn = unit.bn
    for d in range(len(out)):
        scale = float(bn.weight[d]) / np.sqrt(float(bn.running_var[d]) + 1e-5)
        out[d] = (out[d] - float(bn.running_mean[d])) * scale + float(bn.bias[d])
    return np.maximum(out, 0) if relu else out


def loop_bilinear(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixel centres at (i + 0.5) / n, clamped at the first and last centre."""
    out = np.zeros((len(x), *size))
    height, width = x.shape[1:]
    for row, column in np.ndindex(size):
        y = min(max((row + 0.5) * height / size[0] - 0.5, 0), height - 1)
        z = min(max((column + 0.5) * width / size[1] - 0.5, 0), width - 1)
        for a in range(height):
            for b in range(width):
                out[:, row, column] += x[:, a, b] * max(0, 1 - abs(y - a)) * max(0, 1 - abs(z - b))
    return out


@pytest.mark.parametrize("form", ["paper", "released"])
def test_gated_fusion_equals_loops_over_positions(form: str) -> None:
    """Eq. 1 to 4 for every pair of three branches of odd sizes, then sum and ReLU."""
    fusion = draw(Fusion(3, replace(CONFIG, gating=GatingConfig(form=form))))
    xs = inputs(3)
    with torch.no_grad():
        found = fusion(xs)
    for i in range(3):
        total = np.zeros(found[i].shape[1:])
        for j in range(3):
            edge = fusion.transfers[f"{j}to{i}"]
            x = xs[j][0].numpy()
            if form == "paper":
                weight = edge.gate.score.weight.detach().numpy()
                score = loop_conv(x, weight, 1) + float(edge.gate.score.bias)
            else:
                score = loop_unit(x, edge.gate.score, 1, relu=True)
            moved = x * (1 / (1 + np.exp(-score)))
            convs = edge.transfer.convs
            if j > i:
                moved = loop_bilinear(loop_unit(moved, convs, 1, relu=False), SIZES[i])
            for step in range(i - j):
                moved = loop_unit(moved, convs[step], 2, relu=step < i - j - 1)
            total += moved
        np.testing.assert_allclose(found[i][0].numpy(), np.maximum(total, 0), atol=1e-12)


@pytest.mark.parametrize("gating", [None, GatingConfig(), GatingConfig(form="paper")])
def test_fusion_leaves_its_inputs_alone(gating: GatingConfig | None) -> None:
    fusion = draw(Fusion(3, replace(CONFIG, gating=gating)))
    xs = inputs(3)
    objects, values = list(xs), [x.clone() for x in xs]
    fused = fusion(xs)
    assert all(a is b for a, b in zip(xs, objects, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(xs, values, strict=True))
    assert not any(y is x for y in fused for x in xs)


def make_transition(stage: int, gating: GatingConfig | None) -> Transition:
    """Make a transition whose predictor is the real head."""
    config = replace(CONFIG, gating=gating)
    transition = getattr(HRNet(config), f"transition{stage}")
    return draw(transition)


@pytest.mark.parametrize("stage", [2, 3])
def test_transition_gates_only_the_source_of_the_new_branch(stage: int) -> None:
    transition = make_transition(stage, GatingConfig())
    xs = inputs(stage)
    values = [x.clone() for x in xs]
    branches, logits = transition(xs)
    assert logits.shape == (1, 3, *SIZES[0])
    assert len(xs) == stage
    assert len(branches) == stage + 1
    assert all(a is b for a, b in zip(branches, xs, strict=False))
    assert all(torch.equal(a, b) for a, b in zip(xs, values, strict=True))
    gate = transition.gate(transition.predictor(xs))
    assert gate.shape == (1, 1, *SIZES[stage - 1])
    assert torch.equal(branches[-1], transition.new_branch(xs[-1] * gate))
    assert branches[-1].shape == (1, 2 * 2**stage, *SIZES[stage])


def test_concat_source_brings_all_branches_to_the_coarsest_grid() -> None:
    gating = GatingConfig(source="concat", supervised=(), unsupervised=(3,))
    transition = make_transition(3, gating)
    xs = inputs(3)
    branches, logits = transition(xs)
    assert logits is None
    coarse = [loop_bilinear(x[0].numpy(), SIZES[2]) for x in xs[:2]] + [xs[2][0].numpy()]
    source = torch.from_numpy(np.concatenate(coarse))[None]
    expected = transition.new_branch(source * transition.gate(source))
    torch.testing.assert_close(branches[-1], expected, atol=1e-12, rtol=0)


def test_auxiliary_head_without_gate_changes_no_branch() -> None:
    gating = GatingConfig(fusion=False, supervised=(), auxiliary_heads=(2,))
    transition = make_transition(2, gating)
    xs = inputs(2)
    branches, logits = transition(xs)
    assert transition.gate is None
    assert logits.shape == (1, 3, *SIZES[0])
    assert torch.equal(branches[-1], transition.new_branch(xs[-1]))
