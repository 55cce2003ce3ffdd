"""``gsto-viz compare``: paired statistics of the models of an analyze folder."""

import argparse

from gsto_viz.commands.options import check_output_file, share, write_result

NAME = "compare"
HELP = "compare the models of an analyze folder: paired differences with tests"
EXAMPLES = (
    "gsto-viz compare runs/camvid",
    "gsto-viz compare runs/camvid A B --json -",
    "gsto-viz compare runs/three plain gated",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``compare`` takes."""
    share(parser, "folder")
    parser.add_argument(
        "pair",
        metavar="X Y",
        nargs="*",
        help="two models, for Y - X alone (default: every model and the reference)",
    )
    share(parser, json="the comparison")


def run(args: argparse.Namespace) -> int:
    """Compare, write ``comparison.json``, print the table."""
    from gsto_viz.errors import GstoVizError
    from gsto_viz.report import load_report
    from gsto_viz.report.text import comparisons_text, write_comparisons

    check_output_file(args.json, "--json")
    if len(args.pair) not in (0, 2):
        raise GstoVizError(f"compare {' '.join(args.pair)}: name two models, or none for all")
    report = load_report(args.folder)
    found = report.comparisons() if not args.pair else (report.compare(*args.pair),)
    if not found:
        raise GstoVizError(f"{report.folder} has one model; analyze two or more to compare them")
    values = write_comparisons(report, found)
    text = f"{comparisons_text(report, found)}\n{report.folder / 'comparison.json'}\n"
    write_result(args, values, text)
    return 0
