"""Pedestrians and bicyclists: flat figures of real height.

Each is a frozen description in metres, sampled from a generator, with an ``order`` (its z: things
with a larger order are drawn first) and a ``draw``.
"""

from dataclasses import dataclass

import numpy as np

from gsto_viz.data.scenes.camera import Camera, Color, Light, lit
from gsto_viz.data.scenes.canvas import Canvas
from gsto_viz.data.scenes.figures import Figure, limb, spot_shadow
from gsto_viz.data.scenes.labels import BICYCLIST, PEDESTRIAN

SKIN: tuple[Color, ...] = ((0.85, 0.66, 0.55), (0.70, 0.50, 0.38), (0.45, 0.30, 0.22))


def cloth(rng: np.random.Generator) -> Color:
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
                cloth(rng),
                cloth(rng),
                SKIN[int(rng.integers(3))],
                cloth(rng),
                cloth(rng),
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
        spot_shadow(canvas, camera, light, self.spot, 0.25, self.height)
        if not figure.in_view:
            return
        h, w, step = self.height, self.width * self.height / 1.72, self.stride
        bright = light.on((0.0, 0.3, -0.95))
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
                cloth(rng),
                cloth(rng),
                SKIN[int(rng.integers(3))],
                cloth(rng),
                cloth(rng),
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
        spot_shadow(canvas, camera, light, self.spot, 0.45, 1.6)
        if not figure.in_view:
            return
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
        far_leg = limb(0.1 * t - 0.1, 0.5 * s, -0.12 * t, 0.95 * s, 0.07, 0.10)
        figure.shape(lit(self.colors[1], 0.8 * bright), far_leg)
        figure.shape(legs, limb(0.05 * t + 0.1, 0.25 * s, -0.1 * t + 0.03, 0.95 * s, 0.06, 0.12))
        figure.shape(top, limb(-0.14 * t, 0.9 * s, 0.16 * t, 1.5 * s, wide + 0.04, wide + 0.06))
        arm = np.array([[0.16 * t, 1.4 * s], [0.40 * t, 1.02 * s]])
        figure.stroke(lit(top, 0.9), arm, 0.1)
        figure.oval(helmet, (0.24 * t, 1.68 * s), (0.11, 0.13))
        figure.oval(skin, (0.26 * t, 1.63 * s), (0.08, 0.10))
