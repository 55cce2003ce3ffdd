"""``gsto-viz``: the command line. It parses, calls one function per command, and maps errors.

Exit status: 0 done; 2 what the user gave is wrong (one line on stderr); 3 done, but some images
were skipped; 130 interrupted. A traceback is a bug.
"""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from gsto_viz.errors import GstoVizError

COMMANDS = ("models", "scenes", "train", "evaluate", "capture", "demo", "app")
"""One module of ``gsto_viz.commands`` each, in the order in which ``--help`` lists them."""


def _command_module(name: str) -> ModuleType:
    return importlib.import_module(f"gsto_viz.commands.{name}")


class OneLineParser(argparse.ArgumentParser):
    """An argument parser that reports a wrong command line on one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Leave with status 2 and one sentence that says where help is."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """Make the whole parser: one subparser for each module of ``gsto_viz.commands``."""
    from gsto_viz import __version__

    parser = OneLineParser(
        prog="gsto-viz",
        description="See, measure and explain scale confusion in multi-scale networks.",
    )
    parser.add_argument("--version", action="version", version=f"gsto-viz {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = _command_module(name)
        sub = commands.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            epilog="examples:\n" + "\n".join(f"  {line}" for line in module.EXAMPLES),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.add_argument("--quiet", action="store_true", help="no progress bars, no messages")
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status.

    Args:
        argv: The words after ``gsto-viz``; None takes them from ``sys.argv``.

    Returns:
        0 done, 2 wrong input, 3 done with skipped images, 130 interrupted.

    Raises:
        SystemExit: With status 2 when the words are not understood, 0 after ``--help``.
    """
    args = build_parser().parse_args(argv)
    logging.getLogger("gsto_viz").setLevel(logging.ERROR if args.quiet else logging.NOTSET)
    try:
        status = int(args.run(args))
        # Here and not at exit, so that a reader who left is noticed while we can still say so.
        sys.stdout.flush()
        return status
    except GstoVizError as error:
        message = " ".join(str(error).split())
        sys.stderr.write(f"gsto-viz {args.command}: {message}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"gsto-viz {args.command}: interrupted\n")
        return 130
    except BrokenPipeError:
        # The reader of our output left (`gsto-viz models | head`): not an error of ours. What is
        # still buffered goes nowhere, or Python would complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
