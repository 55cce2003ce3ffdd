"""``gsto-viz compare``: paired statistics of two models from an analyze folder."""

import argparse
import sys

NAME = "compare"
HELP = "compare two models of an analyze folder: paired differences B - A with tests"
EXAMPLES = (
    "gsto-viz compare runs/camvid",
    "gsto-viz compare runs/camvid A B --json -",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``compare`` takes."""
    parser.add_argument("folder", metavar="DIR", help="the --out of gsto-viz analyze")
    parser.add_argument("a", metavar="A", nargs="?", default="A", help="first model (default: A)")
    parser.add_argument("b", metavar="B", nargs="?", default="B", help="second model (default: B)")
    parser.add_argument("--json", metavar="F", help="write the comparison there too; - for stdout")


def run(args: argparse.Namespace) -> int:
    """Compare, write ``comparison.json``, print the table."""
    from gsto_viz.commands.options import check_output_file, json_only
    from gsto_viz.report import load_report
    from gsto_viz.report.text import comparison_text, write_comparison

    check_output_file(args.json, "--json")
    report = load_report(args.folder)
    comparison = report.compare(args.a, args.b)
    values = write_comparison(report, comparison)
    if json_only(values, args.json):
        return 0
    sys.stdout.write(comparison_text(comparison, report))
    sys.stdout.write(f"\n{report.folder / 'comparison.json'}\n")
    return 0
