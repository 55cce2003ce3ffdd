"""Batches in a reproducible order, and one optimiser step with its batch norm and moving average.

The order follows from (seed, epoch) and each sample from (seed, epoch, index), so that neither the
number of readers, nor that of processes, nor a restart in the middle of an epoch changes what the
network sees.

Several processes share a batch. Every sum over images runs over all of them (batch-norm
statistics, the denominators of the losses, gradients), so that a step does what one process with
the whole batch would do, but for the order of sums.

On GPUs this is ``nn.SyncBatchNorm``. That refuses CPU tensors, so there the statistics are combined
here: exactly, mean and variance from those of each process (Chan et al. 1979), in float64.
"""

import copy
import inspect
import math
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from tqdm import tqdm

from gsto_viz.distributed import ALONE, World
from gsto_viz.errors import GstoVizError
from gsto_viz.models.base import SegmentationNetwork, SegmentationOutput
from gsto_viz.torch_utils import images_to_batch
from gsto_viz.train.reading import Annotated, Readers, result
from gsto_viz.train.recipe import Recipe

AHEAD = 2
"""Batches that are loaded ahead of use, at least."""


@dataclass(frozen=True)
class Batch:
    """One training step's input, as far as this process computes it.

    Attributes:
        images: (N, h, w, 3) uint8 sRGB.
        targets: Labels (N, h, w) uint8, 0..K-1 or 255; of a pose network joints (N, J, 3) float32.
        ids: Ids of all samples of the step, in all processes, to name them when a loss is not
            finite.
    """

    images: Tensor
    targets: Tensor
    ids: tuple[str, ...]


class TrainingSamples:
    """Batches of augmented samples in a reproducible order.

    A batch is cut into parts, one after the other, and each part into the shares of the processes;
    so a process that computes its parts one by one sees, with the others, the batch in order.

    Args:
        readers: What reads and augments the samples.
        batch_size: Images per batch; the last partial batch of an epoch is dropped.
        seed: Of the order.
        world: The processes that share each batch.
        parts: Parts in which each process computes its share.

    Raises:
        GstoVizError: There are fewer images than a batch needs, or a batch cannot be shared.
    """

    def __init__(
        self, readers: Readers, *, batch_size: int, seed: int, world: World = ALONE, parts: int = 1
    ) -> None:
        self.readers = readers
        self.data = readers.reader.data
        if len(self.data) < batch_size:
            raise GstoVizError(
                f"{self.data.name} has {len(self.data)} images, fewer than one batch of "
                f"{batch_size}; lower batch_size or add images"
            )
        if batch_size % (parts * world.size):
            raise GstoVizError(
                f"a batch of {batch_size} images cannot be shared by {world.size} processes in "
                f"{parts} parts each; make batch_size a multiple of {parts * world.size}"
            )
        self.batch_size = batch_size
        self.seed = seed
        self.world, self.parts = world, parts

    @property
    def batches_per_epoch(self) -> int:
        """Whole batches in one pass."""
        return len(self.data) // self.batch_size

    def order(self, epoch: int) -> list[list[int]]:
        """Return the image indices of each batch of an epoch (a permutation, cut into batches)."""
        rng = np.random.default_rng((self.seed, epoch))
        indices = rng.permutation(len(self.data)).tolist()
        size = self.batch_size
        return [indices[i * size : (i + 1) * size] for i in range(self.batches_per_epoch)]

    def share(self, indices: Sequence[int]) -> list[int]:
        """Return what this process computes of a batch: its share of each part, part by part."""
        own = self.batch_size // (self.parts * self.world.size)
        starts = [(part * self.world.size + self.world.rank) * own for part in range(self.parts)]
        return [index for start in starts for index in indices[start : start + own]]

    def batches(self, epoch: int, start: int = 0) -> Generator[Batch]:
        """Yield the batches of an epoch from number ``start`` on, loading some ahead of use.

        What goes wrong with a sample is raised when its batch is due, so that it does not depend on
        the number of readers; nothing is loaded after that.
        """
        own = self.batch_size // self.world.size
        ahead = max(AHEAD, -(-2 * self.readers.workers // own))
        with self.readers.open() as submit:
            pending: deque[tuple[list[int], list[Future[Any]]]] = deque()
            for indices in self.order(epoch)[start:]:
                pending.append((indices, [submit("crop", epoch, i) for i in self.share(indices)]))
                if len(pending) > ahead:
                    yield self._collate(*pending[0])
                    pending.popleft()
            while pending:
                yield self._collate(*pending[0])
                pending.popleft()

    def count_pixels(self, *, quiet: bool = True) -> npt.NDArray[np.int64]:
        """Count the labelled pixels of each class over all samples: (K,)."""
        counts = np.zeros(256, dtype=np.int64)
        with self.world.together(), self.readers.open() as submit:
            pending = deque(submit("pixels", i) for i in self.world.share(len(self.data)))
            bar = tqdm(total=len(pending), desc="class frequencies", disable=quiet, leave=False)
            with bar:
                while pending:
                    counts += result(pending.popleft())
                    bar.update()
        total = self.world.sum(torch.from_numpy(counts)).numpy()
        return np.asarray(total[: len(self.data.classes)])

    def _collate(self, indices: list[int], futures: "list[Future[Any]]") -> Batch:
        crops: list[Annotated] = [result(future) for future in futures]
        images, targets = (
            torch.from_numpy(np.stack(arrays)) for arrays in zip(*crops, strict=True)
        )
        return Batch(images, targets, tuple(self.data.ids[i] for i in indices))


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

    def __init__(self, network: SegmentationNetwork, decay: float) -> None:
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


SMALLEST_SCALE = 2.0**-14
"""Smallest scale of the loss in fp16; a gradient that overflows even so is faulty."""

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Return the rate of step 0..steps-1: a linear warm-up times the poly or the stepwise decay."""
    warmup = min(1.0, (step + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0
    epoch = step * recipe.epochs // steps
    if recipe.milestones:
        return float(recipe.lr * warmup * 0.1 ** sum(epoch >= one for one in recipe.milestones))
    return float(recipe.lr * warmup * (1.0 - step / steps) ** recipe.poly_power)


def optimizer_of(recipe: Recipe, network: nn.Module) -> Optimizer:
    """Make the recipe's optimiser of all parameters of a network."""
    if recipe.optimizer == "adam":
        return Adam(
            network.parameters(),
            lr=recipe.lr,
            betas=(recipe.momentum, 0.999),
            weight_decay=recipe.weight_decay,
        )
    return SGD(
        network.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov,
    )


class Objective(Protocol):
    """What is minimised; each process and each part of a batch gives its share."""

    def mass(self, targets: Tensor) -> Tensor:
        """Return, for the targets of a process, what adds up to the denominator of the loss."""

    def loss(
        self, output: SegmentationOutput, targets: Tensor, mass: Tensor, world: World
    ) -> Tensor:
        """Return what a part adds to the loss; ``mass`` is that of the whole batch."""


def dropout_seed(seed: int, step: int, part: int, rank: int) -> int:
    """Return the seed of one forward pass, from which the dropped channels follow.

    So they are the same in a run that was stopped and goes on, on GPUs too (their generators are in
    no state), and processes drop channels of their own.
    """
    sequence = np.random.SeedSequence((seed, step, part, rank))
    return int(sequence.generate_state(1, np.uint64)[0])


class Stepper:
    """A network, its optimiser and what belongs to them, with ``take`` for one step.

    Args:
        recipe: How to train.
        network: What to train, on the device where it is to be trained.
        steps: Steps of the whole run, for the rate.
        objective: What is minimised.
        world: The processes that share each batch.

    Attributes:
        network: The network; its batch norms may have become those of all processes.
        average: The moving average of its weights, or None.
        scaler: Scales the loss in fp16; does nothing otherwise.
    """

    def __init__(
        self,
        recipe: Recipe,
        network: SegmentationNetwork,
        *,
        steps: int,
        objective: Objective,
        world: World,
    ) -> None:
        self.recipe, self.steps, self.world = recipe, steps, world
        first = next(network.parameters())
        self.device, self.dtype = first.device, first.dtype
        self.layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        network.to(memory_format=self.layout)  # type: ignore[call-overload]
        self.average = WeightAverage(network, recipe.ema_decay) if recipe.ema_decay else None
        synchronize_batch_norm(network, world)
        self.network = network
        self.objective = objective
        self.optimizer = optimizer_of(recipe, network)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=recipe.precision == "fp16")
        self._forward: Callable[..., SegmentationOutput] | None = None

    @property
    def evaluated(self) -> SegmentationNetwork:
        """The network that is scored and saved: the average where there is one."""
        return self.network if self.average is None else self.average.network

    @property
    def rate(self) -> float:
        """Learning rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def take(self, batch: Batch, step: int) -> float:
        """Take optimiser step ``step`` (from 0).

        With dropout, torch's generator is seeded anew.

        Returns:
            The loss of the whole batch, over all processes. If it is not finite, no weight has
            changed.

        Raises:
            GstoVizError: Gradients overflow in fp16 however small the loss is scaled.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, step, self.steps)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._gradients(batch, step)
        if not math.isfinite(loss):
            return loss
        if self.recipe.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.is_enabled() and self.scaler.get_scale() < SMALLEST_SCALE:
            raise GstoVizError(
                f"gradients overflow in fp16 at step {step}, however small the loss is scaled; "
                "lower lr or use --set precision=bf16"
            )
        if self.average is not None:
            self.average.update(self.network, step)
        return loss

    def _gradients(self, batch: Batch, step: int) -> float:
        """Add up the gradients of a batch; return its loss, over all processes."""
        count = self.recipe.accumulate
        targets = batch.targets.to(self.device, non_blocking=True)
        mass = self.world.sum(self.objective.mass(targets))
        own = torch.zeros((), device=self.device, dtype=self.dtype)
        # Parts that are cut on the host go to the device one by one: they are what saves memory.
        parts = zip(batch.images.chunk(count), targets.chunk(count), strict=True)
        for number, (images, wanted) in enumerate(parts, 1):
            if self.network.config.head_dropout:
                torch.manual_seed(dropout_seed(self.recipe.seed, step, number, self.world.rank))
            with self._communication(last=number == count):
                share = self._share(images, wanted, mass)
                # Gradients are averaged over processes, where the shares of a loss add up.
                self.scaler.scale(share * self.world.size).backward()
            own += share.detach()
        return float(self.world.sum(own))

    def _share(self, images: Tensor, targets: Tensor, mass: Tensor) -> Tensor:
        """Return what a part of a batch adds to its loss in this process."""
        inputs = images_to_batch(images, self.device, self.layout).to(self.dtype)
        half = AUTOCAST.get(self.recipe.precision)
        with torch.autocast(self.device.type, half or torch.bfloat16, enabled=half is not None):
            output = self._network_call()(inputs)
        return self.objective.loss(output, targets, mass, self.world)

    def _network_call(self) -> Callable[..., SegmentationOutput]:
        """Return the network as it is called: with gradients shared, compiled.

        Made at the first step, after a state was loaded.
        """
        if self._forward is None:
            call: Any = self.network
            if self.world.size > 1:
                options: dict[str, Any] = {_buffer_option(): False}
                if self.device.type == "cuda":
                    options["device_ids"] = [self.device.index]
                call = nn.parallel.DistributedDataParallel(call, **options)
            self._forward = torch.compile(call) if self.recipe.compile else call
            assert self._forward is not None
        return self._forward

    def _communication(self, *, last: bool) -> AbstractContextManager[None]:
        """Let gradients travel with the last part of a batch only."""
        call = self._network_call()
        shared = getattr(call, "_orig_mod", call)  # torch.compile wraps what it is given
        if last or not isinstance(shared, nn.parallel.DistributedDataParallel):
            return nullcontext()
        quiet: AbstractContextManager[None] = shared.no_sync()
        return quiet


def _buffer_option() -> str:
    """Return torch's word for: copy buffers from process 0 before each forward pass.

    Ours are equal as they are: batch norm has the statistics of all processes.
    """
    known = inspect.signature(nn.parallel.DistributedDataParallel).parameters
    return "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
