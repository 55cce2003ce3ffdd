"""The resume state: weights, momentum, random state and position, without pickle."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import SGD

from gsto_viz.errors import GstoVizError
from gsto_viz.models.checkpoint import load_weights
from gsto_viz.models.hrnet import HRNet
from gsto_viz.models.tensor_files import read_metadata, read_tensors, write_tensors


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


def save_state(path: Path, model: HRNet, optimizer: SGD, progress: Progress) -> None:
    """Write the state, whole or not at all, every tensor as it is."""
    tensors = {f"model/{k}": t for k, t in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        momentum = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum/{name}"] = momentum
    tensors["rng/torch"] = torch.get_rng_state()
    write_tensors(path, tensors, {"progress": json.dumps(asdict(progress))})


def load_state(path: Path, model: HRNet, optimizer: SGD) -> Progress:
    """Put network, optimiser and torch's generator back to where ``save_state`` left them.

    Raises:
        GstoVizError: The file is damaged or belongs to another network.
    """
    progress = read_progress(path)
    tensors, _ = read_tensors(path)
    prefix = "model/"
    weights = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
    load_weights(model, weights, source=str(path))
    for name, parameter in model.named_parameters():
        momentum: Tensor | None = tensors.get(f"momentum/{name}")
        if momentum is not None:
            # The layout decides the order of summation in kernels: keep the parameter's own.
            buffer = torch.empty_like(parameter)
            optimizer.state[parameter]["momentum_buffer"] = buffer.copy_(momentum).detach()
    if "rng/torch" in tensors:
        torch.set_rng_state(tensors["rng/torch"])
    return progress


def read_progress(path: Path) -> Progress:
    """Read where a run stands, without its tensors.

    Raises:
        GstoVizError: Not a resume state.
    """
    try:
        values = json.loads(read_metadata(path)["progress"])
        return Progress(**{f.name: values[f.name] for f in fields(Progress)})
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise GstoVizError(
            f"{path} is not a resume state; remove it to start the run anew"
        ) from error
