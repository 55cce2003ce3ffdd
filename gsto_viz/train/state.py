"""The resume state: weights, momentum, random state and position, without pickle."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import SGD

from gsto_viz.errors import GstoVizError
from gsto_viz.files import atomic_path
from gsto_viz.models.checkpoint import read_tensors


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        epoch: Epoch under way, from 0.
        batch: Batches of it that are done.
        step: Optimiser steps done in all.
        best_miou: Best validation score so far, in percent; None before the first.
        best_epoch: Epochs done when it was reached.
        loss_sum: Sum of the losses since the last line of the log.
        loss_count: Their number.
        log_bytes: Length of ``log.jsonl`` at this state; what lies beyond is from a lost future.
        seconds: Training time so far, restarts included.
        finished: All epochs done.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best_miou: float | None = None
    best_epoch: int | None = None
    loss_sum: float = 0.0
    loss_count: int = 0
    log_bytes: int = 0
    seconds: float = 0.0
    finished: bool = False
    last_scores: dict[str, Any] = field(default_factory=dict)


def save_state(path: Path, model: nn.Module, optimizer: SGD, progress: Progress) -> None:
    """Write the state, whole or not at all; float32 throughout."""
    tensors = {f"model/{k}": t.detach().cpu().contiguous() for k, t in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        momentum = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum/{name}"] = momentum.detach().cpu().contiguous()
    tensors["rng/torch"] = torch.get_rng_state()
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"progress": json.dumps(asdict(progress))})


def load_state(path: Path, model: nn.Module, optimizer: SGD) -> Progress:
    """Put network, optimiser and torch's generator back to where ``save_state`` left them.

    Raises:
        GstoVizError: The file is damaged or belongs to another network.
    """
    tensors, metadata = read_tensors(path)
    weights = {k.removeprefix("model/"): t for k, t in tensors.items() if k.startswith("model/")}
    if "progress" not in metadata or set(weights) != set(model.state_dict()):
        raise GstoVizError(f"{path} is not a resume state of this network; remove it to start anew")
    model.load_state_dict(weights)
    for name, parameter in model.named_parameters():
        momentum: Tensor | None = tensors.get(f"momentum/{name}")
        if momentum is not None:
            # The layout decides the order of summation in kernels: keep the parameter's own.
            buffer = torch.empty_like(parameter)
            optimizer.state[parameter]["momentum_buffer"] = buffer.copy_(momentum).detach()
    torch.set_rng_state(tensors["rng/torch"])
    return Progress(**json.loads(metadata["progress"]))
