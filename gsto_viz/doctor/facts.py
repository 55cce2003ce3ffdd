"""What is said of a network: plain facts, and the network as a whole."""

from collections.abc import Mapping
from dataclasses import dataclass

from gsto_viz.doctor.watch import Change

ITSELF = "(the network)"
"""The network's own code, where a module's name would stand."""


@dataclass(frozen=True)
class TapFacts:
    """One tap, as declared and as seen.

    Attributes:
        name: Of the tap.
        module: Dotted name of its module.
        kind: ``feature``, ``gate`` or ``logits``.
        stride: As declared, pixels.
        channels: As declared.
        shape: (N, C, h, w) as seen; None when its module was never called.
        agrees: Whether grid and channels are as declared.
    """

    name: str
    module: str
    kind: str
    stride: int
    channels: int
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
        element: ``module#element`` is the tap when its output is no tensor; else empty.
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
        type: Its class, and the wrappers that were taken off.
        parameters: Weights.
        height: Of the image, pixels.
        width: Likewise.
        outputs: Shape of each tensor that it gives, by element.
        taps: Taps that it declares; empty for foreign networks.
        candidates: For each stride from 2 on, the module that returned last on such a grid; one
            that makes the network's output only where there is no other.
        gates: Its gates; in foreign networks what looks like one.
        called_more: Modules that were called more than once.
        never_called: Modules that were never called, without the parts of such a module.
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
    shared: tuple[tuple[str, ...], ...]
    in_place: tuple[str, ...]
    changes: tuple[Change, ...]
    resizings: tuple[ResizeFacts, ...]
    align_corners: bool | None
    modules: tuple[ModuleFacts, ...]
    problems: tuple[str, ...]
