"""Settings of recipes and networks: a row for each rule, with the sentence where it is broken."""

import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

from gsto_viz.errors import GstoVizError


class Rule(NamedTuple):
    """What the value of a setting must be.

    Attributes:
        setting: Its name.
        sentence: What is said after ``NAME is VALUE; `` where the rule is broken; ``{0.other}``
            stands for another setting. Or a function of value and settings that gives all that is
            said after the name. "": what ``kind`` means in words.
        kind: The type that the value is brought to, None to leave it as it is: int, float, bool,
            str, a tuple or dict of these, or one of them or a tuple. Whole numbers, NumPy's too,
            and ``1e-3``, which YAML 1.1 reads as a word, are floats; no bool is a number.
        holds: Whether a value of that type can be used, given it and all settings.
    """

    setting: str
    sentence: str | Callable[[Any, Any], str] = ""
    kind: Any = None
    holds: Callable[[Any, Any], bool] = lambda value, settings: True


def within(low: float, high: float = math.inf) -> Callable[[Any, Any], bool]:
    """Accept ``low`` to ``high``, both included."""
    return lambda value, settings: low <= value <= high


def within_below(low: float, high: float) -> Callable[[Any, Any], bool]:
    """Accept ``low`` (included) to ``high`` (excluded)."""
    return lambda value, settings: low <= value < high


def settle(settings: Any, rules: Iterable[Rule], where: str = "") -> None:
    """Bring the settings of a frozen dataclass to their types and check them, rule by rule.

    Args:
        settings: The instance; fields are replaced.
        rules: In the order in which they are checked; later ones can rely on earlier ones.
        where: Stands before the name of a setting in errors, such as ``recipe: ``.

    Raises:
        GstoVizError: The first rule that is broken.
    """
    for rule in rules:
        given = value = getattr(settings, rule.setting)
        sentence = rule.sentence
        try:
            if rule.kind is not None:
                value = _converted(given, rule.kind)
                object.__setattr__(settings, rule.setting, value)
            fits = rule.holds(value, settings)
        except _OtherKindError as problem:
            fits, sentence = False, sentence or (lambda *_, text=str(problem): text)
        if not fits:
            if isinstance(sentence, str):
                said = f" is {shown(given)}; {sentence.format(settings)}"
            else:
                said = sentence(value, settings)
            raise GstoVizError(f"{where}{rule.setting}{said}")


def shown(value: object) -> str:
    """Return a value as it was written, tuples as lists; cut where it would fill the screen."""
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 80 else f"{text[:80]}..."


class _OtherKindError(Exception):
    """A value has another type; the text is what is said after the setting's name."""


def _converted(value: Any, kind: Any) -> Any:
    """Return a value, or a list or mapping of values, as ``kind``."""
    problem = _OtherKindError(f" is {shown(value)}; it must be {_in_words(kind)}")
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        listed = isinstance(value, (list, tuple))
        chosen = next(one for one in inner if (typing.get_origin(one) is tuple) == listed)
        try:
            return _converted(value, chosen)
        except _OtherKindError:
            raise problem from None
    if origin is tuple and isinstance(value, (list, tuple)):
        kinds = (inner[0],) * len(value) if inner[-1] is Ellipsis else inner
        if len(value) == len(kinds):
            return tuple(_converted(v, one) for v, one in zip(value, kinds, strict=True))
    elif origin is dict and isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
        return {k: _converted_item(k, v, inner[1]) for k, v in value.items()}
    elif origin is None:
        plain = _plain(value, kind)
        if type(plain) is kind and (kind is not float or math.isfinite(plain)):
            return plain
    raise problem


def _converted_item(key: str, value: Any, kind: Any) -> Any:
    try:
        return value if kind is Any else _converted(value, kind)
    except _OtherKindError as problem:
        raise _OtherKindError(f".{key}{problem}") from None


def _plain(value: Any, kind: type) -> Any:
    """Return a number that stands for one of ``kind`` as Python's own, all else as it is."""
    if isinstance(value, bool):
        return value
    if isinstance(value, Integral) and kind in (int, float):
        whole = int(value)
        return kind(whole) if abs(whole) < 2**53 or kind is int else math.inf
    real = isinstance(value, Real) or (
        isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]+[eE][-+]?[0-9]{1,3}", value)
    )
    return float(value) if kind is float and real else value


def _in_words(kind: Any) -> str:
    """Return a type in words: ``a list of 2 whole numbers``, ``a mapping``, ``a whole number``."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return " or ".join(_in_words(one) for one in inner)
    if origin is tuple:
        count = "" if inner[-1] is Ellipsis else f"{len(inner)} "
        return f"a list of {count}{'whole ' if inner[0] is int else ''}numbers"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
    return names.get(kind, "a mapping")
