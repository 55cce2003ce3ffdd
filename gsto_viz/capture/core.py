"""``Capture``: hooks on named places of any network for the length of a ``with`` block.

A hook records only calls made by the thread that opened the block, so many threads can capture on
one shared network at the same time, and blocks can be nested. Nothing of the network is changed:
no flag, no gradient, no random state; the hooks are gone after the block however it ends.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gsto_viz.capture.layout import channels_first
from gsto_viz.capture.maps import Maps, ReduceChoice, Reducer, apply_reducer, make_reducer
from gsto_viz.capture.names import resolve
from gsto_viz.errors import GstoVizError
from gsto_viz.gains import Gains
from gsto_viz.torch_utils import elements, unwrap
from gsto_viz.types import Tap

_LOG = logging.getLogger(__name__)
REGISTRATION = threading.Lock()
"""Held while hooks are put on or taken off: torch numbers them with an unguarded counter, and two
threads could share a number."""


class Capture:
    """Record reduced maps of named places while networks run inside a ``with`` block.

    Args:
        model: Any network. Wrappers of ``torch.compile``, ``DataParallel`` and
            ``DistributedDataParallel`` are taken off (once said in the log); run ``maps.model``
            inside the block, because compiled code does not call hooks.
        taps: A name or pattern (``*`` and ``?``), a sequence of them, or {tap name: dotted module
            name}. Networks with a method ``taps()`` know the names of the contract, e.g.
            ``stage4.branch0`` or ``stage3.m0.gate[2->0]``; in any network dotted module names work.
            ``module#0`` or ``module#key`` picks an element of an output that is not a tensor.
        reduce: What is kept: ``mean`` (channel mean), ``gain_fixed`` (mean over live channels of
            F_c / sigma_c; needs gains), ``absmean``, ``l2``, ``max``: (N, H, W); ``none``: the
            whole output, cloned, channels second; a function from a detached tensor to a tensor; or
            a mapping from tap names or patterns to these, first match holds. Gates are (N, H, W)
            under every name but ``none``; logits are kept whole under ``mean`` and ``gain_fixed``.
        gains: Gains by tap name for ``gain_fixed``; None takes those of the network's checkpoint,
            ``model.info.gains``.
        unfired: ``raise``: leaving the block without an exception raises if a tap never fired;
            ``keep``: it does not, and ``maps.never_fired`` names them.

    Raises:
        GstoVizError: A tap, reduction or gain is not there (with the closest valid names).

    Blocks can be nested: ``with Capture(m, t) as raw, Capture(m, t, reduce="gain_fixed") as fixed``
    takes two reductions of the same taps from one forward pass.

    Example:
        >>> from torch import nn, ones
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
        >>> with Capture(net, taps={"features": "0"}) as maps:
        ...     _ = net(ones(1, 3, 5, 7))
        >>> tuple(maps["features"].shape)
        (1, 5, 7)
    """

    def __init__(
        self,
        model: nn.Module,
        taps: str | Sequence[str] | Mapping[str, Tap | str] = "stage4.branch*",
        *,
        reduce: ReduceChoice = "mean",
        gains: Mapping[str, Gains] | None = None,
        unfired: Literal["raise", "keep"] = "raise",
    ) -> None:
        if unfired not in ("raise", "keep"):
            raise GstoVizError(f"unfired is '{unfired}'; choose raise or keep")
        self.model, self._wrappers = unwrap(model)
        if self._wrappers:
            _LOG.info("capturing on the network inside %s", ", ".join(self._wrappers))
        self.places = resolve(self.model, taps)
        known = gains if gains is not None else _stored_gains(self.model)
        self._reducers = {p.name: make_reducer(p, reduce, known) for p in self.places}
        self._unfired = unfired
        self._handles: list[RemovableHandle] = []
        self._size: tuple[int, ...] = ()
        self._maps: Maps | None = None

    def __enter__(self) -> Maps:
        if self._maps is not None:
            raise GstoVizError(
                "this Capture is open already; make one Capture per block and thread"
            )
        self._maps = maps = Maps(self.model, self.places)
        try:
            self._register(maps)
        except BaseException:
            self._close()
            raise
        return maps

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        maps = self._maps
        self._close()
        if error is None and maps is not None and self._unfired == "raise":
            maps.check_all_fired(self._wrapper_hint())

    def _register(self, maps: Maps) -> None:
        """Put one hook on each tapped module and one before the network's forward pass."""
        thread = threading.get_ident()
        with REGISTRATION:
            self._handles.append(
                self.model.register_forward_pre_hook(partial(self._begin, thread, maps))
            )
            for place in self.places:
                hook = partial(self._record, thread, maps, place, self._reducers[place.name])
                module = self.model.get_submodule(place.module)
                self._handles.append(module.register_forward_hook(hook))

    def _close(self) -> None:
        """Take all hooks off; they record nothing from now on, wherever they still are."""
        self._maps = None
        with REGISTRATION:
            while self._handles:
                self._handles.pop().remove()

    def _begin(self, thread: int, maps: Maps, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        if self._listens(thread, maps):
            image = inputs[0] if inputs else None
            self._size = tuple(image.shape[-2:]) if isinstance(image, Tensor) else ()
            maps.begin_forward()

    def _record(
        self,
        thread: int,
        maps: Maps,
        place: Tap,
        reducer: Reducer,
        module: nn.Module,
        inputs: Any,
        output: Any,
    ) -> None:
        if self._listens(thread, maps):
            value = channels_first(pick(output, place), place, module, self._size)
            maps.add(place.name, apply_reducer(reducer, value))

    def _listens(self, thread: int, maps: Maps) -> bool:
        """Return True in the thread of an open block, outside ``torch.compile``'s tracing.

        A hook that is traced would be baked into compiled code and outlive the block.
        """
        if torch.compiler.is_compiling():
            return False
        return self._maps is maps and threading.get_ident() == thread

    def _wrapper_hint(self) -> str:
        if self._wrappers:
            wrapped = ", ".join(self._wrappers)
            return f"; call maps.model(image) there, because {wrapped} can bypass hooks"
        if getattr(self.model, "_compiled_call_impl", None) is not None:
            return "; call maps.model.forward(image) there, because compiled code bypasses hooks"
        return ""


def _stored_gains(model: nn.Module) -> Mapping[str, Gains] | None:
    """Return the gains that came with a network's checkpoint, if it has any."""
    gains = getattr(getattr(model, "info", None), "gains", None)
    return gains if isinstance(gains, Mapping) else None


def pick(output: Any, place: Tap) -> Tensor:
    """Return the tensor that ``place`` means in its module's output.

    Raises:
        GstoVizError: There is no such element, or it is not a tensor (its elements are named).
    """
    value = output
    for depth, key in enumerate(place.path):
        found = elements(value)
        if key not in found:
            where = "#".join((place.module, *place.path[:depth]))
            raise GstoVizError(
                f"the output of '{where}' has no element '{key}'; it is {_describe(value, where)}"
            )
        value = found[key]
    if not isinstance(value, Tensor):
        where = "#".join((place.module, *place.path))
        raise GstoVizError(
            f"tap '{place.name}' gives {_describe(value, where)}, not a tensor; name one element"
        )
    return value


def _describe(value: Any, where: str) -> str:
    """Describe an output and how its elements are named."""
    keys = list(elements(value))
    if not keys:
        return f"a {type(value).__name__}"
    shown = ", ".join(f"'{where}#{key}'" for key in keys[:8])
    return f"a {type(value).__name__} with the elements {shown}"
