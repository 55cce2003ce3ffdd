"""The ground plane, pixel by pixel: road, pavements, what lies behind them, and road markings."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gsto_viz.data.scenes.camera import Camera, Light, lit
from gsto_viz.data.scenes.canvas import GROUND, SKY, Canvas
from gsto_viz.data.scenes.labels import PAVEMENT, ROAD, TREE
from gsto_viz.data.scenes.labels import SKY as SKY_LABEL
from gsto_viz.data.scenes.street import Street

FloatImage = npt.NDArray[np.float32]
FAR_M = 400.0
"""The ground is taken to end here; haze and backdrop hide that."""
SKY_PIECE, ROAD_PIECE, PAVEMENT_PIECE, KERB_PIECE, YARD_PIECE, GRASS_PIECE = range(6)
"""The pieces that every scene registers first, in this order."""


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
    road, pavement, kerb, yard, grass = (lit(color, up) for color in street.colors)
    canvas.piece(SKY_LABEL, light.horizon, depth=0.0, grain=0.0, kind=SKY)
    canvas.piece(ROAD, road, depth=FAR_M, grain=0.07, kind=GROUND)
    canvas.piece(PAVEMENT, pavement, depth=FAR_M, grain=0.08, kind=GROUND)
    canvas.piece(PAVEMENT, kerb, depth=FAR_M, grain=0.05, kind=GROUND)
    canvas.piece(PAVEMENT, yard, depth=FAR_M, grain=0.10, kind=GROUND)
    canvas.piece(TREE, grass, depth=FAR_M, grain=0.20, kind=GROUND)
    canvas.pieces.ravel()[ground.where] = _pieces(ground, street)
    return canvas


def _pieces(ground: Ground, street: Street) -> npt.NDArray[np.int32]:
    """Say which piece of ground each pixel shows, (N,)."""
    u, z = ground.across, ground.along
    half = np.float32(street.road / 2)
    distance = np.abs(u)
    pieces = np.full(len(u), PAVEMENT_PIECE, dtype=np.int32)
    pieces[distance < half + np.float32(0.18)] = KERB_PIECE
    left, right = (GRASS_PIECE if green else YARD_PIECE for green in street.green)
    outside = (u < street.frontage(-1)) | (u > street.frontage(1))
    pieces[u < street.frontage(-1)] = left
    pieces[u > street.frontage(1)] = right
    on_road = distance < half
    if street.crossing is not None:
        near, far = street.crossing
        pieces[outside & (z > near - 2.5) & (z < far + 2.5)] = PAVEMENT_PIECE
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
