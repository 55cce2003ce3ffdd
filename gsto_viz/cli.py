"""``gsto-viz``: the command line. It parses, calls one function per command, and maps errors.

Exit status: 0 done; 1 done, but a replayed view has other numbers than it was saved with; 2 what
the user gave is wrong, or the system refuses a file (one line on stderr); 3 done, but some images
were skipped; 130 interrupted. A traceback is a bug.
"""

import argparse
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Any, NoReturn

from gsto_viz.errors import GstoVizError, SaidElsewhereError

COMMANDS = (
    "models",
    "scenes",
    "check",
    "train",
    "equalize",
    "evaluate",
    "analyze",
    "compare",
    "figures",
    "capture",
    "attribute",
    "export",
    "doctor",
    "demo",
    "bench",
    "app",
)
"""One module of ``gsto_viz.commands`` each, in the order in which ``--help`` lists them."""


def _command_module(name: str) -> ModuleType:
    return importlib.import_module(f"gsto_viz.commands.{name}")


class OneLineParser(argparse.ArgumentParser):
    """An argument parser that reports a wrong command line on one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Leave with status 2 and one sentence that says where help is."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")

    def format_help(self) -> str:
        """Add what a SPEC or a FIGURE may be; the registers are read only here."""
        from gsto_viz.commands.options import LISTED

        taken = {str(action.metavar) for action in self._actions}
        more = (listed() for metavar, listed in LISTED.items() if metavar in taken)
        return "\n".join([super().format_help(), *more])

    def _print_message(self, message: str, file: Any = None) -> None:
        """Write without argparse's silence about output that fails (unbuffered, a full disk)."""
        (file or sys.stderr).write(message)


def build_parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """Make the parser of one command; None: the one that only lists all of them."""
    from gsto_viz import __version__

    parser = OneLineParser(
        prog="gsto-viz",
        description="See, measure and explain scale confusion in multi-scale networks.",
    )
    parser.add_argument("--version", action="version", version=f"gsto-viz {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    if chosen is None:
        for name in COMMANDS:
            commands.add_parser(name, help=_command_module(name).HELP)
        return parser
    module = _command_module(chosen)
    sub = commands.add_parser(
        chosen,
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
        0 done, 1 a replayed view has other numbers, 2 wrong input or a file that the system
        refuses, 3 done with skipped images, 130 interrupted.

    Raises:
        SystemExit: With status 2 when the words are not understood, 0 after ``--help``.
    """
    program, status = "gsto-viz", 0
    try:
        args = _parse(argv)
        program = f"gsto-viz {args.command}"
        status = _run(args)
        # Here and not at exit, so that a failure is noticed while we can still say so.
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output left (`gsto-viz models | head`): not an error of ours.
        _drop_output()
    except OSError as error:
        # Whatever the system refuses (rights, over-long names, a full disk) is not a bug of ours.
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        sys.stderr.write(f"{program}: {_one_line(where + (error.strerror or str(error)))}\n")
        _drop_output()
        status = 2
    return status


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse; what ``--help`` wrote is flushed before it leaves."""
    words = sys.argv[1:] if argv is None else argv
    first = next((word for word in words if not word.startswith("-")), None)
    try:
        return build_parser(first if first in COMMANDS else None).parse_args(words)
    except SystemExit:
        sys.stdout.flush()
        raise


def _run(args: argparse.Namespace) -> int:
    """Run the command; say in one line what the user gave wrong."""
    import logging

    logger = logging.getLogger("gsto_viz")
    before = logger.level
    logger.setLevel(logging.ERROR if args.quiet else logging.NOTSET)
    try:
        with _terminated_as_interrupted():
            return int(args.run(args))
    except SaidElsewhereError:
        return 2
    except GstoVizError as error:
        # The name of the command stands before the sentence already.
        message = _one_line(str(error)).removeprefix(f"{args.command}: ")
        sys.stderr.write(f"gsto-viz {args.command}: {message}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"gsto-viz {args.command}: interrupted\n")
        return 130
    finally:
        logger.setLevel(before)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, so that nothing half-written stays.

    Not under torchrun: a process that waits for another one would not hear it.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or "RANK" in os.environ:
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _drop_output() -> None:
    """Send what stdout cannot take nowhere, or Python would complain about it at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
