"""Where the numbers of the page "Sizes" come from: one image, or a folder of ``gsto-viz analyze``.

Both become region tables by network, so that everything below treats them alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from gsto_viz.explorer.probe import RegionNumbers
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.report import Report
from gsto_viz.report.tables import read_table
from gsto_viz.stats.inference import EACH, Images
from gsto_viz.types import ClassList, Stride

GEOMETRY = (
    "image",
    "region",
    "class_id",
    "area_px",
    "size_octave",
    "inscribed_octave",
    "max_distance_px",
    "qualifies",
)
"""Columns of the region table that say what a region is."""
MAX_MODELS = 2
"""Networks that the page compares: the first two of an analysis."""


@dataclass(frozen=True, eq=False)
class SizeSource:
    """Regions as one or two networks see them.

    Attributes:
        key: What the tables depend on, for caches.
        tables: By network (``A``, ``B``), its region table: ``GEOMETRY``, ``q``, ``z_0``, ...; of
            an analysis only the regions that qualify, for no statistic reads others.
        names: By network, the checkpoint.
        strides: By network, pixels per cell of its branches.
        classes: Of the data.
        folder: Of the analysis; None: one image.
    """

    key: tuple[str, ...]
    tables: Mapping[str, pd.DataFrame] = field(repr=False)
    names: Mapping[str, str]
    strides: Mapping[str, tuple[Stride, ...]]
    classes: ClassList
    images: Images = field(default=EACH, repr=False)
    folder: Path | None = None

    @property
    def letters(self) -> tuple[str, ...]:
        """The networks, in order."""
        return tuple(self.tables)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes that have a region in statistics, in the order of the data."""
        found: set[int] = set()
        for table in self.tables.values():
            found |= set(table.loc[table["qualifies"], "class_id"].tolist())
        return tuple(c.name for c in self.classes if c.id in found)


@dataclass(frozen=True, eq=False)
class Subject:
    """What the page is about.

    Attributes:
        source: Region tables.
        shown: The image; None for an analysis.
        report: The analysis; None for an image.
    """

    source: SizeSource
    shown: Shown | None
    report: Report | None


def of_shown(shown: Shown, numbers: Mapping[str, RegionNumbers]) -> SizeSource:
    """Return the regions of one image as A and B see them.

    Args:
        numbers: What ``region_numbers`` gave for it.
    """
    strides = {letter: shown.inspections[letter].strides for letter in LETTERS}
    return SizeSource(
        key=shown.key,
        tables={
            letter: _frame(numbers[letter], shown.sample.id, len(strides[letter]))
            for letter in LETTERS
        },
        names={letter: shown.choices[letter].key for letter in LETTERS},
        strides=strides,
        classes=shown.pixel_classes,
    )


def _frame(numbers: RegionNumbers, image: str, branches: int) -> pd.DataFrame:
    columns = [name for name in columns_of(branches) if name != "image"]
    frame = pd.DataFrame({name: np.asarray(numbers[name]) for name in columns})
    frame.insert(0, "image", pd.Series([image] * len(frame), dtype=str))
    return frame


def of_report(report: Report, key: str) -> SizeSource:
    """Return the regions of an analysis; more than two networks: the first two.

    Args:
        report: The analysis.
        key: What it depends on, for caches.

    Raises:
        GstoVizError: The region table is missing or damaged.
    """
    letters = report.keys[:MAX_MODELS]
    return SizeSource(
        key=(key,),
        tables={
            letter: qualifying(
                report.folder, "regions", columns_of(len(report.strides[letter])), letter
            )
            for letter in letters
        },
        names={letter: report.names[letter] for letter in letters},
        strides={letter: report.strides[letter] for letter in letters},
        classes=report.classes,
        images=report.images,
        folder=report.folder,
    )


def qualifying(folder: Path, name: str, columns: Sequence[str], letter: str) -> pd.DataFrame:
    """Read the regions of one network that take part in statistics.

    Raises:
        GstoVizError: The table is missing or damaged.
    """
    table = read_table(folder, name, columns, model=letter, qualifies=True)
    return table.reset_index(drop=True)


def columns_of(branches: int) -> list[str]:
    """Return the columns of the region table that the page reads."""
    return [*GEOMETRY, "q", *(f"z_{r}" for r in range(branches))]
