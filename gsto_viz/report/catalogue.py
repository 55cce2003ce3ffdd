"""Every figure of an analysis: which there are, how each is made, and how they are written.

A figure is made from numbers that the report holds already; here they are only handed over.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure
from tqdm import tqdm

from gsto_viz import plots
from gsto_viz.errors import GstoVizError
from gsto_viz.files import check_target, new_folder, write_text
from gsto_viz.look import Look
from gsto_viz.models.equalizer import noise_kept
from gsto_viz.plots import FORMATS, alt_text, save_figure
from gsto_viz.plots.enlargement import FACTORS
from gsto_viz.plots.pairs import MAX_ROWS
from gsto_viz.report import Report
from gsto_viz.report.causal import UNEXPLAINED
from gsto_viz.stats.sizes import MIN_IMAGES, response_by_octave, tuning
from gsto_viz.types import Sample
from gsto_viz.words import HEAT_MAP, scored

MACS_PER_GI = 2**30


class Drawn(NamedTuple):
    """A figure and the numbers in it."""

    figure: Figure
    data: pd.DataFrame


@dataclass(frozen=True)
class Kind:
    """One kind of figure.

    Attributes:
        name: Of its files.
        title: What it shows, in one sentence.
        draw: Makes it; raises ``GstoVizError`` when the report has nothing for it.
        viewed: Whether the viewer in ``report.html`` shows its images, so that the page leaves the
            figure to its files.
    """

    name: str
    title: str
    draw: Callable[[Report], Drawn]
    viewed: bool = False


KINDS: dict[str, Kind] = {}
"""Every kind by name, in the order in which a reader meets them: the order below."""


def _kind(
    name: str, title: str, *, viewed: bool = False
) -> Callable[[Callable[[Report], Drawn]], None]:
    """Enter a function that draws a report into the register."""

    def enter(draw: Callable[[Report], Drawn]) -> None:
        KINDS[name] = Kind(name, title, draw, viewed)

    return enter


def _scale_confusion(report: Report, mode: str) -> Drawn:
    example = next((one for one in report.examples if one.role == "example"), None)
    if example is None:
        raise GstoVizError("no image has two regions of different size")
    data = plots.scale_confusion_data(example.sample, example.looks, mode=mode)
    return Drawn(plots.figure_scale_confusion(report, mode=mode), data)


@_kind("figure1_percentile", "Percentile maps of one image, one scale, with outlines", viewed=True)
def _percentile(report: Report) -> Drawn:
    return _scale_confusion(report, "percentile")


@_kind("figure1_paper", "The same maps as the paper draws them: raw channel means", viewed=True)
def _paper(report: Report) -> Drawn:
    return _scale_confusion(report, "per_map")


@_kind("sci_dots", "SCI and SCI_edge with intervals, beside the null models")
def _sci_dots(report: Report) -> Drawn:
    headlines = {key: report.headline(key) for key in report.keys}
    nulls = {key: report.nulls(key) for key in report.keys}
    return Drawn(
        plots.figure_sci_dots(headlines, nulls, names=report.names),
        plots.sci_dots_data(headlines, nulls),
    )


@_kind("tuning_fan", "Response of every branch by object size, random weights dashed")
def _tuning_fan(report: Report) -> Drawn:
    frames = {key: report.frame(key, "response_by_octave") for key in report.keys}
    frames = {key: frame for key, frame in frames.items() if len(frame)}
    if not frames:
        raise GstoVizError("no region qualifies")
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


@_kind("sci_by_gap", "SCI by the size gap of the pairs")
def _sci_by_gap(report: Report) -> Drawn:
    frames = {key: report.frame(key, "sci_by_gap") for key in report.keys}
    return Drawn(plots.figure_sci_by_gap(frames, names=report.names), plots.join_frames(frames))


@_kind("distance_profile", "From the edge of large regions inwards")
def _distance_profile(report: Report) -> Drawn:
    frames = {key: report.frame(key, "distance_profile") for key in report.keys}
    figure = plots.figure_distance_profile(frames, strides=report.strides, names=report.names)
    return Drawn(figure, plots.join_frames(frames))


@_kind("gate_by_size", "Mean gate by object size")
def _gate_by_size(report: Report) -> Drawn:
    frames: dict[str, dict[str, pd.DataFrame]] = {}
    for key in report.keys:
        if (gates := report.model(key)["gates"]) is not None:
            rows = pd.DataFrame(gates["by_octave"])
            frames[key] = {str(tap): one for tap, one in rows.groupby("tap", sort=False)}
    if not frames:
        raise GstoVizError("no model has gates")
    return Drawn(
        plots.figure_gate_by_size(frames, strides=report.strides, names=report.names),
        plots.gate_by_size_data(frames),
    )


@_kind("listening", "What pixels listen to in the next coarser map, by object size")
def _listening(report: Report) -> Drawn:
    frames = {
        key: pd.DataFrame(found["by_octave"])
        for key in report.keys
        if (found := report.model(key).get("listening")) is not None
    }
    if not frames:
        raise GstoVizError("no model has relations, in which pixels choose from a coarser map")
    figure = plots.figure_listening(frames, names=report.names)
    return Drawn(figure, plots.join_frames(frames))


@_kind("branch_by_size", "Shapley values of every branch by object size")
def _branch_by_size(report: Report) -> Drawn:
    tables = {key: report.table(key) for key in report.keys}
    tuned = {
        key: tuning(table, report.strides[key], response="psi", images=report.images)
        for key, table in tables.items()
        if "psi_0" in table
    }
    if not tuned:
        asked = report.manifest["attribution"]
        why = UNEXPLAINED if asked else "gsto-viz analyze --attribution computes them"
        raise GstoVizError(f"no Shapley values; {why}")
    if not any(one.octaves for one in tuned.values()):
        raise GstoVizError(f"no size octave is found in {MIN_IMAGES} images or more")
    pose = {report.model(key).get("task") == "pose" for key in tuned}
    kinds = [HEAT_MAP if one else "" for one in sorted(pose)]
    score, unit = (" or ".join(scored(of, kind) for kind in kinds) for of in ("margin", "logits"))
    title = f"Exact Shapley values of the {score}"
    return Drawn(
        plots.figure_branch_size(tuned, title=title, unit=unit, names=report.names),
        plots.branch_size_data(tuned),
    )


@_kind("worst_pairs", "Worst pairs: far apart in size and far in the wrong order", viewed=True)
def _worst_pairs(report: Report) -> Drawn:
    # One page holds eight pairs: of many networks, fewer of each.
    most = max(1, MAX_ROWS // len(report.keys))
    rows = []
    for key in report.keys:
        own = [
            plots.PairRow(pair, example.sample, example.looks[key], example.regions)
            for example in report.examples
            for pair in example.pairs
            if pair.model == key
        ]
        rows += sorted(own, key=lambda row: -row.pair.error)[:most]
    if not rows:
        paired = any(report.index(key, "sci").n_pairs for key in report.keys)
        raise GstoVizError(
            "every pair is in the right order"
            if paired
            else "no image has two regions an octave apart"
        )
    return Drawn(plots.figure_worst_pairs(rows, names=report.names), plots.worst_pairs_data(rows))


@_kind("specification", "B - A under every reasonable choice")
def _specification(report: Report) -> Drawn:
    found = report.comparisons()
    if not found:
        raise GstoVizError("there is one model only")
    figure = plots.figure_specification({(one.a, one.b): one.curve for one in found})
    tables = {one.b: one.curve.table for one in found}
    return Drawn(figure, found[0].curve.table if len(found) == 1 else plots.join_frames(tables))


def _side_by_side(report: Report, keys: Collection[str]) -> list[tuple[Sample, dict[str, Look]]]:
    """Return images of the report and what some of its networks show; none without networks."""
    return [
        (one.sample, {key: look for key, look in one.looks.items() if key in keys})
        for one in report.examples
        if one.role != "worst" and keys
    ]


@_kind("skeletons", "Skeletons that networks for pose read from whole images")
def _skeletons(report: Report) -> Drawn:
    pose = {key for key in report.keys if report.model(key).get("task") == "pose"}
    if not (rows := _side_by_side(report, pose)):
        raise GstoVizError("no model is for pose")
    return Drawn(plots.figure_skeletons(rows, names=report.names), plots.skeletons_data(rows))


@_kind("segmentations", "Segmentations side by side", viewed=True)
def _segmentations(report: Report) -> Drawn:
    rows = _side_by_side(report, {k for k in report.keys if report.model(k)["scores"] is not None})
    if not rows:
        raise GstoVizError("no model gives class predictions")
    return Drawn(
        plots.figure_segmentations(rows, classes=report.classes, names=report.names),
        plots.segmentations_data(rows),
    )


@_kind("costs", "Cost, accuracy and SCI")
def _costs(report: Report) -> Drawn:
    rows = []
    costs = {key: report.model(key)["costs"] for key in report.keys}
    sizes = dict.fromkeys(f"{one['height']}x{one['width']}" for one in costs.values() if one)
    for key in report.keys:
        sci = report.index(key, "sci")
        cost, scores = costs[key], report.model(key)["scores"]
        rows.append(
            {
                "model": key,
                "name": report.names[key],
                "macs_gi": None if cost is None else cost["macs"] / MACS_PER_GI,
                "miou": None if scores is None else scores["miou"],
                "sci": sci.value,
                "sci_low": sci.low,
                "sci_high": sci.high,
                "n_images": sci.n_images,
                "reason": sci.reason,
            }
        )
    data = plots.costs_data(rows)
    return Drawn(plots.figure_costs(data, sizes=tuple(sizes)), data)


NOISE_DRAWS = 20


@_kind("enlargement", "Variance that is left of a branch when it is enlarged bilinearly")
def _enlargement(report: Report) -> Drawn:
    described = [key for key in report.keys if "enlargement" in report.model(key)]
    if not described:
        raise GstoVizError(
            "features were not described, or by an older version; gsto-viz analyze --atlas does"
        )
    frames = {key: report.frame(key, "enlargement") for key in described}
    height, width = frames[described[0]][["height", "width"]].iloc[0]
    finest = (int(height), int(width))
    seed = report.images.seed
    noise = {
        factor: noise_kept(
            factor, plots.enlarged_size(finest, factor), draws=NOISE_DRAWS, seed=seed
        )
        for factor in FACTORS
    }
    data = plots.enlargement_data(frames, finest, noise)
    return Drawn(plots.figure_enlargement(data, names=report.names), data)


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
    if unknown := [name for name in only if name not in KINDS]:
        raise GstoVizError(f"no figure '{unknown[0]}'; there are {', '.join(KINDS)}")
    target = report.folder / FOLDER
    own = {f"{name}.{suffix}" for name in KINDS for suffix in (*FORMATS, "csv")}
    kinds = tqdm(only or KINDS, desc="figures", unit="figure", disable=quiet, leave=False)
    if only:
        check_target(target, own, overwrite=True)
        target.mkdir(exist_ok=True)
        return tuple(_write(report, KINDS[name], target, formats) for name in kinds)
    with new_folder(target, own, overwrite=True) as work:
        done = [_write(report, KINDS[name], work, formats) for name in kinds]
    return tuple(
        replace(one, files=tuple(target / file.name for file in one.files)) for one in done
    )


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
