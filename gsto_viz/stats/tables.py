"""One table from many: region tables of images and of shards, checked, merged and ordered."""

import re
from collections.abc import Iterable, Sequence

import pandas as pd

from gsto_viz.errors import GstoVizError

Tables = pd.DataFrame | Sequence[pd.DataFrame]
KEY = ["image", "region"]


def merge_tables(tables: Tables, columns: Iterable[str]) -> pd.DataFrame:
    """Concatenate region tables, drop rows that occur twice, and order them by image and region.

    Merging the same shard again changes nothing, and neither does the order of the tables.

    Args:
        tables: One region table, or any number of them.
        columns: Columns that the caller reads besides ``image`` and ``region``.

    Returns:
        The rows with only those columns, sorted.

    Raises:
        GstoVizError: No table is given, a column is missing, or two tables claim the same region
            of the same image with different values.
    """
    parts = [tables] if isinstance(tables, pd.DataFrame) else list(tables)
    wanted = list(dict.fromkeys([*KEY, *columns]))
    if not parts:
        raise GstoVizError("no region table was given; make at least one with region_table")
    for part in parts:
        missing = [name for name in wanted if name not in part.columns]
        if missing:
            raise GstoVizError(
                f"the region table lacks {', '.join(missing)}; make it with region_table"
            )
    filled = [part[wanted] for part in parts if len(part)] or [parts[0][wanted]]
    merged = pd.concat(filled, ignore_index=True)
    clash = merged.duplicated(KEY)
    if clash.any():
        merged = merged.drop_duplicates()
        clash = merged.duplicated(KEY)
    if clash.any():
        image, region = merged.loc[clash, KEY].iloc[0]
        raise GstoVizError(
            f"two different rows for region {region} of image '{image}'; "
            "give every image its own name in region_table(image=...)"
        )
    return merged.sort_values(KEY, ignore_index=True)


def branch_count(tables: Tables, response: str) -> int:
    """Return how many branches have a column ``{response}_{r}``.

    Raises:
        GstoVizError: There is no such column.
    """
    first = tables if isinstance(tables, pd.DataFrame) else next(iter(tables), pd.DataFrame())
    names = [name for name in first.columns if re.fullmatch(rf"{re.escape(response)}_\d+", name)]
    if not names:
        raise GstoVizError(
            f"the region table has no columns {response}_0, {response}_1, ...; "
            "choose z, z_whole, z_core, z_band or z_matched"
        )
    return len(names)
