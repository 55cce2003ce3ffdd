"""A served explorer and a real Chromium; without one the tests are skipped, and say so."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Every name but this computer's is unknown: a page that needs another one breaks here.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
VIEWER = "canvas[role=img]"
TILE = "canvas[data-tile='{}']"
STREAMLIT_OWNS = frozenset(
    {
        # Parts of Streamlit's own frame: no choice of ours changes them.
        "landmark-one-main",
        "landmark-unique",
        "page-has-heading-one",
        "region",
        "scrollable-region-focusable",
        "aria-allowed-attr",
        "aria-valid-attr-value",
        "nested-interactive",
        # Vega draws marks as images without words; the chart as a whole has an alt text.
        "svg-img-alt",
    }
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@dataclass
class Served:
    """A running ``gsto-viz app``."""

    port: int
    words: list[str]
    healthy_s: float = 0.0
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "gsto_viz", "app", "--no-browser", "--port"]
        begun = time.monotonic()
        self.process = subprocess.Popen(
            [*command, str(self.port), *self.words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while True:
            assert self.process.poll() is None, "the explorer has ended by itself"
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=5).close()
                break
            assert time.monotonic() - begun < 120, "the explorer does not answer"
            time.sleep(0.05)
        self.healthy_s = time.monotonic() - begun

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=60)
            self.process = None

    def memory_mib(self) -> float:
        """Resident memory of the server's process."""
        assert self.process is not None
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        line = next(line for line in text.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[..., Served]]:
    """Starts an explorer with the words given; all are stopped in the end."""
    started: list[Served] = []

    def start(*words: str) -> Served:
        served = Served(free_port(), list(words))
        started.append(served)
        served.start()
        return served

    yield start
    for served in started:
        served.stop()


@pytest.fixture(scope="session")
def served(serve) -> Served:
    """One explorer with what the package ships."""
    return serve()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium here (Debian: apt-get install chromium)")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium) -> Iterator[Callable[..., Any]]:
    """Opens an address in a browser session of its own and waits until it stands still.

    A page also has ``settle``, ``stand_still`` and ``at_pixel``, ``problems`` (errors of its
    scripts) and ``requests_made``, and the times ``asked_at`` and ``shown_at``.
    """
    contexts = []

    def open_page(url: str, wait: str | None = VIEWER, **options: Any) -> Any:
        options.setdefault("viewport", {"width": 1440, "height": 1800})
        context = chromium.new_context(accept_downloads=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.settle = partial(settle, page)
        page.stand_still = partial(stand_still, page)
        page.at_pixel = partial(at_pixel, page)
        page.problems = []
        page.requests_made = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("request", lambda request: page.requests_made.append(request.url))
        page.asked_at = time.monotonic()
        page.goto(url)
        if wait is not None:
            page.locator(wait).first.wait_for(timeout=60_000)
        page.shown_at = time.monotonic()
        (stand_still if wait == VIEWER else settle)(page)
        return page

    yield open_page
    for context in contexts:
        context.close()


def settle(page: Any, after_ms: int = 0) -> None:
    """Wait until the script has run: no running mark, no stale elements."""
    if after_ms:
        page.wait_for_timeout(after_ms)
    page.wait_for_function(
        "() => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState"
        " !== 'running' && !document.querySelector('[data-stale=true]')",
        timeout=120_000,
    )


def stand_still(page: Any) -> None:
    """Wait until the page is done and no longer grows.

    Charts and the viewer fill their places only after the script has run; what hangs on a button
    below them, as an open menu does, moves with it.
    """
    settle(page)
    height = "document.querySelector('[data-testid=stMainBlockContainer]').scrollHeight"
    page.evaluate("() => { window.lastHeight = -1; window.stillSince = performance.now(); }")
    page.wait_for_function(
        f"""() => {{
            if (window.lastHeight !== {height}) {{
                window.lastHeight = {height};
                window.stillSince = performance.now();
            }}
            return performance.now() - window.stillSince > 1500;
        }}""",
        timeout=120_000,
    )


def at_pixel(page: Any, tile: str, x: int, y: int) -> dict[str, float]:
    """Where the middle of a pixel of a 512 x 256 image lies on a tile that is not zoomed."""
    box = page.locator(TILE.format(tile)).bounding_box()
    return {"x": (x + 0.5) * box["width"] / 512, "y": (y + 0.5) * box["height"] / 256}


@pytest.fixture(scope="session")
def artefacts(tmp_path_factory) -> Path:
    """Where screenshots go: $GSTO_VIZ_SCREENSHOTS, or a temporary folder."""
    place = os.environ.get("GSTO_VIZ_SCREENSHOTS")
    folder = Path(place) if place else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def streamlit_owns() -> frozenset[str]:
    """Rules of axe that Streamlit's own frame and its charts break."""
    return STREAMLIT_OWNS
