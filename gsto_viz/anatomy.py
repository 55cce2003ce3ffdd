"""``Anatomy``: what a network says of itself, so that nobody has to know its class.

A network returns it from a method ``anatomy()``, made once and kept; for any other module it is
given (:func:`branches_at`) or observed (``gsto_viz.doctor``). Names of gates and transfers are part
of it and say their edge: ``SITE.gate[source->target]``, or ``transitionN.gate`` in front of the
branch that is new after stage N. Tables and files keep names only, so :func:`edge_named` reads
them back.
"""

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gsto_viz.errors import GstoVizError
from gsto_viz.types import Stride, Tap, cells_of, pixels_per_cell, rate_of

NOMINAL_SIDE = 1024.0
"""Image side at which cells of pooled maps are ordered beside strides and rates, pixels."""

# Only edges have two spellings: "fusion.transfers.2to0" is a module and keeps its name.
_SPELLED = re.compile(r"(^|\.)(gate|transfer|relation)\[(\d+)->(\d+)\](?=$|#)")
_SAFE = re.compile(r"(^|\.)(gate|transfer|relation)\.(\d+)to(\d+)(?=$|#)")
_EDGE = re.compile(r"(?:(.*)\.)?(?:gate|transfer)\[(\d+)->(\d+)\]")
_NEW = re.compile(r"((?:.*\.)?transition(\d+))\.gate")


def canonical_name(name: str) -> str:
    """Return the bracket spelling: ``stage3.m0.gate.2to0`` -> ``stage3.m0.gate[2->0]``."""
    return _SAFE.sub(r"\1\2[\3->\4]", name)


def safe_name(name: str) -> str:
    """Return the spelling for shells and files: ``...gate[2->0]`` -> ``...gate.2to0``."""
    return _SPELLED.sub(r"\1\2.\3to\4", name)


@dataclass(frozen=True)
class Edge:
    """A transfer from one branch into another, or the gate in front of it.

    Attributes:
        name: Such as ``stage3.m0.transfer[2->0]``; of a gate, its tap.
        module: Dotted name of the submodule that gives it; empty when it was read off a name.
        site: The fusion or transition that it belongs to: ``stage3.m0``, ``transition3``.
        source: Branch that it carries, 0 = the finest.
        target: Branch that it leads to.
        new: Whether it makes the target branch (a transition) instead of adding to it.
    """

    name: str
    module: str
    site: str
    source: int
    target: int
    new: bool = False

    @property
    def sign(self) -> int:
        """+1 down to a coarser branch, -1 up to a finer one, 0 for the edge to itself."""
        return (self.target > self.source) - (self.target < self.source)

    @property
    def order(self) -> tuple[bool, tuple[int, ...]]:
        """Order of sites: fusions by the numbers in their names, then transitions."""
        return self.new, site_numbers(self.site)


@dataclass(frozen=True)
class Gate(Edge):
    """A gate.

    Attributes:
        stride: Pixels per cell of its grid.
        range: Infimum and supremum that its form allows.
    """

    stride: int = 1
    range: tuple[float, float] = (0.0, 1.0)


def find_edge(name: str, module: str = "") -> Edge | None:
    """Read an edge off the name of a gate or transfer in either spelling; None: it says none."""
    if found := _EDGE.fullmatch(canonical_name(name)):
        site = found[1] or ""
        return Edge(name, module, site, int(found[2]), int(found[3]), "transition" in site)
    if found := _NEW.fullmatch(name):
        return Edge(name, module, found[1], int(found[2]) - 1, int(found[2]), new=True)
    return None


def edge_named(name: str, module: str = "") -> Edge:
    """Read an edge off the name of a gate or transfer.

    Raises:
        GstoVizError: The name says no edge.
    """
    edge = find_edge(name, module)
    if edge is None:
        raise GstoVizError(
            f"'{name}' is not a gate; gates are called stage3.m0.gate[2->0] or transition3.gate"
        )
    return edge


def gates_of(taps: Iterable[Tap], limits: tuple[float, float] = (0.0, 1.0)) -> tuple[Gate, ...]:
    """Return the gate maps of transfers among taps, whose names say their edges.

    A gate behind a block stands in front of no transfer, and one of a value per channel, on a grid
    of one cell, is not a map: they are taps and no more.

    Args:
        taps: Of a network.
        limits: Infimum and supremum of all of them.
    """
    gates = []
    for tap in taps:
        edge = find_edge(tap.name, tap.module) if tap.kind == "gate" else None
        if edge is None:
            continue
        stride = 1 if tap.stride is None else pixels_per_cell(tap.stride)
        if stride is not None:
            gates.append(Gate(**vars(edge), stride=stride, range=limits))
    return tuple(gates)


def site_numbers(site: str) -> tuple[int, ...]:
    """Return the numbers in a site's name: (3, 0) of ``stage3.m0``."""
    return tuple(int(number) for number in re.findall(r"\d+", site))


@dataclass(frozen=True)
class Branch:
    """One branch, where it is compared.

    Attributes:
        tap: The tap that gives its features.
        stride: Pixels per cell; None for a map of so many cells, whatever the image (a pooled one).
        scale: Orders the branches, finest first: the stride, times the dilation rate; of a pooled
            map, pixels per cell of an image of some size.
        channels: Of its features; None when it was not said.
        grid: Cells (h, w) of a pooled map; None where the stride says them.
        rate: Dilation rate; it tells branches of one stride apart.
    """

    tap: str
    stride: int | None
    scale: float
    channels: int | None = None
    grid: tuple[int, int] | None = None
    rate: int = 1

    @classmethod
    def on(cls, tap: str, stride: Stride, channels: int | None = None) -> "Branch":
        """Return the branch whose grid is written so: ``8``, ``8r12`` or ``6x6``.

        Raises:
            GstoVizError: Not a grid.
        """
        pixels, cells, rate = pixels_per_cell(stride), cells_of(stride), rate_of(stride)
        if pixels is not None:
            return cls(tap, pixels, float(pixels * rate), channels, rate=rate)
        assert cells is not None
        return cls(tap, None, NOMINAL_SIDE / min(cells), channels, cells)

    @property
    def sampling(self) -> Stride | None:
        """Its stride, as statistics and drawings have it; None where nothing says it."""
        if self.stride is not None:
            return self.stride if self.rate == 1 else f"{self.stride}r{self.rate}"
        return None if self.grid is None else f"{self.grid[0]}x{self.grid[1]}"


@dataclass(frozen=True)
class Head:
    """How branches enter logits: what enters its ReLU is a sum over branches on the finest grid.

    Either a convolution reads their concatenation and batch norm follows, or a fusion without gates
    carries each to the finest one. A 1x1 classifier reads what leaves the ReLU.

    Attributes:
        name: ``main``, or of a deep-supervision head ``stage1``..``stage3``.
        module: Dotted name of the head.
        taps: The taps whose features enter it, the finest branch first.
        strides: The grid of each.
        channels: Of each: its group of the convolution's columns.
        inputs: The same branches before the last fusion in front of the head; empty without one,
            and ``taps`` themselves where the head begins with it.
        fusion: That fusion's site; None without one.
        sites: Fusions and transitions that the head depends on.
    """

    name: str
    module: str
    taps: tuple[str, ...]
    strides: tuple[Stride, ...]
    channels: tuple[int, ...]
    inputs: tuple[str, ...] = ()
    fusion: str | None = None
    sites: tuple[str, ...] = ()


@dataclass(frozen=True)
class Anatomy:
    """What a network says of itself.

    Attributes:
        branches: Where its branches are compared, finest first.
        taps: Every place that it names, in the order of computation.
        gates: Gate maps in front of its transfers, in the order of computation.
        transfers: Edges that can be closed or replaced, likewise.
        heads: Heads whose logits split by branch exactly, the main one first; empty where the
            split is not exact.
        outputs: The taps of its logits by head, the main one first, auxiliary ones after it.
    """

    branches: tuple[Branch, ...]
    taps: Mapping[str, Tap] = field(default_factory=dict)
    gates: tuple[Gate, ...] = ()
    transfers: tuple[Edge, ...] = ()
    heads: tuple[Head, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Anatomy":
        """Return itself: it never changes, and a copied network has the same one."""
        return self

    @property
    def branch_taps(self) -> tuple[str, ...]:
        """Taps of the branches, finest first."""
        return tuple(branch.tap for branch in self.branches)

    @property
    def strides(self) -> tuple[Stride, ...]:
        """Pixels per cell of each branch, or its rate or cells as well (``Stride``).

        Raises:
            GstoVizError: A branch has neither.
        """
        found = [stride for branch in self.branches if (stride := branch.sampling) is not None]
        if len(found) < len(self.branches):
            missing = next(branch.tap for branch in self.branches if branch.sampling is None)
            raise GstoVizError(
                f"branch {missing} has no stride (a map of so many cells whatever the image), so "
                "regions cannot be read on its grid; leave it out"
            )
        return tuple(found)

    @property
    def gate_range(self) -> tuple[float, float] | None:
        """Infimum and supremum of all gates; None without gates."""
        ranges = [gate.range for gate in self.gates]
        return (min(r[0] for r in ranges), max(r[1] for r in ranges)) if ranges else None

    @property
    def relations(self) -> dict[str, int]:
        """Strides of the fine maps whose pixels choose from the next coarser one, by attention tap.

        Of those between two grids at which branches are compared.
        """
        grids = {branch.sampling for branch in self.branches}
        return {
            name: tap.stride
            for name, tap in self.taps.items()
            if tap.kind == "attention"
            and isinstance(tap.stride, int)
            and {tap.stride, 2 * tap.stride} <= grids
        }

    @property
    def head(self) -> Head | None:
        """The head that the branches enter; None where the split is not exact there."""
        return next((head for head in self.heads if head.taps == self.branch_taps), None)

    def at(self, branches: Sequence[Branch]) -> "Anatomy":
        """Return the same network compared at other places, with the gates on their grids.

        Raises:
            GstoVizError: The places are all of one scale.
        """
        _check_scales(branches)
        strides = {branch.stride for branch in branches}
        gates = tuple(gate for gate in self.gates if gate.stride in strides)
        return replace(self, branches=tuple(branches), gates=gates)

    def told(self, site: "Anatomy") -> "Anatomy":
        """Return the branches and gates that somebody tells, and what it says itself of the rest.

        A network that does not know these places says nothing of them.
        """
        if not set(site.taps) <= set(self.taps):
            return site
        return replace(self, branches=site.branches, gates=site.gates)


def _check_scales(branches: Sequence[Branch]) -> None:
    if branches and all(branch.grid == (1, 1) for branch in branches):
        raise GstoVizError(
            "all branches are maps of one cell, which cannot tell the places of an image apart; "
            "name taps of finer maps"
        )
    if len({branch.scale for branch in branches}) < 2:
        listed = ", ".join(str(branch.stride) for branch in branches)
        raise GstoVizError(
            f"all branches have one stride ({listed}); scale confusion is between branches of "
            "different strides, so name taps of two or more"
        )


def branches_at(
    branches: Sequence[str],
    strides: Sequence[Stride],
    gates: Mapping[str, int] | None = None,
    bounds: tuple[float, float] | None = None,
    layout: str = "",
) -> Anatomy:
    """Make the anatomy of a network that does not say where its branches are.

    Args:
        branches: Dotted module names, finest first; ``module#0`` or ``module#key`` picks an element
            of an output that is not a tensor.
        strides: Pixels per cell of each; as text a ``Stride`` of a dilated or pooled branch.
        gates: Modules of gates, with names that say their edges, and the stride of their grid.
        bounds: Infimum and supremum of the gates' form; None: 0 and 1.
        layout: ``nchw`` or ``nhwc``, the order of axes of all branches; empty: told by sizes.

    Raises:
        GstoVizError: Their numbers differ, all strides are the same, a gate's name says no edge, or
            an unknown layout.

    Example:
        >>> branches_at(("layer1", "layer2"), (4, 8)).strides
        (4, 8)
    """
    if len(branches) != len(strides):
        raise GstoVizError(
            f"{len(branches)} branches and {len(strides)} strides; give one stride per branch"
        )
    if layout not in ("", "nchw", "nhwc"):
        raise GstoVizError(f"layout '{layout}': give nchw or nhwc (channels last)")
    read = tuple(Branch.on(tap, stride) for tap, stride in zip(branches, strides, strict=True))
    _check_scales(read)
    places = {b.tap: Tap(b.tap, b.tap, b.sampling, layout=layout) for b in read}
    for name, stride in (gates or {}).items():
        places[edge_named(name).name] = Tap(name, name, stride, 1, "gate")
    return Anatomy(read, places, gates_of(places.values(), bounds or (0.0, 1.0)))


def _said(model: object, name: str) -> object:
    """Call a method without arguments; None where the name is a part of the network, or no such."""
    method = getattr(model, name, None)
    if not inspect.isroutine(method):
        return None
    try:
        inspect.signature(method).bind()
    except (TypeError, ValueError):
        return None
    return method()


def anatomy_of(model: object) -> Anatomy | None:
    """Return what a network says of itself; None for one that says nothing.

    A network with a method ``taps()`` alone names its places, and no more.
    """
    found = _said(model, "anatomy")
    if isinstance(found, Anatomy):
        return found
    taps = _said(model, "taps")
    if isinstance(taps, Mapping) and all(isinstance(t, Tap) for t in taps.values()):
        return Anatomy((), dict(taps), gates_of(taps.values())) if taps else None
    return None
