"""Repeated, interleaved timing; how fast scenes are drawn and samples are read."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

from gsto_viz.bench.throughput import Throughput, measure_throughput
from gsto_viz.data.scenes import SceneDataset

Say = Callable[[str], None]
"""Takes one line of progress."""


@dataclass(frozen=True)
class Measurement:
    """One figure: the median of repeats, and what it should be."""

    name: str
    value: float
    """Median over the repeats, by the clock."""
    unit: str
    """``ms``, ``x`` (a ratio), ``MB`` or ``images/s``."""
    what: str
    """What was measured."""
    low: float
    """Smallest of the repeats."""
    high: float
    """Largest of the repeats."""
    repeats: int
    cpu: float | None = None
    """The same figure by processor time of this process, which other processes disturb less."""
    target: float | None = None
    """None: a figure without a promise. Targets in ms are for one core: what counts is ``cpu``."""
    bound: Literal["at most", "at least"] = "at most"

    @property
    def met(self) -> bool | None:
        """Whether the figure keeps its target; None without one."""
        if self.target is None:
            return None
        value = self.cpu if self.unit == "ms" and self.cpu is not None else self.value
        return value <= self.target if self.bound == "at most" else value >= self.target

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "met": self.met}


@dataclass(frozen=True)
class Times:
    """Seconds of every repeat of one piece of work."""

    wall: tuple[float, ...]
    """By the clock."""
    cpu: tuple[float, ...]
    """Processor time of all threads of this process."""


def interleaved(
    works: Mapping[str, Callable[[], object]], repeats: int, *, warm_up: int = 1
) -> dict[str, Times]:
    """Time pieces of work in turns, so that a slower machine for a while is slower for all.

    Args:
        works: By name; each is called ``warm_up + repeats`` times.
        repeats: How often each is timed, at least 1.
        warm_up: Calls of each before, not timed.
    """
    for _ in range(warm_up):
        for work in works.values():
            work()
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            cpu, wall = time.process_time(), time.perf_counter()
            work()
            seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: Times(tuple(wall for wall, _ in pairs), tuple(cpu for _, cpu in pairs))
        for name, pairs in seconds.items()
    }


def milliseconds(
    name: str, times: Times, what: str, *, per: int = 1, target: float | None = None
) -> Measurement:
    """Return the median time of one piece of work, per image when it was ``per`` images."""
    wall = [1e3 * one / per for one in times.wall]
    cpu = 1e3 * median(times.cpu) / per
    return Measurement(
        name,
        median(wall),
        "ms",
        what,
        min(wall),
        max(wall),
        len(wall),
        cpu=cpu,
        target=target,
    )


def rate(name: str, times: Times, what: str, *, count: int) -> Measurement:
    """Return how many images a second one piece of work got through, that was ``count`` images."""
    wall = [count / one for one in times.wall]
    cpu = median(times.cpu)
    return Measurement(
        name,
        median(wall),
        "images/s",
        what,
        min(wall),
        max(wall),
        len(wall),
        cpu=count / cpu if cpu > 0 else None,
    )


def ratio(
    name: str,
    above: Times,
    below: Times,
    what: str,
    *,
    target: float | None = None,
    bound: Literal["at most", "at least"] = "at most",
) -> Measurement:
    """Return the median ratio of two pieces of work that were timed in turns."""
    wall = [a / b for a, b in zip(above.wall, below.wall, strict=True)]
    # The clock of processor time is coarse: work too short for it shows as 0.
    cpu = [a / b for a, b in zip(above.cpu, below.cpu, strict=True) if b > 0]
    return Measurement(
        name,
        median(wall),
        "x",
        what,
        min(wall),
        max(wall),
        len(wall),
        cpu=median(cpu) if cpu else None,
        target=target,
        bound=bound,
    )


def megabytes(name: str, value: float, what: str, target: float | None = None) -> Measurement:
    """Return one size in MB (2^20 bytes), measured once."""
    return Measurement(name, value, "MB", what, value, value, 1, target=target)


SIZE = (256, 512)


def bench_scenes(quick: bool, say: Say) -> list[Measurement]:
    """Draw scenes with their labels and instances, in this process alone."""
    images = 2 if quick else 20
    data = SceneDataset(images, 0, SIZE, "eval")
    what = f"{SIZE[0]}x{SIZE[1]} with labels and instances, one process"
    say(f"scenes: {images} of {what}")

    def draw() -> None:
        for index in range(images):
            data[index]

    times = interleaved({"draw": draw}, repeats=1 if quick else 3)
    return [rate("scenes", times["draw"], what, count=images)]


PNG_TARGET = 15.0
"""Images per second of one worker process, from PNG."""
WORKERS_TARGET = 1.8
"""Two workers beside one, where there are two cores: near to twice."""
CACHE_TARGET = 5.0
"""The cache beside PNG, one worker each."""


def bench_reading(quick: bool, say: Say) -> list[Measurement]:
    """Read, augment and collate crops of 512x1024 from street images of 2048x1024."""
    what = "512x1024 crops of 2048x1024 images"
    say(f"reading: {what}, from PNG and from the cache, by 1 and by 2 processes")
    found = measure_throughput(
        workers=(1, 2),
        kinds=("processes",),
        seconds=0.2 if quick else 4.0,
        count=2 if quick else 8,
        repeats=1 if quick else 3,
    )
    png, pair, cache, _ = (found[k::4] for k in range(4))
    return [
        _rate("reading_png", png, f"{what}, one worker process", None if quick else PNG_TARGET),
        _rate("reading_cache", cache, f"{what}, one worker process", None),
        _ratio(
            "reading_two_over_one", pair, png, "2 worker processes / 1, PNG", quick, WORKERS_TARGET
        ),
        _ratio("reading_cache_over_png", cache, png, "decoded cache / PNG", quick, CACHE_TARGET),
    ]


def _rate(name: str, runs: Sequence[Throughput], what: str, target: float | None) -> Measurement:
    values = [run.images_per_s for run in runs]
    return Measurement(
        name,
        median(values),
        "images/s",
        what,
        min(values),
        max(values),
        len(values),
        cpu=median(run.images_per_cpu_s for run in runs),
        target=target,
        bound="at least",
    )


def _ratio(
    name: str,
    above: Sequence[Throughput],
    below: Sequence[Throughput],
    what: str,
    quick: bool,
    target: float,
) -> Measurement:
    pairs = list(zip(above, below, strict=True))
    values = [a.images_per_s / b.images_per_s for a, b in pairs]
    # Each worker has a core of its own: by processor time the machine's other work drops out.
    by_cpu = [a.images_per_cpu_s * a.workers / b.images_per_cpu_s for a, b in pairs]
    return Measurement(
        name,
        median(values),
        "x",
        what,
        min(values),
        max(values),
        len(values),
        cpu=median(by_cpu),
        target=None if quick else target,
        bound="at least",
    )
