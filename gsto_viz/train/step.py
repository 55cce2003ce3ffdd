"""One optimiser step: rate, mixed precision, parts of a batch, clipping, moving average.

Several processes share a batch. Every sum over images runs over all of them (batch-norm
statistics, the denominators of the losses, gradients), so that a step does what one process with
the whole batch would do, but for the order of sums.
"""

import inspect
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD

from gsto_viz.distributed import World
from gsto_viz.errors import GstoVizError
from gsto_viz.models.hrnet import HRNet, SegmentationOutput
from gsto_viz.models.losses import HardPixels, label_mass, segmentation_loss
from gsto_viz.recipe import Recipe
from gsto_viz.torch_utils import images_to_batch
from gsto_viz.train.average import WeightAverage
from gsto_viz.train.batch_norm import synchronize_batch_norm
from gsto_viz.train.samples import Batch

SMALLEST_SCALE = 2.0**-14
"""Of the loss in fp16: a gradient that overflows even so is no matter of scale."""

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Return the rate of step 0..steps-1: a linear warm-up times the poly decay."""
    warmup = min(1.0, (step + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0
    return float(recipe.lr * warmup * (1.0 - step / steps) ** recipe.poly_power)


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
        class_weights: (K,) or None.
        world: The processes that share each batch.

    Attributes:
        network: The network; its batch norms may have become those of all processes.
        average: The moving average of its weights, or None.
        scaler: Scales the loss in fp16; does nothing otherwise.
    """

    def __init__(
        self,
        recipe: Recipe,
        network: HRNet,
        *,
        steps: int,
        class_weights: Tensor | None,
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
        self.class_weights = class_weights
        self.hard_pixels = (
            HardPixels(recipe.ohem_threshold, recipe.ohem_kept) if recipe.ohem_kept else None
        )
        self.optimizer = SGD(
            network.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=recipe.precision == "fp16")
        self._forward: Callable[..., SegmentationOutput] | None = None

    @property
    def evaluated(self) -> HRNet:
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
        labels = batch.labels.to(self.device, non_blocking=True).long()
        mass = self.world.sum(label_mass(labels, self.class_weights))
        own = torch.zeros((), device=self.device, dtype=self.dtype)
        # Parts that are cut on the host go to the device one by one: they are what saves memory.
        parts = zip(batch.images.chunk(count), labels.chunk(count), strict=True)
        for number, (images, targets) in enumerate(parts, 1):
            if self.network.config.head_dropout:
                torch.manual_seed(dropout_seed(self.recipe.seed, step, number, self.world.rank))
            with self._communication(last=number == count):
                share = self._share(images, targets, mass)
                # Gradients are averaged over processes, where the shares of a loss add up.
                self.scaler.scale(share * self.world.size).backward()
            own += share.detach()
        return float(self.world.sum(own))

    def _share(self, images: Tensor, labels: Tensor, mass: Tensor) -> Tensor:
        """Return what a part of a batch adds to its loss in this process."""
        recipe = self.recipe
        inputs = images_to_batch(images, self.device, self.layout).to(self.dtype)
        half = AUTOCAST.get(recipe.precision)
        with torch.autocast(self.device.type, half or torch.bfloat16, enabled=half is not None):
            output = self._network_call()(inputs)
        return segmentation_loss(
            output,
            labels,
            class_weights=self.class_weights,
            auxiliary_weights=recipe.auxiliary_weights,
            align_corners=self.network.config.align_corners,
            mass=mass,
            hard_pixels=self.hard_pixels,
            world=self.world,
            parts=recipe.accumulate,
        )

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
