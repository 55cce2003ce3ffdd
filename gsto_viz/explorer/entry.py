"""The script that Streamlit runs: the list of pages."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

from gsto_viz.explorer.reconnect import run_again_after_a_break

VIEWS = Path(__file__).parent / "views"
PAGES = (
    ("explore.py", "Explore", "travel_explore"),
    ("gates.py", "Gates", "door_sliding"),
    ("sizes.py", "Sizes", "scatter_plot"),
    ("attribution.py", "Attribution", "account_tree"),
    ("scale_probe.py", "Scale probe", "straighten"),
    ("runs.py", "Runs", "show_chart"),
    ("method.py", "Method", "menu_book"),
)
"""File, title and icon of every page, the first one first."""
FIRST = "home"
"""A name for the first page, which stands at the root: its own leads there (see ``main``)."""


def main() -> None:
    """Draw the page that is open."""
    st.set_page_config(page_title="gsto_viz explorer", page_icon=page_icon(), layout="wide")
    pages = [
        st.Page(
            VIEWS / file,
            title=title,
            icon=f":material/{icon}:",
            url_path=FIRST if k == 0 else title.lower().replace(" ", "-"),
            default=k == 0,
        )
        for k, (file, title, icon) in enumerate(PAGES)
    ]
    alias = st.Page(
        partial(_show, pages[0]), title="Explore", url_path="explore", visibility="hidden"
    )
    st.navigation([*pages, alias], position="top").run()
    run_again_after_a_break()


def _show(page: Any) -> None:
    """Go to a page with the query of this one: the first page has no name in its address."""
    st.switch_page(page, query_params=st.query_params.to_dict())


def page_icon() -> Image.Image:
    """Return the icon of the browser's tab, 32 x 32 pixels: four branches, ever coarser.

    Drawn here because Streamlit's named icons are fetched from the internet when used for a tab.
    """
    icon = np.full((32, 32, 3), 255, dtype=np.uint8)
    colors = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167))
    for branch, color in enumerate(colors):
        cell = 2 << branch
        columns = np.arange(32) // cell % 2 == 0
        icon[8 * branch : 8 * branch + 7, columns] = color
    return Image.fromarray(icon)


if __name__ == "__main__":
    main()
