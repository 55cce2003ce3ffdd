"""Class lists: CamVid, ADE20K, ``classes.json`` files, and label maps in colour.

Names: the first word of each entry of the benchmark's ``objectInfo150.txt``. Colours: the palette
that the benchmark's authors publish. Things are the 100 classes of its instance benchmark.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gsto_viz.errors import GstoVizError
from gsto_viz.types import IGNORE, ClassInfo, ClassList

CAMVID_CLASSES = ClassList(
    name="camvid",
    classes=(
        ClassInfo(0, "Sky", (128, 128, 128), thing=False),
        ClassInfo(1, "Building", (128, 0, 0), thing=False),
        ClassInfo(2, "Pole", (192, 192, 128), thing=True),
        ClassInfo(3, "Road", (128, 64, 128), thing=False),
        ClassInfo(4, "Pavement", (60, 40, 222), thing=False),
        ClassInfo(5, "Tree", (128, 128, 0), thing=False),
        ClassInfo(6, "SignSymbol", (192, 128, 128), thing=True),
        ClassInfo(7, "Fence", (64, 64, 128), thing=False),
        ClassInfo(8, "Car", (64, 0, 128), thing=True),
        ClassInfo(9, "Pedestrian", (64, 64, 0), thing=True),
        ClassInfo(10, "Bicyclist", (0, 128, 192), thing=True),
    ),
)
"""CamVid's 11 classes (the usual grouping of its 32), in the order of its label files."""

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
    # Loaders map any ignore value to 255, so it may be any that is no class and fits a 16-bit PNG.
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
    """Tell whole numbers from JSON's true and false, which Python counts as integers too."""
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


def colorize(labels: npt.NDArray[Any], classes: ClassList) -> npt.NDArray[np.uint8]:
    """Paint a label map in the colours of its classes; ignored pixels are black.

    Args:
        labels: (H, W), integers, class index 0..K-1 or 255 (ignore).
        classes: Where the colours come from.

    Returns:
        (H, W, 3) uint8 sRGB.

    Raises:
        GstoVizError: The map is not (H, W) of integers, or holds another value.
    """
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise GstoVizError(
            f"a label map is (H, W) of integers, not {labels.shape} of {labels.dtype}; pass that"
        )
    outside = (labels != IGNORE) & ((labels < 0) | (labels >= len(classes)))
    if outside.any():
        raise GstoVizError(
            f"label {int(labels[outside][0])} is outside the {len(classes)} classes of "
            f"'{classes.name}'; pass the class list of this map"
        )
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(classes)] = classes.colors
    return table[labels]


_ROWS: tuple[tuple[str, tuple[int, int, int], bool], ...] = (
    ("wall", (120, 120, 120), False),
    ("building", (180, 120, 120), False),
    ("sky", (6, 230, 230), False),
    ("floor", (80, 50, 50), False),
    ("tree", (4, 200, 3), False),
    ("ceiling", (120, 120, 80), False),
    ("road", (140, 140, 140), False),
    ("bed", (204, 5, 255), True),
    ("window", (230, 230, 230), True),
    ("grass", (4, 250, 7), False),
    ("cabinet", (224, 5, 255), True),
    ("sidewalk", (235, 255, 7), False),
    ("person", (150, 5, 61), True),
    ("earth", (120, 120, 70), False),
    ("door", (8, 255, 51), True),
    ("table", (255, 6, 82), True),
    ("mountain", (143, 255, 140), False),
    ("plant", (204, 255, 4), False),
    ("curtain", (255, 51, 7), True),
    ("chair", (204, 70, 3), True),
    ("car", (0, 102, 200), True),
    ("water", (61, 230, 250), False),
    ("painting", (255, 6, 51), True),
    ("sofa", (11, 102, 255), True),
    ("shelf", (255, 7, 71), True),
    ("house", (255, 9, 224), False),
    ("sea", (9, 7, 230), False),
    ("mirror", (220, 220, 220), True),
    ("rug", (255, 9, 92), False),
    ("field", (112, 9, 255), False),
    ("armchair", (8, 255, 214), True),
    ("seat", (7, 255, 224), True),
    ("fence", (255, 184, 6), True),
    ("desk", (10, 255, 71), True),
    ("rock", (255, 41, 10), False),
    ("wardrobe", (7, 255, 255), True),
    ("lamp", (224, 255, 8), True),
    ("tub", (102, 8, 255), True),
    ("rail", (255, 61, 6), True),
    ("cushion", (255, 194, 7), True),
    ("base", (255, 122, 8), False),
    ("box", (0, 255, 20), True),
    ("column", (255, 8, 41), True),
    ("signboard", (255, 5, 153), True),
    ("chest of drawers", (6, 51, 255), True),
    ("counter", (235, 12, 255), True),
    ("sand", (160, 150, 20), False),
    ("sink", (0, 163, 255), True),
    ("skyscraper", (140, 140, 140), False),
    ("fireplace", (250, 10, 15), True),
    ("refrigerator", (20, 255, 0), True),
    ("grandstand", (31, 255, 0), False),
    ("path", (255, 31, 0), False),
    ("stairs", (255, 224, 0), True),
    ("runway", (153, 255, 0), False),
    ("case", (0, 0, 255), True),
    ("pool table", (255, 71, 0), True),
    ("pillow", (0, 235, 255), True),
    ("screen door", (0, 173, 255), True),
    ("stairway", (31, 0, 255), False),
    ("river", (11, 200, 200), False),
    ("bridge", (255, 82, 0), False),
    ("bookcase", (0, 255, 245), True),
    ("blind", (0, 61, 255), False),
    ("coffee table", (0, 255, 112), True),
    ("toilet", (0, 255, 133), True),
    ("flower", (255, 0, 0), True),
    ("book", (255, 163, 0), True),
    ("hill", (255, 102, 0), False),
    ("bench", (194, 255, 0), True),
    ("countertop", (0, 143, 255), True),
    ("stove", (51, 255, 0), True),
    ("palm", (0, 82, 255), True),
    ("kitchen island", (0, 255, 41), True),
    ("computer", (0, 255, 173), True),
    ("swivel chair", (10, 0, 255), True),
    ("boat", (173, 255, 0), True),
    ("bar", (0, 255, 153), False),
    ("arcade machine", (255, 92, 0), True),
    ("hovel", (255, 0, 255), False),
    ("bus", (255, 0, 245), True),
    ("towel", (255, 0, 102), True),
    ("light", (255, 173, 0), True),
    ("truck", (255, 0, 20), True),
    ("tower", (255, 184, 184), False),
    ("chandelier", (0, 31, 255), True),
    ("awning", (0, 255, 61), True),
    ("street lamp", (0, 71, 255), True),
    ("booth", (255, 0, 204), True),
    ("tv", (0, 255, 194), True),
    ("plane", (0, 255, 82), True),
    ("dirt track", (0, 10, 255), False),
    ("clothes", (0, 112, 255), True),
    ("pole", (51, 0, 255), True),
    ("land", (0, 194, 255), False),
    ("bannister", (0, 122, 255), True),
    ("escalator", (0, 255, 163), False),
    ("ottoman", (255, 153, 0), True),
    ("bottle", (0, 255, 10), True),
    ("buffet", (255, 112, 0), False),
    ("poster", (143, 255, 0), False),
    ("stage", (82, 0, 255), False),
    ("van", (163, 255, 0), True),
    ("ship", (255, 235, 0), True),
    ("fountain", (8, 184, 170), True),
    ("conveyer belt", (133, 0, 255), False),
    ("canopy", (0, 255, 92), False),
    ("washer", (184, 0, 255), True),
    ("plaything", (255, 0, 31), True),
    ("pool", (0, 184, 255), False),
    ("stool", (0, 214, 255), True),
    ("barrel", (255, 0, 112), True),
    ("basket", (92, 255, 0), True),
    ("falls", (0, 224, 255), False),
    ("tent", (112, 224, 255), False),
    ("bag", (70, 184, 160), True),
    ("minibike", (163, 0, 255), True),
    ("cradle", (153, 0, 255), False),
    ("oven", (71, 255, 0), True),
    ("ball", (255, 0, 163), True),
    ("food", (255, 204, 0), True),
    ("step", (255, 0, 143), True),
    ("tank", (0, 255, 235), False),
    ("trade name", (133, 255, 0), True),
    ("microwave", (255, 0, 235), True),
    ("pot", (245, 0, 255), True),
    ("animal", (255, 0, 122), True),
    ("bicycle", (255, 245, 0), True),
    ("lake", (10, 190, 212), False),
    ("dishwasher", (214, 255, 0), True),
    ("screen", (0, 204, 255), True),
    ("blanket", (20, 0, 255), False),
    ("sculpture", (255, 255, 0), True),
    ("hood", (0, 153, 255), True),
    ("sconce", (0, 41, 255), True),
    ("vase", (0, 255, 204), True),
    ("traffic light", (41, 0, 255), True),
    ("tray", (41, 255, 0), True),
    ("trash can", (173, 0, 255), True),
    ("fan", (0, 245, 255), True),
    ("pier", (71, 0, 255), False),
    ("crt screen", (122, 0, 255), False),
    ("plate", (0, 255, 184), True),
    ("monitor", (0, 92, 255), True),
    ("bulletin board", (184, 255, 0), True),
    ("shower", (0, 133, 255), False),
    ("radiator", (255, 214, 0), True),
    ("glass", (25, 194, 194), True),
    ("clock", (102, 255, 0), True),
    ("flag", (92, 0, 255), True),
)

ADE20K_CLASSES = ClassList(
    name="ade20k", classes=tuple(ClassInfo(k, *row) for k, row in enumerate(_ROWS))
)
