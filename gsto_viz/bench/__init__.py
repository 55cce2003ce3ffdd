"""Benchmarks: how fast and how large, beside a target or beside the same work done otherwise.

``timing`` repeats and interleaves runs; ``region_table``, ``analysis``, ``attribution``,
``memory``, ``reading`` and ``scenes`` measure one thing each, and ``run`` collects them. Times
depend on the machine and on what else runs there; ratios of interleaved runs depend on it least.
"""

from gsto_viz.bench.run import BENCHMARKS, bench_report, run_benchmarks
from gsto_viz.bench.timing import Measurement

__all__ = ["BENCHMARKS", "Measurement", "bench_report", "run_benchmarks"]
