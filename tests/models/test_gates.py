"""Gates against Eq. 3 to 6 of arXiv:2005.13363 written as loops over positions."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from gsto_viz.errors import GstoVizError
from gsto_viz.models import GatedScaleTransfer, SupervisedGate, UnsupervisedGate
from gsto_viz.models.gates import gate_range


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def draw(module: nn.Module, seed: int = 0) -> nn.Module:
    """Fill weights and batch-norm statistics so that all of them matter."""
    torch.manual_seed(seed)
    for key, tensor in module.double().eval().requires_grad_(False).state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if "bn" in key else tensor.normal_()
    return module


def loop_conv(x: np.ndarray, weight: np.ndarray, bias: float, stride: int) -> np.ndarray:
    """Convolve (C, h, w) with one zero-padded (C, k, k) filter, one position at a time."""
    channels, height, width = x.shape
    k = weight.shape[-1]
    out = np.zeros((-(-height // stride), -(-width // stride)))
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            total = bias
            for c in range(channels):
                for dy in range(k):
                    for dx in range(k):
                        y, z = row * stride + dy - k // 2, column * stride + dx - k // 2
                        if 0 <= y < height and 0 <= z < width:
                            total += x[c, y, z] * weight[c, dy, dx]
            out[row, column] = total
    return out


def loop_unit(x: np.ndarray, unit: nn.Module, stride: int) -> np.ndarray:
    """ReLU(BN(conv(x))) for a unit with one output channel: (C, h, w) -> (1, h', w')."""
    score = loop_conv(x, array(unit.conv.weight)[0], 0.0, stride)
    bn = unit.bn
    mean, variance = float(bn.running_mean), float(bn.running_var)
    scaled = (score - mean) / math.sqrt(variance + 1e-5) * float(bn.weight) + float(bn.bias)
    return np.where(scaled > 0, scaled, 0.0)[None]


def loop_pool(gate: np.ndarray) -> np.ndarray:
    """Mean over 2x2 cells; a cell cut by the border averages what it has."""
    rows, columns = -(-gate.shape[0] // 2), -(-gate.shape[1] // 2)
    return np.array(
        [
            [gate[2 * r : 2 * r + 2, 2 * c : 2 * c + 2].mean() for c in range(columns)]
            for r in range(rows)
        ]
    )


@pytest.mark.parametrize("form", ["paper", "released"])
def test_unsupervised_gate_is_equation_4(form: str) -> None:
    gate = draw(UnsupervisedGate(3, form=form))
    feature = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    found = array(gate(feature))
    assert found.shape == (2, 1, 5, 7)
    for n, x in enumerate(array(feature)):
        if form == "paper":
            score = loop_conv(x, array(gate.score.weight)[0], float(gate.score.bias), 1)
        else:
            score = loop_unit(x, gate.score, 1)[0]
        np.testing.assert_allclose(found[n, 0], np.vectorize(sigmoid)(score), atol=1e-12)


@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("size", [(17, 26), (9, 11), (8, 8), (5, 1)])
def test_supervised_released_gate_is_a_chain(size: tuple[int, int], steps: int) -> None:
    gate = draw(SupervisedGate(4, steps))
    logits = torch.randn(1, 4, *size, dtype=torch.float64)
    expected = loop_unit(array(logits)[0], gate.score[0], 1)
    for step in range(1, steps + 1):
        expected = loop_unit(expected, gate.score[step], 2)
    found = array(gate(logits))[0]
    assert found.shape == expected.shape == (1, *(-(-s // 2**steps) for s in size))
    np.testing.assert_allclose(found, np.vectorize(sigmoid)(expected), atol=1e-12)


@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("size", [(17, 26), (9, 11), (8, 8), (5, 1)])
def test_supervised_paper_gate_is_equation_6_pooled(size: tuple[int, int], steps: int) -> None:
    gate = draw(SupervisedGate(4, steps, form="paper"))
    logits = torch.randn(1, 4, *size, dtype=torch.float64)
    score = loop_conv(array(logits)[0], array(gate.score.weight)[0], float(gate.score.bias), 1)
    expected = np.vectorize(sigmoid)(score)
    for _ in range(steps):
        expected = loop_pool(expected)
    found = array(gate(logits))[0, 0]
    assert found.shape == expected.shape == tuple(-(-s // 2**steps) for s in size)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(("form", "low"), [("paper", 0.0), ("released", 0.5)])
def test_values_stay_in_the_range_of_the_form(form: str, low: float) -> None:
    assert gate_range(form) == (low, 1.0)
    gate = draw(UnsupervisedGate(3, form=form))
    values = gate(torch.randn(4, 3, 16, 16, dtype=torch.float64) * 3)
    assert low <= float(values.min()) < float(values.max()) <= 1.0
    if form == "released":
        assert float((values == 0.5).double().mean()) > 0.1
    else:
        assert float(values.min()) < 0.4


def test_gated_transfer_gates_the_feature_then_transfers() -> None:
    torch.manual_seed(1)
    transfer = GatedScaleTransfer(nn.AvgPool2d(2), draw(UnsupervisedGate(2, form="paper")))
    x = torch.randn(1, 2, 4, 6, dtype=torch.float64)
    kept = x.clone()
    found = array(transfer(x))
    g = array(transfer.gate(x))[0, 0]
    for c in range(2):
        gated = np.array([[array(x)[0, c, r, w] * g[r, w] for w in range(6)] for r in range(4)])
        np.testing.assert_allclose(found[0, c], loop_pool(gated), atol=1e-12)
    assert torch.equal(x, kept)


def test_gated_transfer_takes_evidence_and_passes_arguments_on() -> None:
    class Shift(nn.Module):
        def forward(self, x: torch.Tensor, by: float) -> torch.Tensor:
            return x + by

    gate = draw(SupervisedGate(3, 1, form="paper"))
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64)
    logits = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    found = GatedScaleTransfer(Shift(), gate)(x, 2.0, evidence=logits)
    assert torch.equal(found, x * gate(logits) + 2.0)


@pytest.mark.parametrize("form", ["paper", "released"])
@pytest.mark.parametrize("number", [0, -1, 2.5, "4", None, True])
def test_a_gate_of_no_channels_is_refused(form, number) -> None:
    with pytest.raises(GstoVizError, match=r"channels of a gate is .*; give a whole number"):
        UnsupervisedGate(number, form=form)
    with pytest.raises(GstoVizError, match=r"num_classes of a gate is .*; give a whole number"):
        SupervisedGate(number, 1, form=form)
    with pytest.raises(GstoVizError, match=r"steps of a gate is .*at least 0"):
        SupervisedGate(3, -1, form=form)


@pytest.mark.parametrize("make", [lambda f: UnsupervisedGate(2, form=f), gate_range])
def test_unknown_form_is_refused(make) -> None:
    with pytest.raises(GstoVizError, match="unknown gate form 'relu'; choose one of released"):
        make("relu")
