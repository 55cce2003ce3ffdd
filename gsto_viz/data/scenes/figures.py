"""Procedural people: jointed figures of all sizes with exact key points, masks and instances.

An image shows two or more figures over a textured background with distractors. Their sizes, square
roots of visible areas, are drawn octave by octave: from 8 px (1/32 of the shorter side where that
is more) up to 3/4 of the shorter side, where only part of a body fits into the image. An image
holds at most one figure of an octave, each octave as often as any other. Limbs of the left have one
colour and those of the right another one, drawn for each figure; which of them is left follows from
front or back (face, light panel of the shirt), so that a mirror image is a possible image.

Figures are drawn back to front into one buffer of pieces, from which everything is read. A joint is
visible (2) where its pixel shows a part of the body that it belongs to, hidden (1) behind another
part or figure, and absent (0) outside the image. Area and box are those of the visible mask.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from gsto_viz.data.classes import shipped_classes
from gsto_viz.data.people import mask_box
from gsto_viz.data.scenes.body import NUMBER, Body, Part, outlines, sample_body
from gsto_viz.data.scenes.camera import Color, tint
from gsto_viz.data.scenes.canvas import TILE, Canvas, FloatImage, noise_tile, sensor_noise
from gsto_viz.data.scenes.dataset import Procedural, annotation, check_size
from gsto_viz.data.scenes.traffic import SKIN
from gsto_viz.errors import GstoVizError
from gsto_viz.joints import COCO_JOINTS, Joints
from gsto_viz.types import ClassList, FloatArray, Person, Sample

SMALLEST_PX, SMALLEST_SHARE, LARGEST_SHARE = 8.0, 1 / 32, 0.75
"""Sizes of figures: in pixels, and as shares of the shorter side of the image."""
TRIES = 30
FREE_JOINTS = 5
"""So many joints of a figure lie in the image and in the box of no figure in front of it, if a
place for that is found in so many tries; one joint does in any case."""
_COARSE_PX = 96
"""Longer side of the pictures in which areas are estimated before anything is drawn."""

PERSON = 1
"""Its class; all else is 0, the background."""


def size_octaves(side: int) -> list[tuple[float, float]]:
    """Return the sizes, in pixels, that figures of an image with this shorter side have.

    From ``SMALLEST_SHARE`` of the side on, one octave after the other; the last one begins at or
    below half the side (a tenth above, as others hide part of these) and ends at ``LARGEST_SHARE``.
    """
    low, octaves = max(SMALLEST_PX, SMALLEST_SHARE * side), []
    while 2 * low <= side / 2:
        octaves.append((low, 2 * low))
        low *= 2
    return [*octaves, (1.1 * low, LARGEST_SHARE * side)]


@dataclass(frozen=True, eq=False)
class Figure:
    """A body in an image.

    Attributes:
        body: Its pose.
        scale: Pixels of its height.
        at: (2,) x and y of the middle of its trunk; whole numbers are centres of pixels.
        colors: Of each part, by its name.
    """

    body: Body
    scale: float
    at: FloatArray
    colors: dict[str, Color]

    @cached_property
    def joints(self) -> FloatArray:
        """Places of the joints in the image, (17, 2)."""
        return self.body.joints[:, :2] * self.scale + self.at

    @cached_property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of all its parts."""
        points = np.concatenate(outlines(self.body, self.scale, self.at))
        return (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())


def figure_count(seed: int, index: int, height: int, width: int) -> int:
    """Return how many figures an image shows, without laying it out."""
    return _count(_generators(seed, index)[0], height, width)


def _count(rng: np.random.Generator, height: int, width: int) -> int:
    return int(rng.integers(2, len(size_octaves(min(height, width))) + 1))


def _generators(seed: int, index: int) -> tuple[np.random.Generator, np.random.Generator]:
    """Return the generators of what is there and of how it is painted."""
    layout, film = np.random.SeedSequence((seed, index)).spawn(2)
    return np.random.Generator(np.random.PCG64(layout)), np.random.Generator(np.random.PCG64(film))


def sample_figures(rng: np.random.Generator, height: int, width: int) -> list[Figure]:
    """Draw the figures of an image, from the back to the front."""
    octaves = size_octaves(min(height, width))
    chosen = rng.choice(len(octaves), _count(rng, height, width), replace=False)
    low, high = np.array(octaves)[chosen].T
    sizes = low * (high / low) ** rng.random(len(chosen))
    # Smaller ones are in front, because a larger one would hide them; among the small ones, of two
    # that are nearly alike either may be.
    swap = rng.uniform(-0.5, 0.5, len(sizes)) * (sizes < min(height, width) / 4)
    order = np.argsort(-sizes * 2**swap)
    figures: list[Figure] = []
    for size in sizes[order].tolist():
        figures.append(_placed(rng, size, figures, height, width))
    return figures


def _placed(
    rng: np.random.Generator, size: float, behind: list[Figure], height: int, width: int
) -> Figure:
    """Draw a figure of a size and find a place for it in front of others.

    No figure is hidden altogether, so that the number of persons is that of figures.
    """
    body, colors = sample_body(rng), _outfit(rng)
    alone = size / np.sqrt(_coverage(body))
    best, most = None, -1
    for tried in range(20 * TRIES):
        if most >= (FREE_JOINTS if tried < TRIES else 1):
            break
        at = _somewhere(rng, body, alone, height, width)
        one = Figure(body, _fitted(body, alone, at, size, height, width), at, colors)
        inside = int(_inside(one.joints, height, width).sum())
        free = min([inside, *(_free(other, [*behind, one], height, width) for other in behind)])
        if free > most:
            best, most = one, free
    assert best is not None
    return best


def _coverage(body: Body) -> float:
    """Return the area of a body as a share of its squared height."""
    side = 2 * _COARSE_PX
    middle = np.array([side / 2, side / 2])
    return _area(body, _COARSE_PX, middle, (side, side)) / _COARSE_PX**2


def _area(body: Body, scale: float, at: FloatArray, shape: tuple[int, int]) -> float:
    """Return the pixels of a body in an image of a shape."""
    mask = np.zeros(shape, dtype=np.uint8)
    for outline in outlines(body, scale, at):
        cv2.fillConvexPoly(mask, np.rint(outline * 16).astype(np.int32), 1, shift=4)
    return max(float(np.count_nonzero(mask)), 1.0)


def _fitted(
    body: Body, scale: float, at: FloatArray, size: float, height: int, width: int
) -> float:
    """Return the scale at which the part of a body that is in the image has a size."""
    joints = body.joints[:, :2] * scale * 1.1 + at
    if _inside(joints, height, width).all():
        return scale
    coarse = _COARSE_PX / max(height, width)
    shape = round(height * coarse), round(width * coarse)
    for _ in range(4):
        found = np.sqrt(_area(body, scale * coarse, (at + 0.5) * coarse - 0.5, shape)) / coarse
        scale *= float(np.clip(size / found, 0.7, 1.5))
    return scale


def _somewhere(
    rng: np.random.Generator, body: Body, scale: float, height: int, width: int
) -> FloatArray:
    """Draw a place: one where the whole body is seen, where there is one, or else in the middle."""
    side = np.array([width, height], dtype=float)
    low = 3 - body.joints[:, :2].min(axis=0) * 1.1 * scale
    high = side - 4 - body.joints[:, :2].max(axis=0) * 1.1 * scale
    if rng.random() < 0.12:
        # Cut by the edge of the image.
        low, high = 0.08 * side, 0.92 * side
    middle = (0.35 * side, 0.65 * side)
    fits = high > low
    low, high = np.where(fits, low, middle[0]), np.where(fits, high, middle[1])
    return low + (high - low) * rng.random(2)


def _inside(points: FloatArray, height: int, width: int) -> npt.NDArray[np.bool_]:
    """Tell which points (N, 2) lie on a pixel of the image."""
    pixels = np.rint(points)
    return np.asarray(((pixels >= 0) & (pixels < [width, height])).all(axis=1))


def _free(figure: Figure, figures: list[Figure], height: int, width: int) -> int:
    """Count the joints of a figure that are in the image and in no box in front of it."""
    joints = figure.joints
    free = _inside(joints, height, width)
    place = next(k for k, one in enumerate(figures) if one is figure)
    for other in figures[place + 1 :]:
        left, top, right, bottom = other.box
        x, y = joints.T
        free &= ~((x > left - 1) & (x < right + 1) & (y > top - 1) & (y < bottom + 1))
    return int(free.sum())


def _color(hue: float, saturation: float, value: float) -> Color:
    """Return the colour of a hue in degrees."""
    offsets = (hue + np.array([0.0, 240.0, 120.0])) / 60.0
    shares = np.clip(np.abs(np.mod(offsets, 6.0) - 3.0) - 1.0, 0.0, 1.0)
    red, green, blue = (value * (1 - saturation * (1 - shares))).tolist()
    return red, green, blue


def _outfit(rng: np.random.Generator) -> dict[str, Color]:
    """Draw the colours of all parts: those of the left differ in hue from those of the right."""
    skin = SKIN[int(rng.integers(len(SKIN)))]
    shirt = _color(rng.uniform(0, 360), rng.uniform(0.0, 0.35), rng.uniform(0.2, 0.75))
    hair = tint(rng, rng.uniform(0.06, 0.3), 0.03)
    panel = tint(rng, rng.uniform(0.82, 0.95), 0.03)
    colors = {"torso": shirt, "panel": panel, "hair": hair, "head": skin, "neck": skin}
    colors["nose"] = (skin[0] * 0.75, skin[1] * 0.6, skin[2] * 0.6)
    first = rng.uniform(0, 360)
    hues = {"left": first, "right": first + rng.uniform(100, 260)}
    bare = rng.random() < 0.2
    for side, hue in hues.items():
        sleeve = _color(hue, rng.uniform(0.6, 0.95), rng.uniform(0.55, 0.95))
        leg = _color(hue + rng.normal(0, 8), rng.uniform(0.6, 0.95), rng.uniform(0.35, 0.75))
        colors[f"{side} upper arm"] = sleeve
        colors[f"{side} forearm"] = skin if bare else _dimmed(sleeve, 0.85)
        colors[f"{side} hand"] = skin
        colors[f"{side} thigh"], colors[f"{side} shin"] = leg, _dimmed(leg, 0.85)
        colors[f"{side} foot"] = _dimmed(leg, 0.4)
        colors[f"{side} eye"] = (0.05, 0.05, 0.08)
        colors[f"{side} ear"] = _dimmed(skin, 0.85)
    return colors


def _dimmed(color: Color, factor: float) -> Color:
    return color[0] * factor, color[1] * factor, color[2] * factor


def _of_face(name: str) -> bool:
    return name == "nose" or name.endswith((" eye", " ear"))


_LIMBS = {
    "shoulder": ("upper arm",),
    "elbow": ("upper arm", "forearm"),
    "wrist": ("forearm", "hand"),
    "hip": ("thigh",),
    "knee": ("thigh", "shin"),
    "ankle": ("shin", "foot"),
}
"""The parts that meet in a joint, beside the trunk."""
_TRUNK = ("torso", "panel")
_TRUNK_DEPTH = 0.06
"""Joints that lie so much behind the middle of the trunk are behind it."""


def _shows(body: Body, joint: str, part: str) -> bool:
    """Whether a joint is seen where a part of the same body is seen."""
    near = float(body.joints[NUMBER[joint], 2])
    if _of_face(joint):
        return _of_face(part) and near > body.head_depth - 0.01
    side, _, name = joint.partition(" ")
    if part in _TRUNK:
        return name in ("shoulder", "hip") and near > -_TRUNK_DEPTH
    return part in [f"{side} {limb}" for limb in _LIMBS[name]]


Shown = dict[int, tuple[int, Part]]
"""Of the pieces of figures: the number of the figure, from 0 on, and the part."""


def render_figures(seed: int, index: int, height: int = 256, width: int = 256) -> Sample:
    """Render image ``index`` of the set with this seed.

    Everything is drawn from ``SeedSequence((seed, index))``, as in ``render_scene``.

    Args:
        seed: Scene seed; below 1,000,000 for training, from there on for everything else.
        index: Number of the image, from 0.
        height: Pixels, 64..4096.
        width: Pixels, 64..4096.

    Raises:
        GstoVizError: A number is out of range.
    """
    check_size(height, width)
    if seed < 0 or index < 0:
        raise GstoVizError(f"figure seed {seed}, index {index}: both must be 0 or more")
    layout, film = _generators(seed, index)
    figures = sample_figures(layout, height, width)
    canvas = Canvas(height, width)
    _background(canvas, film)
    shown: Shown = {}
    for number, figure in enumerate(figures):
        _draw(canvas, figure, number, shown)
    labels, instances = annotation(canvas)
    people = tuple(
        _person(figure, number, canvas.pieces, shown) for number, figure in enumerate(figures)
    )
    image = _photograph(canvas, film)
    return Sample(_figure_id(seed, index), image, labels, instances, people=people)


def _figure_id(seed: int, index: int) -> str:
    return f"figures-{seed:07d}-{index:05d}"


def _draw(canvas: Canvas, figure: Figure, number: int, shown: Shown) -> None:
    """Draw the parts of a figure, the farthest first; nearer ones are brighter."""
    instance = canvas.new_instance()
    placed = outlines(figure.body, figure.scale, figure.at + 0.5)
    for part, outline in zip(figure.body.parts, placed, strict=True):
        color = _dimmed(figure.colors[part.name], float(np.clip(0.92 + part.depth, 0.7, 1.15)))
        piece = canvas.piece(PERSON, color, depth=0.0, instance=instance, grain=0.06)
        canvas.fill(piece, [outline])
        shown[piece] = number, part


def _person(figure: Figure, number: int, pieces: npt.NDArray[np.int32], shown: Shown) -> Person:
    """Read off the pieces what is seen of a figure."""
    height, width = pieces.shape
    places = figure.joints
    joints = np.zeros((len(COCO_JOINTS), 3), dtype=np.float32)
    inside = _inside(places, height, width)
    for name, k in NUMBER.items():
        if inside[k]:
            column, row = np.rint(places[k]).astype(int)
            who, part = shown.get(int(pieces[row, column]), (-1, None))
            seen = part is not None and who == number and _shows(figure.body, name, part.name)
            joints[k] = *places[k], 2 if seen else 1
    own = [piece for piece, (who, _) in shown.items() if who == number]
    mask = (pieces >= own[0]) & (pieces <= own[-1])
    return Person(joints, mask_box(mask), float(np.count_nonzero(mask)), number + 1)


def _background(canvas: Canvas, rng: np.random.Generator) -> None:
    """Cover a canvas with sticks, discs and boards in the colours of bodies and others."""
    height, width = canvas.height, canvas.width
    canvas.piece(0, (0.0, 0.0, 0.0), depth=0.0, grain=0.25)
    side = min(height, width)
    for _ in range(int(rng.integers(12, 36))):
        length = side * 2 ** rng.uniform(-5.5, -0.7)
        at = rng.random(2) * [width, height]
        kind = rng.random()
        if kind < 0.55:
            _sticks(canvas, rng, at, length)
        else:
            sides = 16 if kind < 0.75 else int(rng.integers(3, 6))
            angles = np.sort(rng.random(sides)) * 2 * np.pi
            if sides == 16:
                angles = np.linspace(0, 2 * np.pi, sides, endpoint=False)
            ring = np.stack([np.cos(angles), np.sin(angles) * rng.uniform(0.5, 1.0)], axis=1)
            canvas.fill(_plain(canvas, rng), [at + 0.35 * length * ring])


def _sticks(canvas: Canvas, rng: np.random.Generator, at: FloatArray, length: float) -> None:
    """Draw a chain of sticks, such as a limb without a body."""
    turns = np.cumsum(rng.uniform(-1.2, 1.2, int(rng.integers(1, 4)))) + rng.uniform(0, 6.3)
    steps = np.stack([np.cos(turns), np.sin(turns)], axis=1) * length * 0.6
    points = np.concatenate([[at], at + np.cumsum(steps, axis=0)])
    canvas.line(_plain(canvas, rng), points, length * rng.uniform(0.08, 0.3))


def _plain(canvas: Canvas, rng: np.random.Generator) -> int:
    """Register a piece of the background in a colour of skin, of clothes, or grey."""
    kind = rng.random()
    if kind < 0.2:
        color = SKIN[int(rng.integers(len(SKIN)))]
    elif kind < 0.65:
        color = _color(rng.uniform(0, 360), rng.uniform(0.3, 0.95), rng.uniform(0.25, 0.9))
    else:
        color = tint(rng, rng.uniform(0.1, 0.9), 0.04)
    return canvas.piece(0, color, depth=0.0, grain=float(rng.uniform(0.05, 0.3)))


def _photograph(canvas: Canvas, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Colour the pieces; light, texture, blur and noise are those of one photograph."""
    height, width = canvas.pieces.shape
    table = canvas.table()
    color: FloatImage = np.take(table["color"], canvas.pieces, axis=0)
    bare = canvas.pieces == 0
    color[bare] = _ground(rng, height, width)[bare]
    grain = _texture(rng, height, width)
    grain *= np.take(table["grain"], canvas.pieces)
    grain += _smooth(rng, 3, height, width) * np.float32(0.06) + np.float32(rng.uniform(0.85, 1.1))
    color *= grain[..., None]
    blur = float(rng.uniform(0.35, 0.75))
    color = np.asarray(cv2.GaussianBlur(color, (0, 0), blur, borderType=cv2.BORDER_REFLECT))
    color += sensor_noise(color.shape, float(rng.uniform(0.008, 0.03)), rng)
    color *= np.float32(255.0)
    color += np.float32(0.5)
    np.clip(color, 0.0, 255.0, out=color)
    return color.astype(np.uint8)


def _smooth(rng: np.random.Generator, cells: int, height: int, width: int) -> FloatImage:
    """Return smooth noise (H, W) of about unit variance, ``cells`` bumps across."""
    grid = rng.standard_normal((cells + 2, cells + 2), dtype=np.float32)
    return np.asarray(
        cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32
    )


def _ground(rng: np.random.Generator, height: int, width: int) -> FloatImage:
    """Return the plain background: three colours that flow into each other."""
    colors = np.array(
        [_color(rng.uniform(0, 360), rng.uniform(0.0, 0.5), rng.uniform(0.2, 0.85)) for _ in "abc"],
        dtype=np.float32,
    )
    color = np.broadcast_to(colors[0], (height, width, 3)).copy()
    for k, cells in ((1, 2), (2, int(rng.integers(4, 14)))):
        share = np.clip(0.5 + _smooth(rng, cells, height, width), 0.0, 1.0)[..., None]
        color += (colors[k] - color) * share
    return color


def _texture(rng: np.random.Generator, height: int, width: int) -> FloatImage:
    """Return fine and coarse noise (H, W)."""
    tile = noise_tile()
    top, left = rng.integers(0, TILE, 2).tolist()
    rows, columns = _there_and_back(height, top), _there_and_back(width, left)
    coarse = 1 << int(rng.integers(1, 4))
    few = tile[rows[: height // coarse + 2, None], columns[: width // coarse + 2]]
    wide = cv2.resize(few, (0, 0), fx=coarse, fy=coarse, interpolation=cv2.INTER_LINEAR)
    return tile[rows[:, None], columns] + wide[:height, :width]


def _there_and_back(length: int, start: int) -> npt.NDArray[np.intp]:
    """Return indices into the noise tile, (length,), which turn at its ends: no seam shows."""
    places = (np.arange(length) + start) % (2 * TILE)
    return np.minimum(places, 2 * TILE - 1 - places)


class FigureDataset(Procedural):
    """``count`` images of procedural people; arguments and errors as for ``Procedural``."""

    kind = "figures"
    joints: Joints = COCO_JOINTS

    @property
    def classes(self) -> ClassList:
        """Background and person."""
        return shipped_classes("person")

    @property
    def people_counts(self) -> tuple[int, ...]:
        """Persons of each image, known without rendering it."""
        indices = range(len(self))
        return tuple(figure_count(self.scene_seed, index, *self.size) for index in indices)

    def id_of(self, index: int) -> str:
        """Return an id such as ``figures-1000000-00003``."""
        return _figure_id(self.scene_seed, index)

    def render(self, index: int) -> Sample:
        """Render one image."""
        return render_figures(self.scene_seed, index, *self.size)
