"""The script that Streamlit runs: the list of pages."""

import json
from functools import partial
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

from gsto_viz.explorer.page_frame import IMAGE_SETTINGS, streamlit_page
from gsto_viz.explorer.view_state import PAGES

_JS = """
const watched = new WeakSet();
const IMAGE = IMAGE_SETTINGS;

// Streamlit gives every change of the address an entry of its own, so that Back would undo single
// steps of the probe. Only another page and another image get one.
function samePlace(url) {
  const old = new URL(window.location.href);
  const next = new URL(url, old);
  if (old.pathname !== next.pathname) return false;
  const [before, after] = [old.searchParams, next.searchParams];
  return !IMAGE.some((name) => before.has(name)) ||
    IMAGE.every((name) => before.get(name) === after.get(name));
}

if (!window.gstoVizPush) {
  window.gstoVizPush = window.history.pushState;
  window.history.pushState = function (state, title, url) {
    const replaces = url !== undefined && url !== null && samePlace(url);
    const write = replaces ? window.history.replaceState : window.gstoVizPush;
    return write.call(window.history, state, title, url);
  };
}

export default function ({ parentElement, setStateValue }) {
  const app = document.querySelector("[data-testid=stApp]");
  if (!app || watched.has(parentElement)) return;
  watched.add(parentElement);
  let lost = false;
  const observer = new MutationObserver(() => {
    if (app.dataset.testConnectionState !== "CONNECTED") lost = true;
    else if (lost) {
      lost = false;
      setStateValue("back_at", Date.now());
    }
  });
  observer.observe(app, { attributes: true, attributeFilter: ["data-test-connection-state"] });
  return () => observer.disconnect();
}
"""
_component = st.components.v2.component(
    "gsto_viz_reconnect", js=_JS.replace("IMAGE_SETTINGS", json.dumps(IMAGE_SETTINGS))
)


def watch_the_browser() -> None:
    """Run again after a break of the connection, and keep Back to pages and images."""
    _component(key="reconnect", height=1, on_back_at_change=lambda: None)


def main() -> None:
    """Draw the page that is open."""
    st.set_page_config(page_title="gsto_viz explorer", page_icon=page_icon(), layout="wide")
    pages = [streamlit_page(name) for name in PAGES]
    alias = st.Page(
        partial(_show, pages[0]), title="Explore", url_path="explore", visibility="hidden"
    )
    page = st.navigation([*pages, alias], position="top")
    # First, so that it is there before the page writes its address.
    watch_the_browser()
    page.run()


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
