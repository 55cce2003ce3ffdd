"""``gsto-viz app``: the explorer in the browser."""

import argparse
import sys

NAME = "app"
HELP = "open the explorer in the browser: two networks on one image, branch by branch"
EXAMPLES = (
    "gsto-viz app",
    "gsto-viz app --port 8600 --no-browser",
    "gsto-viz app --checkpoints runs",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``app`` takes."""
    parser.add_argument("--port", type=int, default=8501, metavar="N", help="default: 8501")
    parser.add_argument(
        "--address",
        default="127.0.0.1",
        metavar="HOST",
        help="where to listen (default: 127.0.0.1, reached from this computer only)",
    )
    parser.add_argument(
        "--checkpoints",
        metavar="DIR",
        help="offer the .safetensors checkpoints of this folder and its subfolders, too",
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")


def run(args: argparse.Namespace) -> int:
    """Check, say where the explorer is, and serve until interrupted."""
    from gsto_viz.explorer.server import check_folder, check_place, is_loopback, serve, url_of

    folder = None if args.checkpoints is None else check_folder(args.checkpoints)
    check_place(args.address, args.port)
    if not is_loopback(args.address) and not args.quiet:
        sys.stderr.write(
            "gsto-viz app: there is no login; whoever reaches this address can upload images and "
            "use this computer's processor\n"
        )
    sys.stdout.write(f"The explorer is at {url_of(args.address, args.port)} (Ctrl-C stops it)\n")
    sys.stdout.flush()
    try:
        serve(args.address, args.port, folder, open_browser=not args.no_browser)
    except KeyboardInterrupt:
        # Ctrl-C is how a server ends; nothing was cut short.
        sys.stdout.write("\n")
    return 0
