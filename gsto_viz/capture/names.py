"""From what a user writes to the places it means: tap names, patterns, output elements.

The gate of a fusion has a canonical name (``stage3.m0.gate[2->0]``) and a second spelling that is
safe in shells and file names (``stage3.m0.gate.2to0``); both are understood everywhere. All other
names, ``stage3.m0.fusion.transfers.2to0`` among them, have one spelling. In patterns only ``*``
(any run of characters, dots too) and ``?`` (one character) are special.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from torch import nn

from gsto_viz.anatomy import anatomy_of, canonical_name, safe_name
from gsto_viz.errors import GstoVizError, did_you_mean
from gsto_viz.types import Tap

BRANCHES = "stage4.branch*"
"""The branches after HRNet's last fusion; of a network without such taps, those it is compared at.
"""

_NEVER_CALLED = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


def name_matches(name: str, pattern: str) -> bool:
    """Return True when ``pattern`` describes ``name`` in either spelling."""
    escaped = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return any(re.fullmatch(escaped, form) for form in {name, safe_name(name)})


def declared_taps(model: nn.Module) -> Mapping[str, Tap]:
    """Return the taps that a network declares; empty for foreign ones."""
    anatomy = anatomy_of(model)
    return {} if anatomy is None else anatomy.taps


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
    model: nn.Module, taps: str | Sequence[str] | Mapping[str, Tap | str]
) -> tuple[Tap, ...]:
    """Find the places that ``taps`` means, each once, in the order asked for.

    Args:
        model: Any network.
        taps: A name or pattern, a sequence of them, or {tap name: dotted module name or tap}. Names
            are looked up among the taps the network declares, and when none is meant, among its
            modules. A module name may go on with ``#`` and an index, key or attribute of its
            output: ``stage4#0``, ``backbone#features#1``.

    Raises:
        GstoVizError: Something named or described is not there, or ``taps`` is something else.
    """
    asked = _checked_taps(taps)
    if isinstance(asked, dict):
        found = [
            target if isinstance(target, Tap) else _module_place(model, name, target)
            for name, target in asked.items()
        ]
    else:
        found = [place for pattern in asked for place in _expand(model, pattern)]
    if not found:
        raise GstoVizError("no taps were asked for; name at least one, e.g. taps='stage4.branch*'")
    return tuple({place.name: place for place in found}.values())


def _checked_taps(taps: object) -> list[str] | dict[str, Tap | str]:
    """Return names and patterns, or {tap name: module name}; refuse everything else."""
    wanted = "give a name or pattern, a list of them, or {tap name: module name}"
    if isinstance(taps, str):
        return [taps]
    if not isinstance(taps, Iterable):
        raise GstoVizError(f"taps is {taps!r}; {wanted}")
    given = dict(taps) if isinstance(taps, Mapping) else list(taps)
    names = list(given)
    if isinstance(given, dict):
        names += [target for target in given.values() if not isinstance(target, Tap)]
    for name in names:
        if not isinstance(name, str):
            raise GstoVizError(f"taps holds {name!r}, which is not a name; {wanted}")
    return given


def _expand(model: nn.Module, pattern: str) -> list[Tap]:
    """Return the places of one name or pattern."""
    anatomy = anatomy_of(model)
    declared = {} if anatomy is None else anatomy.taps
    places = [tap for name, tap in declared.items() if name_matches(name, pattern)]
    if not places and anatomy is not None and pattern == BRANCHES:
        places = [declared[name] for name in anatomy.branch_taps if name in declared]
    if places:
        return places
    target, path = _split(pattern)
    if "*" in target or "?" in target:
        places = [
            Tap("#".join((name, *path)), name, path=path)
            for name in callable_modules(model)
            if name_matches(name, target)
        ]
        if not places:
            raise _unknown(model, pattern)
        return places
    return [_module_place(model, pattern, pattern)]


def _module_place(model: nn.Module, name: str, target: str) -> Tap:
    """Return the place of a dotted module name with an optional ``#`` path."""
    module_name, path = _split(target)
    try:
        module = model.get_submodule(module_name)
    except AttributeError:
        raise _unknown(model, target) from None
    if isinstance(module, _NEVER_CALLED):
        first = next((child for child, _ in module.named_children()), "0")
        raise GstoVizError(
            f"'{module_name}' is a {type(module).__name__}, which is never called itself; "
            f"name one of its elements, e.g. '{module_name}.{first}'"
        )
    return Tap(name, module_name, path=path)


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
