"""Every page in a real browser: it opens, stays within bounds, and keeps the view on the way."""

import time

import pytest

from gsto_viz.explorer.view_state import PAGES

pytestmark = pytest.mark.browser

PHONE = {"width": 420, "height": 2600}
TITLES = [page.title for page in PAGES.values()]
SWITCH_S = 1.0
SLACK = 3


def go_to(page, title: str) -> None:
    """Follow a link of the navigation and wait until the other page stands there."""
    slug = "" if title == TITLES[0] else title.lower().replace(" ", "-")
    there = page.url.split("?")[0].rsplit("/", 1)[1] == slug
    before = heading(page)
    page.get_by_role("link", name=title, exact=True).click()
    if not there:
        page.wait_for_function(
            "before => ![undefined, before].includes(document.querySelector('h1')?.innerText)",
            arg=before,
            timeout=120_000,
        )
    page.settle()


def heading(page) -> str:
    return page.locator("h1").first.inner_text()


def test_every_page_opens_from_every_other(served, visit, capsys):
    page = visit(served.url)
    headings = {}
    for title in (*TITLES, *reversed(TITLES)):
        go_to(page, title)
        assert page.locator("[data-testid=stException]").count() == 0, title
        assert headings.setdefault(title, heading(page)) == heading(page)
        wide = page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0, title
    assert len(set(headings.values())) == len(TITLES)
    outside = [url for url in page.requests_made if not url.startswith(served.url)]
    assert [url for url in outside if not url.startswith(("data:", "blob:"))] == []
    assert page.problems == []


def test_switching_pages_is_quick_once_they_were_open(served, visit, capsys):
    page = visit(served.url)
    for title in TITLES:
        go_to(page, title)
    for title in TITLES:
        before = heading(page)
        begun = time.monotonic()
        page.get_by_role("link", name=title, exact=True).click()
        page.wait_for_function(
            "before => ![undefined, before].includes(document.querySelector('h1')?.innerText)",
            arg=before,
        )
        seconds = time.monotonic() - begun
        page.settle()
        with capsys.disabled():
            print(f"\npage switch to {title}: {seconds:.2f} s (budget {SWITCH_S:g} s)", end="")
        assert seconds <= SLACK * SWITCH_S


def test_the_view_travels_along(served, visit):
    page = visit(f"{served.url}/?scene=7&x=300&y=180")
    go_to(page, "Gates")
    assert "scene=7" in page.url
    go_to(page, "Explore")
    page.wait_for_function("() => location.search.includes('x=300')")
    assert "scene=7" in page.url
    assert "y=180" in page.url


@pytest.mark.parametrize("title", TITLES)
@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (1440, "dark"), (420, "light")])
def test_screenshots(served, visit, artefacts, title, width, scheme):
    page = visit(served.url, viewport={"width": 1440, "height": 2000}, color_scheme=scheme)
    go_to(page, title)
    page.set_viewport_size({"width": width, "height": 2600})
    page.wait_for_timeout(700)
    name = title.lower().replace(" ", "-")
    path = artefacts / f"{name}-{width}-{scheme}.png"
    page.screenshot(path=str(path))
    assert path.stat().st_size > 20_000
    wide = page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0


@pytest.mark.parametrize("title", ["Explore", "Sizes", "Attribution"])
def test_every_choice_can_be_seen_on_a_phone(served, visit, title):
    groups = "[data-testid=stButtonGroup] button"
    url = f"{served.url}/{title.lower()}".removesuffix("explore")
    if title == "Explore":
        page = visit(url, viewport=PHONE)
        page.locator(".st-key-more-menu button").first.click()
    else:
        page = visit(url, wait=groups, viewport=PHONE)
    names = page.locator(groups)
    names.first.wait_for()
    assert names.count() >= 3
    for place in (names.nth(k).bounding_box() for k in range(names.count())):
        assert place["x"] >= 0
        assert place["x"] + place["width"] <= PHONE["width"]


def test_gates_of_transitions_are_no_larger_than_the_others_on_a_phone(served, visit):
    page = visit(f"{served.url}/gates", viewport=PHONE)
    widths = {
        block: page.locator(f"canvas[data-tile^='gate-B-{block}']").first.bounding_box()["width"]
        for block in ("stage2", "stage3", "stage4", "transition")
    }
    # A block of several columns gives a few pixels to the gaps between them.
    assert widths["transition"] < 1.1 * min(widths["stage2"], widths["stage3"])


@pytest.mark.parametrize("title", TITLES)
def test_axe_finds_nothing_of_ours(served, visit, title, streamlit_owns):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not there")
    page = visit(served.url)
    go_to(page, title)
    page.wait_for_timeout(500)
    results = axe.Axe().run(page)
    found = {
        violation["id"]: [node["html"][:200] for node in violation["nodes"]]
        for violation in results.response["violations"]
        if violation["id"] not in streamlit_owns
    }
    assert found == {}


def test_the_history_has_one_entry_for_each_page_and_image(served, visit):
    page = visit(served.url)
    length = "() => window.history.length"
    begun = page.evaluate(length)
    # The empty tab, Explore, and one more where the page wrote its link before our script came.
    assert begun in (2, 3)
    go_to(page, "Gates")
    assert page.evaluate(length) == begun + 1
    there = page.url
    page.locator("canvas[role=img]").first.click(position={"x": 50, "y": 40})
    for _ in range(6):
        page.keyboard.press("ArrowRight")
        page.settle(after_ms=300)
    assert page.url != there
    assert page.evaluate(length) == begun + 1
    page.locator(".st-key-image_menu button").first.click()
    page.get_by_role("spinbutton", name="Scene").first.fill("7")
    page.keyboard.press("Enter")
    page.wait_for_function("() => window.location.search.includes('scene=7')", timeout=60_000)
    page.settle(after_ms=1500)
    assert page.evaluate(length) == begun + 2
    page.go_back()
    page.settle(after_ms=500)
    assert "/gates?source=scene&scene=0" in page.url
    page.go_back()
    page.wait_for_function("() => window.location.pathname === '/'")
    page.settle()
    assert heading(page).startswith("Which branch answers")
    assert page.problems == []
