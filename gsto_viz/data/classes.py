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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
            may be ``flip_pairs``, a list of pairs of ids that change places in a mirror image.
        source: File name for messages.

    Raises:
        GstoVizError: A key is missing, unknown or holds something else than it must; the message
            names the key, e.g. ``classes[3].color``.
    """
    optional = ("flip_pairs",)
    _check_keys(value, ("name", "ignore", "classes"), source, "the whole file", optional)
    name, ignore, entries = value["name"], value["ignore"], value["classes"]
    if not isinstance(name, str) or not name.strip():
        raise GstoVizError(f"{source}: key 'name' is {name!r}; give the class list a name")
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_CLASSES:
        raise GstoVizError(
            f"{source}: key 'classes' must be a list of 1 to {MAX_CLASSES} classes; add them there"
        )
    classes = [_class_info(entry, f"classes[{i}]", source) for i, entry in enumerate(entries)]
    _check_unique(classes, source)
    # Loaders map any ignore value to 255: it may be any that is not a class and fits 16 bits.
    if not _is_int(ignore) or not len(classes) <= ignore <= 65535:
        raise GstoVizError(
            f"{source}: key 'ignore' is {ignore!r}; give the value of pixels without class, "
            f"{len(classes)} to 65535 (255 is usual)"
        )
    pairs = _flip_pairs(value.get("flip_pairs", []), len(classes), source)
    return ClassList(name, tuple(sorted(classes, key=lambda c: c.id)), pairs)


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
            f"{source}: {where} has an unknown key '{unknown[0]}'; the keys are {', '.join(keys)}"
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
            f"number them 0 to {len(classes) - 1} without gaps"
        )


def read_class_list(path: Path) -> tuple[ClassList, int]:
    """Read a ``classes.json``; return also its ignore value.

    Raises:
        GstoVizError: Unreadable, too large, not JSON, or see ``class_list_from_json``.
    """
    value = read_json(path, "the class list")
    return class_list_from_json(value, source=str(path)), value["ignore"]


@functools.cache
def shipped_classes(name: str | Path) -> ClassList:
    """Return a class list of ``gsto_viz/data/classes`` by name, or any by the path of its file."""
    if isinstance(name, str):
        name = Path(__file__).with_name("classes") / f"{name}.json"
    return read_class_list(name)[0]


CAMVID_CLASSES = shipped_classes("camvid")
"""CamVid's 11 classes, those of the procedural scenes too."""
