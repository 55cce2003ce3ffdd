"""One object at a chosen size and place on a fixed background, for tuning curves.

The object is always seen from the same distance and angle and only zoomed, so that two probes of
one seed differ in the size of the object and in nothing else.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gsto_viz.data.classes import CAMVID_CLASSES
from gsto_viz.data.scenes.buildings import Building, Pole, Sign, Tree
from gsto_viz.data.scenes.camera import Camera, Light, Street
from gsto_viz.data.scenes.canvas import Canvas, Ground, View, drawn_alone, start_canvas, survey
from gsto_viz.data.scenes.dataset import annotation, check_size, develop
from gsto_viz.data.scenes.traffic import Bicyclist, Car, Pedestrian
from gsto_viz.errors import GstoVizError
from gsto_viz.types import Sample

DISTANCE_M = 12.0
"""The object stands here in its own camera, whatever its size."""
TOLERANCE = 0.05
SMALLEST_OBJECT_PX = 2.0

Painter = Callable[[View], None]

_STREET = Street(
    road=8.0,
    pavement=(3.0, 3.0),
    curve=0.0,
    crossing=None,
    zebra=None,
    dash=(1e6, 6e5),  # the next dash is far out of sight: nothing behind the object but asphalt
    edge_lines=False,
    green=(False, False),
    colors=(
        (0.36, 0.36, 0.37), (0.52, 0.51, 0.49), (0.62, 0.62, 0.61), (0.48, 0.46, 0.43),
        (0.30, 0.38, 0.20),
    ),
)  # fmt: skip
_LIGHT = Light(
    sun=(0.0, 0.8, -0.6),
    direct=0.35,
    ambient=0.7,
    shadow=0.7,
    zenith=(0.45, 0.62, 0.85),
    horizon=(0.80, 0.82, 0.85),
    cloud=0.3,
    visibility_m=1e6,
    gains=(1.0, 1.0, 1.0),
    contrast=0.2,
    blur_px=0.5,
    noise=0.012,
)


_SPOT = (0.0, DISTANCE_M)


_PROBES: dict[str, Callable[[np.random.Generator], Painter]] = {
    "Pole": lambda rng: Pole.sample(rng, _SPOT, 1.3).draw,
    "Tree": lambda rng: Tree.sample(rng, _SPOT).draw,
    "SignSymbol": lambda rng: (
        Sign.sample(rng, _SPOT, str(rng.choice(["disc", "triangle", "board"]))).draw_plate
    ),
    # Arguments are drawn in this order: the shape first.
    "Car": lambda rng: (
        Car.sample(
            rng,
            _SPOT,
            shape=str(rng.choice(["hatchback", "estate", "van"])),
            yaw=rng.uniform(0.6, 1.0),
        ).draw
    ),
    "Pedestrian": lambda rng: Pedestrian.sample(rng, _SPOT).draw,
    "Bicyclist": lambda rng: Bicyclist.sample(rng, _SPOT, rng.uniform(1.2, 1.9)).draw,
}
PROBE_CLASSES = tuple(_PROBES)
"""Classes that ``scale_probe`` can draw."""


def scale_probe(
    class_name: str,
    size_px: float,
    center_xy: tuple[float, float] | None = None,
    *,
    height: int = 256,
    width: int = 512,
    seed: int = 0,
) -> Sample:
    """Draw one object at a chosen size and place on a fixed street.

    Args:
        class_name: One of ``PROBE_CLASSES``, in upper or lower case.
        size_px: Wanted square root of the object's area in pixels, from 2; the drawn object is
            within 5 %, or as near as whole pixels allow (half a pixel of area).
        center_xy: Middle of the object's bounding box (x, y) in pixels; None = of the image.
        height: Image height, 64..4096.
        width: Image width, 64..4096.
        seed: Look of the object (colours, clothes, type); the background never changes.

    Returns:
        The image, its labels, and instances where 1 is the object and 0 everything else.

    Raises:
        GstoVizError: The class cannot be probed, or the object does not fit into the image there.
    """
    check_size(height, width)
    name = _class_name(class_name)
    x, y = center_xy if center_xy is not None else (width / 2, height / 2)
    _check_numbers(size_px, seed)
    paint = _painter(name, seed)
    zoom = _fit(paint, _extent(name, seed), size_px, (x, y), (height, width), name)
    canvas, camera, ground = _background(height, width)
    first, shadow = canvas.count, canvas.shadow.copy()
    paint(View(canvas, zoom, _LIGHT))
    canvas.shadow[:] = shadow  # the object is drawn without its own
    canvas.move_pieces(first, camera.focal_px / zoom.focal_px)
    film = np.random.SeedSequence(20051337)
    image = develop(canvas, camera, _LIGHT, _STREET, ground, film)
    labels, _ = annotation(canvas)
    instances = (canvas.pieces >= first).astype(np.int32)
    return Sample(f"probe-{name}-{size_px:g}-{x:g}-{y:g}-seed{seed}", image, labels, instances)


def probe_room(class_name: str, size_px: float, seed: int = 0) -> tuple[float, float]:
    """Return the width and height that ``scale_probe`` needs for an object, pixels.

    Within 6 % or 3 pixels: lines are one or two pixels wide, depending on where they lie, and the
    zoom makes up for that. Room does not grow in step with the size, because a part is never drawn
    thinner than a pixel, so that thin parts take a larger share of a small object.

    Args:
        class_name: One of ``PROBE_CLASSES``, in upper or lower case.
        size_px: Square root of the object's area in pixels, from 2.
        seed: Look of the object.

    Raises:
        GstoVizError: The class cannot be probed.
    """
    _check_numbers(size_px, seed)
    name = _class_name(class_name)
    extent = _extent(name, seed)
    first = size_px / extent.side
    wide, high = (int(1.5 * first * one) + 16 for one in extent.box)
    focal, _ = _zoom(_painter(name, seed), extent, size_px, (wide / 2, high / 2), (high, wide))
    # Both zooms must fit: the one that is tried first and the one that is found.
    return extent.box[0] * max(first, focal), extent.box[1] * max(first, focal)


def _check_numbers(size_px: float, seed: int) -> None:
    if not size_px >= SMALLEST_OBJECT_PX:
        raise GstoVizError(
            f"probe size {size_px} px is too small; give at least {SMALLEST_OBJECT_PX:g} px"
        )
    if seed < 0:
        raise GstoVizError(f"probe seed {seed} is negative; give 0 or more")


def _class_name(name: str) -> str:
    """Return the class's own spelling.

    Raises:
        GstoVizError: There is no probe of this class.
    """
    for known in PROBE_CLASSES:
        if known.lower() == name.lower():
            return known
    known_class = any(known.lower() == name.lower() for known in CAMVID_CLASSES.names)
    reason = (
        "is not an object with a size of its own" if known_class else "is not a class of scenes"
    )
    raise GstoVizError(f"cannot probe '{name}': it {reason}; choose {', '.join(PROBE_CLASSES)}")


def _painter(name: str, seed: int) -> Painter:
    words = np.random.SeedSequence((seed, CAMVID_CLASSES.names.index(name)))
    return _PROBES[name](np.random.Generator(np.random.PCG64(words)))


def _camera(focal_px: float, center_px: tuple[float, float]) -> Camera:
    return Camera.looking(
        (0.0, 1.6, 0.0), heading=0.0, pitch=0.0, roll=0.0, focal_px=focal_px, center_px=center_px
    )


def _background(height: int, width: int) -> tuple[Canvas, Camera, Ground]:
    """Draw the fixed street: sky, road, pavements and two rows of houses."""
    focal = 0.9 * float(np.sqrt(height * width))
    camera = _camera(focal, (width / 2, height * 0.46))
    ground = survey(camera, _STREET, height, width)
    canvas = start_canvas(ground, _LIGHT, _STREET)
    view = View(canvas, camera, _LIGHT)
    rng = np.random.Generator(np.random.PCG64(20051338))
    for near in np.arange(120.0, 4.0, -12.0).tolist():
        for side in (-1, 1):
            front, back = side * 7.0, side * 18.0
            base = np.array([[front, near], [front, near + 12], [back, near + 12], [back, near]])
            Building.sample(rng, base, int(rng.integers(3, 6))).draw(view)
    return canvas, camera, ground


@dataclass(frozen=True)
class _Extent:
    """The object in its own camera, per pixel of focal length.

    Attributes:
        middle: Middle of the bounding box (x, y), relative to the principal point.
        box: Width and height of the bounding box.
        side: Square root of the area.
    """

    middle: tuple[float, float]
    box: tuple[float, float]
    side: float

    def camera(self, focal_px: float, center: tuple[float, float]) -> Camera:
        """Return the camera that shows the object's middle at a pixel position."""
        x, y = center
        return _camera(focal_px, (x - self.middle[0] * focal_px, y - self.middle[1] * focal_px))


@functools.lru_cache(maxsize=256)
def _extent(name: str, seed: int) -> _Extent:
    """Measure an object on a canvas of its own."""
    focal, center = 300.0, (512.0, 800.0)
    camera = _camera(focal, center)
    pieces = drawn_alone(_painter(name, seed), camera, _LIGHT, (1024, 1024))
    rows, columns = np.nonzero(pieces)
    top, bottom = int(rows.min()), int(rows.max()) + 1
    left, right = int(columns.min()), int(columns.max()) + 1
    return _Extent(
        middle=(
            ((left + right) / 2 - center[0]) / focal,
            ((top + bottom) / 2 - center[1]) / focal,
        ),
        box=((right - left) / focal, (bottom - top) / focal),
        side=float(np.sqrt(len(rows))) / focal,
    )


def _fit(
    paint: Painter,
    extent: _Extent,
    size_px: float,
    center: tuple[float, float],
    shape: tuple[int, int],
    name: str,
) -> Camera:
    """Find the zoom at which the drawn object has the wanted size.

    Raises:
        GstoVizError: The object would leave the image, or no zoom comes near enough.
    """
    what = f"{name} of {size_px:g} px"
    _check_fits(extent, size_px / extent.side, center, shape, what)
    focal, error = _zoom(paint, extent, size_px, center, shape)
    nearest = max(TOLERANCE, 0.5 / size_px**2)
    if error > nearest:
        raise GstoVizError(
            f"a {name} cannot be drawn with a size of {size_px:g} px at ({center[0]:g}, "
            f"{center[1]:g}); choose another size or move it by a pixel"
        )
    _check_fits(extent, focal, center, shape, what)
    return extent.camera(focal, center)


def _zoom(
    paint: Painter,
    extent: _Extent,
    size_px: float,
    center: tuple[float, float],
    shape: tuple[int, int],
) -> tuple[float, float]:
    """Return the focal length that draws an object nearest to a size, and how far off it is.

    Thin parts are never drawn thinner than a pixel, so the size is measured on the mask and the
    zoom corrected; where whole pixels make the size jump, nearby zooms are tried.
    """
    focal = size_px / extent.side
    best, best_error = focal, np.inf
    for k in range(48):
        pieces = drawn_alone(paint, extent.camera(focal, center), _LIGHT, shape)
        drawn = float(np.sqrt(np.count_nonzero(pieces)))
        error = abs(drawn / size_px - 1) if drawn else np.inf
        if error < best_error:
            best, best_error = focal, error
        if best_error < 0.005:
            break
        if k < 8 and drawn:
            focal *= size_px / drawn
        else:
            focal = best * (1 + 0.006 * (k - 28))
    return best, best_error


def _check_fits(
    extent: _Extent,
    focal: float,
    center: tuple[float, float],
    shape: tuple[int, int],
    what: str,
) -> None:
    """Refuse an object whose bounding box leaves the image."""
    width, height = extent.box[0] * focal, extent.box[1] * focal
    x, y = center
    inside = (
        x - width / 2 >= 0
        and y - height / 2 >= 0
        and x + width / 2 <= shape[1]
        and y + height / 2 <= shape[0]
    )
    if not inside:
        raise GstoVizError(
            f"a {what} needs {height:.0f}x{width:.0f} px (HxW) around ({x:g}, {y:g}) and does not "
            f"fit into {shape[0]}x{shape[1]}; make it smaller, move it, or enlarge the image"
        )
