"""From what a user writes to the places it means: tap names, patterns, output elements.

The gate of a fusion has a canonical name (``stage3.m0.gate[2->0]``) and a second spelling that is
safe in shells and file names (``stage3.m0.gate.2to0``); both are understood everywhere. All other
names, ``stage3.m0.fusion.transfers.2to0`` among them, have one spelling. In patterns only ``*``
(any run of characters, dots too) and ``?`` (one character) are special.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from gsto_viz.errors import GstoVizError, did_you_mean
from gsto_viz.types import Tap

# Only gates have two spellings: "fusion.transfers.2to0" is a module and keeps its name.
_EDGE = re.compile(r"(^|\.)gate\[(\d+)->(\d+)\](?=$|#)")
_SAFE_EDGE = re.compile(r"(^|\.)gate\.(\d+)to(\d+)(?=$|#)")
_NEVER_CALLED = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


@dataclass(frozen=True)
class ResolvedTap:
    """One tap that was asked for, found in a network.

    Attributes:
        name: The key of its maps.
        module: Dotted name of the submodule; empty for the network itself.
        path: Which element of the module's output, outermost first; empty when it is a tensor.
        kind: ``feature``, ``gate`` or ``logits``; ``feature`` for modules of foreign networks.
        stride: Pixel step of its grid, None when the network does not say.
        channels: Channels of the output, None when the network does not say.
    """

    name: str
    module: str
    path: tuple[str, ...] = ()
    kind: str = "feature"
    stride: int | None = None
    channels: int | None = None


def canonical_name(name: str) -> str:
    """Return the bracket spelling: ``stage3.m0.gate.2to0`` -> ``stage3.m0.gate[2->0]``."""
    return _SAFE_EDGE.sub(r"\1gate[\2->\3]", name)


def safe_name(name: str) -> str:
    """Return the spelling for shells and files: ``...gate[2->0]`` -> ``...gate.2to0``."""
    return _EDGE.sub(r"\1gate.\2to\3", name)


def has_wildcard(pattern: str) -> bool:
    """Return True when ``pattern`` contains ``*`` or ``?``."""
    return "*" in pattern or "?" in pattern


def name_matches(name: str, pattern: str) -> bool:
    """Return True when ``pattern`` describes ``name`` in either spelling."""
    escaped = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return any(re.fullmatch(escaped, form) for form in {name, safe_name(name)})


def declared_taps(model: nn.Module) -> dict[str, Tap]:
    """Return the taps that a network declares with a method ``taps()``; empty for foreign ones."""
    method = getattr(model, "taps", None)
    declared = method() if callable(method) else None
    if isinstance(declared, Mapping) and all(isinstance(t, Tap) for t in declared.values()):
        return dict(declared)
    return {}


def tap_names(model: nn.Module) -> tuple[str, ...]:
    """Return every name that can be captured by name: declared taps, else dotted module names."""
    return tuple(declared_taps(model)) or tuple(callable_modules(model))


def callable_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Return the submodules that a forward pass can call, by dotted name, without the root.

    Containers that only hold modules (``ModuleList``, ``ModuleDict``) are left out.
    """
    return {
        name: module
        for name, module in model.named_modules(remove_duplicate=False)
        if name and not isinstance(module, _NEVER_CALLED)
    }


def resolve(
    model: nn.Module, taps: str | Sequence[str] | Mapping[str, str]
) -> tuple[ResolvedTap, ...]:
    """Find the places that ``taps`` means, each once, in the order asked for.

    Args:
        model: Any network.
        taps: A name or pattern, a sequence of them, or {tap name: dotted module name}. Names are
            looked up among the taps the network declares, and when none is meant, among its
            modules. A module name may go on with ``#`` and an index, key or attribute of its
            output: ``stage4#0``, ``backbone#features#1``.

    Raises:
        GstoVizError: Something named or described is not there, or ``taps`` is something else.
    """
    asked = _checked_taps(taps)
    if isinstance(asked, dict):
        found = [_module_place(model, name, target) for name, target in asked.items()]
    else:
        found = [place for pattern in asked for place in _expand(model, pattern)]
    if not found:
        raise GstoVizError("no taps were asked for; name at least one, e.g. taps='stage4.branch*'")
    return tuple({place.name: place for place in found}.values())


def _checked_taps(taps: object) -> list[str] | dict[str, str]:
    """Return names and patterns, or {tap name: module name}; refuse everything else."""
    wanted = "give a name or pattern, a list of them, or {tap name: module name}"
    if isinstance(taps, str):
        return [taps]
    if not isinstance(taps, Iterable):
        raise GstoVizError(f"taps is {taps!r}; {wanted}")
    given = dict(taps) if isinstance(taps, Mapping) else list(taps)
    names = [*given, *given.values()] if isinstance(given, dict) else given
    for name in names:
        if not isinstance(name, str):
            raise GstoVizError(f"taps holds {name!r}, which is no name; {wanted}")
    return given


def _expand(model: nn.Module, pattern: str) -> list[ResolvedTap]:
    """Return the places of one name or pattern."""
    declared = declared_taps(model)
    places = [
        ResolvedTap(name, tap.module, (), tap.kind, tap.stride, tap.channels)
        for name, tap in declared.items()
        if name_matches(name, pattern)
    ]
    if places:
        return places
    target, path = _split(pattern)
    if has_wildcard(target):
        places = [
            ResolvedTap("#".join((name, *path)), name, path)
            for name in callable_modules(model)
            if name_matches(name, target)
        ]
        if not places:
            raise _unknown(model, pattern)
        return places
    return [_module_place(model, pattern, pattern)]


def _module_place(model: nn.Module, name: str, target: str) -> ResolvedTap:
    """Return the place of a dotted module name with an optional ``#`` path."""
    module_name, path = _split(target)
    try:
        module = model.get_submodule(module_name)
    except AttributeError:
        raise _unknown(model, target) from None
    if isinstance(module, _NEVER_CALLED):
        raise GstoVizError(
            f"'{module_name}' is a {type(module).__name__}, which is never called itself; "
            f"name one of its elements, e.g. '{module_name}.{_first_child(module)}'"
        )
    return ResolvedTap(name, module_name, path)


def _first_child(module: nn.Module) -> str:
    return next((name for name, _ in module.named_children()), "0")


def _split(target: str) -> tuple[str, tuple[str, ...]]:
    """Split ``module#key#key`` into the module's name and the path into its output."""
    module_name, *path = target.split("#")
    return module_name, tuple(path)


def _unknown(model: nn.Module, given: str) -> GstoVizError:
    """Make the error for a name or pattern that is not there, with the nearest valid ones."""
    names = tap_names(model)
    kind = "tap" if declared_taps(model) else "module"
    return GstoVizError(
        f"no {kind} of {type(model).__name__} is called '{given}'; "
        f"{closest_names(given, names)} (all {len(names)}: gsto_viz.capture.tap_names(model))"
    )


def closest_names(given: str, names: Sequence[str], count: int = 4) -> str:
    """Return ``did you mean ...?`` with the names nearest to ``given``, or the first few names."""
    if not names:
        return "there are none"
    wanted = canonical_name(given.replace("*", "").replace("?", ""))
    valid = f"valid names: {', '.join(names[:8])}" + (", ..." if len(names) > 8 else "")
    return did_you_mean(wanted, names, count=count, cutoff=0.5, otherwise=valid)
