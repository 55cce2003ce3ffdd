"""A private copy of a network that shares its weights: safe to hook and to differentiate."""

import copy
from typing import Any

from torch import nn

from gsto_viz.capture.core import unwrap


def frozen_twin(model: nn.Module) -> nn.Module:
    """Copy a network's modules and share its weights, without gradients and without hooks.

    Captum puts hooks on the modules that it is given, and these act in every thread. On a twin they
    meet nobody. No parameter of the twin asks for gradients, so a backward pass leaves nothing in
    the network, and autograd keeps only what lies after the point that is asked about.

    Args:
        model: Any network; wrappers of compilation and data parallelism are taken off.

    Returns:
        A network in evaluation mode. Weights and statistics are the same memory as the original's.
    """
    network, _ = unwrap(model)
    memo: dict[int, Any] = {}
    for tensor in network.parameters():
        memo[id(tensor)] = nn.Parameter(tensor.detach(), requires_grad=False)
    for buffer in network.buffers():
        memo[id(buffer)] = buffer
    for module in network.modules():
        for name, value in vars(module).items():
            if "hooks" in name and isinstance(value, dict):
                memo[id(value)] = type(value)()
    twin: nn.Module = copy.deepcopy(network, memo)
    return twin.eval()


def tap_output(module: nn.Module) -> nn.Module:
    """Lead a twin's module through an identity of its own and return that.

    Captum reads a module's device from its inputs and cannot read lists, which fusions take. The
    identity takes and gives what the module gives: one tensor. Asked again, it is the same one.
    """
    known = getattr(module, "tap", None)
    if isinstance(known, nn.Identity):
        return known
    identity, inner = nn.Identity(), module.forward

    def forward(*inputs: Any, **options: Any) -> Any:
        return identity(inner(*inputs, **options))

    module.add_module("tap", identity)
    module.forward = forward
    return identity
