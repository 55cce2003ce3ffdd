"""Flat figures: shapes given in metres that stand at a ground point and face the camera."""

import numpy as np

from gsto_viz.data.scenes.camera import Camera, Color, FloatArray, Light
from gsto_viz.data.scenes.canvas import Canvas

CIRCLE = np.stack(
    [np.cos(np.linspace(0, 2 * np.pi, 12, False)), np.sin(np.linspace(0, 2 * np.pi, 12, False))],
    axis=1,
)
NEAREST_M = 1.5
REACH_M = 3.0
"""No figure reaches farther to the side of its foot than this."""
SHADOWS_M = 60.0
"""Shadows of slim things farther away than this are not drawn."""


class Figure:
    """Draws flat shapes, given in metres, at one ground point, facing the camera."""

    def __init__(
        self, canvas: Canvas, camera: Camera, label: int, spot: tuple[float, float], instance: int
    ) -> None:
        """Project the ground point ``spot`` (x, z); it is ``visible`` unless too close.

        ``in_view`` is False when all of it lies beyond the left or the right image edge.
        """
        pixels, depth = camera.project(np.array([spot[0], 0.0, spot[1]]))
        self.canvas, self.label, self.instance = canvas, label, instance
        self.foot, self.depth = pixels, float(depth)
        self.visible = self.depth > NEAREST_M
        self.scale = camera.focal_px / max(self.depth, NEAREST_M)
        aside = abs(float(pixels[0]) - canvas.width / 2) - canvas.width / 2
        self.in_view = aside < REACH_M * self.scale

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
        self.shape(color, np.array(center) + CIRCLE * np.array(radii))

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
        self.shape(color, np.array(center) + CIRCLE * outer, np.array(center) + CIRCLE * inner)


def limb(x0: float, y0: float, x1: float, y1: float, half0: float, half1: float) -> FloatArray:
    """Return a limb: from (x0, y0) with half width half0 to (x1, y1) with half width half1."""
    return np.array([[x0 - half0, y0], [x0 + half0, y0], [x1 + half1, y1], [x1 - half1, y1]])


def spot_shadow(
    canvas: Canvas,
    camera: Camera,
    light: Light,
    spot: tuple[float, float],
    radius: float,
    height: float,
) -> None:
    """Cast the shadow of something slim, unless it is too far away for the shadow to show."""
    if camera.depth_of(spot[0], 0.0, spot[1]) > SHADOWS_M:
        return
    canvas.cast_shadow(camera, light, np.array(spot) + radius * CIRCLE[::2], height)
