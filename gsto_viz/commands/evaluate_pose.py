"""What ``gsto-viz evaluate`` does with a pose network: AP of key points, OKS by size of person."""

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from gsto_viz.commands.options import size_of, write_result
from gsto_viz.text_table import text_table

if TYPE_CHECKING:
    from gsto_viz.census import Finding
    from gsto_viz.distributed import World
    from gsto_viz.evaluate import KeypointScores
    from gsto_viz.evaluate.keypoints import PoseOptions
    from gsto_viz.network import Network
    from gsto_viz.types import Dataset

SEGMENTATION_ONLY = {
    "protocol": "single",
    "scales": None,
    "sizes": True,
    "export": None,
    "output": "main",
}
"""Options that say nothing to a pose network, and what they are where they are not given."""


def pose_options(args: argparse.Namespace, network: "Network") -> "PoseOptions":
    """Return how persons are looked at, from the command line's words.

    Raises:
        GstoVizError: An option is for segmentation, or nothing says the size of crops.
    """
    from gsto_viz.errors import GstoVizError
    from gsto_viz.evaluate.keypoints import PoseOptions

    for name, default in SEGMENTATION_ONLY.items():
        if getattr(args, name) != default:
            raise GstoVizError(
                f"--{name} is for segmentation and this network is for pose; leave it out"
            )
    size = size_of(args)
    if size is None:
        recipe = {} if network.info is None else network.info.training.get("recipe", {})
        if "crop" not in recipe:
            raise GstoVizError(
                "this pose network does not say of which size its crops of persons were; give it "
                "with --size HEIGHTxWIDTH, such as 256x192 or 384x288"
            )
        size = tuple(recipe["crop"])
    return PoseOptions(size, args.flip is not False, args.precision)


def evaluate_people(
    args: argparse.Namespace,
    network: "Network",
    data: "Dataset",
    options: "PoseOptions",
    world: "World",
    found: "Sequence[Finding]",
    progress: "Callable[[], object]",
) -> int:
    """Score the network; print and write the scores, return the exit status."""
    from gsto_viz.evaluate.keypoints import evaluate_pose

    scores, skipped = evaluate_pose(network.module, data, options, world=world, progress=progress)
    if not world.is_main:
        return 0
    _report(args, network, options, scores, found)
    for index, reason in skipped.items():
        sys.stderr.write(f"gsto-viz evaluate: skipped {data.ids[index]}: {reason}\n")
    return 3 if skipped else 0


def _report(
    args: argparse.Namespace,
    network: "Network",
    options: "PoseOptions",
    scores: "KeypointScores",
    found: "Sequence[Finding]",
) -> None:
    from dataclasses import asdict

    from gsto_viz.files import versions

    facts = {
        "schema_version": 1,
        "checkpoint": network.weights_record(),
        "data": args.data,
        "size": list(options.size),
        "flip": options.flip,
        "precision": options.precision,
        "census": [asdict(one) for one in found],
        **scores.to_json(),
        "versions": versions(),
    }
    notes = "".join(f"note: {one}\n" for one in found)
    write_result(args, facts, notes + table(args.data, options, scores))


TITLES = {
    "ap": ("AP", "mean over OKS .50 to .95"),
    "ap50": ("AP50", ""),
    "ap75": ("AP75", ""),
    "ap_medium": ("AP M", "persons of 32 to 96 px"),
    "ap_large": ("AP L", "persons from 96 px on"),
    "ar": ("AR", "mean over OKS .50 to .95"),
}


def table(data: str, options: "PoseOptions", scores: "KeypointScores") -> str:
    """Return all scores of an evaluation."""
    crop = "x".join(map(str, options.size))
    flip = "with" if options.flip else "without"
    head = (
        f"{data}: {scores.people} persons in {scores.images} images, annotated boxes, crops of "
        f"{crop}, {flip} the mirror image"
    )
    percent = scores.percent()
    rows = [
        (title, "-" if percent[name] is None else f"{percent[name]:.2f}", words)
        for name, (title, words) in TITLES.items()
    ]
    sizes = text_table(_size_rows(scores), ">")
    return "\n".join([head, *text_table(rows, "<><"), "", *sizes]) + "\n"


def _size_rows(scores: "KeypointScores") -> Iterator[tuple[object, ...]]:
    """OKS by size octave, with 95 % intervals over images."""
    yield "size of person (px)", "persons", "OKS", "95 % interval"
    for row in scores.sizes.to_dict("records"):
        octave, mean, low, high = row["octave"], row["mean"], row["low"], row["high"]
        interval = "no interval" if math.isnan(low) else f"[{low:.3f}, {high:.3f}]"
        yield f"{2**octave} to {2 ** (octave + 1)}", row["n_people"], f"{mean:.3f}", interval
