"""What moves in a street: people, bicyclists and vehicles.

Each is a frozen description in metres, sampled from a generator, with an ``order`` (its z: things
with a larger order are drawn first) and a ``draw``.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from gsto_viz.data.scenes.camera import (
    BICYCLIST,
    CAR,
    PEDESTRIAN,
    Color,
    Spot,
    lit,
    rectangle,
)
from gsto_viz.data.scenes.canvas import View
from gsto_viz.types import FloatArray

CIRCLE = np.stack(
    [np.cos(np.linspace(0, 2 * np.pi, 12, False)), np.sin(np.linspace(0, 2 * np.pi, 12, False))],
    axis=1,
)
NEAREST_PERSON_M = 1.5
REACH_M = 3.0
"""No figure reaches farther to the side of its foot than this."""
SHADOWS_M = 60.0
"""Shadows of slim things farther away than this are not drawn."""


class Figure:
    """Draws flat shapes, given in metres, at one ground point, facing the camera."""

    def __init__(self, view: View, label: int, spot: Spot) -> None:
        """Project the ground point ``spot``; the figure is ``visible`` unless too close.

        ``in_view`` is False when all of it lies beyond the left or the right image edge.
        """
        pixels, depth = view.camera.project(np.array([spot[0], 0.0, spot[1]]))
        self.view, self.label, self.instance = view, label, view.canvas.new_instance()
        self.foot, self.depth = pixels, float(depth)
        self.visible = self.depth > NEAREST_PERSON_M
        self.scale = view.camera.focal_px / max(self.depth, NEAREST_PERSON_M)
        aside = abs(float(pixels[0]) - view.canvas.width / 2) - view.canvas.width / 2
        self.in_view = aside < REACH_M * self.scale

    def to_pixels(self, points: FloatArray) -> FloatArray:
        """Turn local metres (right, up) into pixels."""
        return self.foot + points * np.array([self.scale, -self.scale])

    def piece(self, color: Color, grain: float = 0.08) -> int:
        """Register a piece of this figure."""
        return self.view.canvas.piece(
            self.label, color, depth=self.depth, instance=self.instance, grain=grain
        )

    def shape(self, color: Color, *outlines: FloatArray) -> None:
        """Fill outlines (M, 2) in local metres; they must not overlap."""
        self.view.canvas.fill(self.piece(color), [self.to_pixels(outline) for outline in outlines])

    def oval(self, color: Color, center: tuple[float, float], radii: tuple[float, float]) -> None:
        """Fill an ellipse in local metres."""
        self.shape(color, np.array(center) + CIRCLE * np.array(radii))

    def stroke(self, color: Color, points: FloatArray, width_m: float) -> None:
        """Draw a line in local metres."""
        self.view.canvas.line(self.piece(color), self.to_pixels(points), width_m * self.scale)

    def ring(
        self, color: Color, center: tuple[float, float], radii: tuple[float, float], width_m: float
    ) -> None:
        """Draw an ellipse's outline, inwards of its radii, at least one pixel wide."""
        outer = np.array(radii)
        inner = np.maximum(outer - max(width_m, 1.0 / self.scale), 0.0)
        # Two outlines in one fill: what lies inside both stays empty.
        self.shape(color, np.array(center) + CIRCLE * outer, np.array(center) + CIRCLE * inner)


def limb(x0: float, y0: float, x1: float, y1: float, half0: float, half1: float) -> FloatArray:
    """Return a limb: from (x0, y0) with half width half0 to (x1, y1) with half width half1."""
    return np.array([[x0 - half0, y0], [x0 + half0, y0], [x1 + half1, y1], [x1 - half1, y1]])


@dataclass(frozen=True)
class Standing:
    """What stands on one ground point.

    Attributes:
        spot: The ground point.
    """

    spot: Spot

    @property
    def order(self) -> float:
        """Return z of the ground point."""
        return self.spot[1]


class Upright(Standing):
    """Something slim, drawn as a flat figure that faces the camera, with its shadow."""

    label: ClassVar[int]
    """Class index."""

    @property
    def shadow(self) -> tuple[float, float]:
        """Return radius and height, in metres, of what stands between the ground and the sun."""
        raise NotImplementedError

    def paint(self, figure: Figure) -> None:
        """Draw the shapes of the figure."""
        raise NotImplementedError

    def draw(self, view: View) -> None:
        """Draw shadow and figure; nothing if it is too close to the camera."""
        figure = Figure(view, self.label, self.spot)
        if not figure.visible:
            return
        if view.camera.depth_of(self.spot[0], 0.0, self.spot[1]) <= SHADOWS_M:
            radius, height = self.shadow
            view.cast_shadow(np.array(self.spot) + radius * CIRCLE[::2], height)
        if figure.in_view:
            self.paint(figure)


SKIN: tuple[Color, ...] = ((0.85, 0.66, 0.55), (0.70, 0.50, 0.38), (0.45, 0.30, 0.22))


def cloth(rng: np.random.Generator) -> Color:
    """Return a colour of clothing: mostly dull, now and then bright."""
    value = rng.uniform(0.08, 0.85)
    cast = rng.uniform(-1.0, 1.0, 3) * (0.3 if rng.random() < 0.35 else 0.06)
    red, green, blue = np.clip(value + cast, 0.03, 0.95).tolist()
    return red, green, blue


def outfit(rng: np.random.Generator) -> tuple[Color, Color, Color, Color, Color]:
    """Return two colours of clothing, one of skin, and two more of clothing."""
    return cloth(rng), cloth(rng), SKIN[int(rng.integers(3))], cloth(rng), cloth(rng)


@dataclass(frozen=True)
class Pedestrian(Upright):
    """A standing or walking person.

    Attributes:
        height: Body height in metres.
        stride: Half the distance of the feet, in metres; 0 when standing.
        width: Breadth factor of the body, about 1.
        coat: Lower hem of the top garment, as a share of the height.
        colors: Top, trousers, skin, hair, bag.
        bag: Side of a bag, -1 or 1; 0 without one.
    """

    label = PEDESTRIAN
    height: float
    stride: float
    width: float
    coat: float
    colors: tuple[Color, Color, Color, Color, Color]
    bag: int

    @classmethod
    def sample(cls, rng: np.random.Generator, spot: Spot) -> "Pedestrian":
        """Draw a person at a ground point."""
        child = rng.random() < 0.12
        return cls(
            spot=spot,
            height=float(rng.uniform(1.0, 1.4) if child else rng.normal(1.72, 0.09)),
            stride=rng.uniform(0.0, 0.24),
            width=rng.uniform(0.85, 1.25),
            coat=rng.uniform(0.34, 0.52),
            colors=outfit(rng),
            bag=int(rng.integers(-2, 3) / 2),
        )

    @property
    def shadow(self) -> tuple[float, float]:
        """Return radius and height of the shadow's body."""
        return 0.25, self.height

    def paint(self, figure: Figure) -> None:
        """Draw legs, arms, trunk and head."""
        h, w, step = self.height, self.width * self.height / 1.72, self.stride
        bright = figure.view.light.on((0.0, 0.3, -0.95))
        top, legs, skin, hair, bag = (lit(c, bright) for c in self.colors)
        figure.shape(legs, limb(-step - 0.05 * w, 0, -0.08 * w, 0.5 * h, 0.07 * w, 0.11 * w))
        figure.shape(legs, limb(step + 0.05 * w, 0, 0.08 * w, 0.5 * h, 0.07 * w, 0.11 * w))
        swing = 0.6 * step
        arm = lit(self.colors[0], 0.88 * bright)
        for side in (-1, 1):
            hand = side * (0.27 * w + swing)
            figure.shape(arm, limb(hand, 0.46 * h, side * 0.21 * w, 0.80 * h, 0.05 * w, 0.07 * w))
            figure.oval(skin, (hand, 0.45 * h), (0.045 * w, 0.05 * w))
        if self.bag:
            figure.oval(bag, (self.bag * 0.30 * w, 0.42 * h), (0.15 * w, 0.19 * w))
        figure.shape(top, limb(0, self.coat * h, 0, 0.83 * h, 0.20 * w, 0.22 * w))
        figure.oval(hair, (0.0, 0.935 * h), (0.105 * h * 0.62, 0.072 * h))
        figure.oval(skin, (0.0, 0.915 * h), (0.085 * h * 0.62, 0.065 * h))


@dataclass(frozen=True)
class Bicyclist(Upright):
    """A person on a bicycle.

    Attributes:
        yaw: Riding direction, radians to the right of the z axis.
        size: Scale of rider and bicycle, about 1.
        colors: Top, trousers, skin, helmet, frame.
    """

    label = BICYCLIST
    yaw: float
    size: float
    colors: tuple[Color, Color, Color, Color, Color]

    @classmethod
    def sample(cls, rng: np.random.Generator, spot: Spot, yaw: float) -> "Bicyclist":
        """Draw a rider at a ground point."""
        return cls(
            spot=spot,
            yaw=yaw,
            size=rng.uniform(0.9, 1.08),
            colors=outfit(rng),
        )

    @property
    def shadow(self) -> tuple[float, float]:
        """Return radius and height of the shadow's body."""
        return 0.45, 1.6

    def paint(self, figure: Figure) -> None:
        """Draw wheels, frame and rider, foreshortened by the angle of view."""
        camera = figure.view.camera
        view = np.arctan2(self.spot[0] - camera.eye[0], self.spot[1] - camera.eye[2])
        turn = float(np.sin(self.yaw - view))
        stretch = float(np.copysign(max(abs(turn), 0.16), turn)) * self.size
        bright = figure.view.light.on((0.0, 0.3, -0.95))
        self._draw_bicycle(figure, stretch, bright)
        self._draw_rider(figure, stretch, bright)

    def _draw_bicycle(self, figure: Figure, stretch: float, bright: float) -> None:
        frame, radius = self.colors[4], 0.33 * self.size
        for x in (-0.52, 0.52):
            wheel = (0.33 * abs(stretch), radius)
            tyre = lit((0.1, 0.1, 0.1), bright)
            figure.ring(tyre, (x * stretch, radius), wheel, 0.05)
        tubes = np.array([[-0.52, 0.33], [-0.15, 0.85], [0.38, 0.88], [0.0, 0.35], [-0.15, 0.85]])
        tubes = tubes * np.array([stretch, self.size])
        figure.stroke(lit(frame, bright), tubes, 0.05)
        fork = np.array([[0.52, 0.33], [0.38, 1.0]]) * np.array([stretch, self.size])
        figure.stroke(lit(frame, bright), fork, 0.05)

    def _draw_rider(self, figure: Figure, stretch: float, bright: float) -> None:
        top, legs, skin, helmet, _ = (lit(c, bright) for c in self.colors)
        s, t = self.size, stretch
        wide = 0.10 + 0.06 * (1 - abs(t))
        far_leg = limb(0.1 * t - 0.1, 0.5 * s, -0.12 * t, 0.95 * s, 0.07, 0.10)
        figure.shape(lit(self.colors[1], 0.8 * bright), far_leg)
        figure.shape(legs, limb(0.05 * t + 0.1, 0.25 * s, -0.1 * t + 0.03, 0.95 * s, 0.06, 0.12))
        figure.shape(top, limb(-0.14 * t, 0.9 * s, 0.16 * t, 1.5 * s, wide + 0.04, wide + 0.06))
        arm = np.array([[0.16 * t, 1.4 * s], [0.40 * t, 1.02 * s]])
        figure.stroke(lit(top, 0.9), arm, 0.1)
        figure.oval(helmet, (0.24 * t, 1.68 * s), (0.11, 0.13))
        figure.oval(skin, (0.26 * t, 1.63 * s), (0.08, 0.10))


NEAREST_M = 2.2
"""No corner of a car is nearer to the camera than this; long vehicles keep more distance."""
_QUAD_ALONG, _QUAD_UP = (0, 1, 1, 0), (2, 2, 3, 3)
"""Which of (from, to, low, high) gives the corners of a quad, in turn."""
PAINTS: tuple[Color, ...] = (
    (0.85, 0.85, 0.85), (0.60, 0.61, 0.63), (0.42, 0.43, 0.45), (0.30, 0.31, 0.33),
    (0.08, 0.08, 0.09), (0.62, 0.10, 0.10), (0.12, 0.20, 0.48), (0.10, 0.33, 0.22),
    (0.70, 0.62, 0.48), (0.82, 0.66, 0.12), (0.42, 0.24, 0.16), (0.45, 0.60, 0.72),
)  # fmt: skip
SHAPES: dict[str, tuple[float, float, float, float, float, float]] = {
    # length, width, height, belt line, cabin from, cabin to (shares of the length from the rear)
    "hatchback": (3.9, 1.70, 1.47, 0.90, 0.02, 0.70),
    "saloon": (4.5, 1.76, 1.43, 0.90, 0.14, 0.70),
    "estate": (4.6, 1.80, 1.62, 1.00, 0.01, 0.74),
    "van": (5.2, 1.95, 2.25, 1.15, 0.00, 0.88),
    "lorry": (7.5, 2.35, 3.20, 1.30, 0.00, 0.99),
    "bus": (11.0, 2.50, 3.05, 1.10, 0.00, 1.00),
}


@dataclass(frozen=True)
class Car(Standing):
    """A motor vehicle.

    Attributes:
        yaw: Forward direction, radians to the right of the z axis.
        shape: A key of ``SHAPES``.
        size: Scale factor, about 1.
        paint: Colour of the body before lighting.
        glass: Colour of the windows before lighting.
    """

    yaw: float
    shape: str
    size: float
    paint: Color
    glass: Color

    @classmethod
    def sample(cls, rng: np.random.Generator, spot: Spot, yaw: float, shape: str = "") -> "Car":
        """Draw a vehicle at a place; its shape too, where none is given."""
        if not shape:
            shape = str(rng.choice(list(SHAPES), p=[0.3, 0.28, 0.22, 0.12, 0.04, 0.04]))
        red, green, blue = np.clip(
            np.array(PAINTS[int(rng.integers(len(PAINTS)))]) * rng.uniform(0.8, 1.15), 0.04, 0.95
        ).tolist()
        level = rng.uniform(0.10, 0.34)
        return cls(
            spot=spot,
            yaw=yaw,
            shape=shape,
            size=rng.uniform(0.94, 1.07),
            paint=(red, green, blue),
            glass=(level * 0.92, level, level * 1.1),
        )

    @property
    def length(self) -> float:
        """Return the length in metres."""
        return SHAPES[self.shape][0] * self.size

    def draw(self, view: View) -> None:
        """Draw shadow, body, cabin, wheels and lights; nothing if part of it is too close."""
        length, width, height, belt, rear, front = SHAPES[self.shape]
        s = self.size
        half = (0.5 * length * s, 0.5 * width * s)
        base = rectangle(*self.spot, half, self.yaw)
        nearest = NEAREST_M + 0.35 * max(0.0, length - 4.5)
        if min(view.camera.depth_of(x, 0.0, z) for x, z in base.tolist()) < nearest:
            return
        if view.camera.misses(base):
            return
        instance = view.canvas.new_instance()
        view.cast_shadow(base, 0.85 * height * s)
        body = _Box(view, base, base, (0.22 * s, belt * s), instance, self.yaw)
        body.sides(self.paint)
        body.lid(lit(self.paint, 0.96))
        self._draw_details(body, length * s)
        foot = _between(base, rear, front, 0.0)
        slope = 0.14 if height < 2.0 else 0.02
        top = _between(base, rear + 0.6 * slope, front - slope, 0.06 if height < 2.0 else 0.02)
        span = (belt * s, height * s)
        cabin = _Box(view, foot, top, span, instance, self.yaw)
        cabin.sides(self.paint)
        self._draw_windows(cabin)
        cabin.lid(lit(self.paint, 0.98))
        _paint(view, body.faces + cabin.faces)

    def _draw_windows(self, cabin: "_Box") -> None:
        """Draw panes on both visible faces of the cabin."""
        count, low, high = {"lorry": (1, 0.1, 0.4), "bus": (6, 0.1, 0.62)}.get(
            self.shape, (2, 0.06, 0.88) if self.shape != "van" else (1, 0.08, 0.55)
        )
        start = {"lorry": 0.78, "van": 0.62}.get(self.shape, 0.05)
        edges = np.linspace(start, 0.95, count + 1)
        gap = 0.018 if count > 1 else 0.0
        panes = [(a + gap, b - gap, low, high) for a, b in pairwise(edges.tolist())]
        cabin.on_flank(self.glass, panes)
        if self.shape == "lorry" and not cabin.shows_front:
            return
        cabin.on_end(lit(self.glass, 1.15), [(0.07, 0.93, low, high)])

    def _draw_details(self, body: "_Box", length: float) -> None:
        """Draw bumper, lights, number plate and wheels."""
        body.on_end((0.12, 0.12, 0.13), [(0.02, 0.98, 0.0, 0.16)])
        lamps: Color = (0.95, 0.93, 0.85) if body.shows_front else (0.60, 0.06, 0.05)
        body.on_end(lamps, [(0.03, 0.2, 0.52, 0.78), (0.8, 0.97, 0.52, 0.78)])
        body.on_end((0.8, 0.8, 0.72), [(0.37, 0.63, 0.24, 0.42)])
        body.on_flank(lit(self.paint, 0.8), [(0.02, 0.98, 0.0, 0.12)])
        radius = 0.32 if self.shape not in ("bus", "lorry") else 0.48
        body.wheels(radius * self.size, (0.19 * length, 0.81 * length), length)


def _between(base: FloatArray, rear: float, front: float, inset: float) -> FloatArray:
    """Return the part of a footprint between two shares of its length, narrowed by ``inset``."""
    front_right, front_left, rear_left, rear_right = base
    right, left = front_right - rear_right, front_left - rear_left
    corners = np.stack(
        [rear_right + front * right, rear_left + front * left, rear_left + rear * left,
         rear_right + rear * right]
    )  # fmt: skip
    middle = corners[[1, 0, 3, 2]]
    return corners + inset * (middle - corners)


def _paint(view: View, faces: list[tuple[int, FloatArray]]) -> None:
    """Fill polygons (N, M, 3) with their pieces, in turn; all are projected at once."""
    points = np.concatenate([polygons.reshape(-1, 3) for _, polygons in faces])
    pixels = view.camera.project(points)[0]
    first = 0
    for piece, polygons in faces:
        count, corners = polygons.shape[:2]
        last = first + count * corners
        view.canvas.fill(piece, pixels[first:last].reshape(count, corners, 2))
        first = last


class _Box:
    """An upright frustum: footprint at the bottom and at the top, drawn face by face."""

    def __init__(
        self,
        view: View,
        bottom: FloatArray,
        top: FloatArray,
        span: tuple[float, float],
        instance: int,
        yaw: float,
    ) -> None:
        self.view, self.instance = view, instance
        self.faces: list[tuple[int, FloatArray]] = []
        self.corners = np.stack([np.insert(bottom, 1, span[0], 1), np.insert(top, 1, span[1], 1)])
        center = bottom.mean(axis=0)
        self.depth = view.camera.depth_of(float(center[0]), 0.0, float(center[1]))
        ahead = np.array([np.sin(yaw), np.cos(yaw)])
        right = np.array([np.cos(yaw), -np.sin(yaw)])
        eye = view.camera.eye[[0, 2]]
        self.shows_front = bool((eye - bottom[0]) @ ahead > 0)
        self.shows_rear = bool((eye - bottom[2]) @ ahead < 0)
        self.shows_right = bool((eye - bottom[0]) @ right > 0)
        self.shows_left = bool((eye - bottom[1]) @ right < 0)
        # Corner indices (start, end) of the visible end and flank; flanks run from rear to front.
        self.end = (1, 0) if self.shows_front else (2, 3) if self.shows_rear else None
        self.flank = (3, 0) if self.shows_right else (2, 1) if self.shows_left else None
        turn_end = ahead if self.shows_front else -ahead
        turn_flank = right if self.shows_right else -right
        self.end_light = view.light.on((float(turn_end[0]), 0.0, float(turn_end[1])))
        self.flank_light = view.light.on((float(turn_flank[0]), 0.0, float(turn_flank[1])))

    def _fill(self, color: Color, quads: FloatArray) -> None:
        """Note polygons (N, M, 3) in world coordinates, to be filled later with a colour."""
        piece = self.view.canvas.piece(
            CAR, color, depth=self.depth, instance=self.instance, grain=0.03
        )
        self.faces.append((piece, quads))

    def _on_face(
        self, edge: tuple[int, int], parts: list[tuple[float, float, float, float]]
    ) -> FloatArray:
        """Return quads for parts (from, to, low, high), as shares of a face."""
        low_a, low_b = self.corners[0, edge[0]], self.corners[0, edge[1]]
        high_a, high_b = self.corners[1, edge[0]], self.corners[1, edge[1]]
        shares = np.array(parts)
        s = shares[:, _QUAD_ALONG, None]
        t = shares[:, _QUAD_UP, None]
        under, over = low_a + s * (low_b - low_a), high_a + s * (high_b - high_a)
        quads: FloatArray = under + t * (over - under)
        return quads

    def on_end(self, color: Color, parts: list[tuple[float, float, float, float]]) -> None:
        """Fill parts of the visible front or rear."""
        if self.end is not None:
            self._fill(lit(color, self.end_light), self._on_face(self.end, parts))

    def on_flank(self, color: Color, parts: list[tuple[float, float, float, float]]) -> None:
        """Fill parts of the visible flank."""
        if self.flank is not None:
            self._fill(lit(color, self.flank_light), self._on_face(self.flank, parts))

    def sides(self, color: Color) -> None:
        """Fill both visible faces."""
        self.on_end(color, [(0.0, 1.0, 0.0, 1.0)])
        self.on_flank(color, [(0.0, 1.0, 0.0, 1.0)])

    def lid(self, color: Color) -> None:
        """Fill the upper face if the camera looks down on it."""
        if self.view.camera.eye[1] > self.corners[1, 0, 1]:
            strength = self.view.light.on((0.0, 1.0, 0.0))
            self._fill(lit(color, strength), self.corners[1][None])

    def wheels(self, radius: float, places: tuple[float, float], length: float) -> None:
        """Draw the two wheels of the visible flank, ``places`` in metres from the rear."""
        if self.flank is None:
            return
        rear, front = self.corners[0, self.flank[0]], self.corners[0, self.flank[1]]
        ahead = (front - rear) / length
        angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
        for share, color in ((1.0, (0.07, 0.07, 0.07)), (0.55, (0.45, 0.45, 0.46))):
            rings = []
            for place in places:
                ring = rear + ahead * (place + share * radius * np.cos(angles))[:, None]
                ring[:, 1] = radius + share * radius * np.sin(angles)
                rings.append(ring)
            self._fill(lit(color, self.flank_light), np.array(rings))
