"""Surface of every pixel: colour, light, and textures in metres on ground, walls and objects."""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from gsto_viz.data.scenes.camera import Camera, Light
from gsto_viz.data.scenes.canvas import BOARDS, GROUND, WALL, Canvas, PieceTable
from gsto_viz.data.scenes.street import Street
from gsto_viz.data.scenes.terrain import FAR_M, ROAD_PIECE, FloatImage, Ground, markings

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
    kind = np.take(table.kind, shown)
    seen = kind.ravel()[ground.where] == GROUND
    where = ground.where[seen]
    surface.across.ravel()[where] = ground.across[seen]
    surface.down.ravel()[where] = ground.along[seen]
    surface.depth.ravel()[where] = ground.depth[seen]
    walls = np.flatnonzero((kind == WALL) | (kind == BOARDS))
    _lay_walls(walls, ground.rays, camera, table, canvas.pieces.ravel()[walls], surface)
    road = canvas.pieces.ravel()[ground.where] == ROAD_PIECE
    painted = markings(ground, road, street)
    asphalt = table.color[ROAD_PIECE]
    surface.color.reshape(-1, 3)[painted] = asphalt + (0.92 - asphalt) * np.float32(0.75)
    grain = _grain(surface, origin)
    grain *= np.take(table.grain, shown)
    grain += 1
    bright = np.multiply(surface.bright, grain, out=surface.bright)
    bright.ravel()[where[canvas.shadow.ravel()[where] > 0]] *= np.float32(light.shadow)
    np.multiply(surface.color, bright[..., None], out=surface.color)
    return surface


def _frontal(shown: npt.NDArray[np.intp], camera: Camera, table: PieceTable) -> Surface:
    """Take every pixel to lie on a plane that faces the camera at the depth of its piece."""
    height, width = shown.shape
    depth = np.take(table.depth, shown)
    x = (np.arange(width) + 0.5 - camera.center_px[0]) / camera.focal_px
    y = (np.arange(height) + 0.5 - camera.center_px[1]) / camera.focal_px
    return Surface(
        color=np.take(table.color, shown, axis=0),
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
    """Give wall pixels their place on the wall, and draw courses of bricks or joints of boards."""
    nx, nz, offset, ax, az, start = np.take(table.plane, piece, axis=0).T
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
    boards = np.take(table.kind, piece) == BOARDS
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
