"""``gsto-viz equalize``: put scale equalizers into a checkpoint, estimated over images."""

import argparse
import sys
from typing import TYPE_CHECKING

from gsto_viz.commands.options import check_output_file, is_quiet, official_options, share
from gsto_viz.text_table import text_table

if TYPE_CHECKING:
    from pathlib import Path

    from gsto_viz.models import SegmentationNetwork

NAME = "equalize"
HELP = "put scale equalizers in front of a network's fusion, estimated over training images"
EXAMPLES = (
    "gsto-viz equalize runs/b/best.safetensors --data camvid:PATH:train --out e.safetensors",
    "gsto-viz equalize scenes-hrnetv2-w18-small-v1 --data scenes:count=64 --out e.safetensors",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``equalize`` takes."""
    share(parser, "checkpoint", data="training", size="images to this size")
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help="new checkpoint; its other weights are those of CHECKPOINT, so train it on afterwards",
    )
    share(parser, "device", overwrite="FILE")


def run(args: argparse.Namespace) -> int:
    """Estimate, save, and print a row for each equalizer."""
    from pathlib import Path

    from gsto_viz.commands.options import size_of
    from gsto_viz.data import load_data
    from gsto_viz.distributed import join_world
    from gsto_viz.errors import GstoVizError
    from gsto_viz.evaluate import check_classes
    from gsto_viz.network import open_network
    from gsto_viz.train.measures import add_gains, equalize, equalized_of

    out = Path(args.out)
    with join_world(args.device) as (world, device):
        with world.together():
            if out.suffix != ".safetensors":
                raise GstoVizError(f"--out {out} is a checkpoint; end its name in .safetensors")
            if out.exists() and not args.overwrite:
                raise GstoVizError(f"{out} exists; choose another name or give --overwrite")
            check_output_file(args.out, "--out")
            data = load_data(args.data, purpose="train", size=size_of(args))
            start = open_network(args.checkpoint, **official_options(args))
            check_classes(start.module, data)
            network = equalized_of(start.module, args.checkpoint).to(device)
        equalize(network, data, world=world, quiet=is_quiet(args) or not world.is_main)
        with world.together():
            if world.is_main:
                _write(network, out, data.name, len(data))
                if start.gains:
                    add_gains(out, data, quiet=is_quiet(args))
    return 0


def _write(network: "SegmentationNetwork", out: "Path", data: str, images: int) -> None:
    """Save the network, with what was done instead of the scores of another, and print a table."""
    from dataclasses import replace

    from gsto_viz.data import portable_name
    from gsto_viz.models import save_checkpoint
    from gsto_viz.models.equalizer import disequilibrium, sites

    info = network.info
    if info is not None:
        record = {"of": info.name, "data": portable_name(data), "images": images}
        info = replace(info, gains={}, training={"equalized": record}, sha256=None)
    save_checkpoint(network, out, info=info)
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
