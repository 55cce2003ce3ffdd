"""``gsto-viz app``: the explorer in the browser."""

import argparse
import sys
from pathlib import Path

from gsto_viz.commands.brought import add_checkpoints, checkpoint_folder

NAME = "app"
HELP = "open the explorer in the browser: two networks on one image, branch by branch"
EXAMPLES = (
    "gsto-viz app",
    "gsto-viz app --port 8600 --no-browser",
    "gsto-viz app --model mine=hrnet_w48_cityscapes.pth --align-corners --data cityscapes:PATH",
    "gsto-viz app --checkpoints runs --runs runs --data camvid:data/camvid:eval",
)
DEFAULT_RUNS = "runs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``app`` takes."""
    parser.add_argument("--port", type=int, default=8501, metavar="N", help="default: 8501")
    parser.add_argument(
        "--address",
        default="127.0.0.1",
        metavar="HOST",
        help="where to listen (default: 127.0.0.1, reached from this computer only)",
    )
    add_checkpoints(
        parser, "offer the .safetensors checkpoints of this folder and its subfolders, too"
    )
    parser.add_argument(
        "--data",
        metavar="SPEC",
        help="offer the images of this data set, too, such as camvid:data/camvid:eval",
    )
    parser.add_argument(
        "--runs",
        metavar="DIR",
        help="show the analyses and training runs of this folder and its subfolders (default: "
        f"{DEFAULT_RUNS}, if it is there)",
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")


def run(args: argparse.Namespace) -> int:
    """Check, say where the explorer is, and serve until interrupted."""
    from gsto_viz.explorer.server import Offers, check_place, is_loopback, serve, url_of

    data, runs = _offered(args)
    check_place(args.address, args.port)
    if not is_loopback(args.address) and not args.quiet:
        sys.stderr.write(
            "gsto-viz app: there is no login; anyone who reaches this address can upload images "
            "and use this computer's processor\n"
        )
    with checkpoint_folder(args) as checkpoints:
        url = url_of(args.address, args.port)
        sys.stdout.write(f"The explorer is at {url} (Ctrl-C stops it)\n")
        sys.stdout.flush()
        try:
            offers = Offers(checkpoints, data, runs)
            serve(args.address, args.port, offers, open_browser=not args.no_browser)
        except KeyboardInterrupt:
            # Ctrl-C is how a server ends; nothing was cut short.
            sys.stdout.write("\n")
    return 0


def _offered(args: argparse.Namespace) -> tuple[str | None, Path | None]:
    """Return SPEC and folder of runs that are offered, checked before anything starts.

    Raises:
        GstoVizError: A folder or a data set is not there.
    """
    from gsto_viz.data import load_data
    from gsto_viz.explorer.server import check_folder

    runs = None
    if args.data is not None:
        load_data(args.data)
    if args.runs is not None:
        runs = check_folder(args.runs, "--runs", "folders of gsto-viz analyze or train")
    elif Path(DEFAULT_RUNS).is_dir():
        runs = Path(DEFAULT_RUNS).resolve()
    return args.data, runs
