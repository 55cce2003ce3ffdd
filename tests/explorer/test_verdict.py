"""The verdict line: pairs counted by loops, and what it says of many images."""

import json
import math

import numpy as np
import pytest

from gsto_viz.explorer.shown import cut_regions
from gsto_viz.explorer.values.probe import center_of, image_objects, region_numbers, zoom_to
from gsto_viz.explorer.values.verdict import (
    find_ordered,
    image_verdict,
    many_verdict,
    ordered_of,
    pair_shares,
    shipped_path,
)

A, B = "a" * 64, "b" * 64


@pytest.fixture(scope="module")
def counted(made_up):
    """A view, its regions, their q, and the table of objects."""
    shown = made_up()
    regions = cut_regions(shown)
    numbers = region_numbers(shown, regions)
    return shown, regions, numbers, image_objects(shown, regions, numbers)


def test_pairs_are_those_of_a_literal_loop(counted):
    _, regions, numbers, objects = counted
    found = regions.regions
    count = len(found.area_px)
    pairs, wrong = np.zeros(count), {x: np.zeros(count) for x in "AB"}
    for i in range(count):
        for j in range(count):
            q = [numbers[x]["q"][k] for x in "AB" for k in (i, j)]
            usable = found.qualifies[i] and found.qualifies[j] and np.isfinite(q).all()
            if not usable or found.area_px[i] < 4 * found.area_px[j]:
                continue
            for k in (i, j):
                pairs[k] += 1
                for x in "AB":
                    gain = numbers[x]["q"][i] - numbers[x]["q"][j]
                    wrong[x][k] += 1 if gain < -1e-9 else 0.5 if gain <= 1e-9 else 0
    assert pairs.sum() > 0
    assert objects["pairs"].tolist() == pairs.tolist()
    for x in "AB":
        assert objects[f"wrong_{x}"].tolist() == wrong[x].tolist()
    total, shares = pair_shares(objects)
    assert total == pairs.sum() / 2
    assert shares["A"] == pytest.approx(1 - wrong["A"].sum() / pairs.sum())


def test_recall_counts_the_pixels_of_each_object(counted):
    shown, regions, _, objects = counted
    for row in objects.to_dict("records"):
        inside = regions.regions.ids == row["number"]
        named = shown.classes.names.index(row["class"])
        right = sum(int(p) == named for p in shown.inspections["B"].prediction[inside])
        assert row["recall_B"] == pytest.approx(right / inside.sum())


def test_the_center_is_deepest_and_the_zoom_holds_the_object(counted):
    _, regions, _, objects = counted
    height, width = regions.regions.ids.shape
    for number in objects["number"]:
        point = center_of(regions, number)
        assert regions.regions.ids[point.y, point.x] == number
        rows, columns = np.nonzero(regions.regions.ids == number)
        factor, left, top = map(float, (zoom_to(regions, number) or "1,0,0").split(","))
        assert left * width <= columns.min() + 0.1
        assert (left + 1 / factor) * width >= columns.max() + 0.9
        assert top * height <= rows.min() + 0.1
        assert (top + 1 / factor) * height >= rows.max() + 0.9


def test_few_pairs_are_too_few_to_say(counted):
    *_, objects = counted
    some = objects.assign(pairs=0, wrong_A=0.0, wrong_B=0.0)
    assert "0 object pairs" in image_verdict(some)
    assert "too few to say" in image_verdict(some)
    many = some.copy()
    many.loc[[0, 1], ["pairs", "wrong_A", "wrong_B"]] = [20, 5.0, 0.0]
    assert "A orders **75 %** of 20 object pairs by size, B **100 %**" in image_verdict(many)


def folder_of(tmp_path, sci, ends, shas=(A, B)):
    models = {
        x: {"sha256": sha, "indices": {"sci": {"value": value}}}
        for x, sha, value in zip("AB", shas, sci, strict=True)
    }
    row = {"index": "sci", **dict(zip(("difference", "low", "high"), ends, strict=True))}
    comparison = {x.lower(): {"sha256": sha} for x, sha in zip("AB", shas, strict=True)}
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "summary.json").write_text(json.dumps({"images": 24, "models": models}))
    (tmp_path / "comparison.json").write_text(json.dumps({**comparison, "indices": [row]}))
    return tmp_path


def test_an_analysis_at_hand_is_read_either_way_round(tmp_path):
    folder = folder_of(tmp_path, (0.52, 0.32), (-0.2, -0.26, -0.14))
    found = find_ordered({"A": A, "B": B}, [("runs/demo", folder)])
    assert many_verdict(found) == (
        "Over the 24 images of runs/demo: 48 and 68 %, difference 20 points [14, 26]. "
        "One image is an example."
    )
    turned = find_ordered({"A": B, "B": A}, [("runs/demo", folder)])
    assert "68 and 48 %, difference -20 points [-26, -14]" in many_verdict(turned)
    assert find_ordered({"A": A, "B": "c" * 64}, [("runs/demo", folder)]) is None


@pytest.mark.parametrize("damage", ["[]", "{", '{"images": 3, "models": {"A": 7}}', "null", "\0"])
def test_a_damaged_analysis_says_nothing(tmp_path, damage):
    folder = folder_of(tmp_path, (0.5, 0.5), (0.0, -0.1, 0.1))
    (folder / "comparison.json").write_text(damage)
    without = find_ordered({"A": A, "B": B}, [("x", folder)])
    assert without is None or without.difference is None
    (folder / "summary.json").write_text(damage)
    assert find_ordered({"A": A, "B": B}, [("x", folder)]) is None
    assert "no analysis of these two" in many_verdict(None)


def test_the_shipped_summary_is_of_the_shipped_pair():
    shipped = json.loads(shipped_path().read_text())
    assert shipped["images"] == 32
    a, b, value, low, high = shipped["pair"]
    assert set(shipped["shares"]) == {a, b}
    assert low < value < high
    assert math.isclose(value, shipped["shares"][b] - shipped["shares"][a], abs_tol=1e-9)
    assert ordered_of({}, None, "x") is None
