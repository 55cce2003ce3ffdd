"""Batch norm over the images of all processes, so that W processes train as one would.

On GPUs this is ``nn.SyncBatchNorm``. That refuses CPU tensors, so there the statistics are combined
here: exactly, mean and variance from those of each process (Chan et al. 1979), in float64.
"""

from typing import Any

import torch
from torch import Tensor, nn

from gsto_viz.distributed import World

AXES = (0, 2, 3)


def synchronize_batch_norm(model: nn.Module, world: World) -> nn.Module:
    """Make every batch norm of a network use the statistics of all processes in training.

    Parameters and buffers stay the same tensors under the same names. Alone, nothing is changed.

    Returns:
        The network, changed in place.
    """
    if world.size == 1:
        return model
    if next(model.parameters()).device.type == "cuda":
        synchronized: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return synchronized
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, SharedBatchNorm2d(child, world))
    return model


class SharedBatchNorm2d(nn.BatchNorm2d):
    """A batch norm whose training statistics are those of the batches of all processes.

    Args:
        norm: The batch norm to stand in for; its tensors are taken over.
        world: The processes, all of which run every forward and backward pass, in one order.
    """

    def __init__(self, norm: nn.BatchNorm2d, world: World) -> None:
        super().__init__(
            norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
        )
        for name, parameter in norm.named_parameters(recurse=False):
            setattr(self, name, parameter)
        for name, buffer in norm.named_buffers(recurse=False):
            setattr(self, name, buffer)
        self.world = world
        self.training = norm.training

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> same; N images of this process."""
        if not self.training or self.running_mean is None or self.running_var is None:
            return super().forward(x)
        out, mean, variance, count = _SharedNormalization.apply(
            x, self.weight, self.bias, self.eps, self.world
        )
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        rate = self._rate()
        unbiased = variance * (count / (count - 1).clamp(min=1))
        self.running_mean.lerp_(mean.to(self.running_mean), rate)
        self.running_var.lerp_(unbiased.to(self.running_var), rate)
        result: Tensor = out
        return result

    def _rate(self) -> float:
        """Return the weight of the new statistics; a momentum of None averages all batches."""
        if self.momentum is not None:
            return float(self.momentum)
        return 1.0 / max(int(self.num_batches_tracked or 0), 1)


class _SharedNormalization(torch.autograd.Function):
    """y = weight * (x - m) / sqrt(v + eps) + bias with m and v over all processes.

    The gradient by x is that of the sum of all processes' losses; those by weight and bias are this
    process's part, as for any other parameter.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, world: World
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return y and, without gradients: mean (C,), variance (C,) (biased), count; float64."""
        values = _full(x)
        own_variance, own_mean = torch.var_mean(values, dim=AXES, correction=0)
        size = torch.full((1,), values.numel() / values.shape[1], dtype=torch.float64)
        own = torch.cat([own_mean.double(), own_variance.double(), size])
        every = torch.stack(world.gather(own))
        means, variances = every[:, :-1].chunk(2, dim=1)
        shares = every[:, -1:] / every[:, -1].sum()
        mean = (shares * means).sum(0)
        variance = (shares * (variances + (means - mean) ** 2)).sum(0)
        count = every[:, -1].sum()
        scale = torch.rsqrt(variance + eps)
        normalized = (values - _wide(mean.to(values))) * _wide(scale.to(values))
        ctx.save_for_backward(normalized, weight, scale.to(values))
        ctx.world, ctx.count = world, float(count)
        out = (normalized * _wide(_full(weight)) + _wide(_full(bias))).to(x.dtype)
        ctx.mark_non_differentiable(mean, variance, count)
        return out, mean, variance, count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients by x, weight and bias."""
        normalized, weight, scale = ctx.saved_tensors
        gradient = _full(gradients[0])
        by_bias = gradient.sum(AXES)
        by_weight = (gradient * normalized).sum(AXES)
        total = ctx.world.sum(torch.stack([by_bias, by_weight]).double()) / ctx.count
        by_bias_mean, by_weight_mean = (_wide(part.to(gradient)) for part in total)
        by_x = (gradient - by_bias_mean - normalized * by_weight_mean) * _wide(weight * scale)
        return by_x.to(gradients[0].dtype), by_weight, by_bias, None, None


def _wide(channel: Tensor) -> Tensor:
    """(C,) -> (1, C, 1, 1)."""
    return channel.view(1, -1, 1, 1)


def _full(values: Tensor) -> Tensor:
    """Return values in float32, or as they are in float64."""
    return values if values.dtype == torch.float64 else values.float()
