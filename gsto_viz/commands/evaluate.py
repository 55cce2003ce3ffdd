"""``gsto-viz evaluate``: score a checkpoint on annotated images."""

import argparse
import math
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsto_viz.commands.options import (
    check_output_file,
    is_quiet,
    official_options,
    share,
    size_of,
    write_result,
)
from gsto_viz.text_table import text_table

if TYPE_CHECKING:
    import pandas as pd

    from gsto_viz.census import Finding
    from gsto_viz.evaluate import Evaluation, Options, Tally
    from gsto_viz.network import Network
    from gsto_viz.stats.outcome import CityscapesScores
    from gsto_viz.types import Dataset, Sample


NAME = "evaluate"
HELP = "score a checkpoint: mIoU, boundaries, object sizes; of a pose network AP of key points"
EXAMPLES = (
    "gsto-viz evaluate camvid-hrnetv2-w18-small-v1 --data camvid:PATH:val --json e.json",
    "gsto-viz evaluate scenes-gsto-hrnet-w18-small-v1 --data scenes:count=64 --scales 0.5,1,2 "
    "--flip",
    "gsto-viz evaluate runs/b/best.safetensors --data cityscapes:PATH --protocol cityscapes-ms",
    "gsto-viz evaluate runs/b/best.safetensors --data cityscapes:PATH:test --export submission",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``evaluate`` takes."""
    share(parser, "checkpoint", data="annotated", size="images and labels to this size")
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
    share(parser, "output")
    parser.add_argument(
        "--export", metavar="DIR", help="write label maps for the Cityscapes test server"
    )
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="threads that read and count"
    )
    share(parser, "accept", "device", overwrite="the maps in --export", json="the scores")


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
        output=args.output,
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate, alone or as one of several processes; print a table, or JSON with ``--json -``."""
    from tqdm import tqdm

    from gsto_viz.census import quick_findings
    from gsto_viz.commands.evaluate_pose import evaluate_people, pose_options
    from gsto_viz.data import load_data
    from gsto_viz.distributed import join_world
    from gsto_viz.evaluate import tally_images
    from gsto_viz.evaluate.protocols import check_input_size
    from gsto_viz.models.base import task_of
    from gsto_viz.models.factory import is_factory
    from gsto_viz.network import open_network

    with join_world(args.device) as (world, device):
        with world.together():
            check_output_file(args.json, "--json")
            code = is_factory(args.checkpoint)
            network = open_network(
                args.checkpoint, code=code, output=args.output, **official_options(args)
            )
            network.to(device)
            people = pose_options(args, network) if task_of(network.module) == "pose" else None
            options = options_of(args)
            size = None if people else size_of(args)
            check_input_size(options.protocol, size)
            data = load_data(args.data, purpose="eval", size=size)
            export = Export.to(args, data) if args.export else None
            found = quick_findings(data, args.accept, quiet=is_quiet(args))
        with tqdm(
            total=len(world.share(len(data))),
            desc="evaluate",
            unit="image",
            disable=is_quiet(args) or not world.is_main,
        ) as bar:
            if people is not None:
                return evaluate_people(args, network, data, people, world, found, bar.update)
            tally = tally_images(
                network.module,
                data,
                options,
                world=world,
                sink=export,
                progress=lambda: bar.update(),
            )
        return _report(args, network, data, options, tally, export, found) if world.is_main else 0


def _report(
    args: argparse.Namespace,
    network: "Network",
    data: "Dataset",
    options: "Options",
    tally: "Tally",
    export: "Export | None",
    found: "Sequence[Finding]",
) -> int:
    """Print and write the scores, name the images that were skipped, return the exit status."""
    from dataclasses import asdict, replace

    from gsto_viz.evaluate import evaluation_of
    from gsto_viz.files import versions

    if export is not None:
        sys.stderr.write(f"gsto-viz evaluate: {len(tally.images)} label maps in {export.folder}\n")
    if export is None or args.json or tally.confusion.any():
        result = replace(evaluation_of(tally, data, options), data=args.data)
        size = size_of(args)
        facts = {
            "schema_version": 1,
            "checkpoint": network.weights_record(),
            "size": list(size) if size else None,
            "precision": options.precision,
            "census": [asdict(one) for one in found],
            **result.to_json(),
            "versions": versions(),
        }
        notes = "".join(f"note: {one}\n" for one in found)
        write_result(args, facts, notes + table(result))
    for index, reason in tally.skipped.items():
        why = reason.removeprefix(f"{data.ids[index]}: ")
        sys.stderr.write(f"gsto-viz evaluate: skipped {data.ids[index]}: {why}\n")
    return 3 if tally.skipped else 0


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
        from gsto_viz.files import check_creatable, check_target
        from gsto_viz.stats.outcome import is_cityscapes

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
        check_creatable(folder, inside=True)
        return cls(folder, names)

    def __call__(self, sample: "Sample", predicted: Any) -> None:
        """Write one prediction in the 34 ids of the label files."""
        import numpy as np

        from gsto_viz.data import LABEL_IDS, write_png

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


Row = tuple[object, ...]
MEASURES = (("recall", "recall"), ("iou", "IoU"), ("boundary_iou", "boundary IoU"))


def table(evaluation: "Evaluation") -> str:
    """Return all scores of an evaluation."""
    lines = [
        f"{evaluation.data}: {evaluation.images} images, protocol {evaluation.protocol.name}",
        *text_table(_class_rows(evaluation)),
        *text_table(_summary_rows(evaluation), "<><"),
    ]
    if evaluation.cityscapes is not None:
        lines += ["", *text_table(_category_rows(evaluation.cityscapes))]
    if evaluation.outcome is not None:
        lines += ["", *text_table(_size_rows(evaluation.outcome.sizes), ">")]
    return "\n".join(lines) + "\n"


def _cell(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"


def _class_rows(evaluation: "Evaluation") -> Iterator[Row]:
    """One row per class; boundary IoU and iIoU where there are any."""
    scores, outcome, cityscapes = evaluation.scores, evaluation.outcome, evaluation.cityscapes
    names = [info.name for info in evaluation.classes]
    columns = {"IoU": scores.iou, "recall": scores.accuracy}
    if outcome is not None and outcome.boundary_iou:
        columns["boundary IoU"] = outcome.boundary_iou
    if cityscapes is not None and cityscapes.class_iiou:
        by_instance = {name.casefold(): value for name, value in cityscapes.class_iiou.items()}
        columns["iIoU"] = tuple(by_instance.get(name.casefold()) for name in names)
    yield ("class", *columns, "pixels")
    for k, name in enumerate(names):
        yield (name, *(_cell(values[k]) for values in columns.values()), scores.pixels[k])


def _summary_rows(evaluation: "Evaluation") -> Iterator[Row]:
    """The means over the data set."""
    scores, outcome = evaluation.scores, evaluation.outcome
    yield "mIoU", _cell(scores.miou)
    yield "pixel accuracy", _cell(scores.pixel_accuracy)
    yield "mean accuracy", _cell(scores.mean_accuracy)
    if outcome is not None:
        width = f"within {100 * outcome.boundary_ratio:g} % of the diagonal"
        yield "mean boundary IoU", _cell(outcome.mean_boundary_iou), width
        image = outcome.image_miou
        yield "mean mIoU of an image", _cell(image.value), _interval(image.low, image.high)


def _category_rows(scores: "CityscapesScores") -> Iterator[Row | str]:
    """The seven categories and the benchmark's own means."""
    yield "category", "IoU", "iIoU"
    for name, iou in scores.categories.items():
        yield name, _cell(iou), _cell(scores.category_iiou.get(name))
    yield "mean", _cell(scores.iou_category), _cell(scores.iiou_category)
    yield "iIoU of classes", "", _cell(scores.iiou_class)
    if scores.iiou_reason is not None:
        yield f"iIoU is not estimated: {scores.iiou_reason}"


def _interval(low: float | None, high: float | None) -> str:
    """Write an interval; ends that are missing are None or NaN."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return "[no interval]"
    return f"[{low:.1f}, {high:.1f}]"


def _size_rows(sizes: "pd.DataFrame") -> Iterator[Row | str]:
    """Recall, IoU and boundary IoU by size octave, with 95 % intervals over images."""
    yield ("size of object (px)", "regions", *(name for _, name in MEASURES))
    for octave in sorted({int(value) for value in sizes["octave"]}):
        rows = sizes[sizes["octave"] == octave]
        found = rows.drop_duplicates("measure").set_index("measure")
        cells = (
            f"{found['mean'][key]:.2f} {_interval(found['low'][key], found['high'][key]):>14}"
            for key, _ in MEASURES
        )
        yield (f"{2**octave} to {2 ** (octave + 1)}", rows["n_regions"].iloc[0], *cells)
    reason = sizes["reason"].dropna()
    if len(reason):
        yield f"no interval: {reason.iloc[0]}"
