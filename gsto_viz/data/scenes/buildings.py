"""What stands in a street: buildings, fences, trees, poles and signs."""

from dataclasses import dataclass
from math import hypot

import numpy as np

from gsto_viz.data.scenes.camera import (
    BUILDING,
    FENCE,
    POLE,
    SIGN,
    TREE,
    Camera,
    Color,
    Spot,
    foliage_color,
    lit,
    tint,
)
from gsto_viz.data.scenes.canvas import BOARDS, WALL, View, upright_plane
from gsto_viz.data.scenes.traffic import CIRCLE, Figure, Standing, Upright, limb
from gsto_viz.types import FloatArray

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
        dark = rng.uniform(0.10, 0.30)
        shop = np.clip(np.array(wall) * 0.6 + rng.uniform(0.0, 0.35, 3), 0.08, 0.9).tolist()
        roof = tint(rng, rng.uniform(0.25, 0.45), 0.07)
        return cls(
            base=base,
            storeys=storeys,
            roof=rng.uniform(1.8, 3.5) if storeys <= 4 and rng.random() < 0.6 else 0.0,
            colors=(
                (wall[0], wall[1], wall[2]),
                (dark * 0.9, dark, dark * 1.15),
                tint(rng, rng.uniform(0.3, 0.75), 0.06),
                tint(rng, rng.uniform(0.5, 0.9), 0.02),
                (shop[0], shop[1], shop[2]) if rng.random() < 0.5 else (wall[0], wall[1], wall[2]),
                roof,
            ),
            bays=rng.uniform(1.8, 3.6),
            pane=(rng.uniform(0.32, 0.7), rng.uniform(0.38, 0.66)),
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

    def draw(self, view: View) -> None:
        """Draw shadow, roof, the near gable and the front."""
        if view.light.direct > 0 and self.order < SHADOWS_M:
            view.cast_shadow(self.base, self.height + 0.5 * self.roof)
        if view.camera.misses(self.base):
            return
        near_front, far_front, far_back, near_back = self.base
        if self.roof or view.camera.eye[1] > self.height:
            self._draw_roof(view)
        self._draw_wall(view, near_back, near_front, gable=self.roof > 0)
        self._draw_wall(view, far_back, far_front)
        self._draw_wall(view, near_front, far_front)

    def _draw_roof(self, view: View) -> None:
        near_front, far_front, far_back, near_back = self.base
        eaves, ridge = self.height, self.height + self.roof
        near, far = (near_front + near_back) / 2, (far_front + far_back) / 2
        slope = _lift([near_front, far_front, far, near], [eaves, eaves, ridge, ridge])
        depth = view.camera.depth_of(*slope[:2].mean(axis=0).tolist())
        color = lit(self.colors[5], view.light.on((0.0, 0.8, -0.6)))
        piece = view.canvas.piece(BUILDING, color, depth=depth, grain=0.10)
        if view.camera.eye[1] > eaves:
            # Seen from above, the roof hides the walls at the back.
            back = _lift([near_back, far_back, far, near], [eaves, eaves, ridge, ridge])
            view.fill(piece, back)
        view.fill(piece, slope)

    def _draw_wall(
        self, view: View, start: FloatArray, end: FloatArray, *, gable: bool = False
    ) -> None:
        """Draw one upright face between two ground points, if it faces the camera."""
        normal, distance = _facing(view.camera, start, end, self.base.mean(axis=0))
        if distance < 0.05:
            return
        strength = view.light.on((normal[0], 0.0, normal[1]))
        middle = (start + end) / 2
        depth = max(1.0, view.camera.depth_of(float(middle[0]), 0.0, float(middle[1])))
        plane = upright_plane(view.camera, start, end)
        wall = view.canvas.piece(
            BUILDING, lit(self.colors[0], strength), depth=depth, kind=WALL, plane=plane, grain=0.09
        )
        outline = _upright(start, end, self.height)
        if gable:
            outline = np.insert(outline, 3, [middle[0], self.height + self.roof, middle[1]], axis=0)
        view.fill(wall, outline)
        self._draw_openings(view, start, end, strength, depth)

    def _draw_openings(
        self, view: View, start: FloatArray, end: FloatArray, strength: float, depth: float
    ) -> None:
        """Draw the ground floor's band and all windows of one face."""
        length = float(np.hypot(*(end - start)))
        if self.colors[4] != self.colors[0]:
            color = lit(self.colors[4], strength)
            band = view.canvas.piece(BUILDING, color, depth=depth, grain=0.09)
            view.fill(band, _upright(start, end, 0.95 * STOREY_M))
        quads = _window_grid(start, end, int(length / self.bays), self.storeys, self.pane)
        if len(quads) == 0:
            return
        pixels, depths = view.camera.project(quads)
        seen = (depths > 0.5).all(axis=1)
        choice = self.mix[np.arange(len(quads)) % len(self.mix)] < 0.75
        for wanted, color in ((True, self.colors[1]), (False, self.colors[2])):
            chosen = pixels[seen & (choice == wanted)]
            if len(chosen):
                piece = view.canvas.piece(BUILDING, lit(color, strength), depth=depth, grain=0.12)
                view.canvas.fill(piece, chosen)
        self._draw_frames(view, quads[seen], strength, depth)

    def _draw_frames(self, view: View, quads: FloatArray, strength: float, depth: float) -> None:
        """Draw a light sill under each window of a near face."""
        if depth > 45 or len(quads) == 0:
            return
        piece = view.canvas.piece(BUILDING, lit(self.colors[3], strength), depth=depth)
        sill = quads.copy()
        sill[:, 2:, 1] = sill[:, :2, 1]
        sill[:, :2, 1] -= 0.14
        view.canvas.fill(piece, view.camera.project(sill)[0])


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


def _upright(start: FloatArray, end: FloatArray, height: float) -> FloatArray:
    """Return the corners (4, 3) of an upright rectangle on two ground points (x, z)."""
    return _lift([start, end, end, start], [0.0, 0.0, height, height])


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

    def draw(self, view: View) -> None:
        """Draw the panel, its posts and its shadow."""
        start, end = np.array(self.start), np.array(self.end)
        view.cast_shadow(np.stack([start, end, (start + end) / 2]), self.height)
        middle = (start + end) / 2
        depth = max(1.0, view.camera.depth_of(float(middle[0]), 0.0, float(middle[1])))
        normal, _ = _facing(view.camera, start, end, 2 * middle - view.camera.eye[[0, 2]])
        color = lit(self.color, view.light.on((normal[0], 0.2, normal[1])))
        label, kind, grain = (TREE, WALL, 0.25) if self.hedge else (FENCE, BOARDS, 0.08)
        plane = upright_plane(view.camera, start, end)
        piece = view.canvas.piece(label, color, depth=depth, kind=kind, plane=plane, grain=grain)
        view.fill(piece, _upright(start, end, self.height))
        if self.hedge:
            return
        post = view.canvas.piece(label, lit(color, 0.75), depth=depth)
        count = max(1, int(np.hypot(*(end - start)) / self.posts))
        for k in range(count + 1):
            a = start + (end - start) * (k / count)
            b = a + (end - start) * (0.12 / np.hypot(*(end - start)))
            view.fill(post, _upright(a, b, self.height + 0.12))


SIGN_COLORS: tuple[Color, ...] = (
    (0.75, 0.12, 0.12), (0.12, 0.25, 0.62), (0.88, 0.75, 0.15), (0.85, 0.85, 0.85),
    (0.10, 0.42, 0.25), (0.75, 0.45, 0.10), (0.45, 0.35, 0.25),
)  # fmt: skip


@dataclass(frozen=True)
class Pole(Upright):
    """A lamp post or a bare mast.

    Attributes:
        height: Metres.
        radius: Half width in metres.
        arm: Length of a lamp's arm in metres, signed; 0 without one.
        color: Before lighting.
    """

    label = POLE
    height: float
    radius: float
    arm: float
    color: Color

    @classmethod
    def sample(cls, rng: np.random.Generator, spot: Spot, arm: float) -> "Pole":
        """Draw a lamp post at a ground point; ``arm`` says where its lamp hangs."""
        level = rng.uniform(0.18, 0.65)
        return cls(
            spot=spot,
            height=rng.uniform(5.0, 9.0),
            radius=rng.uniform(0.05, 0.14),
            arm=arm,
            color=(level, level * rng.uniform(0.9, 1.06), level * 0.98),
        )

    @property
    def shadow(self) -> tuple[float, float]:
        """Return radius and height of the shadow's body."""
        return self.radius, self.height

    def paint(self, figure: Figure) -> None:
        """Draw shaft, arm and lamp head."""
        color = lit(self.color, figure.view.light.on((0.4, 0.0, -0.9)))
        h, r = self.height, self.radius
        figure.shape(color, limb(0, 0, 0, 0.9, 1.5 * r, 1.4 * r))
        figure.shape(color, limb(0, 0.9, 0, h, r, 0.7 * r))
        if self.arm:
            tip = np.array([[0.0, h - 0.5], [0.3 * self.arm, h], [self.arm, h + 0.05]])
            figure.stroke(color, tip, 1.2 * r)
            figure.oval(lit(color, 1.25), (self.arm, h), (0.36, 0.12))


@dataclass(frozen=True)
class Sign(Upright):
    """A traffic sign, traffic light or direction board on a pole of its own.

    Attributes:
        form: ``disc``, ``triangle``, ``board`` or ``lights``.
        size: Half width and half height of the plate in metres.
        height: Height of the plate's middle in metres.
        colors: Border, face, mark, pole.
    """

    label = POLE
    form: str
    size: tuple[float, float]
    height: float
    colors: tuple[Color, Color, Color, Color]

    @classmethod
    def sample(cls, rng: np.random.Generator, spot: Spot, form: str) -> "Sign":
        """Draw a sign of a form at a ground point."""
        half = rng.uniform(0.28, 0.48)
        size = {
            "disc": (half, half),
            "triangle": (half * 1.15, half),
            "board": (rng.uniform(0.5, 1.6), rng.uniform(0.3, 1.0)),
            "lights": (0.17, 0.5),
        }[form]
        border, face, mark = (SIGN_COLORS[int(k)] for k in rng.choice(7, 3, replace=False))
        level = rng.uniform(0.25, 0.6)
        low = 1.9 if form == "board" else 2.1
        return cls(
            spot=spot,
            form=form,
            size=size,
            height=rng.uniform(low, low + 0.9) + size[1],
            colors=(border, face, mark, (level, level, level)),
        )

    @property
    def shadow(self) -> tuple[float, float]:
        """Return radius and height of the shadow's body."""
        return 0.06, self.height

    def paint(self, figure: Figure) -> None:
        """Draw the pole, unless the plate stands on the ground, then the plate."""
        if self.height > self.size[1]:
            bright = figure.view.light.on((0.0, 0.1, -0.99))
            legs = (-0.7 * self.size[0], 0.7 * self.size[0]) if self.form == "board" else (0.0,)
            bars = [limb(x, 0, x, self.height, 0.045, 0.045) for x in legs]
            figure.shape(lit(self.colors[3], bright), *bars)
        self.draw_plate(figure.view)

    def draw_plate(self, view: View) -> None:
        """Draw the plate alone: the instance of class SignSymbol."""
        plate = Figure(view, SIGN, self.spot)
        bright = view.light.on((0.0, 0.1, -0.99))
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


CLUMPS = 48
TREE_SHADOWS_M = 160.0
"""Shadows of trees farther away than this are not drawn."""


@dataclass(frozen=True)
class Tree(Standing):
    """A tree: a trunk and a crown of discs.

    Attributes:
        trunk: Height of the crown's lower end, and half width of the trunk, in metres.
        crown: Half width and half height of the crown in metres.
        clumps: (K, 4) discs: place (right, up) in the unit ball, radius (share of the crown's
            half width), and tone, about -1..1.
        colors: Leaves, trunk.
    """

    trunk: tuple[float, float]
    crown: tuple[float, float]
    clumps: FloatArray
    colors: tuple[Color, Color]

    @classmethod
    def sample(cls, rng: np.random.Generator, spot: Spot) -> "Tree":
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
        bark = tint(rng, rng.uniform(0.18, 0.36), 0.04)
        foot = float(rng.uniform(0.0, 0.3) if kind > 0.9 else rng.uniform(1.6, 3.0))
        return cls(
            spot=spot,
            trunk=(foot, rng.uniform(0.10, 0.26)),
            crown=(half, tall),
            clumps=clumps,
            colors=(foliage_color(rng), bark),
        )

    def draw(self, view: View) -> None:
        """Draw trunk and crown, brighter above."""
        foot, depth = view.camera.project(np.array([self.spot[0], 0.0, self.spot[1]]))
        if depth < 2.0:
            return
        scale = view.camera.focal_px / float(depth)
        self._cast(view)
        if view.camera.misses(np.array([self.spot]), self.crown[0]):
            return
        bright = view.light.on((0.3, 0.5, -0.8))
        bark = view.canvas.piece(TREE, lit(self.colors[1], bright), depth=float(depth), grain=0.12)
        low, half = self.trunk
        trunk = np.array([[-half, 0.0], [half, 0.0], [0.6 * half, low + 1], [-0.6 * half, low + 1]])
        view.canvas.fill(bark, [foot + trunk * np.array([scale, -scale])])
        tones = [
            view.canvas.piece(
                TREE, lit(self.colors[0], bright * (1 + t)), depth=float(depth), grain=0.30
            )
            for t in (-0.32, -0.14, 0.04, 0.22)
        ]
        wide, tall = self.crown
        # Far crowns show no single clumps: a third of them, larger, looks the same.
        clumps, swell = (self.clumps, 1.3) if depth < 70 else (self.clumps[::3], 1.6)
        centers = clumps[:, :2] * np.array([wide, tall]) + np.array([0.0, low + tall])
        pick = np.clip((clumps[:, 3] + 1) * 2, 0, 3).astype(int)
        pixels = foot + centers * np.array([scale, -scale])
        view.canvas.discs(
            [tones[0]], pixels.mean(axis=0)[None], np.array([0.6 * min(wide, tall)]) * scale
        )
        view.canvas.discs([tones[k] for k in pick], pixels, clumps[:, 2] * wide * scale * swell)

    def _cast(self, view: View) -> None:
        if view.light.direct == 0 or self.order > TREE_SHADOWS_M:
            return
        angles = np.linspace(0, 2 * np.pi, 10, endpoint=False)
        outline = np.stack([np.cos(angles), np.sin(angles)], axis=1) * self.crown[0] * 0.9
        lift = np.array(view.light.shadow_shift()) * (self.trunk[0] + self.crown[1] * 0.5)
        view.cast_shadow(np.array(self.spot) + lift + outline, self.crown[1])
