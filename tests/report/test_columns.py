"""Joined columns against data frames that pandas puts below each other."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gsto_viz.report.folder import arrow_table, filled, joined, rows_in, write_parquet


def parts():
    rng = np.random.default_rng(0)
    for k, rows in enumerate([3, 0, 5]):
        value = rng.random(rows)
        value[: rows // 2] = np.nan
        yield filled(rows, model="AB"[k % 2], draw=k, image=f"im é{k} ") | {
            "bin": np.array(["small", "medium", "large"] * 2)[:rows],
            "kept": rng.random(rows) < 0.5,
            "value": value,
            "count": rng.integers(0, 9, rows),
        }


def frame(part):
    texts = {name: pd.Series(v.tolist(), dtype=str) for name, v in part.items() if v.dtype == "U"}
    return pd.DataFrame({**part, **texts})


def same(left, right):
    return left.schema.equals(right.schema, check_metadata=True) and left.equals(right)


def test_parts_are_joined_as_pandas_joins_frames():
    given = list(parts())
    table = joined(given)
    assert [rows_in(part) for part in given] == [3, 0, 5]
    assert same(table, arrow_table(pd.concat(map(frame, given), ignore_index=True)))
    assert table["value"].null_count == 3
    assert table.schema.field("image").type == pa.large_string()
    assert table["image"].to_pylist()[-1] == "im é2 "


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lacks", [0, 1, 2])
def test_a_measured_column_that_a_part_lacks_is_null_there(dtype, lacks):
    given = [part | {"g/tap": np.full(rows_in(part), 0.7, dtype)} for part in parts()]
    del given[lacks]["g/tap"]
    frames = pd.concat([frame(part) for part in given], ignore_index=True)
    table = joined(given)
    assert same(table, arrow_table(frames[table.column_names]))
    assert table["g/tap"].null_count == (3, 0, 5)[lacks]


def test_words_and_counts_that_a_part_lacks_are_null_there():
    given = list(parts())
    for name in ("bin", "count", "kept"):
        del given[0][name]
    table = joined(given)
    for name in ("bin", "count", "kept"):
        assert table[name].to_pylist() == [None] * 3 + given[2][name].tolist()
    assert table.schema.field("count").type == pa.int64()


def test_files_hold_what_was_joined(tmp_path):
    table = joined(list(parts()))
    write_parquet(tmp_path / "a.parquet", table)
    assert pq.read_table(tmp_path / "a.parquet").equals(table)
