"""``gsto-viz figures``: all figures of an analyze folder."""

import argparse
import sys

from gsto_viz.commands.options import is_quiet, share

NAME = "figures"
HELP = "draw all figures of an analyze folder, each with its data as CSV, and one page"
EXAMPLES = (
    "gsto-viz figures runs/camvid",
    "gsto-viz figures runs/camvid --format pdf,png --only sci_dots --only tuning_fan",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``figures`` takes."""
    share(parser, "folder")
    parser.add_argument(
        "--only", metavar="FIGURE", action="append", default=[], help="one figure; may be repeated"
    )
    parser.add_argument(
        "--format",
        default="pdf,png,svg",
        metavar="F,F",
        help="out of pdf, png and svg (default: all three)",
    )


def run(args: argparse.Namespace) -> int:
    """Draw; print where each figure lies, and the page that shows them all."""
    from gsto_viz.files import write_text
    from gsto_viz.report import load_report
    from gsto_viz.report.catalogue import write_figures
    from gsto_viz.report.page import PAGE, page

    formats = tuple(word.strip() for word in args.format.split(",") if word.strip())
    report = load_report(args.folder)
    written = write_figures(report, formats=formats, only=args.only, quiet=is_quiet(args))
    for one in written:
        if one.reason is not None:
            sys.stdout.write(f"{one.kind.name}: left out, {one.reason}\n")
        for file in one.files:
            sys.stdout.write(f"{file}\n")
    if not args.only and "png" in formats:
        write_text(report.folder / PAGE, page(report, written))
        sys.stdout.write(f"{report.folder / PAGE}\n")
    return 0
