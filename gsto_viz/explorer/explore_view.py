"""The page "Explore": two networks on one image, branch by branch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer import cached
from gsto_viz.explorer.checkpoints import Choice, default_pair, given_folder, list_choices
from gsto_viz.explorer.comparison import annotated_for, side_by_side, to_csv
from gsto_viz.explorer.drawings import MODE_TEXTS
from gsto_viz.explorer.pictures import MAX_BYTES, Picture, upload_fingerprint
from gsto_viz.explorer.safe_text import plain, safe_name
from gsto_viz.explorer.view_state import MAX_SCENE, MODES, ViewState, parse_query
from gsto_viz.heatmaps import RAW_BADGE, RAW_MODES
from gsto_viz.inspection import check_pair
from gsto_viz.models import HRNet
from gsto_viz.types import ClassList, Inspection, Sample

MODE_NAMES = {
    "percentile": "Percentile",
    "shared": "Shared by A and B",
    "per_map": "Per map (paper)",
}
MISSING_PAIR = (
    "This installation has no trained networks to show. Train one with `gsto-viz train` (see "
    "`gsto-viz train --help`) and open the explorer with `gsto-viz app --checkpoints DIR`, where "
    "DIR holds `.safetensors` checkpoints."
)
FIGURE, SIZES_FIGURE = "main-figure", "sizes-figure"
NARROW = f"""<style>
@media (max-width: 640px) {{
  .st-key-{FIGURE}, .st-key-{SIZES_FIGURE} {{ overflow-x: auto; }}
  .st-key-{FIGURE} img, .st-key-{SIZES_FIGURE} img {{
    width: 900px !important; max-width: none !important;
  }}
}}
</style>"""
"""On a phone figures keep a readable size and scroll sideways."""
LINK = "link_last_written"
"""Key of the session state: the parameters that this session put into its address."""


@dataclass(frozen=True)
class Shown:
    """What is on the page once both networks have run.

    Attributes:
        picture: The image.
        sample: The image with the labels that fit the networks, if any.
        why_unlabelled: Why there are no labels, or None.
        classes: Of both networks.
        inspections: ``A`` and ``B``.
        fingerprints: ``A`` and ``B``: SHA-256 of the checkpoints.
        mode: Normalisation of the maps.
    """

    picture: Picture
    sample: Sample
    why_unlabelled: str | None
    classes: ClassList
    inspections: dict[str, Inspection]
    fingerprints: dict[str, str]
    mode: str

    @property
    def key(self) -> tuple[str, ...]:
        """What the results depend on, for caches."""
        names = (self.inspections[letter].name for letter in "AB")
        labelled = "labels" if self.sample.labels is not None else "no labels"
        return (self.picture.key, self.sample.id, labelled, *self.fingerprints.values(), *names)


def draw_page() -> None:
    """Draw the whole page."""
    st.html(NARROW)
    st.title("Which branch answers for which object?", anchor=False)
    choices, left_out = list_choices(given_folder())
    pair = default_pair(choices)
    if pair is None:
        st.info(MISSING_PAIR)
        _draw_left_out(left_out)
        return
    notices = _follow_link(ViewState(a=pair[0], b=pair[1]), [choice.key for choice in choices])
    picture, problem = _choose_image()
    state = _choose_networks(choices)
    for notice in notices:
        st.warning(notice, icon=":material/link_off:")
    _draw_left_out(left_out)
    _write_link(replace(state, upload=_uploaded_fingerprint()))
    if problem is not None:
        st.error(plain(problem))
        return
    try:
        shown = _run(picture, {choice.key: choice for choice in choices}, state)
    except GstoVizError as error:
        st.error(plain(str(error)))
        return
    _draw_comparison(shown)
    _draw_sizes(shown)


def _follow_link(default: ViewState, keys: Sequence[str]) -> tuple[str, ...]:
    """Set the controls to what the address says, when it is not what this session wrote there."""
    query = st.query_params.to_dict()
    notices: tuple[str, ...] = ()
    if LINK not in st.session_state or query != st.session_state[LINK]:
        wanted, notices = parse_query(query, default, keys)
        for name in ("scene", "a", "b", "mode"):
            st.session_state[name] = getattr(wanted, name)
        if wanted.upload not in (None, _uploaded_fingerprint()):
            notices += (
                "This link was made with an uploaded image, which a link cannot carry; upload it "
                f"again to see the same view (here is scene {wanted.scene} instead).",
            )
    # A file may have gone from the folder since it was chosen.
    for name, fallback in (("a", default.a), ("b", default.b)):
        if st.session_state[name] not in keys:
            st.session_state[name] = fallback
            notices += (f"Checkpoint {name.upper()} is no longer there; another one is shown.",)
    return notices


def _write_link(state: ViewState) -> None:
    """Put the view into the address, so that it can be copied."""
    query = state.to_query()
    if st.query_params.to_dict() != query:
        st.query_params.from_dict(query)
    st.session_state[LINK] = query


def _uploaded_fingerprint() -> str | None:
    file = st.session_state.get("upload")
    return None if file is None else upload_fingerprint(file.getvalue())


def _choose_image() -> tuple[Picture, str | None]:
    """Draw the controls of the image; return it, and what is wrong with an upload."""
    left, right = st.columns([1, 2], gap="medium")
    uploaded = st.session_state.get("upload") is not None
    index = left.number_input(
        "Scene",
        min_value=0,
        max_value=MAX_SCENE,
        step=1,
        key="scene",
        disabled=uploaded,
        help="Procedural street scenes with exact labels. No network was trained on any of these.",
    )
    file = right.file_uploader(
        "Or your own image (PNG or JPEG; it stays on this computer)",
        type=["png", "jpg", "jpeg"],
        max_upload_size=MAX_BYTES // 1_000_000,
        key="upload",
    )
    if file is None:
        return cached.scene(int(index)), None
    content = file.getvalue()
    try:
        return cached.upload(upload_fingerprint(content), file.name, content), None
    except GstoVizError as error:
        return cached.scene(int(index)), str(error)


def _choose_networks(choices: Sequence[Choice]) -> ViewState:
    """Draw the controls of networks and scale; say what must be known about the chosen ones."""
    by_key = {choice.key: choice for choice in choices}
    columns = st.columns([1, 1, 1], gap="medium")
    chosen: dict[str, str] = {}
    for letter, column, what in zip("AB", columns, ("baseline", "compared with A"), strict=False):
        chosen[letter] = column.selectbox(
            f"{letter}: {what}",
            list(by_key),
            key=letter.lower(),
            format_func=partial(_checkpoint_label, by_key),
        )
    mode = columns[2].segmented_control(
        "Scale of the maps",
        MODES,
        key="mode",
        format_func=MODE_NAMES.__getitem__,
        required=True,
    )
    for key in dict.fromkeys(chosen.values()):
        if by_key[key].notice:
            st.info(f"{plain(key)}: {plain(by_key[key].notice or '')}", icon=":material/gavel:")
    if chosen["A"] == chosen["B"]:
        st.info("A and B are the same network, so both rows show the same.")
    scene = int(st.session_state["scene"])
    return ViewState(scene=scene, a=chosen["A"], b=chosen["B"], mode=str(mode))


def _checkpoint_label(by_key: Mapping[str, Choice], key: str) -> str:
    return f"{key} (gated)" if by_key[key].gated else key


def _run(picture: Picture, by_key: Mapping[str, Choice], state: ViewState) -> Shown:
    """Run both networks on the image, or fetch what they gave before.

    Raises:
        GstoVizError: A checkpoint cannot be used, or the two have different classes.
    """
    models: dict[str, HRNet] = {}
    inspections: dict[str, Inspection] = {}
    with st.spinner("Running A and B on this image"):
        for letter, key in (("A", state.a), ("B", state.b)):
            models[letter] = cached.network(by_key[str(key)])
        check_pair(models["A"], models["B"])
        for letter, model in models.items():
            inspections[letter] = cached.inspect(model, picture)
    infos = {letter: model.info for letter, model in models.items() if model.info is not None}
    sample, why = annotated_for(picture, infos["A"].classes)
    return Shown(
        picture=picture,
        sample=sample,
        why_unlabelled=why,
        classes=infos["A"].classes,
        inspections=inspections,
        fingerprints={letter: str(info.sha256) for letter, info in infos.items()},
        mode=state.mode,
    )


def _draw_comparison(shown: Shown) -> None:
    """Draw the main figure, what it shows, and its downloads."""
    if shown.mode in RAW_MODES:
        st.badge(RAW_BADGE, color="orange", icon=":material/warning:")
    drawing = cached.comparison_drawing(
        shown.key, shown.mode, "png", shown.sample, shown.inspections, shown.classes
    )
    with st.container(key=FIGURE):
        st.image(drawing.content, alt=drawing.alt, width="stretch")
    first = shown.inspections["A"]
    st.markdown(
        f"{plain(shown.picture.description)} {MODE_TEXTS[shown.mode]} Branch maps: "
        f"{plain(first.site)}, after the last fusion; one cell of stride s covers s x s pixels. "
        "One image shows no rule: `gsto-viz demo` averages over many."
    )
    stem = safe_name(f"{shown.sample.id}-{shown.mode}")
    with st.container(horizontal=True):
        st.download_button(
            "Figure (PNG)",
            drawing.content,
            file_name=f"{stem}.png",
            mime="image/png",
            on_click="ignore",
            icon=":material/download:",
        )
        st.download_button(
            "Figure (PDF)",
            partial(_pdf_of, shown),
            file_name=f"{stem}.pdf",
            mime="application/pdf",
            on_click="ignore",
            icon=":material/download:",
        )


def _pdf_of(shown: Shown) -> bytes:
    return cached.comparison_drawing(
        shown.key, shown.mode, "pdf", shown.sample, shown.inspections, shown.classes
    ).content


def _draw_sizes(shown: Shown) -> None:
    """Draw the responses by object size where there are labels, or say why not."""
    st.subheader("Response by object size, in this image", anchor=False)
    if shown.why_unlabelled is not None:
        st.markdown(shown.why_unlabelled)
        return
    frames = cached.tables(shown.key, shown.sample, shown.inspections)
    if any(frame.empty for frame in frames.values()):
        st.markdown("No region of this image is large enough to be measured.")
        return
    _draw_table(frames)
    st.download_button(
        "Table (CSV)",
        to_csv(frames, shown.inspections, shown.fingerprints, shown.sample.id),
        file_name=f"{safe_name(shown.sample.id)}-sizes.csv",
        mime="text/csv",
        on_click="ignore",
        icon=":material/download:",
    )
    drawing = cached.responses_drawing(shown.key, "png", frames)
    with st.container(key=SIZES_FIGURE):
        st.image(drawing.content, alt=drawing.alt, width=900)
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


def _draw_left_out(sentences: Sequence[str]) -> None:
    """Say which files of the folder are not offered."""
    folder = given_folder()
    if not sentences or folder is None:
        return
    many = f"{len(sentences)} files are" if len(sentences) > 1 else "1 file is"
    with st.expander(f"{many} not offered from {plain(Path(folder).name)}"):
        st.text("\n".join(sentences))
