"""Accessibility by axe, and screenshots for people to look at: light, dark, wide, narrow."""

import pytest

pytestmark = pytest.mark.browser

STREAMLIT_OWNS = {
    # Parts of Streamlit's own frame: no choice of ours changes them.
    "landmark-one-main",
    "landmark-unique",
    "page-has-heading-one",
    "region",
    "scrollable-region-focusable",
    "aria-allowed-attr",
    "aria-valid-attr-value",
    "nested-interactive",
}


def test_axe_finds_nothing_of_ours(served, visit):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not there")
    page = visit(served.url)
    results = axe.Axe().run(page)
    found = {
        violation["id"]: [node["html"][:200] for node in violation["nodes"]]
        for violation in results.response["violations"]
        if violation["id"] not in STREAMLIT_OWNS
    }
    assert found == {}


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        ("light", 1440, "light"),
        ("dark", 1440, "dark"),
        ("narrow", 420, "light"),
        ("narrow-dark", 420, "dark"),
    ],
)
def test_screenshots(served, visit, artefacts, name, width, scheme):
    page = visit(served.url, viewport={"width": width, "height": 2400}, color_scheme=scheme)
    page.wait_for_timeout(500)
    path = artefacts / f"explore-{name}.png"
    page.screenshot(path=str(path))
    assert path.stat().st_size > 50_000
    # Nothing sticks out sideways, on a phone neither.
    wide = page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0
    assert page.problems == []
