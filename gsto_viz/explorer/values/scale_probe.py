"""One drawn object on a fixed street: where it fits, and what the branches of a network say of it.

One object on one background is an illustration of tuning, no estimate of anything.
"""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gsto_viz.data import CAMVID_CLASSES
from gsto_viz.data.scenes import probe_room, scale_probe
from gsto_viz.errors import GstoVizError
from gsto_viz.explorer.pictures import Picture, pixel_key
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.view_state import MAX_OBJECT, MIN_OBJECT, ViewState
from gsto_viz.look import Look
from gsto_viz.regions import PreparedRegions, prepare_regions, region_arrays
from gsto_viz.types import Sample, Stride

HEIGHT, WIDTH = 256, 512
"""Pixels of the street: what the shipped networks were trained on."""
OBJECTS = ("Car", "Pedestrian", "Bicyclist", "SignSymbol", "Tree", "Pole")
"""Classes that can be drawn, the one that reaches every size first."""
SIZES = tuple(sorted({round(MIN_OBJECT * 2 ** (k / 4)) for k in range(25)}))
"""Sizes that can be chosen, 4 to 256 px, a quarter of an octave apart as far as whole pixels go."""
CURVE = tuple(round(MIN_OBJECT * 2 ** (0.75 * k)) for k in range(9))
"""Sizes of a tuning curve, 4 to 256 px, three quarters of an octave apart."""
MARGIN = 1.06
"""A bounding box is known this well (``probe_room``)."""
assert (SIZES[-1], CURVE[-1]) == (MAX_OBJECT, MAX_OBJECT)


@dataclass(frozen=True)
class DrawnObject:
    """What is drawn where.

    Attributes:
        name: One of ``OBJECTS``.
        side: Square root of its area, pixels.
        x: Column of the middle of its bounding box, pixels.
        y: Row of the middle of its bounding box, pixels.
    """

    name: str
    side: int
    x: int
    y: int


@dataclass(frozen=True)
class Response:
    """What one network says of one object.

    Attributes:
        side: Square root of the area that was really drawn, pixels.
        percentiles: By branch, mean percentile over the object's core, or all of it where it is too
            small to have one (Z_r of ``metrics.md`` section 0).
        q: Coarseness at matched resolution; larger is coarser.
    """

    side: float
    percentiles: tuple[float, ...]
    q: float


Measured = tuple[Sequence[Stride], Response]
"""Strides of a network, and what it says of an object."""


def drawn_of(state: ViewState) -> DrawnObject:
    """Return the object of a view, where it is wanted."""
    name = state.object if state.object in OBJECTS else OBJECTS[0]
    x, y = (
        min(round(share * size), size - 1)
        for share, size in ((state.ox, WIDTH), (state.oy, HEIGHT))
    )
    return DrawnObject(name, nearest_size(state.side, sizes_that_fit(name)), x, y)


@functools.lru_cache(maxsize=64)
def sizes_that_fit(name: str, sizes: Sequence[int] = SIZES) -> tuple[int, ...]:
    """Return the sizes at which an object fits into the street when it is in its middle."""
    return tuple(side for side in sizes if _fits(name, side))


def _fits(name: str, side: int) -> bool:
    wide, high = probe_room(name, side)
    return MARGIN * wide <= WIDTH and MARGIN * high <= HEIGHT


def nearest_size(side: int, sizes: Sequence[int]) -> int:
    """Return the size that is fewest octaves away."""
    return min(sizes, key=lambda one: abs(math.log2(one / side)))


def moved_inside(drawn: DrawnObject) -> DrawnObject:
    """Return the object at the nearest place where all of it is in the image.

    Args:
        drawn: An object of a size that fits.
    """
    wide, high = probe_room(drawn.name, drawn.side)
    x = _inside(drawn.x, MARGIN * wide, WIDTH)
    y = _inside(drawn.y, MARGIN * high, HEIGHT)
    return DrawnObject(drawn.name, drawn.side, x, y)


def _inside(middle: int, box: float, size: int) -> int:
    # Small boxes are known to two or three pixels, whatever the margin says.
    half = min(box / 2 + 1.5, size / 2)
    return int(min(max(middle, math.ceil(half)), math.floor(size - half)))


def draw_object(drawn: DrawnObject) -> Picture:
    """Render an object on the street, with exact labels; instance 1 is the object.

    Raises:
        GstoVizError: It does not fit there.
    """
    place = (float(drawn.x), float(drawn.y))
    sample = scale_probe(drawn.name, drawn.side, place, height=HEIGHT, width=WIDTH)
    return Picture(
        sample=sample,
        key=pixel_key(sample.image),
        classes=CAMVID_CLASSES,
        description=(
            f"{drawn.name} of {drawn_side(sample):.1f} px (square root of its area) on a fixed "
            f"street, {WIDTH} x {HEIGHT} pixels."
        ),
    )


def drawn_side(sample: Sample) -> float:
    """Return the square root of the area of the object in a sample of ``draw_object``."""
    assert sample.instances is not None
    return math.sqrt(np.count_nonzero(sample.instances == 1))


def object_regions(sample: Sample, strides: Sequence[Stride]) -> PreparedRegions:
    """Cut a sample of ``draw_object`` into the object and what surrounds it."""
    assert sample.instances is not None
    labels = (sample.instances == 1).astype(np.uint8)
    return prepare_regions(labels, strides, sample.instances, None)


def object_number(regions: PreparedRegions) -> int:
    """Return the number of the object among the regions, from 1."""
    return int(np.flatnonzero(regions.regions.instance_id == 1)[0]) + 1


def object_response(inspection: Look, sample: Sample) -> Response:
    """Measure what the branches of a network say of the object."""
    regions = object_regions(sample, inspection.strides)
    k = object_number(regions) - 1
    columns = region_arrays(regions, inspection.activity)
    z = tuple(float(columns[f"z_{r}"][k]) for r in range(len(inspection.strides)))
    return Response(drawn_side(sample), z, float(columns["q"][k]))


def object_share(shown: Shown, sample: Sample, name: str) -> dict[str, float] | None:
    """Return the share of the object's pixels that each network gives its class, by letter, 0..1.

    Returns:
        None where the networks do not know the class.
    """
    if name not in shown.classes.names:
        return None
    assert sample.instances is not None
    inside = sample.instances == 1
    k = shown.classes.names.index(name)
    return {x: float((shown.inspections[x].prediction[inside] == k).mean()) for x in LETTERS}


def curve_objects(drawn: DrawnObject) -> tuple[DrawnObject, ...]:
    """Return the objects of a tuning curve: sizes that fit, at the place or the nearest one."""
    sizes = sizes_that_fit(drawn.name, CURVE)
    return tuple(moved_inside(DrawnObject(drawn.name, side, drawn.x, drawn.y)) for side in sizes)


def measure_curves(
    objects: Sequence[DrawnObject],
    measure: Callable[[str, DrawnObject], Measured],
) -> tuple[pd.DataFrame, list[str]]:
    """Measure tuning curves of A and B.

    Args:
        objects: What ``curve_objects`` gave.
        measure: Returns what network A or B says of an object.

    Returns:
        What ``curve_table`` gives, and one sentence for each object that could not be drawn.
    """
    rows, left_out = [], []
    for drawn in objects:
        try:
            pair = [(letter, *measure(letter, drawn)) for letter in LETTERS]
        except GstoVizError as error:
            left_out.append(str(error))
            continue
        rows += [(letter, strides, drawn, response) for letter, strides, response in pair]
    return curve_table(rows), left_out


def curve_table(
    responses: Iterable[tuple[str, Sequence[Stride], DrawnObject, Response]],
) -> pd.DataFrame:
    """Return tuning curves as one table.

    Args:
        responses: Network (A or B), its strides, the object, and what the network says of it.

    Returns:
        One row per network, object and branch: ``model``, ``object``, ``x``, ``y`` (px), ``side``
        (px, drawn), ``stride`` (px), ``percentile`` (0..1), ``q``.
    """
    rows = []
    for letter, strides, drawn, response in responses:
        about = {"model": letter, "object": drawn.name, "x": drawn.x, "y": drawn.y}
        for stride, percentile in zip(strides, response.percentiles, strict=True):
            row = {"side": response.side, "stride": stride, "percentile": percentile}
            rows.append(about | row | {"q": response.q})
    return pd.DataFrame(rows)


def trades_places(table: pd.DataFrame) -> str:
    """Describe at which sizes the coarsest branch answers more than the finest one.

    Args:
        table: Rows of one network of ``curve_table``.
    """
    fine, coarse = int(table["stride"].min()), int(table["stride"].max())
    wide = table.pivot_table(index="side", columns="stride", values="percentile").sort_index()
    above = wide.index[(wide[coarse] > wide[fine]).to_numpy()]
    if above.empty:
        return f"/{coarse} answers less than /{fine} at every size"
    if len(above) == len(wide):
        return f"/{coarse} answers more than /{fine} at every size"
    names = ", ".join(f"{side:.0f}" for side in above)
    return f"/{coarse} answers more than /{fine} at {names} px, and less at the other sizes"
