"""Which of a network's outputs are its logits: the one place that chooses, and it never guesses."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from gsto_viz.errors import GstoVizError
from gsto_viz.torch_utils import elements
from gsto_viz.words import counted

_LOG = logging.getLogger(__name__)
MAIN = "main"
"""The name of the output that is scored where none is named."""
_MAIN_KEYS = ("logits", "out")
"""What our networks (and Hugging Face's), and torchvision's, call it."""
SUM_TOLERANCE = 1e-2
"""How far from 1 probabilities may add up: those of half precision do so to a few thousandths."""


@dataclass(frozen=True)
class Wanted:
    """Which output is wanted.

    Attributes:
        classes: How many classes it has; None: any.
        output: Its name or number, ``KEY#KEY`` inside nested outputs; ``main``: the one that is
            known by its name (``logits``, ``out``) or by its classes.
    """

    classes: int | None = None
    output: str = MAIN


ANY = Wanted()


def output_tensors(output: Any) -> dict[str, Tensor]:
    """Return the tensors of an output by name: ``""`` for a tensor, ``KEY#KEY`` inside others."""
    if isinstance(output, Tensor):
        return {"": output}
    inner = elements(output)
    if not inner and isinstance(logits := getattr(output, "logits", None), Tensor):
        inner = {"logits": logits}
    # A named tuple has each element twice; the later spelling is the name.
    last = {id(value): key for key, value in inner.items()}
    found = {
        "#".join(filter(None, (key, path))): tensor
        for key, value in inner.items()
        if last[id(value)] == key
        for path, tensor in output_tensors(value).items()
    }
    # Its own tensors first, then those of what it holds.
    return dict(sorted(found.items(), key=lambda one: one[0].count("#")))


def model_logits(output: Any, wanted: Wanted = ANY) -> Tensor:
    """Return the logits in what a network returned, (N, K, h, w).

    A tensor is the logits. Of several, ``logits`` or ``out`` is the main one by its name (ours,
    Hugging Face's and torchvision's networks); else it is the only one with the right number of
    classes, which the log says once.

    Args:
        output: What the network returned.
        wanted: Which output, and of how many classes.

    Raises:
        GstoVizError: There is no tensor, none of this name, or several could be meant.
    """
    if isinstance(output, Tensor) and wanted.output == MAIN:
        return output
    found = output_tensors(output)
    shapes = {name: tuple(one.shape) for name, one in found.items() if one.ndim == 4}
    if not found:
        raise GstoVizError(
            f"the network returns a {type(output).__name__}; a tensor of logits, or something with "
            "a field 'logits', is needed"
        )
    return found[choose_output(shapes or {n: tuple(one.shape) for n, one in found.items()}, wanted)]


def class_logits(output: Any, wanted: Wanted, batch: Tensor, *, last: bool) -> Tensor:
    """Return the logits in what a network returned for a batch, whatever their layout.

    Logits whose classes are last are turned, and of probabilities (they add up to 1) the logarithm
    is taken, which has the same order of classes; both are said once.

    Args:
        output: What the network returned.
        wanted: Which output, and of how many classes.
        batch: What it was given, (N, 3, H, W).
        last: Whether the last part of the network works on the last axis.

    Returns:
        (N, K, h, w), floating point.

    Raises:
        GstoVizError: As ``model_logits``; or the output cannot be logits, or may have its classes
            on either axis.
    """
    logits = model_logits(output, wanted)
    shape = "x".join(map(str, logits.shape))
    if logits.ndim != 4 or len(logits) != len(batch) or not logits.is_floating_point():
        kind = str(logits.dtype).removeprefix("torch.")
        raise GstoVizError(
            f"the network returns {shape} of {kind}, and logits are {len(batch)}xKxhxw of floating "
            "point, one number for each class and cell; return them from a factory file"
        )
    if wanted.classes and _classes_last(tuple(logits.shape), wanted.classes, batch, last, shape):
        _say(f"the network returns {shape}, read as logits whose {wanted.classes} classes are last")
        logits = logits.permute(0, 3, 1, 2)
    if _are_probabilities(logits):
        _say(
            f"the network returns probabilities ({shape}, adding up to 1); their logarithm is read"
        )
        logits = logits.float().clamp_min(torch.finfo(torch.float32).tiny).log()
    return logits


def _classes_last(
    shape: tuple[int, ...], classes: int, batch: Tensor, last: bool, text: str
) -> bool:
    """Return whether an output is (N, h, w, K) and not (N, K, h, w)."""
    if shape[3] != classes or shape[1] != classes:
        return shape[3] == classes
    if shape[2] != classes:
        # One reading has square cells, or nearly so.
        height, width = batch.shape[-2:]
        second, third = (
            abs(math.log(height / grid[0] * grid[1] / width)) for grid in (shape[2:], shape[1:3])
        )
        return third < second
    if last:
        raise GstoVizError(
            f"the network returns {text}, whose classes may be second or last; return "
            "logits.permute(0, 3, 1, 2) from a factory file where they are last"
        )
    return False


def _are_probabilities(logits: Tensor) -> bool:
    """Return whether the classes of every cell are from 0 to 1 and add up to 1."""
    if logits.shape[1] < 2 or 0 in logits.shape:
        return False
    for part in (logits[:1, :, :1, :1], logits):  # one cell first: most logits end there
        values = part.detach().float()
        whole = (values.sum(1) - 1).abs().max() < SUM_TOLERANCE
        if not bool(whole & (values.min() >= 0)):
            return False
    return True


def misfit(count: int, classes: int, data: str) -> str:
    """Return what to say of a network whose output has another number of classes than the data."""
    advice = "take data of the classes that it was trained on"
    if count == 1:
        advice = (
            "for a network that decides between two classes return both logits from a factory "
            "file: torch.cat([torch.zeros_like(x), x], 1)"
        )
    elif count == classes + 1:
        advice += ", or leave its background out in a factory file"
    return (
        f"the network has {counted(count, 'class', 'classes')} and {data} has {classes}; {advice}"
    )


def choose_output(shapes: Mapping[str, tuple[int, ...]], wanted: Wanted) -> str:
    """Return the name of the output that is wanted, from the shapes of all of them.

    Where none has the right number of classes the first is returned, for its caller to refuse.

    Raises:
        GstoVizError: None has this name, or several could be meant.
    """
    names = list(shapes)
    if wanted.output != MAIN:
        return _named(names, wanted.output)
    if len(names) == 1:
        return names[0]
    fitting = [n for n in names if wanted.classes is None or shapes[n][1] == wanted.classes]
    known = [key for key in _MAIN_KEYS if key in names]
    if known and (known[0] in fitting or not fitting):
        return known[0]
    listed = ", ".join(f"{name} {'x'.join(map(str, shapes[name]))}" for name in names)
    if len(fitting) > 1:
        classes = "" if wanted.classes is None else f" with {wanted.classes} classes"
        raise GstoVizError(
            f"the network returns {len(fitting)} outputs{classes} ({listed}); say which one is "
            f"meant: --output {fitting[0]} (in Python output='{fitting[0]}') or another of them"
        )
    if fitting:
        _say(f"output {fitting[0]} is taken, the only one with {wanted.classes} classes ({listed})")
    return (fitting or names)[0]


def _named(names: list[str], asked: str) -> str:
    """Return the one output of this name, whole or its last part."""
    found = [n for n in names if n == asked] or [n for n in names if n.split("#")[-1] == asked]
    if len(found) != 1:
        known = ", ".join([MAIN, *filter(None, names)])
        raise GstoVizError(f"the network's output has no head '{asked}'; it has {known}")
    return found[0]


@cache
def _say(text: str) -> None:
    """Write a line to the log, once in a process."""
    _LOG.warning("%s", text)
