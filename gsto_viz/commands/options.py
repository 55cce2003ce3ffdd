"""Options that several commands share."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gsto_viz.errors import GstoVizError

if TYPE_CHECKING:
    import torch

    from gsto_viz.network import Network


def seed(text: str) -> int:
    """Read a seed, as argparse asks for it.

    Raises:
        ArgumentTypeError: It is negative, which no generator takes.
        ValueError: It is not a whole number.
    """
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative; give 0 or more")
    return value


SHARED: dict[str, tuple[str, dict[str, Any]]] = {
    "checkpoint": ("checkpoint", {"metavar": "CHECKPOINT", "help": "a shipped name or a file"}),
    "output": (
        "--output",
        {
            "metavar": "O",
            "default": "main",
            "help": "number or name of the output that is meant, where a network gives several",
        },
    ),
    "image": ("image", {"metavar": "IMAGE", "help": "a PNG or JPEG"}),
    "folder": ("folder", {"metavar": "DIR", "help": "the --out of gsto-viz analyze"}),
    "data": ("--data", {"metavar": "SPEC", "required": True, "help": "{} images"}),
    "out": ("--out", {"metavar": "DIR", "required": True, "help": "{}"}),
    "size": ("--size", {"metavar": "HxW", "help": "resize {}"}),
    "seed": ("--seed", {"type": seed, "default": 0, "help": "{} (default: 0)"}),
    "overwrite": ("--overwrite", {"action": "store_true", "help": "replace {}"}),
    "accept": (
        "--accept",
        {
            "metavar": "CODE",
            "action": "append",
            "default": [],
            "help": "go on although gsto-viz check finds this in the labels",
        },
    ),
    "json": ("--json", {"metavar": "FILE", "help": "write {} as JSON; - for stdout"}),
    "device": ("--device", {"default": "auto", "help": "auto, cpu, cuda or mps (default: auto)"}),
}
"""What ``share`` adds: flag and settings of each option; {} is filled by the command."""


def share(parser: argparse.ArgumentParser, *plain: str, **worded: str) -> None:
    """Add options that several commands have.

    Args:
        parser: Of one command.
        plain: Keys of ``SHARED`` whose help is the same everywhere.
        worded: By key of ``SHARED``, the words that fill the help of this command's option.
    """
    for key, words in (worded | dict.fromkeys(plain, "")).items():
        if key == "checkpoint":
            add_official_options(parser)
        flag, settings = SHARED[key]
        parser.add_argument(flag, **settings | {"help": settings["help"].format(words)})


def share_resume(parser: argparse.ArgumentParser, what: str) -> None:
    """Add ``--resume`` and ``--overwrite``, of which one may be given, for what lies in --out."""
    taken = parser.add_mutually_exclusive_group()
    taken.add_argument("--resume", action="store_true", help=f"continue {what} in --out")
    taken.add_argument("--overwrite", action="store_true", help=f"replace {what} in --out")


def is_quiet(args: argparse.Namespace) -> bool:
    """Return whether progress bars stay away: ``--quiet``, ``NO_COLOR``, or no terminal."""
    return bool(args.quiet) or bool(os.environ.get("NO_COLOR")) or not sys.stderr.isatty()


def check_output_file(path: str | None, option: str) -> None:
    """Refuse an output file that could not be written, before any work is done.

    Raises:
        GstoVizError: The name is empty, a folder, or lies where nothing can be written.
    """
    from pathlib import Path

    from gsto_viz.files import check_creatable

    if path is None or path == "-":
        return
    target = Path(path)
    if not path or target.is_dir():
        raise GstoVizError(f"{option} '{path}' is not a file name; give one, or - for stdout")
    try:
        check_creatable(target)
    except GstoVizError as error:
        raise GstoVizError(f"{option}: {error}") from error


def size_of(args: argparse.Namespace) -> tuple[int, int] | None:
    """Return height and width of ``--size``; None without it."""
    from gsto_viz.data import parse_size

    return parse_size(args.size) if args.size else None


def write_result(args: argparse.Namespace, facts: Any, text: str) -> None:
    """Write a result as JSON where ``--json`` says, and as text unless that is stdout.

    Args:
        args: Of a command with ``--json``.
        facts: Plain values; NaN is refused.
        text: The same for the screen.
    """
    import json

    from gsto_viz.files import write_json

    if args.json == "-":
        text = json.dumps(facts, indent=2, allow_nan=False) + "\n"
    elif args.json:
        write_json(args.json, facts)
    sys.stdout.write(text)


MODEL_HELP = (
    "a network: any name (letters, digits, - and _; by custom A the baseline and B the gated one), "
    "and a shipped name or a file; once for each of up to 8"
)


def add_models(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """Add ``--model NAME=CHECKPOINT``, once for each network, and what such networks share."""
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME=CHECKPOINT",
        required=required,
        help=MODEL_HELP,
    )
    add_official_options(parser)
    parser.add_argument(
        "--reference",
        metavar="NAME",
        help="the network that all others are compared with (default: the first)",
    )


def load_networks(
    given: Sequence[str],
    reference: str | None,
    device: "torch.device",
    *,
    official: dict[str, Any],
    least: int = 1,
    output: str = "",
) -> "dict[str, Network]":
    """Load the networks of ``--model`` words, the reference first.

    What ``official`` says holds for all official files among them.

    Raises:
        GstoVizError: A word is not NAME=..., a name is given twice, there are fewer than ``least``
            or more than eight, or the reference is none of them; nothing is loaded then.
    """
    from gsto_viz.models.checkpoint import says_itself
    from gsto_viz.models.factory import is_factory
    from gsto_viz.network import open_network
    from gsto_viz.report.run import ordered_names

    chosen: dict[str, str] = {}
    for word in given:
        key, equals, source = word.partition("=")
        if not key or not equals or not source:
            raise GstoVizError(f"--model {word}: write NAME=CHECKPOINT")
        if key in chosen:
            raise GstoVizError(f"--model {key} is given twice; give each network its own name")
        chosen[key] = source
    keys = ordered_names(chosen, reference)
    if len(keys) < least:
        raise GstoVizError(f"--model {given[0]}: one alone has nothing to differ from; give more")
    mixed = not all(says_itself(source) for source in chosen.values())
    options = {
        key: {} if mixed and says_itself(source) else official for key, source in chosen.items()
    }
    return {
        key: open_network(
            chosen[key], key=key, code=is_factory(chosen[key]), output=output, **options[key]
        ).to(device)
        for key in keys
    }


def add_official_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--arch``, ``--align-corners`` and ``--inplace-abn``."""
    group = parser.add_argument_group(
        "official files", "what a file of HRNet or GSTO does not say about itself"
    )
    group.add_argument(
        "--arch", metavar="NAME", help="its network (default: by the shapes in the file)"
    )
    group.add_argument(
        "--align-corners",
        action="store_true",
        help="resize with aligned corners, as files of HRNet's OCR branch were trained",
    )
    group.add_argument(
        "--inplace-abn",
        action="store_true",
        help="the file was trained with InPlaceABN, as GSTO's and HRNet's torch-0.4.1 files",
    )


def official_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options that were given, as ``load_model`` and ``load_official_model`` take them.

    Empty when none was given, so that checkpoints of ours are read as such.
    """
    given = {
        "arch": args.arch,
        "align_corners": args.align_corners,
        "inplace_abn": args.inplace_abn,
    }
    return {name: value for name, value in given.items() if value}


def spec_help() -> str:
    """Return what a SPEC of a data set may be; only help asks, since this loads the data room."""
    from gsto_viz.data import spec_help as text

    return text()


def figure_help() -> str:
    """Return which figures there are; only help asks, since this loads the plots."""
    from gsto_viz.report.catalogue import KINDS

    width = max(map(len, KINDS))
    lines = [f"  {kind.name:<{width}}  {kind.title}" for kind in KINDS.values()]
    return "\n".join(["a FIGURE is one of", *lines, ""])


LISTED = {"SPEC": spec_help, "FIGURE": figure_help}
"""What the help of a command adds for an argument of each kind."""
