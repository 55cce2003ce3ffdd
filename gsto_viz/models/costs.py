"""What a network costs: parameters and multiply-adds, counted as HRNet and GSTO count them.

The "GFLOPs" of their tables are multiply-adds of the convolutions (MACs) per 2**30; the "params" of
their segmentation tables are convolution weights and biases, without batch norm. ``cost_table``
sets our counts beside the printed ones.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gsto_viz.models.blocks import Resize

GI = 2**30
"""Divisor of the papers' "GFLOPs"."""

SHAPE_KEEPING = (nn.BatchNorm2d, nn.ReLU, nn.Sigmoid)
"""Layers whose output has the shape and type of their input."""


@dataclass(frozen=True)
class Costs:
    """Costs of one forward pass of one image.

    Attributes:
        params: Elements of all parameters that the forward uses; those of modules that are never
            called are not counted.
        conv_params: The same, of Conv2d only (weights and biases).
        macs: Multiply-adds of all Conv2d: weight elements times output positions. Biases, batch
            norm, resizing and the multiplication by a gate are not counted.
        height: Image height in pixels.
        width: Image width in pixels.
        unused: Dotted names of modules that have parameters and were never called.
    """

    params: int
    conv_params: int
    macs: int
    height: int
    width: int
    unused: tuple[str, ...] = ()

    @property
    def macs_gi(self) -> float:
        """MACs / 2**30: the papers' "GFLOPs"."""
        return self.macs / GI


def count_costs(model: nn.Module, height: int = 1024, width: int = 2048) -> Costs:
    """Count what one forward pass of a (1, 3, height, width) image costs.

    The pass runs on a copy without memory (torch's meta device), in evaluation mode: the model, its
    weights, flags and hooks stay as they are, and no weight is read.

    Args:
        model: Any network that takes an image.
        height: Image height in pixels.
        width: Image width in pixels.

    Raises:
        GstoVizError: The network refuses this size.
    """
    return count_ghost(_meta_copy(model), height, width)


def count_ghost(ghost: nn.Module, height: int, width: int) -> Costs:
    """Count the costs of a network on the meta device that nobody else uses; it is changed."""
    ghost.eval()
    for module in ghost.modules():
        # On the meta device these take most of the time, and only their shapes count.
        if type(module) in SHAPE_KEEPING:
            vars(module)["forward"] = _same
        elif type(module) is Resize:
            vars(module)["forward"] = _resized
    with _call_records(ghost) as calls, torch.no_grad():
        ghost(torch.empty(1, 3, height, width, device="meta"))
    seen: set[int] = set()
    params = conv_params = 0
    for module in calls.modules:
        for parameter in module.parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            params += parameter.numel()
            if isinstance(module, nn.Conv2d):
                conv_params += parameter.numel()
    unused = tuple(
        name
        for name, module in ghost.named_modules()
        if module not in calls.modules and any(True for _ in module.parameters(recurse=False))
    )
    return Costs(params, conv_params, calls.macs, height, width, unused)


def _same(x: Tensor) -> Tensor:
    return x


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x.new_empty((*x.shape[:2], *size))


def _meta_copy(model: nn.Module) -> nn.Module:
    """Copy a model with meta tensors in place of its own, and without its hooks."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.to("meta"), parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.to("meta")
    for module in model.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            memo[id(hooks)] = type(hooks)()
    return copy.deepcopy(model, memo)


@dataclass
class _Calls:
    """Modules called so far, in order of the first call, and the multiply-adds of their calls."""

    modules: dict[nn.Module, None]
    macs: int = 0


@contextmanager
def _call_records(model: nn.Module) -> Iterator[_Calls]:
    """Record every module call of the block; the hooks are gone afterwards, whatever happens."""
    calls = _Calls({})

    def record(module: nn.Module, _inputs: object, output: object) -> None:
        calls.modules[module] = None
        if isinstance(module, nn.Conv2d) and isinstance(output, Tensor):
            height, width = output.shape[-2:]
            calls.macs += module.weight.numel() * height * width

    handles = [module.register_forward_hook(record) for module in model.modules()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
