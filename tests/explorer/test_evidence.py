"""The page "Attribution" without a page: what is asked, how maps are scaled, what is kept."""

import io
import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from gsto_viz.attribution import EvidenceField
from gsto_viz.attribution.gradients import GIB
from gsto_viz.errors import GstoVizError
from gsto_viz.explorer.exports.attribution import attribution_exports
from gsto_viz.explorer.exports.figures import attribution_sheet, marks_at
from gsto_viz.explorer.shown import cut_regions
from gsto_viz.explorer.values import attribution as evidence_tiles
from gsto_viz.explorer.values.attribution import (
    BranchMaps,
    Kept,
    Run,
    answer,
    ask,
    branch_rows,
    branch_table,
    entries_of,
    evidence_data,
    exact_maps,
    memory_budget,
    refusal,
    scaled,
    sum_check,
)
from gsto_viz.explorer.values.probe import Point
from gsto_viz.explorer.view_state import ViewState
from gsto_viz.explorer.views.attribution import convergence
from gsto_viz.words import METHOD_LINKS, METHODS

STRIDES = (4, 8, 16, 32)
GRID = (23, 38)


def made_up_field(seed: int) -> EvidenceField:
    rng = np.random.default_rng(seed)
    cells = GRID[0] * GRID[1]
    return EvidenceField(
        baseline="zero",
        strides=STRIDES,
        grid=GRID,
        logits=torch.from_numpy(rng.normal(size=(16, 11, cells))),
        products=rng.uniform(0.1, 1.0, (4, cells)),
        sum_error=1e-7,
    )


@pytest.fixture(name="case")
def _case(made_up):
    shown = made_up()
    return shown, cut_regions(shown), {"A": made_up_field(1), "B": made_up_field(2)}


def margin_by_loop(logits: np.ndarray, class_id: int, pixels: list[tuple[int, int]]) -> np.ndarray:
    """Mean margin over pixels (y, x) for every coalition: (16,)."""
    out = []
    for coalition in logits:
        total = 0.0
        for y, x in pixels:
            column = coalition[:, (y // 4) * GRID[1] + x // 4]
            total += column[class_id] - max(np.delete(column, class_id))
        out.append(total / len(pixels))
    return np.array(out)


@pytest.mark.parametrize("pick", ["pixel", "region"])
def test_the_answer_is_that_of_the_pixels_picked(case, pick):
    shown, regions, fields = case
    point = Point(70, 45)
    question = ask(shown, regions, point, pick=pick, target=None, score="margin")
    assert question.class_id == shown.inspections["A"].prediction[45, 70]
    pixels = [(45, 70)]
    if pick == "region":
        ids = regions.regions.ids
        pixels = [tuple(at) for at in np.argwhere(ids == ids[45, 70])]
    found = answer(question, shown, fields)
    for letter in "AB":
        logits = fields[letter].logits.numpy()
        expected = margin_by_loop(logits, question.class_id, pixels)
        np.testing.assert_allclose(found[letter].values[:, 0], expected, atol=1e-9)
        gap = found[letter].psi[:, 0].sum() - (expected[-1] - expected[0])
        assert abs(gap) < 1e-9


def test_a_named_class_is_asked_about_and_an_unknown_one_is_not(case):
    shown, regions, _ = case
    name = shown.classes.names[7]
    asked = ask(shown, regions, Point(3, 4), pick="pixel", target=name, score="mean")
    assert (asked.class_id, asked.class_name) == (7, name)
    other = ask(shown, regions, Point(3, 4), pick="pixel", target="nothing", score="mean")
    assert other.class_id == shown.inspections["A"].prediction[4, 3]
    assert asked.words == f"logit of {name} at x 3, y 4 (the /4 cell that holds it)"
    entries = entries_of(asked, shown, GRID)
    assert (entries.cell.tolist(), entries.class_id.tolist()) == ([38], [7])
    assert not entries.margin


def test_where_no_region_lies_nothing_is_asked(made_up):
    shown = made_up()
    shown.sample.labels[:20, :20] = 255
    regions = cut_regions(shown)
    assert ask(shown, regions, Point(2, 2), pick="region", target=None, score="mean") is None


def test_tables_hold_every_branch_and_what_sums_must_be(case):
    shown, regions, fields = case
    question = ask(shown, regions, Point(70, 45), pick="pixel", target=None, score="mean")
    found = answer(question, shown, fields)
    strides = dict.fromkeys("AB", STRIDES)
    rows = branch_rows(found, strides)
    assert list(rows["stride"]) == list(STRIDES) * 2
    np.testing.assert_allclose(rows["shapley"][4:], found["B"].psi[:, 0])
    table = branch_table(found, strides)
    for _, row in table.iterrows():
        assert row["sum"] == pytest.approx(sum(row[f"/{s}"] for s in STRIDES), abs=1e-12)
        assert pd.isna(row["must be"]) or row["must be"] == pytest.approx(row["sum"], abs=1e-9)
    assert table["must be"].isna().tolist() == [False, False, True] * 2
    text = sum_check("A", question, found["A"])
    assert f"{found['A'].present[0]:.3f} logits" in text
    assert "the shares to 1.000000" in text


def test_scales_are_symmetric_and_shared_where_units_are(case):
    rng = np.random.default_rng(0)
    grids = [(23, 38), (12, 19), (6, 10), (3, 5)]
    maps = {
        letter: BranchMaps(tuple(k * rng.normal(size=g) for g in grids), STRIDES, STRIDES)
        for letter, k in (("A", 1.0), ("B", 50.0))
    }
    for method, per_pixel, shared in (
        ("shapley", False, True),
        ("gradient", True, True),
        ("gradcam", False, False),
    ):
        heats = scaled(maps, method)
        limits = {letter: {(h.low, h.high) for h in heats[letter]} for letter in "AB"}
        for letter in "AB":
            ((low, high),) = limits[letter]
            assert low == -high < 0
            for heat, one, stride in zip(heats[letter], maps[letter].maps, STRIDES, strict=True):
                area = stride**2 if per_pixel else 1
                np.testing.assert_allclose(heat.values, one / area)
        assert (limits["A"] == limits["B"]) == shared


def test_cells_without_a_share_stay_without(case):
    shown, regions, fields = case
    fields["A"].products[:, 5] = 0
    question = ask(shown, regions, Point(9, 9), pick="pixel", target=None, score="margin")
    maps = {x: exact_maps(fields[x], question, "shares") for x in "AB"}
    heats = scaled(maps, "shares")
    assert all(np.isnan(heat.values[0, 5]) for heat in heats["A"])
    data = evidence_data(shown, regions, maps, "shares", "margin")
    assert [t["key"] for t in data["rows"][1]["tiles"]] == ["A4", "A8", "A16", "A32"]
    assert {t["stride"] for row in data["rows"][1:] for t in row["tiles"]} == {4}
    assert {t["colors"] for row in data["rows"][1:] for t in row["tiles"]} == {"difference"}
    assert len(evidence_data(shown, regions, {}, "gradcam", "margin")["rows"]) == 1


def made_up_run(seconds: float = 2.0, delta: float | None = None, score: float = 4.0) -> Run:
    maps = tuple(np.full((2, 3), k, dtype=np.float32) for k in range(4))
    return Run(maps, STRIDES, np.arange(4.0), delta, score, seconds)


def test_results_are_kept_and_the_oldest_goes():
    kept = Kept(most=2)
    runs = [made_up_run() for _ in range(3)]
    for k, run in enumerate(runs[:2]):
        kept.put(k, run, pace="slow", passes=4)
    assert kept.get(0) is runs[0]
    kept.put(2, runs[2], pace="slow", passes=4)
    assert kept.get(0) is runs[0]
    assert kept.get(1) is None
    assert kept.get(2) is runs[2]


def test_the_last_run_says_how_long_the_next_takes():
    kept = Kept()
    assert kept.expected_s("p", forward_s=0.1, passes=35) == pytest.approx(3.5)
    kept.put("x", made_up_run(seconds=7.0), pace="p", passes=35)
    assert kept.expected_s("p", forward_s=0.1, passes=70) == pytest.approx(14)
    assert kept.expected_s("q", forward_s=0.1, passes=70) == pytest.approx(7)


def test_half_of_what_is_free_may_be_taken():
    assert refusal(GIB, 2 * GIB) is None
    assert refusal(10**15, None) is None
    text = refusal(GIB + 1, 2 * GIB)
    assert "about 1.00 GiB" in text
    assert "2.00 GiB are free" in text
    assert memory_budget(None) == memory_budget(100 * GIB) == GIB // 2
    assert memory_budget(GIB // 2) == GIB // 4


def test_convergence_is_said_and_more_steps_are_advised_where_it_is_poor():
    assert "Convergence" not in convergence("A", made_up_run())
    good = convergence("B", made_up_run(delta=-0.01))
    assert "delta -0.010 logits" in good
    assert "More steps" not in good
    assert "More steps" in convergence("B", made_up_run(delta=0.5))


def test_table_and_maps_are_downloaded_with_what_they_are(case):
    shown, regions, fields = case
    question = ask(shown, regions, Point(70, 45), pick="pixel", target=None, score="margin")
    answers = answer(question, shown, fields)
    maps = {x: exact_maps(fields[x], question, "shapley") for x in "AB"}
    state = ViewState(x=70, y=45)
    marks = marks_at(regions, Point(70, 45), outline=False)
    exports = attribution_exports(shown, question, answers, state, lambda: maps, marks)
    made = {file.name: file.make() for file in exports.files}
    csv = pd.read_csv(io.BytesIO(made["branches.csv"]))
    assert list(csv["sha256"]) == ["a" * 64] * 3 + ["b" * 64] * 3
    assert set(csv["place (px)"]) == {"x 70, y 45"}
    np.testing.assert_allclose(csv["/16"][3], answers["B"].psi[2, 0])
    with np.load(io.BytesIO(made["maps.npz"])) as held:
        assert len(held) == 8 + 1
        np.testing.assert_array_equal(held["B_stride16"], maps["B"].maps[2])
        about = json.loads(str(held["about"]))
    assert about["explained"] == question.words
    assert about["unit"] == "Shapley value of the margin at each cell, logits"
    assert exports.stem.startswith("made-up-a-b-attribution-")
    said = " ".join("".join(ET.fromstring(made["view.svg"]).itertext()).split())
    for words in (question.words, about["unit"], "their mean over this image", "at x 70, y 45."):
        assert words in said


def test_maps_are_drawn_on_one_scale_about_0(case):
    shown, regions, fields = case
    question = ask(shown, regions, Point(70, 45), pick="region", target=None, score="margin")
    maps = {x: exact_maps(fields[x], question, "shapley") for x in "AB"}
    marks = marks_at(regions, Point(70, 45), outline=True)
    sheet = attribution_sheet(shown, marks, maps, question.words, ViewState(method="shapley"))
    np.testing.assert_array_equal(marks.outline, regions.regions.ids == regions.regions.ids[45, 70])
    _, *rows = sheet.rows
    heats = {panel.title: panel.heat for row in rows for panel in row.panels}
    assert list(heats) == [f"{x} /{s}" for x in "AB" for s in shown.inspections[x].strides]
    (scale,) = {(heat.low, heat.high) for heat in heats.values()}
    largest = max(np.percentile(np.abs(one), 99.5) for own in maps.values() for one in own.maps)
    assert scale == pytest.approx((-largest, largest))
    for x, own in maps.items():
        for stride, one in zip(own.branches, own.maps, strict=True):
            np.testing.assert_allclose(heats[f"{x} /{stride}"].values, one)


def test_a_head_method_that_the_explorer_cannot_draw_is_refused(monkeypatch):
    other = replace(METHODS["shapley"], key="other", label="Other", link="other")
    monkeypatch.setattr(evidence_tiles, "METHOD_LINKS", {**METHOD_LINKS, "other": other})
    with pytest.raises(GstoVizError, match="draws no maps of Other, only of shapley and shares"):
        exact_maps(made_up_field(1), None, "other")
