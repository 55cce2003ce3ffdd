"""Numbers of the page "Attribution": what is asked at the probe, what the branches add to it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gsto_viz.activity import cell_at
from gsto_viz.attribution.areas import Area, Mask, Pixel, View, peak_pixels
from gsto_viz.attribution.shapley import BranchShapley, EvidenceField
from gsto_viz.attribution.targets import Entries, Score, Target, resolve
from gsto_viz.explorer.probe import Point, logits_at, region_at
from gsto_viz.explorer.shown import Shown, heat_maps_of
from gsto_viz.explorer.skeleton_pictures import person_box
from gsto_viz.regions import PreparedRegions
from gsto_viz.types import Stride
from gsto_viz.words import HEAT_MAP

QUANTITIES = {"shapley": "Shapley value ({unit})", "share": "share of the evidence"}
"""What charts draw, by column of ``branch_rows``."""


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked of both networks.

    Attributes:
        place: The pixels.
        name: The place in words; with the image it says which pixels these are.
        class_id: Index of the class that is asked about.
        class_name: Its name.
        score: ``margin`` or ``mean``.
        stride: Of the cell that stands for a pixel; None: the place is a region.
        unit: Of the score: ``logits``, or ``heat map`` of a joint.
    """

    place: Area
    name: str
    class_id: int
    class_name: str
    score: Score
    stride: Stride | None = None
    unit: str = "logits"

    @property
    def key(self) -> tuple[str, int, str]:
        """What answers depend on, for one image."""
        return self.name, self.class_id, self.score

    @property
    def words(self) -> str:
        """What is explained, in words."""
        what = "margin of" if self.score == "margin" else "logit of"
        if self.unit == HEAT_MAP:
            what = "heat map of"
        cell = "" if self.stride is None else f" (the /{self.stride} cell that holds it)"
        return f"{what} {self.class_name} at {self.name}{cell}"


def ask(
    shown: Shown,
    regions: PreparedRegions,
    point: Point,
    *,
    pick: str,
    target: str | None,
    score: Score,
) -> Question | None:
    """Return what is asked at the probe; of networks for pose see ``ask_joint``.

    Args:
        regions: Of that image.
        point: The probed pixel.
        pick: ``pixel``, or ``region`` for the region that holds it.
        target: Name of the class; None, or a name that there is not: what A predicts at the probe.
        score: ``margin`` or ``mean``.

    Returns:
        None where no region lies.
    """
    if shown.pose:
        return ask_joint(shown, regions, point, pick=pick, target=target)
    names = shown.classes.names
    predicted = int(shown.inspections["A"].prediction[point.y, point.x])
    class_id = names.index(target) if target in names else predicted
    if pick == "pixel":
        place: Area = Pixel(point.x, point.y, str(class_id))
        words = f"x {point.x}, y {point.y}"
    else:
        number = region_at(regions, point)
        if number == 0:
            return None
        place = Mask(regions.regions.ids == number, str(class_id))
        words = f"region {number}"
    stride = shown.inspections["A"].strides[0] if pick == "pixel" else None
    return Question(place, words, class_id, names[class_id], score, stride)


def ask_joint(
    shown: Shown, regions: PreparedRegions, point: Point, *, pick: str, target: str | None
) -> Question | None:
    """Return which joint is asked about, and where.

    Args:
        regions: Of that image.
        point: The probed pixel.
        pick: ``pixel``; ``region``: where A's heat map peaks in the box of the person that the
            region under the probe is.
        target: Name of the joint; None, or a name that there is not: the one whose heat map of A is
            the greatest there.

    Returns:
        None where no region lies.
    """
    names, seen = shown.classes.names, shown.inspections["A"]
    words = f"x {point.x}, y {point.y}"
    if pick == "pixel":
        values = logits_at(seen, shown.size, np.array([point.y]), np.array([point.x]))[:, 0]
        places = np.tile((point.x, point.y), (len(names), 1))
    else:
        number = region_at(regions, point)
        if number == 0:
            return None
        maps = heat_maps_of(seen)
        places = peak_pixels(maps, person_box(shown, regions, number), shown.size)
        rows, columns = cell_at(places[:, 1], places[:, 0], shown.size, seen.strides[0])
        values = maps[np.arange(len(maps)), rows, columns]
        words = f"A's peak in the box of region {number}"
    joint = names.index(target) if target in names else int(values.argmax())
    place = Point(*map(int, places[joint]))
    if pick != "pixel":
        words = f"x {place.x}, y {place.y}, {words}"
    area = Pixel(place.x, place.y, str(joint))
    return Question(area, words, joint, names[joint], "mean", seen.strides[0], HEAT_MAP)


def entries_of(question: Question, shown: Shown, grid: tuple[int, int]) -> Entries:
    """Return the question as entries on the grid (h, w) of the logits."""
    count = len(shown.classes)
    # Classes by number: names could be numbers, or differ in case alone.
    view = View(shown.inspections["A"].prediction, tuple(map(str, range(count))))
    return resolve(Target(question.place, question.score), view, (1, count, *grid))


def answer(
    question: Question, shown: Shown, fields: Mapping[str, EvidenceField]
) -> dict[str, BranchShapley]:
    """Return shares and exact Shapley values of the branches of A and B."""
    return {
        letter: field.explain(entries_of(question, shown, field.grid))
        for letter, field in fields.items()
    }


def branch_rows(
    answers: Mapping[str, BranchShapley], strides: Mapping[str, tuple[Stride, ...]]
) -> pd.DataFrame:
    """Return what charts draw: ``model``, ``stride``, ``shapley`` (logits) and ``share``."""
    parts = [
        pd.DataFrame(
            {
                "model": letter,
                "stride": strides[letter],
                "shapley": found.psi[:, 0],
                "share": found.phi[:, 0],
            }
        )
        for letter, found in answers.items()
    ]
    return pd.concat(parts, ignore_index=True)


def branch_table(
    answers: Mapping[str, BranchShapley],
    strides: Mapping[str, tuple[Stride, ...]],
    unit: str = "logits",
) -> pd.DataFrame:
    """Return one row per network and quantity.

    Columns: ``network``, ``quantity``, ``/{stride}``..., ``sum``, and ``must be``: what the sum has
    to be (null for drops: branches replace one another).
    """
    rows = []
    for letter, found in answers.items():
        change = float(found.present[0] - found.absent[0])
        for quantity, values, must in (
            (f"Shapley value, {unit}", found.psi[:, 0], change),
            ("share of the evidence", found.phi[:, 0], 1.0),
            (f"drop when absent alone, {unit}", found.ablation[:, 0], np.nan),
        ):
            cells = {f"/{s}": float(v) for s, v in zip(strides[letter], values, strict=True)}
            rows.append(
                {"network": letter, "quantity": quantity}
                | cells
                | {"sum": float(np.sum(values)), "must be": must}
            )
    return pd.DataFrame(rows)


def sum_check(letter: str, question: Question, found: BranchShapley) -> str:
    """State what adds up to what, and how exactly."""
    present, absent = float(found.present[0]), float(found.absent[0])
    unit = "" if question.unit == HEAT_MAP else " logits"
    own = "value" if question.unit == HEAT_MAP else "logits"
    return (
        f"{letter}: the {question.words} is {present:.3f}{unit}, and {absent:.3f} with every "
        f"branch absent. The Shapley values add up to the difference, {present - absent:.3f} "
        f"{_within(found.efficiency_error)}, the shares to {found.phi[:, 0].sum():.6f}. Bias plus "
        f"the contributions of all branches give the network's own {own} "
        f"{_within(found.sum_error)} of the largest."
    )


def _within(error: float) -> str:
    return f"to within {max(error, 1e-16):.0e}"
