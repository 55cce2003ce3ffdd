"""``DIR/figures/``: every figure of an analysis in every format, each with its data as CSV."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from gsto_viz.errors import GstoVizError
from gsto_viz.figures.catalogue import FIGURES, KINDS, Kind
from gsto_viz.files import write_text
from gsto_viz.folders import check_target, new_folder
from gsto_viz.plots import save_figure
from gsto_viz.plots.save import FORMATS, alt_text
from gsto_viz.report import Report

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
