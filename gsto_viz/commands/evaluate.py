"""``gsto-viz evaluate``: score a checkpoint on annotated images."""

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from gsto_viz.commands.official_options import add_official_options, official_options

if TYPE_CHECKING:
    from gsto_viz.evaluate import Evaluation

NAME = "evaluate"
HELP = "score a checkpoint: mIoU from one confusion matrix, single scale, no flip"
EXAMPLES = (
    "gsto-viz evaluate camvid-hrnetv2-w18-small-v1 --data camvid:PATH:val --json e.json",
    "gsto-viz evaluate scenes-gsto-hrnet-w18-small-v1 --data scenes:count=64",
    "gsto-viz evaluate runs/b/best.safetensors --data folder:PATH --size 512x1024",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``evaluate`` takes."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a shipped name or a file")
    parser.add_argument("--data", required=True, metavar="SPEC", help="annotated images")
    parser.add_argument("--size", metavar="HxW", help="resize images and labels to this size")
    add_official_options(parser)
    parser.add_argument("--json", metavar="F", help="write the scores as JSON; - for stdout")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")


def table(evaluation: "Evaluation") -> str:
    """Return the scores as an aligned text table."""
    scores = evaluation.scores
    lines = [
        f"{evaluation.data}: {evaluation.images} images",
        f"{'class':<16}{'IoU %':>8}{'acc %':>8}{'pixels':>12}",
    ]
    for info, iou, accuracy, pixels in zip(
        evaluation.classes, scores.iou, scores.accuracy, scores.pixels, strict=True
    ):
        cells = ["-" if v is None else f"{v:.2f}" for v in (iou, accuracy)]
        lines.append(f"{info.name:<16}{cells[0]:>8}{cells[1]:>8}{pixels:>12}")
    lines += [
        f"mIoU            {scores.miou:8.2f}",
        f"pixel accuracy  {scores.pixel_accuracy:8.2f}",
        f"mean accuracy   {scores.mean_accuracy:8.2f}",
    ]
    return "\n".join(lines) + "\n"


def run(args: argparse.Namespace) -> int:
    """Evaluate; print a table, or JSON alone with ``--json -``."""
    import json

    from tqdm import tqdm

    from gsto_viz.commands.options import check_output_file, is_quiet
    from gsto_viz.data import load_data, parse_size
    from gsto_viz.evaluate import evaluate
    from gsto_viz.files import write_json
    from gsto_viz.inspection import weights_record
    from gsto_viz.models import load_model
    from gsto_viz.torch_utils import pick_device
    from gsto_viz.versions import versions

    check_output_file(args.json, "--json")
    device = pick_device(args.device)
    size = parse_size(args.size) if args.size else None
    data = load_data(args.data, purpose="eval", size=size)
    model = load_model(args.checkpoint, **official_options(args)).to(device)
    quiet = is_quiet(args)
    bar = tqdm(range(len(data)), desc="evaluate", unit="image", disable=quiet)
    result = replace(evaluate(model, data, indices=bar), data=args.data)
    value = {
        "schema_version": 1,
        "checkpoint": weights_record(model),
        "size": None if size is None else list(size),
        **result.to_json(),
        "versions": versions(),
    }
    if args.json == "-":
        sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")
        return 0
    if args.json:
        write_json(args.json, value)
    sys.stdout.write(table(result))
    return 0
