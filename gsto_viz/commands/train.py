"""``gsto-viz train``: train a network from a recipe."""

import argparse
import sys
from typing import Any

NAME = "train"
HELP = "train a network from a recipe; also continues a run that was stopped"
EXAMPLES = (
    "gsto-viz train camvid-hrnetv2-w18-small-v1 --data camvid:PATH --out runs/camvid-a",
    "gsto-viz train scenes-gsto-hrnet-w18-small-v1 --data scenes:count=800 --out runs/b --resume",
    "gsto-viz train my.yaml --data folder:PATH:train --set epochs=5 --set lr=0.01 --out runs/c",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``train`` takes."""
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe's name, or a .yaml file")
    parser.add_argument("--data", required=True, metavar="SPEC", help="training images")
    parser.add_argument(
        "--val", metavar="SPEC", help="validation images; default: the val split of --data"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the run")
    parser.add_argument("--model", metavar="NAME", help="another network than the recipe's")
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting of the recipe (YAML value); may be repeated",
    )
    parser.add_argument("--seed", type=int, help="short for --set seed=N")
    taken = parser.add_mutually_exclusive_group()
    taken.add_argument("--resume", action="store_true", help="continue the run in --out")
    taken.add_argument("--overwrite", action="store_true", help="replace the run in --out")
    parser.add_argument(
        "--check-data", action="store_true", help="read every image once before training"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")


def parse_settings(pairs: list[str]) -> dict[str, Any]:
    """Turn ``["epochs=5", "crop=[64, 64]"]`` into a mapping; values are YAML."""
    import yaml

    from gsto_viz.errors import GstoVizError

    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise GstoVizError(f"--set {pair}: write KEY=VALUE, for example --set epochs=5")
        try:
            settings[key] = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            # A date that no calendar has is a ValueError, endless brackets a RecursionError.
            raise GstoVizError(
                f"--set {pair}: the value is not YAML ({error}); quote it"
            ) from error
    return settings


def run(args: argparse.Namespace) -> int:
    """Train; print a table and where the checkpoint lies."""
    from gsto_viz.commands.options import is_quiet
    from gsto_viz.data import load_data
    from gsto_viz.recipe import load_recipe
    from gsto_viz.torch_utils import pick_device
    from gsto_viz.train import TrainingStopped, check_data, train, validation_spec
    from gsto_viz.types import Dataset

    settings = parse_settings(args.settings)
    if args.model:
        settings["model"] = args.model
    if args.seed is not None:
        settings["seed"] = args.seed
    recipe = load_recipe(args.recipe).with_settings(settings)
    data = load_data(args.data, purpose="train")
    val: Dataset | None
    val = load_data(args.val or validation_spec(args.data), purpose="eval")
    if not args.val and (val.name, val.ids) == (data.name, data.ids):
        val = None
        if not args.quiet:
            sys.stderr.write(
                f"gsto-viz train: {data.name} has no split for validation and --val is not given: "
                "the last weights count as the best\n"
            )
    quiet = is_quiet(args)
    if args.check_data:
        for part in (data, *([] if val is None else [val])):
            check_data(part, quiet=quiet)
    try:
        result = train(
            recipe,
            data,
            args.out,
            val=val,
            resume=args.resume,
            overwrite=args.overwrite,
            device=pick_device(args.device),
            quiet=quiet,
        )
    except TrainingStopped as stop:
        sys.stderr.write(f"gsto-viz train: {stop}; continue with --resume\n")
        return 130
    rows = (
        ("best mIoU", "-" if result.best_miou is None else f"{result.best_miou:.2f} %"),
        ("at epoch", f"{result.best_epoch}"),
        ("time", f"{result.seconds / 60:.1f} min"),
        ("checkpoint", str(result.best)),
    )
    sys.stdout.write("".join(f"{name:<12} {value}\n" for name, value in rows))
    return 0
