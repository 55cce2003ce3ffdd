"""Draw the figures of analyses into ``DIR/figures/``, each with its data as CSV.

    python analysis/figures.py runs/camvid runs/scenes
    python analysis/figures.py runs/camvid --only sci_dots --only costs --format pdf
    python analysis/figures.py --readme runs/demo runs/scenes runs/camvid-causal

With ``--readme`` the pictures of README and docs are drawn anew from the folders of these names;
its two screenshots of the explorer come from a browser.
"""

import argparse
import sys
from pathlib import Path

from gsto_viz.errors import GstoVizError
from gsto_viz.plots import FORMATS, save_figure
from gsto_viz.report import Report, load_report
from gsto_viz.report.catalogue import KINDS, write_figures

IMAGES = Path(__file__).parent.parent / "docs" / "images"
PICTURES = {
    "demo_figure1": ("demo", "figure1_percentile"),
    "demo_sizes": ("demo", "tuning_fan"),
    "scenes_sci": ("scenes", "sci_dots"),
    "camvid_branch_by_size": ("camvid-causal", "branch_by_size"),
}
"""By picture of README and docs, the folder of the analysis and the figure."""


def draw(report: Report, only: list[str], formats: tuple[str, ...]) -> bool:
    """Draw figures of one analysis and print their files; return whether any was asked in vain."""
    written = write_figures(report, formats=formats, only=only)
    for one in written:
        if one.reason is not None:
            sys.stderr.write(f"{one.kind.name}: left out, {one.reason}\n")
        sys.stdout.write("".join(f"{file}\n" for file in one.files))
    return bool(only) and any(one.reason is not None for one in written)


def draw_readme(reports: dict[str, Report]) -> None:
    """Draw the pictures of README and docs that these analyses hold, and print their files."""
    missing = {folder for folder, _ in PICTURES.values()} - set(reports)
    if missing:
        raise GstoVizError(
            f"--readme also needs folders called {', '.join(sorted(missing))}; "
            "docs/results.md says how they are made"
        )
    for name, (folder, kind) in PICTURES.items():
        figure = KINDS[kind].draw(reports[folder]).figure
        (file,) = save_figure(figure, IMAGES / name, formats=("png",))
        sys.stdout.write(f"{file}\n")


def main() -> int:
    """Draw what the command line asks for.

    Returns:
        0 done; 2 what was given is wrong, or a figure that was asked for cannot be drawn.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", metavar="DIR", nargs="+", help="--out of gsto-viz analyze")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help=", ".join(KINDS)
    )
    parser.add_argument("--format", action="append", choices=FORMATS, help="default: all three")
    parser.add_argument("--readme", action="store_true", help="the pictures of README and docs")
    args = parser.parse_args()
    try:
        reports = [load_report(folder) for folder in args.folders]
        if args.readme:
            draw_readme({report.folder.resolve().name: report for report in reports})
            return 0
        formats = tuple(args.format or FORMATS)
        left_out = [draw(report, args.only, formats) for report in reports]
    except GstoVizError as error:
        sys.stderr.write(f"figures: {error}\n")
        return 2
    return 2 if any(left_out) else 0


if __name__ == "__main__":
    sys.exit(main())
