"""Benchmarks: how fast and how large, beside a target or beside the same work done otherwise.

``timing`` repeats and interleaves runs; ``analysis``, ``memory`` and ``reading`` measure. Times
depend on the machine and on what else runs there; ratios of interleaved runs depend on it least.
"""

import os
import platform
from collections.abc import Callable, Sequence
from typing import Any

from gsto_viz.bench.analysis import bench_analysis, bench_attribution, bench_region_table
from gsto_viz.bench.memory import bench_attribution_memory, bench_memory
from gsto_viz.bench.reading import bench_reading, bench_scenes
from gsto_viz.bench.timing import Measurement, Say
from gsto_viz.errors import GstoVizError
from gsto_viz.files import versions

__all__ = ["BENCHMARKS", "Measurement", "bench_report", "run_benchmarks"]

BENCHMARKS: dict[str, Callable[[bool, Say], list[Measurement]]] = {
    "region-table": bench_region_table,
    "analysis": bench_analysis,
    "attribution": bench_attribution,
    "attribution-memory": bench_attribution_memory,
    "memory": bench_memory,
    "reading": bench_reading,
    "scenes": bench_scenes,
}
"""By name, a function of (quick, say) that measures and returns figures."""
SCHEMA_VERSION = 1


def run_benchmarks(
    only: Sequence[str] = (), *, quick: bool = False, say: Say = lambda line: None
) -> list[Measurement]:
    """Run benchmarks one after the other.

    Args:
        only: Names out of ``BENCHMARKS``; empty: all.
        quick: Small work and few repeats, to see that it runs; figures have no targets then.
        say: Takes one line of progress at a time.

    Raises:
        GstoVizError: There is no such benchmark.
    """
    unknown = [name for name in only if name not in BENCHMARKS]
    if unknown:
        raise GstoVizError(f"no benchmark '{unknown[0]}'; choose {', '.join(BENCHMARKS)}")
    found = []
    for name, bench in BENCHMARKS.items():
        if not only or name in only:
            found += bench(quick, say)
    return found


def bench_report(measurements: Sequence[Measurement], *, quick: bool) -> dict[str, Any]:
    """Return figures and the machine they are from, ready for JSON."""
    return {
        "schema_version": SCHEMA_VERSION,
        "quick": quick,
        "machine": {"processors": os.cpu_count(), "type": platform.machine()},
        "versions": versions(),
        "measurements": [one.to_json() for one in measurements],
    }
