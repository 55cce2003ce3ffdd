"""``gsto-viz check``: what label maps really hold, before any number is made from them."""

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gsto_viz.commands.options import (
    add_official_options,
    check_output_file,
    is_quiet,
    official_options,
    share,
    write_result,
)
from gsto_viz.text_table import text_table

if TYPE_CHECKING:
    from gsto_viz.census import Census, Finding
    from gsto_viz.network import Network
    from gsto_viz.types import Dataset

NAME = "check"
HELP = "count what the label maps of a data set hold, and see that a network fits them"
EXAMPLES = (
    "gsto-viz check camvid:PATH:val",
    "gsto-viz check folder:PATH runs/b/best.safetensors",
    "gsto-viz check cityscapes:PATH:train --limit 200 --json census.json",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``gsto-viz check``."""
    parser.add_argument("data", metavar="SPEC", help="annotated images")
    parser.add_argument(
        "checkpoint", nargs="?", metavar="CHECKPOINT", help="a shipped name or a file"
    )
    add_official_options(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="read N label maps, drawn by --seed")
    share(parser, seed="which label maps", json="the census")


def run(args: argparse.Namespace) -> int:
    """Print the census; the status is 2 when it holds what would stop a run."""
    from gsto_viz.census import census_text, take_census
    from gsto_viz.data import load_data
    from gsto_viz.network import open_network

    check_output_file(args.json, "--json")
    data = load_data(args.data, purpose="eval")
    network = None
    if args.checkpoint:
        network = open_network(args.checkpoint, **official_options(args))
    census = take_census(data, most=args.limit, seed=args.seed, quiet=is_quiet(args))
    text = ""
    facts: dict[str, object] = {"schema_version": 1}
    if network is not None:
        census.others += tuple(_misfits(network, data, census))
        facts["checkpoint"] = network.weights_record()
        text = "\n".join([*text_table(_network_rows(network), "<"), "", ""])
    write_result(args, facts | census.to_json(), text + census_text(census))
    stops = [one for one in census.findings() if one.stops]
    for one in stops:
        sys.stderr.write(f"gsto-viz check: {one}\n")
    return 2 if stops else 0


def _network_rows(network: "Network") -> Iterator[tuple[object, ...]]:
    """What a checkpoint says of itself, as far as data must fit it."""
    yield "network", f"{network.name} ({network.architecture})"
    if network.info is not None:
        yield "classes", f"{len(network.info.classes)}: {', '.join(network.info.classes.names)}"
        for word in ("mean", "std"):
            yield word, " ".join(f"{value:.4g}" for value in getattr(network.info, word))
    yield "strides", " ".join(str(stride or "-") for stride in network.anatomy.strides)


def _misfits(network: "Network", data: "Dataset", census: "Census") -> "Iterator[Finding]":
    """What does not fit between a network and a data set."""
    from gsto_viz.census import Finding
    from gsto_viz.errors import GstoVizError
    from gsto_viz.evaluate import check_classes
    from gsto_viz.types import coarsest_pixels
    from gsto_viz.words import counted

    try:
        check_classes(network.module, data)
    except GstoVizError as error:
        sentence, _, advice = str(error).rpartition("; ")
        yield Finding("other-classes", sentence, advice, stops=True)
    coarsest = coarsest_pixels(network.anatomy.strides)
    small = sum(n for size, n in census.sizes.items() if min(size) < coarsest)
    if small:
        yield Finding(
            "small",
            f"{counted(small, 'image is', 'images are')} smaller than the stride of the coarsest "
            f"branch, {coarsest}",
            "make them larger or take them away",
        )
