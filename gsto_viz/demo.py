"""The main job in small: which object sizes does each branch of two networks answer for?

An analysis with null models of a few images, its figures and its page, in one folder that appears
whole or not at all.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from gsto_viz.data import KeptDataset
from gsto_viz.files import check_target, new_folder, write_text
from gsto_viz.network import Source
from gsto_viz.report import Report, analyze, load_report
from gsto_viz.report.folder import OWN_ENTRIES
from gsto_viz.report.page import write_page
from gsto_viz.report.text import write_comparisons
from gsto_viz.text_table import text_table
from gsto_viz.types import Dataset

DEMO_A = "scenes-hrnetv2-w18-small-v1"
DEMO_B = "scenes-gsto-hrnet-w18-small-v1"
DEMO_DATA = "scenes:count=32,seed=0,size=256x512"

MOST_KEPT = 64
"""Images that are kept in memory; larger data sets are read as often as they are needed."""

FRONT = {"figure1": "figure1_percentile", "sizes": "tuning_fan"}
"""Files that lie at the top of the folder, and the figures that they are copies of."""
OWN_FILES = (
    *OWN_ENTRIES,
    *(f"{name}.{suffix}" for name in FRONT for suffix in ("pdf", "png")),
    "sizes.csv",
)


def run_demo(
    models: Mapping[str, Source],
    data: Dataset,
    out: str | Path,
    *,
    nulls: bool = True,
    size: str | None = None,
    seed: int = 0,
    overwrite: bool = False,
    quiet: bool = True,
) -> Report:
    """Analyze networks, compare them, draw everything, and write the page.

    Args:
        models: Two or more networks by name, the reference first, of the classes of the data.
        data: Annotated images at network-input size.
        out: Folder; refused if it holds something, unless ``overwrite``.
        nulls: Compute null models as well.
        size: What the images were resized to, for the record.
        seed: Of null models and bootstrap.
        overwrite: Replace the folder.
        quiet: No progress bars on stderr.

    Returns:
        The report of the folder.

    Raises:
        GstoVizError: As for ``analyze``; nothing of the folder stays.
    """
    target = Path(out)
    kept = KeptDataset(data) if len(data) <= MOST_KEPT else data
    with new_folder(target, OWN_FILES, overwrite=overwrite) as work:
        report = analyze(
            models,
            kept,
            work,
            reference=next(iter(models)),
            nulls=nulls,
            size=size,
            seed=seed,
            resume=True,
            quiet=quiet,
        )
        write_comparisons(report, report.comparisons())
        write_page(report, quiet=quiet)
        for name, figure in FRONT.items():
            for suffix in ("pdf", "png"):
                shutil.copy(work / "figures" / f"{figure}.{suffix}", work / f"{name}.{suffix}")
        write_text(work / "sizes.csv", sizes_csv(report))
    return load_report(target)


def check_free(target: Path, *, overwrite: bool) -> None:
    """Refuse a target folder before the work starts; see ``gsto_viz.files.check_target``."""
    check_target(target, OWN_FILES, overwrite=overwrite)


def sizes_csv(report: Report) -> str:
    """Return the response by branch and size octave of all models as CSV."""
    parts: list[str] = []
    for key in report.keys:
        frame = report.frame(key, "response_by_octave")
        frame.insert(0, "model", key)
        parts.append(frame.to_csv(index=False, header=not parts))
    return "".join(parts)


def sizes_text(report: Report) -> str:
    """Return the mean percentile response by size octave and branch as a table for the screen."""
    octaves = {key: report.frame(key, "response_by_octave") for key in report.keys}
    means = {key: frame.set_index(["octave", "branch"])["mean"] for key, frame in octaves.items()}
    counts = pd.concat(octaves.values()).groupby("octave")["n_regions"].max()
    columns = [(key, r, stride) for key in octaves for r, stride in enumerate(report.strides[key])]
    rows: list[tuple[object, ...]] = [
        ("size (px)", "regions", *(f"{key} /{stride}" for key, _, stride in columns))
    ]
    for octave in sorted({int(value) for value in counts.index}):
        found = [means[key].get((octave, r)) for key, r, _ in columns]
        cells = (None if mean is None else f"{mean:.2f}" for mean in found)
        rows.append((f"{2**octave} to {2 ** (octave + 1)}", counts[octave], *cells))
    lines = [
        "Mean percentile response of each branch (0..1) by size of the object",
        "",
        *text_table(rows, ">"),
        "",
        "A branch is high where it answers for a size: without scale confusion /4 falls and",
        "/32 rises with size.",
    ]
    return "\n".join(lines) + "\n"
