"""``gsto-viz demo``: the main job with what the package ships."""

import argparse
import sys

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
    from gsto_viz.commands.options import add_model_pair

    add_model_pair(parser)
    parser.add_argument("--data", metavar="SPEC", help="annotated images (default: 24 new scenes)")
    parser.add_argument("--size", metavar="HxW", help="resize images and labels to this size")
    parser.add_argument("--out", default="runs/demo", metavar="DIR", help="default: runs/demo")
    parser.add_argument("--json", metavar="F", help="write the summary as JSON too; - for stdout")
    parser.add_argument("--overwrite", action="store_true", help="replace what DIR holds")
    parser.add_argument("--seed", type=int, default=0, help="of nulls and bootstrap (default: 0)")
    parser.add_argument("--no-nulls", action="store_true", help="leave null models out (faster)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")


def run(args: argparse.Namespace) -> int:
    """Analyze, compare, draw; print the tables and where to look."""
    from pathlib import Path

    from gsto_viz.commands.options import check_output_file, is_quiet, json_only, load_pair
    from gsto_viz.data import load_data, parse_size
    from gsto_viz.demo import DEMO_A, DEMO_B, DEMO_DATA, check_free, run_demo, sizes_text
    from gsto_viz.report.text import comparison_text, headline_text
    from gsto_viz.torch_utils import pick_device

    check_output_file(args.json, "--json")
    check_free(Path(args.out), overwrite=args.overwrite)
    models = load_pair(args.model, {"A": DEMO_A, "B": DEMO_B}, pick_device(args.device))
    size = parse_size(args.size) if args.size else None
    data = load_data(args.data or DEMO_DATA, purpose="eval", size=size)
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
    if json_only(report.summary, args.json):
        return 0
    sys.stdout.write(sizes_text(report) + "\n" + headline_text(report) + "\n")
    sys.stdout.write(comparison_text(report.compare("A", "B"), report) + "\n")
    sys.stdout.write(f"{report.folder / 'report.html'} is the page, {report.folder} has the rest\n")
    return 3 if report.skipped else 0
