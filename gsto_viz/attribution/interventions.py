"""Interventions: what a network says when a branch, a transfer or a gate is changed.

``intervene`` puts hooks on the named places for the length of a ``with`` block. They act only in
the thread that opened it, so other threads see the network as it is, and they are gone afterwards
however the block ends. A ``Capture`` opened before or inside the block sees the changed outputs.

The counts go into ``gsto_viz.stats.causal``: drops of recall and IoU by size octave and class, and
the branch x size matrix of the Scale Interaction Coefficient.

Places: ``stage4.branch2`` is the branch after the stage's last fusion, ``stage4.m1.branch2.pre``
before the fusion of module 1. ``stage3.m0.transfer[2->0]`` is what the transfer adds to the
fusion's sum, ``transition3.transfer[2->3]`` the new branch; ``stage3.m0.gate[2->0]`` and
``transition3.gate`` are gates. Arrows can be written ``2to0`` after a dot:
``stage3.m0.transfer.2to0``.
"""

import copy
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from gsto_viz.anatomy import anatomy_of, canonical_name
from gsto_viz.attribution.head import channel_means, find_head
from gsto_viz.capture import Capture
from gsto_viz.capture.core import REGISTRATION
from gsto_viz.capture.names import callable_modules, closest_names
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate import predict
from gsto_viz.regions import RegionMap
from gsto_viz.stats.causal import UNCHANGED
from gsto_viz.stats.outcome import outcome_counts
from gsto_viz.torch_utils import eval_mode, unwrap
from gsto_viz.types import Tap


@dataclass(frozen=True)
class Place:
    """A place in a network by its canonical name, and the module whose output it is."""

    name: str
    module: str
    kind: str
    """``branch``, ``transfer``, ``gate``, or ``module`` for everything else."""
    source: int | None = None
    target: int | None = None
    """Branches of a transfer or gate at a fusion; a branch is its own target."""


def find_place(model: nn.Module, name: str) -> Place:
    """Find a place by name; dotted module names work in any network.

    Raises:
        GstoVizError: There is no such place; the closest names are given.
    """
    canonical = canonical_name(name)
    known = {place.name: place for place in list_places(model)}
    if canonical in known:
        return known[canonical]
    if name in callable_modules(model):
        return Place(name, name, "module")
    valid = tuple(known) or tuple(callable_modules(model))
    raise GstoVizError(f"there is no place '{name}'; {closest_names(name, valid)}")


def list_places(model: nn.Module) -> list[Place]:
    """Return every branch, transfer and gate that a network declares; none for foreign ones."""
    anatomy = anatomy_of(model)
    if anatomy is None:
        return []
    gates = {gate.name: gate for gate in anatomy.gates}
    places = []
    for tap in anatomy.taps.values():
        if tap.branch is not None:
            places.append(Place(tap.name, tap.module, "branch", None, tap.branch))
        elif tap.kind == "gate":
            # What a transition carries is a branch yet to be: its gate has no place in the matrix,
            # and neither has one that is not a map of a transfer.
            gate = gates.get(tap.name)
            ends = (None, None) if gate is None or gate.new else (gate.source, gate.target)
            places.append(Place(tap.name, tap.module, "gate", *ends))
    edges = anatomy.transfers
    return places + [Place(e.name, e.module, "transfer", e.source, e.target) for e in edges]


Change = Callable[[Tensor], Tensor]
"""From what a place gives to what it gives instead: same shape, or one that broadcasts to it."""

_HELD: WeakKeyDictionary[nn.Module, set[int]] = WeakKeyDictionary()
"""Threads that have an intervention on a module; guarded by ``REGISTRATION``."""


@dataclass(frozen=True, eq=False)
class Intervention:
    """One change of one place.

    Attributes:
        place: Name of the place, such as ``stage3.m0.gate[2->0]``.
        change: What its output becomes.
        what: The change in words, e.g. ``0.5`` or ``dataset mean``.
    """

    place: str
    change: Change
    what: str

    def __str__(self) -> str:
        return f"{self.place} = {self.what}"


def constant(place: str, value: float, what: str | None = None) -> Intervention:
    """Fix a place to one number everywhere: 0 removes a branch or closes a transfer."""
    return Intervention(place, partial(_filled, value), f"{value:g}" if what is None else what)


def _filled(value: float, output: Tensor) -> Tensor:
    return torch.full_like(output, value)


def replaced(place: str, features: Tensor, what: str) -> Intervention:
    """Put other features in the place's: of its shape, (1, C, 1, 1), or (N, 1, h, w) for a gate."""
    return Intervention(place, partial(_other, features), what)


def _other(features: Tensor, output: Tensor) -> Tensor:
    return features.to(output)


def blurred(place: str, octaves: int) -> Intervention:
    """Blur a place's map: average cells of 2**octaves, and bring them back bilinearly.

    The control of every change that takes a map's place away: its mean stays, its detail goes.
    """
    if octaves < 1:
        raise GstoVizError(f"a blur of {octaves} octaves changes nothing; give 1 or more")
    return Intervention(place, partial(_blur, 2**octaves), f"blur:{octaves}")


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
    places = [find_place(network, i.place) for i in interventions]
    fired: set[str] = set()
    handles: list[RemovableHandle] = []
    held: list[nn.Module] = []
    thread = threading.get_ident()
    try:
        with REGISTRATION:
            for place, intervention in zip(places, interventions, strict=True):
                module = network.get_submodule(place.module)
                _hold(module, thread, place)
                held.append(module)
                hook = partial(_act, thread, fired, place, intervention.change)
                handles.append(module.register_forward_hook(hook, prepend=True))
        yield network
    finally:
        with REGISTRATION:
            for handle in handles:
                handle.remove()
            for module in held:
                _HELD[module].discard(thread)
    silent = [place.name for place in places if place.name not in fired]
    if silent:
        raise GstoVizError(
            f"nothing was changed at {', '.join(silent)}: the forward pass does not call it, or no "
            "forward pass was made inside the block; leave it out, or run the network there"
        )


def _hold(module: nn.Module, thread: int, place: Place) -> None:
    """Note that this thread changes a module, or refuse to do so twice."""
    threads = _HELD.setdefault(module, set())
    if thread in threads:
        raise GstoVizError(f"{place.name} is changed already; give each place one change")
    threads.add(thread)


def _act(
    thread: int,
    fired: set[str],
    place: Place,
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
            f"{place.name} gives a {type(output).__name__} and no tensor; change a module inside it"
        )
    fired.add(place.name)
    changed = change(output)
    try:
        return changed.expand(output.shape)
    except RuntimeError as error:
        raise GstoVizError(
            f"the change of {place.name} has shape {tuple(changed.shape)} and the place gives "
            f"{tuple(output.shape)}; give a tensor that broadcasts to it"
        ) from error


@torch.no_grad()
def captured(model: nn.Module, image: Tensor, places: str | Sequence[str]) -> dict[str, Tensor]:
    """Return what places give for an image, unreduced, by name: values for ``replaced``.

    Args:
        model: Any network; in evaluation mode meanwhile.
        image: (N, 3, H, W), normalised.
        places: Names, or one pattern of taps such as ``*gate*``.
    """
    network, _ = unwrap(model)
    taps: str | dict[str, Tap | str] = (
        places
        if isinstance(places, str)
        else {place: find_place(network, place).module for place in places}
    )
    with eval_mode(network), Capture(network, taps, reduce="none") as maps:
        network(image)
    return {name: maps[name] for name in maps}


def swapped(
    model: nn.Module, image: Tensor, places: str | Sequence[str], *, what: str = "another image"
) -> tuple[Intervention, ...]:
    """Give places the maps that they have for another image of the same size.

    With all gates (``*gate*``) this asks whether gates answer to *this* image at all.

    Args:
        model: The network.
        image: The other image, (1, 3, H, W) normalised.
        places: As for :func:`captured`.
        what: What to call the other image.
    """
    maps = captured(model, image, places)
    return tuple(replaced(place, value, what) for place, value in maps.items())


SITES = ("after", "before")
MAX_BLUR = 13
"""Octaves: a cell as large as the largest image."""
MAX_VALUE = 1e30
"""Largest value that a place can be fixed at: float32 holds it."""


def intervention_counts(
    model: nn.Module,
    image: npt.NDArray[np.uint8],
    regions: RegionMap,
    changes: Mapping[str, Sequence[Intervention]],
    *,
    name: str,
) -> pd.DataFrame:
    """Predict one image without and with each group of interventions and count its pixels.

    Args:
        model: A network that ``evaluate`` understands.
        image: (H, W, 3) uint8 sRGB.
        regions: Of its annotation, at its size.
        changes: By name, interventions made together.
        name: Of the image.

    Returns:
        ``intervention`` (``none`` first), then the columns of region counts; one row per
        intervention and region.
    """
    if UNCHANGED in changes:
        raise GstoVizError(f"'{UNCHANGED}' is the name of the unchanged network; choose another")
    parts = []
    with eval_mode(model):
        for key, group in {UNCHANGED: (), **changes}.items():
            with intervene(model, *group) as network:
                predicted = predict(network, image)
            counts = outcome_counts(regions.ids, regions.class_id, predicted, image=name).regions
            counts.insert(0, "intervention", key)
            parts.append(counts)
    return pd.concat(parts, ignore_index=True)


def branch_places(model: nn.Module, site: str = "after", head: str = "main") -> list[str]:
    """Return the places of the branches that enter a head, the finest first.

    Args:
        model: A network that declares its head.
        site: ``after`` or ``before`` the last fusion in front of it. After it, a branch is already
            a sum of all; before it, removing one also takes away what it would have given to the
            others. Without a fusion nothing lies before it, and where the head begins with it
            nothing after it.
        head: ``main`` or a deep-supervision head.
    """
    if site not in SITES:
        raise GstoVizError(f"unknown site '{site}'; choose {' or '.join(SITES)} the last fusion")
    anatomy = anatomy_of(model)
    if anatomy is None or not anatomy.heads:
        raise GstoVizError(f"{type(model).__name__} declares no branches; name modules instead")
    found = find_head(model, head)
    if site == "before":
        return list(found.inputs)
    return [] if found.inputs == found.taps else list(found.taps)


def mean_features(
    model: nn.Module, images: Iterable[Tensor], places: Sequence[str]
) -> dict[str, Tensor]:
    """Return each channel's mean over all cells of some images, (1, C, 1, 1) by place.

    Args:
        model: A float32 network.
        images: Normalised, (3, H, W) or (N, 3, H, W) each.
        places: Places, as ``find_place`` takes them.
    """
    return channel_means(model, images, {p: find_place(model, p).module for p in places})


def removals(
    places: Sequence[str], means: Mapping[str, Tensor] | None = None
) -> dict[str, tuple[Intervention, ...]]:
    """Remove places one at a time: replaced by their means where given, else by zero.

    Returns:
        Groups for :func:`intervention_counts`, under the places' own names.
    """
    if means is None:
        return {place: (constant(place, 0.0, "zero"),) for place in places}
    return {place: (replaced(place, means[place], "mean"),) for place in places}


def edges(model: nn.Module, kind: str, site: str) -> list[Place]:
    """Return the transfers or gates of one fusion or transition, in the order of the network.

    Args:
        model: One of our networks.
        kind: ``transfer`` or ``gate``.
        site: ``stage4.m0``, ``transition3``...
    """
    found = [p for p in list_places(model) if p.kind == kind and p.name.startswith(f"{site}.")]
    if not found:
        raise GstoVizError(f"{site} has no {kind}; name a module such as stage4.m0, or transition3")
    return found


def parse_intervention(model: nn.Module, text: str) -> Intervention:
    """Read ``PLACE=VALUE``: ``stage3.m0.gate[2->0]=0.5``, ``stage4.branch1=zero``, ``...=blur:2``.

    VALUE is a number, ``zero``, ``open`` (1) and ``closed`` for gates (as closed as the gate's form
    allows, 0.5 for released gates), ``closed`` for transfers (0), or ``blur:OCTAVES``.

    Raises:
        GstoVizError: No such place, or no such value.
    """
    name, equals, value = (part.strip() for part in text.rpartition("="))
    if not equals or not name or not value:
        raise GstoVizError(f"'{text}' is not an intervention; write PLACE=VALUE, such as stem=zero")
    place = find_place(model, name)
    words = _words(model, place)
    if value in words:
        return constant(place.name, words[value], value)
    kind, _, octaves = value.partition(":")
    if kind == "blur" and octaves.isdecimal():
        if len(octaves) > 2 or not 1 <= int(octaves) <= MAX_BLUR:
            raise GstoVizError(f"{value} is not a blur; give 1 to {MAX_BLUR} octaves")
        return blurred(place.name, int(octaves))
    try:
        number = float(value)
    except ValueError as error:
        known = ", ".join([*words, "blur:OCTAVES"])
        raise GstoVizError(
            f"'{value}' is not a value for {place.name}; give a number, {known}"
        ) from error
    if not abs(number) < MAX_VALUE:
        raise GstoVizError(f"{place.name} cannot be {value}; give a number below {MAX_VALUE:g}")
    return constant(place.name, number)


def _words(model: nn.Module, place: Place) -> dict[str, float]:
    """Return the words for numbers at a place."""
    if place.kind == "gate":
        anatomy = anatomy_of(model)
        ranges = {} if anatomy is None else {gate.name: gate.range for gate in anatomy.gates}
        low, high = ranges.get(place.name, (0.0, 1.0))
        return {"zero": 0.0, "closed": low, "open": high}
    return {"zero": 0.0, "closed": 0.0} if place.kind == "transfer" else {"zero": 0.0}


def frozen_twin(model: nn.Module) -> nn.Module:
    """Copy a network's modules and share its weights, without gradients and without hooks.

    Captum puts hooks on the modules that it is given, and these act in every thread. On a twin they
    meet nobody. No parameter of the twin asks for gradients, so a backward pass leaves nothing in
    the network, and autograd keeps only what lies after the point that is asked about.

    Args:
        model: Any network; wrappers of compilation and data parallelism are taken off.

    Returns:
        A network in evaluation mode. Weights and statistics are the same memory as the original's.
    """
    network, _ = unwrap(model)
    memo: dict[int, Any] = {}
    for tensor in network.parameters():
        memo[id(tensor)] = nn.Parameter(tensor.detach(), requires_grad=False)
    for buffer in network.buffers():
        memo[id(buffer)] = buffer
    for module in network.modules():
        for name, value in vars(module).items():
            if "hooks" in name and isinstance(value, dict):
                memo[id(value)] = type(value)()
    twin: nn.Module = copy.deepcopy(network, memo)
    return twin.eval()


def tap_output(module: nn.Module) -> nn.Module:
    """Lead a twin's module through an identity of its own and return that.

    Captum reads a module's device from its inputs and cannot read lists, which fusions take. The
    identity takes and gives what the module gives: one tensor. Asked again, it is the same one.
    """
    known = getattr(module, "tap", None)
    if isinstance(known, nn.Identity):
        return known
    identity, inner = nn.Identity(), module.forward

    def forward(*inputs: Any, **options: Any) -> Any:
        return identity(inner(*inputs, **options))

    module.add_module("tap", identity)
    module.forward = forward
    return identity
