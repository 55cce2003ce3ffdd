"""``gsto-viz compare``: paired statistics of two models from an analyze folder."""

import argparse

from gsto_viz.commands.options import check_output_file, share, write_result

NAME = "compare"
HELP = "compare two models of an analyze folder: paired differences B - A with tests"
EXAMPLES = (
    "gsto-viz compare runs/camvid",
    "gsto-viz compare runs/camvid A B --json -",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``compare`` takes."""
    share(parser, "folder")
    parser.add_argument("a", metavar="A", nargs="?", default="A", help="first model (default: A)")
    parser.add_argument("b", metavar="B", nargs="?", default="B", help="second model (default: B)")
    share(parser, json="the comparison")


def run(args: argparse.Namespace) -> int:
    """Compare, write ``comparison.json``, print the table."""
    from gsto_viz.report import load_report
    from gsto_viz.report.text import comparison_text, write_comparison

    check_output_file(args.json, "--json")
    report = load_report(args.folder)
    comparison = report.compare(args.a, args.b)
    values = write_comparison(report, comparison)
    text = f"{comparison_text(comparison, report)}\n{report.folder / 'comparison.json'}\n"
    write_result(args, values, text)
    return 0
