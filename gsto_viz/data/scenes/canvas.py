"""The piece buffer with its ground, and from its surfaces to a photograph.

Everything is drawn back to front into one integer map, so a later piece hides an earlier one. The
tables of the pieces then give label, instance, colour, depth and texture of every pixel.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import hypot

import cv2
import numpy as np
import numpy.typing as npt

from gsto_viz.data.scenes.camera import PAVEMENT, ROAD, TREE, Camera, Color, Light, Street, lit
from gsto_viz.data.scenes.camera import SKY as SKY_LABEL
from gsto_viz.types import FloatArray

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


PieceTable = npt.NDArray[np.void]
"""All pieces, (P,), one record each, see ``PIECE``."""
PIECE = np.dtype(
    [
        ("label", np.uint8),
        ("instance", np.int32),
        ("color", np.float32, 3),
        ("depth", np.float32),
        ("grain", np.float32),
        ("kind", np.uint8),
        ("plane", np.float32, 6),
    ]
)


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
        self._records: list[tuple[int, int, Color, float, float, int, Plane]] = []
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
        self._records.append((label, instance, color, depth, grain, kind, plane))
        return self.count - 1

    @property
    def count(self) -> int:
        """Return how many pieces are registered."""
        return len(self._records)

    def move_pieces(self, first: int, factor: float) -> None:
        """Multiply the distances of the pieces from ``first`` on: an object drawn zoomed moves."""
        moved = self._records[first:]
        del self._records[first:]
        for label, instance, color, depth, grain, kind, plane in moved:
            nx, nz, distance, ax, az, origin = plane
            plane = nx, nz, distance * factor, ax, az, origin * factor
            self._records.append((label, instance, color, depth * factor, grain, kind, plane))

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

    def table(self) -> PieceTable:
        """Return all pieces registered so far."""
        return np.array(self._records, dtype=PIECE)


@dataclass(frozen=True)
class View:
    """What objects are drawn with: the canvas, the camera that sees them and their light."""

    canvas: Canvas
    camera: Camera
    light: Light

    def fill(self, piece: int, outline: FloatArray) -> None:
        """Fill a planar polygon (N, 3), cut at the near plane, with a piece."""
        pixels = self.camera.clip_and_project(outline)
        if pixels is not None:
            self.canvas.fill(piece, [pixels])

    def cast_shadow(self, footprint: FloatArray, height: float) -> None:
        """Darken the ground beside an object.

        Args:
            footprint: (N, 2) outline (x, z) on the ground in metres.
            height: Height of the object in metres; the shadow reaches as far as the sun says.
        """
        reach = height if self.light.direct > 0 else 0.0
        moved = footprint + reach * np.array(self.light.shadow_shift())
        outline = cv2.convexHull(np.concatenate([footprint, moved]).astype(np.float32))[:, 0, :]
        ground = np.zeros((len(outline), 3))
        ground[:, ::2] = outline
        pixels = self.camera.clip_and_project(ground)
        if pixels is not None:
            cv2.fillPoly(self.canvas.shadow, [_fixed(pixels)], 1, shift=SUBPIXEL_BITS)


def drawn_alone(
    draw: Callable[[View], None], camera: Camera, light: Light, shape: tuple[int, int]
) -> npt.NDArray[np.int32]:
    """Draw one object on an empty canvas: (H, W), its piece numbers, 0 where nothing is drawn."""
    canvas = Canvas(*shape)
    canvas.piece(0, (0.0, 0.0, 0.0), depth=0.0)
    draw(View(canvas, camera, light))
    return canvas.pieces


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


FloatImage = npt.NDArray[np.float32]
FAR_M = 400.0
"""The ground is taken to end here; haze and backdrop hide that."""
SKY_PIECE, ROAD_PIECE, PAVEMENT_PIECE, KERB_PIECE, YARD_PIECE, GRASS_PIECE = range(6)
"""The pieces that every scene registers first, in this order."""
GROUNDS = ((ROAD, 0.07), (PAVEMENT, 0.08), (PAVEMENT, 0.05), (PAVEMENT, 0.10), (TREE, 0.20))
"""Class and grain of road, pavement, kerb, yard and grass."""


@dataclass(frozen=True)
class Ground:
    """All pixels whose rays meet the ground.

    Attributes:
        where: (N,) flat pixel indices.
        across: (N,) metres to the right of the road's middle line.
        along: (N,) metres along the road.
        depth: (N,) metres from the camera plane, at most ``FAR_M``.
        rays: (H, W, 3) directions of all pixels, scaled to depth 1.
    """

    where: npt.NDArray[np.intp]
    across: FloatImage
    along: FloatImage
    depth: FloatImage
    rays: FloatImage


def survey(camera: Camera, street: Street, height: int, width: int) -> Ground:
    """Find where each pixel's ray meets the ground."""
    rays = camera.rays(height, width)
    where = np.flatnonzero(rays[..., 1] < 0)
    flat = rays.reshape(-1, 3)
    depth = np.minimum(-float(camera.eye[1]) / flat[where, 1], np.float32(FAR_M))
    along = depth * flat[where, 2]
    across = float(camera.eye[0]) + depth * flat[where, 0]
    across -= 0.5 * street.curve * along * along
    return Ground(where, across, along, depth, rays)


def start_canvas(ground: Ground, light: Light, street: Street) -> Canvas:
    """Return a canvas that shows the empty street under the sky."""
    canvas = Canvas(*ground.rays.shape[:2])
    up = light.on((0.0, 1.0, 0.0))
    canvas.piece(SKY_LABEL, light.horizon, depth=0.0, grain=0.0, kind=SKY)
    for (label, grain), color in zip(GROUNDS, street.colors, strict=True):
        canvas.piece(label, lit(color, up), depth=FAR_M, grain=grain, kind=GROUND)
    canvas.pieces.ravel()[ground.where] = _pieces(ground, street)
    return canvas


def _pieces(ground: Ground, street: Street) -> npt.NDArray[np.int32]:
    """Return the piece of ground that each pixel shows, (N,)."""
    u, z = ground.across, ground.along
    half = np.float32(street.road / 2)
    distance = np.abs(u)
    pieces = np.full(len(u), PAVEMENT_PIECE, dtype=np.int32)
    pieces[distance < half + np.float32(0.18)] = KERB_PIECE
    left, right = u < street.frontage(-1), u > street.frontage(1)
    for outside, green in zip((left, right), street.green, strict=True):
        pieces[outside] = GRASS_PIECE if green else YARD_PIECE
    on_road = distance < half
    if street.crossing is not None:
        near, far = street.crossing
        pieces[(left | right) & (z > near - 2.5) & (z < far + 2.5)] = PAVEMENT_PIECE
        on_road |= (z > near) & (z < far)
    pieces[on_road] = ROAD_PIECE
    return pieces


def markings(ground: Ground, road: npt.NDArray[np.bool_], street: Street) -> npt.NDArray[np.intp]:
    """Return the flat indices of road pixels that are painted white.

    Args:
        ground: The ground's pixels.
        road: (N,) which of them still show the road.
        street: Middle line, edge lines, zebra and crossing.
    """
    u, z, depth = ground.across[road], ground.along[road], ground.depth[road]
    distance = np.abs(u)
    half = np.float32(0.07) + np.float32(0.0004) * depth
    period, phase = street.dash
    white = (distance < half) & (np.mod(z + np.float32(phase), period) < 0.5 * period)
    if street.edge_lines:
        white |= np.abs(distance - np.float32(street.road / 2 - 0.35)) < half
    if street.crossing is not None:
        white &= (z < street.crossing[0]) | (z > street.crossing[1])
    if street.zebra is not None:
        white &= (z < street.zebra - 1.0) | (z > street.zebra + 4.0)
        inner = (z > street.zebra) & (z < street.zebra + 3.0) & (distance < street.road / 2 - 0.3)
        white |= inner & (np.mod(u, np.float32(1.1)) < 0.55)
    painted: npt.NDArray[np.intp] = ground.where[road][white]
    return painted


TILE = 256
"""Side of the noise tile in cells; a power of two."""
FINE_PER_M, COARSE_PER_M = 14.0, 1.1


@cache
def noise_tile() -> FloatImage:
    """Return (TILE, TILE) noise with zero mean, read-only: half white, half smooth over cells.

    The same for all scenes; each scene looks it up from another origin.
    """
    rng = np.random.Generator(np.random.PCG64(20051336))
    white = rng.standard_normal((TILE, TILE), dtype=np.float32)
    smooth = np.asarray(cv2.GaussianBlur(white, (0, 0), 3.0, borderType=cv2.BORDER_REFLECT))
    tile: FloatImage = (0.5 * white + 0.5 * smooth / smooth.std()).astype(np.float32)
    tile.setflags(write=False)
    return tile


@dataclass(frozen=True)
class Surface:
    """What the piece buffer shows, before air and lens; arrays (H, W), changed while shading.

    Attributes:
        color: (H, W, 3), 0..1 and above.
        depth: Metres from the camera plane; 0 in the sky.
        across, down: Place on the surface in metres, for textures.
        bright: Factor on the colour.
    """

    color: FloatImage
    depth: FloatImage
    across: FloatImage
    down: FloatImage
    bright: FloatImage


def shade(
    canvas: Canvas,
    camera: Camera,
    light: Light,
    street: Street,
    ground: Ground,
    origin: tuple[int, int],
) -> Surface:
    """Colour, texture and light all surfaces; the sky keeps its plain colour.

    Args:
        canvas: The finished piece buffer.
        camera: The camera it was drawn with.
        light: For shadows on the ground.
        street: For the markings on the road.
        ground: The ground's pixels, of which only those in sight are used.
        origin: Where in the noise tile the textures begin, each 0..TILE-1.
    """
    table = canvas.table()
    shown = canvas.pieces.astype(np.intp)
    surface = _frontal(shown, camera, table)
    kind = np.take(table["kind"], shown)
    seen = kind.ravel()[ground.where] == GROUND
    where = ground.where[seen]
    surface.across.ravel()[where] = ground.across[seen]
    surface.down.ravel()[where] = ground.along[seen]
    surface.depth.ravel()[where] = ground.depth[seen]
    walls = np.flatnonzero((kind == WALL) | (kind == BOARDS))
    _lay_walls(walls, ground.rays, camera, table, canvas.pieces.ravel()[walls], surface)
    road = canvas.pieces.ravel()[ground.where] == ROAD_PIECE
    painted = markings(ground, road, street)
    asphalt = table["color"][ROAD_PIECE]
    surface.color.reshape(-1, 3)[painted] = asphalt + (0.92 - asphalt) * np.float32(0.75)
    grain = _grain(surface, origin)
    grain *= np.take(table["grain"], shown)
    grain += 1
    bright = np.multiply(surface.bright, grain, out=surface.bright)
    bright.ravel()[where[canvas.shadow.ravel()[where] > 0]] *= np.float32(light.shadow)
    np.multiply(surface.color, bright[..., None], out=surface.color)
    return surface


def _frontal(shown: npt.NDArray[np.intp], camera: Camera, table: PieceTable) -> Surface:
    """Take every pixel to lie on a plane that faces the camera at the depth of its piece."""
    height, width = shown.shape
    depth = np.take(table["depth"], shown)
    x = (np.arange(width) + 0.5 - camera.center_px[0]) / camera.focal_px
    y = (np.arange(height) + 0.5 - camera.center_px[1]) / camera.focal_px
    return Surface(
        color=np.take(table["color"], shown, axis=0),
        depth=depth,
        across=depth * x.astype(np.float32),
        down=depth * y.astype(np.float32)[:, None],
        bright=np.ones_like(depth),
    )


def _lay_walls(
    where: npt.NDArray[np.intp],
    rays: FloatImage,
    camera: Camera,
    table: PieceTable,
    piece: npt.NDArray[np.int32],
    surface: Surface,
) -> None:
    """Place wall pixels on their wall, and draw courses of bricks or joints of boards."""
    nx, nz, offset, ax, az, start = np.take(table["plane"], piece, axis=0).T
    ray = rays.reshape(-1, 3)[where]
    toward = nx * ray[:, 0] + nz * ray[:, 2]
    toward[np.abs(toward) < 1e-4] = 1e-4
    distance = np.clip(offset / toward, np.float32(0.3), np.float32(FAR_M))
    along = distance * (ax * ray[:, 0] + az * ray[:, 2]) - start
    up = np.float32(camera.eye[1]) + distance * ray[:, 1]
    surface.across.ravel()[where], surface.down.ravel()[where] = along, up
    surface.depth.ravel()[where] = distance
    # A joint thinner than a pixel only darkens its surroundings, so it fades with the footprint.
    footprint = distance / np.float32(camera.focal_px)
    boards = np.take(table["kind"], piece) == BOARDS
    course = np.where(boards, along / np.float32(0.16), up / np.float32(0.32))
    joint = (course - np.floor(course)) < 0.2
    fade = np.clip(0.12 / (footprint + np.float32(1e-4)) - 1, 0.0, 1.0)
    strength = np.where(boards, np.float32(0.4), np.float32(0.14))
    surface.bright.ravel()[where] = 1 - joint * fade * strength


def _grain(surface: Surface, origin: tuple[int, int]) -> FloatImage:
    """Look the noise up at two sizes; the fine one fades where it is thinner than a pixel."""
    fine = _lookup(surface, FINE_PER_M, origin)
    fine /= 1 + (surface.depth * np.float32(1 / 30.0)) ** 2
    coarse = _lookup(surface, COARSE_PER_M, origin)
    coarse *= np.float32(0.6)
    fine += coarse
    return fine


def _lookup(surface: Surface, per_m: float, origin: tuple[int, int]) -> FloatImage:
    column = (surface.across * np.float32(per_m)).astype(np.int32)
    row = (surface.down * np.float32(per_m)).astype(np.int32)
    row += origin[0]
    column += origin[1]
    row &= TILE - 1
    column &= TILE - 1
    row *= TILE
    row += column
    return np.take(noise_tile().ravel(), row)


CLOUD_CELLS = (6, 13, 27)
"""Cells of the three sizes of clouds across the image."""


def expose(
    canvas: Canvas, surface: Surface, rays: FloatImage, light: Light, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Turn shaded surfaces into an image.

    Args:
        canvas: Says where the sky is.
        surface: What ``shade`` returned; changed here.
        rays: (H, W, 3) directions of the pixels.
        light: Sun, air and film.
        rng: Clouds and sensor noise.

    Returns:
        (H, W, 3) uint8 sRGB.
    """
    sky = np.flatnonzero(canvas.pieces == SKY_PIECE)
    surface.color.reshape(-1, 3)[sky] = _sky(sky, rays, light, rng)
    color = surface.color
    # Rows of all channels side by side: NumPy is several times slower on inner loops of three.
    rows = color.reshape(color.shape[0], -1)
    horizon = np.tile(np.array(light.horizon, np.float32), color.shape[1])
    clear = np.exp(surface.depth * np.float32(-1 / light.visibility_m))
    rows -= horizon
    rows *= np.repeat(clear, 3, axis=1)
    rows += horizon
    blurred = cv2.GaussianBlur(color, (0, 0), light.blur_px, borderType=cv2.BORDER_REFLECT)
    return _develop(np.asarray(blurred, dtype=np.float32), light, rng)


def _sky(
    where: npt.NDArray[np.intp], rays: FloatImage, light: Light, rng: np.random.Generator
) -> FloatImage:
    """Return the sky's colours (N, 3): a gradient from horizon to zenith, and clouds."""
    height, width = rays.shape[:2]
    side = 2 * CLOUD_CELLS[-1]
    cells = np.zeros((side, side), dtype=np.float32)
    for k, count in enumerate(CLOUD_CELLS):
        grid = rng.standard_normal((count, count), dtype=np.float32)
        cells += cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC) * np.float32(0.6**k)
    cover = cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR).ravel()[where]
    up = np.clip(rays[..., 1].ravel()[where], 0.0, 1.0)
    rise = np.sqrt(np.minimum(up * np.float32(1.6), np.float32(1.0)))[:, None]
    horizon, zenith = np.array(light.horizon, np.float32), np.array(light.zenith, np.float32)
    sky = horizon + (zenith - horizon) * rise
    veil = np.clip(cover * 0.35 + light.cloud - 0.35, 0.0, 1.0)[:, None]
    shade = (1.0 - 0.12 * np.clip(cover, -1.0, 1.5))[:, None]
    white = np.minimum(horizon * np.float32(1.12), np.float32(1.0)) * shade
    mixed: FloatImage = sky + (white - sky) * veil
    return mixed


def _develop(color: FloatImage, light: Light, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Apply exposure, tone curve, vignetting and sensor noise; round to bytes."""
    height, width = color.shape[:2]
    x = np.repeat(np.linspace(-1, 1, width, dtype=np.float32) ** 2, 3)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] ** 2
    vignette = 1 - np.float32(0.07) * (x + y)
    rows = color.reshape(height, -1)
    rows *= np.tile(np.array(light.gains, np.float32), width)
    rows *= vignette
    if light.contrast:
        curve = color - np.float32(0.5)
        curve *= color
        curve *= 1 - color
        curve *= np.float32(light.contrast)
        color += curve
    color += sensor_noise(color.shape, light.noise, rng)
    color *= np.float32(255.0)
    color += np.float32(0.5)
    np.clip(color, 0.0, 255.0, out=color)
    return color.astype(np.uint8)


def sensor_noise(shape: tuple[int, ...], deviation: float, rng: np.random.Generator) -> FloatImage:
    """Return zero-mean noise: the sum of two uniform bytes, several times faster than a normal."""
    count = int(np.prod(shape))
    first, second = np.frombuffer(rng.bytes(2 * count), dtype=np.int8).reshape(2, count)
    noise = np.add(first, second, dtype=np.int16).astype(np.float32)
    # Each byte is uniform on -128..127: mean -1/2, variance (256^2 - 1) / 12.
    noise += np.float32(1.0)
    noise *= np.float32(deviation / np.sqrt((256.0**2 - 1) / 6))
    return noise.reshape(shape)
