"""Chunks of an analysis: tables that a few images add, written whole, merged in order.

A chunk is a folder ``parts/000012/`` of Parquet files that appears whole or not at all, so a run
that was killed goes on with the chunks that are missing, and any number of processes may share the
work: the merged tables depend on neither.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gsto_viz.errors import GstoVizError
from gsto_viz.files import atomic_path
from gsto_viz.folders import new_folder

PARTS = "parts"
TABLES = (
    "regions",
    "images",
    "values",
    "classes",
    "gates",
    "profile",
    "random",
    "moved",
    "confusion",
    "transfer",
)
"""Tables that a chunk may hold, one Parquet file each."""


def chunk_folder(out: Path, number: int) -> Path:
    """Return where a chunk lies."""
    return out / PARTS / f"{number:06d}"


def is_done(out: Path, number: int) -> bool:
    """Say whether a chunk is there."""
    return chunk_folder(out, number).is_dir()


def write_chunk(
    out: Path,
    number: int,
    tables: Mapping[str, pa.Table],
    *more: Callable[[Path], None],
) -> None:
    """Write the tables of a chunk.

    Args:
        out: The analyze folder.
        number: Of the chunk.
        tables: By name.
        *more: What else is written into the chunk's folder.

    Raises:
        GstoVizError: The operating system refused it; nothing of the chunk stays.
    """
    own = [f"{name}.parquet" for name in TABLES]
    with new_folder(chunk_folder(out, number), own, overwrite=True) as work:
        for name, table in tables.items():
            # Read once, and soon: what matters is that it is written fast.
            path = work / f"{name}.parquet"
            pq.write_table(table, path, compression="lz4", use_dictionary=False)
        for write in more:
            write(work)


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write one table as Parquet, to stay."""
    with parquet_writer(path, table.schema) as writer:
        writer.write_table(table)


def parquet_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a Parquet file to stay; words are few and repeat, measured numbers hardly ever do."""
    words = [field.name for field in schema if pa.types.is_large_string(field.type)]
    return pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=words)


def read_table(path: Path, columns: Sequence[str] | None = None, **filters: Any) -> pd.DataFrame:
    """Read a Parquet table, only some columns, only rows whose columns have given values.

    Args:
        path: The file.
        columns: Which; None for all.
        **filters: Values by column, e.g. ``model="A"``.

    Raises:
        GstoVizError: It is missing or no Parquet file.
    """
    chosen = [(name, "=", value) for name, value in filters.items()] or None
    try:
        table = pq.read_table(
            path, columns=None if columns is None else list(columns), filters=chosen
        )
    except (OSError, pa.ArrowException) as error:
        raise GstoVizError(
            f"cannot read {path}: {' '.join(str(error).split())}; analyze the data again"
        ) from error
    frame: pd.DataFrame = table.to_pandas()
    return frame


def chunk_tables(out: Path, name: str, count: int) -> Iterator[Path]:
    """Give the files of one table in the order of the chunks; chunks without it are passed over."""
    for number in range(count):
        path = chunk_folder(out, number) / f"{name}.parquet"
        if path.is_file():
            yield path


def merge(out: Path, name: str, count: int) -> Path | None:
    """Join the files of one table to ``NAME.parquet``, a row group per chunk.

    Only one chunk is in memory at a time. Columns that some chunks lack (gates of images without
    any) are null there.

    Args:
        out: The analyze folder.
        name: Of the table.
        count: Number of chunks.

    Returns:
        The file; None when no chunk has the table.
    """
    paths = list(chunk_tables(out, name, count))
    if not paths:
        return None
    schemas = [pq.read_schema(path) for path in paths]
    schema = pa.unify_schemas(schemas, promote_options="permissive")
    target = out / f"{name}.parquet"
    with atomic_path(target) as temporary, parquet_writer(temporary, schema) as writer:
        for path in paths:
            part = pq.read_table(path)
            missing = [field for field in schema if field.name not in part.column_names]
            for field in missing:
                part = part.append_column(field, pa.nulls(part.num_rows, field.type))
            if part.num_rows:
                writer.write_table(part.select(schema.names).cast(schema))
    return target


def remove_parts(out: Path) -> None:
    """Remove the chunks of a finished analysis."""
    shutil.rmtree(out / PARTS, ignore_errors=True)
