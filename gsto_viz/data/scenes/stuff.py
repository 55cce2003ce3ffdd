"""What lines the street: buildings, fences and hedges (no instance ids)."""

from dataclasses import dataclass
from math import hypot

import numpy as np

from gsto_viz.data.scenes.camera import Camera, Color, FloatArray, Light, lit
from gsto_viz.data.scenes.canvas import BOARDS, WALL, Canvas, upright_plane
from gsto_viz.data.scenes.labels import BUILDING, FENCE, TREE
from gsto_viz.data.scenes.street import tint

STOREY_M = 3.1
SHADOWS_M = 160.0
"""Shadows of houses farther away than this are not drawn."""
WALLS: tuple[Color, ...] = (
    (0.56, 0.32, 0.25), (0.66, 0.48, 0.36), (0.74, 0.70, 0.62), (0.80, 0.78, 0.74),
    (0.52, 0.52, 0.53), (0.40, 0.38, 0.37), (0.72, 0.62, 0.42), (0.55, 0.60, 0.66),
)  # fmt: skip


@dataclass(frozen=True)
class Building:
    """A box along the street.

    Attributes:
        base: Footprint (4, 2) of ground points (x, z): near and far corner of the front, then far
            and near corner of the back.
        storeys: Number of floors.
        roof: Height of the ridge above the eaves in metres; 0 for a flat roof.
        colors: Wall, window, second window colour, frame, ground floor, roof.
        bays: Distance of the window axes in metres.
        pane: Width and height of a window as shares of bay and storey.
        mix: (256,) uniform numbers that give windows one of the two colours.
    """

    base: FloatArray
    storeys: int
    roof: float
    colors: tuple[Color, Color, Color, Color, Color, Color]
    bays: float
    pane: tuple[float, float]
    mix: FloatArray

    @classmethod
    def sample(cls, rng: np.random.Generator, base: FloatArray, storeys: int) -> "Building":
        """Draw a building on a footprint."""
        wall = np.array(WALLS[int(rng.integers(len(WALLS)))]) * rng.uniform(0.8, 1.2)
        wall = np.clip(wall + rng.normal(0.0, 0.03, 3), 0.12, 0.92).tolist()
        dark = float(rng.uniform(0.10, 0.30))
        shop = np.clip(np.array(wall) * 0.6 + rng.uniform(0.0, 0.35, 3), 0.08, 0.9).tolist()
        roof = tint(rng, float(rng.uniform(0.25, 0.45)), 0.07)
        return cls(
            base=base,
            storeys=storeys,
            roof=float(rng.uniform(1.8, 3.5)) if storeys <= 4 and rng.random() < 0.6 else 0.0,
            colors=(
                (wall[0], wall[1], wall[2]),
                (dark * 0.9, dark, dark * 1.15),
                tint(rng, float(rng.uniform(0.3, 0.75)), 0.06),
                tint(rng, float(rng.uniform(0.5, 0.9)), 0.02),
                (shop[0], shop[1], shop[2]) if rng.random() < 0.5 else (wall[0], wall[1], wall[2]),
                roof,
            ),
            bays=float(rng.uniform(1.8, 3.6)),
            pane=(float(rng.uniform(0.32, 0.7)), float(rng.uniform(0.38, 0.66))),
            mix=rng.random(256),
        )

    @property
    def order(self) -> float:
        """Return z of the far end."""
        return float(self.base[:, 1].max())

    @property
    def height(self) -> float:
        """Return the height of the eaves in metres."""
        return self.storeys * STOREY_M + 0.6

    def draw(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Draw shadow, roof, the near gable and the front."""
        if light.direct > 0 and self.order < SHADOWS_M:
            canvas.cast_shadow(camera, light, self.base, self.height + 0.5 * self.roof)
        if camera.misses(self.base):
            return
        near_front, far_front, far_back, near_back = self.base
        if self.roof or camera.eye[1] > self.height:
            self._draw_roof(canvas, camera, light)
        self._draw_wall(canvas, camera, light, near_back, near_front, gable=self.roof > 0)
        self._draw_wall(canvas, camera, light, far_back, far_front, gable=False)
        self._draw_wall(canvas, camera, light, near_front, far_front, gable=False)

    def _draw_roof(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        near_front, far_front, far_back, near_back = self.base
        eaves, ridge = self.height, self.height + self.roof
        near, far = (near_front + near_back) / 2, (far_front + far_back) / 2
        slope = _lift([near_front, far_front, far, near], [eaves, eaves, ridge, ridge])
        depth = camera.depth_of(*slope[:2].mean(axis=0).tolist())
        color = lit(self.colors[5], light.on((0.0, 0.8, -0.6)))
        piece = canvas.piece(BUILDING, color, depth=depth, grain=0.10)
        if camera.eye[1] > eaves:
            # Seen from above, the roof hides the walls at the back.
            back = _lift([near_back, far_back, far, near], [eaves, eaves, ridge, ridge])
            _fill_space(canvas, camera, piece, back)
        _fill_space(canvas, camera, piece, slope)

    def _draw_wall(
        self, canvas: Canvas, camera: Camera, light: Light, start: FloatArray, end: FloatArray,
        *, gable: bool,
    ) -> None:  # fmt: skip
        """Draw one upright face between two ground points, if it faces the camera."""
        normal, distance = _facing(camera, start, end, self.base.mean(axis=0))
        if distance < 0.05:
            return
        strength = light.on((normal[0], 0.0, normal[1]))
        middle = (start + end) / 2
        depth = max(1.0, camera.depth_of(float(middle[0]), 0.0, float(middle[1])))
        plane = upright_plane(camera, start, end)
        wall = canvas.piece(
            BUILDING, lit(self.colors[0], strength), depth=depth, kind=WALL, plane=plane, grain=0.09
        )
        outline = _lift([start, end, end, start], [0.0, 0.0, self.height, self.height])
        if gable:
            outline = np.insert(outline, 3, [middle[0], self.height + self.roof, middle[1]], axis=0)
        _fill_space(canvas, camera, wall, outline)
        self._draw_openings(canvas, camera, (start, end), strength, depth)

    def _draw_openings(
        self, canvas: Canvas, camera: Camera, ends: tuple[FloatArray, FloatArray],
        strength: float, depth: float,
    ) -> None:  # fmt: skip
        """Draw the ground floor's band and all windows of one face."""
        start, end = ends
        length = float(np.hypot(*(end - start)))
        if self.colors[4] != self.colors[0]:
            band = canvas.piece(BUILDING, lit(self.colors[4], strength), depth=depth, grain=0.09)
            lift = _lift([start, end, end, start], [0.0, 0.0, 0.95 * STOREY_M, 0.95 * STOREY_M])
            _fill_space(canvas, camera, band, lift)
        quads = _window_grid(start, end, int(length / self.bays), self.storeys, self.pane)
        if len(quads) == 0:
            return
        pixels, depths = camera.project(quads)
        seen = (depths > 0.5).all(axis=1)
        choice = self.mix[np.arange(len(quads)) % len(self.mix)] < 0.75
        for wanted, color in ((True, self.colors[1]), (False, self.colors[2])):
            chosen = pixels[seen & (choice == wanted)]
            if len(chosen):
                piece = canvas.piece(BUILDING, lit(color, strength), depth=depth, grain=0.12)
                canvas.fill(piece, chosen)
        self._draw_frames(canvas, camera, quads[seen], strength, depth)

    def _draw_frames(
        self, canvas: Canvas, camera: Camera, quads: FloatArray, strength: float, depth: float
    ) -> None:
        """Draw a light sill under each window of a near face."""
        if depth > 45 or len(quads) == 0:
            return
        piece = canvas.piece(BUILDING, lit(self.colors[3], strength), depth=depth)
        sill = quads.copy()
        sill[:, 2:, 1] = sill[:, :2, 1]
        sill[:, :2, 1] -= 0.14
        canvas.fill(piece, camera.project(sill)[0])


def _window_grid(
    start: FloatArray, end: FloatArray, bays: int, storeys: int, pane: tuple[float, float]
) -> FloatArray:
    """Return window corners (N, 4, 3) on the wall from ``start`` to ``end`` (ground points)."""
    left = (np.arange(bays) + 0.5 - pane[0] / 2) / max(bays, 1)
    low = (np.arange(storeys) + 0.32) * STOREY_M
    quads = np.empty((storeys, bays, 4, 3))
    for corner, (right, top) in enumerate(((0, 0), (1, 0), (1, 1), (0, 1))):
        along = left + right * pane[0] / max(bays, 1)
        quads[:, :, corner, 0] = start[0] + along * (end[0] - start[0])
        quads[:, :, corner, 1] = (low + top * pane[1] * STOREY_M)[:, None]
        quads[:, :, corner, 2] = start[1] + along * (end[1] - start[1])
    return quads.reshape(-1, 4, 3)


def _facing(
    camera: Camera, start: FloatArray, end: FloatArray, inside: FloatArray
) -> tuple[tuple[float, float], float]:
    """Return a wall's outward normal (x, z) and how far the camera stands in front of it."""
    (sx, sz), (tx, tz), (ix, iz) = start.tolist(), end.tolist(), inside.tolist()
    ex, _, ez = camera.eye.tolist()
    length = hypot(tx - sx, tz - sz)
    nx, nz = -(tz - sz) / length, (tx - sx) / length
    if nx * (ix - sx) + nz * (iz - sz) > 0:
        nx, nz = -nx, -nz
    return (nx, nz), nx * (ex - sx) + nz * (ez - sz)


def _lift(ground: list[FloatArray], heights: list[float]) -> FloatArray:
    """Return points (N, 3) above ground points (x, z)."""
    return np.array([[p[0], h, p[1]] for p, h in zip(ground, heights, strict=True)])


def _fill_space(canvas: Canvas, camera: Camera, piece: int, outline: FloatArray) -> None:
    pixels = camera.clip_and_project(outline)
    if pixels is not None:
        canvas.fill(piece, [pixels])


@dataclass(frozen=True)
class Panel:
    """A fence, wall of boards, or clipped hedge between two ground points (x, z).

    Attributes:
        start, end: Ground points.
        height: Metres.
        hedge: True for a hedge (class Tree), False for a fence (class Fence).
        posts: Distance of the posts in metres.
        color: Before lighting.
    """

    start: tuple[float, float]
    end: tuple[float, float]
    height: float
    hedge: bool
    posts: float
    color: Color

    @property
    def order(self) -> float:
        """Return z of the far end."""
        return max(self.start[1], self.end[1])

    def draw(self, canvas: Canvas, camera: Camera, light: Light) -> None:
        """Draw the panel, its posts and its shadow."""
        start, end = np.array(self.start), np.array(self.end)
        canvas.cast_shadow(camera, light, np.stack([start, end, (start + end) / 2]), self.height)
        middle = (start + end) / 2
        depth = max(1.0, camera.depth_of(float(middle[0]), 0.0, float(middle[1])))
        normal, _ = _facing(camera, start, end, 2 * middle - camera.eye[[0, 2]])
        color = lit(self.color, light.on((normal[0], 0.2, normal[1])))
        label, kind, grain = (TREE, WALL, 0.25) if self.hedge else (FENCE, BOARDS, 0.08)
        plane = upright_plane(camera, start, end)
        piece = canvas.piece(label, color, depth=depth, kind=kind, plane=plane, grain=grain)
        top = [0.0, 0.0, self.height, self.height]
        _fill_space(canvas, camera, piece, _lift([start, end, end, start], top))
        if self.hedge:
            return
        post = canvas.piece(label, lit(color, 0.75), depth=depth)
        count = max(1, int(np.hypot(*(end - start)) / self.posts))
        for k in range(count + 1):
            a = start + (end - start) * (k / count)
            b = a + (end - start) * (0.12 / np.hypot(*(end - start)))
            high = self.height + 0.12
            _fill_space(canvas, camera, post, _lift([a, b, b, a], [0.0, 0.0, high, high]))
