"""From what YAML gives to the type of a setting."""

import math
import re
import types
import typing
from typing import Any

from gsto_viz.errors import GstoVizError


def convert(name: str, value: Any, expected: Any) -> Any:
    """Return ``value`` as the setting's type, or raise with what was got and what was expected."""
    problem = GstoVizError(f"recipe: {name} is {value!r}; it must be {_describe(expected)}")
    origin, inner = typing.get_origin(expected), typing.get_args(expected)
    if origin is types.UnionType:
        listed = isinstance(value, (list, tuple))
        chosen = [t for t in inner if (typing.get_origin(t) is tuple) == listed]
        try:
            return convert(name, value, chosen[0])
        except GstoVizError:
            raise problem from None
    if origin is tuple:
        return _tuple(name, value, inner, problem)
    if origin is dict:
        if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
            raise problem
        return {
            k: v if inner[1] is Any else convert(f"{name}.{k}", v, inner[1])
            for k, v in value.items()
        }
    if expected is float:
        value = _as_float(value)
    if type(value) is not expected or (expected is float and not math.isfinite(value)):
        raise problem
    return value


def _tuple(name: str, value: Any, inner: tuple[Any, ...], problem: GstoVizError) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise problem
    kinds = (inner[0],) * len(value) if inner[-1] is Ellipsis else inner
    if len(value) != len(kinds) or not kinds:
        raise problem
    return tuple(convert(name, v, t) for v, t in zip(value, kinds, strict=True))


def _as_float(value: Any) -> Any:
    """Turn whole numbers and ``1e-3`` into floats; leave everything else as it is.

    YAML 1.1 reads ``1e-3``, without a point in it, as a word.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) < 2**53 else math.inf
    if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]+[eE][-+]?[0-9]{1,3}", value):
        return float(value)
    return value


def _describe(expected: Any) -> str:
    """Say a type in words: ``a list of 2 whole numbers``, ``a mapping``, ``a whole number``."""
    origin, inner = typing.get_origin(expected), typing.get_args(expected)
    if origin is types.UnionType:
        return " or ".join(_describe(t) for t in inner)
    if origin is tuple:
        whole = "whole " if inner[0] is int else ""
        count = "" if inner[-1] is Ellipsis else f"{len(inner)} "
        return f"a list of {count}{whole}numbers"
    if origin is dict:
        return "a mapping"
    names: dict[Any, str] = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a word",
    }
    return names[expected]


def parse_base_size(text: str) -> tuple[str, tuple[int, ...]]:
    """Take ``native``, ``long 520``, ``short 520`` or ``473x473`` apart.

    Returns:
        ``native``, ``long``, ``short`` or ``exact``, and the pixels (height first).

    Raises:
        GstoVizError: It is none of these.
    """
    match = re.fullmatch(r"native|(long|short) ([0-9]{1,6})|([0-9]{1,6})x([0-9]{1,6})", text)
    if match is None:
        raise GstoVizError(
            f"recipe: base_size is '{text}'; write native, long N, short N or HEIGHTxWIDTH"
        )
    side, pixels, height, width = match.groups()
    if side:
        return side, (int(pixels),)
    return ("exact", (int(height), int(width))) if height else ("native", ())
