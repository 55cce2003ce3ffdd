"""``gsto-viz scenes``: write procedural street scenes with exact labels to a folder."""

import argparse
import sys

from gsto_viz.commands.options import is_quiet, share

NAME = "scenes"
HELP = "write procedural street scenes with exact labels and instances"
EXAMPLES = (
    "gsto-viz scenes scenes/eval --count 64 --seed 0 --size 256x512",
    "gsto-viz scenes scenes/train --count 1000 --seed 7 --split train",
    "gsto-viz scenes scenes/any-size --count 64 --decorrelated",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``gsto-viz scenes``."""
    parser.add_argument(
        "out", metavar="OUT", help="folder to make: images/ labels/ instances/ classes.json"
    )
    parser.add_argument(
        "--count", type=int, default=64, metavar="N", help="number of images (default %(default)s)"
    )
    parser.add_argument(
        "--size",
        default="256x512",
        metavar="HxW",
        help="height x width in pixels, each 64..4096 (default %(default)s)",
    )
    parser.add_argument(
        "--split",
        choices=("train", "eval"),
        default="eval",
        help="train: scene seeds below 1,000,000; eval (default): 1,000,000 is added to the seed",
    )
    parser.add_argument(
        "--decorrelated",
        action="store_true",
        help="draw objects whose size does not depend on their class",
    )
    share(parser, seed="which images", overwrite="a folder written by this command")


def run(args: argparse.Namespace) -> int:
    """Write the folder and print its path."""
    from gsto_viz.data import parse_size
    from gsto_viz.data.scenes import SceneDataset, write_scenes

    size = parse_size(args.size)
    dataset = SceneDataset(args.count, args.seed, size, args.split, decorrelated=args.decorrelated)
    progress = not is_quiet(args)
    folder = write_scenes(args.out, dataset, overwrite=args.overwrite, progress=progress)
    sys.stdout.write(f"{folder}\n")
    return 0
