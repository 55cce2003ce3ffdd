"""Poles and signs: flat figures of real height, described and drawn as people are."""

from dataclasses import dataclass

import numpy as np

from gsto_viz.data.scenes.camera import Camera, Color, FloatArray, Light, lit
from gsto_viz.data.scenes.canvas import Canvas
from gsto_viz.data.scenes.figures import CIRCLE, Figure, limb, spot_shadow
from gsto_viz.data.scenes.labels import POLE, SIGN

SIGN_COLORS: tuple[Color, ...] = (
    (0.75, 0.12, 0.12), (0.12, 0.25, 0.62), (0.88, 0.75, 0.15), (0.85, 0.85, 0.85),
    (0.10, 0.42, 0.25), (0.75, 0.45, 0.10), (0.45, 0.35, 0.25),
)  # fmt: skip


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
        spot_shadow(canvas, camera, light, self.spot, self.radius, self.height)
        if not figure.in_view:
            return
        color = lit(self.color, light.on((0.4, 0.0, -0.9)))
        h, r = self.height, self.radius
        figure.shape(color, limb(0, 0, 0, 0.9, 1.5 * r, 1.4 * r))
        figure.shape(color, limb(0, 0.9, 0, h, r, 0.7 * r))
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
        """Draw the pole, unless the plate stands on the ground, then the plate."""
        pole = Figure(canvas, camera, POLE, self.spot, canvas.new_instance())
        if not pole.visible:
            return
        spot_shadow(canvas, camera, light, self.spot, 0.06, self.height)
        if not pole.in_view:
            return
        if self.height > self.size[1]:
            bright = light.on((0.0, 0.1, -0.99))
            legs = (-0.7 * self.size[0], 0.7 * self.size[0]) if self.form == "board" else (0.0,)
            bars = [limb(x, 0, x, self.height, 0.045, 0.045) for x in legs]
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
            # The centimetres of its height say which lamp is on: signs of one street differ.
            on = int(100 * self.height) % 3
            for k, lamp in enumerate(lamps):
                strength = 1.0 if k == on else 0.35
                plate.oval(lit(lamp, strength), (0.0, self.height + 0.31 * (1 - k)), (0.11, 0.11))
            return
        outline = {"disc": CIRCLE * self.size, "board": _box(w, h), "triangle": _wedge(w, h)}
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
