"""Recorded branch maps give the committed numbers: regions, statistics, comparison, figure data."""

import json
from pathlib import Path

import golden
import pytest
from differences import Compared, compare_files, compare_folders


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden") / "found"
    golden.compute(folder)
    return folder


def test_every_value_is_the_expected_one(found):
    compared = compare_folders(golden.EXPECTED, found, rtol=golden.RTOL)
    said = [f"{one.file} {d.place}: {d.old} -> {d.new}" for one in compared for d in one.shown]
    assert said == [], "if that is meant: python tests/golden/renew.py --write, in its own commit"
    assert {"regions.csv", "values.csv", "summary.json", "comparison.json"} <= {
        one.file for one in compared
    }
    assert sum(one.values for one in compared) > 20_000


def test_a_value_that_moves_by_more_than_the_tolerance_is_named(found, tmp_path):
    record = json.loads((found / "summary.json").read_text())
    value = record["models"]["A"]["indices"]["sci"]["value"]
    for factor, differing in ((1 + 1e-11, 0), (1 + 1e-8, 1)):
        record["models"]["A"]["indices"]["sci"]["value"] = value * factor
        moved = tmp_path / "summary.json"
        moved.write_text(json.dumps(record))
        one = compare_files(Compared("x"), found / "summary.json", moved, rtol=golden.RTOL)
        assert one.differing == differing
    assert one.shown[0].place == "models.A.indices.sci.value"


def test_what_is_committed_is_small_and_holds_no_pickle():
    files = [golden.RECORDED, *golden.EXPECTED.rglob("*")]
    assert sum(path.stat().st_size for path in files if path.is_file()) < 1_000_000
    assert {path.suffix for path in files if path.is_file()} == {".npz", ".csv", ".json"}
