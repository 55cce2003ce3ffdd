"""How fast training samples come off the disk, and what more workers and the cache give."""

import statistics
from collections.abc import Sequence

from gsto_viz.bench.timing import Measurement, Say
from gsto_viz.data.throughput import Throughput, measure_throughput

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
        statistics.median(values),
        "images/s",
        what,
        min(values),
        max(values),
        len(values),
        cpu=statistics.median(run.images_per_cpu_s for run in runs),
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
        statistics.median(values),
        "x",
        what,
        min(values),
        max(values),
        len(values),
        cpu=statistics.median(by_cpu),
        target=None if quick else target,
        bound="at least",
    )
