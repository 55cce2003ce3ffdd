"""The key points of a person: which there are, and COCO's seventeen (Lin et al., ECCV 2014)."""

from dataclasses import dataclass

from gsto_viz.types import ClassInfo, ClassList, Dataset


@dataclass(frozen=True)
class Joints:
    """The key points of a person, in the order of a pose network's heat maps.

    Attributes:
        classes: One class per joint; ``flip_pairs`` are left and right.
        limbs: Pairs of joints that a skeleton is drawn between.
        sigmas: Per joint, the standard deviation of annotators as a share of sqrt(area), from which
            OKS is computed.
        upper: Joints of the upper body; the others are of the lower one.
    """

    classes: ClassList
    limbs: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]
    upper: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.classes)


_MIDDLE, _LEFT, _RIGHT = (255, 176, 0), (0, 158, 115), (213, 94, 0)
"""Colours that differ for colour-blind readers, too."""

_PAIRED = {
    "eye": 0.025,
    "ear": 0.035,
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
}


def _coco() -> Joints:
    names = ["nose", *(f"{side} {part}" for part in _PAIRED for side in ("left", "right"))]
    colors = [_MIDDLE, *(color for _ in _PAIRED for color in (_LEFT, _RIGHT))]
    infos = [
        ClassInfo(k, name, color, thing=False)
        for k, (name, color) in enumerate(zip(names, colors, strict=True))
    ]
    pairs = tuple((k, k + 1) for k in range(1, len(names), 2))
    number = {name: k for k, name in enumerate(names)}
    limbs = [
        *(("nose", f"{side} eye") for side in ("left", "right")),
        *((f"{side} {a}", f"{side} {b}") for side in ("left", "right") for a, b in _CHAIN),
        *((f"left {part}", f"right {part}") for part in ("eye", "shoulder", "hip")),
    ]
    return Joints(
        ClassList("COCO joints", tuple(infos), pairs),
        tuple((number[a], number[b]) for a, b in limbs),
        (0.026, *(sigma for sigma in _PAIRED.values() for _ in ("left", "right"))),
        tuple(range(number["left hip"])),
    )


_CHAIN = (
    ("eye", "ear"),
    ("ear", "shoulder"),
    ("shoulder", "elbow"),
    ("elbow", "wrist"),
    ("shoulder", "hip"),
    ("hip", "knee"),
    ("knee", "ankle"),
)

COCO_JOINTS = _coco()

SURE_PEAK = 0.2
"""Joints whose heat map peaks lower neither count in the score of their person nor are drawn."""

JOINTS = {one.classes.name: one for one in (COCO_JOINTS,)}
"""Key points that pose networks are known to have, by their name."""


def joints_named(classes: ClassList | None) -> Joints | None:
    """Return the key points whose names are those of a class list; None where there are none."""
    names = None if classes is None else classes.names
    return next((one for one in JOINTS.values() if one.classes.names == names), None)


def joints_of(data: Dataset) -> Joints | None:
    """Return the joints that the persons of a data set have; None where it has no key points."""
    joints: Joints | None = getattr(data, "joints", None)
    return joints
