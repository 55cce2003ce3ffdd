"""The menu "Export" of a page: one button per file, made on the click and not before."""

from collections.abc import Callable

import streamlit as st

from gsto_viz.explorer.export_files import ExportFile, Exports

MENU, TILE = "export_menu", "export_tile"
"""Keys of the menu and of the chosen tile."""


def draw_exports(make: Callable[[], Exports]) -> None:
    """Draw the menu; closed, it is one button and costs a page nothing.

    Args:
        make: Returns the files of the view as it is now; called while the menu is open.
    """
    menu = st.popover("Export", icon=":material/download:", key=MENU, on_change="rerun")
    if not menu.open:
        return
    exports = make()
    with menu:
        columns = st.columns(2, gap="small")
        for k, file in enumerate((*exports.files, exports.archive())):
            with columns[k % 2]:
                _draw_button(exports.stem, file, file.label)
        if exports.tiles:
            labels = [tile.label for tile in exports.tiles]
            chosen = st.selectbox("Tile, one pixel per cell", labels, key=TILE)
            tile = exports.tiles[labels.index(chosen)]
            _draw_button(exports.stem, tile, f"{tile.label} (PNG)")


def _draw_button(stem: str, file: ExportFile, label: str) -> None:
    st.download_button(
        label,
        file.make,
        file_name=file.saved_as(stem),
        mime=file.mime,
        on_click="ignore",
        key=f"export-{file.name}",
        width="stretch",
    )
