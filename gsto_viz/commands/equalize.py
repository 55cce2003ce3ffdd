"""``gsto-viz equalize``: put scale equalizers into a checkpoint, or fold them into its weights."""

import argparse
import sys
from typing import TYPE_CHECKING

from gsto_viz.commands.options import check_output_file, is_quiet, official_options, share
from gsto_viz.text_table import text_table
from gsto_viz.words import counted

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from gsto_viz.distributed import World
    from gsto_viz.models import SegmentationNetwork

NAME = "equalize"
HELP = (
    "put scale equalizers in front of a network's fusion, estimated over training images; or fold "
    "them into its weights"
)
EXAMPLES = (
    "gsto-viz equalize runs/b/best.safetensors --data camvid:PATH:train --out e.safetensors",
    "gsto-viz equalize scenes-hrnetv2-w18-small-v1 --data scenes:count=64 --out e.safetensors",
    "gsto-viz equalize e.safetensors --fold --out folded.safetensors",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``equalize`` takes."""
    share(parser, "checkpoint", size="images to this size")
    either = parser.add_mutually_exclusive_group(required=True)
    either.add_argument("--data", metavar="SPEC", help="training images")
    either.add_argument(
        "--fold",
        action="store_true",
        help="write the same function without equalizers: those of CHECKPOINT are folded into the "
        "1x1 convolutions behind them",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help="new checkpoint; its other weights are those of CHECKPOINT, so train it on after it "
        "was equalized",
    )
    share(parser, "device", overwrite="FILE")


def run(args: argparse.Namespace) -> int:
    """Check where the result goes, and make it."""
    from pathlib import Path

    from gsto_viz.distributed import join_world
    from gsto_viz.errors import GstoVizError

    out = Path(args.out)
    with join_world(args.device) as (world, device):
        with world.together():
            if out.suffix != ".safetensors":
                raise GstoVizError(f"--out {out} is a checkpoint; end its name in .safetensors")
            if out.exists() and not args.overwrite:
                raise GstoVizError(f"{out} exists; choose another name or give --overwrite")
            check_output_file(args.out, "--out")
            if args.fold and world.is_main:
                _fold(args, out)
        if not args.fold:
            _equalize(args, out, world, device)
    return 0


def _fold(args: argparse.Namespace, out: "Path") -> None:
    """Save the network without its equalizers, and say how many there were."""
    from gsto_viz.errors import GstoVizError
    from gsto_viz.models import load_model, save_checkpoint
    from gsto_viz.models.equalizer import fold_equalizers, sites

    if args.size:
        raise GstoVizError("--size is for images, and --fold reads none; leave it out")
    network = load_model(args.checkpoint, **official_options(args))
    folded = fold_equalizers(network)
    save_checkpoint(folded, out, info=folded.info)
    sys.stdout.write(f"{counted(len(sites(network)), 'equalizer')} folded; saved {out}\n")


def _equalize(
    args: argparse.Namespace, out: "Path", world: "World", device: "torch.device"
) -> None:
    """Estimate, save, and print a row for each equalizer."""
    from gsto_viz.commands.options import size_of
    from gsto_viz.data import load_data
    from gsto_viz.evaluate import check_classes
    from gsto_viz.files import atomic_path
    from gsto_viz.network import open_network
    from gsto_viz.train.measures import add_gains, equalize, equalized_of

    with world.together():
        data = load_data(args.data, purpose="train", size=size_of(args))
        start = open_network(args.checkpoint, **official_options(args))
        network = equalized_of(start.module, args.checkpoint).to(device)
        check_classes(start.module, data)
    equalize(network, data, world=world, quiet=is_quiet(args) or not world.is_main)
    with world.together():
        if world.is_main:
            with atomic_path(out) as path:
                _save(network, path, data.name, len(data))
                if start.gains:
                    add_gains(path, data, quiet=is_quiet(args))
            _print(network, out, len(data))


def _save(network: "SegmentationNetwork", path: "Path", data: str, images: int) -> None:
    """Save the network, with what was done instead of the scores of another."""
    from dataclasses import replace

    from gsto_viz.data import portable_name
    from gsto_viz.models import save_checkpoint

    info = network.info
    if info is not None:
        record = {"of": info.name, "data": portable_name(data), "images": images}
        info = replace(info, gains={}, training={"equalized": record}, sha256=None)
    save_checkpoint(network, path, info=info)


def _print(network: "SegmentationNetwork", out: "Path", images: int) -> None:
    """Print the equalizers, and the disequilibrium that they take away."""
    from gsto_viz.models.equalizer import disequilibrium, sites

    rows: list[tuple[object, ...]] = [("equalizer", "mean", "deviation")]
    rows += [
        (name, f"{float(one.mean):.4f}", f"{float(one.deviation):.4f}")
        for name, one in sites(network).items()
    ]
    lines = [
        f"disequilibrium of {head}: {octaves:.2f} octaves of variance before, 0 behind equalizers"
        for head, octaves in disequilibrium(network).items()
    ]
    sys.stdout.write("\n".join([*text_table(rows), *lines, f"{images} images; saved {out}", ""]))
