"""Render one scene: sample it, draw it, develop it, and read the annotation off the pieces."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from gsto_viz.data.scenes.camera import Camera, Light
from gsto_viz.data.scenes.canvas import Canvas
from gsto_viz.data.scenes.decorrelated import narrow_view, sample_objects
from gsto_viz.data.scenes.film import expose
from gsto_viz.data.scenes.layout import sample_items
from gsto_viz.data.scenes.shading import TILE, shade
from gsto_viz.data.scenes.street import Street, sample_camera, sample_light, sample_street
from gsto_viz.data.scenes.terrain import Ground, start_canvas, survey
from gsto_viz.errors import GstoVizError
from gsto_viz.types import Sample

SMALLEST_PX, LARGEST_PX = 64, 4096


def render_scene(
    seed: int, index: int, height: int = 256, width: int = 512, *, decorrelated: bool = False
) -> Sample:
    """Render image ``index`` of the set with this seed.

    Everything is drawn from ``SeedSequence((seed, index))``, so the image depends on nothing else:
    neither on other images nor on threads or processes. Other sizes of the same shape show the
    same scene at another resolution.

    Args:
        seed: Scene seed; below 1,000,000 for training, from there on for everything else.
        index: Number of the image, from 0.
        height: Pixels, 64..4096.
        width: Pixels, 64..4096.
        decorrelated: Draw objects whose size does not depend on their class, see
            ``gsto_viz.data.scenes.decorrelated``, in the same street under the same light.

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
    if decorrelated:
        street, camera = replace(street, green=(False, False)), narrow_view(camera, height, width)
        items = sample_objects(rng, camera, light, height, width)
    else:
        items = sample_items(rng, street, camera)
    ground = survey(camera, street, height, width)
    canvas = start_canvas(ground, light, street)
    for item in items:
        item.draw(canvas, camera, light)
    image = develop(canvas, camera, light, street, ground, film)
    labels, instances = annotation(canvas)
    return Sample(scene_id(seed, index, decorrelated), image, labels, instances)


def scene_id(seed: int, index: int, decorrelated: bool) -> str:
    """Return the id of a scene, such as ``scene-1000000-00003``."""
    kind = "scene-decorrelated" if decorrelated else "scene"
    return f"{kind}-{seed:07d}-{index:05d}"


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


def develop(
    canvas: Canvas,
    camera: Camera,
    light: Light,
    street: Street,
    ground: Ground,
    film: np.random.SeedSequence,
) -> npt.NDArray[np.uint8]:
    """Photograph a finished canvas; textures, clouds and noise come from ``film``."""
    rng = np.random.Generator(np.random.PCG64(film))
    row, column = rng.integers(0, TILE, 2).tolist()
    surface = shade(canvas, camera, light, street, ground, (row, column))
    return expose(canvas, surface, ground.rays, light, rng)


def annotation(canvas: Canvas) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Read labels and instances off the pieces; visible instances are numbered 1, 2, ..."""
    table = canvas.table()
    shown = canvas.pieces.astype(np.intp)
    drawn = np.take(table.instance, shown)
    present = np.zeros(int(table.instance.max(initial=0)) + 1, dtype=bool)
    present[drawn] = True
    present[0] = False
    number = np.where(present, np.cumsum(present), 0).astype(np.int32)
    return np.take(table.label, shown), np.take(number, drawn)
