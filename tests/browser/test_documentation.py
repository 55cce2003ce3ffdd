"""The documentation as a reader opens it: built pages, by file://, without a network."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
LOADED = re.compile(
    r"<(?!a\b)\w+[^>]*\b(?:src|href|action|poster|content)=\"(?:https?:)?//[^\"]*\""
)
"""A tag, not a plain link, with an outside address in it."""
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 800}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the pages, as ``make docs`` builds them."""
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed (make setup does it)")
    folder = tmp_path_factory.mktemp("documentation") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Watched:
    """A page of the browser and everything that went wrong in it."""

    def __init__(self, chromium: Any, viewport: dict[str, int]) -> None:
        self.context = chromium.new_context(viewport=viewport)
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", self.heard)
        self.page.on("requestfailed", lambda request: self.wrong.append(f"failed {request.url}"))
        self.page.on("request", self.asked)

    def heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"{message.type}: {message.text}")

    def asked(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:", "about:")):
            self.wrong.append(f"outside {request.url}")


@pytest.fixture(scope="module", params=[WIDE, NARROW], ids=["wide", "narrow"])
def watched(request: pytest.FixtureRequest, chromium: Any) -> Any:
    one = Watched(chromium, request.param)
    yield one
    one.context.close()


def test_every_page_opens_from_its_file(site: Path, watched: Watched, artefacts: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    for path in pages:
        name = path.relative_to(site).as_posix()
        watched.page.goto(path.as_uri())
        missing = watched.page.evaluate(
            "() => [...document.images].filter(i => !i.naturalWidth).map(i => i.src)"
        )
        wide = watched.page.evaluate(
            "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert (name, watched.wrong, missing) == (name, [], [])
        assert wide <= 0, f"{name} is {wide} px wider than the window"
        assert watched.page.locator("h1").count() == 1, name
        if "GSTO_VIZ_SCREENSHOTS" in os.environ:
            width = watched.page.viewport_size["width"]
            file = artefacts / f"docs-{width}-{name.replace('/', '-')}.png"
            watched.page.screenshot(path=file, full_page=True)


def test_the_search_finds_sci(site: Path, watched: Watched) -> None:
    watched.page.goto((site / "index.html").as_uri())
    if watched.page.viewport_size == NARROW:
        watched.page.locator("label.md-header__button[for=__search]").click()
    field = watched.page.locator("input.md-search__input")
    field.click()
    field.press_sequentially("SCI")
    found = watched.page.locator("li.md-search-result__item")
    found.first.wait_for(timeout=30_000)
    assert "SCI" in found.first.inner_text()
    links = found.locator("a.md-search-result__link").evaluate_all("all => all.map(a => a.href)")
    assert any("how_to_read_sci.html" in link for link in links)
    assert watched.wrong == []
    watched.page.goto(links[0].partition("?")[0])
    assert watched.page.locator("h1").is_visible()


def test_no_page_loads_anything_from_outside(site: Path) -> None:
    for path in site.rglob("*.html"):
        found = LOADED.findall(path.read_text(encoding="utf-8"))
        assert not found, f"{path.relative_to(site)}: {found}"
    for path in site.rglob("*.css"):
        assert "url(http" not in path.read_text(encoding="utf-8")


def test_outside_links_are_those_that_the_pages_hold(site: Path) -> None:
    written = "".join(
        path.read_text("utf-8") for path in ROOT.rglob("*.md") if ".venv" not in path.parts
    )
    for path in site.rglob("*.html"):
        for link in re.findall(r"<a\b[^>]*href=\"(https?://[^\"]+)\"", path.read_text("utf-8")):
            assert link in written or "api/" in path.as_posix(), f"{path.name}: {link}"
