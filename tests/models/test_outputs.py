"""Tensors of an output by name: its own first, then those of what it holds."""

from typing import Any, NamedTuple

import pytest
import torch

from gsto_viz.models.outputs import output_tensors


class Named(NamedTuple):
    branches: list[torch.Tensor]
    logits: torch.Tensor


A, B, C = (torch.zeros(1, k, 2, 2) for k in (1, 2, 3))


@pytest.mark.parametrize(
    ("output", "names"),
    [
        (A, [""]),
        ([A, B], ["0", "1"]),
        (Named([A, B], C), ["logits", "branches#0", "branches#1"]),
        ({"aux": {"a": A, "deep": [B]}, "out": C}, ["out", "aux#a", "aux#deep#0"]),
        ("no tensor", []),
    ],
)
def test_names_in_order(output: Any, names: list[str]) -> None:
    assert list(output_tensors(output)) == names
