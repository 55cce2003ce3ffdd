"""Numbers and tiles of the page "Attribution": what is asked, and what branches add to it."""

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from torch import Tensor

from gsto_viz.activity import HeatMap, cell_area, cell_at
from gsto_viz.attribution.areas import Area, Mask, Pixel, View, peak_pixels
from gsto_viz.attribution.gradients import GIB, MemoryEstimate, estimate_memory, free_bytes
from gsto_viz.attribution.head import find_head, head_pass, own_mean_baseline, zero_baseline
from gsto_viz.attribution.interventions import frozen_twin
from gsto_viz.attribution.shapley import BranchShapley, EvidenceField, evidence_field
from gsto_viz.attribution.targets import Entries, Score, Target, resolve
from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate.protocols import input_batch
from gsto_viz.explorer.shown import LETTERS, Shown, heat_maps_of
from gsto_viz.explorer.values.probe import Point, logits_at, region_at
from gsto_viz.explorer.values.tiles import first_row, person_box
from gsto_viz.models import SegmentationNetwork
from gsto_viz.plots.attribution import symmetric_maps
from gsto_viz.plots.tiles import map_tile, shared_data
from gsto_viz.regions import PreparedRegions
from gsto_viz.types import Stride, pixels_per_cell
from gsto_viz.words import HEAT_MAP, METHOD_LINKS, Method, scored

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

    def pin(self, probe: Point) -> Point | None:
        """Return the pixel that is asked about, where it is another one than the probe."""
        asked = Point(self.place.x, self.place.y) if isinstance(self.place, Pixel) else probe
        return None if asked == probe else asked

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
    score: str,
) -> Question | None:
    """Return what is asked at the probe; of networks for pose see ``ask_joint``.

    Args:
        regions: Of that image.
        point: The probed pixel.
        pick: ``pixel``, or ``region`` for the region that holds it.
        target: Name of the class; None, or a name that there is not: what A predicts at the probe.
        score: One of ``SCORES``.

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
    explained: Score = "margin" if score == "margin" else "mean"
    return Question(place, words, class_id, names[class_id], explained, stride)


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


def split_heads(
    model: SegmentationNetwork, image: npt.NDArray[np.uint8], absent: str
) -> EvidenceField:
    """Return what the branches of a network say about an image, for any target.

    Args:
        image: (H, W, 3), sRGB.
        absent: One of ``ABSENT``.

    Raises:
        GstoVizError: The head cannot be split by branch.
    """
    seen = head_pass(model, input_batch(model, image))
    return evidence_field(
        seen, zero_baseline(model) if absent == "zero" else own_mean_baseline(seen)
    )


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


@dataclass(frozen=True, eq=False)
class BranchMaps:
    """One map per branch of one network.

    Attributes:
        maps: (h, w) each; NaN in cells that do not count.
        strides: Pixels per cell of each map.
        branches: Stride of the branch that each map is of.
    """

    maps: tuple[npt.NDArray[np.floating], ...]
    strides: tuple[Stride, ...]
    branches: tuple[Stride, ...]


def exact_maps(field: EvidenceField, question: Question, method: str) -> BranchMaps:
    """Return what each branch adds at every cell, on the finest grid.

    Args:
        field: Of one network.
        question: Says class and score; its place does not matter here.
        method: Key of ``METHOD_LINKS``: ``shapley`` (logits) or ``shares``.

    Raises:
        GstoVizError: Another method.
    """
    if method == "shapley":
        maps = field.shapley_maps(question.class_id, margin=question.score == "margin")
    elif method == "shares":
        maps = field.share_maps()
    else:
        raise GstoVizError(
            f"the explorer draws no maps of {METHOD_LINKS[method].label}, only of shapley and "
            "shares; gsto-viz attribute draws them"
        )
    finest = (field.strides[0],) * len(field.strides)
    return BranchMaps(tuple(maps), finest, field.strides)


def scaled(maps: Mapping[str, BranchMaps], method: str) -> dict[str, tuple[HeatMap, ...]]:
    """Give all maps one scale that is symmetric about 0; one for each network where units differ.

    Args:
        maps: By letter.
        method: Key of ``METHOD_LINKS``.
    """
    row = METHOD_LINKS[method]
    if row.own_scale:
        return {letter: _one_scale([own], row)[0] for letter, own in maps.items()}
    return dict(zip(maps, _one_scale(list(maps.values()), row), strict=True))


def _one_scale(sets: Sequence[BranchMaps], method: Method) -> list[tuple[HeatMap, ...]]:
    values, strides = [], []
    for own in sets:
        finest = pixels_per_cell(own.strides[0]) or 1
        size = [finest * cells for cells in own.maps[0].shape]
        for one, stride in zip(own.maps, own.strides, strict=True):
            # A cell four times as large holds four times as much of what adds up over cells.
            area = cell_area(size, stride) if method.adds_up else 1.0
            values.append(np.asarray(one, dtype=np.float64) / area)
            strides.append(stride)
    heats = symmetric_maps([np.nan_to_num(v) for v in values], strides, method.key)
    heats = tuple(replace(heat, values=v) for heat, v in zip(heats, values, strict=True))
    parts, start = [], 0
    for own in sets:
        parts.append(heats[start : start + len(own.maps)])
        start += len(own.maps)
    return parts


def unit_of(method: str, score: str) -> str:
    """State what the numbers of a map are; see ``score_of``."""
    if method == "shapley" and score == "mean":
        return "Shapley value of the logit at each cell, logits"
    return scored(METHOD_LINKS[method].axis, score)


def score_of(shown: Shown, score: str) -> str:
    """Return what is explained: the score of the view, or the heat map of networks for pose."""
    return HEAT_MAP if shown.pose else score


def evidence_data(
    shown: Shown,
    regions: PreparedRegions,
    maps: Mapping[str, BranchMaps],
    method: str,
    score: str,
) -> dict[str, Any]:
    """Return what the viewer of the page gets.

    Args:
        regions: Of that image.
        maps: By letter; empty: input, labels and predictions only.
        method: Key of ``METHOD_LINKS``.
        score: What is explained.
    """
    height, width = shown.size
    rows: list[dict[str, Any]] = [{"title": "", "tiles": first_row(shown)}]
    heats = scaled(maps, method) if maps else {}
    for letter in LETTERS:
        if letter not in heats:
            continue
        tiles = [
            map_tile(
                f"{letter}{branch}",
                f"{letter} /{branch}",
                heat,
                colors="difference",
                size=shown.size,
            )
            for branch, heat in zip(maps[letter].branches, heats[letter], strict=True)
        ]
        title = (
            f"{letter}: {shown.inspections[letter].name}, {unit_of(method, score_of(shown, score))}"
        )
        rows.append({"title": title, "tiles": tiles})
    return {
        "image": shown.picture.key,
        "height": height,
        "width": width,
        "rows": rows,
        **shared_data(shown.pixel_classes, regions.regions.ids),
    }


MOST_BYTES = GIB // 2
"""More steps at once are not faster on a processor."""
SHARE_OF_FREE = 0.5
"""How much of the free memory a run may take: others use this machine too."""
KEPT = 64


@dataclass(frozen=True, eq=False)
class Run:
    """What one method said about one question.

    Attributes:
        maps: By branch, (h, w) float32, summed over channels.
        strides: Of the maps.
        totals: By branch, the sum of its map.
        delta: Of integrated gradients: sum of all maps minus the change of the score when the
            branches go to what they are for an image of the mean colour; None for other methods.
        score: Of the network, logits.
        seconds: How long it took.
    """

    maps: tuple[npt.NDArray[np.float32], ...]
    strides: tuple[Stride, ...]
    totals: npt.NDArray[np.float64]
    delta: float | None
    score: float
    seconds: float


def run_on(
    model: SegmentationNetwork,
    shown: Shown,
    question: Question,
    grid: tuple[int, int],
    view: tuple[str, int],
) -> Run:
    """Run one of Captum's methods on the image of a page.

    Args:
        grid: (h, w) of the network's logits.
        view: Key of ``METHOD_LINKS``, and one of ``STEPS`` (0: the method has none).

    Raises:
        GstoVizError: One step does not fit into memory.
    """
    method, steps = view
    return run_method(
        model,
        input_batch(model, shown.sample.image),
        entries_of(question, shown, grid),
        METHOD_LINKS[method].key,
        steps=steps or 1,
        budget=memory_budget(free_bytes()),
    )


def run_method(
    model: SegmentationNetwork,
    image: Tensor,
    entries: Entries,
    method: str,
    *,
    steps: int,
    budget: int,
) -> Run:
    """Run one of Captum's methods at the branches in front of the main head.

    Args:
        model: The network; nobody else's hooks may be on it meanwhile.
        image: (1, 3, H, W), normalised.
        entries: One target.
        method: Key of a method of ``gsto_viz.words.METHODS`` at taps.
        steps: Of integrated gradients.
        budget: Bytes for the steps worked on at once.

    Raises:
        GstoVizError: One step does not fit the budget.
    """
    # Captum takes a second to import and is needed here alone.
    from gsto_viz.attribution.gradients import Explainer

    begin = time.perf_counter()
    place = find_head(model)
    explainer = Explainer(model, image, [entries])
    found = explainer.run(method, place.taps, steps=steps, budget=budget)
    maps = [found.maps[tap][0].astype(np.float32) for tap in place.taps]
    for one in maps:
        one.setflags(write=False)
    return Run(
        maps=tuple(maps),
        strides=place.strides,
        totals=np.array([found.totals[tap][0] for tap in place.taps]),
        delta=None if found.delta is None else float(found.delta[0]),
        score=float(explainer.scores()[0]),
        seconds=time.perf_counter() - begin,
    )


def step_memory(model: SegmentationNetwork, image: Tensor) -> MemoryEstimate:
    """Estimate what one pass forward and back takes, whatever is free."""
    return estimate_memory(frozen_twin(model), image, find_head(model).taps, 1, 2**62)


def memory_budget(free: int | None) -> int:
    """Return the bytes that a run may take of what is free; None: unknown."""
    return MOST_BYTES if free is None else min(MOST_BYTES, int(SHARE_OF_FREE * free))


def refusal(step: int, free: int | None) -> str | None:
    """Return why a run would be unwise, or None.

    Args:
        step: Bytes that one pass forward and back takes.
        free: Bytes that are free; None: unknown.
    """
    if free is None or step <= SHARE_OF_FREE * free:
        return None
    return (
        f"One step would take about {step / GIB:.2f} GiB of memory and {free / GIB:.2f} GiB are "
        "free on this computer, of which a run may take half. Choose a smaller image or network, "
        "or close other programs. The exact values below need no such run."
    )


class Kept:
    """Results of runs and how fast they were, bounded, for all sessions of the server."""

    def __init__(self, most: int = KEPT) -> None:
        self._most = most
        self._runs: OrderedDict[Hashable, Run] = OrderedDict()
        self._pace: dict[Hashable, float] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Run | None:
        """Return a result, or None when it was never made or is no longer kept."""
        with self._lock:
            if key in self._runs:
                self._runs.move_to_end(key)
            return self._runs.get(key)

    def put(self, key: Hashable, run: Run, *, pace: Hashable, passes: float) -> None:
        """Keep a result; the one that nobody has asked for longest goes.

        Args:
            key: Of the result.
            run: The result.
            pace: What its speed depends on: network, size of the image, method.
            passes: What it cost, in forward passes.
        """
        with self._lock:
            self._runs[key] = run
            self._runs.move_to_end(key)
            while len(self._runs) > self._most:
                self._runs.popitem(last=False)
            self._pace[pace] = run.seconds / passes

    def expected_s(self, pace: Hashable, *, forward_s: float, passes: float) -> float:
        """Return how long a run will take: as the last of its kind, else as a forward pass says.

        Args:
            pace: What its speed depends on.
            forward_s: Seconds of one forward pass.
            passes: What it costs, in forward passes.
        """
        with self._lock:
            return self._pace.get(pace, forward_s) * passes
