"""Where things stand: the two sides of the street, the traffic, the people, the masts."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from gsto_viz.data.scenes.buildings import Building, Panel, Pole, Sign, Tree
from gsto_viz.data.scenes.camera import Camera, Street, foliage_color, tint
from gsto_viz.data.scenes.canvas import View
from gsto_viz.data.scenes.traffic import Bicyclist, Car, Pedestrian

END_M = 150.0
"""The street is lined up to here; behind it stands a backdrop across."""


class Item(Protocol):
    """What the painter draws, those with a larger ``order`` first."""

    @property
    def order(self) -> float:
        """Return the z that nothing of the item lies behind."""

    def draw(self, view: View) -> None:
        """Draw onto the canvas of the view."""


def sample_items(rng: np.random.Generator, street: Street, camera: Camera) -> list[Item]:
    """Draw everything that stands in a street, sorted from far to near.

    No item may hide what stands nearer to the camera's z: the camera is at z = 0, so this order is
    exact for small things, and for long ones, which are ordered by their far ends.
    """
    items: list[Item] = list(_backdrop(rng))
    for side in (-1, 1):
        items += _line_side(rng, street, camera, side)
        items += _parked_cars(rng, street, side)
        items += _masts(rng, street, side)
        items += _street_trees(rng, street, side)
    items += _traffic(rng, street, camera)
    items += _people(rng, street)
    items += _bicyclists(rng, street)
    items += _signs(rng, street)
    return sorted(items, key=lambda item: -item.order)


def _far(rng: np.random.Generator, near: float, far: float) -> float:
    """Draw a distance whose logarithm is uniform, so that every octave of size is as likely."""
    return float(np.exp(rng.uniform(np.log(near), np.log(far))))


def _backdrop(rng: np.random.Generator) -> Iterator[Item]:
    """Close the view with a row of houses and trees across the end of the street."""
    x = -170.0
    while x < 170.0:
        width = rng.uniform(12.0, 35.0)
        near = END_M + rng.uniform(15.0, 60.0)
        if rng.random() < 0.65:
            base = np.array([[x, near], [x + width, near], [x + width, near + 12], [x, near + 12]])
            yield Building.sample(rng, base, int(rng.integers(2, 7)))
        else:
            for step in np.arange(0, width, 8.0).tolist():
                yield Tree.sample(rng, (x + step, near - 4.0))
        x += width


def _first_visible(street: Street, camera: Camera, u: float) -> float:
    """Return the smallest z at which a line u beside the road is in front of the camera."""
    for z in np.arange(0.0, 40.0, 0.5):
        x, _ = street.at(u, float(z))
        if camera.depth_of(x, 0.0, float(z)) > 1.0:
            return float(z)
    return 40.0


def _line_side(
    rng: np.random.Generator, street: Street, camera: Camera, side: int
) -> Iterator[Item]:
    """Fill one side with houses, gardens and fences, from near to far."""
    dense = rng.choice([0.95, 0.7, 0.3], p=[0.45, 0.35, 0.2])
    setback = float(rng.choice([0.0, rng.uniform(2.0, 8.0)]))
    storeys = int(rng.integers(1, 7))
    z = _first_visible(street, camera, street.frontage(side))
    while z < END_M:
        length = rng.uniform(7.0, 20.0)
        if street.crossing is not None and street.in_crossing(z, z + length, 3.0):
            z = street.crossing[1] + 3.0
            continue
        if rng.random() < dense:
            floors = max(1, storeys + int(rng.integers(-1, 2)))
            front = street.frontage(side) + side * (0.05 + setback)
            back = front + side * rng.uniform(8.0, 13.0)
            ends = (front, z), (front, z + length), (back, z + length), (back, z)
            yield Building.sample(rng, np.array([street.at(*end) for end in ends]), floors)
            if setback > 1.5 and rng.random() < 0.6:
                yield _panel(rng, street, side, (z, z + length))
        else:
            yield from _garden(rng, street, side, (z, z + length))
        z += length


def _panel(rng: np.random.Generator, street: Street, side: int, span: tuple[float, float]) -> Panel:
    u = street.frontage(side)
    hedge = bool(rng.random() < 0.25)
    if rng.random() < 0.5:
        color = tint(rng, rng.uniform(0.3, 0.75), 0.03)
    else:
        brown = rng.uniform(0.25, 0.5)
        color = (brown * 1.2, brown * 0.9, brown * 0.62)
    return Panel(
        start=street.at(u, span[0]),
        end=street.at(u, span[1]),
        height=rng.uniform(0.8, 2.1),
        hedge=hedge,
        posts=rng.uniform(1.6, 3.0),
        color=foliage_color(rng) if hedge else color,
    )


def _garden(
    rng: np.random.Generator, street: Street, side: int, span: tuple[float, float]
) -> Iterator[Item]:
    """Fill a gap between houses: trees behind, often a fence in front."""
    for _ in range(int(rng.integers(1, 5))):
        u = street.frontage(side) + side * rng.uniform(1.5, 10.0)
        yield Tree.sample(rng, street.at(u, rng.uniform(*span)))
    if rng.random() < 0.75:
        yield _panel(rng, street, side, span)


def _parked_cars(rng: np.random.Generator, street: Street, side: int) -> Iterator[Item]:
    if rng.random() < 0.4:
        return
    z, full = rng.uniform(4.0, 12.0), rng.uniform(0.35, 0.9)
    while z < 90.0:
        if rng.random() < full and not street.in_crossing(z, z, 6.0):
            u = side * (street.road / 2 - 1.05)
            turn = np.pi if rng.random() < (0.2 if side > 0 else 0.7) else 0.0
            yaw = street.along(z) + float(turn) + rng.normal(0.0, 0.03)
            car = Car.sample(rng, street.at(u, z), yaw)
            yield car
            z += max(0.0, car.length - 4.5)
        z += rng.uniform(5.6, 8.5)


def _traffic(rng: np.random.Generator, street: Street, camera: Camera) -> Iterator[Item]:
    """Draw moving cars in both lanes (none inside another), and now and then one crossing."""
    for side, turn in ((1, 0.0), (-1, np.pi)):
        z = 0.0
        for _ in range(int(rng.integers(0, 4))):
            z = max(z + 9.0, _far(rng, 6.0, 110.0))
            u = side * street.road / 2 * rng.uniform(0.25, 0.40)
            near_eye = z < 9.0 and abs(u - camera.eye[0]) < 1.2
            if z < 120.0 and not near_eye:
                yaw = street.along(z) + float(turn)
                yield Car.sample(rng, street.at(u, z), yaw)
    if street.crossing is not None and rng.random() < 0.6:
        z = float(np.mean(street.crossing)) + float(rng.choice([-1.6, 1.6]))
        yaw = float(rng.choice([-0.5, 0.5])) * float(np.pi)
        yield Car.sample(rng, street.at(rng.uniform(-14.0, 14.0), z), yaw)
    elif rng.random() < 0.25:
        # A bus or van close by, seen from the side: the largest things there are.
        shape = str(rng.choice(["bus", "van", "lorry", "estate"]))
        z = rng.uniform(7.5, 15.0)
        yaw = float(np.pi) / 2 + rng.normal(0.0, 0.5)
        yield Car.sample(rng, street.at(rng.uniform(-3.0, 3.0), z), yaw, shape)


def _people(rng: np.random.Generator, street: Street) -> Iterator[Item]:
    """Draw people on the pavements, some in groups, some on the zebra or crossing the road."""
    for _ in range(int(rng.integers(2, 11))):
        side = int(rng.choice([-1, 1]))
        inner, outer = side * street.road / 2, street.frontage(side)
        z = _far(rng, 3.0, 95.0)
        for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
            u = inner + (outer - inner) * rng.uniform(0.2, 0.92)
            spot = street.at(u, z + rng.uniform(-0.5, 0.5))
            yield Pedestrian.sample(rng, spot)
    crossing = int(rng.integers(0, 4)) if street.zebra is not None else int(rng.random() < 0.25)
    for _ in range(crossing):
        z = street.zebra + 1.5 if street.zebra is not None else _far(rng, 8.0, 50.0)
        u = rng.uniform(-0.5, 0.5) * street.road
        yield Pedestrian.sample(rng, street.at(u, z + rng.uniform(-1.2, 1.2)))


def _bicyclists(rng: np.random.Generator, street: Street) -> Iterator[Item]:
    for _ in range(int(rng.choice([0, 1, 1, 2, 3]))):
        side = int(rng.choice([-1, 1]))
        z = _far(rng, 4.0, 70.0)
        u = side * (street.road / 2 - rng.uniform(0.6, 2.8))
        yaw = street.along(z) + (0.0 if side > 0 else float(np.pi)) + rng.normal(0.0, 0.25)
        if rng.random() < 0.35:
            yaw += float(rng.choice([-1.0, 1.0])) * rng.uniform(0.9, 1.57)
        yield Bicyclist.sample(rng, street.at(u, z), yaw)


def _masts(rng: np.random.Generator, street: Street, side: int) -> Iterator[Item]:
    """Draw lamp posts along one kerb, evenly spaced."""
    if rng.random() < 0.15:
        return
    step = rng.uniform(14.0, 30.0)
    arm = -side * float(rng.choice([0.0, 1.3, 1.8]))
    model = Pole.sample(rng, (0.0, 0.0), arm)
    for z in np.arange(rng.uniform(3.0, step), 130.0, step):
        if not street.in_crossing(float(z), float(z), 1.0):
            spot = street.at(side * (street.road / 2 + 0.4), float(z))
            yield Pole(spot, model.height, model.radius, model.arm, model.color)


def _street_trees(rng: np.random.Generator, street: Street, side: int) -> Iterator[Item]:
    if rng.random() < 0.55:
        return
    step = rng.uniform(8.0, 16.0)
    for z in np.arange(rng.uniform(6.0, 14.0), 130.0, step):
        if rng.random() < 0.8 and not street.in_crossing(float(z), float(z), 1.5):
            spot = street.at(side * (street.road / 2 + 0.9), float(z))
            yield Tree.sample(rng, spot)


def _signs(rng: np.random.Generator, street: Street) -> Iterator[Item]:
    """Draw signs along both kerbs, and lights where there is a crossing or a zebra."""
    for _ in range(int(rng.integers(2, 8))):
        side, z = int(rng.choice([-1, 1])), _far(rng, 4.5, 80.0)
        form = str(rng.choice(["disc", "triangle", "board"], p=[0.45, 0.3, 0.25]))
        spot = street.at(side * (street.road / 2 + 0.5), z)
        yield Sign.sample(rng, spot, form)
    stop = street.crossing[0] - 1.0 if street.crossing is not None else street.zebra
    if stop is not None and rng.random() < 0.7:
        for side in (-1, 1):
            spot = street.at(side * (street.road / 2 + 0.3), stop)
            yield Sign.sample(rng, spot, "lights")
