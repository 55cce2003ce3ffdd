"""After a break of the connection the page runs again.

A server that was started anew knows nothing of an open page: it would answer no click on parts that
run by themselves. One run of the whole page, from its address, brings everything back.
"""

import streamlit as st

_JS = """
const watched = new WeakSet();

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
_component = st.components.v2.component("gsto_viz_reconnect", js=_JS)


def run_again_after_a_break() -> None:
    """Watch the connection of the page that is being drawn."""
    _component(key="reconnect", height=1, on_back_at_change=lambda: None)
