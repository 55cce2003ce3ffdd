"""From the piece buffer to a photograph: textures, light on the ground, sky, haze, lens, sensor."""

import cv2
import numpy as np
import numpy.typing as npt

from gsto_viz.data.scenes.camera import Camera, Light
from gsto_viz.data.scenes.canvas import BOARDS, GROUND, SKY, WALL, Canvas, PieceTable
from gsto_viz.data.scenes.street import Street

Image = npt.NDArray[np.float32]
TILE = 256
"""Side of the noise tile in cells; a power of two."""
FINE_PER_M, COARSE_PER_M = 14.0, 1.1
FAR_M = 400.0


def noise_tile(rng: np.random.Generator) -> Image:
    """Return (TILE, TILE) noise with zero mean: half white, half smooth over some cells."""
    white = rng.standard_normal((TILE, TILE), dtype=np.float32)
    smooth = cv2.GaussianBlur(white, (0, 0), 3.0, borderType=cv2.BORDER_REFLECT)
    smooth /= smooth.std()
    return (0.5 * white + 0.5 * smooth).astype(np.float32)


def photograph(
    canvas: Canvas,
    camera: Camera,
    light: Light,
    street: Street,
    *,
    rng: np.random.Generator,
) -> npt.NDArray[np.uint8]:
    """Develop the piece buffer into an image (H, W, 3) uint8.

    Args:
        canvas: The finished piece buffer.
        camera: The camera it was drawn with.
        light: Sun, air and film.
        street: Gives the markings on the ground.
        rng: Textures, clouds and sensor noise.
    """
    table = canvas.table()
    tile = noise_tile(rng)
    rays = camera.rays(canvas.height, canvas.width)
    color = table.color[canvas.pieces]
    depth = table.depth[canvas.pieces]
    across, down = _frontal_coordinates(camera, depth)
    bright = np.ones_like(depth)
    kind = table.kind[canvas.pieces].ravel()
    ground = np.flatnonzero(kind == GROUND)
    _lay_ground(ground, rays, camera, street, (across, down, depth, bright))
    walls = np.flatnonzero((kind == WALL) | (kind == BOARDS))
    _lay_planes(walls, rays, camera, table, canvas, (across, down, depth, bright))
    paint_markings(ground, color, across, down, depth, street, canvas, table)
    bright *= 1 + table.grain[canvas.pieces] * _grain(tile, across, down, depth)
    hidden = ground[canvas.shadow.ravel()[ground] > 0]
    bright.ravel()[hidden] *= light.shadow
    color *= bright[..., None]
    _paint_sky(np.flatnonzero(kind == SKY), rays, color, depth, light, rng)
    return _expose(_through_air(color, depth, light), light, rng)


def _frontal_coordinates(camera: Camera, depth: Image) -> tuple[Image, Image]:
    """Return metric coordinates (right, down) on planes that face the camera at these depths."""
    height, width = depth.shape
    x = (np.arange(width) + 0.5 - camera.center_px[0]) / camera.focal_px
    y = (np.arange(height) + 0.5 - camera.center_px[1]) / camera.focal_px
    return depth * x.astype(np.float32), depth * y.astype(np.float32)[:, None]


Layers = tuple[Image, Image, Image, Image]
"""Metric coordinates across and down, depth, and brightness, each (H, W), changed in place."""


def _lay_ground(
    where: npt.NDArray[np.intp], rays: Image, camera: Camera, street: Street, layers: Layers
) -> None:
    """Give ground pixels their place: metres to the right of the middle line, metres along it."""
    across, down, depth, _ = layers
    ray = rays.reshape(-1, 3)[where]
    distance = np.minimum(-camera.eye[1] / np.minimum(ray[:, 1], -1e-6), FAR_M)
    distance = distance.astype(np.float32)
    z = distance * ray[:, 2]
    x = np.float32(camera.eye[0]) + distance * ray[:, 0]
    across.ravel()[where] = x - np.float32(0.5 * street.curve) * z * z
    down.ravel()[where] = z
    depth.ravel()[where] = distance


def _lay_planes(
    where: npt.NDArray[np.intp],
    rays: Image,
    camera: Camera,
    table: PieceTable,
    canvas: Canvas,
    layers: Layers,
) -> None:
    """Give wall pixels their place on the wall, and draw courses of bricks or joints of boards."""
    across, down, depth, bright = layers
    piece = canvas.pieces.ravel()[where]
    nx, nz, offset, ax, az, start = table.plane.T[:, piece]
    ray = rays.reshape(-1, 3)[where]
    toward = nx * ray[:, 0] + nz * ray[:, 2]
    toward[np.abs(toward) < 1e-4] = 1e-4
    distance = np.clip(offset / toward, 0.3, FAR_M)
    along = distance * (ax * ray[:, 0] + az * ray[:, 2]) - start
    up = np.float32(camera.eye[1]) + distance * ray[:, 1]
    across.ravel()[where], down.ravel()[where] = along, up
    depth.ravel()[where] = distance
    # A joint thinner than a pixel only darkens its surroundings, so it fades with the footprint.
    footprint = distance / np.float32(camera.focal_px)
    boards = table.kind[piece] == BOARDS
    course = np.where(boards, along / np.float32(0.16), up / np.float32(0.32))
    joint = (course - np.floor(course)) < 0.2
    fade = np.clip(0.12 / (footprint + 1e-4) - 1.0, 0.0, 1.0)
    bright.ravel()[where] = 1 - joint * fade * np.where(boards, 0.4, 0.14).astype(np.float32)


def paint_markings(
    where: npt.NDArray[np.intp],
    color: Image,
    across: Image,
    along: Image,
    depth: Image,
    street: Street,
    canvas: Canvas,
    table: PieceTable,
) -> None:
    """Paint the middle line, the edge lines and the zebra on road pixels (piece 1)."""
    road = where[canvas.pieces.ravel()[where] == ROAD_PIECE]
    u, z = across.ravel()[road], along.ravel()[road]
    half = 0.07 + 0.0004 * depth.ravel()[road]
    period, phase = street.dash
    white = (np.abs(u) < half) & (np.mod(z + phase, period) < 0.5 * period)
    if street.edge_lines:
        white |= np.abs(np.abs(u) - (street.road / 2 - 0.35)) < half
    if street.crossing is not None:
        white &= (z < street.crossing[0]) | (z > street.crossing[1])
    if street.zebra is not None:
        band = (z > street.zebra - 1.0) & (z < street.zebra + 4.0)
        white &= ~band
        inner = (z > street.zebra) & (z < street.zebra + 3.0) & (np.abs(u) < street.road / 2 - 0.3)
        white |= inner & (np.mod(u, 1.1) < 0.55)
    base = table.color[ROAD_PIECE]
    color.reshape(-1, 3)[road[white]] = base + (0.92 - base) * np.float32(0.75)


SKY_PIECE, ROAD_PIECE = 0, 1
"""Numbers of the two pieces that every scene registers first."""


def _grain(tile: Image, across: Image, down: Image, depth: Image) -> Image:
    """Look the noise up at two sizes; the fine one fades where it is thinner than a pixel."""
    fine = _lookup(tile, across, down, FINE_PER_M)
    fine *= 1 / (1 + (depth * np.float32(1 / 30.0)) ** 2)
    fine += 0.6 * _lookup(tile, across, down, COARSE_PER_M)
    return fine


def _lookup(tile: Image, across: Image, down: Image, per_m: float) -> Image:
    column = (across * np.float32(per_m)).astype(np.int32) & (TILE - 1)
    row = (down * np.float32(per_m)).astype(np.int32) & (TILE - 1)
    found: Image = tile.ravel()[(row << 8) | column]
    return found


def _paint_sky(
    where: npt.NDArray[np.intp],
    rays: Image,
    color: Image,
    depth: Image,
    light: Light,
    rng: np.random.Generator,
) -> None:
    """Paint the gradient from horizon to zenith, and clouds."""
    height, width = depth.shape
    noise = np.zeros((height, width), dtype=np.float32)
    for k, cells in enumerate((6, 13, 27)):
        grid = rng.standard_normal((cells, cells), dtype=np.float32)
        noise += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * 0.6**k
    up = np.clip(rays[..., 1].ravel()[where], 0.0, 1.0)
    rise = np.sqrt(np.minimum(up * 1.6, 1.0))[:, None]
    horizon, zenith = np.array(light.horizon, np.float32), np.array(light.zenith, np.float32)
    sky = horizon + (zenith - horizon) * rise
    veil = np.clip(noise.ravel()[where] * 0.35 + light.cloud - 0.35, 0.0, 1.0)[:, None]
    shade = (1.0 - 0.12 * np.clip(noise.ravel()[where], -1.0, 1.5))[:, None]
    white = np.minimum(horizon * 1.12, 1.0) * shade
    color.reshape(-1, 3)[where] = sky + (white - sky) * veil
    depth.ravel()[where] = 0.0


def _through_air(color: Image, depth: Image, light: Light) -> Image:
    """Mix in haze: a share 1 - exp(-depth / visibility) of the horizon's colour."""
    haze = 1 - np.exp(depth * np.float32(-1 / light.visibility_m))
    color += (np.array(light.horizon, np.float32) - color) * haze[..., None]
    return color


def _expose(color: Image, light: Light, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Apply lens blur, exposure, tone curve, vignetting and sensor noise; round to bytes."""
    height, width = color.shape[:2]
    color = cv2.GaussianBlur(color, (0, 0), light.blur_px, borderType=cv2.BORDER_REFLECT)
    color *= np.array(light.gains, np.float32)
    color += np.float32(light.contrast) * color * (1 - color) * (color - np.float32(0.5))
    x = np.linspace(-1, 1, width, dtype=np.float32) ** 2
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] ** 2
    color *= (1 - np.float32(0.07) * (x + y))[..., None]
    noise = rng.standard_normal((height, width, 3), dtype=np.float32)
    color += noise * np.float32(light.noise)
    np.clip(color, 0.0, 1.0, out=color)
    return np.rint(color * np.float32(255.0)).astype(np.uint8)
