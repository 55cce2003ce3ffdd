"""Receptive fields of linear networks against analytic moments and composed kernels."""

import numpy as np
import pytest
import torch
from torch import nn

from gsto_viz.attribution import field_rows, receptive_fields
from gsto_viz.errors import GstoVizError
from gsto_viz.gains import Gains
from gsto_viz.stats.causal import effective_size

LAYERS = [(3, 2), (5, 1), (3, 2), (3, 1), (7, 2)]  # kernel side, stride


def uniform_network(channels=1):
    layers, inputs = [], 3
    for side, stride in LAYERS:
        conv = nn.Conv2d(inputs, channels, side, stride=stride, padding=side // 2, bias=False)
        nn.init.constant_(conv.weight, 1.0)
        layers.append(conv)
        inputs = channels
    return nn.Sequential(*layers).double()


def composed_kernel():
    """The kernel of the whole chain along one axis, by composing boxes."""
    kernel, jump = np.ones(1), 1
    for side, stride in LAYERS:
        spread = np.zeros((side - 1) * jump + 1)
        spread[::jump] = 1
        kernel = np.convolve(kernel, spread)
        jump *= stride
    return kernel, jump


def test_uniform_kernels_have_the_analytic_size():
    image = torch.zeros(1, 3, 256, 256, dtype=torch.float64)
    (field,) = receptive_fields(uniform_network(), image, [(131, 133)], {"end": "4"})
    jump, variance = 1, 0.0
    for side, stride in LAYERS:
        variance += (side**2 - 1) / 12 * jump**2
        jump *= stride
    assert (field.stride, field.cell, field.centre) == (8, (16, 16), (128.0, 128.0))
    # All channels see the same, so the roots are the kernel, whose variance is a sum of boxes'.
    size = effective_size(np.sqrt(field.gradient), field.centre)
    assert size == pytest.approx(2 * np.sqrt(variance), rel=1e-12)


def test_gradients_are_the_composed_kernel():
    image = torch.zeros(1, 3, 256, 256, dtype=torch.float64)
    (field,) = receptive_fields(uniform_network(), image, [(128, 128)], {"end": "4"})
    kernel, _ = composed_kernel()
    expected = np.zeros((256, 256))
    half = kernel.size // 2
    window = slice(128 - half, 128 + half + 1)
    expected[window, window] = 3 * np.outer(kernel, kernel) ** 2
    np.testing.assert_allclose(field.gradient, expected)


def test_random_signs_sum_over_channels():
    torch.manual_seed(0)
    net = nn.Conv2d(3, 5, 3, padding=1).double()
    image = torch.zeros(1, 3, 9, 9, dtype=torch.float64)
    (field,) = receptive_fields(net_of(net), image, [(4, 4)], {"end": "0"}, draws=1000)
    exact = np.zeros((9, 9))
    exact[3:6, 3:6] = net.weight.detach().square().sum(dim=(0, 1)).numpy()
    np.testing.assert_allclose(field.gradient, exact, rtol=0.2)


def net_of(conv):
    return nn.Sequential(conv)


def test_gains_of_channels_do_not_matter():
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3, padding=1).double()
    image = torch.zeros(1, 3, 9, 9, dtype=torch.float64)
    sigma, live = np.array([1.0, 2, 3, 4]), np.array([True, True, False, True])

    def measure(gain):
        twin = nn.Conv2d(3, 4, 3, padding=1).double()
        twin.weight.data = conv.weight.data * torch.from_numpy(gain)[:, None, None, None]
        gains = {"end": Gains(sigma * gain, live)}
        return receptive_fields(net_of(twin), image, [(4, 4)], {"end": "0"}, gains=gains)[0]

    one, two = measure(np.ones(4)), measure(np.array([9.0, 0.1, 5, 2]))
    np.testing.assert_allclose(two.gradient, one.gradient)
    changed = conv.weight.data.clone()
    changed[2] = 100
    conv.weight.data = changed
    np.testing.assert_allclose(measure(np.ones(4)).gradient, one.gradient)


def test_ungated_fields_are_those_of_the_plain_network(toy):
    model, image = toy.network(gate_supervised=()), toy.picture()
    plain = toy.network("hrnetv2-tiny", seed=5)
    weights = {k.replace(".transfer.", "."): v for k, v in model.state_dict().items()}
    plain.load_state_dict({k: v for k, v in weights.items() if k in plain.state_dict()})
    taps = ["stage4.branch*", "stage4.m0.branch*.pre"]
    found = receptive_fields(model, image, [(50, 33)], taps, gated=False, draws=1)
    expected = receptive_fields(plain, image, [(50, 33)], taps, draws=1)
    gated = receptive_fields(model, image, [(50, 33)], taps, draws=1)
    assert [f.stride for f in found] == [4, 8, 16, 32] * 2
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.gradient, theirs.gradient, rtol=1e-6, atol=1e-12)
    assert not np.allclose(gated[0].gradient, found[0].gradient)
    assert not any(m._forward_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())
    rows = field_rows(found, "a")
    assert rows["erf_px"].tolist() == [f.erf_px for f in found]


def test_wrong_requests(toy):
    model, image = toy.network(), toy.picture()
    with pytest.raises(GstoVizError, match="pixel x=101, y=3 lies outside the image"):
        receptive_fields(model, image, [(101, 3)])
    with pytest.raises(GstoVizError, match="is not 1; give one image"):
        receptive_fields(model, toy.picture(count=2), [(1, 1)])
    with pytest.raises(GstoVizError, match="did you mean"):
        receptive_fields(model, image, [(1, 1)], "stage4.brnch*")
