"""Class lists: ``classes.json`` files and those that come with the package.

``classes/*.json`` have the form of a user's ``classes.json``. Sources of names and colours:

- ``camvid``: the usual grouping of CamVid's 32 classes into 11, in the order of its label files.
- ``cityscapes``: the 19 classes that are evaluated, in the order of their train ids (Cityscapes
  scripts); things have instances.
- ``lip``: LIP's evaluation code; the background is a class and counts in every score.
- ``pascal_context``, ``pascal_context60``: the Detail API's numbering of 59 classes, by alphabet;
  colours of the VOC development kit for the numbers 0..59. Which classes are countable is this
  package's choice: the data set does not say.
- ``ade20k``: first word of each entry of the benchmark's ``objectInfo150.txt``, the palette that
  its authors publish; things are the 100 classes of its instance benchmark.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gsto_viz.errors import GstoVizError
from gsto_viz.files import read_json
from gsto_viz.types import IGNORE, ClassInfo, ClassList

MAX_CLASSES = IGNORE
"""Label maps are 8-bit and 255 means "ignore", so class ids are 0..254."""


def class_list_from_json(value: Any, source: str = "classes.json") -> ClassList:
    """Check what was read from a ``classes.json`` and make a class list of it.

    The inverse of ``ClassList.to_json``; entries may come in any order.

    Args:
        value: The parsed JSON: ``name``, ``ignore`` (the value of pixels without class, mostly 255)
            and ``classes``, a list of entries with ``id``, ``name``, ``color`` and ``kind``. There
            may be ``flip_pairs``, a list of pairs of ids that change places in a mirror image, and
            what ``read_class_list`` returns beside the classes: ``ids`` or ``map``, and
            ``label_suffix``.
        source: File name for messages.

    Raises:
        GstoVizError: A key is missing, unknown or holds something else than it must; the message
            names the key, e.g. ``classes[3].color``.
    """
    return _own_list(value, source).classes


class OwnList(NamedTuple):
    """What a ``classes.json`` says.

    Attributes:
        classes: The class list.
        numbers: Class index, or 255 for no class, of each number that label maps may hold.
        label_suffix: What names of label maps have behind those of their images.
    """

    classes: ClassList
    numbers: Mapping[int, int]
    label_suffix: str


_OPTIONAL = ("flip_pairs", "ids", "map", "label_suffix")


def _own_list(value: Any, source: str) -> OwnList:
    """Check all that was read from a ``classes.json``."""
    _check_keys(value, ("name", "ignore", "classes"), source, "the whole file", _OPTIONAL)
    name, entries = value["name"], value["classes"]
    if not isinstance(name, str) or not name.strip():
        raise GstoVizError(f"{source}: key 'name' is {name!r}; give the class list a name")
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_CLASSES:
        raise GstoVizError(
            f"{source}: key 'classes' must be a list of 1 to {MAX_CLASSES} classes; add them there"
        )
    classes = [_class_info(entry, f"classes[{i}]", source) for i, entry in enumerate(entries)]
    _check_unique(classes, source)
    numbers = _numbers(value, len(classes), source)
    suffix = value.get("label_suffix", "")
    if not isinstance(suffix, str) or re.search(r"[/\\\0]", suffix):
        raise GstoVizError(
            f"{source}: key 'label_suffix' is {suffix!r}; give what the names of label maps have "
            'behind those of their images, such as "_L"'
        )
    pairs = _flip_pairs(value.get("flip_pairs", []), len(classes), source)
    ordered = tuple(sorted(classes, key=lambda c: c.id))
    return OwnList(ClassList(name, ordered, pairs), numbers, suffix)


MAX_NUMBER = 65535
"""Label maps have at most 16 bits."""


def _numbers(value: Mapping[str, Any], count: int, source: str) -> dict[int, int]:
    """Return what the numbers of the label maps mean: a class index, or 255 for no class."""
    if "ids" in value and "map" in value:
        raise GstoVizError(f"{source} has both 'ids' and 'map'; keep one of them")
    said = _said(value, count, source)
    # A class that nothing is said of has its own index as its number.
    meaning = {k: k for k in range(count) if k not in said.values()} | said
    lost = [k for k in range(count) if k not in meaning.values()]
    if lost:
        raise GstoVizError(
            f"{source}: key 'map' gives number {lost[0]} another meaning and says none for class "
            f"{lost[0]}; name its number, too"
        )
    ignore = value["ignore"]
    own = "ids" in value or "map" in value
    taken = {number for number, k in meaning.items() if k != IGNORE}
    # Loaders map any ignore value to 255: it may be any that is not a class and fits 16 bits.
    if not _is_number(ignore) or (ignore in taken and not (own and ignore == IGNORE)):
        raise GstoVizError(
            f"{source}: key 'ignore' is {ignore!r}; give the value of pixels without class, "
            f"{0 if own else count} to {MAX_NUMBER} and not that of a class (255 is usual)"
        )
    # Explicit entries win over the default that 255 belongs to no class.
    return {IGNORE: IGNORE, ignore: IGNORE} | meaning


def _said(value: Mapping[str, Any], count: int, source: str) -> dict[int, int]:
    """Return the meanings that ``ids`` or ``map`` name."""
    if "ids" in value:
        ids = value["ids"]
        whole = isinstance(ids, list) and all(map(_is_number, ids))
        if not whole or len(ids) != count or len(set(ids)) != count:
            raise GstoVizError(
                f"{source}: key 'ids' must be a list of {count} different numbers from 0 to "
                f"{MAX_NUMBER}, that of each class in the label maps; correct it"
            )
        return {number: k for k, number in enumerate(ids)}
    entries = value.get("map", {})
    if not isinstance(entries, Mapping):
        raise GstoVizError(
            f"{source}: key 'map' must be an object such as {{\"7\": 0}}; correct it"
        )
    said = {}
    for number, meaning in entries.items():
        known = meaning == "ignore" or (_is_int(meaning) and 0 <= meaning < count)
        if not re.fullmatch(r"0|[1-9][0-9]{0,4}", number) or int(number) > MAX_NUMBER or not known:
            raise GstoVizError(
                f"{source}: key 'map' holds {number!r}: {meaning!r}; write a number from 0 to "
                f'{MAX_NUMBER} in quotes, and a class id from 0 to {count - 1} or "ignore"'
            )
        said[int(number)] = IGNORE if meaning == "ignore" else meaning
    return said


def _is_number(value: Any) -> bool:
    return _is_int(value) and 0 <= value <= MAX_NUMBER


def numbers_line(found: Iterable[int], count: int) -> str:
    """Return what to write into ``classes.json`` for label maps that hold other numbers.

    Args:
        found: Numbers of one or more label maps.
        count: How many classes there are.
    """
    numbers = sorted(set(found) - {IGNORE})
    positive = [number for number in numbers if number > 0]
    if positive and positive[-1] == count:
        return f'"ignore": 0, "ids": {list(range(1, count + 1))}'
    if len(positive) == count:
        return f'"ignore": {IGNORE if 0 not in numbers else 0}, "ids": {positive}'
    if len(numbers) == count:
        return f'"ids": {numbers}'
    stray = next((number for number in numbers if number >= count), count)
    return f'"map": {{"{stray}": 0}}, each number with the id of its class or "ignore"'


def _flip_pairs(value: Any, count: int, source: str) -> tuple[tuple[int, int], ...]:
    """Check pairs of class ids, none of which is in two pairs."""
    pairs = value if isinstance(value, list) else [value]
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise GstoVizError(
            f"{source}: key 'flip_pairs' must be a list of pairs of class ids, such as "
            "[[14, 15], [16, 17]]; correct it"
        )
    seen: set[int] = set()
    for id_ in (id_ for pair in pairs for id_ in pair):
        if not _is_int(id_) or not 0 <= id_ < count:
            raise GstoVizError(
                f"{source}: key 'flip_pairs' names class {id_!r}; the ids go from 0 to {count - 1}"
            )
        if id_ in seen:
            raise GstoVizError(
                f"{source}: key 'flip_pairs' names class {id_} twice; each class has one partner"
            )
        seen.add(id_)
    return tuple((pair[0], pair[1]) for pair in pairs)


def _check_keys(
    value: Any, keys: tuple[str, ...], source: str, where: str, optional: tuple[str, ...] = ()
) -> None:
    """Refuse anything but an object with exactly these keys; the optional ones may be absent."""
    if not isinstance(value, Mapping):
        raise GstoVizError(f"{source}: {where} must be an object with the keys {', '.join(keys)}")
    missing = [key for key in keys if key not in value]
    unknown = [str(key) for key in value if key not in keys + optional]
    if missing:
        raise GstoVizError(f"{source}: {where} has no key '{missing[0]}'; add it")
    if unknown:
        raise GstoVizError(
            f"{source}: {where} has an unknown key '{unknown[0]}'; the keys are "
            f"{', '.join(keys + optional)}"
        )


def _is_int(value: Any) -> bool:
    """Return whether a value is a whole number; Python counts JSON's true and false as integers."""
    return isinstance(value, int) and not isinstance(value, bool)


def _class_info(entry: Any, where: str, source: str) -> ClassInfo:
    """Check one entry of ``classes``."""
    _check_keys(entry, ("id", "name", "color", "kind"), source, where)
    id_, name, color, kind = (entry[key] for key in ("id", "name", "color", "kind"))
    if not _is_int(id_) or not 0 <= id_ < MAX_CLASSES:
        raise GstoVizError(
            f"{source}: key {where}.id is {id_!r}; give a whole number from 0 to {MAX_CLASSES - 1}"
        )
    if not isinstance(name, str) or not name.strip():
        raise GstoVizError(f"{source}: key {where}.name is {name!r}; give the class a name")
    if not _is_color(color):
        raise GstoVizError(
            f"{source}: key {where}.color is {color!r}; give three whole numbers from 0 to 255"
        )
    if kind not in ("thing", "stuff"):
        raise GstoVizError(f"{source}: key {where}.kind is {kind!r}; write 'thing' or 'stuff'")
    return ClassInfo(id_, name, (color[0], color[1], color[2]), thing=kind == "thing")


def _is_color(value: Any) -> bool:
    """Accept a list of three integers 0..255."""
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(_is_int(part) and 0 <= part <= 255 for part in value)
    )


def _check_unique(classes: list[ClassInfo], source: str) -> None:
    """Refuse ids or names that occur twice, and ids that are not 0..K-1."""
    ids: dict[int, int] = {}
    names: dict[str, int] = {}
    for i, info in enumerate(classes):
        if info.id in ids:
            raise GstoVizError(
                f"{source}: key classes[{i}].id repeats id {info.id} of classes[{ids[info.id]}]; "
                "give each class its own"
            )
        # Targets such as `class:road` find classes without regard to case.
        folded = info.name.casefold()
        if folded in names:
            raise GstoVizError(
                f"{source}: key classes[{i}].name repeats the name '{info.name}' of "
                f"classes[{names[folded]}]; give each class its own"
            )
        ids[info.id], names[folded] = i, i
    gap = next((k for k in range(len(classes)) if k not in ids), None)
    if gap is not None:
        raise GstoVizError(
            f"{source}: key 'classes' has {len(classes)} classes but no id {gap}; "
            f"number them 0 to {len(classes) - 1} without gaps, and say what the label maps hold: "
            f'"ids": {sorted(ids)}'
        )


def read_class_list(path: Path) -> OwnList:
    """Read a ``classes.json``.

    Raises:
        GstoVizError: Unreadable, too large, not JSON, or see ``class_list_from_json``.
    """
    return _own_list(read_json(path, "the class list"), str(path))


@functools.cache
def shipped_classes(name: str | Path) -> ClassList:
    """Return a class list of ``gsto_viz/data/classes`` by name, or any by the path of its file."""
    if isinstance(name, str):
        name = Path(__file__).with_name("classes") / f"{name}.json"
    return read_class_list(name).classes


CAMVID_CLASSES = shipped_classes("camvid")
"""CamVid's 11 classes, those of the procedural scenes too."""
