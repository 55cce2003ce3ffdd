"""Captum's methods for the page "Attribution": what they take, runs, and kept results."""

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gsto_viz.attribution.gradients import GIB, MemoryEstimate, estimate_memory
from gsto_viz.attribution.head import find_head
from gsto_viz.attribution.interventions import frozen_twin
from gsto_viz.attribution.targets import Entries
from gsto_viz.models import SegmentationNetwork
from gsto_viz.types import Stride

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
