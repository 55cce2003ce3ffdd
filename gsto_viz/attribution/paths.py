"""Places of a network that can be changed: branches, transfers, gates, any module.

``stage4.branch2`` is the branch after the stage's last fusion, ``stage4.m1.branch2.pre`` before the
fusion of module 1. ``stage3.m0.transfer[2->0]`` is what the transfer adds to the fusion's sum,
``transition3.transfer[2->3]`` the new branch; ``stage3.m0.gate[2->0]`` and ``transition3.gate`` are
gates. Arrows can be written ``2to0`` after a dot: ``stage3.m0.transfer.2to0``.
"""

import re
from dataclasses import dataclass

from torch import nn

from gsto_viz.capture.names import callable_modules, canonical_name, closest_names, declared_taps
from gsto_viz.errors import GstoVizError
from gsto_viz.models.fusion import Fusion, Transition

_SAFE_TRANSFER = re.compile(r"(^|\.)transfer\.(\d+)to(\d+)$")


@dataclass(frozen=True)
class Path:
    """A place by its canonical name, and the module whose output it is."""

    name: str
    module: str
    kind: str
    """``branch``, ``transfer``, ``gate``, or ``module`` for everything else."""
    source: int | None = None
    target: int | None = None
    """Branches of a transfer or gate at a fusion; a branch is its own target."""


def find_path(model: nn.Module, name: str) -> Path:
    """Find a place by name; dotted module names work in any network.

    Raises:
        GstoVizError: There is no such place; the closest names are given.
    """
    canonical = _SAFE_TRANSFER.sub(r"\1transfer[\2->\3]", canonical_name(name))
    known = {path.name: path for path in list_paths(model)}
    if canonical in known:
        return known[canonical]
    if name in callable_modules(model):
        return Path(name, name, "module")
    valid = tuple(known) or tuple(callable_modules(model))
    raise GstoVizError(f"there is no place '{name}'; {closest_names(name, valid)}")


def list_paths(model: nn.Module) -> list[Path]:
    """Return every branch, transfer and gate of one of our networks; none for other networks."""
    branch = re.compile(r".*\.branch(\d+)(\.pre)?$")
    edge = re.compile(r".*gate\[(\d+)->(\d+)\]$")
    paths = []
    for tap in declared_taps(model).values():
        if tap.kind == "gate":
            ends = edge.match(tap.name)
            source, target = (int(ends[1]), int(ends[2])) if ends else (None, None)
            paths.append(Path(tap.name, tap.module, "gate", source, target))
        elif found := branch.match(tap.name):
            paths.append(Path(tap.name, tap.module, "branch", None, int(found[1])))
    return paths + _transfers(model)


def _transfers(model: nn.Module) -> list[Path]:
    paths = []
    for name, module in model.named_modules():
        if isinstance(module, Fusion):
            place = name.removesuffix(".fusion")
            for key in module.transfers:
                source, target = map(int, key.split("to"))
                label = f"{place}.transfer[{source}->{target}]"
                inner = f"{name}.transfers.{key}"
                paths.append(Path(label, inner, "transfer", source, target))
        elif isinstance(module, Transition):
            target = int(name.removeprefix("transition"))
            label = f"{name}.transfer[{target - 1}->{target}]"
            paths.append(Path(label, f"{name}.new_branch", "transfer", target - 1, target))
    return paths
