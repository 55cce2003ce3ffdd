"""The page "Explore" in a real browser: tiles, probe, links, keyboard, downloads, uploads."""

import io
import json
import os
import re
import time
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from gsto_viz.calibrate import calibrate
from gsto_viz.data import CAMVID_CLASSES
from gsto_viz.data.scenes import SceneDataset
from gsto_viz.explorer.checkpoints import SHIPPED_PAIR
from gsto_viz.models import ModelInfo, build_model, load_model, save_checkpoint
from gsto_viz.network import open_network
from gsto_viz.torch_utils import image_to_tensor

pytestmark = pytest.mark.browser

STRIDES = (4, 8, 16, 32)
TILE = "canvas[data-tile={}]"


@pytest.fixture(scope="module")
def networks():
    return {letter: load_model(name) for letter, name in zip("AB", SHIPPED_PAIR, strict=True)}


@pytest.fixture(scope="module")
def shown(networks):
    """Scene 0 through the shipped pair, run here."""
    sample = SceneDataset(count=1, seed=0, split="eval")[0]
    return sample, {x: open_network(model).look(sample.image) for x, model in networks.items()}


def probe_of(page) -> tuple[int, int]:
    # An input of the view before can stand beside its successor for a moment.
    x, y = (page.locator(f"input[aria-label^='{name} (']").last.input_value() for name in "xy")
    return int(x), int(y)


def wait_for_probe(page, expected: tuple[int, int]) -> None:
    page.wait_for_function(
        "([x, y]) => document.querySelector(\"input[aria-label^='x (']\")?.value === String(x)"
        " && document.querySelector(\"input[aria-label^='y (']\")?.value === String(y)",
        arg=list(expected),
        timeout=30_000,
    )
    page.settle()


def read_regions(page) -> None:
    """Let clicks read regions."""
    page.get_by_role("button", name="More", exact=True).click()
    page.get_by_text("Region", exact=True).click()
    page.settle()
    page.keyboard.press("Escape")


def table_of(page) -> list[list[str]]:
    """The cells of the probe's table."""
    table = page.locator("table").filter(has_text="stride (px)")
    rows = table.locator("tbody tr").all()
    return [row.locator("td").all_inner_texts() for row in rows]


def reading(page, tile: str) -> str:
    return page.locator(f"figure:has({TILE.format(tile)}) .reading").inner_text()


def pixels(page, tile: str) -> np.ndarray:
    """The drawn pixels of a tile."""
    flat = page.locator(TILE.format(tile)).evaluate(
        "c => [c.width, c.height, ...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    )
    return np.array(flat[2:], dtype=np.uint8).reshape(flat[1], flat[0], 4)[..., :3]


def rank(values: np.ndarray, row: int, column: int) -> float:
    value = values[row, column]
    return float(((values < value).sum() + ((values == value).sum()) / 2) / values.size)


def test_the_first_screen_has_an_answer(served, visit):
    page = visit(served.url)
    assert page.locator("[data-testid=stException]").count() == 0
    assert page.locator("canvas[role=img]").count() == 15
    assert page.problems == []
    for tile in ("input", "truth", "A4", "B32"):
        assert pixels(page, tile).std() > 10
    assert len(table_of(page)) == 4


MAPS = ("answersA", "answersB", *(f"{letter}{stride}" for letter in "AB" for stride in STRIDES))
CAMVID = os.environ.get("GSTO_VIZ_CAMVID")
NO_CAMVID = pytest.mark.skipif(not CAMVID, reason="GSTO_VIZ_CAMVID names no folder")


@pytest.mark.parametrize("pair", ["scenes", pytest.param("camvid", marks=NO_CAMVID)])
def test_the_answer_is_inside_the_first_window(served, serve, visit, pair):
    words = ["--data", f"camvid:{CAMVID}:eval"] if pair == "camvid" else []
    names = (f"{pair}-{net}-w18-small-v1" for net in ("hrnetv2", "gsto-hrnet"))
    link = "a={}&b={}".format(*names) + ("&source=data" if words else "")
    host = serve(*words) if words else served
    page = visit(f"{host.url}/?{link}", viewport={"width": 1440, "height": 900})
    page.stand_still()
    inside = [page.locator(TILE.format(tile)) for tile in MAPS]
    inside += [page.locator(f".st-key-{key}") for key in ("toolbar", "verdict", "probe-panel")]
    for one in inside:
        box = one.bounding_box()
        assert box["y"] >= 50
        assert box["y"] + box["height"] <= 900
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 1440
    assert page.locator(".st-key-toolbar").bounding_box()["height"] <= 48
    probe, maps = inside[-1].bounding_box(), inside[-4].bounding_box()
    assert probe["x"] >= maps["x"] + maps["width"]


def test_on_a_phone_verdict_and_who_answers_come_first(served, visit):
    page = visit(served.url, viewport={"width": 420, "height": 900})
    page.stand_still()
    verdict = page.locator(".st-key-verdict").bounding_box()
    for letter in "AB":
        answers = page.locator(TILE.format(f"answers{letter}")).bounding_box()
        assert verdict["y"] < answers["y"]
        assert answers["y"] + answers["height"] <= 900
        assert answers["y"] < page.locator(TILE.format("input")).bounding_box()["y"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 420


def test_a_click_on_any_tile_probes_the_same_pixel(served, visit, shown):
    page = visit(served.url)
    _, inspections = shown
    wanted = [("input", 70, 90), ("truth", 300, 200), ("predictionB", 15, 250), ("A4", 400, 30)]
    wanted += [("A32", 260, 131), ("B8", 511, 0), ("B16", 77, 143)]
    for tile, x, y in wanted:
        page.locator(TILE.format(tile)).click(position=page.at_pixel(tile, x, y))
        wait_for_probe(page, (x, y))
        for cells, (r, stride) in zip(table_of(page), enumerate(STRIDES), strict=True):
            assert cells[0] == f"/{stride}"
            for letter, place in (("A", 1), ("B", 4)):
                row, column = y // stride, x // stride
                activity = inspections[letter].activity[r].astype(np.float64)
                raw = inspections[letter].raw[r][row, column]
                assert float(cells[place]) == pytest.approx(rank(activity, row, column), abs=2e-3)
                assert float(cells[place + 1]) == pytest.approx(float(raw), rel=2e-3)
    assert page.problems == []


def test_the_chart_says_what_the_table_says(served, visit):
    page = visit(served.url)
    marks = page.locator("[data-testid=stVegaLiteChart]").first.locator("path[aria-label]")
    for x, y in ((70, 90), (300, 200)):
        page.locator(TILE.format("A4")).click(position=page.at_pixel("A4", x, y))
        wait_for_probe(page, (x, y))
        page.settle(300)
        labels = marks.evaluate_all("marks => marks.map(m => m.getAttribute('aria-label'))")
        said = [dict(part.split(": ") for part in label.split("; ")) for label in labels]
        drawn = {
            (mark["network"], mark["stride of the branch (px)"]): float(mark["percentile"])
            for mark in said
        }
        for stride, a, _, _, b, *_ in table_of(page):
            assert drawn.pop(("A", stride[1:])) == pytest.approx(float(a), abs=6e-4)
            assert drawn.pop(("B", stride[1:])) == pytest.approx(float(b), abs=6e-4)
        assert drawn == {}


def test_hovering_reads_every_tile_without_the_server(served, visit, shown):
    page = visit(served.url)
    sample, inspections = shown
    sent = []
    page.on("websocket", lambda socket: socket.on("framesent", sent.append))
    x, y = 333, 222
    page.locator(TILE.format("B8")).hover(position=page.at_pixel("B8", x, y))
    page.wait_for_timeout(300)
    red, green, blue = sample.image[y, x]
    assert reading(page, "input") == f"RGB {red}, {green}, {blue}"
    for r, stride in enumerate(STRIDES):
        for letter in "AB":
            text = reading(page, f"{letter}{stride}")
            raw = float(inspections[letter].raw[r][y // stride, x // stride])
            assert float(text.split("raw ")[1]) == pytest.approx(raw, rel=1e-3)
    assert sent == []


def test_zoom_outlives_a_change_of_colours_and_of_networks(served, visit):
    page = visit(served.url)
    before = pixels(page, "A4")
    page.get_by_role("button", name="Zoom in").click()
    page.wait_for_timeout(200)
    zoomed = pixels(page, "A4")
    assert (before != zoomed).mean() > 0.3
    page.get_by_label("Colours").click()
    page.get_by_role("option", name="gray").click()
    page.settle()
    page.wait_for_timeout(300)
    assert "zoom 1.5" in page.locator(".status").inner_text()
    grey = pixels(page, "A4").astype(int)
    assert np.abs(grey.max(axis=2) - grey.min(axis=2)).mean() < 1
    # Grey levels follow the same places: bright stays bright.
    assert np.corrcoef(zoomed.mean(axis=2).ravel(), grey.mean(axis=2).ravel())[0, 1] > 0.9
    page.get_by_role("button", name="Reset view").click()
    page.wait_for_timeout(200)
    assert "zoom" not in page.locator(".status").inner_text()


def test_a_link_opens_the_same_view_in_another_browser(served, visit):
    page = visit(served.url)
    page.get_by_label("Scale of the maps").click()
    page.get_by_role("option", name="Per map (paper)").click()
    page.settle()
    read_regions(page)
    page.locator(TILE.format("input")).click(position=page.at_pixel("input", 123, 210))
    wait_for_probe(page, (123, 210))
    page.wait_for_function("() => location.search.includes('x=123')")
    page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="Zoom in").click()
    tile = page.locator(TILE.format("B8"))
    tile.scroll_into_view_if_needed()
    box = tile.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 60, box["y"] + 20, steps=5)
    page.mouse.up()
    # The address may hold the zoom before it holds where it was dragged to.
    page.wait_for_function(
        """() => {
            const zoom = new URLSearchParams(location.search).get("zoom");
            if (!zoom) return false;
            const { view } = window.gstoVizZoom;
            const shown = [view.zoom, view.left / 512, view.top / 256];
            return zoom.split(",").every((part, k) => Math.abs(part - shown[k]) < 1e-3);
        }"""
    )
    assert "zoom=2.25" in page.url
    page.settle()
    page.mouse.move(0, 0)
    page.wait_for_timeout(200)
    other = visit(page.url)
    assert other.url == page.url
    assert probe_of(other) == (123, 210)
    assert table_of(other) == table_of(page)
    for tile in ("A16", "input"):
        np.testing.assert_array_equal(pixels(other, tile), pixels(page, tile))
    assert "arbitrary" in other.locator(".badge").first.inner_text()
    assert other.locator(".status").inner_text() == "x 123, y 210, zoom 2.3"
    # A page keeps the zoom, and "Reset view" takes it out of the address again.
    other.get_by_role("link", name="Gates").click()
    other.wait_for_function(
        "() => location.pathname === '/gates' && location.search.includes('zoom=2.25')"
    )
    other.settle()
    other.locator(".status", has_text="zoom 2.3").wait_for(timeout=60_000)
    other.get_by_role("button", name="Reset view").click()
    other.wait_for_function("() => !location.search.includes('zoom')")


def test_the_probe_moves_by_keyboard(served, visit):
    page = visit(served.url + "/?x=100&y=100")
    page.locator(TILE.format("A32")).focus()
    page.keyboard.press("ArrowRight")
    wait_for_probe(page, (132, 100))
    page.keyboard.press("ArrowUp")
    wait_for_probe(page, (132, 68))
    for _ in range(4):
        page.keyboard.press("ArrowUp")
    wait_for_probe(page, (132, 0))
    label = page.locator(TILE.format("A32")).get_attribute("aria-label")
    assert re.match(r"A /32 at x 132, y 0: rank \d+\.\d %, raw \d", label)
    page.locator("input[aria-label^='x (']").fill("7")
    page.keyboard.press("Enter")
    wait_for_probe(page, (7, 0))
    page.locator("canvas[data-tile=A4][aria-label*='x 7, y 0']").wait_for(timeout=30_000)


def test_of_many_quick_clicks_the_last_one_counts(served, visit):
    page = visit(served.url)
    for x in range(40, 440, 50):
        page.locator(TILE.format("B4")).click(position=page.at_pixel("B4", x, 77))
    wait_for_probe(page, (390, 77))
    page.wait_for_function("() => location.search.includes('x=390')")
    page.wait_for_timeout(1000)
    assert probe_of(page) == (390, 77)


def test_downloads_hold_what_the_page_shows(served, visit):
    page = visit(served.url + "/?scene=3")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Table (CSV)").click()
    table = pd.read_csv(waiting.value.path())
    assert set(table["model"]) == {"A", "B"}
    assert set(table["stride (px)"]) == set(STRIDES)
    assert table["mean percentile (0..1)"].between(0, 1).all()


def test_the_archive_holds_every_number(served, visit, shown):
    page = visit(served.url)
    page.get_by_role("button", name="Export").click()
    with page.expect_download(timeout=120_000) as waiting:
        page.get_by_role("button", name="Everything").click()
    _, inspections = shown
    assert re.fullmatch(r"[A-Za-z0-9._-]+\.zip", waiting.value.suggested_filename)
    with zipfile.ZipFile(waiting.value.path()) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert {name.rsplit(".", 1)[1] for name in names} >= {"png", "svg", "pdf", "csv", "npz"}
        view = json.loads(archive.read(next(n for n in names if n.endswith(".json"))))
        maps = np.load(io.BytesIO(archive.read(next(n for n in names if n.endswith(".npz")))))
        pdf = archive.read(next(n for n in names if n.endswith(".pdf")))
    assert pdf.startswith(b"%PDF")
    assert view
    sizes = {array.shape for array in (maps[name] for name in maps.files)}
    assert {raw.shape for raw in inspections["A"].raw} <= sizes


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


def test_uploads_good_and_bad(served, visit):
    page = visit(served.url + "/?source=upload", wait="[data-testid=stFileUploader]")
    noise = np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    uploader = page.locator("input[type=file]")
    name = "<img src=x onerror=alert(1)> $x$ [a](b).png"
    uploader.set_input_files({"name": name, "mimeType": "image/png", "buffer": png(noise)})
    page.locator("canvas[role=img]").first.wait_for(timeout=60_000)
    page.settle()
    assert page.get_by_text(f"Shown: {name}").count() == 1
    box = page.locator(TILE.format("input")).bounding_box()
    assert box["width"] / box["height"] == pytest.approx(160 / 96, rel=0.02)
    bad = {"name": "x.png", "mimeType": "image/png", "buffer": b"GIF89a" + bytes(100)}
    uploader.set_input_files(bad)
    page.locator("[data-testid=stAlert]").filter(has_text="PNG").wait_for(timeout=60_000)
    assert page.locator("[data-testid=stException]").count() == 0
    assert page.problems == []


@pytest.mark.parametrize(
    "query",
    [
        "?y=abc",
        "?x=1e9&y=-5",
        "?x=99999&y=99999",
        "?scene=" + "9" * 2000,
        "?a=../../../etc/passwd&b=%00",
        "?mode=<script>alert(1)</script>&colors=javascript:alert(1)",
        "?image=/etc/passwd&source=data",
        "?pick=region&difference=1&opacity=0.5&px=3&py=4",
    ],
)
def test_bad_links_change_nothing_but_are_said(served, visit, query):
    page = visit(f"{served.url}/{query}")
    assert page.locator("[data-testid=stException]").count() == 0
    assert page.locator("canvas[role=img]").count() >= 13
    text = page.inner_text("body")
    assert not any(word in text for word in ("passwd", "alert(", "999999"))
    if query != "?pick=region&difference=1&opacity=0.5&px=3&py=4":
        assert page.locator("[data-testid=stAlert]").filter(has_text="left out").count() >= 1
    assert page.problems == []


def test_the_first_page_answers_to_its_name(served, visit):
    page = visit(f"{served.url}/explore?scene=5&x=30&y=40")
    assert page.locator("[role=dialog]").count() == 0
    assert page.locator("[data-testid=stAlert]").count() == 0
    assert probe_of(page) == (30, 40)
    assert "scene=5" in page.url
    assert page.locator("h1").inner_text() == "Which branch answers for which object?"


def test_the_legend_names_the_classes_that_are_there(served, visit, shown):
    page = visit(served.url)
    sample, inspections = shown
    there = set(np.unique(sample.labels)) | set(np.unique(inspections["A"].prediction))
    there |= set(np.unique(inspections["B"].prediction))
    names = [c.name for c in CAMVID_CLASSES if c.id in there]
    legend = page.locator(".legend").first.locator("li").all_inner_texts()
    ignored = ["ignored"] if (sample.labels == 255).any() else []
    assert [text.strip() for text in legend] == [*names, *ignored]
    right = page.locator(".legend").last.locator("li").all_inner_texts()
    assert {text.strip() for text in right} >= {"both right", "only A right", "only B right"}


@pytest.fixture(scope="module")
def related(tmp_path_factory):
    """The folder of an RSP with random weights, and what each pixel of scene 0 listens to."""
    images = SceneDataset(count=1, seed=0, split="eval"), SceneDataset(count=2, seed=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model("rsp-tiny", num_classes=11).eval()
        for relation in model.head.relations:
            for embedding in (relation.rows, relation.columns):
                torch.nn.init.normal_(embedding, std=2.0)
        gains = calibrate(model, [image_to_tensor(one.image) for one in images[1]])
    folder = tmp_path_factory.mktemp("related")
    info = ModelInfo(name="related", network="rsp-tiny", classes=CAMVID_CLASSES, gains=gains)
    save_checkpoint(model, folder / "related.safetensors", info=info)
    network = open_network(folder / "related.safetensors")
    return folder, network.look(images[0][0].image, relations=True).relations


def test_a_click_shows_the_cells_that_the_pixel_listens_to(serve, visit, related):
    folder, relations = related
    link = f"a=related.safetensors&b={SHIPPED_PAIR[0]}&scene=0"
    page = visit(f"{serve('--checkpoints', str(folder)).url}/?{link}")
    # The last row of cells of 32 px: below them there is nothing.
    x, y = 300, 250
    page.locator(TILE.format("heardA")).click(position=page.at_pixel("heardA", x, y))
    wait_for_probe(page, (x, y))
    expected = relations["pyramid.relation[3->2]"][:, :, y // 16, x // 16].mean(axis=0)
    table = page.locator("table.heard")
    assert table.locator("caption").inner_text() == "A: /32 → /16, mean of 4 heads (%)"
    cells = table.locator("td").all_inner_texts()
    assert cells[6:] == ["-", "-", "-"]
    shares = np.array([float(cell) for cell in cells[:6]])
    np.testing.assert_allclose(shares, 100 * expected[:6], atol=0.11)
    assert shares.sum() == pytest.approx(100, abs=0.3)
    # On the image the same cells have the same weights, and a cell beside them has none.
    for number, column in enumerate((x // 32 - 1, x // 32, x // 32 + 1)):
        for k, row in enumerate((y // 32 - 1, y // 32)):
            place = page.at_pixel("heardA", 32 * column + 5, 32 * row + 5)
            page.locator(TILE.format("heardA")).hover(position=place)
            share = expected[3 * k + number]
            page.wait_for_function(
                "([tile, share]) => Math.abs(parseFloat(tile.closest('figure')"
                ".querySelector('.reading').textContent) - share) < 0.11",
                arg=[page.locator(TILE.format("heardA")).element_handle(), 100 * float(share)],
                timeout=10_000,
            )
    page.locator(TILE.format("heardA")).hover(position=page.at_pixel("heardA", 20, 20))
    page.wait_for_timeout(200)
    assert reading(page, "heardA") == ""
    assert page.locator(TILE.format("heardB")).count() == 0
    assert page.problems == []


def test_nothing_is_asked_of_any_other_computer(served, visit):
    page = visit(served.url)
    read_regions(page)
    page.wait_for_timeout(1000)
    outside = [url for url in page.requests_made if not url.startswith(served.url)]
    assert [url for url in outside if not url.startswith(("data:", "blob:"))] == []


def test_the_page_recovers_when_the_server_restarts(serve, visit):
    own = serve()
    page = visit(own.url)
    own.stop()
    page.wait_for_timeout(1500)
    own.start()
    page.locator("canvas[role=img]").first.wait_for(timeout=60_000)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        page.locator(TILE.format("input")).click(position=page.at_pixel("input", 50, 60))
        page.wait_for_timeout(1000)
        if probe_of(page) == (50, 60):
            break
    page.settle()
    assert probe_of(page) == (50, 60)
    assert page.locator("[data-testid=stException]").count() == 0
    own.stop()


def test_many_images_at_once_do_not_mix(served, visit):
    """Eight sessions, each with a scene of its own, read what they read alone."""
    scenes = range(100, 108)
    links = [f"{served.url}/?scene={scene}&x=200&y=150" for scene in scenes]
    alone = []
    for link in links[:2]:
        page = visit(link)
        alone.append(table_of(page))
        page.context.close()
    pages = [visit(f"{served.url}/?scene=0", wait=None) for _ in links]
    for page, link in zip(pages, links, strict=True):
        page.evaluate("link => { location.href = link }", link)
    tables = []
    for page in pages:
        page.locator("canvas[role=img]").first.wait_for(timeout=120_000)
        page.settle()
        tables.append(table_of(page))
    assert tables[:2] == alone
    assert len({json.dumps(table) for table in tables}) == len(tables)
    for page, table in zip(reversed(pages), reversed(tables), strict=True):
        page.reload()
        page.locator("canvas[role=img]").first.wait_for(timeout=60_000)
        page.settle()
        assert table_of(page) == table
