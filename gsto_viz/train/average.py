"""An exponential moving average of a network's weights, which is evaluated in their place."""

import copy

import torch

from gsto_viz.models.hrnet import HRNet

FIRST_STEPS = 10


class WeightAverage:
    """The average, as a network of its own that is never trained.

    After step t (from 0) every floating-point tensor of the state, batch-norm statistics included,
    moves by ``1 - d`` towards the trained one, with ``d = min(decay, (1 + t) / (10 + t))``: early
    weights do not linger. Counters are copied.

    Args:
        network: The network as it is before training; it is copied.
        decay: From 0 to below 1; 0.999 averages over the last thousand steps or so.
    """

    def __init__(self, network: HRNet, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: torch.nn.Module, step: int) -> None:
        """Take the weights after optimiser step ``step`` (from 0) into the average."""
        decay = min(self.decay, (1 + step) / (FIRST_STEPS + step))
        new = network.state_dict()
        own = self.network.state_dict()
        moving = [name for name, tensor in own.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([own[k] for k in moving], [new[k] for k in moving], 1.0 - decay)
        for name in own.keys() - set(moving):
            own[name].copy_(new[name])
