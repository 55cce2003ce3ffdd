"""Every figure of an analysis: which there are, how each is made, and how they are written.

A figure is made from numbers that the report holds already; here they are only handed over.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from tqdm import tqdm

from gsto_viz import plots
from gsto_viz.errors import GstoVizError
from gsto_viz.files import check_target, new_folder, write_text
from gsto_viz.plots import FORMATS, alt_text, save_figure
from gsto_viz.plots.pairs import MAX_ROWS
from gsto_viz.report import Report
from gsto_viz.report.examples import Example
from gsto_viz.stats.sizes import MIN_IMAGES, response_by_octave, tuning

MACS_PER_GI = 2**30


class NotInReportError(GstoVizError):
    """The analysis holds nothing that this figure could show."""


@dataclass(frozen=True)
class Drawn:
    """A figure and the numbers in it."""

    figure: Figure
    data: pd.DataFrame


@dataclass(frozen=True)
class Kind:
    """One kind of figure.

    Attributes:
        name: Of its files.
        title: What it shows, in one sentence.
        draw: Makes it; raises ``NotInReportError`` when the report has nothing for it.
    """

    name: str
    title: str
    draw: Callable[[Report], Drawn]


def _example(report: Report) -> Example:
    for example in report.examples:
        if example.role == "example":
            return example
    raise NotInReportError("no image has two regions of different size")


def _scale_confusion(report: Report, mode: str) -> Drawn:
    example = _example(report)
    data = plots.scale_confusion_data(example.sample, example.looks, mode=mode)
    return Drawn(plots.figure_scale_confusion(report, mode=mode), data)


def paper_figure(report: Report) -> Drawn:
    """Draw channel means as the paper draws them, each map on its own scale."""
    return _scale_confusion(report, "per_map")


def percentile_figure(report: Report) -> Drawn:
    """Draw percentile maps on one fixed scale, with the outlines of the regions."""
    return _scale_confusion(report, "percentile")


def tuning_fan(report: Report) -> Drawn:
    """Draw the response of every branch against object size, random weights dashed."""
    frames = {key: report.frame(key, "response_by_octave") for key in report.keys}
    frames = {key: frame for key, frame in frames.items() if len(frame)}
    if not frames:
        raise NotInReportError("no region qualifies")
    random = {
        key: [
            response_by_octave(table, report.strides[key], images=report.images)
            for table in report.random_tables(key)
        ]
        for key in frames
    }
    return Drawn(
        plots.figure_tuning_fan(frames, random=random, names=report.names),
        plots.tuning_fan_data(frames, random),
    )


def sci_dots(report: Report) -> Drawn:
    """Draw SCI and SCI_edge of every model beside their null models."""
    headlines = {key: report.headline(key) for key in report.keys}
    nulls = {key: report.nulls(key) for key in report.keys}
    return Drawn(
        plots.figure_sci_dots(headlines, nulls, names=report.names),
        plots.sci_dots_data(headlines, nulls),
    )


def sci_by_gap(report: Report) -> Drawn:
    """Draw SCI against the size gap of the pairs."""
    frames = {key: report.frame(key, "sci_by_gap") for key in report.keys}
    return Drawn(plots.figure_sci_by_gap(frames, names=report.names), plots.join_frames(frames))


def distance_profile(report: Report) -> Drawn:
    """Draw the finest and the coarsest branch from the edge of large regions inwards."""
    frames = {key: report.frame(key, "distance_profile") for key in report.keys}
    figure = plots.figure_distance_profile(frames, strides=report.strides, names=report.names)
    return Drawn(figure, plots.join_frames(frames))


def gate_by_size(report: Report) -> Drawn:
    """Draw how far the gates open for objects of each size."""
    frames: dict[str, dict[str, pd.DataFrame]] = {}
    for key in report.keys:
        gates = report.model(key)["gates"]
        if gates is not None:
            rows = pd.DataFrame(gates["by_octave"])
            frames[key] = {str(tap): one for tap, one in rows.groupby("tap", sort=False)}
    if not frames:
        raise NotInReportError("no model has gates")
    return Drawn(
        plots.figure_gate_by_size(frames, strides=report.strides, names=report.names),
        plots.gate_by_size_data(frames),
    )


def branch_by_size(report: Report) -> Drawn:
    """Draw what every branch adds to the margin of objects of each size, with SIC."""
    tuned = {}
    for key in report.keys:
        table = report.table(key)
        if "psi_0" in table:
            strides = report.strides[key]
            tuned[key] = tuning(table, strides, response="psi", images=report.images)
    if not tuned:
        raise NotInReportError("no Shapley values; gsto-viz analyze --attribution computes them")
    if not any(one.octaves for one in tuned.values()):
        raise NotInReportError(f"no size octave is found in {MIN_IMAGES} images or more")
    title = "Exact Shapley value of the margin, by branch and size"
    return Drawn(
        plots.figure_branch_size(tuned, title=title, names=report.names),
        plots.branch_size_data(tuned),
    )


def worst_pairs(report: Report) -> Drawn:
    """Draw the pairs that lie farthest apart in size and are still in the wrong order."""
    rows = [
        plots.PairRow(pair, example.sample, example.looks[pair.model], example.regions)
        for example in report.examples
        for pair in example.pairs
    ]
    order = report.keys
    rows.sort(key=lambda row: (order.index(row.pair.model), -row.pair.gap_octaves))
    # One page holds eight pairs: of many networks, fewer of each.
    most = max(1, MAX_ROWS // len(order))
    rows = [row for k, row in enumerate(rows) if _earlier(rows, k) < most]
    if not rows:
        raise NotInReportError("every pair is in the right order")
    return Drawn(plots.figure_worst_pairs(rows, names=report.names), plots.worst_pairs_data(rows))


def _earlier(rows: Sequence[plots.PairRow], k: int) -> int:
    """Return how many pairs of the same network come before one."""
    return sum(row.pair.model == rows[k].pair.model for row in rows[:k])


def costs(report: Report) -> Drawn:
    """Draw cost, accuracy and SCI of the models."""
    points = []
    for key in report.keys:
        model = report.model(key)
        cost, scores = model["costs"], model["scores"]
        points.append(
            plots.CostPoint(
                key=key,
                name=report.names[key],
                macs_gi=None if cost is None else cost["macs"] / MACS_PER_GI,
                miou=None if scores is None else scores["miou"],
                sci=report.index(key, "sci"),
            )
        )
    return Drawn(plots.figure_costs(points), plots.costs_data(points))


def segmentations(report: Report) -> Drawn:
    """Draw segmentations side by side."""
    rows = [(one.sample, one.looks) for one in report.examples if one.role != "worst"]
    if not rows or any(report.model(key)["scores"] is None for key in report.keys):
        raise NotInReportError("no model gives class predictions")
    return Drawn(
        plots.figure_segmentations(rows, classes=report.classes, names=report.names),
        plots.segmentations_data(rows),
    )


def specification(report: Report) -> Drawn:
    """Draw the difference of every network and the reference under every reasonable choice."""
    found = report.comparisons()
    if not found:
        raise NotInReportError("there is one model only")
    curves = {(one.a, one.b): one.curve for one in found}
    tables = {one.b: one.curve.table for one in found}
    one = next(iter(tables.values()))
    return Drawn(
        plots.figure_specification(curves), one if len(tables) == 1 else plots.join_frames(tables)
    )


FIGURES = (
    Kind("figure1_percentile", "Percentile maps of one image, one scale, with outlines",
         percentile_figure),
    Kind("figure1_paper", "The same maps as the paper draws them: raw channel means", paper_figure),
    Kind("sci_dots", "SCI and SCI_edge with intervals, beside the null models", sci_dots),
    Kind("tuning_fan", "Response of every branch by object size, random weights dashed",
         tuning_fan),
    Kind("sci_by_gap", "SCI by the size gap of the pairs", sci_by_gap),
    Kind("distance_profile", "From the edge of large regions inwards", distance_profile),
    Kind("gate_by_size", "Mean gate by object size", gate_by_size),
    Kind("branch_by_size", "Shapley values of every branch by object size", branch_by_size),
    Kind("worst_pairs", "Pairs farthest apart in size and in the wrong order", worst_pairs),
    Kind("specification", "B - A under every reasonable choice", specification),
    Kind("segmentations", "Segmentations side by side", segmentations),
    Kind("costs", "Cost, accuracy and SCI", costs),
)  # fmt: skip
"""In the order in which a reader meets them."""

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in FIGURES}


FOLDER = "figures"


@dataclass(frozen=True)
class Written:
    """One figure on disk.

    Attributes:
        kind: Which.
        files: Its files, the CSV last; empty when the report has nothing for it.
        reason: Why it was left out, None when it was not.
        alt: What it shows, in words.
    """

    kind: Kind
    files: tuple[Path, ...]
    reason: str | None = None
    alt: str = ""


def own_files() -> set[str]:
    """Return every file name that a folder of figures can hold."""
    return {f"{kind.name}.{suffix}" for kind in FIGURES for suffix in (*FORMATS, "csv")}


def write_figures(
    report: Report,
    *,
    formats: Sequence[str] = FORMATS,
    only: Sequence[str] = (),
    quiet: bool = True,
) -> tuple[Written, ...]:
    """Draw the figures of an analysis into ``DIR/figures/``.

    All of them replace the folder, which appears whole or not at all; some of them (``only``)
    replace themselves and leave the others.

    Args:
        report: The analysis.
        formats: Out of ``pdf``, ``png``, ``svg``.
        only: Names of figures; none means all.
        quiet: No progress bar on stderr.

    Returns:
        What was written, in the order of the catalogue; figures that the report has nothing for
        are in it with the reason.

    Raises:
        GstoVizError: Unknown figure or format, or the folder holds somebody else's files.
    """
    target = report.folder / FOLDER
    kinds = tqdm(chosen_kinds(only), desc="figures", unit="figure", disable=quiet, leave=False)
    if only:
        check_target(target, own_files(), overwrite=True)
        target.mkdir(exist_ok=True)
        return tuple(_write(report, kind, target, formats) for kind in kinds)
    with new_folder(target, own_files(), overwrite=True) as work:
        done = [_write(report, kind, work, formats) for kind in kinds]
    return tuple(
        replace(one, files=tuple(target / file.name for file in one.files)) for one in done
    )


def chosen_kinds(only: Sequence[str]) -> tuple[Kind, ...]:
    """Return the kinds of figures with these names, all of them without any.

    Raises:
        GstoVizError: A name is unknown.
    """
    unknown = [name for name in only if name not in KINDS]
    if unknown:
        raise GstoVizError(f"no figure '{unknown[0]}'; there are {', '.join(KINDS)}")
    return tuple(KINDS[name] for name in only) or FIGURES


def _write(report: Report, kind: Kind, folder: Path, formats: Sequence[str]) -> Written:
    try:
        drawn = kind.draw(report)
    except GstoVizError as error:
        # A plot that has nothing to show says so; the others are drawn.
        return Written(kind, (), str(error))
    files = save_figure(drawn.figure, folder / kind.name, formats=formats)
    table = folder / f"{kind.name}.csv"
    write_text(table, drawn.data.to_csv(index=False))
    return Written(kind, (*files, table), None, alt_text(drawn.figure))
