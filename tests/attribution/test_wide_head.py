"""Heads that begin with a 3x3 convolution: their exact split, against a changed forward pass."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from gsto_viz.attribution.areas import Pixel, View
from gsto_viz.attribution.head import head_pass, own_mean_baseline, zero_baseline
from gsto_viz.attribution.shapley import branch_shapley, split_pass
from gsto_viz.attribution.targets import Target, resolve
from gsto_viz.errors import GstoVizError
from gsto_viz.models import build_model


def network(name: str) -> nn.Module:
    torch.manual_seed(1)
    model = build_model(name, num_classes=4).eval()
    for one in model.modules():
        if isinstance(one, nn.BatchNorm2d):
            nn.init.uniform_(one.weight, 0.5, 1.5)
            nn.init.uniform_(one.running_var, 0.5, 1.5)
            nn.init.normal_(one.running_mean, std=0.3)
            nn.init.normal_(one.bias, std=0.3)
    return model


def changed_logits(
    model: nn.Module, image: torch.Tensor, present: tuple[bool, ...], absent: list[torch.Tensor]
) -> torch.Tensor:
    """Run the network with the channels of absent branches replaced in the concatenation."""
    channels = [branch.channels for branch in model.anatomy().branches]

    def replace(_module: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        parts = list(inputs[0].split(channels, dim=1))
        for r, there in enumerate(present):
            if not there:
                parts[r] = absent[r].expand_as(parts[r])
        return (torch.cat(parts, dim=1),)

    handle = model.head.fuse.register_forward_pre_hook(replace)
    try:
        with torch.no_grad():
            return model(image).logits
    finally:
        handle.remove()


@pytest.mark.parametrize("name", ["ppm-tiny", "gsto-ppm-tiny-sup", "upernet-tiny"])
@pytest.mark.parametrize("kind", ["zero", "mean"])
def test_shapley_values_are_those_of_changed_forward_passes(name: str, kind: str) -> None:
    model, image = network(name), torch.randn(1, 3, 64, 88)
    seen = head_pass(model, image)
    baseline = zero_baseline(model) if kind == "zero" else own_mean_baseline(seen)
    prediction = np.zeros((64, 88), np.uint8)
    view = View(prediction, tuple("abcd"), None, None)
    # A corner: there the 3x3 convolution reads zeros around the map.
    entries = resolve(Target(Pixel(0, 0, "b"), "sum"), view, tuple(seen.logits.shape))
    found = branch_shapley(seen, baseline, entries)
    absent = list(baseline.features)
    count = len(absent)
    scores = {}
    for present in itertools.product((False, True), repeat=count):
        logits = changed_logits(model, image, present, absent)
        scores[present] = float(logits[0, 1, 0, 0])
    weights = [1 / (count * math.comb(count - 1, k)) for k in range(count)]
    expected = np.zeros(count)
    for r in range(count):
        for present, score in scores.items():
            if not present[r]:
                with_it = tuple(one or k == r for k, one in enumerate(present))
                expected[r] += weights[sum(present)] * (scores[with_it] - score)
    np.testing.assert_allclose(found.psi[:, 0], expected, rtol=1e-4, atol=1e-5)


def test_parts_of_the_hidden_layer_add_up_to_it() -> None:
    model, image = network("ppm-tiny"), torch.randn(1, 3, 64, 88)
    seen = head_pass(model, image)
    base, deltas = split_pass(seen, zero_baseline(model))
    held: list[torch.Tensor] = []
    model.head.fuse.bn.register_forward_hook(lambda _m, _i, output: held.append(output))
    with torch.no_grad():
        model(image)
    hidden = base + sum(deltas)
    torch.testing.assert_close(hidden, held[0][0].flatten(1), rtol=1e-4, atol=1e-5)


def test_aspp_declares_no_head_that_splits() -> None:
    with pytest.raises(GstoVizError, match="no head that can be split by branch"):
        head_pass(network("aspp-tiny"), torch.randn(1, 3, 64, 64))
