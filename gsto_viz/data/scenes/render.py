"""Render one scene: sample it, draw it, develop it, and read the annotation off the pieces."""

import numpy as np
import numpy.typing as npt

from gsto_viz.data.scenes.camera import Camera, Light, lit
from gsto_viz.data.scenes.canvas import GROUND, SKY, Canvas
from gsto_viz.data.scenes.labels import PAVEMENT, ROAD, TREE
from gsto_viz.data.scenes.labels import SKY as SKY_LABEL
from gsto_viz.data.scenes.layout import sample_items
from gsto_viz.data.scenes.shading import FAR_M, photograph
from gsto_viz.data.scenes.street import Street, sample_camera, sample_light, sample_street
from gsto_viz.errors import GstoVizError
from gsto_viz.types import Sample

SMALLEST_PX, LARGEST_PX = 64, 4096


def render_scene(seed: int, index: int, height: int = 256, width: int = 512) -> Sample:
    """Render image ``index`` of the set with this seed.

    Everything is drawn from ``SeedSequence((seed, index))``, so the image depends on nothing else:
    neither on other images nor on threads or processes. Other sizes of the same shape show the
    same scene at another resolution.

    Args:
        seed: Scene seed; below 1,000,000 for training, from there on for everything else.
        index: Number of the image, from 0.
        height: Pixels, 64..4096.
        width: Pixels, 64..4096.

    Returns:
        The image with labels 0..10 (no pixel is ignored) and instances, numbered without gaps.

    Raises:
        GstoVizError: A number is out of range.
    """
    check_size(height, width)
    if seed < 0 or index < 0:
        raise GstoVizError(f"scene seed {seed}, index {index}: both must be 0 or more")
    layout, film = np.random.SeedSequence((seed, index)).spawn(2)
    rng = np.random.Generator(np.random.PCG64(layout))
    street = sample_street(rng)
    light = sample_light(rng)
    camera = sample_camera(rng, street, height, width)
    canvas = start_canvas(height, width, camera, light, street)
    for item in sample_items(rng, street, camera):
        item.draw(canvas, camera, light)
    image = photograph(
        canvas, camera, light, street, rng=np.random.Generator(np.random.PCG64(film))
    )
    labels, instances = annotation(canvas)
    return Sample(f"scene-{seed:07d}-{index:05d}", image, labels, instances)


def check_size(height: int, width: int) -> None:
    """Refuse a size that cannot be rendered.

    Raises:
        GstoVizError: A side is below 64 or above 4096 pixels.
    """
    if not (SMALLEST_PX <= height <= LARGEST_PX and SMALLEST_PX <= width <= LARGEST_PX):
        raise GstoVizError(
            f"scene size {height}x{width} is not possible; "
            f"give HxW with both between {SMALLEST_PX} and {LARGEST_PX}"
        )


def start_canvas(height: int, width: int, camera: Camera, light: Light, street: Street) -> Canvas:
    """Return a canvas that shows the empty street: sky, road, pavements, what lies behind them."""
    canvas = Canvas(height, width)
    up = light.on((0.0, 1.0, 0.0))
    road, pavement, kerb, yard, grass = (lit(color, up) for color in street.colors)
    sky_piece = canvas.piece(SKY_LABEL, light.horizon, depth=0.0, grain=0.0, kind=SKY)
    pieces = [
        canvas.piece(ROAD, road, depth=FAR_M, grain=0.07, kind=GROUND),
        canvas.piece(PAVEMENT, pavement, depth=FAR_M, grain=0.08, kind=GROUND),
        canvas.piece(PAVEMENT, kerb, depth=FAR_M, grain=0.05, kind=GROUND),
        canvas.piece(PAVEMENT, yard, depth=FAR_M, grain=0.10, kind=GROUND),
        canvas.piece(TREE, grass, depth=FAR_M, grain=0.20, kind=GROUND),
    ]
    rays = camera.rays(height, width)
    below = rays[..., 1] < 0
    distance = np.minimum(-camera.eye[1] / np.where(below, rays[..., 1], -1.0), FAR_M)
    z = distance * rays[..., 2]
    u = camera.eye[0] + distance * rays[..., 0] - 0.5 * street.curve * z * z
    canvas.pieces[:] = np.where(below, _ground_pieces(u, z, street, pieces), sky_piece)
    return canvas


def _ground_pieces(
    u: npt.NDArray[np.float64], z: npt.NDArray[np.float64], street: Street, pieces: list[int]
) -> npt.NDArray[np.int32]:
    """Say which piece of ground lies ``u`` beside the middle line at ``z`` along the road."""
    road, pavement, kerb, yard, grass = pieces
    behind = np.where(u < 0, grass if street.green[0] else yard, grass if street.green[1] else yard)
    outside = (u < street.frontage(-1)) | (u > street.frontage(1))
    half = street.road / 2
    beside = np.where(np.abs(u) < half + 0.18, kerb, pavement)
    ground = np.where(outside, behind, beside)
    on_road = np.abs(u) < half
    if street.crossing is not None:
        near, far = street.crossing
        reach = (z > near - 2.5) & (z < far + 2.5)
        ground = np.where(reach & outside, pavement, ground)
        on_road |= (z > near) & (z < far)
    return np.where(on_road, road, ground).astype(np.int32)


def annotation(canvas: Canvas) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Read labels and instances off the pieces; visible instances are numbered 1, 2, ..."""
    table = canvas.table()
    drawn = table.instance[canvas.pieces]
    present = np.zeros(int(table.instance.max(initial=0)) + 1, dtype=bool)
    present[drawn] = True
    present[0] = False
    number = np.where(present, np.cumsum(present), 0).astype(np.int32)
    return table.label[canvas.pieces], number[drawn]
