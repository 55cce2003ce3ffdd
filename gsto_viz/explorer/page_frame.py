"""What all pages share: the view in session and address, bound widgets, the menu of exports."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import streamlit as st

from gsto_viz.colors import HEARD
from gsto_viz.errors import GstoVizError
from gsto_viz.explorer import cached, server
from gsto_viz.explorer.checkpoints import Choice, default_pair, list_choices
from gsto_viz.explorer.exports.files import ExportFile, Exports, Making
from gsto_viz.explorer.folders import RunFolder, list_runs
from gsto_viz.explorer.pictures import upload_fingerprint
from gsto_viz.explorer.texts import plain
from gsto_viz.explorer.view_state import PAGES, Offered, ViewState, parse_query

MISSING_PAIR = (
    "This installation has no trained networks to show. Train one with `gsto-viz train` (see "
    "`gsto-viz train --help`) and open the explorer with `gsto-viz app --checkpoints DIR`, where "
    "DIR holds `.safetensors` checkpoints."
)
STYLE = """<style>
.stMainBlockContainer { padding-top: 3.5rem; padding-bottom: 3rem; }
.stMainBlockContainer h1 { font-size: 1.7rem; padding: 0 0 0.5rem; }
[class*="st-key-"][class*="-paint"] { display: none; }
.st-key-reconnect { position: absolute; }
[data-testid=stVegaLiteChart] :is(.role-axis, .role-legend, .role-title) text {
  fill: currentColor;
}
.stMarkdown table { display: block; overflow-x: auto; }
.stMarkdown td, .stMarkdown th { white-space: nowrap; }
table.scores { width: 100%; border-collapse: collapse; }
table.scores th, table.scores td { padding: 0.25rem 0.5rem; font-weight: 400; text-align: left; }
table.scores thead th:not(:first-child) { padding-left: 0; }
table.scores td { width: 30%; padding: 0 1.2rem 0 0; height: 1.9rem; }
table.scores td { font-variant-numeric: tabular-nums; }
table.heard { display: inline-table; border-collapse: collapse; margin: 0 2rem 0.5rem 0; }
table.heard caption { caption-side: top; text-align: left; color: inherit; padding: 0.2rem 0; }
table.heard caption { white-space: nowrap; }
table.heard td { min-width: 3rem; height: 1.9rem; padding: 0 0.4rem; text-align: right; }
table.heard td { border: 1px solid var(--st-border-color, rgba(128, 128, 128, 0.4)); }
table.heard td { background: color-mix(in srgb, HEARD calc(var(--shade, 0%) * 0.45), transparent); }
table.heard td { font-variant-numeric: tabular-nums; }
.stMainBlockContainer h2 { font-size: 1.35rem; padding: 0.5rem 0; }
.stMainBlockContainer h3 { font-size: 1.1rem; padding: 0.4rem 0; }
@media (prefers-reduced-motion: reduce) {
  * { animation: none !important; transition: none !important; }
}
</style>""".replace("HEARD", HEARD)
"""Less air above, so that the answer is on the first screen."""
VIEW, LINK, PAGE, UPLOAD = "view_held", "link_last_written", "page_last_drawn", "upload_held"
"""Keys of the session state: the view, what this session wrote into the address, the page that was
drawn last, and the uploaded file."""
HOME = "home"
"""A name for the first page, which stands at the root: its own name leads there (see ``entry``)."""
LATE_S, LATE_IMAGE_S = 5.0, 1.0
"""Seconds in which a browser may still send an address that has been replaced since; one of another
image is soon taken for the way back to it."""
IMAGE_SETTINGS = ("source", "scene", "image", "upload", "run")
"""What makes another image of an address."""


def streamlit_page(name: str) -> Any:
    """Return a page of ``PAGES`` as Streamlit knows it, for navigation and for links."""
    page, first = PAGES[name], name == next(iter(PAGES))
    return st.Page(
        partial(_draw, name.replace("-", "_")),
        title=page.title,
        icon=f":material/{page.icon}:",
        url_path=HOME if first else name,
        default=first,
    )


def _draw(module: str) -> None:
    """Draw a page; its module is imported when it is first opened."""
    import_module(f"gsto_viz.explorer.views.{module}").draw_page()


@dataclass(frozen=True)
class Upload:
    """An uploaded file, kept while the session changes pages.

    Attributes:
        key: First 16 hexadecimal digits of its SHA-256.
        name: What the user calls it.
        content: The file.
    """

    key: str
    name: str
    content: bytes


@dataclass(frozen=True)
class WrittenLink:
    """An address that this session wrote.

    Attributes:
        query: Its parameters.
        before: The addresses that it replaced, each with the time at which it did (s).
    """

    query: dict[str, str]
    before: tuple[tuple[dict[str, str], float], ...] = ()

    def replaced_by(self, query: dict[str, str]) -> "WrittenLink":
        """Return what is written when the view has changed."""
        now = time.monotonic()
        late = tuple((old, at) for old, at in self.before if now - at < LATE_S)
        return WrittenLink(query, (*late, (self.query, now)))

    def wrote(self, query: dict[str, str]) -> bool:
        """Return whether an address is this one, or one that a browser sends late.

        Whoever is quick acts before the new address has arrived; what is sent along is then no
        link that somebody followed.
        """
        now = time.monotonic()
        same = all(query.get(name) == self.query.get(name) for name in IMAGE_SETTINGS)
        late = LATE_S if same else LATE_IMAGE_S
        return query == self.query or any(
            query == old and now - at < late for old, at in self.before
        )


@dataclass(frozen=True)
class Page:
    """One page in one run of the script.

    Attributes:
        name: One of ``PAGES``.
        choices: Checkpoints that may be chosen.
        runs: Analyses and training runs that may be chosen.
        fresh: The page was just opened or a link was followed, so widgets take the view's values;
            else they keep what the user did to them.
    """

    name: str
    choices: tuple[Choice, ...]
    runs: tuple[RunFolder, ...]
    fresh: bool

    @property
    def state(self) -> ViewState:
        """The view as it is now."""
        state: ViewState = st.session_state[VIEW]
        return state

    def note(self, **changes: Any) -> None:
        """Change the view."""
        st.session_state[VIEW] = replace(self.state, **changes)

    def write_link(self) -> None:
        """Put the view into the address, so that it can be copied."""
        query = self.state.to_query(self.name)
        if st.query_params.to_dict() != query:
            st.query_params.from_dict(query)
        written: WrittenLink = st.session_state.get(LINK) or WrittenLink(query)
        if written.query != query:
            written = written.replaced_by(query)
        st.session_state[LINK] = written

    def bound(
        self,
        field: str,
        draw: Callable[..., Any],
        options: Sequence[Any] = (),
        *,
        nothing: Any = None,
    ) -> Any:
        """Draw a widget whose value is a field of the view.

        Args:
            field: Of ``ViewState``; also the widget's key.
            draw: Draws the widget under the ``key`` that it is given, and returns its value.
            options: What may be chosen; a view that holds something else gets what this page
                showed last, or the first of them. Empty: anything.
            nothing: The option that stands for a field that is None.
        """
        if self.fresh or field not in st.session_state:
            held = getattr(self.state, field)
            st.session_state[field] = nothing if held is None else held
        shown_last = f"{self.name}-{field}-shown"
        if options and st.session_state[field] not in options:
            last = st.session_state.get(shown_last)
            st.session_state[field] = last if last in options else options[0]
        value = draw(key=field)
        st.session_state[shown_last] = value
        self.note(**{field: None if value == nothing else value})
        return value

    def choice(self, letter: str) -> Choice:
        """Return checkpoint ``A`` or ``B``."""
        key = getattr(self.state, letter.lower())
        return next(choice for choice in self.choices if choice.key == key)


def open_page(name: str, title: str) -> Page | None:
    """Begin a page: its title, what its link says, and what may be chosen.

    Args:
        name: One of ``PAGES``.
        title: Its headline.

    Returns:
        None when there is no checkpoint at all; the page then says what to do.
    """
    st.html(STYLE)
    st.title(title, anchor=False)
    choices, left_out = list_choices(server.offered().checkpoints)
    pair = default_pair(choices)
    if pair is None:
        st.info(MISSING_PAIR)
        _draw_left_out(left_out)
        return None
    runs = list_runs(server.offered().runs)
    default = ViewState(a=pair[0], b=pair[1])
    offered = Offered([c.key for c in choices], _image_ids(), [run.key for run in runs])
    fresh, notices = _follow(name, default, offered)
    for notice in (*notices, *_replace_missing(default, offered)):
        st.warning(notice, icon=":material/link_off:")
    _draw_left_out(left_out)
    return Page(name, choices, runs, fresh)


def _follow(name: str, default: ViewState, offered: Offered) -> tuple[bool, tuple[str, ...]]:
    """Set the view to what the address says, when it is not what this session wrote there."""
    session = st.session_state
    query = st.query_params.to_dict()
    moved = session.get(PAGE) != name
    session[PAGE] = name
    written: WrittenLink | None = session.get(LINK)
    ours = written is not None and written.wrote(query)
    if VIEW in session and (ours or (moved and not query)):
        return moved, ()
    held = session.get(VIEW, default)
    for field in default.to_query(name):
        held = replace(held, **{field: getattr(default, field)})
    state, notices = parse_query(query, name, held, offered)
    upload: Upload | None = session.get(UPLOAD)
    if state.upload is not None and (upload is None or upload.key != state.upload):
        state = replace(state, upload=None, source="scene")
        notices += (
            "This link was made with an uploaded image, which a link cannot carry; upload it "
            f"again to see the same view (here is scene {state.scene} instead).",
        )
    session[VIEW] = state
    return True, notices


def _replace_missing(default: ViewState, offered: Offered) -> tuple[str, ...]:
    """Replace checkpoints that have gone from the folder since they were chosen."""
    notices: tuple[str, ...] = ()
    for name in ("a", "b"):
        if getattr(st.session_state[VIEW], name) not in offered.checkpoints:
            fallback = getattr(default, name)
            st.session_state[VIEW] = replace(st.session_state[VIEW], **{name: fallback})
            st.session_state[name] = fallback
            notices += (f"Checkpoint {name.upper()} is no longer there; another one is shown.",)
    return notices


def _image_ids() -> tuple[str, ...]:
    try:
        data = cached.data_set()
    except GstoVizError:
        # The header says so where the image is chosen.
        return ()
    return () if data is None else data.ids


def hold_upload(widget: str) -> None:
    """Keep what the uploader holds, or forget the upload when it was taken out of it."""
    file = st.session_state.get(widget)
    if file is None:
        st.session_state.pop(UPLOAD, None)
        return
    content = file.getvalue()
    st.session_state[UPLOAD] = Upload(upload_fingerprint(content), file.name, content)


def held_upload() -> Upload | None:
    """Return the uploaded file of this session, or None."""
    upload: Upload | None = st.session_state.get(UPLOAD)
    return upload


def _draw_left_out(sentences: Sequence[str]) -> None:
    """List which files of the folder are not offered."""
    folder = server.offered().checkpoints
    if not sentences or folder is None:
        return
    many = f"{len(sentences)} files are" if len(sentences) > 1 else "1 file is"
    with st.expander(f"{many} not offered from {plain(Path(folder).name)}"):
        st.text("\n".join(sentences))


MENU, TILE, MAKING = "export_menu", "export_tile", "export_making"
"""Keys of the menu, of the chosen tile, and of how far the archive is."""


def draw_exports(make: Callable[[], Exports]) -> None:
    """Draw the menu; closed, it is one button and costs a page nothing.

    Args:
        make: Returns the files of the view as it is now; called while the menu is open.
    """
    menu = st.popover("Export", icon=":material/download:", key=MENU, on_change="rerun")
    if not menu.open:
        return
    exports = make()
    making: Making = st.session_state.setdefault(MAKING, Making())
    with menu:
        columns = st.columns(2, gap="small")
        for k, file in enumerate((*exports.files, exports.archive(making))):
            with columns[k % 2]:
                _draw_button(exports.stem, file, file.label)
        _draw_making(making)
        if exports.tiles:
            labels = [tile.label for tile in exports.tiles]
            chosen = st.selectbox("Tile, one pixel per cell", labels, key=TILE)
            tile = exports.tiles[labels.index(chosen)]
            _draw_button(exports.stem, tile, f"{tile.label} (PNG)")


@st.fragment(run_every=1.0)
def _draw_making(making: Making) -> None:
    """Show how far the archive is, which takes half a minute; it is made outside of the page."""
    if making.words:
        st.progress(making.share, making.words)


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
