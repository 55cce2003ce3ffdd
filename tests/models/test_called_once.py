"""Every part of a network runs exactly once in a forward pass, so that a hook sees one thing."""

from collections import Counter

import pytest
import torch
from torch import nn

from gsto_viz.models import build_model


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("hrnetv2-tiny", {}),
        ("gsto-hrnet-tiny", {}),
        ("gsto-hrnet-tiny", {"gate_source": "concat", "gate_supervised": (1, 2, 3)}),
        ("gsto-hrnet-tiny", {"gate_form": "paper", "gate_unsupervised": (1,)}),
    ],
)
def test_every_module_is_called_once(name, options):
    model = build_model(name, **options).eval()
    calls: Counter[str] = Counter()
    handles = [
        module.register_forward_hook(lambda *_, path=path: calls.update([path]))
        for path, module in model.named_modules()
        if not isinstance(module, (nn.ModuleList, nn.ModuleDict))
    ]
    with torch.no_grad():
        model(torch.zeros(1, 3, 40, 56))
    assert {path for path, count in calls.items() if count != 1} == set()
    assert len(calls) == len(handles)
