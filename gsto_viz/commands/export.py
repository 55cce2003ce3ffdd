"""``gsto-viz export``: a view that the explorer saved, again as files."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gsto_viz.commands.brought import add_checkpoints, checkpoint_folder
from gsto_viz.commands.options import is_quiet, share

if TYPE_CHECKING:
    from gsto_viz.explorer.exports.files import Exports
    from gsto_viz.explorer.exports.replay import Agreement

NAME = "export"
HELP = "replay a view saved by the explorer: the same files, the same numbers"
EXAMPLES = (
    "gsto-viz export --view view.json --out figures/car",
    "gsto-viz export --view view.json --data camvid:data/camvid:eval --checkpoints runs --out car",
    "gsto-viz export --view view.json --image photo.jpg --out photo --overwrite",
    "gsto-viz export --view view.json --runs runs --out figures/analysis",
)
OWN = (
    "view.png", "view.svg", "view.pdf",
    "figure.png", "figure.svg", "figure.pdf", "profile.csv", "scores.csv", "sizes.csv", "maps.npz",
    "view.json", "tiles", "gates.csv", "means.csv", "held.csv", "curves.csv", "branches.csv",
    "regions.csv", "sci.csv", "responses.csv", "responses.png", "responses.svg", "responses.pdf",
    "pairs.csv", "pairs.png", "pairs.svg", "pairs.pdf", "indices.csv", "differences.csv",
    "runs.csv", "training.csv", "validation.csv", "training.png", "training.svg", "training.pdf",
    "listening.csv",
)  # fmt: skip
"""All that a folder of this command can hold."""
ROUNDING = 1e-4
"""Numbers that differ by less are the same but for another processor's or library's rounding."""

DIFFERS = 1
"""Exit status: the files are written, and their numbers are not those of the view."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``export`` takes."""
    parser.add_argument(
        "--view", required=True, metavar="FILE", help="the JSON that Export, This view wrote"
    )
    share(parser, out="new folder for the files", overwrite="an earlier export")
    parser.add_argument("--data", metavar="SPEC", help="the data set of the view's image")
    parser.add_argument("--image", metavar="FILE", help="the image that was uploaded")
    add_checkpoints(
        parser, "where the checkpoints lie that are not shipped, also in its subfolders"
    )
    parser.add_argument(
        "--runs",
        metavar="DIR",
        help="where the analysis or the training runs of the view lie, as for gsto-viz app",
    )


def run(args: argparse.Namespace) -> int:
    """Read the view, find what it names, write its files, compare the numbers."""
    import json
    import logging

    from gsto_viz.explorer.exports.replay import Sources, agreement, replay
    from gsto_viz.explorer.exports.view_file import read_view
    from gsto_viz.explorer.server import check_folder
    from gsto_viz.files import check_target

    view = read_view(args.view)
    out = Path(args.out)
    check_target(out, OWN, overwrite=args.overwrite)
    image = None if args.image is None else Path(args.image)
    runs = None
    if args.runs is not None:
        runs = check_folder(args.runs, "--runs", "analyses and training runs")
    with checkpoint_folder(args) as folder:
        exports = replay(view, Sources(args.data, image, folder, runs))
        written = write_exports(exports, out, args)
    anew = json.loads(written["view.json"])
    log = logging.getLogger(__name__)
    for letter, notice in anew["display"]["notices"].items():
        log.warning("%s (%s): %s", letter, anew["checkpoints"][letter]["name"], notice)
    sys.stdout.write(f"{len(written)} files in {out}\n")
    result = agreement(view.numbers, anew["numbers"])
    if agrees(result):
        sys.stdout.write(in_words(result) + "\n")
        return 0
    sys.stderr.write(f"gsto-viz export: {in_words(result)}\n")
    return DIFFERS


def write_exports(exports: "Exports", out: Path, args: argparse.Namespace) -> dict[str, bytes]:
    """Write all files of a view into a new folder, whole or not at all; return them by name."""
    from tqdm import tqdm

    from gsto_viz.files import atomic_path, new_folder

    files = exports.all_files()
    written = {}
    with new_folder(out, OWN, overwrite=args.overwrite) as folder:
        for file in tqdm(files, desc="export", unit="file", disable=is_quiet(args)):
            content = written[file.name] = file.make()
            with atomic_path(folder / file.name) as part:
                part.write_bytes(content)
    return written


def agrees(result: "Agreement") -> bool:
    """Return whether numbers are those of the view but for rounding, and everything else is too."""
    return not result.others and result.largest < ROUNDING


def in_words(result: "Agreement") -> str:
    """Return in words how the numbers compare with those of the view."""
    if result.others:
        many = len(result.others) > 1
        more = f" and {len(result.others) - 1} more differ" if many else " differs"
        return f"other numbers than in the view: {result.others[0]}{more}"
    verdict = "the numbers of the view" if agrees(result) else "OTHER numbers than in the view"
    return (
        f"{verdict}: {result.count} compared, largest difference {result.largest:.2g} (of 1, or of "
        "the number where it is larger)"
    )
