"""The tables of an analyze folder: one register, and how they are written, merged and read.

A chunk is a folder ``parts/000012/`` of Parquet files that appears whole or not at all, so a run
that was killed goes on with the chunks that are missing, and any number of processes may share the
work: the merged tables depend on neither.

A data frame of every image, with a hundred columns and twenty rows, takes longer to make than its
numbers do; columns are therefore arrays until they are written.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gsto_viz.errors import GstoVizError
from gsto_viz.files import atomic_path, new_folder
from gsto_viz.types import BranchMaps


@dataclass(frozen=True)
class Table:
    """One table of an analyze folder.

    Attributes:
        name: Of the file, without ``.parquet``.
        key: Columns of which no two rows have the same values.
        meaning: What the table is for, as the data dictionary says it.
        chunked: Whether every chunk has its part, which are merged in the end.
        required: Whether every analysis has it; the others come with options or predictions.
    """

    name: str
    key: tuple[str, ...]
    meaning: str
    chunked: bool = True
    required: bool = False


TABLES = {
    table.name: table
    for table in (
        Table(
            "regions",
            ("model", "image", "region"),
            "the region table: all statistics read it",
            required=True,
        ),
        Table(
            "images",
            ("model", "image"),
            "size, cluster (`group`), numbers of regions; rows without model: skipped, with "
            "`reason`",
            required=True,
        ),
        Table(
            "values",
            ("model", "null", "draw", "image", "index"),
            "value and pairs of every index, of the networks (`null` = `none`) and of N1, N2, N3, "
            "N5",
            required=True,
        ),
        Table(
            "random",
            ("model", "draw", "image", "region"),
            "region tables of the random-weight draws (N3)",
        ),
        Table(
            "moved",
            ("model", "null", "draw", "image", "region"),
            "with `--nulls --attribution`: sizes and Shapley values of regions whose annotation "
            "was shifted (N1) or is another image's (N2)",
        ),
        Table(
            "layout",
            ("model", "image", "index"),
            "indices after the mean map of the data set is subtracted",
            chunked=False,
        ),
        Table(
            "profile",
            ("model", "image", "branch", "size_octave", "distance_octave"),
            "sum of percentiles and pixels by distance to the edge",
            required=True,
        ),
        Table("gates", ("model", "image", "tap"), "sums that describe each gate map"),
        Table(
            "listening",
            ("model", "null", "draw", "image", "region", "tap", "part"),
            "of networks whose pixels choose from a coarser map: means over the `pixels` (of the "
            "image) of core or band of `entropy` (0 one cell, 1 all alike; of the mean over heads, "
            "and `head_entropy`, the mean of theirs), `offset_px` (distance of the cells from the "
            "pixel, image px) and `outside` (weight beyond the region, 0..1); `..._uniform` with "
            "equal weights; `stride` of the fine map; `null` = `none`, N1, N2 or N3",
        ),
        Table(
            "classes",
            ("model", "image", "class_id"),
            "right and wrong pixels, also of the boundary",
        ),
        Table("confusion", ("model", "image", "label", "predicted"), "pixels"),
        Table(
            "transfer",
            ("model", "kind", "draw", "image", "region", "m"),
            "with `--attribution`: `change` of q (percentile) of an object whose image was "
            "resized by 2^m (`kind` = `resized`), or only blurred by as much (`blurred`); "
            "with `--nulls` also at m = 1 of the regions of shifted (`N1`) and of another "
            "image's annotation (`N2`), and in random-weight draws (`N3`)",
        ),
        Table(
            "atlas",
            ("model", "image", "branch", "channel"),
            "with `--atlas`: sums over each channel of the features (`channel` = -1: of the "
            "picture on that grid): `cells`, `sum`, `squares` and `held` (energy of 2x2 block "
            "averages) over whole blocks, `up_cells`, `up_sum` and `up_squares` after "
            "resizing to the finest grid, and `object`, the mean over one object of the image",
        ),
        Table(
            "enlarged",
            ("model", "image", "branch"),
            "with `--atlas`: what enlarging a branch to the finest grid leaves of its variance, as "
            "sums over all channels: `cells`, `sum` and `squares` of the features; products of "
            "neighbours (`down`, `across`, `diagonal`) and their numbers (`..._pairs`); how much "
            "of the products of two samples that outputs read is of a sample with itself "
            "(`self_reads`) and of such neighbours (`..._reads`); `up_cells`, `up_sum` and "
            "`up_squares` after resizing",
        ),
        Table(
            "equalizers",
            ("model", "image", "site"),
            "with `--atlas`, of equalized networks: `cells`, `sum` and `squares` of what enters "
            "each scale equalizer, `after_sum` and `after_squares` of what leaves it",
        ),
    )
}
"""Every table by name, in the order of the data dictionary."""

PARTS = "parts"
MISSING = f"{PARTS}/missing.json"
"""Why a null model is missing: by network, then by its name."""
MAPS = "maps.npz"
Columns = Mapping[str, npt.NDArray[Any]]
"""Columns of one table by name, at least one, all of one length."""


def part(**columns: Any) -> dict[str, npt.NDArray[Any]]:
    """Return columns of one length: a word or number is the same in every row.

    Without any array there is one row.
    """
    many = {name for name, one in columns.items() if isinstance(one, (np.ndarray, pd.Series))}
    (rows,) = {len(columns[name]) for name in many} or {1}
    return {
        name: np.asarray(one) if name in many else np.full(rows, one)
        for name, one in columns.items()
    }


def rows_in(columns: Columns) -> int:
    """Return the number of rows."""
    return int(next(iter(columns.values())).size)


def joined(parts: Sequence[Columns]) -> pa.Table:
    """Put parts below each other.

    Args:
        parts: At least one; a column that a part lacks is null there.

    Returns:
        The columns of all parts in the order in which they first occur; NaN is null.
    """
    names = dict.fromkeys(name for part in parts for name in part)
    return pa.table({name: _joined_column(name, parts) for name in names})


def _joined_column(name: str, parts: Sequence[Columns]) -> pa.Array:
    """Put one column of all parts below each other; parts without rows do not say its type."""
    held = [part[name] for part in parts if name in part]
    dtype = np.result_type(*([one for one in held if one.size] or held))
    if dtype.kind == "f":
        pieces = [
            part[name] if name in part else np.full(rows_in(part), np.nan, dtype) for part in parts
        ]
        return pa.array(np.concatenate(pieces), from_pandas=True)
    values: list[Any] = []
    for part in parts:
        values += part[name].tolist() if name in part else [None] * rows_in(part)
    if dtype.kind not in "UO":
        return pa.array(values, pa.from_numpy_dtype(dtype))
    nothing = dtype.kind == "O" and all(value is None for value in values)
    return pa.array(values, pa.null() if nothing else pa.large_string())


class Chunk:
    """What a few images add.

    Attributes:
        parts: By table.
        maps: By ``KEY/INDEX``, the activity maps of an image; only with nulls.
    """

    def __init__(self) -> None:
        self.parts: dict[str, list[Columns]] = {name: [] for name in TABLES}
        self.maps: dict[str, BranchMaps] = {}

    def add(self, table: str, /, **columns: Any) -> None:
        """Add rows to a table, see :func:`part`."""
        self.parts[table].append(part(**columns))

    def extend(self, other: "Chunk") -> None:
        """Add what another image adds."""
        for name, parts in other.parts.items():
            self.parts[name] += parts
        self.maps |= other.maps

    def tables(self) -> dict[str, pa.Table]:
        """Return the tables that have parts."""
        return {name: joined(parts) for name, parts in self.parts.items() if parts}


def chunk_folder(out: Path, number: int) -> Path:
    """Return where a chunk lies."""
    return out / PARTS / f"{number:06d}"


def write_chunk(
    out: Path,
    number: int,
    tables: Mapping[str, pa.Table],
    maps: Mapping[str, BranchMaps] | None = None,
) -> None:
    """Write the tables of a chunk, and its maps.

    Raises:
        GstoVizError: The operating system refused it; nothing of the chunk stays.
    """
    own = [*(f"{name}.parquet" for name in TABLES), MAPS]
    with new_folder(chunk_folder(out, number), own, overwrite=True) as work:
        for name, table in tables.items():
            # Read once, and soon: what matters is that it is written fast.
            path = work / f"{name}.parquet"
            pq.write_table(table, path, compression="lz4", use_dictionary=False)
        if maps:
            arrays = {f"{key}/{r}": one for key, each in maps.items() for r, one in enumerate(each)}
            np.savez(work / MAPS, **arrays)  # type: ignore[arg-type]


def chunk_maps(out: Path, chunks: int, key: str) -> Iterator[tuple[int, BranchMaps]]:
    """Yield index and maps of every image of one network, a chunk at a time."""
    for number in range(chunks):
        path = chunk_folder(out, number) / MAPS
        if not path.is_file():
            continue
        with np.load(path, allow_pickle=False) as stored:
            found: dict[str, dict[int, npt.NDArray[Any]]] = {}
            for name in stored.files:
                one, index, branch = name.split("/")
                if one == key:
                    found.setdefault(index, {})[int(branch)] = stored[name]
        for index in sorted(found):
            yield int(index), tuple(found[index][r] for r in sorted(found[index]))


def merge(out: Path, chunks: int) -> None:
    """Join the parts of every table to ``NAME.parquet``, a row group per chunk.

    Only one chunk is in memory at a time. Columns that some chunks lack (gates of images without
    any) are null there; a table that no chunk has is not written.
    """
    for name in TABLES:
        paths = [chunk_folder(out, number) / f"{name}.parquet" for number in range(chunks)]
        paths = [path for path in paths if path.is_file()]
        if paths:
            schema = pa.unify_schemas(
                [pq.read_schema(path) for path in paths], promote_options="permissive"
            )
            write_table(out / f"{name}.parquet", map(pq.read_table, paths), schema)


def write_table(path: Path, parts: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Write a Parquet file to stay, a row group for each part.

    Words are few and repeat, measured numbers hardly ever do.
    """
    words = [field.name for field in schema if pa.types.is_large_string(field.type)]
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", use_dictionary=words) as writer,
    ):
        for one in parts:
            for field in schema:
                if field.name not in one.column_names:
                    one = one.append_column(field, pa.nulls(one.num_rows, field.type))
            if one.num_rows:
                writer.write_table(one.select(schema.names).cast(schema))


def read_table(
    out: Path, name: str, columns: Sequence[str] | None = None, **filters: Any
) -> pd.DataFrame:
    """Read a table, only some columns, only rows whose columns have given values.

    Args:
        out: The analyze folder.
        name: Of the table.
        columns: Which; None for all.
        **filters: Values by column, e.g. ``model="A"``.

    Returns:
        The rows; an empty frame without columns where an analysis has no such table.

    Raises:
        GstoVizError: A table that every analysis has is missing, or it is not a Parquet file.
    """
    path = out / f"{name}.parquet"
    if not TABLES[name].required and not path.is_file():
        return pd.DataFrame()
    chosen = [(column, "=", value) for column, value in filters.items()] or None
    try:
        table = pq.read_table(path, columns=columns and list(columns), filters=chosen)
    except (OSError, pa.ArrowException) as error:
        raise GstoVizError(
            f"cannot read {path}: {' '.join(str(error).split())}; analyze the data again"
        ) from error
    frame: pd.DataFrame = table.to_pandas()
    return frame
