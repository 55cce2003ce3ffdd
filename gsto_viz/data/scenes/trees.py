"""Trees and bushes: a trunk and a crown of discs (no instance ids)."""

from dataclasses import dataclass

import numpy as np

from gsto_viz.data.scenes.camera import Camera, Color, FloatArray, Light, lit
from gsto_viz.data.scenes.canvas import FRONTAL, Canvas
from gsto_viz.data.scenes.labels import TREE
from gsto_viz.data.scenes.street import foliage_color, tint

CLUMPS = 48
SHADOWS_M = 160.0
"""Shadows of trees farther away than this are not drawn."""


@dataclass(frozen=True)
class Tree:
    """A tree: a trunk and a crown of discs.

    Attributes:
        spot: Ground point (x, z).
        trunk: Height of the crown's lower end, and half width of the trunk, in metres.
        crown: Half width and half height of the crown in metres.
        clumps: (K, 4) discs: place (right, up) in the unit ball, radius (share of the crown's
            half width), and tone, about -1..1.
        colors: Leaves, trunk.
    """

    spot: tuple[float, float]
    trunk: tuple[float, float]
    crown: tuple[float, float]
    clumps: FloatArray
    colors: tuple[Color, Color]

    @classmethod
    def sample(cls, rng: np.random.Generator, spot: tuple[float, float]) -> "Tree":
        """Draw a tree at a ground point: broad, upright, or a bush."""
        kind = rng.random()
        half = float(rng.uniform(0.9, 1.6) if kind < 0.2 else rng.uniform(1.6, 4.0))
        tall = half * float(rng.uniform(1.4, 2.4) if kind < 0.5 else rng.uniform(0.7, 1.2))
        angle, radius, size = rng.random((3, CLUMPS))
        angle, radius = 2 * np.pi * angle, np.sqrt(radius)
        up = radius * np.sin(angle)
        clumps = np.empty((CLUMPS, 4))
        clumps[:, 0] = 0.85 * radius * np.cos(angle)
        clumps[:, 1] = 0.88 * up
        clumps[:, 2] = 0.11 + 0.21 * size
        clumps[:, 3] = 0.5 * up + rng.normal(0.0, 0.5, CLUMPS)
        bark = tint(rng, float(rng.uniform(0.18, 0.36)), 0.04)
        foot = float(rng.uniform(0.0, 0.3) if kind > 0.9 else rng.uniform(1.6, 3.0))
        return cls(
            spot=spot,
            trunk=(foot, float(rng.uniform(0.10, 0.26))),
            crown=(half, tall),
            clumps=clumps,
            colors=(foliage_color(rng), bark),
        )

    @property
    def order(self) -> float:
        """Return z of the trunk."""
        return self.spot[1]

    def draw(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Draw trunk and crown, brighter above."""
        foot, depth = camera.project(np.array([self.spot[0], 0.0, self.spot[1]]))
        if depth < 2.0:
            return
        scale = camera.focal_px / float(depth)
        self._cast(canvas, camera, light)
        if camera.misses(np.array([self.spot]), self.crown[0]):
            return
        bright = light.on((0.3, 0.5, -0.8))
        bark = canvas.piece(TREE, lit(self.colors[1], bright), depth=float(depth), grain=0.12)
        low, half = self.trunk
        trunk = np.array([[-half, 0.0], [half, 0.0], [0.6 * half, low + 1], [-0.6 * half, low + 1]])
        canvas.fill(bark, [foot + trunk * np.array([scale, -scale])])
        tones = [
            canvas.piece(TREE, lit(self.colors[0], bright * (1 + t)), depth=float(depth),
                         grain=0.30, kind=FRONTAL)
            for t in (-0.32, -0.14, 0.04, 0.22)
        ]  # fmt: skip
        wide, tall = self.crown
        # Far crowns show no single clumps: a third of them, larger, looks the same.
        clumps, swell = (self.clumps, 1.3) if depth < 70 else (self.clumps[::3], 1.6)
        centers = clumps[:, :2] * np.array([wide, tall]) + np.array([0.0, low + tall])
        pick = np.clip((clumps[:, 3] + 1) * 2, 0, 3).astype(int)
        pixels = foot + centers * np.array([scale, -scale])
        canvas.discs(
            [tones[0]], pixels.mean(axis=0)[None], np.array([0.6 * min(wide, tall)]) * scale
        )
        canvas.discs([tones[k] for k in pick], pixels, clumps[:, 2] * wide * scale * swell)

    def _cast(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        if light.direct == 0 or self.order > SHADOWS_M:
            return
        angles = np.linspace(0, 2 * np.pi, 10, endpoint=False)
        outline = np.stack([np.cos(angles), np.sin(angles)], axis=1) * self.crown[0] * 0.9
        lift = np.array(light.shadow_shift()) * (self.trunk[0] + self.crown[1] * 0.5)
        canvas.cast_shadow(camera, light, np.array(self.spot) + lift + outline, self.crown[1])
