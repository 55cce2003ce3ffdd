"""The main job in small: which object sizes does each branch of two networks answer for?

Pure until ``write_demo``: ``compare_on`` runs both networks over the images and gives tables and
one example; ``write_demo`` draws and writes the folder.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gsto_viz.errors import GstoVizError
from gsto_viz.evaluate import check_classes
from gsto_viz.files import write_json, write_text
from gsto_viz.folders import check_target, new_folder
from gsto_viz.inspection import check_pair, inspect_image, weights_record
from gsto_viz.models.hrnet import HRNet
from gsto_viz.regions import region_table
from gsto_viz.stats import response_by_octave
from gsto_viz.stats.segmentation import SegmentationScores, confusion_matrix, scores_of
from gsto_viz.types import ClassList, Dataset, Inspection, Sample
from gsto_viz.versions import versions

DEMO_A = "scenes-hrnetv2-w18-small-v1"
DEMO_B = "scenes-gsto-hrnet-w18-small-v1"
DEMO_DATA = "scenes:count=48,seed=0,size=256x512"
OWN_FILES = (
    *(f"{name}.{suffix}" for name in ("figure1", "sizes") for suffix in ("pdf", "png", "svg")),
    "sizes.csv",
    "summary.json",
    "manifest.json",
)
NORMALISATION = (
    "percentile: channels are divided by their standard deviation over training images, averaged,"
    " and ranked within each map (0..1)"
)


@dataclass(frozen=True)
class Comparison:
    """Two networks on the same images.

    Attributes:
        data: Name of the data set.
        classes: Its classes.
        images: Ids of the images.
        tables: ``A`` and ``B``: all rows of the region table.
        sizes: ``A`` and ``B``: mean percentile response by branch and size octave.
        scores: ``A`` and ``B``: segmentation scores on these images.
        sample: The example image: the one whose regions span the most octaves.
        example: ``A`` and ``B``: what each network shows for it.
    """

    data: str
    classes: ClassList
    images: tuple[str, ...]
    tables: dict[str, pd.DataFrame]
    sizes: dict[str, pd.DataFrame]
    scores: dict[str, SegmentationScores]
    sample: Sample
    example: dict[str, Inspection]


def compare_on(
    models: Mapping[str, HRNet], data: Dataset, *, indices: Iterable[int] | None = None
) -> Comparison:
    """Run networks ``A`` and ``B`` over annotated images.

    Args:
        models: ``{"A": baseline, "B": gated}``, of the same classes as the data.
        data: Annotated images at network-input size.
        indices: Images to use, e.g. wrapped in a progress bar; None takes all.

    Raises:
        GstoVizError: The classes differ, or an image has no labels.
    """
    check_pair(models["A"], models["B"])
    check_classes(models["A"], data)
    num_classes = len(data.classes)
    tables: dict[str, list[pd.DataFrame]] = {key: [] for key in models}
    totals = {key: np.zeros((num_classes, num_classes), dtype=np.int64) for key in models}
    groups: dict[str, str] = {}
    best: tuple[float, Sample, dict[str, Inspection]] | None = None
    for index in range(len(data)) if indices is None else indices:
        sample = data[index]
        if sample.labels is None:
            raise GstoVizError(f"{sample.id} has no labels; comparing sizes needs annotated images")
        groups[sample.id] = sample.group or sample.id
        shown = {key: inspect_image(model, sample.image) for key, model in models.items()}
        for key, inspection in shown.items():
            tables[key].append(_rows(sample, sample.labels, inspection))
            totals[key] += confusion_matrix(sample.labels, inspection.prediction, num_classes)
        span = octave_span(tables["A"][-1])
        if best is None or span > best[0]:
            best = (span, sample, shown)
    if best is None:
        raise GstoVizError(f"{data.name} has no images; give at least one")
    strides = best[2]["A"].strides
    return Comparison(
        data=data.name,
        classes=data.classes,
        images=tuple(groups),
        tables={key: pd.concat(parts, ignore_index=True) for key, parts in tables.items()},
        sizes={
            key: response_by_octave(parts, strides, clusters=groups)
            for key, parts in tables.items()
        },
        scores={key: scores_of(total) for key, total in totals.items()},
        sample=best[1],
        example=best[2],
    )


def _rows(sample: Sample, labels: npt.NDArray[np.uint8], inspection: Inspection) -> pd.DataFrame:
    return region_table(
        labels,
        inspection.activity,
        strides=inspection.strides,
        instances=sample.instances,
        image=sample.id,
    )


def octave_span(table: pd.DataFrame) -> float:
    """Return the octaves between the smallest and the largest qualifying region of an image."""
    octaves = table.loc[table["qualifies"], "size_octave"]
    return float(octaves.max() - octaves.min()) if len(octaves) else 0.0


def sizes_frame(comparison: Comparison) -> pd.DataFrame:
    """Return the response by size of both networks as one tidy table with a column ``model``."""
    parts = [frame.assign(model=key) for key, frame in comparison.sizes.items()]
    joined = pd.concat(parts, ignore_index=True)
    return joined[["model", *(c for c in joined.columns if c != "model")]]


def summary(comparison: Comparison) -> dict[str, Any]:
    """Return the results as plain values: scores, and responses by branch and octave."""
    frame = sizes_frame(comparison)
    rows = [
        {str(k): None if pd.isna(v) else v for k, v in row.items()}
        for row in frame.astype(object).to_dict("records")
    ]
    return {
        "schema_version": 1,
        "data": comparison.data,
        "images": len(comparison.images),
        "networks": {
            key: {
                "name": comparison.example[key].name,
                "network": comparison.example[key].network,
                "miou": scores.miou,
                "pixel_accuracy": scores.pixel_accuracy,
            }
            for key, scores in comparison.scores.items()
        },
        "normalisation": NORMALISATION,
        "response_by_octave": rows,
    }


def headline(comparison: Comparison) -> str:
    """Return the table for the screen: mean percentile response, octave x branch, A and B."""
    strides = comparison.example["A"].strides
    lines = ["Mean percentile response of each branch (0..1) by size of the object", ""]
    heads = "".join(f"{f'/{s}':>7}" for s in strides)
    names = "".join(f"{key:^{len(heads)}}   " for key in comparison.sizes)
    lines.append(f"{'':>14}{'':>9}{names}")
    lines.append(f"{'size (px)':>14}{'regions':>9}" + f"{heads}   " * len(comparison.sizes))
    frames = comparison.sizes
    octaves = sorted({int(o) for frame in frames.values() for o in frame["octave"]})
    for octave in octaves:
        count = max(int(f.loc[f["octave"] == octave, "n_regions"].max()) for f in frames.values())
        cells = [f"{f'{2**octave} to {2 ** (octave + 1)}':>14}{count:>9}"]
        for frame in frames.values():
            rows = frame[frame["octave"] == octave].set_index("branch")["mean"]
            cells.append("".join(f"{rows[r]:>7.2f}" for r in range(len(strides))) + "   ")
        lines.append("".join(cells))
    lines.append("")
    for key, scores in comparison.scores.items():
        lines.append(f"{key} = {comparison.example[key].name}: mIoU {scores.miou:.1f} % here")
    lines.append(
        "A branch is high where it answers for a size: without scale confusion /4 falls and\n"
        "/32 rises with size."
    )
    return "\n".join(line.rstrip() for line in lines) + "\n"


def write_demo(
    comparison: Comparison,
    models: Mapping[str, HRNet],
    out: str | Path,
    *,
    overwrite: bool = False,
    formats: tuple[str, ...] = ("pdf", "png"),
) -> tuple[Path, ...]:
    """Write figures, tables, summary and manifest; the folder appears whole or not at all.

    Args:
        comparison: What ``compare_on`` gave.
        models: The same networks, for their fingerprints.
        out: Folder; refused if it holds something, unless ``overwrite``.
        overwrite: Replace the folder.
        formats: Of the figures.

    Returns:
        The files, the manifest last.
    """
    from gsto_viz.plots import figure_scale_confusion, figure_sizes, save_figure

    target = Path(out)
    with new_folder(target, OWN_FILES, overwrite=overwrite) as work:
        figure = figure_scale_confusion(
            comparison.sample,
            comparison.example["A"],
            comparison.example["B"],
            classes=comparison.classes,
        )
        save_figure(figure, work / "figure1", formats=formats)
        save_figure(figure_sizes(comparison.sizes), work / "sizes", formats=formats)
        write_text(work / "sizes.csv", sizes_frame(comparison).to_csv(index=False))
        write_json(work / "summary.json", summary(comparison))
        write_json(work / "manifest.json", manifest(comparison, models))
    files = sorted(target.iterdir(), key=lambda p: (p.name == "manifest.json", p.name))
    return tuple(files)


def check_free(target: Path, *, overwrite: bool) -> None:
    """Refuse a target folder before the work starts; see ``gsto_viz.folders.check_target``."""
    check_target(target, OWN_FILES, overwrite=overwrite)


def manifest(comparison: Comparison, models: Mapping[str, HRNet]) -> dict[str, Any]:
    """Return what the results depend on: data, seeds, weights, normalisation, versions."""
    return {
        "schema_version": 1,
        "data": comparison.data,
        "images": list(comparison.images),
        "example": comparison.sample.id,
        "size_unit": "pixels of the network input; octaves are log2 of the square root of the area",
        "weights": {key: weights_record(model) for key, model in models.items()},
        "site": comparison.example["A"].site,
        "normalisation": NORMALISATION,
        "bootstrap": {"seed": 0, "kind": "Poisson weights over images, 95 % percentile interval"},
        "versions": versions(),
    }
