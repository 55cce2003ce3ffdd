"""The resume state: weights, average, momentum, loss scale, position; without pickle."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gsto_viz.errors import GstoVizError
from gsto_viz.models.checkpoint import load_weights
from gsto_viz.models.tensor_files import read_metadata, read_tensors, write_tensors
from gsto_viz.train.step import Stepper


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


def save_state(path: Path, stepper: Stepper, progress: Progress) -> None:
    """Write the state, whole or not at all, every tensor as it is."""
    network, optimizer = stepper.network, stepper.optimizer
    tensors = {f"model/{k}": t for k, t in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        momentum = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum/{name}"] = momentum
    if stepper.average is not None:
        averaged = stepper.average.network.state_dict()
        tensors.update({f"average/{k}": t for k, t in averaged.items()})
    tensors["rng/torch"] = torch.get_rng_state()
    scaler = json.dumps(stepper.scaler.state_dict())
    write_tensors(path, tensors, {"progress": json.dumps(asdict(progress)), "scaler": scaler})


def load_state(path: Path, stepper: Stepper) -> Progress:
    """Put network, average, optimiser, scaler and torch's generator where ``save_state`` was.

    Raises:
        GstoVizError: The file is damaged or belongs to another network.
    """
    progress = read_progress(path)
    tensors, metadata = read_tensors(path)
    load_weights(stepper.network, _part(tensors, "model/"), source=str(path))
    if stepper.average is not None:
        load_weights(stepper.average.network, _part(tensors, "average/"), source=str(path))
    momenta = _part(tensors, "momentum/")
    for name, parameter in stepper.network.named_parameters():
        if name in momenta:
            # The layout decides the order of summation in kernels: keep the parameter's own.
            buffer = torch.empty_like(parameter)
            stepper.optimizer.state[parameter]["momentum_buffer"] = buffer.copy_(
                momenta[name]
            ).detach()
    if stepper.scaler.is_enabled():
        stepper.scaler.load_state_dict(_scaler_state(metadata, path))
    if "rng/torch" in tensors:
        torch.set_rng_state(tensors["rng/torch"])
    return progress


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}


def _scaler_state(metadata: dict[str, str], path: Path) -> dict[str, Any]:
    """Read the loss scale of fp16 and what decides when it changes."""
    try:
        return {
            name: float(value) if name == "scale" else value
            for name, value in json.loads(metadata["scaler"]).items()
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise GstoVizError(
            f"{path} holds no loss scale; remove it to start the run anew"
        ) from error


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
