"""Which of a network's outputs are its logits: the one place that chooses, and it never guesses."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Tensor

from gsto_viz.errors import GstoVizError
from gsto_viz.torch_utils import elements

_LOG = logging.getLogger(__name__)
MAIN = "main"
"""The name of the output that is scored where none is named."""
_MAIN_KEYS = ("logits", "out")
"""What our networks (and Hugging Face's), and torchvision's, call it."""


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
