"""COCO's files of key points: persons with seventeen joints, in images with masks of persons.

A person is kept as in COCO's own evaluation and in the code of HRNet (Sun et al., CVPR 2019): not a
crowd, with an area (from a pixel to the whole image), and with an annotated joint. Its box is
clipped to the image, of which it must hold a pixel. In label maps all
annotated persons are 1, crowds are ignored, and what has no mask is ignored where its box is.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gsto_viz.data.base import at
from gsto_viz.data.classes import shipped_classes
from gsto_viz.data.coco import Coco, CocoImages, located
from gsto_viz.data.coco_json import CocoFile, Object, Record, box_of
from gsto_viz.data.coding import Coding
from gsto_viz.data.people import Box
from gsto_viz.joints import COCO_JOINTS, Joints
from gsto_viz.types import IGNORE, ClassList, Person

_NAMES = COCO_JOINTS.classes.names
_BACKGROUND = {"id": "background", "name": "background"}
"""Class 0, of which no annotation is: their categories have whole numbers."""


class _PeopleFile(CocoFile):
    """A file of key points, taken apart and checked.

    Attributes:
        others: Ids of the categories that are not persons.
        left_out: Why persons with key points are not kept, one sentence each.
    """

    others: set[int]

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.annotations = [one for one in self.annotations if not self._is_other(one)]
        if all(one.get("keypoints") is None for one in self.annotations):
            raise self.wrong(
                "no annotation of a person has key points",
                "take person_keypoints_*.json, or read it as coco:PATH",
            )
        self.left_out: list[str] = []

    def _used(self, categories: list[Record]) -> list[Record]:
        """Return the background and the category of persons, whose joints must be COCO's."""
        persons = [one for one in categories if str(one.get("name")).casefold() == "person"]
        if not persons:
            raise self.wrong("it has no category 'person'", "take person_keypoints_*.json")
        if len(persons) > 1:
            raise self.wrong(f"{len(persons)} categories are called 'person'", "join them")
        self.others = {one["id"] for one in categories if one is not persons[0]}
        names = persons[0].get("keypoints")
        if names is not None and not isinstance(names, list):
            raise self.wrong(f"the key points of its category 'person' are {names!r}, not a list")
        words = _NAMES if names is None else [str(one).replace("_", " ") for one in names]
        self._check_count(len(words), "its persons have")
        for mine, theirs in zip(_NAMES, words, strict=True):
            if theirs.casefold() != mine:
                raise self.wrong(
                    f"where COCO has the joint '{mine}' it has '{theirs}'",
                    "give the joints COCO's names and order",
                )
        return [_BACKGROUND, persons[0]]

    def _is_other(self, record: Record) -> bool:
        """Return whether an annotation is of another category of the file than persons."""
        category = record.get("category_id")
        return type(category) is int and category in self.others

    def _check_count(self, count: float, what: str) -> None:
        if count != len(_NAMES):
            raise self.wrong(
                f"{what} {count:g} key points", f"the {len(_NAMES)} of COCO are read: export those"
            )

    def _class_list(self) -> ClassList:
        return shipped_classes("person")

    def _without_masks(self) -> None:
        """Take a file without masks: persons have boxes."""

    def _object(self, record: Record) -> Object:
        """Read the mask of a person; crowds are ignored."""
        one = super()._object(record)
        return one._replace(label=IGNORE) if one.crowd else one

    def _people(self, image: Record, annotations: list[Record]) -> tuple[Person, ...]:
        """Return the persons of an image that have key points."""
        size = self._size(image)
        if size is None:
            raise self.wrong(f"image {image['id']!r} has no height and width", "export them")
        people = (self._person(one, k, size) for k, one in enumerate(annotations, 1))
        return tuple(one for one in people if one is not None)

    def _person(self, record: Record, number: int, size: tuple[int, int]) -> Person | None:
        """Read one person; None without key points."""
        what = f"annotation {record.get('id')!r}"
        if self._flag(record, "iscrowd") or record.get("keypoints") is None:
            return None
        joints = self._joints(record["keypoints"], what)
        if not (joints[:, 2] > 0).any():
            return None
        try:
            box = box_of(record.get("bbox"))
        except ValueError as error:
            raise self.wrong(f"{what} has no box (x, y, width, height)") from error
        clipped = _clipped(box, size)
        area = record.get("area", clipped[2] * clipped[3])
        if type(area) not in (int, float) or not 0 <= area < 2**53:
            raise self.wrong(f"the area of {what} is {area!r}")
        if min(clipped[2:]) < 1:
            words = ", ".join(f"{value:g}" for value in box)
            self.left_out.append(f"{what} has a box ({words}) without a pixel of its image")
            return None
        if not 1 <= area <= size[0] * size[1]:
            self.left_out.append(
                f"{what} has an area of {area:g} px, its image {size[0] * size[1]}"
            )
            return None
        return Person(joints, clipped, float(area), number if record.get("segmentation") else 0)

    def _joints(self, values: Any, what: str) -> npt.NDArray[np.float32]:
        """Turn x, y and visibility of each joint into an array (17, 3)."""
        if not isinstance(values, list):
            raise self.wrong(f"the key points of {what} are not a list")
        self._check_count(len(values) / 3, f"{what} has")
        if not all(type(one) in (int, float) and abs(one) < 2**20 for one in values):
            raise self.wrong(f"the key points of {what} are not x, y and visibility in turn")
        joints = np.array(values, dtype=np.float32).reshape(-1, 3)
        if not np.isin(joints[:, 2], (0, 1, 2)).all():
            raise self.wrong(
                f"{what} has a key point of another visibility than 0, 1 and 2", "correct it"
            )
        return joints


def _clipped(box: Box, size: tuple[int, int]) -> Box:
    """Cut a box at the edges of an image (height, width); whole numbers become pixel centres.

    In COCO's boxes the first pixel reaches from 0 to 1; here it does from -1/2 to 1/2.
    """
    left, top, width, height = box
    right, bottom = min(left + width, size[1]), min(top + height, size[0])
    left, top = max(left, 0.0), max(top, 0.0)
    return left - 0.5, top - 0.5, right - left, bottom - top


@dataclass(eq=False, kw_only=True)
class CocoPeople(CocoImages):
    """The images of a file of key points.

    Attributes:
        left_out: Why persons with key points are not among ``people``, one sentence each.
    """

    left_out: tuple[str, ...] = ()

    @property
    def joints(self) -> Joints:
        """The joints of its persons."""
        return COCO_JOINTS

    @cached_property
    def people_counts(self) -> tuple[int, ...]:
        """Persons of each image."""
        return tuple(len(entry.listed.people or ()) for entry in self.entries)

    def people(self, index: int) -> tuple[Person, ...]:
        """Return the persons of one sample; none where all are crowds or without key points."""
        return self.entries[at(index, len(self))].listed.people or ()


class CocoKeypoints(Coco):
    """Folders with COCO's files of key points, and such files themselves."""

    kinds = ("person_keypoints", "")
    passed_over = r"\.|(captions|instances|panoptic|stuff|image_info)_"

    def _read(self, spec: str, source: Path, root: Path) -> CocoPeople:
        """Read an annotation file."""
        file = _PeopleFile(source)
        return CocoPeople(
            name=spec,
            classes=file.classes,
            entries=located(source, root, file.listed()),
            coding=Coding.of(range(len(file.classes))),
            others=(source,),
            source=source,
            left_out=tuple(file.left_out),
        )
