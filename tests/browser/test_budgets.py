"""How long a user waits, how much travels and how much memory it takes: printed, held at 3 x."""

import time

import pytest

pytestmark = pytest.mark.browser

BUDGETS_S = {
    "server healthy": 2.0,
    "first view, cold": 5.0,
    "first view, warm": 2.0,
    "click to profile, median": 0.25,
    "click to profile, 95 %": 0.5,
    "colour change": 0.3,
}
CLICK_BYTES = 10_000
MEMORY_MIB = 2048
SLACK = 3


@pytest.fixture(scope="module")
def fresh(serve):
    """An explorer that nobody has opened yet."""
    return serve()


def held(name: str, seconds: float, capsys: pytest.CaptureFixture[str]) -> None:
    budget = BUDGETS_S[name]
    with capsys.disabled():
        print(f"\n{name}: {seconds:.2f} s (budget {budget:g} s)", end="")
    assert seconds <= SLACK * budget, f"{name} took {seconds:.2f} s, budget {budget:g} s"


def open_until_profile(visit, url: str) -> float:
    """Seconds from asking for the page to the probe's profile standing there."""
    page = visit(url, wait="table:has-text('stride (px)')")
    seconds = page.shown_at - page.asked_at
    page.context.close()
    return seconds


def press(page, locator, x: float | None = None, y: float | None = None) -> float:
    """Press the mouse where it already points; return when it was pressed."""
    box = locator.bounding_box()
    left = box["width"] / 2 if x is None else x
    top = box["height"] / 2 if y is None else y
    page.mouse.move(box["x"] + left, box["y"] + top)
    begun = time.monotonic()
    page.mouse.down()
    page.mouse.up()
    return begun


def test_start_and_first_view(fresh, visit, capsys):
    held("server healthy", fresh.healthy_s, capsys)
    held("first view, cold", open_until_profile(visit, fresh.url), capsys)
    held("first view, warm", open_until_profile(visit, fresh.url), capsys)


def test_click_and_colours(fresh, visit, capsys):
    page = visit(fresh.url)
    received: list[int] = []
    page.on("websocket", lambda ws: ws.on("framereceived", lambda data: received.append(len(data))))
    page.reload()
    page.locator("canvas[role=img]").first.wait_for(timeout=60_000)
    page.locator("table").filter(has_text="stride (px)").wait_for(timeout=60_000)
    page.wait_for_timeout(3000)
    received.clear()
    times = []
    tile = page.locator("canvas[data-tile=A4]")
    for k in range(20):
        before = page.locator("table").filter(has_text="stride (px)").inner_text()
        begun = press(page, tile, 20 + 9 * k, 15 + 4 * k)
        page.wait_for_function(
            "before => { const table = [...document.querySelectorAll('table')]"
            ".find(t => t.innerText.includes('stride (px)'));"
            " return table && table.innerText !== before; }",
            arg=before,
            polling=10,
        )
        times.append(time.monotonic() - begun)
        page.wait_for_timeout(250)
    page.wait_for_timeout(2000)
    size = sum(received) / len(times)
    times.sort()
    held("click to profile, median", times[len(times) // 2], capsys)
    held("click to profile, 95 %", times[-2], capsys)
    with capsys.disabled():
        print(f"\nbytes for one click: {size:.0f} (budget {CLICK_BYTES})", end="")
    assert size < CLICK_BYTES
    page.get_by_label("Colours").click()
    option = page.get_by_role("option", name="gray")
    option.wait_for()
    begun = press(page, option)
    page.wait_for_function(
        "c => { const p = c.getContext('2d').getImageData(60, 40, 1, 1).data;"
        " return Math.max(p[0], p[1], p[2]) - Math.min(p[0], p[1], p[2]) <= 1; }",
        arg=tile.element_handle(),
        polling=10,
    )
    held("colour change", time.monotonic() - begun, capsys)


def test_memory_stays_bounded(fresh, visit, capsys):
    page = visit(fresh.url + "/?scene=500")
    page.locator(".st-key-image_menu button").first.click()
    for scene in range(501, 550):
        box = page.get_by_label("Scene", exact=True)
        box.fill(str(scene))
        box.press("Enter")
        page.wait_for_function("s => location.search.includes('scene=' + s)", arg=str(scene))
    page.wait_for_timeout(1000)
    used = fresh.memory_mib()
    with capsys.disabled():
        print(f"\nmemory after 50 images: {used:.0f} MiB (budget {MEMORY_MIB})", end="")
    assert used < MEMORY_MIB
