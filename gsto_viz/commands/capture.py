"""``gsto-viz capture``: maps of any taps of one image."""

import argparse
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsto_viz.commands.options import (
    check_output_file,
    official_options,
    share,
    size_of,
    write_result,
)
from gsto_viz.text_table import text_table
from gsto_viz.words import REDUCTIONS, first_few

if TYPE_CHECKING:
    from gsto_viz.network import Network

NAME = "capture"
HELP = "write maps of any taps of one image to an .npz file"
FIGURE_SUFFIXES = (".png", ".pdf", ".svg")
EXAMPLES = (
    "gsto-viz capture camvid-gsto-hrnet-w18-small-v1 photo.jpg --out maps.npz",
    "gsto-viz capture last.safetensors photo.png --taps '*gate*' --taps stem --out maps.npz",
    "gsto-viz capture last.safetensors photo.png --reduce gain_fixed --size 512x1024 --out m.npz",
    "gsto-viz capture last.safetensors photo.png --reduce gain_fixed --out m.npz --figure m.png",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``capture`` takes."""
    share(parser, "checkpoint", "image")
    parser.add_argument(
        "--taps",
        action="append",
        metavar="PATTERN",
        help="tap name or pattern; * and ? are special, brackets are not; may be repeated "
        "(default: the branches that are compared, HRNet's after stage 4)",
    )
    parser.add_argument("--out", required=True, metavar="F.npz", help="file to write")
    parser.add_argument(
        "--reduce",
        default="mean",
        choices=REDUCTIONS,
        help="what is kept of the channels (default: mean; none keeps all of them)",
    )
    parser.add_argument(
        "--figure",
        metavar="F.png",
        help="also draw the maps (.png, .pdf or .svg): percentiles 0..1 of gain_fixed maps, other "
        "reductions each on its own scale",
    )
    share(
        parser,
        "device",
        size="the image first; default: native",
        overwrite="the files of --out and --figure",
        json="the table",
    )


def run(args: argparse.Namespace) -> int:
    """Capture, write the file, print one line per tap."""
    from gsto_viz.capture.image import capture_image, save_maps
    from gsto_viz.capture.names import BRANCHES
    from gsto_viz.data import read_image, resize_image
    from gsto_viz.network import open_network
    from gsto_viz.plots import save_figure
    from gsto_viz.torch_utils import pick_device

    check_outputs(args)
    image = read_image(args.image)
    native = image.shape[:2]
    if size := size_of(args):
        image = resize_image(image, size)
    network = open_network(args.checkpoint, headless=True, **official_options(args))
    network.to(pick_device(args.device))
    taps = args.taps or BRANCHES
    result = capture_image(network.module, image, taps, reduce=args.reduce)
    figure = draw(result, image, network.anatomy.gate_range) if args.figure else None
    save_maps(args.out, result, about(args, network, native))
    if figure is not None:
        target = Path(args.figure)
        save_figure(figure, target.with_suffix(""), formats=(target.suffix.removeprefix("."),))
    rows = table(result)
    write_result(args, rows, format_rows(rows) + f"{len(rows)} maps in {args.out}\n")
    return 0


def check_outputs(args: argparse.Namespace) -> None:
    """Refuse output files that cannot be written or get in each other's way, before any work."""
    from gsto_viz.errors import GstoVizError

    named = {"--out": args.out, "--figure": args.figure, "--json": args.json}
    files = {k: v for k, v in named.items() if v is not None and v != "-"}
    for option, path in files.items():
        check_output_file(path, option)
    if len({Path(path).absolute() for path in files.values()}) != len(files):
        raise GstoVizError(f"{' and '.join(files)} need different names")
    if Path(args.out).suffix != ".npz":
        raise GstoVizError(f"--out {args.out}: maps are written as .npz; end it in .npz")
    if args.figure is not None and Path(args.figure).suffix not in FIGURE_SUFFIXES:
        raise GstoVizError(f"--figure {args.figure}: end it in {', '.join(FIGURE_SUFFIXES)}")
    for path in filter(None, (args.out, args.figure)):
        if Path(path).exists() and not args.overwrite:
            raise GstoVizError(f"{path} exists; choose another name or add --overwrite")


def draw(result: Any, image: Any, gate_range: tuple[float, float] | None) -> Any:
    """Return a figure of all maps that are (h, w), and say which taps are left out of it."""
    from gsto_viz.errors import GstoVizError
    from gsto_viz.plots import maps_figure

    flat = {name: m for name, m in result.maps.items() if m.ndim == 2}
    if not flat:
        raise GstoVizError(
            "--figure: no map is (h, w); take other taps than logits, relations and gates by "
            "channel, and for features a --reduce"
        )
    if left := [name for name in result.maps if name not in flat]:
        logging.getLogger(__name__).warning(
            "--figure: left out, not (h, w): %s; --out holds them", first_few(left)
        )
    return maps_figure(
        flat,
        image,
        strides={name: result.about["taps"][name]["stride"] for name in flat},
        mode="percentile" if result.about["reduce"] == "gain_fixed" else "per_map",
        gate_range=gate_range,
    )


def about(args: argparse.Namespace, network: "Network", native: tuple[int, ...]) -> dict[str, Any]:
    """Return where the maps come from: checkpoint, image, versions."""
    import numpy
    import torch

    from gsto_viz import __version__
    from gsto_viz.files import sha256_of

    info = network.info
    return {
        "checkpoint": {
            "name": getattr(info, "name", args.checkpoint),
            "network": None if info is None else network.architecture,
            "sha256": getattr(info, "sha256", None),
            "notice": getattr(info, "notice", None),
            **network.opened_with(),
        },
        "image": {
            "name": Path(args.image).name,
            "sha256": sha256_of(args.image),
            "native_size": list(native),
        },
        "versions": {
            "gsto_viz": __version__,
            "torch": torch.__version__,
            "numpy": numpy.__version__,
        },
    }


def table(result: Any) -> list[dict[str, Any]]:
    """Return one row per tap: its safe name, stride, shape, kind and range."""
    from gsto_viz.capture import safe_name

    return [
        {
            "tap": safe_name(name),
            "stride": result.about["taps"][name]["stride"],
            "shape": list(array.shape),
            "kind": result.about["taps"][name]["kind"],
            "min": _finite(array.min()),
            "mean": _finite(array.mean(dtype=float)),
            "max": _finite(array.max()),
        }
        for name, array in result.maps.items()
    ]


def _finite(value: Any) -> float | None:
    """Return a number that JSON can hold; None for NaN and infinity."""
    return float(value) if math.isfinite(value) else None


def format_rows(rows: list[dict[str, Any]]) -> str:
    """Lay the rows out as text."""
    cells = [("tap", "stride", "shape", "min", "mean", "max")]
    for row in rows:
        numbers = (_number(row[key]) for key in ("min", "mean", "max"))
        cells.append((row["tap"], row["stride"], "x".join(map(str, row["shape"])), *numbers))
    return "\n".join(text_table(cells)) + "\n"


def _number(value: float | None) -> str:
    return "nan" if value is None else f"{value:.4g}"
