"""Responses by object size in one image: table, chart, download."""

from collections.abc import Mapping
from functools import partial

import pandas as pd
import streamlit as st

from gsto_viz.explorer import cached
from gsto_viz.explorer.comparison import side_by_side
from gsto_viz.explorer.fan_chart import draw_fans
from gsto_viz.explorer.safe_text import safe_name
from gsto_viz.explorer.shown import Shown
from gsto_viz.explorer.shown_exports import sizes_csv


def draw_sizes(shown: Shown) -> None:
    """Draw the responses by object size where there are labels, or say why not."""
    st.header("Response by object size, in this image", anchor=False)
    if shown.why_unlabelled is not None:
        st.markdown(shown.why_unlabelled)
        return
    frames = cached.tables(shown.key, shown)
    if any(frame.empty for frame in frames.values()):
        st.markdown("No region of this image is large enough to be measured.")
        return
    _draw_table(frames)
    st.download_button(
        "Table (CSV)",
        partial(sizes_csv, shown, frames),
        file_name=f"{safe_name(shown.sample.id)}-sizes.csv",
        mime="text/csv",
        on_click="ignore",
        icon=":material/download:",
    )
    draw_fans(frames, {}, {letter: shown.inspections[letter].name for letter in frames})
    st.markdown(
        "Mean percentile (0 to 1) of each branch over the annotated regions of one size, by the "
        "square root of their area in network-input pixels. Without scale confusion /4 falls with "
        "size and /32 rises. A single image has no interval, and a size with few regions says "
        "little."
    )


def _draw_table(frames: Mapping[str, pd.DataFrame]) -> None:
    table = side_by_side(frames)
    means = [name for name in table.columns if "/" in name]
    st.dataframe(
        table,
        width="content",
        hide_index=True,
        column_config={name: st.column_config.NumberColumn(format="%.2f") for name in means},
        alt="Mean percentile response of each branch of A and B by object size",
    )
