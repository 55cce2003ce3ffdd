"""Links from page to page that are real: copied or opened in a new tab, they hold their view."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from gsto_viz.explorer.page_frame import streamlit_page
from gsto_viz.explorer.view_state import PAGES

_CSS = """
.links { display: flex; flex-wrap: wrap; gap: 0.8rem; font-family: var(--st-font); }
.links a { color: var(--st-link-color); text-decoration: none; font-size: 0.9rem; }
.links a:hover, .links a:focus-visible { text-decoration: underline; }
.links a:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 2px; }
.links a.pictured { flex: 1 1 180px; max-width: 300px; overflow-wrap: anywhere; }
.links img { display: block; width: 100%; border-radius: 4px; margin-bottom: 0.2rem; }
.links small { display: block; color: var(--st-text-color); font-size: 0.8rem; }
"""
_JS = """
export default function ({ data, parentElement, setTriggerValue }) {
  const box = document.createElement("div");
  box.className = "links";
  data.links.forEach((one, number) => {
    const link = document.createElement("a");
    link.href = one.href;
    if (one.picture) {
      const picture = document.createElement("img");
      picture.src = one.picture;
      picture.alt = "";
      link.className = "pictured";
      link.append(picture);
    }
    link.append(one.label);
    if (one.note) {
      const note = document.createElement("small");
      note.textContent = one.note;
      link.append(note);
    }
    link.onclick = (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
      event.preventDefault();
      setTriggerValue("followed", number);
    };
    box.append(link);
  });
  parentElement.querySelector(".links")?.remove();
  parentElement.append(box);
}
"""
_component = st.components.v2.component("gsto_viz_links", js=_JS, css=_CSS)


@dataclass(frozen=True)
class Link:
    """A link to a page of the explorer.

    Attributes:
        page: One of ``PAGES``.
        query: What its view holds.
        label: Any text; shown as it is.
        note: A second line.
        picture: ``data:`` address of a picture above the label; empty: none.
    """

    page: str
    query: Mapping[str, str]
    label: str
    note: str = ""
    picture: str = ""

    @property
    def href(self) -> str:
        """Its address, relative to any page: the first page stands at the root."""
        name = "" if self.page == next(iter(PAGES)) else self.page
        return f"./{name}?{urlencode(self.query)}"


def draw_links(links: Sequence[Link], key: str) -> None:
    """Draw links beside each other; a plain click goes there within the session.

    Streamlit's own link to the first page has the address of the page that it stands on.

    Args:
        links: One or more.
        key: Of the component; one name for one set of links.
    """
    told: list[dict[str, Any]] = [
        {"href": one.href, "label": one.label, "note": one.note, "picture": one.picture}
        for one in links
    ]
    result = _component(key=key, data={"links": told}, on_followed_change=lambda: None)
    followed = result.followed
    if isinstance(followed, int) and 0 <= followed < len(links):
        chosen = links[followed]
        st.switch_page(streamlit_page(chosen.page), query_params=dict(chosen.query))
