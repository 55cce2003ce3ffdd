"""Objects whose size says nothing about their class: the scenes of ``decorrelated=1``.

In an ordinary street poles are small and houses large, so that a network that knows the class seems
to know the size. Here sizes are drawn first and classes are dealt out without looking at them; then
each object is made larger or smaller than life until it covers as many pixels as its size says, and
stands where it hides nothing and nothing hides it. Where there is no room, shapes and places are
drawn again, never sizes or classes.

Eight of CamVid's classes are objects here: Building, Pole, Tree, SignSymbol, Fence, Car, Pedestrian
and Bicyclist. Sky, Road and Pavement are the background and keep their usual sizes. What would be a
second object with a size of its own is left out: the post under a sign, the backdrop of houses and
trees, grass (of class Tree) beside the street. Only shapes that fit into the image are seen at the
largest sizes: the largest poles are stout, the largest pedestrians broad.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from gsto_viz.data.scenes.buildings import Building, Panel, Pole, Sign, Tree
from gsto_viz.data.scenes.camera import (
    BICYCLIST,
    BUILDING,
    CAR,
    FENCE,
    PEDESTRIAN,
    POLE,
    SIGN,
    THINGS,
    TREE,
    Camera,
    Light,
    Spot,
    tint,
)
from gsto_viz.data.scenes.canvas import View, drawn_alone
from gsto_viz.data.scenes.layout import Item
from gsto_viz.data.scenes.traffic import Bicyclist, Car, Pedestrian, Standing
from gsto_viz.types import FloatArray

SIZES = 1 / 32, 0.45
"""Least and greatest size (square root of the area) as shares of the image's shorter side: 8 to 115
px at 256 x 512. A larger bicyclist would be taller than the image."""
COUNT = 12
"""Objects in an image of 1:2; images of other shapes have as many for their area."""

_SIDE_PX = 256
"""Everything is arranged in an image with this shorter side, so that size changes nothing."""
_COUNTS = 4, 24
_FOCAL = 0.9
"""Least focal length as a share of the shorter side."""
_FARTHEST_M = 60.0
"""Objects stand no farther away, or haze would hide them."""
_TOLERANCE = 0.02
"""Greatest relative difference between the drawn and the wanted size."""
_EDGE_PX, _GAP_PX = 2, 4
_ROUNDS, _TRIES, _FITS = 20, 20, 8
"""Arrangements of a scene, shapes of an object, corrections of its scale."""

Pixel = tuple[int, int]
"""Row and column."""
Maker = Callable[[np.random.Generator, Spot, float], Item]
"""Draws an object of its usual size at a ground point, seen in a direction (radians to the right of
z)."""


@dataclass(frozen=True)
class Scaled(Standing):
    """An item that is larger or smaller than life.

    Attributes:
        item: The item in its usual size; it grows about the spot.
        factor: Its size over its usual size.
    """

    item: Item
    factor: float

    def draw(self, view: View) -> None:
        """Draw the item as a camera sees it that is nearer by the factor: the same pixels."""
        foot = np.array([self.spot[0], 0.0, self.spot[1]])
        eye = foot + (view.camera.eye - foot) / self.factor
        first = view.canvas.count
        self.item.draw(replace(view, camera=replace(view.camera, eye=eye)))
        view.canvas.move_pieces(first, self.factor)


def _pole(rng: np.random.Generator, spot: Spot, bearing: float) -> Item:
    slender = float(np.exp(rng.uniform(np.log(2.5), np.log(40.0))))
    arm = float(rng.choice([-1.5, 0.0, 1.5])) if slender > 12 else 0.0
    pole = Pole.sample(rng, spot, arm)
    return replace(pole, radius=0.5 * pole.height / slender)


def _sign(rng: np.random.Generator, spot: Spot, bearing: float) -> Item:
    sign = Sign.sample(rng, spot, str(rng.choice(["disc", "triangle", "board"])))
    wide, high = 3 * sign.size[0], 3 * sign.size[1]
    return replace(sign, size=(wide, high), height=high)


def _fence(rng: np.random.Generator, spot: Spot, bearing: float) -> Item:
    height = rng.uniform(0.8, 2.1)
    half = 0.5 * height * float(np.exp(rng.uniform(np.log(1.5), np.log(5.0))))
    turn = bearing + rng.uniform(-0.6, 0.6)
    aside, ahead = half * float(np.cos(turn)), -half * float(np.sin(turn))
    return Panel(
        start=(spot[0] - aside, spot[1] - ahead),
        end=(spot[0] + aside, spot[1] + ahead),
        height=height,
        hedge=False,
        posts=rng.uniform(1.6, 3.0),
        color=tint(rng, rng.uniform(0.3, 0.75), 0.06),
    )


def _building(rng: np.random.Generator, spot: Spot, bearing: float) -> Item:
    turn = rng.uniform(0.15, 0.9) * float(rng.choice([-1.0, 1.0]))
    half = 0.5 * rng.uniform(7.0, 14.0), 0.5 * rng.uniform(6.0, 10.0)
    # The front looks to the camera, turned; along it, the end that is seen is the near one.
    out = np.array([-np.sin(bearing + turn), -np.cos(bearing + turn)])
    along = np.array([-out[1], out[0]]) * np.sign(turn)
    front, near = half[1] * out, half[0] * along
    base = np.array(spot) + np.array([front + near, front - near, -front - near, near - front])
    return Building.sample(rng, base, int(rng.integers(1, 5)))


def _turned(rng: np.random.Generator, bearing: float) -> float:
    return bearing + rng.uniform(-np.pi, np.pi)


_MAKERS: dict[int, tuple[Maker, float]] = {
    BUILDING: (_building, 8.0),
    POLE: (_pole, 2.5),
    TREE: (lambda rng, spot, _: Tree.sample(rng, spot), 4.5),
    SIGN: (_sign, 1.8),
    FENCE: (_fence, 2.3),
    CAR: (lambda rng, spot, at: Car.sample(rng, spot, _turned(rng, at)), 2.3),
    PEDESTRIAN: (lambda rng, spot, _: Pedestrian.sample(rng, spot), 0.9),
    BICYCLIST: (lambda rng, spot, at: Bicyclist.sample(rng, spot, _turned(rng, at)), 1.0),
}
"""By class: what draws its objects, and about how many metres the square root of their area is."""
DECORRELATED = tuple(_MAKERS)
"""Class indices whose objects have sizes that do not depend on the class."""


def narrow_view(camera: Camera, height: int, width: int) -> Camera:
    """Return the camera with a view narrow enough to show every object at its largest.

    No object is drawn nearer than a metre or two, and from there a wide view shows a bicyclist
    smaller than the largest size. Images of 1:2 are never concerned.
    """
    return replace(camera, focal_px=max(camera.focal_px, _FOCAL * min(height, width)))


def sample_objects(
    rng: np.random.Generator, camera: Camera, light: Light, height: int, width: int
) -> list[Item]:
    """Draw the objects of a scene, sorted from far to near.

    One that finds no room in any of 20 arrangements is left out (none in 1,000 scenes of 1:2).

    Args:
        rng: Draws sizes, classes, shapes and places.
        camera: The camera of the image.
        light: Light of the scene; objects are measured on trial pictures.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
    """
    zoom = _SIDE_PX / min(height, width)
    center = camera.center_px[0] * zoom, camera.center_px[1] * zoom
    small = replace(camera, focal_px=camera.focal_px * zoom, center_px=center)
    shape = round(height * zoom), round(width * zoom)
    sizes, labels = _targets(rng, shape[0] * shape[1])
    targets = list(zip(labels.tolist(), sizes.tolist(), strict=True))
    items: list[Scaled | None] = []
    for _ in range(_ROUNDS):
        floor = _Floor(small, light, shape)
        items = [floor.place(rng, label, size) for label, size in targets]
        if None not in items:
            break
    return sorted((item for item in items if item is not None), key=lambda item: -item.order)


def _targets(rng: np.random.Generator, area_px: int) -> tuple[FloatArray, npt.NDArray[np.intp]]:
    """Draw sizes in pixels, largest first, and, knowing nothing of them, a class for each.

    The sizes are one from each of equal parts of the span, so that every scene has room for them;
    the logarithm of each of them alone is uniform.
    """
    count = int(np.clip(COUNT * area_px / (2 * _SIDE_PX**2), *_COUNTS))
    share = (np.arange(count)[::-1] + rng.random(count)) / count
    least, most = SIZES
    decks = [rng.permutation(DECORRELATED) for _ in range(-(-count // len(DECORRELATED)))]
    labels = rng.permutation(np.concatenate(decks)[:count])
    return _SIDE_PX * least * (most / least) ** share, labels


@dataclass(frozen=True)
class _Fitted:
    """An object that covers as many pixels as it should.

    Attributes:
        item: The object.
        natural_m: Square root of its area in its usual size, seen from here, in metres.
        reach: Pixels from the pixel it stands on up, down, left and right to the ends of its box.
    """

    item: Scaled
    natural_m: float
    reach: tuple[int, int, int, int]

    def window(self, foot: Pixel, gap: int = 0) -> tuple[slice, slice]:
        """Return the rows and columns of its box, widened by a gap."""
        up, down, left, right = self.reach
        row, column = foot
        return (
            slice(max(0, row - up - gap), row + down + gap),
            slice(max(0, column - left - gap), column + right + gap),
        )


class _Floor:
    """The ground as the camera sees it, and how much of the image is taken.

    Attributes:
        taken: (H, W), 1 in the boxes of objects, in a gap around them, and at the image's edge.
    """

    def __init__(self, camera: Camera, light: Light, shape: Pixel) -> None:
        self.camera, self.light, self.shape = camera, light, shape
        self.taken = np.ones(shape, dtype=np.uint8)
        self.taken[_EDGE_PX:-_EDGE_PX, _EDGE_PX:-_EDGE_PX] = 0
        self._rays = camera.rays(*shape)
        self._near = -self._rays[..., 1] * _FARTHEST_M > camera.eye[1]

    def place(self, rng: np.random.Generator, label: int, size: float) -> Scaled | None:
        """Put an object of a class and size where there is room; None if there never is.

        Args:
            rng: Draws shapes and places until they go together.
            label: Class index.
            size: Square root of the object's area in pixels.
        """
        natural_m = _MAKERS[label][1]
        for _ in range(_TRIES):
            look = int(rng.integers(2**62))
            foot = self._pick(rng, self._near)
            trial = (
                None if foot is None else self._fit(label, look, foot, size, natural_m, apart=True)
            )
            if trial is None:
                continue
            foot = self._pick(rng, self._near & self._room(trial.reach))
            if foot is None:
                continue
            found = self._fit(label, look, foot, size, trial.natural_m, apart=False)
            # From the new place a solid shape looks a little different.
            if found is not None and not self.taken[found.window(foot)].any():
                self.taken[found.window(foot, _GAP_PX)] = 1
                return found.item
        return None

    def _pick(self, rng: np.random.Generator, allowed: npt.NDArray[np.bool_]) -> Pixel | None:
        """Draw one of the allowed pixels (H, W); None where there is none."""
        where = np.flatnonzero(allowed)
        if len(where) == 0:
            return None
        row, column = divmod(int(where[rng.integers(len(where))]), self.shape[1])
        return row, column

    def _room(self, reach: tuple[int, int, int, int]) -> npt.NDArray[np.bool_]:
        """Return the pixels (H, W) on which an object could stand so that its whole box fits."""
        up, down, left, right = reach
        high, wide = up + down, left + right
        feet = np.zeros(self.shape, dtype=bool)
        if high > self.shape[0] or wide > self.shape[1] or min(reach) < 0:
            return feet
        total = cv2.integral(self.taken)
        inside = total[high:, wide:] - total[:-high, wide:] - total[high:, :-wide]
        inside += total[:-high, :-wide]
        rows, columns = inside.shape
        feet[up : up + rows, left : left + columns] = (inside == 0)[
            : self.shape[0] - up, : self.shape[1] - left
        ]
        return feet

    def _fit(
        self, label: int, look: int, foot: Pixel, size: float, natural_m: float, *, apart: bool
    ) -> _Fitted | None:
        """Scale an object that stands on a pixel until its area is right; None if it never is.

        Args:
            label: Class index.
            look: Seed of its shape and colours.
            foot: The pixel it stands on.
            size: Wanted square root of its area in pixels.
            natural_m: A guess of the square root of its area in metres.
            apart: Draw it in the middle of a canvas of its own, where no edge cuts it.
        """
        (row, column), (height, width), camera = foot, self.shape, self.camera
        spot, bearing = self._ground(foot)
        depth = camera.depth_of(spot[0], 0.0, spot[1])
        item = _MAKERS[label][0](np.random.Generator(np.random.PCG64(look)), spot, bearing)
        if apart:
            (u, v), (row, column) = camera.center_px, (height, width // 2)
            camera = replace(camera, center_px=(u + column - foot[1], v + row - foot[0]))
            height += height // 4
        for _ in range(_FITS):
            scaled = Scaled(spot, item, depth * size / (camera.focal_px * natural_m))
            pieces = drawn_alone(scaled.draw, camera, self.light, (height, width))
            drawn = float(np.sqrt(np.count_nonzero(pieces)))
            if drawn == 0:
                return None
            if abs(drawn / size - 1) <= _TOLERANCE:
                mask = (pieces > 0).astype(np.uint8)
                if label not in THINGS and cv2.connectedComponents(mask)[0] != 2:
                    return None  # Without instance numbers two parts would count as two objects.
                left, top, wide, high = cv2.boundingRect(mask)
                reach = (row - top, top + high - row, column - left, left + wide - column)
                return _Fitted(scaled, natural_m, reach)
            natural_m *= drawn / size
        return None

    def _ground(self, foot: Pixel) -> tuple[Spot, float]:
        """Return the ground point (x, z) that a pixel shows, and its bearing from the camera."""
        ex, ey, ez = self.camera.eye.tolist()
        rx, ry, rz = self._rays[foot].tolist()
        ahead, aside = -rz * ey / ry, -rx * ey / ry
        return (ex + aside, ez + ahead), float(np.arctan2(aside, ahead))
