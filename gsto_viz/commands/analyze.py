"""``gsto-viz analyze``: measure which object sizes the branches of networks answer for."""

import argparse
from typing import TYPE_CHECKING

from gsto_viz.commands.options import (
    add_models,
    check_output_file,
    is_quiet,
    load_networks,
    official_options,
    share,
    share_resume,
    size_of,
    write_result,
)

if TYPE_CHECKING:
    import torch

    from gsto_viz.distributed import World
    from gsto_viz.report import Report

NAME = "analyze"
HELP = "measure scale confusion: region tables, indices with intervals, null models"
EXAMPLES = (
    "gsto-viz analyze --model A=camvid-hrnetv2-w18-small-v1 "
    "--model B=camvid-gsto-hrnet-w18-small-v1 --data camvid:PATH:eval --nulls --out runs/camvid",
    "gsto-viz analyze --model A=scenes-hrnetv2-w18-small-v1 --data scenes:count=500 --out runs/a",
    "gsto-viz analyze --model A=my.safetensors --data folder:PATH --limit 20 --out runs/b --resume",
    "gsto-viz analyze --model plain=scenes-hrnetv2-w18-small-v1 "
    "--model gated=scenes-gsto-hrnet-w18-small-v1 --model mine=my.safetensors --reference gated "
    "--data scenes:count=100 --nulls --out runs/three",
    "torchrun --nproc-per-node 4 -m gsto_viz analyze --model A=... --data ... --out runs/c",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``analyze`` takes."""
    add_models(parser, required=True)
    share(
        parser,
        data="annotated",
        out="folder of the analysis",
        size="images and labels to this size",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    parser.add_argument(
        "--nulls",
        nargs="?",
        const="all",
        metavar="N,N",
        help="compute null models too, all or some such as N1,N2 (shifted and swapped labels, "
        "random weights, permuted sizes, one common map); takes several times as long",
    )
    parser.add_argument(
        "--attribution",
        action="store_true",
        help="compute SCI_C (exact Shapley values of the branches) and scale transfer too; ten "
        "more passes an image; with --nulls also their null models, one more pass of the image at "
        "twice its size for each random network",
    )
    parser.add_argument(
        "--atlas",
        action="store_true",
        help="describe the features of every branch too: variance after resizing and how unequal "
        "it is (disequilibrium), spectral redundancy, similarity of objects (CKA)",
    )
    parser.add_argument(
        "--block",
        type=int,
        metavar="N",
        help="count N consecutive images of a film as one independent unit of intervals (default: "
        "as the data set says; shorter blocks make intervals too narrow where neighbours look "
        "alike)",
    )
    parser.add_argument(
        "--calibration",
        metavar="SPEC",
        help="images whose first 64 give the per-channel gains (default: those of --data)",
    )
    parser.add_argument(
        "--taps",
        metavar="FILE",
        help="YAML with 'branches': tap names or a pattern, finest first (default: stage4.branch*)",
    )
    share(parser, "output")
    share_resume(parser, "the analysis")
    share(parser, "accept", "device", seed="of nulls and bootstrap", json="the summary")


def run(args: argparse.Namespace) -> int:
    """Analyze; print the headline and where the folder lies."""
    from gsto_viz.census import Finding
    from gsto_viz.distributed import join_world
    from gsto_viz.errors import GstoVizError
    from gsto_viz.report.folder import plain
    from gsto_viz.report.text import headline_text

    check_output_file(args.json, "--json")
    if args.limit is not None and args.limit < 1:
        raise GstoVizError(f"--limit {args.limit}: give at least 1")
    with join_world(args.device) as (world, device):
        report = _analyze(args, world, device)
    if world.is_main:
        out = report.folder
        text = f"{out}: next, gsto-viz compare {out} and gsto-viz figures {out}\n"
        notes = "".join(f"note: {Finding(**one)}\n" for one in report.manifest.get("census", ()))
        write_result(args, plain(report.summary), f"{notes}{headline_text(report)}\n{text}")
    return 3 if report.skipped else 0


def _nulls(text: str | None) -> bool | list[str]:
    """Return which null models ``--nulls`` asks for."""
    if text is None or text == "all":
        return text is not None
    return [word.strip() for word in text.split(",")]


def _analyze(args: argparse.Namespace, world: "World", device: "torch.device") -> "Report":
    from dataclasses import asdict
    from pathlib import Path

    from gsto_viz.census import Finding, quick_findings
    from gsto_viz.data import load_data
    from gsto_viz.network import read_sites
    from gsto_viz.report.folder import check_free, is_finished
    from gsto_viz.report.measure import ObjectCount, count_objects
    from gsto_viz.report.run import analyze, with_regions

    with world.together():
        if world.is_main:
            check_free(Path(args.out), resume=args.resume, overwrite=args.overwrite)
    size = size_of(args)
    data = load_data(args.data, purpose="eval", size=size)
    calibration = None
    if args.calibration:
        calibration = load_data(args.calibration, purpose="eval", size=size)
    models = load_networks(
        args.model,
        args.reference,
        device,
        official=official_options(args),
        output=args.output,
    )
    sites = read_sites(args.taps, models) if args.taps else None
    with world.together():
        count = len(data) if args.limit is None else min(args.limit, len(data))
        done = args.resume and is_finished(Path(args.out))
        places = [(sites or {}).get(key, one.anatomy) for key, one in models.items()]
        grids = {place.strides for place in places if place.strides and all(place.strides)}
        cut = with_regions(data, models.values())
        there = ObjectCount() if done else count_objects(cut, count, grids)
        if there.images:
            there.refuse_none()
        advice = "give images that show objects of several sizes"
        more = [Finding("no-pairs", there.lack, advice, stops=True)] if there.lack else []
        found = quick_findings(data, args.accept, most=args.limit, more=more, quiet=is_quiet(args))
    return analyze(
        models,
        data,
        args.out,
        nulls=_nulls(args.nulls),
        attribution=args.attribution,
        atlas=args.atlas,
        calibration=calibration,
        sites=sites,
        reference=args.reference,
        limit=args.limit,
        size=args.size,
        block=args.block,
        seed=args.seed,
        resume=args.resume,
        overwrite=args.overwrite,
        census=[asdict(one) for one in found],
        quiet=is_quiet(args),
        world=world,
    )
