"""Options of commands that also read official HRNet and GSTO files."""

import argparse
from typing import Any


def add_official_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--arch``, ``--align-corners`` and ``--inplace-abn``."""
    group = parser.add_argument_group(
        "official files", "what a .pth file of HRNet or GSTO does not say about itself"
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
