"""A jointed body: bones, limits of its joints, and what a camera sees of a pose.

In the body's own directions x is its left, y up and z where it looks; its height is 1. A view turns
it in front of a camera that looks along -z: image x = x, image y = -y, and what has a larger z is
nearer. Proportions are about those of anthropometry, with a larger head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import cos, radians, sin

import cv2
import numpy as np

from gsto_viz.joints import COCO_JOINTS
from gsto_viz.types import FloatArray

SIDES = (("left", 1.0), ("right", -1.0))
SPINE, NECK, SHOULDER, HIP = 0.30, 0.05, 0.118, 0.075
"""Length of the trunk and the neck; half widths of shoulders and hips."""
UPPER_ARM, FOREARM, HAND, THIGH, SHIN, FOOT = 0.175, 0.155, 0.045, 0.25, 0.24, 0.10
HEAD = 0.078
"""Radius of the head."""

NUMBER = {name: k for k, name in enumerate(COCO_JOINTS.classes.names)}
_CIRCLE = np.stack(
    [np.cos(np.linspace(0, 2 * np.pi, 16, False)), np.sin(np.linspace(0, 2 * np.pi, 16, False))],
    axis=1,
)

Limits = tuple[float, float]

_LEAN: Limits = (-12.0, 30.0)
_SIDE: Limits = (-15.0, 15.0)
_TWIST: Limits = (-25.0, 25.0)
_TURN: Limits = (-50.0, 50.0)
_NOD: Limits = (-20.0, 20.0)
_ROLL: Limits = (-30.0, 60.0)
_FLEX = {"arm": (-40.0, 165.0), "elbow": (0.0, 140.0), "leg": (-20.0, 105.0), "knee": (0.0, 130.0)}
_ASIDE = {"arm": (8.0, 120.0), "leg": (2.0, 40.0)}
"""Limits in degrees: of the trunk and the head, and forward and to the side of arms and legs."""


@dataclass(frozen=True)
class Part:
    """A convex part of the body: the hull of discs.

    Attributes:
        name: What it is: ``left thigh``, ``torso``, ``head``.
        centers: (N, 2) of the discs, in heights, y down.
        radii: (N,) of the discs.
        depth: Its distance towards the camera; what has more is drawn later.
    """

    name: str
    centers: FloatArray
    radii: FloatArray
    depth: float


@dataclass(frozen=True)
class Body:
    """A pose as a camera sees it, standing about 1 high.

    Attributes:
        joints: (17, 3) image x, image y (down) and nearness of COCO's joints; the middle of the
            trunk is 0, 0, 0.
        parts: From the farthest to the nearest.
        head_depth: Nearness of the middle of the head.
    """

    joints: FloatArray
    parts: tuple[Part, ...]
    head_depth: float


def _turn(axis: int, degrees: float) -> FloatArray:
    """Return a rotation (3, 3) about axis x, y or z."""
    c, s = cos(radians(degrees)), sin(radians(degrees))
    i, j = ((1, 2), (2, 0), (0, 1))[axis]
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix


def _chain(*rotations: FloatArray) -> FloatArray:
    return reduce(np.matmul, rotations)


class _Pose:
    """Places of joints and of what hangs on them, grown from the trunk outwards."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.vigour = rng.uniform(0.25, 1.0)
        self.at: dict[str, FloatArray] = {}
        self.root = self._view()
        lean, aside, twist = (self._within(one) for one in (_LEAN, _SIDE, _TWIST))
        self.trunk = _chain(self.root, _turn(1, twist), _turn(0, lean), _turn(2, aside))
        self.at["pelvis"] = self.trunk @ np.array([0.0, -SPINE / 2, 0.0])
        self.at["neck"] = self.trunk @ np.array([0.0, SPINE / 2, 0.0])
        sitting = rng.random() < 0.2
        for side, sign in SIDES:
            self._arm(side, sign)
            self._leg(side, sign, sitting)
        self._head()

    def _view(self) -> FloatArray:
        """Turn the body: seen from the front, from the back, or in between; some lie."""
        rng = self.rng
        facing = rng.choice([0.0, 180.0, rng.uniform(-180.0, 180.0)], p=[0.45, 0.25, 0.30])
        lies = rng.random() < 0.08
        roll = rng.choice([-90.0, 90.0]) + rng.normal(0, 12) if lies else rng.normal(0, 9)
        return _chain(
            _turn(2, roll), _turn(0, rng.uniform(-5, 15)), _turn(1, facing + rng.normal(0, 20))
        )

    def _within(self, limits: Limits, rest: float = 0.0) -> float:
        """Draw an angle within its limits, nearer to the rest in a calm pose."""
        return rest + self.vigour * (self.rng.uniform(*limits) - rest)

    def _arm(self, side: str, sign: float) -> None:
        at, trunk = self.at, self.trunk
        at[f"{side} shoulder"] = at["neck"] + trunk @ np.array([sign * SHOULDER, -0.02, 0.0])
        upper = _chain(
            trunk,
            _turn(0, -self._within(_FLEX["arm"])),
            _turn(2, sign * self._within(_ASIDE["arm"], 12.0)),
            _turn(1, -sign * self._within(_ROLL)),
        )
        lower = upper @ _turn(0, -self._within(_FLEX["elbow"], 10.0))
        self._bone(f"{side} shoulder", f"{side} elbow", upper, UPPER_ARM)
        self._bone(f"{side} elbow", f"{side} wrist", lower, FOREARM)
        self._bone(f"{side} wrist", f"{side} hand", lower, HAND)

    def _leg(self, side: str, sign: float, sitting: bool) -> None:
        at = self.at
        at[f"{side} hip"] = at["pelvis"] + self.root @ np.array([sign * HIP, 0.0, 0.0])
        flex = self.rng.uniform(70, 100) if sitting else self._within(_FLEX["leg"]) * 0.7
        thigh = _chain(
            self.root,
            _turn(0, -flex),
            _turn(2, sign * self._within(_ASIDE["leg"], 4.0)),
        )
        knee = self.rng.uniform(60, 110) if sitting else self._within(_FLEX["knee"]) * 0.7
        shin = thigh @ _turn(0, knee)
        self._bone(f"{side} hip", f"{side} knee", thigh, THIGH)
        self._bone(f"{side} knee", f"{side} ankle", shin, SHIN)
        self._bone(f"{side} ankle", f"{side} toe", shin @ _turn(0, -65.0), FOOT)

    def _bone(self, start: str, end: str, frame: FloatArray, length: float) -> None:
        """Place the end of a bone, which hangs down in its own frame."""
        self.at[end] = self.at[start] - length * frame[:, 1]

    def _head(self) -> None:
        at, r = self.at, HEAD
        head = _chain(self.trunk, _turn(1, self._within(_TURN)), _turn(0, self._within(_NOD)))
        at["head"] = at["neck"] + self.trunk[:, 1] * NECK + head[:, 1] * r
        places = {"nose": (0.0, -0.15, 1.0), "hair": (0.0, 0.22, -0.35)}
        for side, sign in SIDES:
            places[f"{side} eye"] = (sign * 0.40, 0.22, 0.85)
            places[f"{side} ear"] = (sign * 0.95, 0.0, 0.05)
        for name, place in places.items():
            at[name] = at["head"] + r * (head @ np.array(place))


def sample_body(rng: np.random.Generator) -> Body:
    """Draw a pose within the limits of the joints, a build and a view of it."""
    pose = _Pose(rng)
    build = rng.uniform(0.85, 1.35)
    parts = sorted(_parts(pose, build), key=lambda part: part.depth)
    joints = np.array([pose.at[name] for name in NUMBER])
    joints[:, 1] *= -1
    return Body(joints, tuple(parts), float(pose.at["head"][2]))


def _parts(pose: _Pose, build: float) -> list[Part]:
    """Return the parts of a body, in no order."""
    at, b = pose.at, build

    def part(
        name: str, places: Sequence[FloatArray], radii: Sequence[float], near: float = 0.0
    ) -> Part:
        points = np.array(places)
        depth = float(points[:, 2].mean()) + near
        return Part(name, points[:, :2] * np.array([1.0, -1.0]), np.array(radii), depth)

    trunk = ("left shoulder", "right shoulder", "left hip", "right hip")
    panel = [
        pose.at[end] + pose.trunk @ np.array([x, y, 0.07])
        for end, y in (("neck", -0.05), ("pelvis", 0.05))
        for x in (-0.045, 0.045)
    ]
    parts = [
        part("torso", [at[name] for name in trunk], [0.045 * b, 0.045 * b, 0.05 * b, 0.05 * b]),
        part("panel", panel, [0.015] * 4),
        part("neck", [at["neck"], at["head"]], [0.034 * b, 0.034 * b], -0.01),
        part("head", [at["head"]], [HEAD]),
        part("hair", [at["hair"]], [1.0 * HEAD]),
        part("nose", [at["nose"]], [0.16 * HEAD]),
    ]
    for side, _ in SIDES:
        limbs = {
            "upper arm": ("shoulder", "elbow", 0.040, 0.032),
            "forearm": ("elbow", "wrist", 0.032, 0.026),
            "hand": ("wrist", "hand", 0.026, 0.026),
            "thigh": ("hip", "knee", 0.056, 0.042),
            "shin": ("knee", "ankle", 0.042, 0.030),
            "foot": ("ankle", "toe", 0.032, 0.024),
        }
        for name, (start, end, first, last) in limbs.items():
            places = [at[f"{side} {start}"], at[f"{side} {end}"]]
            parts.append(part(f"{side} {name}", places, [first * b, last * b]))
        parts.append(part(f"{side} eye", [at[f"{side} eye"]], [0.15 * HEAD]))
        parts.append(part(f"{side} ear", [at[f"{side} ear"]], [0.24 * HEAD], 0.1 * HEAD))
    return parts


def outlines(body: Body, scale: float, at: FloatArray) -> list[FloatArray]:
    """Return the outline (M, 2) of each part in pixels.

    Args:
        body: The pose.
        scale: Pixels of its height.
        at: (2,) where the middle of the trunk is.

    Half a pixel is left out on each side, because filling takes every pixel of the outline.
    """
    result = []
    for part in body.parts:
        radii = np.maximum(part.radii * scale - 0.5, 0.0)
        circles = (part.centers * scale + at)[:, None] + radii[:, None, None] * _CIRCLE
        hull = cv2.convexHull(circles.reshape(-1, 2).astype(np.float32))
        result.append(np.asarray(hull[:, 0], dtype=np.float64))
    return result
