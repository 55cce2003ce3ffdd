"""Clicks on the pages "Gates" and "Scale probe" in a real browser."""

from urllib.parse import parse_qs, urlsplit

import pytest

from gsto_viz.data.scenes import SceneDataset
from gsto_viz.explorer.checkpoints import SHIPPED_PAIR
from gsto_viz.network import open_network

pytestmark = pytest.mark.browser

GATE = "stage3.m0.gate[0->1]"
TILE = "canvas[data-tile='{}']"


def wait_for_address(page, **expected: str) -> None:
    page.wait_for_function(
        "expected => Object.entries(expected).every("
        "([key, value]) => new URLSearchParams(location.search).get(key) === value)",
        arg=expected,
        timeout=60_000,
    )


def test_a_click_chooses_a_gate_and_holding_it_adds_tiles(served, visit):
    page = visit(f"{served.url}/gates?scene=0")
    tile = f"gate-B-{GATE}"
    page.locator(TILE.format(tile)).click(position=page.at_pixel(tile, 300, 200))
    wait_for_address(page, gate=GATE, x="300", y="200")
    page.wait_for_selector(f"figure.chosen {TILE.format(tile)}")
    # The tile of A's gate of that name does not exist: A has none.
    assert page.locator("figure.chosen").count() == 1
    image = SceneDataset(count=1, seed=0, split="eval")[0].image
    gate = open_network(SHIPPED_PAIR[1]).look(image).gates[GATE][200 // 4, 300 // 4]
    # Away from the tiles they read the probe.
    page.mouse.move(0, 0)
    reading = page.locator(f"figure:has({TILE.format(tile)}) .reading")
    reading.filter(has_text=f"{float(gate):.3f}"[:4]).wait_for(timeout=30_000)
    assert float(reading.inner_text()) == pytest.approx(float(gate), abs=2e-4)
    page.get_by_text("Hold at").click()
    page.wait_for_selector(TILE.format("changed"))
    wait_for_address(page, force="1")
    assert page.get_by_text("of the pixels get another class").count() == 1
    assert page.problems == []


def test_a_cell_of_the_matrix_chooses_its_transfer(served, visit):
    page = visit(f"{served.url}/gates?scene=0")
    chart = page.locator("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg")
    box = chart.first.bounding_box()
    # Second column of the last of four rows; the legend is below them.
    page.mouse.click(box["x"] + 0.37 * box["width"], box["y"] + 0.6 * box["height"])
    wait_for_address(page, gate="stage4.m0.gate[3->1]")
    page.get_by_text("/32 → /8, stage 4, module 0").first.wait_for()
    assert page.problems == []


def test_tiles_of_a_fusion_stand_in_rows_of_sources_and_columns_of_targets(served, visit):
    page = visit(f"{served.url}/gates?scene=0")
    boxes = {
        (i, j): page.locator(TILE.format(f"gate-B-stage4.m0.gate[{i}->{j}]")).bounding_box()
        for i in range(4)
        for j in range(4)
    }
    for i in range(4):
        for j in range(4):
            assert boxes[i, j]["x"] == pytest.approx(boxes[0, j]["x"], abs=1)
            assert boxes[i, j]["y"] == pytest.approx(boxes[i, 0]["y"], abs=1)
    assert [boxes[0, j]["x"] for j in range(4)] == sorted({boxes[0, j]["x"] for j in range(4)})
    assert [boxes[i, 0]["y"] for i in range(4)] == sorted({boxes[i, 0]["y"] for i in range(4)})


def test_sizes_are_played_and_fill_no_history(served, visit):
    page = visit(f"{served.url}/scale-probe?side=64")
    wait_for_address(page, curves="1")
    before = page.evaluate("history.length")
    page.get_by_role("button", name="Play the sizes").click()
    page.get_by_role("button", name="Stop").wait_for(timeout=30_000)
    for side in (91, 152, 256):
        page.get_by_text(f"{side} px", exact=True).first.wait_for(timeout=30_000)
    wait_for_address(page, side="256")
    page.get_by_role("button", name="Play the sizes").wait_for(timeout=30_000)
    assert page.evaluate("history.length") <= before + 1
    assert page.problems == []


def test_a_click_moves_the_object(served, visit):
    page = visit(f"{served.url}/scale-probe?side=64")
    page.locator(TILE.format("input")).click(position=page.at_pixel("input", 128, 192))
    wait_for_address(page, ox="0.25", oy="0.75")
    page.wait_for_function(
        "() => [...document.querySelectorAll('input')].some(i => i.value === '192')"
    )
    # The new image is drawn where the click was: the mark lies on the object.
    reading = page.locator(f"figure:has({TILE.format('truth')}) .reading")
    reading.filter(has_text="Car").wait_for(timeout=30_000)
    assert parse_qs(urlsplit(page.url).query)["object"] == ["Car"]
    assert page.problems == []
