"""Networks that the explorer is given by name: checkpoints of ours are made of them."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gsto_viz.commands.options import (
    MODEL_HELP,
    add_official_options,
    is_quiet,
    load_networks,
    official_options,
)

SCENES = "scenes:count=16"
"""The images whose gains a network gets where no others are named."""


def add_checkpoints(parser: argparse.ArgumentParser, words: str) -> None:
    """Add ``--checkpoints``, ``--model`` and what such networks take.

    Args:
        parser: Of one command.
        words: The help of ``--checkpoints``.
    """
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--checkpoints", metavar="DIR", help=words)
    one.add_argument(
        "--model", action="append", default=[], metavar="NAME=CHECKPOINT", help=MODEL_HELP
    )
    parser.add_argument(
        "--calibration",
        metavar="SPEC",
        help="training images whose first 64 give the per-channel gains of a --model that has none "
        f"(default: those of --data, else {SCENES})",
    )
    add_official_options(parser)


@contextmanager
def checkpoint_folder(args: argparse.Namespace) -> Iterator[Path | None]:
    """Yield the folder of the checkpoints that were given, None where none were.

    It is that of ``--checkpoints``, or one that lives as long as the block, with each ``--model``.

    Raises:
        GstoVizError: No such folder, a network that cannot be opened or runs code, or options
            without a network that they are for.
    """
    import tempfile

    from gsto_viz.errors import GstoVizError
    from gsto_viz.explorer.server import check_folder

    if not args.model:
        if args.calibration or official_options(args):
            raise GstoVizError(
                "--calibration, --arch, --align-corners and --inplace-abn are for networks of "
                "--model NAME=CHECKPOINT; give one, or leave them out"
            )
        given = args.checkpoints
        yield given and check_folder(given, "--checkpoints", ".safetensors files")
        return
    with tempfile.TemporaryDirectory(prefix="gsto-viz-") as folder:
        _make(args, Path(folder))
        yield Path(folder)


def _make(args: argparse.Namespace, folder: Path) -> None:
    """Write a checkpoint of ours for every ``--model``, with classes and gains."""
    import torch

    from gsto_viz.data import load_data
    from gsto_viz.errors import GstoVizError
    from gsto_viz.evaluate import adopt_classes
    from gsto_viz.models import SegmentationNetwork, save_checkpoint
    from gsto_viz.models.factory import is_factory
    from gsto_viz.train import add_gains

    for word in args.model:
        if is_factory(word):
            raise GstoVizError(
                f"--model {word}: the explorer runs no code of a factory file; analyze it, or save "
                "a network of the register with save_checkpoint"
            )
    data = load_data(args.calibration or args.data or SCENES, purpose="eval")
    networks = load_networks(args.model, None, torch.device("cpu"), official=official_options(args))
    for key, network in networks.items():
        if not isinstance(network.module, SegmentationNetwork) or network.info is None:
            raise GstoVizError(f"--model {key}: it says nothing of itself; give a checkpoint")
        adopt_classes(network.module, data)
        path = folder / f"{key}.safetensors"
        save_checkpoint(network.module, path, info=network.module.info)
        add_gains(path, data, quiet=is_quiet(args))
