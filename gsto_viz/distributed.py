"""The processes of one run, as ``torchrun`` starts them: who is who, sums over all, one error.

A run that nobody launched so is a world of one process, for which everything here does nothing.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from gsto_viz.errors import AgreedError, GstoVizError, SaidElsewhereError
from gsto_viz.torch_utils import pick_device

TIMEOUT = timedelta(hours=1)
"""How long processes wait for each other; one that dies is noticed at once, one that hangs not."""


@dataclass(frozen=True)
class World:
    """This process among the processes of its run. All of them call each method, in one order.

    Attributes:
        rank: Number of this process, from 0; process 0 writes files and speaks.
        size: How many there are.
        local_size: How many of them run on this machine.
    """

    rank: int = 0
    size: int = 1
    local_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def share(self, count: int) -> range:
        """Return this process's part of ``range(count)``: every ``size``-th from ``rank`` on."""
        return range(self.rank, count, self.size)

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes (no gradient passes); alone, itself."""
        if self.size == 1:
            return tensor
        total = tensor.detach().clone()
        with _peers_that_leave():
            dist.all_reduce(total)
        return total

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the tensors of all processes, which have one shape, in order of rank."""
        if self.size == 1:
            return [tensor]
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        with _peers_that_leave():
            dist.all_gather(parts, tensor.detach().contiguous())
        return parts

    def gather_bytes(self, content: bytes) -> list[bytes]:
        """Return what each process gives, of any length, in order of rank."""
        if self.size == 1:
            return [content]
        lengths = [int(length) for length in self.gather(torch.tensor(len(content)))]
        padded = torch.zeros(max(1, *lengths), dtype=torch.uint8)
        padded[: len(content)] = torch.from_numpy(np.frombuffer(content, dtype=np.uint8).copy())
        parts = self.gather(padded)
        return [
            part[:length].numpy().tobytes() for part, length in zip(parts, lengths, strict=True)
        ]

    def any(self, flag: bool) -> bool:
        """Return whether ``flag`` holds in any process."""
        return bool(self.sum(torch.tensor(int(flag))))

    def agree(self, error: GstoVizError | None) -> None:
        """Raise in all processes what went wrong in one of them; the first by rank is raised.

        Raises:
            AgreedError: In process 0 with the message, wherever it arose.
            SaidElsewhereError: In the others.
        """
        if self.size == 1:
            if error is not None:
                raise error
            return
        text = b"" if error is None else str(error).encode()
        lengths = self.gather(torch.tensor([len(text) if error is None else max(len(text), 1)]))
        failed = [rank for rank, length in enumerate(lengths) if int(length)]
        if not failed:
            return
        message = torch.zeros(int(lengths[failed[0]]), dtype=torch.uint8)
        if self.rank == failed[0]:
            message = torch.tensor(list(text or b" "), dtype=torch.uint8)
        with _peers_that_leave():
            dist.broadcast(message, failed[0])
        kind = AgreedError if self.is_main else SaidElsewhereError
        raise kind(bytes(message.tolist()).decode()) from error

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let a ``GstoVizError`` that leaves the block in one process leave it in all of them.

        Blocks may lie in each other. Between two of them nothing that some processes may fail at
        can stand before a sum or a gather.
        """
        error: GstoVizError | None = None
        try:
            yield
        except (AgreedError, SaidElsewhereError):
            raise  # from a block inside: all know it
        except GstoVizError as raised:
            error = raised
        if self.size > 1 or error is not None:
            self.agree(error)


ALONE = World()
"""The world of a run with one process."""


@contextmanager
def join_world(device: str = "auto") -> Iterator[tuple[World, torch.device]]:
    """Meet the other processes of a ``torchrun`` launch; part from them after the block.

    Args:
        device: As for ``pick_device``; with several processes ``cuda`` and ``auto`` take the GPU
            of the process's number on its machine. Messages between CPUs go through gloo, tensors
            on GPUs through NCCL.

    Yields:
        The world, and the device of this process.

    Raises:
        GstoVizError: The device is not available, there are more processes on a machine than GPUs,
            or what the launcher says are not numbers.
    """
    world, local_rank = _launched()
    if world.size == 1:
        yield world, pick_device(device)
        return
    chosen = _own_device(device, local_rank)
    backend = "gloo"
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
        backend = "cpu:gloo,cuda:nccl"
    with _peers_that_leave():
        dist.init_process_group(backend, timeout=TIMEOUT)
    try:
        yield world, chosen
    finally:
        dist.destroy_process_group()


def _launched() -> tuple[World, int]:
    """Read the world, and the number of this process on its machine, from the environment."""
    values = {}
    for name, default in (
        ("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1),
    ):  # fmt: skip
        text = os.environ.get(name, str(default))
        if not text.isdecimal():
            raise GstoVizError(f"{name} is '{text}' in the environment; start with torchrun")
        values[name] = int(text)
    if values["RANK"] >= values["WORLD_SIZE"]:
        # Some queues set RANK for purposes of their own; without a world it says nothing.
        return ALONE, 0
    world = World(values["RANK"], values["WORLD_SIZE"], values["LOCAL_WORLD_SIZE"])
    return world, values["LOCAL_RANK"]


def _own_device(name: str, local_rank: int) -> torch.device:
    """Pick the device of one process among several on a machine."""
    device = pick_device(name)
    if device.type == "mps" or ":" in name:
        raise GstoVizError(
            f"--device {name} is one device; with several processes give cuda or cpu"
        )
    if device.type == "cpu":
        return device
    if local_rank >= torch.cuda.device_count():
        raise GstoVizError(
            f"process {local_rank} of this machine has no GPU of its own, there are "
            f"{torch.cuda.device_count()}; lower --nproc-per-node"
        )
    return torch.device("cuda", local_rank)


@contextmanager
def _peers_that_leave() -> Iterator[None]:
    """Turn the failure of a message to a process that is gone into one sentence."""
    try:
        yield
    except (RuntimeError, ValueError) as error:  # ValueError: no address in the environment
        raise GstoVizError(
            "another process of this run has ended or cannot be reached; see what it says "
            f"({' '.join(str(error).split())[:120]})"
        ) from error
