"""``gsto-viz models``: every network and shipped checkpoint with its costs."""

import argparse
import itertools
import textwrap
from collections.abc import Sequence
from typing import Any

from gsto_viz.commands.options import check_output_file, share, write_result
from gsto_viz.text_table import text_table

NAME = "models"
HELP = "list the networks and shipped checkpoints with their costs beside the papers' figures"
COUNTED = {"conv": "conv_params", "all": "params"}
TITLES = {
    "network": "network",
    "ablation": "ablation of gsto-hrnet-w18-small-v2",
    "checkpoint": "shipped checkpoint",
}
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
        help="image height x width to count at (default: as the papers, 1024x2048, or 384x288 for "
        "pose)",
    )
    parser.add_argument(
        "--classes",
        metavar="K",
        type=int,
        help="classes of the networks (default: as the papers, 19, or 17 joints); checkpoints keep "
        "their own",
    )
    parser.add_argument(
        "--count",
        choices=("papers", *COUNTED),
        default="papers",
        help="parameters on screen: of convolutions, all, or as the papers of its task count "
        "(default): of convolutions for segmentation, all for pose",
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
    size = None if args.size is None else parse_size(args.size, max_side=65536)
    rows = cost_table(size, args.classes)
    write_result(args, rows, format_rows(rows, count=args.count, giga=args.giga))
    return 0


def format_rows(rows: list[dict[str, Any]], *, count: str, giga: str) -> str:
    """Lay the rows out as text of at most 100 columns, the notes below the table.

    Args:
        rows: What ``gsto_viz.models.costs.cost_table`` returns.
        count: Parameters: ``conv`` (of convolutions), ``all``, or ``papers``: as those of the task.
        giga: ``2^30`` or ``1e9``: the unit of multiply-adds.
    """
    from gsto_viz.models.costs import CONVENTIONS

    unit = 10**9 if giga == "1e9" else 2**30
    lines: list[Sequence[object] | str] = []
    notes: list[str] = []
    for kind, task in itertools.product(TITLES, CONVENTIONS):
        group = [row for row in rows if (row["kind"], row["task"]) == (kind, task)]
        key = COUNTED.get(count, CONVENTIONS[task].counted)
        if group:
            title = TITLES[kind] if task == "segmentation" else f"{TITLES[kind]} for {task}"
            heads = (f"MACs/{giga}", "paper M", "paper G", "mIoU", "note")
            lines.append((title, f"{key.replace('_', ' ')} M", *heads))
        for row in group:
            if row["note"] and row["note"] not in notes:
                notes.append(row["note"])
            lines.append(_line(row, key, unit, notes))
        if group:
            lines.append("")
    return "\n".join(text_table(lines) + _footer(rows, notes)) + "\n"


def _line(row: dict[str, Any], key: str, unit: int, notes: Sequence[str]) -> Sequence[object]:
    """Return the cells of a row: name, counts, printed figures, number of its note."""
    name = row["name"] if row["kind"] != "ablation" else row["name"].partition("[")[2][:-1]
    counted = (
        (None, None)
        if row["macs"] is None
        else (f"{row[key] / 1e6:.4f}", f"{row['macs'] / unit:.3f}")
    )
    printed = (row[f"paper_{figure}"] for figure in ("params_m", "gflops", "miou"))
    return (name, *counted, *printed, 1 + notes.index(row["note"]) if row["note"] else "")


def _footer(rows: list[dict[str, Any]], notes: list[str]) -> list[str]:
    """Return what was counted, the notes by number, and what the networks are."""
    from gsto_viz.models import ARCHITECTURES
    from gsto_viz.models.costs import CONVENTIONS

    return [
        *dict.fromkeys(
            f"{row['task']}: counted at {row['height']}x{row['width']}, {row['num_classes']} "
            f"{CONVENTIONS[row['task']].called} (checkpoints: their own)"
            for row in rows
            if row["kind"] != "checkpoint"
        ),
        "MACs: multiply-adds of convolutions; the papers call MACs/2^30 'GFLOPs', and count the",
        "parameters of convolutions for segmentation, all for pose.",
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
