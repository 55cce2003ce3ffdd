"""Figures, and repeated, interleaved timing of which they are the medians."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

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


def _figure(name: str, values: Sequence[float], unit: str, what: str, **more: Any) -> Measurement:
    """Return the median of repeats; ``more`` are the other fields of ``Measurement``."""
    low, high = min(values), max(values)
    return Measurement(name, median(values), unit, what, low, high, len(values), **more)


def milliseconds(
    name: str, times: Times, what: str, *, per: int = 1, target: float | None = None
) -> Measurement:
    """Return the median time of one piece of work, per image when it was ``per`` images."""
    wall = [1e3 * one / per for one in times.wall]
    return _figure(name, wall, "ms", what, cpu=1e3 * median(times.cpu) / per, target=target)


def rate(
    name: str, times: Times, what: str, *, count: int = 1, target: float | None = None
) -> Measurement:
    """Return how many images a second one piece of work got through, that was ``count`` images."""
    wall, cpu = [count / one for one in times.wall], median(times.cpu)
    by_cpu = count / cpu if cpu > 0 else None
    return _figure(name, wall, "images/s", what, cpu=by_cpu, target=target, bound="at least")


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
    by_cpu = median(cpu) if cpu else None
    return _figure(name, wall, "x", what, cpu=by_cpu, target=target, bound=bound)


def megabytes(name: str, value: float, what: str, target: float | None = None) -> Measurement:
    """Return one size in MB (2^20 bytes), measured once."""
    return _figure(name, [value], "MB", what, target=target)
