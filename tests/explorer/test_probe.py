"""What the probe panel says, against loops and torch's own resizing."""

import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from gsto_viz.explorer.probing import scores_html
from gsto_viz.explorer.shown import cut_regions
from gsto_viz.explorer.values.probe import (
    Point,
    clamped,
    class_scores,
    default_point,
    logits_at,
    percentile_maps,
    pixel_profile,
    read_point,
    region_at,
    region_facts,
    region_numbers,
    region_profile,
    top_classes,
)
from gsto_viz.regions import region_table

STRIDES = (4, 8, 16, 32)


@pytest.fixture(scope="module")
def shown(made_up):
    return made_up()


@pytest.fixture(scope="module")
def regions(shown):
    return cut_regions(shown)


@pytest.mark.parametrize("point", [Point(0, 0), Point(149, 89), Point(128, 64), Point(31, 32)])
def test_a_pixel_reads_its_cell(shown, point):
    profile = pixel_profile(shown, percentile_maps(shown), point)
    assert len(profile) == 8
    for row in profile.itertuples():
        raw = shown.inspections[row.model].raw[STRIDES.index(row.stride)]
        assert row.row * row.stride <= point.y < (row.row + 1) * row.stride
        assert row.column * row.stride <= point.x < (row.column + 1) * row.stride
        assert row.raw == raw[row.row, row.column]
        assert row.low <= row.raw <= row.high


def test_percentiles_are_ranks_in_the_image(made_up):
    shown = made_up(labelled=False)
    ranks = percentile_maps(shown)["B"][2]
    values = shown.inspections["B"].activity[2]
    for at in np.ndindex(values.shape):
        below = int((values < values[at]).sum())
        assert ranks[at] == pytest.approx((below + 0.5) / values.size, abs=1e-12)


def test_a_region_reads_its_pixels(shown, regions):
    numbers = region_numbers(shown, regions)
    labels, instances = shown.sample.labels, shown.sample.instances
    table = region_table(labels, shown.inspections["B"].activity, STRIDES, instances)
    for number in (1, 5, len(regions)):
        profile = region_profile(shown, regions, numbers, number)
        row = profile[(profile["model"] == "B") & (profile["stride"] == 8)].iloc[0]
        total, count = 0.0, 0
        for y, x in zip(*np.nonzero(regions.regions.ids == number), strict=True):
            total += float(shown.inspections["B"].raw[1][y // 8, x // 8])
            count += 1
        assert row["raw"] == pytest.approx(total / count, rel=1e-9)
        assert row["cells"] == count / 64
        np.testing.assert_equal(row["percentile"], table["z_1"][number - 1])


def test_a_region_knows_its_pairs(shown, regions):
    numbers = region_numbers(shown, regions)
    labels, instances = shown.sample.labels, shown.sample.instances
    tables = {
        letter: region_table(labels, shown.inspections[letter].activity, STRIDES, instances)
        for letter in "AB"
    }
    seen = 0
    for number in range(1, len(regions) + 1):
        facts = region_facts(shown, regions, numbers, number)
        if facts.wrong is None:
            assert not tables["A"]["qualifies"][number - 1] or np.isnan(facts.q["A"])
            continue
        for letter, table in tables.items():
            pairs, wrong = 0, 0.0
            me = table.iloc[number - 1]
            for _, other in table[table["qualifies"]].dropna(subset=["q"]).iterrows():
                gap = other["size_octave"] - me["size_octave"]
                if abs(gap) < 1:
                    continue
                pairs += 1
                rise = (other["q"] - me["q"]) * np.sign(gap)
                wrong += 0.5 if abs(rise) <= 1e-9 else float(rise < 0)
            assert facts.pairs == pairs
            assert facts.wrong[letter] == wrong
            seen += pairs
    assert seen > 20


def test_without_labels_regions_come_from_the_prediction(made_up):
    shown = made_up(labelled=False)
    regions = cut_regions(shown)
    assert shown.region_source == "A's prediction"
    number = region_at(regions, Point(7, 9))
    assert regions.regions.class_id[number - 1] == shown.inspections["A"].prediction[9, 7]


def test_scores_are_those_of_resized_logits(shown):
    for letter, corners in (("A", False), ("B", True)):
        inspection = shown.inspections[letter]
        full = F.interpolate(
            torch.from_numpy(inspection.logits.astype(np.float64))[None],
            size=shown.size,
            mode="bilinear",
            align_corners=corners,
        )[0]
        rows, columns = (a.ravel() for a in np.indices(shown.size))
        got = logits_at(inspection, shown.size, rows, columns)
        np.testing.assert_allclose(got, full.numpy().reshape(11, -1), atol=1e-10)
        some = (rows[100:300], columns[100:300])
        scores = class_scores(shown, some)[letter]
        expected = full.softmax(0).numpy()[:, some[0], some[1]].mean(axis=1)
        np.testing.assert_allclose(scores, expected, atol=1e-10)
    table = top_classes(shown, class_scores(shown, some), 3)
    best = max(class_scores(shown, some)["A"].max(), class_scores(shown, some)["B"].max())
    assert len(table) == 3
    assert table[["A", "B"]].iloc[0].max() == best


def test_class_names_are_text_and_bars_are_as_long_as_scores():
    table = pd.DataFrame({"class": ["<b>Sky</b>", "Road"], "A": [0.5, 0.25], "B": [0.125, 0.0]})
    text = scores_html(table)
    assert "<b>" not in text
    root = ElementTree.fromstring(text)
    body = root.find("tbody")
    assert [["".join(cell.itertext()) for cell in row] for row in body] == [
        ["<b>Sky</b>", "0.500", "0.125"],
        ["Road", "0.250", "0.000"],
    ]
    lengths = [re.search(r"/ ([\d.]+)%", cell.get("style"))[1] for cell in root.iter("td")]
    assert [float(length) for length in lengths] == [50.0, 12.5, 25.0, 0.0]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"x": 3, "y": 4, "turn": 1}, Point(3, 4)),
        ({"x": 3.0, "y": 4.9}, Point(3, 4)),
        ({"x": -5, "y": 10**30}, Point(0, 89)),
        ({"x": float("nan"), "y": 1}, None),
        ({"x": float("inf"), "y": 1}, None),
        ({"x": "3", "y": 4}, None),
        ({"x": True, "y": 4}, None),
        ({"y": 4}, None),
        ([3, 4], None),
        (None, None),
    ],
)
def test_what_the_viewer_sends_is_not_trusted(sent, expected):
    assert read_point(sent, (90, 150)) == expected


def test_clamping_and_the_first_point(shown, regions):
    assert clamped(1000, -3, (90, 150)) == Point(149, 0)
    point = default_point(shown, regions)
    things = {c.id for c in shown.classes if c.thing}
    areas = [
        area if class_id in things else 0
        for area, class_id in zip(regions.regions.area_px, regions.regions.class_id, strict=True)
    ]
    assert region_at(regions, point) == int(np.argmax(areas)) + 1
