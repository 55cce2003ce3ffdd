"""Tables as plain columns while images are measured, joined once a chunk.

A data frame of every image, with a hundred columns and twenty rows, takes longer to make than its
numbers do.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

Columns = Mapping[str, npt.NDArray[Any]]
"""Columns of one table by name, at least one, all of one length."""


def rows_in(columns: Columns) -> int:
    """Return the number of rows."""
    return int(next(iter(columns.values())).size)


def filled(count: int, **values: str | int) -> dict[str, npt.NDArray[Any]]:
    """Return columns of ``count`` equal values each."""
    return {name: np.full(count, value) for name, value in values.items()}


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
    """Put one column of all parts below each other."""
    dtype = np.result_type(*(part[name] for part in parts if name in part))
    if dtype.kind == "f":
        pieces = [
            part[name] if name in part else np.full(rows_in(part), np.nan, dtype) for part in parts
        ]
        return pa.array(np.concatenate(pieces), from_pandas=True)
    kind = pa.large_string() if dtype.kind == "U" else pa.from_numpy_dtype(dtype)
    values: list[Any] = []
    for part in parts:
        values += part[name].tolist() if name in part else [None] * rows_in(part)
    return pa.array(values, kind)


def arrow_table(frame: pd.DataFrame) -> pa.Table:
    """Return a data frame as a table, without pandas' notes on its index."""
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
