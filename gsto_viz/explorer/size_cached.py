"""Streamlit's caches around the numbers of the page "Sizes"; keys are fingerprints, see ``cached``.

An analysis is known by its path and by time and size of its manifest, which is written last.
"""

from pathlib import Path

import pandas as pd
import streamlit as st

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer import cached
from gsto_viz.explorer.drawings import Drawing, draw_worst_pairs
from gsto_viz.explorer.pictures import Picture
from gsto_viz.explorer.shown import Shown
from gsto_viz.explorer.size_export import pair_rows
from gsto_viz.explorer.size_links import regions_of
from gsto_viz.explorer.size_numbers import (
    Choices,
    Confusion,
    Draws,
    confusion,
    random_draws,
    region_rows,
    responses,
    tunings,
)
from gsto_viz.explorer.size_report import paired_table
from gsto_viz.explorer.size_source import SizeSource, Subject, of_report, of_shown
from gsto_viz.plots.pairs import MAX_ROWS
from gsto_viz.regions import PreparedRegions
from gsto_viz.report import Report, load_report
from gsto_viz.stats import Tuning
from gsto_viz.types import Stride, WorstPair


def analysis(folder: Path) -> tuple[Report, SizeSource]:
    """Read an analysis and its region tables once.

    Raises:
        GstoVizError: Not finished, damaged, or of another version.
    """
    return _analysis(folder, stamp_of(folder))


def stamp_of(folder: Path) -> str:
    """Return path, time and size of an analysis' manifest as one text.

    Raises:
        GstoVizError: There is no manifest: it is not finished.
    """
    try:
        status = (folder / "manifest.json").stat()
    except OSError as error:
        raise GstoVizError(
            f"{folder.name} holds no finished analysis; resume it with gsto-viz analyze --resume"
        ) from error
    return f"{folder} {status.st_mtime_ns} {status.st_size}"


@st.cache_resource(max_entries=4, show_spinner=False)
def _analysis(folder: Path, stamp: str) -> tuple[Report, SizeSource]:
    report = load_report(folder)
    return report, of_report(report, stamp)


def image_source(shown: Shown) -> SizeSource:
    """Return the region tables of one image once."""
    return _image_source(shown.key, shown)


@st.cache_resource(max_entries=16, show_spinner=False)
def _image_source(key: tuple[str, ...], _shown: Shown) -> SizeSource:
    return of_shown(_shown, cached.numbers(_shown))


def rows_of(source: SizeSource, choices: Choices) -> pd.DataFrame:
    """Return q and size of every region; it must not be changed."""
    return _rows(source.key, choices, source)


@st.cache_resource(max_entries=16, show_spinner=False)
def _rows(key: tuple[str, ...], choices: Choices, _source: SizeSource) -> pd.DataFrame:
    return region_rows(_source, choices)


def confusion_of(source: SizeSource, choices: Choices) -> Confusion:
    """Estimate SCI once."""
    return _confusion(source.key, choices, source)


@st.cache_resource(max_entries=128, show_spinner=False)
def _confusion(key: tuple[str, ...], choices: Choices, _source: SizeSource) -> Confusion:
    return confusion(_source, choices)


def draws_of(source: SizeSource, choices: Choices) -> Draws:
    """Compute the random-weight draws once."""
    return _draws(source.key, choices, source)


@st.cache_resource(max_entries=32, show_spinner=False)
def _draws(key: tuple[str, ...], choices: Choices, _source: SizeSource) -> Draws:
    return random_draws(_source, choices)


def responses_of(
    source: SizeSource, choices: Choices
) -> tuple[dict[str, pd.DataFrame], dict[str, Tuning]]:
    """Return responses by octave and tunings once; they must not be changed."""
    return _responses(source.key, choices, source)


@st.cache_resource(max_entries=32, show_spinner=False)
def _responses(
    key: tuple[str, ...], choices: Choices, _source: SizeSource
) -> tuple[dict[str, pd.DataFrame], dict[str, Tuning]]:
    return responses(_source, choices), tunings(_source, choices)


def paired(source: SizeSource, report: Report) -> pd.DataFrame:
    """Return B - A of every index once."""
    return _paired(source.key, source.letters, report)


@st.cache_data(max_entries=8, show_spinner=False)
def _paired(key: tuple[str, ...], letters: tuple[str, ...], _report: Report) -> pd.DataFrame:
    return paired_table(_report, *letters)


def worst_drawings(subject: Subject, choices: Choices) -> list[tuple[WorstPair, Drawing]]:
    """Draw the worst pairs of an image or analysis once; none: all are in the right order."""
    of_image = choices if subject.shown is not None else None
    return _worst_drawings(subject.source.key, of_image, subject)


@st.cache_data(max_entries=16, max_size="64MB", show_spinner=False)
def _worst_drawings(
    key: tuple[str, ...], choices: Choices | None, _subject: Subject
) -> list[tuple[WorstPair, Drawing]]:
    # What an analysis has kept does not depend on the choices.
    regions = None if _subject.shown is None else cached.regions(_subject.shown)
    rows = pair_rows(_subject, regions, choices or Choices())[:MAX_ROWS]
    names = _subject.source.names
    return [(row.pair, draw_worst_pairs([row], names, caption=False)) for row in rows]


def picture_regions(picture: Picture, strides: tuple[Stride, ...]) -> PreparedRegions | None:
    """Cut a labelled picture into regions once; None without labels."""
    return _picture_regions(picture.key, strides, picture)


@st.cache_resource(max_entries=16, show_spinner=False)
def _picture_regions(
    key: str, strides: tuple[Stride, ...], _picture: Picture
) -> PreparedRegions | None:
    return regions_of(_picture, strides)
