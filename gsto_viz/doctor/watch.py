"""One forward pass, watched: what is called, what it gives, and what is changed in place.

PyTorch counts the in-place changes of every tensor, views included, so a change shows as a count
that grew since the tensor was last seen; it is attributed to the module whose code was running.
Functional resizing and sigmoids are seen where PyTorch dispatches them. Nothing of the network is
changed, outputs are let go with the module that asked for them, and the hooks are gone afterwards.
"""

import inspect
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from gsto_viz.capture.core import REGISTRATION
from gsto_viz.models.outputs import output_tensors

_RESIZES = (F.interpolate, F.grid_sample)
_SIGMOIDS = (torch.sigmoid, torch.special.expit, Tensor.sigmoid, F.hardsigmoid)


@dataclass(frozen=True)
class Squashing:
    """One call of a sigmoid: the last step of most gates.

    Attributes:
        module: Name of the module whose code called it; empty for the network itself.
        shape: Of its output.
        low: Least value.
        mean: Mean value.
        high: Greatest value.
    """

    module: str
    shape: tuple[int, ...]
    low: float
    mean: float
    high: float


@dataclass(frozen=True)
class Change:
    """An output that was changed in place after its module had returned it.

    Attributes:
        output: Name of the module that returned it.
        by: Name of the module whose code changed it; empty for the network itself.
    """

    output: str
    by: str


@dataclass
class Record:
    """What happened in one forward pass; modules by their first dotted name, the network is ``""``.

    Attributes:
        calls: How often each module was called.
        order: Modules in the order in which they first returned.
        shapes: Shape of every tensor that each module gave in its first call, by element (``""``
            for a tensor, ``0`` or ``logits`` for one of several).
        values: First outputs of the modules that were to be kept.
        resizings: Calls of resizing functions, by mode and ``align_corners`` (None where the mode
            does not know it): how often each module's code made them.
        squashings: Calls of sigmoids.
        changes: Outputs that were changed in place.
        not_finite: Modules whose first output holds NaN or infinity.
        final: Modules that returned a tensor which the network returned, too.
    """

    calls: Counter[str] = field(default_factory=Counter)
    order: list[str] = field(default_factory=list)
    shapes: dict[str, dict[str, tuple[int, ...]]] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)
    resizings: dict[tuple[str, bool | None], Counter[str]] = field(default_factory=dict)
    squashings: list[Squashing] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    not_finite: list[str] = field(default_factory=list)
    final: set[str] = field(default_factory=set)


class _Held:
    """An output, the modules that gave it, and how often it had been changed when last seen.

    It is kept alive until the module whose code asked for it returns, so that no change is missed;
    afterwards it lives as long as the network needs it.
    """

    def __init__(self, tensor: Tensor, gone: Callable[[object], object]) -> None:
        self.tensor: Tensor | None = tensor
        self.weak = weakref.ref(tensor, gone)
        self.modules: list[str] = []
        self.version = tensor._version


class _Watcher:
    """Hooks that fill a record; ``running`` are the modules whose code runs, innermost last."""

    def __init__(self, keep: Collection[str]) -> None:
        self.record = Record()
        self.running: list[str] = []
        self._keep = keep
        self._held: dict[int, _Held] = {}
        # By running module, and last for the caller of the network, the outputs it was given.
        self._frames: list[list[_Held]] = [[]]

    def enter(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Before a module's code: what changed until now was changed by its caller."""
        self._look(self.running[-1] if self.running else "")
        self.running.append(name)
        self._frames.append([])

    def leave(self, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """After a module's code: what changed since was changed by it."""
        self._look(name)
        self.running.pop()
        tensors = output_tensors(output)
        self._note(name, tensors)
        given = self._frames.pop()
        for tensor in tensors.values():
            self._hold(name, tensor)
        for held in given:
            if held not in self._frames[-1]:
                held.tensor = None

    def _note(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Count the call; of the first one, keep what it gave."""
        record = self.record
        record.calls[name] += 1
        if record.calls[name] > 1:
            return
        record.order.append(name)
        record.shapes[name] = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
        if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
            record.not_finite.append(name)
        if name in self._keep and "" in tensors:
            record.values[name] = tensors[""].detach().float().cpu().clone()

    def _hold(self, name: str, tensor: Tensor) -> None:
        """Hold an output for the module whose code asked for it."""
        key = id(tensor)
        held = self._held.get(key)
        if held is None:
            held = self._held[key] = _Held(tensor, lambda _: self._held.pop(key, None))
        held.tensor = tensor
        self._frames[-1].append(held)
        if name:
            held.modules.append(name)
        else:
            self.record.final |= set(held.modules)

    def _look(self, by: str) -> None:
        """Note every output whose count of changes grew since it was last seen."""
        for held in list(self._held.values()):
            tensor = held.weak()
            if tensor is not None and tensor._version > held.version:
                held.version = tensor._version
                self.record.changes.append(Change(held.modules[-1] if held.modules else "", by))


class _Functions(TorchFunctionMode):
    """Sees every function that PyTorch dispatches while it is active."""

    def __init__(self, watcher: _Watcher) -> None:
        super().__init__()
        self._watcher = watcher

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        running = self._watcher.running
        where = running[-1] if running else ""
        if func in _RESIZES:
            given = inspect.signature(func).bind(*args, **(kwargs or {}))
            given.apply_defaults()
            kind = given.arguments["mode"], given.arguments["align_corners"]
            self._watcher.record.resizings.setdefault(kind, Counter())[where] += 1
        elif func in _SIGMOIDS and isinstance(output, Tensor) and output.numel():
            values = output.detach().float()
            ends = float(values.min()), float(values.mean()), float(values.max())
            self._watcher.record.squashings.append(Squashing(where, tuple(output.shape), *ends))
        return output


def watch(model: nn.Module, image: Tensor, keep: Collection[str] = ()) -> Record:
    """Run a network once on an image and return what happened.

    Args:
        model: In evaluation mode, on the image's device.
        image: (N, C, H, W).
        keep: Names of modules whose first output is kept as float32 on the CPU.

    Raises:
        Exception: Whatever the network raises; the hooks are gone then, too.
    """
    watcher = _Watcher(keep)
    # Not inference mode: its tensors do not count their changes.
    with _hooks(model, watcher), torch.no_grad(), _Functions(watcher):
        model(image)
    return watcher.record


@contextmanager
def _hooks(model: nn.Module, watcher: _Watcher) -> Iterator[None]:
    """Put the watcher's hooks on every module for the length of the block."""
    handles: list[RemovableHandle] = []
    try:
        with REGISTRATION:
            for name, module in model.named_modules():
                enter, leave = partial(watcher.enter, name), partial(watcher.leave, name)
                handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
                handles.append(module.register_forward_hook(leave, with_kwargs=True))
        yield
    finally:
        with REGISTRATION:
            for handle in handles:
                handle.remove()
