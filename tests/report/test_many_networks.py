"""Three networks by name: one the reference, all others compared with it."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gsto_viz.cli import main
from gsto_viz.errors import GstoVizError
from gsto_viz.report import Site, analyze, load_report
from gsto_viz.report.catalogue import write_figures
from gsto_viz.report.page import page
from gsto_viz.report.text import write_comparisons
from gsto_viz.stats.inference import holm


@pytest.fixture(scope="module")
def three(networks, scenes, tmp_path_factory):
    """Plain, gated, and plain once more."""
    models = {"plain": networks["A"], "gated-1": networks["B"], "again": networks["A"]}
    out = tmp_path_factory.mktemp("three") / "run"
    return analyze(models, scenes, out, nulls=True, random_draws=1)


def test_every_network_has_its_rows_in_the_order_given(three):
    assert three.keys == ("plain", "gated-1", "again")
    assert list(three.summary["models"]) == list(three.keys)
    for name in ("regions", "images", "values"):
        rows = pd.read_parquet(three.folder / f"{name}.parquet")
        assert set(rows["model"].dropna()) == set(three.keys)


def test_a_network_and_itself_differ_by_exactly_nothing(three):
    plain, again = (dict(three.model(key)) for key in ("plain", "again"))
    assert plain == again
    for one in three.compare("plain", "again").comparisons:
        assert one.difference.value in (0.0, None)
        assert one.a == one.b
        assert one.test.p in (1.0, None)
    left, right = (
        three.table(key).drop(columns="model").reset_index(drop=True) for key in ("plain", "again")
    )
    pd.testing.assert_frame_equal(left, right)


def test_tests_are_adjusted_over_all_comparisons(three):
    found = three.comparisons()
    assert [(one.a, one.b) for one in found] == [("plain", "gated-1"), ("plain", "again")]
    tests = [one for pair in found for one in pair.comparisons if one.family == "confirmatory"]
    known = [one for one in tests if one.test.p is not None]
    assert len(known) > len(known) // 2 >= 1
    expected = holm([one.test.p for one in known])
    assert [one.p_adjusted for one in known] == expected
    alone = {one.index: one for one in three.compare("plain", "gated-1").comparisons}
    for one in found[0].comparisons:
        assert replace(one, p_adjusted=None) == replace(alone[one.index], p_adjusted=None)
        if one.family == "confirmatory" and one.p_adjusted is not None:
            assert one.p_adjusted >= alone[one.index].p_adjusted


def test_the_first_two_are_compared_unless_named(three):
    assert three.compare() == three.compare("plain", "gated-1")
    swapped = three.compare("gated-1", "plain")
    assert swapped.sci.value == pytest.approx(-three.compare().sci.value)
    with pytest.raises(GstoVizError, match="no model 'B' in"):
        three.compare("plain", "B")


def test_compare_writes_all_or_one_pair(three, capsys, tmp_path):
    folder = str(three.folder)
    assert main(["compare", folder]) == 0
    text = capsys.readouterr().out
    for part in ("gated-1 - plain, paired", "again - plain, paired", "over all 8 confirmatory"):
        assert part in text
    values = json.loads((three.folder / "comparison.json").read_text())
    assert values["reference"] == "plain"
    assert [one["b"]["key"] for one in values["comparisons"]] == ["gated-1", "again"]
    table = pd.read_csv(three.folder / "comparison.csv")
    assert table["model"].unique().tolist() == ["gated-1", "again"]
    assert set(pd.read_csv(three.folder / "specification.csv")["model"]) == {"gated-1", "again"}
    assert main(["compare", folder, "again", "gated-1"]) == 0
    assert "gated-1 - again, paired" in capsys.readouterr().out
    values = json.loads((three.folder / "comparison.json").read_text())
    assert (values["a"]["key"], values["b"]["key"]) == ("again", "gated-1")
    assert main(["compare", folder, "again"]) == 2
    assert "name two models, or none for all" in capsys.readouterr().err


def test_figures_and_page_show_all_of_them(three):
    written = write_figures(three, formats=["png"])
    left_out = {one.kind.name: one.reason for one in written if one.reason}
    assert set(left_out) <= {
        "listening", "branch_by_size", "worst_pairs", "distance_profile", "enlargement",
        "skeletons",
    }  # fmt: skip
    html = page(three, written)
    for key in three.keys:
        assert f"<h3>{key} = " in html
    assert "gated-1 and again" not in html.split("</title>")[0]
    for one in written:
        if one.reason is None and one.kind.name not in ("specification", "segmentations"):
            data = pd.read_csv(one.files[-1])
            expected = {"gated-1"} if one.kind.name == "gate_by_size" else set(three.keys)
            assert set(data["model"]) <= set(three.keys)
            assert expected <= set(data["model"]) or one.kind.name == "worst_pairs"


def test_another_reference_comes_first(networks, scenes, tmp_path):
    models = {"x": networks["A"], "y": networks["B"]}
    report = analyze(models, scenes, tmp_path / "r", reference="y", limit=2)
    assert report.keys == ("y", "x")
    assert report.compare().b == "x"
    with pytest.raises(GstoVizError, match="was begun with models"):
        analyze(models, scenes, tmp_path / "r", resume=True, limit=2)
    swapped = {"B": networks["B"], "A": networks["A"]}
    assert analyze(swapped, scenes, limit=1).keys == ("A", "B")
    assert analyze(swapped, scenes, reference="B", limit=1).keys == ("B", "A")


def test_one_network_has_nothing_to_compare_with(networks, scenes, tmp_path):
    report = analyze({"only": networks["A"]}, scenes, tmp_path / "r", limit=1)
    assert report.comparisons() == ()
    with pytest.raises(GstoVizError, match="has one model"):
        report.compare()
    assert main(["compare", str(report.folder)]) == 2


def test_networks_may_differ_in_their_branches(networks, scenes, tmp_path):
    site = Site(("stage3.m0.branch0", "stage3.m0.branch1"), (4, 8))
    out = tmp_path / "r"
    report = analyze(networks, scenes, out, nulls=True, sites={"B": site}, limit=3, random_draws=1)
    assert report.strides == {"A": (4, 8, 16, 32), "B": (4, 8)}
    ends = {name.rpartition("_")[2] for name in report.table("B").columns}
    assert {"0", "1"} <= ends
    assert not {"2", "3"} & ends
    alone = analyze({"B": networks["B"]}, scenes, sites={"B": site}, limit=3)
    for column in alone.table("B").columns:
        left, right = report.table("B")[column], alone.table("B")[column]
        assert np.array_equal(left, right, equal_nan=left.dtype.kind == "f"), column
    assert report.index("B", "sci") == alone.index("B", "sci")
    found = {one.index: one for one in report.compare().comparisons}
    assert found["sci"].difference.value == pytest.approx(found["sci"].b - found["sci"].a)
    assert not [
        one
        for one in write_figures(report, formats=["png"])
        if one.kind.name == "sci_dots" and one.reason
    ]


def test_an_old_folder_of_two_opens(three, analysis):
    assert load_report(analysis.folder).keys == ("A", "B")
    values = write_comparisons(analysis, analysis.comparisons())
    assert values["a"]["key"] == "A"
    assert "reference" not in values
