"""Files of the page "Sizes": read again and compared with the tables they come from."""

import csv
import io
import json

import numpy as np
import pytest

from gsto_viz.explorer.exports.files import Exports
from gsto_viz.explorer.exports.replay import REPLAYED, agreement
from gsto_viz.explorer.exports.sizes import replayed_sizes, size_exports
from gsto_viz.explorer.shown import cut_regions
from gsto_viz.explorer.values.probe import region_numbers
from gsto_viz.explorer.values.sizes import Subject, of_report
from gsto_viz.explorer.view_state import ViewState
from gsto_viz.report import load_report


def content(made: Exports, name: str) -> bytes:
    (file,) = (file for file in made.files if file.name == name)
    return file.make()


def rows_of(made: Exports, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content(made, name).decode())))


@pytest.fixture(scope="module")
def of_image(made_up):
    shown = made_up(height=108, width=196)
    regions = cut_regions(shown)
    state = ViewState(a="A", b="B", gap=1.5)
    return shown, regions, replayed_sizes(shown, regions, state)


def test_files_of_an_image_hold_its_regions(of_image):
    shown, regions, made = of_image
    numbers = region_numbers(shown, regions)
    rows = rows_of(made, "regions.csv")
    kept = [k for k in range(len(numbers["A"]["q"])) if numbers["A"]["qualifies"][k]]
    assert [int(row["region"]) for row in rows] == [k + 1 for k in kept]
    for k, row in zip(kept, rows, strict=True):
        assert float(row["q_A"]) == numbers["A"]["q"][k]
        assert float(row["q_B"]) == numbers["B"]["q"][k]
        assert float(row["size (px)"]) == pytest.approx(np.sqrt(numbers["A"]["area_px"][k]))
    with np.load(io.BytesIO(content(made, "maps.npz")), allow_pickle=False) as arrays:
        for row in rows:
            count = np.count_nonzero(arrays["regions"] == int(row["region"]))
            assert count == int(row["area (px)"])
        activity = arrays["B.stage4.branch3.activity"]
    np.testing.assert_array_equal(activity, shown.inspections["B"].activity[3])
    sci = rows_of(made, "sci.csv")
    assert [row["what"] for row in sci] == ["A", "B", "B - A"]
    assert {row["gap (octaves)"] for row in sci} == {"1.5"}
    assert all("an interval needs 10" in row["reason"] for row in sci)
    for letter, row in zip("AB", sci, strict=False):
        area, q = numbers[letter]["area_px"], numbers[letter]["q"]
        found = [
            1.0 if q[y] < q[x] else 0.5 if q[y] == q[x] else 0.0
            for x in kept
            for y in kept
            if area[y] >= 8 * area[x]
        ]
        assert float(row["value"]) == pytest.approx(np.mean(found))
        assert int(row["pairs"]) == len(found)
    assert float(sci[2]["value"]) == pytest.approx(float(sci[1]["value"]) - float(sci[0]["value"]))


def test_figures_and_pairs_of_an_image(of_image):
    _, _, made = of_image
    assert content(made, "responses.png").startswith(b"\x89PNG")
    assert content(made, "pairs.pdf").startswith(b"%PDF")
    pairs = rows_of(made, "pairs.csv")
    assert pairs
    assert all(float(row["gap_octaves"]) >= 1.5 - 1e-9 for row in pairs)
    names = [file.name for file in made.files]
    assert len(set(names)) == len(names)
    assert "differences.csv" not in names


def test_the_view_of_an_image_replays_to_the_same_numbers(of_image):
    shown, regions, made = of_image
    saved = json.loads(content(made, "view.json"))
    assert saved["page"] == "sizes"
    assert saved["view"]["gap"] == 1.5
    again = REPLAYED["sizes"](shown, regions, ViewState(a="A", b="B", gap=1.5))
    found = agreement(saved["numbers"], json.loads(content(again, "view.json"))["numbers"])
    assert found.largest == 0
    assert found.count > 50
    assert found.others == ()


def test_files_of_an_analysis(analysis):
    report = load_report(analysis.folder)
    source = of_report(report, "an analysis")
    made = size_exports(Subject(source, None, report), None, ViewState(run="run"))
    assert made.stem.startswith("run-")
    names = {file.name for file in made.files}
    assert {"indices.csv", "differences.csv", "pairs.csv", "responses.csv"} <= names
    rows = rows_of(made, "regions.csv")
    tables = {x: report.table(x) for x in "AB"}
    expected = set()
    for table in tables.values():
        kept = table[table["qualifies"] & table["q"].notna()]
        expected |= set(zip(kept["image"], kept["region"], strict=True))
    assert {(row["image"], int(row["region"])) for row in rows} == expected
    indices = rows_of(made, "indices.csv")
    assert [row["model"] for row in indices] == ["A"] * 9 + ["B"] * 9  # the headline, layout out
    assert float(indices[9]["value"]) == report.index("B", "sci").value
    weights = [(row["model"], row["weights"]) for row in rows_of(made, "responses.csv")]
    assert {("A", "trained"), ("B", "random")} <= set(weights)
