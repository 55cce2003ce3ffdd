"""The page "Sizes" in a real browser: a box lists regions, a row finds one, a link opens it."""

import re
import shutil

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.browser

CHART = "[data-testid=stVegaLiteChart] canvas"


@pytest.fixture(scope="module")
def with_runs(serve, analysis):
    """An explorer with an analysis called ``run`` whose images are open as data."""
    return serve("--runs", str(analysis.folder.parent), "--data", analysis.data)


def draw_box(page, chart: int) -> None:
    """Draw a box over the right half of a chart."""
    place = page.locator(CHART).nth(chart).bounding_box()
    left, top = place["x"], place["y"]
    page.mouse.move(left + 0.5 * place["width"], top + 0.05 * place["height"])
    page.mouse.down()
    page.mouse.move(left + 0.98 * place["width"], top + 0.7 * place["height"], steps=5)
    page.mouse.up()
    page.settle(300)


def count_in_box(page) -> int:
    text = page.get_by_text(re.compile(r"regions? in the box")).first.inner_text()
    return int(text.split()[0])


def test_a_box_lists_regions_and_a_row_opens_one(with_runs, visit):
    page = visit(f"{with_runs.url}/sizes?run=run", wait=CHART)
    draw_box(page, 0)
    one = count_in_box(page)
    draw_box(page, 1)
    both = count_in_box(page)
    assert 0 < both <= one
    page.wait_for_function("() => location.search.includes('box_b')")
    other = visit(page.url, wait=CHART)
    assert count_in_box(other) == both
    assert other.url == page.url
    # A's is there to be moved; what nobody has moved can be taken away.
    draw_box(other, 0)
    other.wait_for_function("old => location.href !== old", arg=page.url)
    moved = count_in_box(other)
    other.get_by_role("button", name="Take the link's boxes away").click()
    other.wait_for_function("() => !location.search.includes('box_b')")
    other.settle()
    assert count_in_box(other) >= moved
    assert "box_a" in other.url
    assert other.get_by_role("button", name="Take the link's boxes away").count() == 0
    table = page.locator("[data-testid=stDataFrame] canvas").first.bounding_box()
    page.mouse.click(table["x"] + 15, table["y"] + 55)
    page.settle(300)
    page.get_by_text("Outlined: region").wait_for()
    number = page.get_by_text("Outlined: region").inner_text()
    assert re.search(r"Outlined: region \d+", number)
    link = page.get_by_role("link", name="Open in Explore")
    address = link.evaluate("a => a.href")
    # What is copied or opened in a new tab is Explore with the object, not this page.
    assert address.startswith(f"{with_runs.url}/?")
    assert "pick=region" in address
    link.click()
    page.wait_for_function("() => location.search.includes('pick=region')", timeout=60_000)
    page.settle(300)
    assert "source=data" in page.url
    assert page.locator("[data-testid=stException]").count() == 0
    assert page.problems == []


def test_panel_and_filters_travel_in_the_link(with_runs, visit):
    page = visit(f"{with_runs.url}/sizes?run=run&gap=2&size=inscribed", wait=CHART)
    page.get_by_role("tab", name="Null models").click()
    page.wait_for_function("() => location.search.includes('panel=nulls')", timeout=60_000)
    page.settle(300)
    values = page.locator("[data-testid=stMetricValue]").all_inner_texts()
    again = visit(page.url, wait="[data-testid=stMetricValue]")
    assert again.get_by_role("tab", name="Null models").get_attribute("aria-selected") == "true"
    assert again.locator("[data-testid=stMetricValue]").all_inner_texts() == values


def test_the_files_of_an_analysis_come_down(with_runs, visit, analysis, tmp_path):
    page = visit(f"{with_runs.url}/sizes?run=run", wait=CHART)
    page.get_by_role("button", name="Export").click()
    page.settle(300)
    with page.expect_download(timeout=120_000) as download:
        page.get_by_role("button", name="Regions (CSV)").click()
    download.value.save_as(tmp_path / "regions.csv")
    rows = pd.read_csv(tmp_path / "regions.csv")
    table = analysis.table("A")
    kept = table[table["qualifies"] & table["q"].notna()]
    found = rows.dropna(subset=["q_A"]).set_index(["image", "region"])["q_A"]
    expected = kept.set_index(["image", "region"])["q"]
    assert found.sort_index().equals(expected.sort_index().rename("q_A"))


@pytest.fixture(scope="module")
def hostile(serve, analysis, tmp_path_factory):
    """An explorer with an analysis whose images are called like pictures on another host."""
    folder = tmp_path_factory.mktemp("hostile") / "run"
    shutil.copytree(analysis.folder, folder)
    for path in folder.glob("*.parquet"):
        table = pq.read_table(path)
        if "image" in table.column_names:
            place = table.column_names.index("image")
            names = [f"//host/{name}.png" for name in table["image"].to_pylist()]
            column = pa.array(names).cast(table.schema.field("image").type)
            pq.write_table(table.set_column(place, "image", column), path)
    return serve("--runs", str(folder.parent))


def test_hovering_shows_a_name_and_asks_for_nothing(hostile, visit):
    page = visit(f"{hostile.url}/sizes?run=run", wait=CHART)
    page.stand_still()
    before = len(page.requests_made)
    place = page.locator(CHART).first.bounding_box()
    tip = page.locator("#vg-tooltip-element")
    found = ""
    for k in range(400):
        across, down = 0.15 + 0.8 * (k % 20) / 20, 0.05 + 0.75 * (k // 20) / 20
        page.mouse.move(place["x"] + across * place["width"], place["y"] + down * place["height"])
        if tip.count() and "visible" in str(tip.get_attribute("class")):
            found = tip.inner_text()
            break
    assert "//host/" in found
    page.wait_for_timeout(500)
    asked = page.requests_made[before:]
    assert not [url for url in asked if not url.startswith(hostile.url)]
    assert tip.locator("img").count() == 0


def test_the_gallery_opens_an_image_and_an_analysis_can_be_ended(serve, visit, tmp_path):
    served = serve("--runs", str(tmp_path), "--data", "scenes:count=30,seed=5,size=64x96")
    page = visit(f"{served.url}/sizes?source=data&panel=gallery", wait="a.pictured img")
    page.get_by_role("button", name="Analyze with A and B").click()
    page.get_by_text("Analyzing:").wait_for(timeout=60_000)
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("nothing of it is kept").wait_for(timeout=60_000)
    assert list(tmp_path.iterdir()) == []
    page.locator("a.pictured").nth(3).click()
    page.wait_for_function("() => location.search.includes('image=')", timeout=60_000)
    page.locator("canvas[role=img]").first.wait_for(timeout=60_000)
    assert page.problems == []
    # What still runs ends with the server.
    page = visit(f"{served.url}/sizes?source=data&panel=gallery", wait="a.pictured img")
    page.get_by_role("button", name="Analyze with A and B").click()
    page.get_by_text("Analyzing:").wait_for(timeout=60_000)
    served.stop()
    assert list(tmp_path.iterdir()) == []
