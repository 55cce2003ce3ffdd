"""The layout-adjusted variant: indices of what a branch shows beyond its mean map.

Roads lie at the bottom and large, poles stand in the middle and thin, so a branch that only knows
rows looks aware of scale. The mean map over all images is subtracted from every map before it is
ranked. That needs all maps twice; they wait in the chunks until the mean is known.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from gsto_viz.regions.table import region_arrays
from gsto_viz.report.annotations import prepared
from gsto_viz.report.chunks import chunk_folder
from gsto_viz.report.measure import cut, indices_of, rows_kept
from gsto_viz.report.null_models import Row, rows_of
from gsto_viz.report.settings import Settings
from gsto_viz.report.subjects import Subject
from gsto_viz.stats.layout import LayoutMean
from gsto_viz.types import BranchMaps, Dataset

LAYOUT = "layout"
"""The value of ``null`` in rows of this variant (it is none: a part of the signal is taken out)."""
MAPS = "maps.npz"


def save_maps(folder: Path, maps: dict[str, BranchMaps]) -> None:
    """Write the activity maps of a chunk.

    Args:
        folder: Of the chunk.
        maps: By ``KEY/INDEX``, one map per branch.
    """
    arrays = {f"{name}/{r}": one for name, each in maps.items() for r, one in enumerate(each)}
    np.savez(folder / MAPS, **arrays)  # type: ignore[arg-type]


def _stored(out: Path, chunks: int, subject: Subject) -> Iterator[tuple[int, BranchMaps]]:
    """Give index and maps of every image of one network, a chunk at a time."""
    branches = range(len(subject.site.branches))
    for number in range(chunks):
        path = chunk_folder(out, number) / MAPS
        if not path.is_file():
            continue
        with np.load(path, allow_pickle=False) as stored:
            names = {n.rpartition("/")[0] for n in stored.files if n.startswith(f"{subject.key}/")}
            for name in sorted(names):
                yield int(name.split("/")[1]), tuple(stored[f"{name}/{r}"] for r in branches)


def layout_rows(
    out: Path, chunks: int, subjects: Sequence[Subject], data: Dataset, settings: Settings
) -> Iterator[Row]:
    """Give the indices of every image on layout-adjusted maps; none when image sizes differ.

    Args:
        out: The analyze folder, with its chunks.
        chunks: How many.
        subjects: The networks.
        data: The images.
        settings: Of the analysis.
    """
    for subject in subjects:
        mean = LayoutMean()
        shapes = set()
        for _, maps in _stored(out, chunks, subject):
            shapes.add(tuple(one.shape for one in maps))
            if len(shapes) > 1:
                return
            mean.update(maps)
        if mean.count < 2:
            return
        for index, maps in _stored(out, chunks, subject):
            sample = data[index]
            grids = prepared(sample, subject.site.strides)
            table = region_arrays(grids, mean.adjust(maps))
            table = cut(table, rows_kept(table, sample.id, settings))
            found = indices_of(subject, table)
            yield from rows_of(subject.key, LAYOUT, 0, sample.id, found)
