"""``gsto-viz demo``: the main job with what the package ships."""

import argparse

from gsto_viz.commands.options import (
    add_models,
    check_output_file,
    is_quiet,
    load_networks,
    official_options,
    share,
    size_of,
    write_result,
)

NAME = "demo"
HELP = "analyze two networks on a few images: indices with null models, figures, one page"
EXAMPLES = (
    "gsto-viz demo",
    "gsto-viz demo --data scenes:count=8,seed=3 --out runs/mine",
    "gsto-viz demo --model A=camvid-hrnetv2-w18-small-v1 --model B=camvid-gsto-hrnet-w18-small-v1 "
    "--data camvid:PATH:eval --out runs/camvid",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``demo`` takes."""
    add_models(parser)
    parser.add_argument("--data", metavar="SPEC", help="annotated images (default: 32 new scenes)")
    parser.add_argument("--out", default="runs/demo", metavar="DIR", help="default: runs/demo")
    parser.add_argument("--no-nulls", action="store_true", help="leave null models out (faster)")
    share(
        parser,
        "device",
        size="images and labels to this size",
        seed="of nulls and bootstrap",
        overwrite="what DIR holds",
        json="the summary",
    )


def run(args: argparse.Namespace) -> int:
    """Analyze, compare, draw; print the tables and where to look."""
    from pathlib import Path

    from gsto_viz.data import load_data
    from gsto_viz.demo import DEMO_A, DEMO_B, DEMO_DATA, check_free, run_demo, sizes_text
    from gsto_viz.report.folder import plain
    from gsto_viz.report.text import comparisons_text, headline_text
    from gsto_viz.torch_utils import pick_device

    check_output_file(args.json, "--json")
    check_free(Path(args.out), overwrite=args.overwrite)
    given = args.model or [f"A={DEMO_A}", f"B={DEMO_B}"]
    models = load_networks(
        given, args.reference, pick_device(args.device), official=official_options(args), least=2
    )
    data = load_data(args.data or DEMO_DATA, purpose="eval", size=size_of(args))
    report = run_demo(
        models,
        data,
        args.out,
        nulls=not args.no_nulls,
        size=args.size,
        seed=args.seed,
        overwrite=args.overwrite,
        quiet=is_quiet(args),
    )
    compared = comparisons_text(report, report.comparisons())
    page = f"{report.folder / 'report.html'} is the page, {report.folder} has the rest\n"
    text = "\n".join((sizes_text(report), headline_text(report), compared, page))
    write_result(args, plain(report.summary), text)
    return 3 if report.skipped else 0
