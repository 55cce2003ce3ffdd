"""``gsto-viz doctor``: what gsto_viz sees in any network."""

import argparse
from typing import TYPE_CHECKING

from gsto_viz.commands.options import (
    add_official_options,
    check_output_file,
    official_options,
    share,
    write_result,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME = "doctor"
HELP = (
    "what gsto_viz sees in any network: taps, strides, gates and their range, modules called twice "
    "or never, in-place changes, aligned corners"
)
EXAMPLES = (
    "gsto-viz doctor scenes-gsto-hrnet-w18-small-v1",
    "gsto-viz doctor hrnetv2-w48 --size 256x512",
    "gsto-viz doctor hrnet_w48_cityscapes.pth --align-corners --json -",
    "gsto-viz doctor my_network.py:build --json facts.json",
)
SCENE_SEED = 1_000_000
"""Number of the scene that is looked at: no network was trained on it."""
MIN_SCENE = 64
"""Pixels: smaller scenes are drawn at this size and made smaller."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``doctor`` takes."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a shipped or registered name (gsto-viz models), a checkpoint, official weights, "
        "file, or PATH.py:FUNCTION, which runs the code of that file",
    )
    parser.add_argument(
        "--size",
        metavar="HxW",
        default="192x256",
        help="size of the image that is looked at (default %(default)s)",
    )
    share(parser, "device", "output", json="all facts")
    add_official_options(parser)


def run(args: argparse.Namespace) -> int:
    """Examine the network; print the report or write the facts."""
    from gsto_viz.data import parse_size
    from gsto_viz.doctor import examine, report_text
    from gsto_viz.report.folder import plain
    from gsto_viz.torch_utils import pick_device

    check_output_file(args.json, "--json")
    size, device = parse_size(args.size), pick_device(args.device)
    model = find_model(args)
    seen = examine(
        model.to(device), scene(model, size).to(device), name=args.model, output=args.output
    )
    write_result(args, plain(seen), report_text(seen))
    return 0


def find_model(args: argparse.Namespace) -> "nn.Module":
    """Return the network that was named; registered ones get random weights of one seed.

    Raises:
        GstoVizError: There is none of that name, or its file or code fails.
    """
    from gsto_viz.network import open_network

    return open_network(args.model, code=True, headless=True, **official_options(args)).module


def scene(model: "nn.Module", size: tuple[int, int]) -> "Tensor":
    """Return a procedural scene as the network wants images, (1, 3, H, W)."""
    from gsto_viz.data import resize_image
    from gsto_viz.data.scenes import render_scene
    from gsto_viz.evaluate.protocols import input_batch

    drawn = (max(size[0], MIN_SCENE), max(size[1], MIN_SCENE))
    image = resize_image(render_scene(SCENE_SEED, 0, *drawn).image, size)
    return input_batch(model, image)
