"""``gsto-viz models``: every network and shipped checkpoint with its costs."""

import argparse
import textwrap
from collections.abc import Sequence
from typing import Any

from gsto_viz.commands.options import check_output_file, share, write_result
from gsto_viz.text_table import text_table

NAME = "models"
HELP = "list the networks and shipped checkpoints with their costs beside the papers' figures"
EXAMPLES = (
    "gsto-viz models",
    "gsto-viz models --json models.json",
    "gsto-viz models --size 473x473 --classes 20 --count all --giga 1e9",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``gsto-viz models``."""
    share(parser, json="the rows")
    parser.add_argument(
        "--size",
        metavar="HxW",
        default="1024x2048",
        help="image height x width to count at (default %(default)s)",
    )
    parser.add_argument(
        "--classes",
        metavar="K",
        type=int,
        default=19,
        help="classes of the networks (default %(default)s); checkpoints keep their own",
    )
    parser.add_argument(
        "--count",
        choices=("conv", "all"),
        default="conv",
        help="parameters on screen: of convolutions, as the papers count (default), or all",
    )
    parser.add_argument(
        "--giga",
        choices=("2^30", "1e9"),
        default="2^30",
        help="unit of multiply-adds on screen: 2^30, as the papers count (default), or 1e9",
    )


def run(args: argparse.Namespace) -> int:
    """Count, then print the table or write the rows."""
    from gsto_viz.data import parse_size
    from gsto_viz.models.costs import cost_table

    check_output_file(args.json, "--json")
    # No image of this size is made, so it may be larger than one that is.
    height, width = parse_size(args.size, max_side=65536)
    rows = cost_table(height, width, args.classes)
    write_result(args, rows, format_rows(rows, count=args.count, giga=args.giga))
    return 0


def format_rows(rows: list[dict[str, Any]], *, count: str, giga: str) -> str:
    """Lay the rows out as text of at most 100 columns, the notes below the table.

    Args:
        rows: What ``gsto_viz.models.costs.cost_table`` returns.
        count: ``conv`` (convolutions only) or ``all`` parameters.
        giga: ``2^30`` or ``1e9``: the unit of multiply-adds.
    """
    key, unit = ("conv_params", 2**30) if count == "conv" else ("params", 2**30)
    if giga == "1e9":
        unit = 10**9
    params = "conv params M" if count == "conv" else "params M"
    heads = (params, f"MACs/{giga}", "paper M", "paper G", "mIoU", "note")
    lines: list[Sequence[object] | str] = []
    notes: list[str] = []
    for kind, title in (
        ("network", "network"),
        ("ablation", "ablation of gsto-hrnet-w18-small-v2"),
        ("checkpoint", "shipped checkpoint"),
    ):
        group = [row for row in rows if row["kind"] == kind]
        if group:
            lines.append((title, *heads))
        for row in group:
            if row["note"] and row["note"] not in notes:
                notes.append(row["note"])
            name = row["name"] if kind != "ablation" else row["name"].partition("[")[2][:-1]
            counted = (
                (None, None)
                if row["macs"] is None
                else (f"{row[key] / 1e6:.4f}", f"{row['macs'] / unit:.3f}")
            )
            mark = 1 + notes.index(row["note"]) if row["note"] else ""
            printed = (row[f"paper_{figure}"] for figure in ("params_m", "gflops", "miou"))
            lines.append((name, *counted, *printed, mark))
        if group:
            lines.append("")
    return "\n".join(text_table(lines) + _footer(rows, notes)) + "\n"


def _footer(rows: list[dict[str, Any]], notes: list[str]) -> list[str]:
    """Return what was counted, the notes by number, and what the networks are."""
    from gsto_viz.models import ARCHITECTURES

    first = rows[0]
    return [
        f"counted at {first['height']}x{first['width']}, {first['num_classes']} classes "
        "(checkpoints: their own); MACs: multiply-adds of convolutions.",
        "The papers count convolution parameters and call MACs/2^30 'GFLOPs'.",
        "mIoU: as the papers print it, percent, Cityscapes val.",
        *(
            textwrap.fill(note, 100, initial_indent=f"{number:>2} ", subsequent_indent="   ")
            for number, note in enumerate(notes, 1)
        ),
        "",
        *(
            textwrap.fill(
                f"{row.name}: {row.words}", 100, subsequent_indent="   ", break_on_hyphens=False
            )
            for row in ARCHITECTURES.values()
        ),
    ]
