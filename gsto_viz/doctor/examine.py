"""What gsto_viz sees in a network: taps, strides, gates, calls, in-place changes, resizing."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from gsto_viz.activity import grid_shape, grid_stride, saturated_share
from gsto_viz.anatomy import Anatomy, anatomy_of, branches_at
from gsto_viz.capture.layout import NHWC, layout_of
from gsto_viz.capture.names import callable_modules, declared_taps
from gsto_viz.doctor.watch import Change, Record, watch
from gsto_viz.errors import GstoVizError
from gsto_viz.models import NetworkConfig
from gsto_viz.models.outputs import MAIN, Wanted, choose_output, output_tensors
from gsto_viz.torch_utils import check_hookable, eval_mode, run_network, unwrap
from gsto_viz.types import Stride, Tap
from gsto_viz.words import first_few

ITSELF = "(the network)"
"""The network's own code, where a module's name would stand."""


@dataclass(frozen=True)
class TapFacts:
    """One tap, as declared and as seen.

    Attributes:
        name: Of the tap.
        module: Dotted name of its module.
        kind: ``feature``, ``gate`` or ``logits``.
        stride: As declared; None when it was not.
        channels: As declared; None when they were not.
        shape: (N, C, h, w) as seen; None when its module was never called.
        agrees: Whether grid and channels are as declared.
    """

    name: str
    module: str
    kind: str
    stride: Stride | None
    channels: int | None
    shape: tuple[int, ...] | None
    agrees: bool


@dataclass(frozen=True)
class GateFacts:
    """One gate, or what looks like one.

    Attributes:
        name: Of the tap, or of the module whose code computes it.
        declared: Whether the network says that it is a gate; else it is the output of a sigmoid.
        stride: Pixels; None when its grid has none.
        channels: Of its output.
        allowed: Infimum and supremum that its form allows.
        low: Least value on this image.
        mean: Mean value.
        high: Greatest value.
        closed_share: Share of cells at the infimum, 0..1; None for what only looks like a gate.
    """

    name: str
    declared: bool
    stride: int | None
    channels: int
    allowed: tuple[float, float]
    low: float
    mean: float
    high: float
    closed_share: float | None


@dataclass(frozen=True)
class ModuleFacts:
    """One module.

    Attributes:
        name: Dotted.
        type: Its class.
        calls: How often it was called.
        element: ``module#element`` is the tap when its output is not a tensor; else empty.
        shape: Of its (first) output in its first call; None when never called or without tensor.
        stride: Pixels per cell, None when the grid of its output has none.
        parameters: Its weights, those of its parts included.
    """

    name: str
    type: str
    calls: int
    element: str
    shape: tuple[int, ...] | None
    stride: int | None
    parameters: int

    @property
    def tap(self) -> str:
        """What to write for it where a tap is asked for."""
        return f"{self.name}#{self.element}" if self.element else self.name


@dataclass(frozen=True)
class ResizeFacts:
    """Calls of resizing functions that are alike.

    Attributes:
        mode: Such as ``bilinear``.
        align_corners: As given.
        count: How many calls.
        modules: Whose code called them.
    """

    mode: str
    align_corners: bool | None
    count: int
    modules: tuple[str, ...]


@dataclass(frozen=True)
class Examination:
    """What was seen in one forward pass of one image.

    Attributes:
        name: Of the network.
        type: Its class, the wrappers that were taken off, and that it is equalized where it is.
        parameters: Weights.
        height: Of the image, pixels.
        width: Of the image, pixels.
        outputs: Shape of each tensor that it gives, by element.
        taps: Taps that it declares; empty for foreign networks.
        candidates: For each stride from 2 on, the module that returned last on such a grid; one
            that makes the network's output only where there is no other.
        gates: Its gates; in foreign networks what looks like one.
        called_more: Modules that were called more than once.
        never_called: Modules that were never called, without the parts of such a module.
        for_training: Modules that the network says run in training only.
        shared: Names of one module that has several.
        in_place: Layers that change their input in place.
        changes: Outputs that other code changed in place after they were returned.
        resizings: Resizing by kind.
        align_corners: What the network's configuration says, None when it says nothing.
        modules: Every module, in the order in which they first returned, uncalled ones last.
        problems: What deserves attention, one sentence each.
    """

    name: str
    type: str
    parameters: int
    height: int
    width: int
    outputs: Mapping[str, tuple[int, ...]]
    taps: tuple[TapFacts, ...]
    candidates: tuple[ModuleFacts, ...]
    gates: tuple[GateFacts, ...]
    called_more: tuple[ModuleFacts, ...]
    never_called: tuple[ModuleFacts, ...]
    for_training: tuple[str, ...]
    shared: tuple[tuple[str, ...], ...]
    in_place: tuple[str, ...]
    changes: tuple[Change, ...]
    resizings: tuple[ResizeFacts, ...]
    align_corners: bool | None
    modules: tuple[ModuleFacts, ...]
    problems: tuple[str, ...]

    @property
    def anatomy(self) -> Anatomy:
        """The candidates as branches, for a network that does not say where its own are.

        Raises:
            GstoVizError: There are fewer than two.
        """
        found = [(one.tap, one.stride) for one in self.candidates if one.stride is not None]
        return branches_at([tap for tap, _ in found], [stride for _, stride in found])


def examine(
    model: nn.Module, image: Tensor, *, name: str | None = None, output: str = MAIN
) -> Examination:
    """Run a network on an image and say what it is made of, and whether it repeats itself.

    Training flags, hooks, weights and torch's generator are as before, also when the network
    fails.

    Args:
        model: Any network that takes an image; wrappers of compiling and of data parallelism are
            taken off.
        image: (1, C, H, W), normalised, on the network's device.
        name: What to call it; None: its class.
        output: Which of several outputs is meant, by name or number.

    Raises:
        GstoVizError: The network refuses the image, or has no such output.
    """
    network, wrappers = unwrap(model)
    check_hookable(network)
    declared = declared_taps(network)
    gates = [tap for tap in declared.values() if tap.kind == "gate"]
    size = (int(image.shape[-2]), int(image.shape[-1]))
    with eval_mode(network), torch.random.fork_rng(devices=[]):
        try:
            record = watch(network, image, {gate.module for gate in gates})
            passes = [output_tensors(run_network(network, image)) for _ in range(2)]
        except Exception as error:
            given = "x".join(map(str, image.shape))
            said = " ".join(str(error).split())[:300]
            raise GstoVizError(
                f"the network refuses an image of {given} ({type(error).__name__}: {said}); try "
                "another --size"
            ) from error
    modules = _modules(network, record, size)
    taps = tuple(_tap_facts(tap, record, size) for tap in declared.values())
    in_place = {
        m for m, module in network.named_modules() if getattr(module, "inplace", False) is True
    }
    changes = dict.fromkeys(c for c in record.changes if c.by not in in_place)
    config = getattr(network, "config", None)
    corners = getattr(config, "align_corners", None)
    kind = type(network).__name__
    seen = Examination(
        name=name or kind,
        type=" of ".join(
            (*wrappers, config.named(kind) if isinstance(config, NetworkConfig) else kind)
        ),
        parameters=sum(p.numel() for p in network.parameters()),
        height=size[0],
        width=size[1],
        outputs=record.shapes.get("", {}),
        taps=taps,
        candidates=_candidates(modules, record.final),
        gates=_declared_gates(network, gates, record, size) or _likely_gates(record, size),
        called_more=tuple(m for m in modules if m.calls > 1),
        never_called=_outermost([m for m in modules if m.calls == 0]),
        for_training=tuple(getattr(network, "training_heads", {}).values()),
        shared=_shared(network),
        in_place=tuple(m for m in record.order if m in in_place),
        changes=tuple(changes),
        resizings=tuple(
            ResizeFacts(*kind, calls.total(), tuple(name or ITSELF for name in calls))
            for kind, calls in record.resizings.items()
        ),
        align_corners=corners if isinstance(corners, bool) else None,
        modules=modules,
        problems=(),
    )
    unclear = (*_unclear_output(seen.outputs, output), *_unlike(*passes))
    bad = next(iter(record.not_finite), None)
    if bad is not None:
        first = f"{bad or ITSELF} gives NaN or infinity, and is the first module that does"
        return replace(seen, problems=(first, *_problems(seen), *unclear))
    return replace(seen, problems=(*_problems(seen), *unclear))


def _unlike(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return what is odd about the outputs of two passes over one image, if anything."""
    found = []
    kinds = {str(one.dtype).removeprefix("torch.") for one in first.values()}
    if first and not any(one.is_floating_point() for one in first.values()):
        found.append(f"gives {', '.join(sorted(kinds))}, no logits of floating point to score")
    if any(_differ(one, second[name]) for name, one in first.items() if name in second):
        found.append(
            "two passes over one image give different outputs in evaluation mode (dropout that is "
            "always on, a state that is kept): its numbers cannot be repeated"
        )
    return tuple(found)


def _differ(one: Tensor, other: Tensor) -> bool:
    """Return whether two outputs differ by more than rounding."""
    if one.shape != other.shape or not one.is_floating_point():
        return not torch.equal(one, other)
    a, b = (torch.nan_to_num(value.detach().double()) for value in (one, other))
    return not torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(a.abs().mean()))


def _unclear_output(shapes: Mapping[str, tuple[int, ...]], asked: str) -> tuple[str, ...]:
    """Return what is unclear about which output is meant, if anything.

    Raises:
        GstoVizError: None has the name that was asked for.
    """
    maps = {name: shape for name, shape in shapes.items() if len(shape) == 4}
    if asked != MAIN:
        choose_output(maps, Wanted(output=asked))
        return ()
    # A head of any number of classes may be the main one; maps of one number each are told apart.
    counts = Counter(shape[1] for shape in maps.values())
    try:
        for classes, times in counts.items():
            if times > 1:
                choose_output(maps, Wanted(classes))
    except GstoVizError as error:
        return (str(error),)
    return ()


def stride_of(shape: Sequence[int], size: tuple[int, int]) -> int | None:
    """Return the stride of a grid (N, C, h, w) on an image of (H, W) pixels.

    Returns:
        As ``grid_stride``; None also where the grid is a single cell.
    """
    if len(shape) != 4 or 0 in shape or tuple(shape[-2:]) == (1, 1):
        return None
    return grid_stride(size, (shape[-2], shape[-1]))


def _modules(network: nn.Module, record: Record, size: tuple[int, int]) -> tuple[ModuleFacts, ...]:
    """Return every module that can be called, in order of first return, uncalled ones last."""
    named = {name: module for name, module in network.named_modules() if name}
    known = callable_modules(network)
    order = [name for name in record.order if name]
    order += [name for name in named if name in known and name not in record.shapes]
    facts = []
    for name in order:
        shapes = record.shapes.get(name, {})
        element, shape = next(iter(shapes.items()), ("", None))
        if shape is not None and len(shape) == 4:
            shape = _channels_first(shape, name, named[name], size)
        facts.append(
            ModuleFacts(
                name=name,
                type=type(named[name]).__name__,
                calls=record.calls[name],
                element=element,
                shape=shape,
                stride=None if shape is None else stride_of(shape, size),
                parameters=sum(p.numel() for p in named[name].parameters()),
            )
        )
    return tuple(facts)


def _channels_first(
    shape: tuple[int, ...], name: str, module: nn.Module, size: tuple[int, int]
) -> tuple[int, ...]:
    """Return the shape of a map as (N, C, h, w); as it is where channels may be second or last."""
    try:
        last = layout_of(shape, Tap(name, name), module, size) == NHWC
    except GstoVizError:
        last = False
    return (shape[0], shape[3], *shape[1:3]) if last else shape


def _tap_facts(tap: Tap, record: Record, size: tuple[int, int]) -> TapFacts:
    shape = record.shapes.get(tap.module, {}).get("")
    # Attention has further axes between batch and grid.
    agrees = shape is not None and tap.channels in (None, math.prod(shape[1:-2]))
    if shape is not None and tap.stride is not None:
        agrees &= len(shape) >= 4 and tuple(shape[-2:]) == grid_shape(*size, tap.stride)
    return TapFacts(tap.name, tap.module, tap.kind, tap.stride, tap.channels, shape, agrees)


def _candidates(modules: Sequence[ModuleFacts], final: set[str]) -> tuple[ModuleFacts, ...]:
    """Return the last module of each stride from 2 on, finest first.

    Modules that make the network's output, and their parts, come last in question.
    """

    def rank(module: ModuleFacts) -> int:
        if module.name in final:
            return 0
        return 1 if _is_inside(module.name, final) else 2

    last: dict[int, ModuleFacts] = {}
    for module in modules:
        if module.stride is not None and module.stride > 1:
            held = last.get(module.stride)
            if held is None or rank(module) >= rank(held):
                last[module.stride] = module
    return tuple(last[stride] for stride in sorted(last))


def _declared_gates(
    network: nn.Module, gates: Sequence[Tap], record: Record, size: tuple[int, int]
) -> tuple[GateFacts, ...]:
    anatomy = anatomy_of(network)
    ranges = {} if anatomy is None else {gate.name: gate.range for gate in anatomy.gates}
    facts = []
    for gate in gates:
        values, allowed = record.values.get(gate.module), ranges.get(gate.name, (0.0, 1.0))
        if values is None:
            continue
        facts.append(
            GateFacts(
                name=gate.name,
                declared=True,
                stride=stride_of(values.shape, size),
                channels=int(values.shape[1]),
                allowed=allowed,
                low=float(values.min()),
                mean=float(values.double().mean()),
                high=float(values.max()),
                closed_share=saturated_share(values.numpy(), allowed),
            )
        )
    return tuple(facts)


def _likely_gates(record: Record, size: tuple[int, int]) -> tuple[GateFacts, ...]:
    """Return every sigmoid over a map (N, C, h, w): gates of foreign networks end in one."""
    return tuple(
        GateFacts(
            name=one.module or ITSELF,
            declared=False,
            stride=stride_of(one.shape, size),
            channels=one.shape[1],
            allowed=(0.0, 1.0),
            low=one.low,
            mean=one.mean,
            high=one.high,
            closed_share=None,
        )
        for one in record.squashings
        if len(one.shape) == 4
    )


def _outermost(modules: Sequence[ModuleFacts]) -> tuple[ModuleFacts, ...]:
    """Return the modules that are not part of another one of them."""
    names = {module.name for module in modules}
    return tuple(module for module in modules if not _is_inside(module.name, names))


def _is_inside(name: str, names: set[str]) -> bool:
    """Return whether a module is a part of one of these."""
    parts = name.split(".")
    return any(".".join(parts[:k]) in names for k in range(1, len(parts)))


def _shared(network: nn.Module) -> tuple[tuple[str, ...], ...]:
    names: dict[int, list[str]] = {}
    for name, module in network.named_modules(remove_duplicate=False):
        names.setdefault(id(module), []).append(name)
    return tuple(tuple(several) for several in names.values() if len(several) > 1)


def _problems(seen: Examination) -> list[str]:
    """Return what deserves attention before numbers of this network are trusted."""
    said = []
    wrong = [tap.name for tap in seen.taps if not tap.agrees]
    if wrong:
        said.append(
            f"{_some(wrong)}: grid or channels are not as declared, so regions would be read at "
            "wrong places"
        )
    if seen.called_more:
        said.append(
            f"{_some([m.name for m in seen.called_more])}: called more than once in a pass; a "
            "capture keeps each call (maps.records), but has no single map"
        )
    dead = [m for m in seen.never_called if m.parameters and m.name not in seen.for_training]
    if dead:
        said.append(
            f"{_some([m.name for m in dead])}: never called, though with weights; such a module is "
            "dead, or its forward is called directly or its weights are used by other code, which "
            "no hook sees"
        )
    if seen.changes:
        said.append(
            f"{_some([c.output for c in seen.changes])}: changed in place by other code after it "
            "was returned; a capture keeps what was returned, the network goes on with the change"
        )
    corners = {one.align_corners for one in seen.resizings if one.align_corners is not None}
    if len(corners) > 1:
        said.append("resizing with and without aligned corners: the two shift maps differently")
    if not seen.taps and len(seen.candidates) < 2:
        said.append("outputs of fewer than two strides: there are no scales to compare")
    return said


def _some(names: Sequence[str]) -> str:
    return first_few([name or ITSELF for name in dict.fromkeys(names)])
