"""``gsto-viz bench``: speed and memory, each figure beside its target."""

import argparse
import sys
from typing import TYPE_CHECKING

from gsto_viz.commands.options import check_output_file, share, write_result
from gsto_viz.text_table import text_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gsto_viz.bench import Measurement

NAME = "bench"
HELP = "measure speed and memory beside their targets and beside the same work done otherwise"
EXAMPLES = (
    "gsto-viz bench",
    "gsto-viz bench --only region-table --json bench.json",
    "gsto-viz bench --quick",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``bench`` takes."""
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        default=[],
        help="one benchmark; may be given several times (default: all)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small work, few repeats, no targets: does it run?"
    )
    share(parser, json="the figures")


def run(args: argparse.Namespace) -> int:
    """Measure; print a table, or JSON alone with ``--json -``."""
    from gsto_viz.bench import bench_report, run_benchmarks

    check_output_file(args.json, "--json")

    def say(line: str) -> None:
        if not args.quiet:
            sys.stderr.write(f"{line}\n")

    found = run_benchmarks(args.only, quick=args.quick, say=say)
    report = bench_report(found, quick=args.quick)
    write_result(args, report, table(found))
    return 0


def table(found: "Sequence[Measurement]") -> str:
    """Lay figures out as text, what each was measured on below its line."""
    rows: list[Sequence[object] | str] = [
        ("figure", "median", "unit", "target", "met", "range", "cpu")
    ]
    for one in found:
        target = None if one.target is None else f"{one.bound} {one.target:g}"
        met = {None: None, True: "yes", False: "no"}[one.met]
        span = f"{_digits(one.low)}..{_digits(one.high)}"
        cpu = None if one.cpu is None else _digits(one.cpu)
        rows += [(one.name, _digits(one.value), one.unit, target, met, span, cpu), f"  {one.what}"]
    lines = [
        *text_table(rows, "<><><>"),
        "",
        "median and range: of the repeats, by the clock; cpu: the same figure by processor time.",
        "Targets in ms are for one core and are compared with cpu. Ratios are of runs in turns;",
        "other work on this machine disturbs them least.",
    ]
    return "\n".join(lines) + "\n"


def _digits(value: float) -> str:
    """Return a number with three digits that say something, no exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
