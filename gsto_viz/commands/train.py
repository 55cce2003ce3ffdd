"""``gsto-viz train``: train a network from a recipe."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from gsto_viz.commands.options import (
    add_official_options,
    is_quiet,
    official_options,
    share,
    share_resume,
)
from gsto_viz.text_table import text_table

if TYPE_CHECKING:
    import torch

    from gsto_viz.distributed import World
    from gsto_viz.train import TrainingResult
    from gsto_viz.train.recipe import Recipe
    from gsto_viz.types import Dataset

NAME = "train"
HELP = "train a network from a recipe; also continues a run that was stopped"
EXAMPLES = (
    "gsto-viz train camvid-hrnetv2-w18-small-v1 --data camvid:PATH --out runs/camvid-a",
    "gsto-viz train scenes-gsto-hrnet-w18-small-v1 --data scenes:count=800 --out runs/b --resume",
    "torchrun --nproc-per-node 4 -m gsto_viz train cityscapes --data cityscapes:PATH --out runs/d",
    "gsto-viz train my.yaml --data folder:PATH:train --set epochs=5 --set lr=0.01 --out runs/c",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``train`` takes."""
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe's name, or a .yaml file")
    share(parser, "accept", "device", data="training", out="folder of the run")
    share_resume(parser, "the run")
    parser.add_argument(
        "--val", metavar="SPEC", help="validation images; default: the val split of --data"
    )
    parser.add_argument(
        "--cache",
        metavar="DIR",
        help="keep decoded training images in DIR and read those (a Cityscapes image: 8 MiB)",
    )
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
    parser.add_argument(
        "--check-data",
        action=argparse.BooleanOptionalAction,
        help="read every image once before the first step (default: yes, unless a run goes on)",
    )
    add_official_options(parser)


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
    from gsto_viz.distributed import join_world

    with join_world(args.device) as (world, device):
        return _run(args, world, device)


def _run(args: argparse.Namespace, world: "World", device: "torch.device") -> int:
    """Train in one of the processes of a run; process 0 speaks."""
    from dataclasses import asdict

    from gsto_viz.census import quick_findings
    from gsto_viz.train import TrainingStopped, train

    quiet = is_quiet(args) or not world.is_main
    with world.together():
        recipe = _recipe(args)
        data, val = _data(args)
        found = {
            images.name: quick_findings(images, args.accept, quiet=quiet)
            for images in (data, val)
            if images is not None
        }
    if world.is_main and not args.quiet:
        for name, findings in found.items():
            # The check of all images names these itself.
            checked = () if args.check_data is False else ("unreadable", "unlabelled")
            for one in (one for one in findings if one.code not in checked):
                sys.stderr.write(f"gsto-viz train: {name}: {one}\n")
    if val is None and world.is_main and not args.quiet:
        sys.stderr.write(
            f"gsto-viz train: {data.name} has no split for validation and --val is not given: "
            "the last weights count as the best\n"
        )
    try:
        result = train(
            recipe,
            data,
            args.out,
            val=val,
            resume=args.resume,
            overwrite=args.overwrite,
            check_data=args.check_data,
            census={name: [asdict(one) for one in found[name]] for name in found if found[name]},
            device=device,
            quiet=quiet,
            world=world,
        )
    except TrainingStopped as stop:
        if world.is_main:
            sys.stderr.write(f"gsto-viz train: {stop}; continue with --resume\n")
        return 130
    if world.is_main:
        sys.stdout.write("\n".join(text_table(_table(result), "<")) + "\n")
    return 0


def _recipe(args: argparse.Namespace) -> "Recipe":
    """Read the recipe and change what the command line changes."""
    from gsto_viz.train.recipe import load_recipe

    settings = parse_settings(args.settings)
    model = settings.pop("model", None) if args.model is None else args.model
    if args.seed is not None:
        settings["seed"] = args.seed
    recipe = load_recipe(args.recipe, model=model or args.arch).with_settings(settings)
    return _with_official(recipe, args)


def _with_official(recipe: "Recipe", args: argparse.Namespace) -> "Recipe":
    """Return the recipe with what the options say of the official file that it starts from.

    Raises:
        GstoVizError: It starts from none, or the file is of another network than it trains.
    """
    from gsto_viz.errors import GstoVizError
    from gsto_viz.train.build import starts_official

    given = official_options(args)
    if not given:
        return recipe
    if not starts_official(recipe):
        raise GstoVizError(
            f"initialization is {recipe.initialization}, and --arch, --align-corners and "
            "--inplace-abn are for official files only; leave them out"
        )
    if args.arch not in (None, recipe.model):
        raise GstoVizError(
            f"--arch {args.arch} and the model is {recipe.model}: a run starts from weights of the "
            "network that it trains; leave one out"
        )
    changed: dict[str, Any] = {"inplace_abn": args.inplace_abn or recipe.inplace_abn}
    if args.align_corners:
        changed["model_options"] = {**recipe.model_options, "align_corners": True}
    return recipe.with_settings(changed)


def _data(args: argparse.Namespace) -> "tuple[Dataset, Dataset | None]":
    """Load training and validation images; None where they would be the same."""
    from gsto_viz.data import load_data
    from gsto_viz.train import validation_spec

    data = load_data(args.data, purpose="train", cache=args.cache)
    val = load_data(args.val or validation_spec(args.data), purpose="eval")
    same = not args.val and (val.name, val.ids) == (data.name, data.ids)
    return data, None if same else val


def _table(result: "TrainingResult") -> list[tuple[str, str]]:
    """Return what a finished run is summed up in."""
    from gsto_viz.train.build import duration

    rows = [
        (
            f"best {result.measure}",
            "-" if result.best_score is None else f"{result.best_score:.2f} %",
        ),
        ("at epoch", f"{result.best_epoch}"),
        ("steps", f"{result.steps}"),
        ("time", duration(result.seconds)),
        ("memory", result.memory),
        ("checkpoint", str(result.best)),
    ]
    return [row for row in rows if row[1]]
