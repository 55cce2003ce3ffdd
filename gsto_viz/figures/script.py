"""The command line of the scripts in ``analysis/``: one figure of one analyze folder."""

import argparse
import sys
from collections.abc import Sequence

from gsto_viz.errors import GstoVizError
from gsto_viz.figures.catalogue import KINDS
from gsto_viz.figures.write import write_figures
from gsto_viz.plots.save import FORMATS
from gsto_viz.report import load_report


def main(name: str, argv: Sequence[str] | None = None) -> int:
    """Draw one figure into ``DIR/figures/`` and print its files.

    Args:
        name: Of the figure.
        argv: Words after the script's name; None takes those of the process.

    Returns:
        0 done; 2 what was given is wrong, or the report has nothing for this figure (one line).
    """
    parser = argparse.ArgumentParser(description=KINDS[name].title)
    parser.add_argument("folder", metavar="DIR", help="the --out of gsto-viz analyze")
    parser.add_argument("--format", action="append", choices=FORMATS, help="default: all three")
    args = parser.parse_args(argv)
    try:
        formats = tuple(args.format or FORMATS)
        (written,) = write_figures(load_report(args.folder), formats=formats, only=[name])
    except GstoVizError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 2
    if written.reason is not None:
        sys.stderr.write(f"{name}: left out, {written.reason}\n")
        return 2
    sys.stdout.write("".join(f"{file}\n" for file in written.files))
    return 0
