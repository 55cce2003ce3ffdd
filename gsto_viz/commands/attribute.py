"""``gsto-viz attribute``: who carries the evidence for one target of one image."""

import argparse
from pathlib import Path

from gsto_viz.commands.options import (
    check_output_file,
    official_options,
    share,
    write_result,
)
from gsto_viz.words import DEFAULT_METHODS, methods_at

NAME = "attribute"
HELP = "explain a target of one image: exact branch contributions, closed paths, Captum's maps"
EXAMPLES = (
    "gsto-viz attribute camvid-gsto-hrnet-w18-small-v1 photo.png --target region:car:largest "
    "--out runs/car",
    "gsto-viz attribute last.safetensors photo.png --target pixel:120,80 --labels labels.png "
    "--sanity --out runs/pixel",
    "gsto-viz attribute last.safetensors photo.png --target class:car "
    "--change 'stage3.m0.gate[2->0]=0.5' --change stage4.branch2=zero --out runs/changed",
    "gsto-viz attribute last.safetensors photo.png --target class:road --calibration camvid:PATH "
    "--other second.png --erf --out runs/road",
    "gsto-viz attribute pose.safetensors photo.png "
    "--target 'joint:left wrist:40,20,120,200' --out runs/wrist",
    "gsto-viz attribute last.safetensors photo.png --target region:car:largest "
    "--method grad_cam --method saliency --tap 'stage2.branch*' --tap stage3.m0.gate.2to0 "
    "--sanity --out runs/taps",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``attribute`` takes."""
    share(parser, "checkpoint", "image", out="folder for the results")
    parser.add_argument(
        "--target",
        required=True,
        metavar="T",
        help="pixel:X,Y[:CLASS], box:X0,Y0,X1,Y1[:CLASS], mask:FILE.png[:CLASS], region:NUMBER, "
        "region:CLASS[:largest|smallest|N], class:CLASS[:true|predicted], size:LOW-HIGH (octaves); "
        "of a network for pose, whose classes are joints, joint:NAME[:X0,Y0,X1,Y1] is where its "
        "heat map peaks (in the box of a person)",
    )
    parser.add_argument("--labels", metavar="PNG", help="annotation: regions come from it")
    parser.add_argument("--instances", metavar="PNG", help="instance numbers of the annotation")
    parser.add_argument(
        "--ignore",
        type=int,
        metavar="N",
        help="a number in --labels that means no class, beside 255; CamVid's is 11",
    )
    parser.add_argument(
        "--score",
        choices=("margin", "mean", "sum"),
        help="margin over the next class, or mean or sum of the class's logit (default: margin; of "
        "a network for pose mean, of the heat map)",
    )
    parser.add_argument(
        "--head",
        "--output",
        default="main",
        help="main, or stage3, stage2 of gated networks; of others the number or name of an output",
    )
    parser.add_argument(
        "--method",
        action="append",
        metavar="NAME",
        help=f"{', '.join(methods_at('taps'))} at the branches that enter the head and at every "
        f"--tap; {', '.join(methods_at('image'))} on the image; may be repeated (default: "
        f"{', '.join(DEFAULT_METHODS)})",
    )
    parser.add_argument(
        "--tap",
        action="append",
        default=[],
        metavar="NAME",
        help="also explain here, each place alone: stage3.m0.branch0, 'stage2.branch*', "
        "transition2.gate, stage3.m0.gate.2to0; may be repeated (gsto-viz doctor lists them)",
    )
    parser.add_argument("--steps", type=int, default=16, help="steps of path integrals")
    parser.add_argument(
        "--memory", type=float, default=4.0, metavar="GiB", help="for path integrals (default: 4)"
    )
    parser.add_argument(
        "--calibration", metavar="SPEC", help="images for the dataset mean (default: this image)"
    )
    parser.add_argument("--other", metavar="IMAGE", help="another image as a third baseline")
    parser.add_argument(
        "--change",
        action="append",
        default=[],
        metavar="PLACE=VALUE",
        help="also read the score with one place changed, such as 'stage3.m0.gate[2->0]=0.5', "
        "stage4.branch2=zero or stem=blur:2; may be repeated",
    )
    parser.add_argument(
        "--sanity",
        action="store_true",
        help="check every map (random weights, small changes of the image, removals) and write the "
        "result below it; takes about 16 times as long as the maps",
    )
    parser.add_argument("--erf", action="store_true", help="effective receptive fields too (slow)")
    share(
        parser,
        "device",
        size="the image first; default: native",
        seed="of random weights, noise and removals",
        overwrite="what DIR holds",
        json="the table, and with --erf the slopes,",
    )


def run(args: argparse.Namespace) -> int:
    """Explain, write the folder, print the table and where to look."""
    from gsto_viz.commands.attribute_work import OWN_FILES, Work, as_text, table_rows
    from gsto_viz.files import check_creatable, check_target
    from gsto_viz.network import open_network
    from gsto_viz.torch_utils import pick_device

    check_output_file(args.json, "--json")
    check_target(Path(args.out), OWN_FILES, overwrite=args.overwrite)
    check_creatable(Path(args.out))
    _check_numbers(args)
    network = open_network(args.checkpoint, **official_options(args))
    work = Work(args, network.to(pick_device(args.device)))
    explained = work.explain()
    fields = work.receptive_fields(explained) if args.erf else {}
    work.write(explained, fields)
    text = f"{as_text(explained, fields)}{args.out}\n"
    write_result(args, table_rows(explained, fields), text)
    return 0


def _check_numbers(args: argparse.Namespace) -> None:
    """Refuse numbers that mean nothing, before any work."""
    from gsto_viz.errors import GstoVizError

    if args.steps < 1:
        raise GstoVizError(f"--steps {args.steps}: give 1 or more")
    if args.ignore is not None and not 0 <= args.ignore < 2**16:
        raise GstoVizError(f"--ignore {args.ignore}: give a number from 0 to 65535")
    if not 0 < args.memory < 2**20:
        raise GstoVizError(f"--memory {args.memory:g}: give GiB above 0")
