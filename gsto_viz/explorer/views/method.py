"""The page "Method": what every number means, and what it does not."""

from collections.abc import Callable, Sequence

import pandas as pd
import streamlit as st

from gsto_viz.explorer.checkpoints import given_folder, licence_of, list_choices
from gsto_viz.explorer.page_frame import open_page
from gsto_viz.explorer.values import method as method_text
from gsto_viz.explorer.values.method import (
    ARRANGEMENTS,
    STRIDES,
    Section,
    label_picture,
    map_picture,
    worked_example,
)
from gsto_viz.explorer.view_state import TABS
from gsto_viz.files import versions

ARRANGEMENT, TAB = "method-arrangement", "method-tab"
"""Keys of the arrangement of the worked example, which a link does not hold, and of the tabs."""


def draw_page() -> None:
    """Draw the whole page; it needs no checkpoint."""
    page = open_page("method", "What do the numbers mean?")
    names = dict(zip(TABS, _TABS, strict=True))
    if page is not None and (page.fresh or TAB not in st.session_state):
        st.session_state[TAB] = names[page.state.tab]
    tabs = st.tabs(list(_TABS), on_change="rerun", key=TAB)
    for tab, (key, name) in zip(tabs, names.items(), strict=True):
        if tab.open:
            if page is not None:
                page.note(tab=key)
            with tab:
                _TABS[name]()
    if page is not None:
        page.write_link()


def _draw_steps() -> None:
    _draw_sections(method_text.STEPS)
    with st.expander("How to read SCI: the guide"):
        st.markdown(method_text.guide())


def _draw_sections(sections: Sequence[Section]) -> None:
    for section in sections:
        st.markdown(f"**{section.title}**\n\n{section.body}")


def _draw_numbers() -> None:
    st.markdown(method_text.number_table())
    st.markdown(method_text.NUMBERS_NOTE)


def _draw_evidence() -> None:
    st.markdown(method_text.null_table())
    _draw_sections(method_text.EVIDENCE)


def _draw_gates() -> None:
    _draw_sections(method_text.GATES)


def _draw_limits() -> None:
    st.markdown("\n".join(f"- {limit}" for limit in method_text.LIMITS))


def _draw_glossary() -> None:
    st.markdown(method_text.glossary_table())


@st.fragment
def _draw_example() -> None:
    """Draw the worked example; another arrangement runs nothing but this."""
    st.markdown(
        "An image of 64 x 96 pixels with a background, a square of 8 x 8 px and one of 32 x 32 px, "
        "and two branches at strides 4 and 8."
    )
    arrangement = st.segmented_control(
        "Activity of the branches",
        ARRANGEMENTS,
        default=ARRANGEMENTS[0],
        key=ARRANGEMENT,
        required=True,
    )
    found = worked_example(arrangement)
    pictures = [("Regions", label_picture(found.labels))]
    names = ("Fine branch, stride 4", "Coarse branch, stride 8")
    for name, values, stride in zip(names, found.maps, STRIDES, strict=True):
        pictures.append((f"{name}: bright is strong", map_picture(values, stride)))
    for column, (name, picture) in zip(st.columns(3, gap="medium"), pictures, strict=True):
        column.image(picture, caption=name, alt=name, width=288)
    left, right = st.columns(2, gap="medium")
    left.markdown(_as_text(found.regions))
    right.markdown(_as_text(found.pairs))
    wrong = (found.pairs["verdict"] == "wrong").sum()
    ties = (found.pairs["verdict"] == "tie").sum()
    st.markdown(
        f"{wrong} of {len(found.pairs)} pairs wrong, {ties} tied (they count half): "
        f"**SCI = {found.sci:.3f}**. Even branches that are tuned as one would wish do not give 0: "
        "what is largest in an image is often a flat background."
    )


def _draw_sources() -> None:
    """Draw versions and licences."""
    choices, _ = list_choices(given_folder())
    st.markdown("**Checkpoints** (the code is MIT)")
    st.dataframe(
        pd.DataFrame(
            [(choice.key, licence_of(choice)) for choice in choices],
            columns=["checkpoint", "licence"],
        ),
        hide_index=True,
        width="stretch",
        alt="Licence of every checkpoint",
    )
    st.markdown("**Images**")
    st.markdown(method_text.IMAGES)
    st.markdown("**Versions**")
    st.markdown(method_text.markdown_table(("package", "version"), sorted(versions().items())))


def _as_text(table: pd.DataFrame) -> str:
    """Return a small table as Markdown, numbers to three decimals."""
    rows = [
        [cell if isinstance(cell, str) else f"{cell:.3f}" for cell in row]
        for row in table.itertuples(index=False)
    ]
    return method_text.markdown_table(list(table.columns), rows)


_TABS: dict[str, Callable[[], None]] = {
    "From map to SCI": _draw_steps,
    "Worked example": _draw_example,
    "Every number": _draw_numbers,
    "Evidence": _draw_evidence,
    "Gates and shares": _draw_gates,
    "Limits": _draw_limits,
    "Glossary": _draw_glossary,
    "Versions, licences": _draw_sources,
}
