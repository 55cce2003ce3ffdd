"""COCO's JSON files: what they say of each image, checked, and drawn when it is asked for.

Of objects, smaller ones lie on larger ones, and crowds lie below all of them. What no object covers
is ignored, or is the background where the categories have one. The box of an object that has no
mask is ignored.

Sources of the formats: the COCO data format and the panoptic format (Lin et al., ECCV 2014;
Kirillov et al., CVPR 2019); what Roboflow exports for its first category.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gsto_viz.data.base import is_utf8
from gsto_viz.data.classes import MAX_CLASSES
from gsto_viz.data.masks import load_pycocotools, mask_of, polygon_runs, run_lengths
from gsto_viz.errors import GstoVizError
from gsto_viz.files import read_json
from gsto_viz.types import IGNORE, ClassInfo, ClassList, Person

MAX_JSON_BYTES = 2**30
"""More than twice COCO's largest file."""

_PARTS = ("images", "annotations", "categories")
"""The lists that such a file is made of."""

Maps = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]
"""Labels and instances, (H, W) each."""
Record = Mapping[str, Any]


class Object(NamedTuple):
    """One annotated object.

    Attributes:
        id: Its id in the file, for messages.
        label: Its class.
        counted: Whether it is a thing, and one alone.
        crowd: Whether it is a group that was annotated as one.
        polygons: x and y of the corners in turn, of each of its parts.
        runs: ``size`` and ``counts`` of its run lengths; None when it has none.
        box: x, y, width and height in pixels.
    """

    id: Any
    label: int
    counted: bool
    crowd: bool
    polygons: tuple[npt.NDArray[np.float64], ...]
    runs: Record | None
    box: tuple[float, float, float, float]

    def run_lengths(self, height: int, width: int) -> npt.NDArray[np.int64] | None:
        """Return the run lengths of its mask; None when it has no mask.

        Raises:
            ValueError: They are damaged, or of an image of another size.
        """
        if self.runs is None:
            return polygon_runs(self.polygons, height, width) if self.polygons else None
        if self.runs["size"] != [height, width]:
            raise ValueError(f"its mask is of size {self.runs['size']}, not {[height, width]}")
        return run_lengths(self.runs["counts"], height, width)

    def inside_box(self) -> tuple[slice, slice]:
        """Return rows and columns of the pixels that its box touches."""
        left, top, width, height = self.box
        rows = slice(max(int(top), 0), max(int(np.ceil(top + height)), 0))
        return rows, slice(max(int(left), 0), max(int(np.ceil(left + width)), 0))


class Objects(NamedTuple):
    """The annotation of an image by objects.

    Attributes:
        objects: In the order of the file; the number of an instance is its place, from 1 on.
        rest: The label of pixels that no object covers.
    """

    objects: tuple[Object, ...]
    rest: int

    def draw(self, height: int, width: int) -> Maps:
        """Draw crowds first, then the others from the largest to the smallest.

        Raises:
            ValueError: A mask is damaged, or of an image of another size.
        """
        labels = np.full((height, width), self.rest, dtype=np.uint8)
        instances = np.zeros((height, width), dtype=np.int32)
        drawn = []
        for number, one in enumerate(self.objects, 1):
            try:
                lengths = one.run_lengths(height, width)
            except ValueError as error:
                raise ValueError(f"annotation {one.id!r}: {error}") from error
            if lengths is None:
                labels[one.inside_box()] = IGNORE
            else:
                drawn.append((not one.crowd, -int(lengths[1::2].sum()), number, lengths))
        for _, _, number, lengths in sorted(drawn, key=lambda each: each[:3]):
            one, mask = self.objects[number - 1], mask_of(lengths, height, width)
            labels[mask] = one.label
            instances[mask] = number if one.counted else 0
        return labels, instances


class Segments(NamedTuple):
    """The annotation of an image by panoptic segments.

    Attributes:
        file_name: Their PNG.
        table: (S, 3) int32: id, label and instance number of each segment, by rising ids; the first
            is 0, no segment.
    """

    file_name: str
    table: npt.NDArray[np.int32]

    def decode(self, colors: npt.NDArray[np.uint8]) -> Maps:
        """Look up the segment R + 256 G + 256^2 B of each pixel.

        Args:
            colors: (H, W, 3), the pixels of the PNG.

        Raises:
            ValueError: A segment is not in the table.
        """
        ids = colors[..., 2].astype(np.int32)
        for channel in (1, 0):
            ids *= 256
            ids += colors[..., channel]
        known, labels, numbers = self.table.T
        place = np.minimum(np.searchsorted(known, ids), len(known) - 1)
        stray = ids[known[place] != ids]
        if stray.size:
            raise ValueError(
                f"{self.file_name} has {stray.size} pixels of segments that are not listed, first "
                f"segment {stray[0]}"
            )
        return labels.astype(np.uint8)[place], numbers[place]


class Listed(NamedTuple):
    """One image of an annotation file.

    Attributes:
        file_name: Relative to the folder of the images.
        size: (height, width), if the file says it.
        annotation: Not drawn yet.
        people: Its persons, of a file of key points.
    """

    file_name: str
    size: tuple[int, int] | None
    annotation: Objects | Segments
    people: tuple[Person, ...] | None = None

    @property
    def id(self) -> str:
        """The name of its file without the suffix."""
        return PurePosixPath(self.file_name).with_suffix("").as_posix()


def read_coco(path: Path) -> tuple[ClassList, list[Listed]]:
    """Read a file of objects or of panoptic segments.

    Returns:
        The categories by rising ids, and the images by name.

    Raises:
        GstoVizError: Unreadable, too large, not of this kind; more than 255 categories; references
            to images or categories that are not there; names that lead out of the folder; polygons,
            and pycocotools is not installed.
    """
    file = CocoFile(path)
    return file.classes, file.listed()


def _records(path: Path, content: Any, key: str) -> list[Record]:
    """Return one of the lists that a COCO file is made of."""
    part = content.get(key) if isinstance(content, dict) else None
    if not isinstance(part, list) or not all(isinstance(one, dict) for one in part):
        raise GstoVizError(
            f"{path} has no list '{key}' of objects, so it is not a COCO file; export instance "
            "segmentation or panoptic segments in COCO's format"
        )
    if not part:
        raise GstoVizError(f"{path}: the list '{key}' is empty; export the annotation again")
    return part


class CocoFile:
    """A COCO file, taken apart and checked.

    Args:
        path: Where it lies.

    Raises:
        GstoVizError: See ``read_coco``.
    """

    def __init__(self, path: Path) -> None:
        content = read_json(path, "the annotations", max_bytes=MAX_JSON_BYTES)
        images, annotations, categories = (_records(path, content, key) for key in _PARTS)
        self.path = path
        self.images = self._by_id(images, "image", (int, str))
        self.annotations = annotations
        self.panoptic = any("segments_info" in one for one in annotations)
        ids = self._by_id(categories, "category", (int,))
        self.categories = self._used([ids[id_] for id_ in sorted(ids)])
        self.classes = self._class_list()
        self.label = {one["id"]: label for label, one in enumerate(self.categories)}

    def wrong(self, what: str, then: str = "correct it") -> GstoVizError:
        """Return an error that names what is wrong with the file."""
        return GstoVizError(f"{self.path}: {what}; {then}")

    def listed(self) -> list[Listed]:
        """Return what is said of each image, sorted by name."""
        known = [
            _is_id(one.get("image_id")) and one["image_id"] in self.images
            for one in self.annotations
        ]
        if not all(known):
            first = self.annotations[known.index(False)].get("image_id")
            raise self.wrong(
                f"{known.count(False)} of {len(known)} annotations are of images that it does not "
                f"list, first image_id {first!r}"
            )
        of_image: dict[Any, list[Record]] = {id_: [] for id_ in self.images}
        for one in self.annotations:
            of_image[one["image_id"]].append(one)
        annotation: Mapping[Any, Objects | Segments]
        if self.panoptic:
            annotation = {id_: self._segments(id_, of_image[id_]) for id_ in of_image}
        else:
            annotation = self._objects(of_image)
        result = [
            Listed(
                self._file_name(image),
                self._size(image),
                annotation[id_],
                self._people(image, of_image[id_]),
            )
            for id_, image in self.images.items()
        ]
        self._check_distinct([one.id for one in result], "images have the name")
        return sorted(result, key=lambda one: one.id)

    def _people(self, image: Record, annotations: list[Record]) -> tuple[Person, ...] | None:
        """Return the persons of an image; None, because objects have no joints."""
        return None

    def _used(self, categories: list[Record]) -> list[Record]:
        """Return the categories that become classes, in the order of their labels."""
        return categories if self.panoptic else _without_roots(categories, self.annotations)

    def _by_id(
        self, records: list[Record], what: str, kinds: tuple[type, ...]
    ) -> dict[Any, Record]:
        """Return records by their ids, each of which is of one of these types and occurs once."""
        ids = [one.get("id") for one in records]
        for id_ in ids:
            if type(id_) not in kinds:
                raise self.wrong(f"the id of one {what} is {id_!r}")
        self._check_distinct(ids, f"records of one {what} have the id")
        return dict(zip(ids, records, strict=True))

    def _check_distinct(self, values: Sequence[Any], what: str) -> None:
        """Refuse a value that occurs twice."""
        seen: set[Any] = set()
        for value in values:
            if value in seen:
                raise self.wrong(f"two {what} {value!r}", "give each its own")
            seen.add(value)

    def _class_list(self) -> ClassList:
        """Turn categories into classes, in the order of their ids."""
        if len(self.categories) > MAX_CLASSES:
            raise self.wrong(
                f"it has {len(self.categories)} categories, and label maps hold {MAX_CLASSES}",
                "keep those that you need",
            )
        names = [one.get("name") for one in self.categories]
        for name in names:
            if not isinstance(name, str) or not name.strip() or not is_utf8(name):
                raise self.wrong(f"the name of one category is {name!r}")
        # Targets such as `class:road` find classes without regard to case.
        self._check_distinct([str(name).casefold() for name in names], "categories have the name")
        if len(names) == 1:
            raise self.wrong(
                f"its only category is {names[0]!r}, so that every answer of a network would be "
                "right",
                "annotate another class"
                + ("" if self.panoptic else ", or add 'background' for all that is not annotated"),
            )
        classes = [
            ClassInfo(label, str(one["name"]), self._color(label, one), thing=self._is_thing(one))
            for label, one in enumerate(self.categories)
        ]
        return ClassList("coco", tuple(classes))

    def _is_thing(self, category: Record) -> bool:
        """Whether a category is countable: as it says itself, otherwise all but the background.

        Panoptic segments are one a class where they are stuff, so there the file must say it.
        """
        if self.panoptic and "isthing" not in category:
            raise self.wrong(
                f"category {category.get('name')!r} of panoptic segments has no 'isthing'",
                "write 1 for things and 0 for stuff",
            )
        return self._flag(category, "isthing", default=not _is_background(category))

    def _color(self, label: int, category: Record) -> tuple[int, int, int]:
        """Return the colour of a category, or one of the VOC development kit."""
        color = category.get("color")
        if isinstance(color, list) and len(color) == 3 and all(c in range(256) for c in color):
            return int(color[0]), int(color[1]), int(color[2])
        # Its rule: bits 0, 3, 6 of a number are the highest bits of red, 1, 4, 7 of green, ...
        red, green, blue = (
            sum(((label + 1) >> (3 * k + part) & 1) << (7 - k) for k in range(3))
            for part in range(3)
        )
        return red, green, blue

    def _flag(self, record: Record, key: str, *, default: bool = False) -> bool:
        """Read 0 or 1 (or false and true)."""
        value = record.get(key, default)
        if value not in (0, 1):
            raise self.wrong(f"'{key}' of {record.get('id')!r} is {value!r}, neither 0 nor 1")
        return bool(value)

    def _class_of(self, record: Record, what: str) -> ClassInfo:
        """Return the class of an object or segment."""
        if "category_id" not in record:
            raise self.wrong(
                f"{what} has no category_id; captions, for instance, have none",
                "export instance segmentation or panoptic segments",
            )
        category = record["category_id"]
        if type(category) is not int or category not in self.label:
            raise self.wrong(f"{what} has category_id {category!r}, which is not in 'categories'")
        return self.classes.classes[self.label[category]]

    def _file_name(self, record: Record) -> str:
        """Return the name of a file, relative to its folder, with slashes."""
        name = record.get("file_name")
        if not isinstance(name, str) or not is_utf8(name) or "\0" in name:
            raise self.wrong(f"the file_name of {record.get('id')!r} is {name!r}")
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or PureWindowsPath(name).drive or ".." in path.parts or not path.name:
            raise self.wrong(
                f"file_name {name!r} leads out of the folder",
                "give names relative to the folder of the images",
            )
        return str(path)

    def _size(self, image: Record) -> tuple[int, int] | None:
        """Return height and width where they are given."""
        size = image.get("height"), image.get("width")
        if size == (None, None):
            return None
        height, width = size
        if type(height) is int and type(width) is int and height > 0 and width > 0:
            return height, width
        raise self.wrong(f"height and width of image {image['id']!r} are {height!r} and {width!r}")

    def _segments(self, image: Any, annotations: list[Record]) -> Segments:
        """Read the one annotation of an image in a panoptic file."""
        if len(annotations) != 1:
            raise self.wrong(
                f"image {image!r} has {len(annotations)} annotations, and panoptic ones are one "
                "an image"
            )
        segments = annotations[0].get("segments_info")
        if not isinstance(segments, list) or not all(isinstance(one, dict) for one in segments):
            raise self.wrong(f"segments_info of image {image!r} is not a list of objects")
        rows = [(0, IGNORE, 0)]
        for number, one in enumerate(segments, 1):
            id_ = one.get("id")
            if type(id_) is not int or not 0 < id_ < 2**24:
                raise self.wrong(f"a segment of image {image!r} has id {id_!r}")
            info = self._class_of(one, f"segment {id_} of image {image!r}")
            counted = info.thing and not self._flag(one, "iscrowd")
            rows.append((id_, info.id, number if counted else 0))
        self._check_distinct([row[0] for row in rows], f"segments of image {image!r} have id")
        table = np.array(sorted(rows), dtype=np.int32)
        return Segments(self._file_name(annotations[0]), table)

    def _objects(self, of_image: Mapping[Any, list[Record]]) -> dict[Any, Objects]:
        """Read the objects of each image."""
        rest = next((one["id"] for one in self.categories if _is_background(one)), None)
        label = IGNORE if rest is None else self.label[rest]
        result = {
            id_: Objects(tuple(map(self._object, annotations)), label)
            for id_, annotations in of_image.items()
        }
        objects = [one for image in result.values() for one in image.objects]
        if any(one.polygons for one in objects):
            load_pycocotools()
        elif all(one.runs is None for one in objects):
            self._without_masks()
        return result

    def _without_masks(self) -> None:
        """Refuse a file in which nothing has a mask."""
        raise self.wrong("no annotation has a mask", "export instance segmentation, not boxes")

    def _object(self, record: Record) -> Object:
        """Read the annotation of one object."""
        what = f"annotation {record.get('id')!r}"
        info, crowd = self._class_of(record, what), self._flag(record, "iscrowd")
        polygons: tuple[npt.NDArray[np.float64], ...] = ()
        runs, box = None, (0.0, 0.0, 0.0, 0.0)
        mask = record.get("segmentation")
        try:
            if isinstance(mask, dict):
                runs = _runs(mask)
            elif mask:
                polygons = _polygons(mask)
            if runs is None and not polygons:
                box = box_of(record.get("bbox"))
        except (TypeError, ValueError) as error:
            raise self.wrong(f"{what}: {error}") from error
        return Object(
            record.get("id"), info.id, info.thing and not crowd, crowd, polygons, runs, box
        )


def _is_id(value: Any) -> bool:
    return type(value) in (int, str)


def _is_background(category: Record) -> bool:
    return str(category.get("name")).strip("_ ").casefold() == "background"


def _without_roots(categories: list[Record], annotations: list[Record]) -> list[Record]:
    """Leave out what Roboflow puts above all categories, unless it is annotated.

    It has supercategory ``none`` and is the supercategory of others.
    """
    used = {one.get("category_id") for one in annotations if _is_id(one.get("category_id"))}
    above = {one.get("supercategory") for one in categories if _is_id(one.get("supercategory"))}
    return [
        one
        for one in categories
        if one["id"] in used or one.get("supercategory") != "none" or one.get("name") not in above
    ]


def _runs(value: Record) -> Record:
    """Check the outer form of a mask of run lengths."""
    size, counts = value.get("size"), value.get("counts")
    if not isinstance(counts, str | list) or not isinstance(size, list):
        raise ValueError("its run lengths lack 'size' or 'counts'")
    return {"size": size, "counts": counts}


def _polygons(value: Any) -> tuple[npt.NDArray[np.float64], ...]:
    """Turn polygons into arrays; those with fewer than three corners cover nothing and go."""
    if not isinstance(value, list) or not all(isinstance(one, list) for one in value):
        raise ValueError("its segmentation is neither a list of polygons nor run lengths")
    arrays = [_corners(one) for one in value]
    return tuple(one for one in arrays if one.size >= 6)


def _corners(value: list[Any]) -> npt.NDArray[np.float64]:
    """Turn x and y of each corner into an array."""
    try:
        array = np.array(value)
    except ValueError:  # lists in the list
        array = np.empty((1, 1))
    if array.ndim != 1 or array.dtype.kind not in "iuf" or array.size % 2:
        raise ValueError("a polygon is not x and y of each corner in turn")
    return array.astype(np.float64)


def box_of(value: Any) -> tuple[float, float, float, float]:
    """Check the box of an object that has no mask."""
    box = np.array(value if isinstance(value, list) else [])
    if box.shape != (4,) or box.dtype.kind not in "iuf" or not (np.abs(box) < 2**31).all():
        raise ValueError("it has neither a mask nor a box (x, y, width, height)")
    left, top, width, height = box.astype(float).tolist()
    return left, top, width, height
