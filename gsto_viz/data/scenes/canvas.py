"""The piece buffer: which piece of which object each pixel shows, and what the pieces are.

Everything is drawn back to front into one integer map, so a later piece hides an earlier one. The
tables of the pieces then give label, instance, colour, depth and texture of every pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot

import cv2
import numpy as np
import numpy.typing as npt

from gsto_viz.data.scenes.camera import Camera, Color, FloatArray, Light

SUBPIXEL_BITS = 4
_SUBPIXELS = 1 << SUBPIXEL_BITS
_LIMIT_PX = 15000.0
"""Coordinates are cut here: far outside every image, inside OpenCV's fixed-point range."""

FRONTAL, WALL, BOARDS, GROUND, SKY = range(5)
"""How a piece is textured: on a plane facing the camera; bricks or boards on an upright plane; the
ground; the sky."""

Plane = tuple[float, float, float, float, float, float]
"""An upright plane seen from the eye: normal (x, z), distance, axis (x, z), origin along axis."""
_NO_PLANE: Plane = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class PieceTable:
    """Columns of all pieces, each of length P (number of pieces)."""

    label: npt.NDArray[np.uint8]
    instance: npt.NDArray[np.int32]
    color: npt.NDArray[np.float32]
    depth: npt.NDArray[np.float32]
    grain: npt.NDArray[np.float32]
    kind: npt.NDArray[np.uint8]
    plane: npt.NDArray[np.float32]


class Canvas:
    """The piece buffer of one image while it is being drawn.

    Attributes:
        pieces: (H, W) int32, the number of the piece that each pixel shows.
        shadow: (H, W) uint8, 1 where something stands between the ground and the sun.
    """

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.pieces = np.zeros((height, width), dtype=np.int32)
        self.shadow = np.zeros((height, width), dtype=np.uint8)
        self._labels: list[int] = []
        self._instances: list[int] = []
        self._colors: list[Color] = []
        self._depths: list[float] = []
        self._grains: list[float] = []
        self._kinds: list[int] = []
        self._planes: list[Plane] = []
        self._last_instance = 0

    def new_instance(self) -> int:
        """Return the next instance number, from 1."""
        self._last_instance += 1
        return self._last_instance

    def piece(
        self,
        label: int,
        color: Color,
        *,
        depth: float,
        instance: int = 0,
        grain: float = 0.05,
        kind: int = FRONTAL,
        plane: Plane = _NO_PLANE,
    ) -> int:
        """Register a piece and return its number.

        Args:
            label: Class index.
            color: Colour after lighting, before haze.
            depth: Metres from the camera plane, for haze and for the scale of the texture.
            instance: Instance number, 0 for stuff.
            grain: Strength of the texture's light and dark, relative to the colour.
            kind: One of FRONTAL, WALL, BOARDS, GROUND, SKY.
            plane: For WALL and BOARDS, see ``upright_plane``.
        """
        self._labels.append(label)
        self._instances.append(instance)
        self._colors.append(color)
        self._depths.append(depth)
        self._grains.append(grain)
        self._kinds.append(kind)
        self._planes.append(plane)
        return len(self._labels) - 1

    @property
    def count(self) -> int:
        """Return how many pieces are registered."""
        return len(self._labels)

    def move_pieces(self, first: int, factor: float) -> None:
        """Multiply the distances of the pieces from ``first`` on: an object drawn zoomed moves."""
        self._depths[first:] = [depth * factor for depth in self._depths[first:]]
        self._planes[first:] = [
            (nx, nz, distance * factor, ax, az, origin * factor)
            for nx, nz, distance, ax, az, origin in self._planes[first:]
        ]

    def fill(self, piece: int, polygons: FloatArray | Sequence[FloatArray]) -> None:
        """Fill disjoint polygons, (N, M, 2) or a sequence of (M, 2) in pixels, with a piece."""
        if isinstance(polygons, np.ndarray):
            fixed = list(_fixed(polygons))
        else:
            fixed = [_fixed(p) for p in polygons]
        cv2.fillPoly(self.pieces, fixed, piece, shift=SUBPIXEL_BITS)

    def line(self, piece: int, points: FloatArray, width_px: float) -> None:
        """Draw an open polyline (M, 2) of this width, at least one pixel wide."""
        step = np.diff(points, axis=0)
        length = np.maximum(np.hypot(step[:, 0], step[:, 1]), 1e-6)[:, None]
        # Filling covers every pixel the outline touches, half a pixel on each side.
        half = max(0.5 * (width_px - 1.0), 0.0)
        aside = np.stack([-step[:, 1], step[:, 0]], axis=1) / length * half
        start, end = points[:-1], points[1:]
        quads = np.stack([start + aside, end + aside, end - aside, start - aside], axis=1)
        for quad in _fixed(quads):
            cv2.fillConvexPoly(self.pieces, quad, piece, shift=SUBPIXEL_BITS)

    def discs(self, pieces: Sequence[int], centers: FloatArray, radii: FloatArray) -> None:
        """Draw discs one after the other: one piece, centre (x, y) and radius in px for each."""
        fixed = _fixed(centers)
        sizes = np.rint(np.clip(radii, 0.3, _LIMIT_PX) * _SUBPIXELS).astype(int)
        for piece, center, radius in zip(pieces, fixed.tolist(), sizes.tolist(), strict=True):
            cv2.circle(self.pieces, center, radius, piece, -1, shift=SUBPIXEL_BITS)

    def cast_shadow(
        self, camera: Camera, light: Light, footprint: FloatArray, height: float
    ) -> None:
        """Darken the ground beside an object.

        Args:
            camera: Projects the shadow.
            light: Gives the sun.
            footprint: (N, 2) outline (x, z) on the ground in metres.
            height: Height of the object in metres; the shadow reaches as far as the sun says.
        """
        reach = height if light.direct > 0 else 0.0
        moved = footprint + reach * np.array(light.shadow_shift())
        outline = cv2.convexHull(np.concatenate([footprint, moved]).astype(np.float32))[:, 0, :]
        ground = np.zeros((len(outline), 3))
        ground[:, ::2] = outline
        pixels = camera.clip_and_project(ground)
        if pixels is not None:
            cv2.fillPoly(self.shadow, [_fixed(pixels)], 1, shift=SUBPIXEL_BITS)

    def table(self) -> PieceTable:
        """Return the columns of all pieces registered so far."""
        return PieceTable(
            label=np.array(self._labels, dtype=np.uint8),
            instance=np.array(self._instances, dtype=np.int32),
            color=np.array(self._colors, dtype=np.float32),
            depth=np.array(self._depths, dtype=np.float32),
            grain=np.array(self._grains, dtype=np.float32),
            kind=np.array(self._kinds, dtype=np.uint8),
            plane=np.array(self._planes, dtype=np.float32),
        )


def upright_plane(camera: Camera, start: FloatArray, end: FloatArray) -> Plane:
    """Return the upright plane through two ground points (x, z), as ``Canvas.piece`` takes it."""
    (sx, sz), (tx, tz) = start.tolist(), end.tolist()
    ex, _, ez = camera.eye.tolist()
    length = hypot(tx - sx, tz - sz)
    ax, az = (tx - sx) / length, (tz - sz) / length
    nx, nz = -az, ax
    distance = nx * (sx - ex) + nz * (sz - ez)
    return nx, nz, distance, ax, az, ax * (sx - ex) + az * (sz - ez)


def _fixed(points: FloatArray) -> npt.NDArray[np.int32]:
    """Turn pixel coordinates into OpenCV's fixed point, where pixel centres are integers."""
    scaled = points * _SUBPIXELS
    scaled -= 0.5 * _SUBPIXELS
    np.maximum(scaled, -_LIMIT_PX * _SUBPIXELS, out=scaled)
    np.minimum(scaled, _LIMIT_PX * _SUBPIXELS, out=scaled)
    return np.rint(scaled).astype(np.int32)
