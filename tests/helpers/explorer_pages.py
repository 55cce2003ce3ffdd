"""Pages of the explorer in Streamlit's AppTest, by the last part of their address."""

from pathlib import Path

from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from gsto_viz.explorer import entry
from gsto_viz.explorer.view_state import PAGES


def go_to(app: AppTest, page: str) -> AppTest:
    """Make the next run draw a page: AppTest's own way knows only pages that are files."""
    home = next(iter(PAGES))
    app._page_hash = calc_hash("" if page == home else page)
    return app


def page_app(page: str, query: dict[str, str] | None = None, **session: object) -> AppTest:
    """Return a page before its first run, with settings of a link and of the session."""
    app = AppTest.from_file(str(Path(entry.__file__)), default_timeout=120)
    # The menu of the image is open: closed, its widgets are not there.
    for key, value in {"image_menu": True, **session}.items():
        app.session_state[key] = value
    for key, value in (query or {}).items():
        app.query_params[key] = value
    return go_to(app, page)
