"""Writes anew what pages of the documentation take from the package.

    python docs/renew.py                  # the tables between <!-- table: NAME --> and <!-- end -->
    python docs/renew.py --gallery DIR    # also the gallery's pictures of this analysis

Tables stand in the pages so that a code host shows them; a test says when one of them is old.
"""

import argparse
import importlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from gsto_viz.cli import COMMANDS
from gsto_viz.data import spec_table, write_png
from gsto_viz.explorer.values.method import (
    ARRANGEMENTS,
    STRIDES,
    label_picture,
    map_picture,
    worked_example,
)
from gsto_viz.models.costs import cost_row
from gsto_viz.models.registry import Printed, model_config, registered
from gsto_viz.regions.columns import REGION_COLUMNS
from gsto_viz.report.catalogue import KINDS
from gsto_viz.words import INDICES, LAYOUT, METHODS, SCI_C, STP, STP_BLUR

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
GUIDE = ROOT / "gsto_viz" / "guide"
EXAMPLE = GUIDE / "worked_example.png"
BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(^<!-- end -->)", re.M | re.S)
GALLERY = DOCS / "images" / "gallery"
GALLERY_PX = 1000
"""Widest picture of the gallery."""
GALLERY_RUN = "runs/gallery"
"""The analysis that figures are drawn of."""
ANALYSES = {"listening": "runs/systems", "skeletons": "runs/pose"}
"""By figure, that of those which are drawn of another one."""
TABS = {"head": "exact, at the head", "taps": "any tap", "image": "the image"}
"""Where a method of attribution gives maps."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table."""
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    cells = [f"| {' | '.join(row)} |" for row in escaped]
    return [cells[0], "|" + "---|" * len(head), *cells[1:]]


def commands() -> list[str]:
    """Return what each command does, with its first example."""
    modules = [importlib.import_module(f"gsto_viz.commands.{name}") for name in COMMANDS]
    rows = [(f"`{one.NAME}`", one.HELP, f"`{one.EXAMPLES[0]}`") for one in modules]
    return table(("command", "does", "for example"), rows)


def columns() -> list[str]:
    """Return the columns of the region table."""
    rows = [(f"`{c.name}`", c.unit, c.range, c.null, c.meaning) for c in REGION_COLUMNS]
    return table(("column", "unit", "range", "null", "meaning"), rows)


def indices() -> list[str]:
    """Return what each index says."""
    rows = [
        (one.label, f"`{one.key}`", one.meaning, one.range, one.over)
        for one in (*INDICES.values(), LAYOUT, SCI_C, STP, STP_BLUR)
    ]
    return table(("index", "key", "what it says", "range", "averaged over"), rows)


def methods() -> list[str]:
    """Return the methods of attribution."""
    rows = [(f"`{one.key}`", one.title, TABS[one.at], one.axis) for one in METHODS.values()]
    return table(("method", "name", "where", "unit of its maps"), rows)


def figures() -> list[str]:
    """Return every figure of an analysis: picture, what it shows, command."""
    lines = []
    for name, kind in KINDS.items():
        lines += [
            f"## {name}",
            "",
            f"{kind.title}. `gsto-viz figures {ANALYSES.get(name, GALLERY_RUN)} --only {name}`; "
            f"its numbers: `figures/{name}.csv`.",
            "",
        ]
        if (GALLERY / f"{name}.png").is_file():
            lines += [f"![{kind.title}](images/gallery/{name}.png)", ""]
    return lines[:-1]


def costs() -> list[str]:
    """Return the costs of the networks that papers print figures of, and of all on ResNet-50."""
    rows = []
    for name, (row, size) in registered().items():
        if size not in row.printed and size != "r50":
            continue
        found = cost_row(name, "network", model_config(name), printed=row.printed.get(size))
        printed = row.printed.get(size, Printed("", "", "", ""))
        figures = (printed.params_m, printed.gflops, printed.miou)
        millions = (f"{found[count] / 1e6:.4f}" for count in ("conv_params", "params"))
        counted = (*millions, f"{found['macs_gi']:.3f}")
        rows.append((f"`{name}`", *counted, *(figure or "-" for figure in figures), printed.source))
    ours = ("parameters, M", "with batch norm", "multiply-adds, Gi")
    head = ("network", *ours, "printed: M", "G", "mIoU, %", "where")
    return table(head, rows)


BLOCKS: dict[str, Callable[[], list[str]]] = {
    "commands": commands,
    "columns": columns,
    "costs": costs,
    "data_sets": spec_table,
    "figures": figures,
    "indices": indices,
    "methods": methods,
}
"""By the name in ``<!-- table: NAME -->``, what stands there."""


def renewed(text: str) -> str:
    """Return a page with its tables as the package has them now."""
    return BLOCK.sub(lambda found: "\n".join([found[1], *BLOCKS[found[2]](), "", found[3]]), text)


def example_picture() -> npt.NDArray[np.uint8]:
    """Return the regions of the worked example beside the maps of its two branches, (H, W, 3)."""
    found = worked_example(ARRANGEMENTS[0])
    maps = [map_picture(one, stride) for one, stride in zip(found.maps, STRIDES, strict=True)]
    pictures = [label_picture(found.labels), *maps]
    gap = np.full((pictures[0].shape[0], 12, 3), 255, np.uint8)
    return np.concatenate([pictures[0], gap, pictures[1], gap, pictures[2]], axis=1)


def draw_gallery(analysis: Path) -> None:
    """Put smaller copies of the figures that are drawn of ``DIR`` into the gallery."""
    GALLERY.mkdir(parents=True, exist_ok=True)
    for drawn in sorted((analysis / "figures").glob("*.png")):
        if analysis.name != Path(ANALYSES.get(drawn.stem, GALLERY_RUN)).name:
            continue
        with Image.open(drawn) as picture:
            small = picture.convert("RGB")
            small.thumbnail((GALLERY_PX, 2 * GALLERY_PX), Image.Resampling.LANCZOS)
            # This method keeps the colours of lines as they are; the default mixes them.
            small = small.quantize(256, Image.Quantize.FASTOCTREE)
            small.save(GALLERY / drawn.name, optimize=True)


def main() -> None:
    """Write what is old."""
    parser = argparse.ArgumentParser(description="renew tables and pictures of the documentation")
    parser.add_argument("--gallery", type=Path, metavar="DIR", help="a folder with figures/*.png")
    gallery = parser.parse_args().gallery
    write_png(EXAMPLE, example_picture())
    if gallery is not None:
        draw_gallery(gallery)
    for page in (*DOCS.rglob("*.md"), *GUIDE.glob("*.md")):
        old = page.read_text(encoding="utf-8")
        new = renewed(old)
        if new != old:
            page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
