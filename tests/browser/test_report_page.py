"""``report.html`` in Chromium: it opens from a file, explores, and asks nobody for anything."""

import shutil
from dataclasses import replace

import pytest

from gsto_viz.report import load_report
from gsto_viz.report.examples import load_example, save_example
from gsto_viz.report.page import write_page

pytestmark = pytest.mark.browser
HOSTILE = (
    "//host/pixel.png</script><script>window.owned=1</script><img src=//host/x onerror=owned=1>"
)


@pytest.fixture
def hostile(analysis, tmp_path):
    """An analysis whose images are called what would call out, or break out, or fill the page."""
    folder = tmp_path / "run"
    shutil.copytree(analysis.folder, folder)
    for k, path in enumerate(sorted((folder / "examples").iterdir())):
        example = load_example(path)
        name = HOSTILE + (10_000 * "x" if k else "")
        save_example(path, replace(example, sample=replace(example.sample, id=name)))
    return write_page(load_report(folder))


def test_hostile_names_stay_text_and_the_viewer_answers(hostile, chromium):
    with chromium.new_page(viewport={"width": 420, "height": 900}) as page:
        asked, wrong = [], []
        page.on("request", lambda one: asked.append(one.url))
        page.on("pageerror", lambda one: wrong.append(str(one)))
        page.on("console", lambda one: wrong.append(one.text) if one.type == "error" else None)
        page.goto(hostile.as_uri())
        page.locator("canvas[data-tile='input']").click()
        answer = page.locator(".said").inner_text()
        assert "Coarseness q" in answer or "No object" in answer
        page.locator("select").last.select_option(label="Per map (paper)")
        page.locator("select").first.select_option(index=1)
        assert page.locator("canvas[role=img]").count() == 12
        assert page.evaluate("window.owned") is None
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        assert wrong == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 420
        # Nothing may call out, not even a script of the page's own.
        refused = "fetch('https://example.org/').then(() => 'sent', () => 'refused')"
        assert page.evaluate(refused) == "refused"
