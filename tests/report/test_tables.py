"""Tables of a folder, joined as pandas puts frames below each other; estimates in JSON."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gsto_viz.errors import GstoVizError
from gsto_viz.report.folder import WithNulls, plain, typed
from gsto_viz.report.tables import TABLES, joined, part, read_table, rows_in, write_table
from gsto_viz.stats import Estimate
from gsto_viz.stats.nulls import Null


def parts():
    rng = np.random.default_rng(0)
    for k, rows in enumerate([3, 0, 5]):
        value = rng.random(rows)
        value[: rows // 2] = np.nan
        yield part(
            model="AB"[k % 2],
            draw=k,
            image=f"im é{k} ",
            bin=np.array(["small", "medium", "large"] * 2)[:rows],
            kept=rng.random(rows) < 0.5,
            value=value,
            count=rng.integers(0, 9, rows),
        )


def arrow_table(frame):
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)


def frame(columns):
    texts = {k: pd.Series(v.tolist(), dtype=str) for k, v in columns.items() if v.dtype == "U"}
    return pd.DataFrame({**columns, **texts})


def same(left, right):
    return left.schema.equals(right.schema, check_metadata=True) and left.equals(right)


def test_parts_are_joined_as_pandas_joins_frames():
    given = list(parts())
    table = joined(given)
    assert [rows_in(one) for one in given] == [3, 0, 5]
    assert same(table, arrow_table(pd.concat(map(frame, given), ignore_index=True)))
    assert table["value"].null_count == 3
    assert table.schema.field("image").type == pa.large_string()
    assert table["image"].to_pylist()[-1] == "im é2 "


@pytest.mark.parametrize("first", [True, False])
def test_parts_without_rows_do_not_say_the_type_of_a_column(first):
    empty = part(**dict(pd.DataFrame(columns=["n", "t"]).items()))
    full = part(n=np.array([3, 4]), t=np.array(["a", "b"]))
    table = joined([empty, full] if first else [full, empty])
    assert table.to_pydict() == {"n": [3, 4], "t": ["a", "b"]}
    assert table.schema.field("n").type == pa.int64()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lacks", [0, 1, 2])
def test_a_measured_column_that_a_part_lacks_is_null_there(dtype, lacks):
    given = [one | {"g/tap": np.full(rows_in(one), 0.7, dtype)} for one in parts()]
    del given[lacks]["g/tap"]
    frames = pd.concat([frame(one) for one in given], ignore_index=True)
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
    write_table(tmp_path / "a.parquet", [table], table.schema)
    assert pq.read_table(tmp_path / "a.parquet").equals(table)


def test_names_that_only_some_parts_have_are_words_and_without_any_the_column_is_empty():
    given = [part(image="a", model=None, reason="gone"), part(image="b", model="A", reason=None)]
    assert joined(given)["reason"].to_pylist() == ["gone", None]
    assert joined(given)["model"].type == pa.large_string()
    assert joined(given[1:])["reason"].type == pa.null()
    assert part(image="a", value=np.zeros(0))["image"].size == 0
    with pytest.raises(ValueError, match="too many values"):
        part(one=np.zeros(2), two=np.zeros(3))


def test_every_table_has_the_key_that_the_register_says_and_no_other_table_is_written(analysis):
    written = {path.stem for path in analysis.folder.glob("*.parquet")}
    assert written <= set(TABLES)
    assert {name for name, table in TABLES.items() if table.required} <= written
    assert written >= {"random", "layout", "gates", "classes", "confusion"}
    for name in written:
        rows = read_table(analysis.folder, name)
        assert len(rows) > 0
        assert not rows.duplicated(list(TABLES[name].key)).any(), name


def test_a_table_that_some_analyses_lack_is_empty_and_any_other_is_missed(
    tmp_path,
):
    assert read_table(tmp_path, "transfer", model="A").empty
    with pytest.raises(GstoVizError, match=r"cannot read .*regions\.parquet"):
        read_table(tmp_path, "regions")


def test_estimates_come_back_from_json_as_they_were():
    own = Estimate(0.25, None, None, 3, 7, "too few")
    null = Null((0.5, 0.75), Estimate(0.625, 0.5, 0.75, 3, 14))
    rows = pd.DataFrame({"octave": [3, 4], "value": [0.5, np.nan]})
    table = pd.DataFrame([{"gap": 1, **asdict(own)}])
    given = {"a": own, "b": [WithNulls(own, {"N1": null})], "c": null, "d": rows, "e": table}
    found = json.loads(json.dumps(plain(given), allow_nan=False), object_hook=typed)
    assert found == {**given, "b": [WithNulls(own, {"N1": null})], "d": found["d"], "e": found["e"]}
    assert found["d"] == [{"octave": 3, "value": 0.5}, {"octave": 4, "value": None}]
    assert found["e"] == [{"gap": 1, **asdict(own)}]
