"""``gsto-viz evaluate``: score a checkpoint on annotated images."""

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsto_viz.commands.official_options import add_official_options, official_options

if TYPE_CHECKING:
    from gsto_viz.distributed import World
    from gsto_viz.evaluate import Evaluation, Options, Tally
    from gsto_viz.models import HRNet
    from gsto_viz.types import Dataset, Sample

NAME = "evaluate"
HELP = "score a checkpoint: mIoU from one confusion matrix, boundaries, object sizes"
EXAMPLES = (
    "gsto-viz evaluate camvid-hrnetv2-w18-small-v1 --data camvid:PATH:val --json e.json",
    "gsto-viz evaluate scenes-gsto-hrnet-w18-small-v1 --data scenes:count=64 --scales 0.5,1,2 "
    "--flip",
    "gsto-viz evaluate runs/b/best.safetensors --data cityscapes:PATH --protocol cityscapes-ms",
    "gsto-viz evaluate runs/b/best.safetensors --data cityscapes:PATH:test --export submission",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``evaluate`` takes."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a shipped name or a file")
    parser.add_argument("--data", required=True, metavar="SPEC", help="annotated images")
    parser.add_argument("--size", metavar="HxW", help="resize images and labels to this size")
    parser.add_argument(
        "--protocol",
        default="single",
        metavar="NAME",
        help="single (default), cityscapes-ms, lip, pascal-context or ade20k: as the papers test",
    )
    parser.add_argument("--scales", metavar="S,S", help="factors of image size, such as 0.5,1,2")
    parser.add_argument(
        "--flip",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="average with the mirror image",
    )
    parser.add_argument(
        "--precision", default="fp32", choices=("fp32", "bf16", "fp16"), help="of the network"
    )
    parser.add_argument(
        "--sizes",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="scores by object size and at boundaries",
    )
    parser.add_argument(
        "--export", metavar="DIR", help="write label maps for the Cityscapes test server"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the maps in --export")
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="threads that read and count"
    )
    add_official_options(parser)
    parser.add_argument("--json", metavar="F", help="write the scores as JSON; - for stdout")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")


def options_of(args: argparse.Namespace) -> "Options":
    """Return how images are scored, from the command line's words."""
    from gsto_viz.errors import GstoVizError
    from gsto_viz.evaluate import Options, protocol_named
    from gsto_viz.evaluate.protocols import parse_scales

    if not 0 <= args.workers <= 64:
        raise GstoVizError(f"--workers {args.workers}: give a number from 0 to 64")
    scales = None if args.scales is None else parse_scales(args.scales)
    return Options(
        protocol_named(args.protocol).with_changes(scales=scales, flip=args.flip),
        precision=args.precision,
        outcome=args.sizes,
        skip_unreadable=True,
        workers=args.workers,
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate, alone or as one of several processes; print a table, or JSON with ``--json -``."""
    from gsto_viz.commands.options import check_output_file
    from gsto_viz.data import load_data, parse_size
    from gsto_viz.distributed import join_world
    from gsto_viz.evaluate.protocols import check_input_size
    from gsto_viz.models import load_model

    with join_world(args.device) as (world, device):
        with world.together():
            check_output_file(args.json, "--json")
            options = options_of(args)
            size = parse_size(args.size) if args.size else None
            check_input_size(options.protocol, size)
            data = load_data(args.data, purpose="eval", size=size)
            model = load_model(args.checkpoint, **official_options(args)).to(device)
            export = Export.to(args, data) if args.export else None
        tally = _tally(args, model, data, options, world, export)
        if not world.is_main:
            return 0
        return _report(args, model, data, options, tally, export)


def _tally(
    args: argparse.Namespace,
    model: "HRNet",
    data: "Dataset",
    options: "Options",
    world: "World",
    export: "Export | None",
) -> "Tally":
    """Count, under a progress bar of the images of this process."""
    from tqdm import tqdm

    from gsto_viz.commands.options import is_quiet
    from gsto_viz.evaluate import tally_images

    with tqdm(
        total=len(world.share(len(data))),
        desc="evaluate",
        unit="image",
        disable=is_quiet(args) or not world.is_main,
    ) as bar:
        return tally_images(model, data, options, world=world, sink=export, progress=_updating(bar))


def _updating(bar: Any) -> Callable[[], object]:
    return lambda: bar.update()


def _report(
    args: argparse.Namespace,
    model: "HRNet",
    data: "Dataset",
    options: "Options",
    tally: "Tally",
    export: "Export | None",
) -> int:
    """Print and write the scores, name the images that were skipped, return the exit status."""
    from dataclasses import replace

    from gsto_viz.evaluate import evaluation_of

    if export is not None:
        sys.stderr.write(f"gsto-viz evaluate: {len(tally.images)} label maps in {export.folder}\n")
    if export is None or args.json or tally.confusion.any():
        result = replace(evaluation_of(tally, data, options), data=args.data)
        _write(args, model, options, result)
    for index, reason in tally.skipped.items():
        sys.stderr.write(f"gsto-viz evaluate: skipped {data.ids[index]}: {reason}\n")
    return 3 if tally.skipped else 0


def _write(
    args: argparse.Namespace, model: "HRNet", options: "Options", result: "Evaluation"
) -> None:
    """Print the table and write the JSON file, or print the JSON."""
    from gsto_viz.commands.evaluate_table import table
    from gsto_viz.commands.options import json_only
    from gsto_viz.data import parse_size
    from gsto_viz.inspection import weights_record
    from gsto_viz.versions import versions

    value = {
        "schema_version": 1,
        "checkpoint": weights_record(model),
        "size": list(parse_size(args.size)) if args.size else None,
        "precision": options.precision,
        **result.to_json(),
        "versions": versions(),
    }
    if json_only(value, args.json):
        return
    sys.stdout.write(table(result))


class Export:
    """Writes predictions as the Cityscapes test server wants them, each file whole or not at all.

    Args:
        folder: Where the files go.
        names: File name of every image, by its id.
    """

    def __init__(self, folder: Path, names: dict[str, str]) -> None:
        self.folder, self.names = folder, names

    @classmethod
    def to(cls, args: argparse.Namespace, data: "Dataset") -> "Export":
        """Check that all files can be written, before any work is done.

        Raises:
            GstoVizError: The data are not Cityscapes at its native size, or the folder is taken.
        """
        from gsto_viz.errors import GstoVizError
        from gsto_viz.folders import check_target
        from gsto_viz.stats.cityscapes import is_cityscapes

        if not is_cityscapes(data.classes.names):
            raise GstoVizError(
                f"--export writes label maps for the Cityscapes server, and {data.name} has other "
                "classes; leave it out"
            )
        if args.size:
            raise GstoVizError("--export needs the native size of the images; leave --size out")
        names = {id_: _server_name(id_) for id_ in data.ids}
        folder = Path(args.export)
        check_target(folder, list(names.values()), overwrite=args.overwrite)
        return cls(folder, names)

    def __call__(self, sample: "Sample", predicted: Any) -> None:
        """Write one prediction in the 34 ids of the label files."""
        import numpy as np

        from gsto_viz.data import write_png
        from gsto_viz.data.cityscapes import LABEL_IDS

        label_ids = np.array(LABEL_IDS, dtype=np.uint8)[predicted]
        write_png(self.folder / self.names[sample.id], label_ids)


def _server_name(id_: str) -> str:
    """Return the file name of a prediction; the test server looks for CITY_SEQ_FRAME*.png."""
    from gsto_viz.errors import GstoVizError

    if re.fullmatch(r"[^/\\]+_[0-9]{6}_[0-9]{6}", id_) is None:
        raise GstoVizError(
            f"'{id_}' is not named as Cityscapes names its frames (CITY_000000_000019), and the "
            "test server could not tell which one it is; give it its name back"
        )
    return f"{id_}_labelIds.png"
