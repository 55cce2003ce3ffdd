"""Interventions: what a network says when a branch, a transfer or a gate is changed.

``intervene`` puts hooks on the named places for the length of a ``with`` block. They act only in
the thread that opened it, so other threads see the network as it is, and they are gone afterwards
however the block ends. A ``Capture`` opened before or inside the block sees the changed outputs.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from gsto_viz.attribution.paths import Path, find_path
from gsto_viz.capture import Capture
from gsto_viz.capture.core import REGISTRATION, unwrap
from gsto_viz.errors import GstoVizError
from gsto_viz.torch_utils import eval_mode

Change = Callable[[Tensor], Tensor]
"""From what a place gives to what it gives instead: same shape, or one that broadcasts to it."""

_HELD: WeakKeyDictionary[nn.Module, set[int]] = WeakKeyDictionary()
"""Threads that have an intervention on a module; guarded by ``REGISTRATION``."""


@dataclass(frozen=True, eq=False)
class Intervention:
    """One change of one place.

    Attributes:
        path: The place: ``stage4.branch2``, ``stage3.m0.gate[2->0]``, ``stage3.m0.transfer[2->0]``
            (see ``paths``).
        change: What its output becomes.
        what: The change in words, e.g. ``0.5`` or ``dataset mean``.
    """

    path: str
    change: Change
    what: str

    def __str__(self) -> str:
        return f"{self.path} = {self.what}"


def constant(path: str, value: float, what: str | None = None) -> Intervention:
    """Fix a place to one number everywhere: 0 removes a branch or closes a transfer."""
    return Intervention(path, partial(_filled, value), f"{value:g}" if what is None else what)


def _filled(value: float, output: Tensor) -> Tensor:
    return torch.full_like(output, value)


def replaced(path: str, features: Tensor, what: str) -> Intervention:
    """Put other features in the place's: of its shape, (1, C, 1, 1), or (N, 1, h, w) for a gate."""
    return Intervention(path, partial(_other, features), what)


def _other(features: Tensor, output: Tensor) -> Tensor:
    return features.to(output)


def scaled(path: str, factor: float) -> Intervention:
    """Multiply a place's output by a number."""
    return Intervention(path, partial(torch.mul, factor), f"x{factor:g}")


def blurred(path: str, octaves: int) -> Intervention:
    """Blur a place's map: average cells of 2**octaves, and bring them back bilinearly.

    The control of every change that takes a map's place away: its mean stays, its detail goes.
    """
    if octaves < 1:
        raise GstoVizError(f"a blur of {octaves} octaves changes nothing; give 1 or more")
    return Intervention(path, partial(_blur, 2**octaves), f"blur:{octaves}")


def _blur(side: int, output: Tensor) -> Tensor:
    small = F.avg_pool2d(output, side, ceil_mode=True, count_include_pad=False)
    return F.interpolate(small, output.shape[-2:], mode="bilinear", align_corners=False)


@contextmanager
def intervene(model: nn.Module, *interventions: Intervention) -> Iterator[nn.Module]:
    """Change places of a network inside a ``with`` block.

    Args:
        model: Any network; wrappers of compilation and data parallelism are taken off.
        interventions: Each place at most once, also over nested blocks of one thread.

    Yields:
        The network to run (the one inside the wrappers).

    Raises:
        GstoVizError: A place is not there or is changed already; inside the block: a change has
            another shape, or leaving it without an exception: a place never gave anything.

    Example:
        >>> from torch import nn, ones
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
        >>> with intervene(net, constant("1", 0.0)):
        ...     float(net(ones(1, 3, 2, 2)).sum())
        0.0
    """
    network, _ = unwrap(model)
    paths = [find_path(network, i.path) for i in interventions]
    fired: set[str] = set()
    handles: list[RemovableHandle] = []
    held: list[nn.Module] = []
    thread = threading.get_ident()
    try:
        with REGISTRATION:
            for path, intervention in zip(paths, interventions, strict=True):
                module = network.get_submodule(path.module)
                _hold(module, thread, path)
                held.append(module)
                hook = partial(_act, thread, fired, path, intervention.change)
                handles.append(module.register_forward_hook(hook, prepend=True))
        yield network
    finally:
        with REGISTRATION:
            for handle in handles:
                handle.remove()
            for module in held:
                _HELD[module].discard(thread)
    silent = [path.name for path in paths if path.name not in fired]
    if silent:
        raise GstoVizError(
            f"nothing was changed at {', '.join(silent)}: the forward pass does not call it, or no "
            "forward pass was made inside the block; leave it out, or run the network there"
        )


def _hold(module: nn.Module, thread: int, path: Path) -> None:
    """Note that this thread changes a module, or refuse to do so twice."""
    threads = _HELD.setdefault(module, set())
    if thread in threads:
        raise GstoVizError(f"{path.name} is changed already; give each place one change")
    threads.add(thread)


def _act(
    thread: int,
    fired: set[str],
    path: Path,
    change: Change,
    module: nn.Module,
    inputs: Any,
    output: Any,
) -> Tensor | None:
    """Return the changed output in the block's own thread; None leaves it as it is."""
    if torch.compiler.is_compiling() or threading.get_ident() != thread:
        return None
    if not isinstance(output, Tensor):
        raise GstoVizError(
            f"{path.name} gives a {type(output).__name__} and no tensor; change a module inside it"
        )
    fired.add(path.name)
    changed = change(output)
    try:
        return changed.expand(output.shape)
    except RuntimeError as error:
        raise GstoVizError(
            f"the change of {path.name} has shape {tuple(changed.shape)} and the place gives "
            f"{tuple(output.shape)}; give a tensor that broadcasts to it"
        ) from error


@torch.no_grad()
def captured(model: nn.Module, image: Tensor, paths: str | Sequence[str]) -> dict[str, Tensor]:
    """Return what places give for an image, unreduced, by name: values for ``replaced``.

    Args:
        model: Any network; in evaluation mode meanwhile.
        image: (N, 3, H, W), normalised.
        paths: Names, or one pattern of taps such as ``*gate*``.
    """
    network, _ = unwrap(model)
    if isinstance(paths, str):
        with eval_mode(network), Capture(network, paths, reduce="none") as maps:
            network(image)
        return {name: maps[name] for name in maps}
    found = {path: find_path(network, path).module for path in paths}
    with eval_mode(network), Capture(network, found, reduce="none") as maps:
        network(image)
    return {path: maps[path] for path in paths}


def swapped(
    model: nn.Module, image: Tensor, paths: str | Sequence[str], *, what: str = "another image"
) -> tuple[Intervention, ...]:
    """Give places the maps that they have for another image of the same size.

    With all gates (``*gate*``) this asks whether gates answer to *this* image at all.

    Args:
        model: The network.
        image: The other image, (1, 3, H, W) normalised.
        paths: As for :func:`captured`.
        what: What to call the other image.
    """
    maps = captured(model, image, paths)
    return tuple(replaced(path, value, what) for path, value in maps.items())
