"""Countable things of a scene: cars, pedestrians, bicyclists, poles and signs.

Each is a frozen description in metres, sampled from a generator, with an ``order`` (its far end
along z: things with a larger order are drawn first) and a ``draw``. Cars are boxes in space; the
others are flat figures that face the camera, with real heights and widths.
"""

from dataclasses import dataclass

import numpy as np

from gsto_viz.data.scenes.camera import Camera, Color, FloatArray, Light, lit
from gsto_viz.data.scenes.canvas import Canvas
from gsto_viz.data.scenes.labels import BICYCLIST, PEDESTRIAN, POLE, SIGN

_CIRCLE = np.stack(
    [np.cos(np.linspace(0, 2 * np.pi, 12, False)), np.sin(np.linspace(0, 2 * np.pi, 12, False))],
    axis=1,
)
NEAREST_M = 1.5
SHADOWS_M = 60.0
"""Shadows of slim things farther away than this are not drawn."""
SKIN: tuple[Color, ...] = ((0.85, 0.66, 0.55), (0.70, 0.50, 0.38), (0.45, 0.30, 0.22))
SIGN_COLORS: tuple[Color, ...] = (
    (0.75, 0.12, 0.12), (0.12, 0.25, 0.62), (0.88, 0.75, 0.15), (0.85, 0.85, 0.85),
    (0.10, 0.42, 0.25), (0.75, 0.45, 0.10), (0.45, 0.35, 0.25),
)  # fmt: skip


class Figure:
    """Draws flat shapes, given in metres, at one ground point, facing the camera."""

    def __init__(
        self, canvas: Canvas, camera: Camera, label: int, spot: tuple[float, float], instance: int
    ) -> None:
        """Project the ground point ``spot`` (x, z); ``visible`` is False if it is too close."""
        pixels, depth = camera.project(np.array([spot[0], 0.0, spot[1]]))
        self.canvas, self.label, self.instance = canvas, label, instance
        self.foot, self.depth = pixels, float(depth)
        self.visible = self.depth > NEAREST_M
        self.scale = camera.focal_px / max(self.depth, NEAREST_M)

    def to_pixels(self, points: FloatArray) -> FloatArray:
        """Turn local metres (right, up) into pixels."""
        return self.foot + points * np.array([self.scale, -self.scale])

    def piece(self, color: Color, grain: float = 0.08) -> int:
        """Register a piece of this figure."""
        return self.canvas.piece(
            self.label, color, depth=self.depth, instance=self.instance, grain=grain
        )

    def shape(self, color: Color, *outlines: FloatArray) -> None:
        """Fill outlines (M, 2) in local metres; they must not overlap."""
        self.canvas.fill(self.piece(color), [self.to_pixels(outline) for outline in outlines])

    def oval(self, color: Color, center: tuple[float, float], radii: tuple[float, float]) -> None:
        """Fill an ellipse in local metres."""
        self.shape(color, np.array(center) + _CIRCLE * np.array(radii))

    def stroke(self, color: Color, points: FloatArray, width_m: float) -> None:
        """Draw a line in local metres."""
        self.canvas.line(self.piece(color), self.to_pixels(points), width_m * self.scale)

    def ring(
        self, color: Color, center: tuple[float, float], radii: tuple[float, float], width_m: float
    ) -> None:
        """Draw an ellipse's outline, inwards of its radii, at least one pixel wide."""
        outer = np.array(radii)
        inner = np.maximum(outer - max(width_m, 1.0 / self.scale), 0.0)
        # Two outlines in one fill: what lies inside both stays empty.
        self.shape(color, np.array(center) + _CIRCLE * outer, np.array(center) + _CIRCLE * inner)


def _quad(x0: float, y0: float, x1: float, y1: float, half0: float, half1: float) -> FloatArray:
    """Return a limb: from (x0, y0) with half width half0 to (x1, y1) with half width half1."""
    return np.array([[x0 - half0, y0], [x0 + half0, y0], [x1 + half1, y1], [x1 - half1, y1]])


def _spot_shadow(
    canvas: Canvas, camera: Camera, light: Light, spot: tuple[float, float], radius: float,
    height: float,
) -> None:  # fmt: skip
    if camera.depth_of(spot[0], 0.0, spot[1]) > SHADOWS_M:
        return
    canvas.cast_shadow(camera, light, np.array(spot) + radius * _CIRCLE[::2], height)


def _cloth(rng: np.random.Generator) -> Color:
    """Return a colour of clothing: mostly dull, now and then bright."""
    value = float(rng.uniform(0.08, 0.85))
    cast = rng.uniform(-1.0, 1.0, 3) * (0.3 if rng.random() < 0.35 else 0.06)
    red, green, blue = np.clip(value + cast, 0.03, 0.95).tolist()
    return red, green, blue


@dataclass(frozen=True)
class Pedestrian:
    """A standing or walking person.

    Attributes:
        spot: Ground point (x, z).
        height: Body height in metres.
        stride: Half the distance of the feet, in metres; 0 when standing.
        width: Breadth factor of the body, about 1.
        coat: Lower hem of the top garment, as a share of the height.
        colors: Top, trousers, skin, hair, bag.
        bag: Side of a bag, -1 or 1; 0 without one.
    """

    spot: tuple[float, float]
    height: float
    stride: float
    width: float
    coat: float
    colors: tuple[Color, Color, Color, Color, Color]
    bag: int

    @classmethod
    def sample(cls, rng: np.random.Generator, spot: tuple[float, float]) -> "Pedestrian":
        """Draw a person at a ground point."""
        child = rng.random() < 0.12
        return cls(
            spot=spot,
            height=float(rng.uniform(1.0, 1.4) if child else rng.normal(1.72, 0.09)),
            stride=float(rng.uniform(0.0, 0.24)),
            width=float(rng.uniform(0.85, 1.25)),
            coat=float(rng.uniform(0.34, 0.52)),
            colors=(
                _cloth(rng),
                _cloth(rng),
                SKIN[int(rng.integers(3))],
                _cloth(rng),
                _cloth(rng),
            ),
            bag=int(rng.integers(-2, 3) / 2),
        )

    @property
    def order(self) -> float:
        """Return z of the figure."""
        return self.spot[1]

    def draw(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Draw legs, arms, trunk and head."""
        figure = Figure(canvas, camera, PEDESTRIAN, self.spot, canvas.new_instance())
        if not figure.visible:
            return
        _spot_shadow(canvas, camera, light, self.spot, 0.25, self.height)
        h, w, step = self.height, self.width * self.height / 1.72, self.stride
        bright = light.on((0.0, 0.3, -0.95))
        top, legs, skin, hair, bag = (lit(c, bright) for c in self.colors)
        figure.shape(legs, _quad(-step - 0.05 * w, 0, -0.08 * w, 0.5 * h, 0.07 * w, 0.11 * w))
        figure.shape(legs, _quad(step + 0.05 * w, 0, 0.08 * w, 0.5 * h, 0.07 * w, 0.11 * w))
        swing = 0.6 * step
        arm = lit(self.colors[0], 0.88 * bright)
        for side in (-1, 1):
            hand = side * (0.27 * w + swing)
            figure.shape(arm, _quad(hand, 0.46 * h, side * 0.21 * w, 0.80 * h, 0.05 * w, 0.07 * w))
            figure.oval(skin, (hand, 0.45 * h), (0.045 * w, 0.05 * w))
        if self.bag:
            figure.oval(bag, (self.bag * 0.30 * w, 0.42 * h), (0.15 * w, 0.19 * w))
        figure.shape(top, _quad(0, self.coat * h, 0, 0.83 * h, 0.20 * w, 0.22 * w))
        figure.oval(hair, (0.0, 0.935 * h), (0.105 * h * 0.62, 0.072 * h))
        figure.oval(skin, (0.0, 0.915 * h), (0.085 * h * 0.62, 0.065 * h))


@dataclass(frozen=True)
class Bicyclist:
    """A person on a bicycle.

    Attributes:
        spot: Ground point (x, z) under the middle.
        yaw: Riding direction, radians to the right of the z axis.
        size: Scale of rider and bicycle, about 1.
        colors: Top, trousers, skin, helmet, frame.
    """

    spot: tuple[float, float]
    yaw: float
    size: float
    colors: tuple[Color, Color, Color, Color, Color]

    @classmethod
    def sample(cls, rng: np.random.Generator, spot: tuple[float, float], yaw: float) -> "Bicyclist":
        """Draw a rider at a ground point."""
        return cls(
            spot=spot,
            yaw=yaw,
            size=float(rng.uniform(0.9, 1.08)),
            colors=(
                _cloth(rng),
                _cloth(rng),
                SKIN[int(rng.integers(3))],
                _cloth(rng),
                _cloth(rng),
            ),
        )

    @property
    def order(self) -> float:
        """Return z of the figure."""
        return self.spot[1]

    def draw(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Draw wheels, frame and rider, foreshortened by the angle of view."""
        figure = Figure(canvas, camera, BICYCLIST, self.spot, canvas.new_instance())
        if not figure.visible:
            return
        _spot_shadow(canvas, camera, light, self.spot, 0.45, 1.6)
        view = np.arctan2(self.spot[0] - camera.eye[0], self.spot[1] - camera.eye[2])
        turn = float(np.sin(self.yaw - view))
        stretch = float(np.copysign(max(abs(turn), 0.16), turn)) * self.size
        bright = light.on((0.0, 0.3, -0.95))
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
        figure.shape(lit(self.colors[1], 0.8 * bright), _quad(0.1 * t - 0.1, 0.5 * s, -0.12 * t,
                                                              0.95 * s, 0.07, 0.10))  # fmt: skip
        figure.shape(legs, _quad(0.05 * t + 0.1, 0.25 * s, -0.1 * t + 0.03, 0.95 * s, 0.06, 0.12))
        figure.shape(top, _quad(-0.14 * t, 0.9 * s, 0.16 * t, 1.5 * s, wide + 0.04, wide + 0.06))
        arm = np.array([[0.16 * t, 1.4 * s], [0.40 * t, 1.02 * s]])
        figure.stroke(lit(top, 0.9), arm, 0.1)
        figure.oval(helmet, (0.24 * t, 1.68 * s), (0.11, 0.13))
        figure.oval(skin, (0.26 * t, 1.63 * s), (0.08, 0.10))


@dataclass(frozen=True)
class Pole:
    """A lamp post or a bare mast.

    Attributes:
        spot: Ground point (x, z).
        height: Metres.
        radius: Half width in metres.
        arm: Length of a lamp's arm in metres, signed; 0 without one.
        color: Before lighting.
    """

    spot: tuple[float, float]
    height: float
    radius: float
    arm: float
    color: Color

    @classmethod
    def sample(cls, rng: np.random.Generator, spot: tuple[float, float], arm: float) -> "Pole":
        """Draw a lamp post at a ground point; ``arm`` says where its lamp hangs."""
        level = float(rng.uniform(0.18, 0.65))
        return cls(
            spot=spot,
            height=float(rng.uniform(5.0, 9.0)),
            radius=float(rng.uniform(0.05, 0.14)),
            arm=arm,
            color=(level, level * float(rng.uniform(0.9, 1.06)), level * 0.98),
        )

    @property
    def order(self) -> float:
        """Return z of the figure."""
        return self.spot[1]

    def draw(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Draw shaft, arm and lamp head."""
        figure = Figure(canvas, camera, POLE, self.spot, canvas.new_instance())
        if not figure.visible:
            return
        _spot_shadow(canvas, camera, light, self.spot, self.radius, self.height)
        color = lit(self.color, light.on((0.4, 0.0, -0.9)))
        h, r = self.height, self.radius
        figure.shape(color, _quad(0, 0, 0, 0.9, 1.5 * r, 1.4 * r))
        figure.shape(color, _quad(0, 0.9, 0, h, r, 0.7 * r))
        if self.arm:
            tip = np.array([[0.0, h - 0.5], [0.3 * self.arm, h], [self.arm, h + 0.05]])
            figure.stroke(color, tip, 1.2 * r)
            figure.oval(lit(color, 1.25), (self.arm, h), (0.36, 0.12))


@dataclass(frozen=True)
class Sign:
    """A traffic sign, traffic light or direction board on a pole of its own.

    Attributes:
        spot: Ground point (x, z).
        form: ``disc``, ``triangle``, ``board`` or ``lights``.
        size: Half width and half height of the plate in metres.
        height: Height of the plate's middle in metres.
        colors: Border, face, mark, pole.
    """

    spot: tuple[float, float]
    form: str
    size: tuple[float, float]
    height: float
    colors: tuple[Color, Color, Color, Color]

    @classmethod
    def sample(cls, rng: np.random.Generator, spot: tuple[float, float], form: str) -> "Sign":
        """Draw a sign of a form at a ground point."""
        half = float(rng.uniform(0.28, 0.48))
        size = {
            "disc": (half, half),
            "triangle": (half * 1.15, half),
            "board": (float(rng.uniform(0.5, 1.6)), float(rng.uniform(0.3, 1.0))),
            "lights": (0.17, 0.5),
        }[form]
        border, face, mark = (SIGN_COLORS[int(k)] for k in rng.choice(7, 3, replace=False))
        level = float(rng.uniform(0.25, 0.6))
        low = 1.9 if form == "board" else 2.1
        return cls(
            spot=spot,
            form=form,
            size=size,
            height=float(rng.uniform(low, low + 0.9)) + size[1],
            colors=(border, face, mark, (level, level, level)),
        )

    @property
    def order(self) -> float:
        """Return z of the figure."""
        return self.spot[1]

    def draw(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Draw the pole, then the plate."""
        pole = Figure(canvas, camera, POLE, self.spot, canvas.new_instance())
        if not pole.visible:
            return
        _spot_shadow(canvas, camera, light, self.spot, 0.06, self.height)
        bright = light.on((0.0, 0.1, -0.99))
        legs = (-0.7 * self.size[0], 0.7 * self.size[0]) if self.form == "board" else (0.0,)
        bars = [_quad(x, 0, x, self.height, 0.045, 0.045) for x in legs]
        pole.shape(lit(self.colors[3], bright), *bars)
        self.draw_plate(canvas, camera, light)

    def draw_plate(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Draw the plate alone: the instance of class SignSymbol."""
        plate = Figure(canvas, camera, SIGN, self.spot, canvas.new_instance())
        bright = light.on((0.0, 0.1, -0.99))
        border, face, mark = (lit(c, bright) for c in self.colors[:3])
        w, h = self.size
        middle = np.array([0.0, self.height])
        if self.form == "lights":
            plate.shape(lit((0.1, 0.1, 0.1), bright), middle + _box(w, h))
            lamps = ((0.9, 0.15, 0.1), (0.85, 0.6, 0.1), (0.15, 0.75, 0.4))
            for lamp, y in zip(lamps, (0.31, 0.0, -0.31), strict=True):
                on = 1.0 if lamp[0] * 7 % 1 < self.size[0] + sum(self.colors[0]) % 1 else 0.35
                plate.oval(lit(lamp, on), (0.0, self.height + y), (0.11, 0.11))
            return
        outline = {"disc": _CIRCLE * self.size, "board": _box(w, h), "triangle": _wedge(w, h)}
        inner = 0.86 if self.form == "board" else 0.72
        plate.shape(border, middle + outline[self.form])
        plate.shape(face, middle + inner * outline[self.form])
        if self.form == "board":
            rows = [_bar(0.6 * w, 0.09 * h, self.height + y * h) for y in (-0.4, 0.05, 0.5)]
            plate.shape(mark, *rows)
        else:
            plate.shape(mark, middle + _box(0.16 * w, 0.4 * h))


def _box(half_width: float, half_height: float) -> FloatArray:
    corners = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    return corners * np.array([half_width, half_height])


def _bar(half_width: float, half_height: float, middle: float) -> FloatArray:
    return np.asarray(_box(half_width, half_height) + np.array([0.0, middle]))


def _wedge(half_width: float, half_height: float) -> FloatArray:
    return np.array([[-half_width, -half_height], [half_width, -half_height], [0.0, half_height]])
