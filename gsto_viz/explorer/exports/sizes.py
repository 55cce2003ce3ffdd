"""What the page "Sizes" offers for download: tables, numbers, figures of an image or analysis."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from gsto_viz.explorer.exports.files import (
    ExportFile,
    Exports,
    csv_bytes,
    export_stem,
    figure_files,
    maps_npz,
    view_json,
)
from gsto_viz.explorer.folders import RunFolder, folder_view
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.values.probe import region_numbers
from gsto_viz.explorer.values.sizes import (
    Choices,
    SizeSource,
    Subject,
    confusion,
    index_table,
    of_report,
    of_shown,
    paired_table,
    random_draws,
    region_rows,
    responses,
    worst_rows,
    wrong_pairs,
)
from gsto_viz.explorer.view_state import ViewState
from gsto_viz.plots import (
    PairRow,
    figure_tuning_fan,
    figure_worst_pairs,
    tuning_fan_data,
    worst_pairs_data,
)
from gsto_viz.plots.pairs import MAX_ROWS
from gsto_viz.regions import PreparedRegions
from gsto_viz.report import Report, load_report

PAGE = "sizes"
HEADERS = {
    "octave": "size (octaves)",
    "size_px": "size (px)",
    "area_px": "area (px)",
}


Averaged = tuple[dict[str, pd.DataFrame], Mapping[str, tuple[pd.DataFrame, ...]]]


def choices_of(state: ViewState) -> Choices:
    """Return what a view narrows the statistics to."""
    return Choices(cls=state.cls, size=state.size, gap=state.gap)


def replayed_sizes(shown: Shown, regions: PreparedRegions, state: ViewState) -> Exports:
    """Return every file of a view of one image.

    Args:
        regions: Of that image.
        state: The view.
    """
    source = of_shown(shown, region_numbers(shown, regions))
    return size_exports(Subject(source, shown, None), regions, state)


def replayed_analysis(runs: Sequence[RunFolder], state: ViewState) -> Exports:
    """Return every file of a saved view of an analysis.

    Args:
        runs: Its folder.
        state: The view.

    Raises:
        GstoVizError: The analysis cannot be read.
    """
    (run,) = runs
    report = load_report(run.path)
    return size_exports(Subject(of_report(report, str(run.path)), None, report), None, state)


def size_exports(subject: Subject, regions: PreparedRegions | None, state: ViewState) -> Exports:
    """Return every file of a view; figures and slow numbers are made on the click.

    Args:
        subject: What the page is about.
        regions: Of its image; None for an analysis.
        state: The view.
    """
    source, choices = subject.source, choices_of(state)
    averaged = cache(partial(_averaged, source, choices))
    files = [
        ExportFile("regions.csv", "Regions (CSV)", partial(regions_csv, source, choices)),
        ExportFile("sci.csv", "SCI (CSV)", partial(sci_csv, source, choices)),
        ExportFile("responses.csv", "Responses (CSV)", partial(responses_csv, averaged)),
    ]
    if subject.report is not None:
        files += _report_files(subject.report, source)
    pairs = pair_rows(subject, regions, choices)
    files.append(ExportFile("pairs.csv", "Worst pairs (CSV)", partial(pairs_csv, pairs)))
    if not region_rows(source, choices).empty:
        files += figure_files("responses", "Responses", partial(_fan, averaged, source))
    if pairs:
        made = partial(figure_worst_pairs, pairs[:MAX_ROWS], names=source.names)
        files += figure_files("pairs", "Worst pairs", made)
    if subject.shown is not None and regions is not None:
        ids = {"regions": regions.regions.ids}
        arrays = partial(maps_npz, subject.shown, ids)
        files.append(ExportFile("maps.npz", "Maps and regions (NPZ)", arrays))
    view = partial(view_file, subject, state)
    files.append(ExportFile("view.json", "This view (JSON)", view))
    title = subject.shown.sample.id if subject.shown is not None else state.run or "analysis"
    identity = (*source.key, str(sorted(state.to_query(PAGE).items())))
    return Exports(export_stem(title, list(source.names.values()), PAGE, identity), tuple(files))


def _report_files(report: Report, source: SizeSource) -> list[ExportFile]:
    files = [
        ExportFile("indices.csv", "Indices, nulls (CSV)", partial(indices_csv, report, source))
    ]
    if len(source.letters) == len(LETTERS):
        made = partial(differences_csv, report, source)
        files.append(ExportFile("differences.csv", "B - A (CSV)", made))
    return files


def regions_csv(source: SizeSource, choices: Choices) -> bytes:
    """Return size and q of every region as a file."""
    return csv_bytes(region_rows(source, choices).rename(columns=HEADERS))


def sci_table(source: SizeSource, choices: Choices) -> pd.DataFrame:
    """Return SCI of every network and the difference, one row each, with what it rests on.

    Returns:
        ``what`` (a network, or ``B - A``), ``checkpoint``, ``value``, ``low``, ``high``, ``p``
        (not adjusted; of the difference), ``images``, ``pairs``, ``reason``, then the filters:
        ``class``, ``size``, ``gap (octaves)``.
    """
    found = confusion(source, choices)
    filters = (choices.cls or "all", choices.size, choices.gap)
    rows: list[tuple[Any, ...]] = [
        (x, source.names[x], e.value, e.low, e.high, None, e.n_images, e.n_pairs, e.reason)
        for x, e in found.by_model.items()
    ]
    if found.comparison is not None:
        e, p = found.comparison.difference, found.comparison.test.p
        rows.append(("B - A", "", e.value, e.low, e.high, p, e.n_images, e.n_pairs, e.reason))
    columns = ["what", "checkpoint", "value", "low", "high", "p", "images", "pairs", "reason"]
    more = ["class", "size", "gap (octaves)"]
    return pd.DataFrame([(*row, *filters) for row in rows], columns=[*columns, *more])


def sci_csv(source: SizeSource, choices: Choices) -> bytes:
    """Return SCI and its difference as a file."""
    return csv_bytes(sci_table(source, choices))


def _averaged(source: SizeSource, choices: Choices) -> Averaged:
    """Return responses by network, and those of random weights."""
    return responses(source, choices), random_draws(source, choices).responses


def responses_csv(averaged: Callable[[], Averaged]) -> bytes:
    """Return the responses by octave as a file, random weights below trained ones."""
    return csv_bytes(tuning_fan_data(*averaged()))


def indices_csv(report: Report, source: SizeSource) -> bytes:
    """Return the indices of the headline with their null models as a file."""
    parts = [index_table(report, x).assign(model=x) for x in source.letters]
    table = pd.concat(parts, ignore_index=True)
    return csv_bytes(table[["model", *(name for name in table if name != "model")]])


def differences_csv(report: Report, source: SizeSource) -> bytes:
    """Return B - A of every index as a file."""
    return csv_bytes(paired_table(report, *source.letters))


def pair_rows(subject: Subject, regions: PreparedRegions | None, choices: Choices) -> list[PairRow]:
    """Return the worst pairs: those that an analysis kept, or those of the image."""
    if subject.report is not None:
        return worst_rows(subject.report, subject.source.letters)
    shown = subject.shown
    assert shown is not None
    assert regions is not None
    return [
        PairRow(pair, shown.sample, shown.inspections[pair.model], regions.regions.ids)
        for pair in wrong_pairs(subject.source, choices)
    ]


def pairs_csv(rows: Sequence[PairRow]) -> bytes:
    """Return the worst pairs as a file; no rows when every pair is in the right order."""
    return csv_bytes(worst_pairs_data(rows))


def _fan(averaged: Callable[[], Averaged], source: SizeSource) -> Figure:
    frames, draws = averaged()
    frames = {letter: frame for letter, frame in frames.items() if len(frame)}
    random = {letter: some for letter, some in draws.items() if letter in frames}
    return figure_tuning_fan(frames, random=random, names=source.names)


def view_file(subject: Subject, state: ViewState) -> bytes:
    """Return a view with its numbers, as a file that ``gsto-viz export`` replays."""
    source, choices = subject.source, choices_of(state)
    numbers: dict[str, Any] = {
        "sci": sci_table(source, choices).drop(columns="checkpoint"),
        "responses": tuning_fan_data(responses(source, choices)),
    }
    if subject.shown is not None:
        numbers["regions"] = region_rows(source, choices).drop(columns="image")
        numbers["region_source"] = subject.shown.region_source
        return view_json(PAGE, subject.shown, state, numbers, {})
    assert subject.report is not None
    assert source.folder is not None
    numbers["indices"] = {x: index_table(subject.report, x) for x in source.letters}
    run = RunFolder(state.run or ".", source.folder, "analysis")
    return folder_view(PAGE, state, [run], numbers)
