"""The panel "Regions" of the page "Sizes": q against size, a box to draw, where regions lie."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer import cached
from gsto_viz.explorer import charts as size_charts
from gsto_viz.explorer.exports.files import Drawing, draw_worst_pairs
from gsto_viz.explorer.exports.sizes import pair_rows
from gsto_viz.explorer.folders import Place, place_of, stamp_of
from gsto_viz.explorer.links import Link, draw_links
from gsto_viz.explorer.page_frame import Page
from gsto_viz.explorer.pictures import Picture
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.texts import box_ends, ends_of, plain, written_box
from gsto_viz.explorer.values.images import has_region, image_nulls, inner_point, regions_of
from gsto_viz.explorer.values.sizes import (
    Choices,
    SizeSource,
    Subject,
    confusion,
    in_box,
    of_report,
    of_shown,
    paired_table,
    random_draws,
    region_rows,
    responses,
    thinned,
    tunings,
)
from gsto_viz.explorer.values.tiles import marked
from gsto_viz.explorer.view_state import MAX_SCENE
from gsto_viz.plots.pairs import MAX_ROWS
from gsto_viz.regions import PreparedRegions
from gsto_viz.report import Report, load_report
from gsto_viz.types import Sample, WorstPair

rows_of = cached.kept(16)(region_rows)
confusion_of = cached.kept(128)(confusion)
draws_of = cached.kept(32)(random_draws)
responses_of = cached.kept(32)(responses)
tunings_of = cached.kept(32)(tunings)
picture_regions = cached.kept(16)(regions_of)


@cached.kept(16)
def image_source(shown: Shown) -> SizeSource:
    """Return the region tables of one image."""
    return of_shown(shown, cached.numbers(shown))


def analysis(folder: Path) -> Subject:
    """Read an analysis and its region tables once.

    Raises:
        GstoVizError: Not finished, damaged, or of another version.
    """
    return _analysis(folder, stamp_of(folder))


@cached.kept(4)
def _analysis(folder: Path, stamp: str) -> Subject:
    report = load_report(folder)
    return Subject(of_report(report, stamp), None, report)


@cached.kept(8)
def paired(subject: Subject) -> pd.DataFrame:
    """Return B - A of every index of an analysis."""
    assert subject.report is not None
    return paired_table(subject.report, *subject.source.letters)


@cached.kept(16)
def nulls_of(shown: Shown, choices: Choices, _partner: Sample | None) -> pd.DataFrame:
    """Return SCI of one image under N1 and N2, see ``image_nulls``."""
    return image_nulls(shown, cached.regions(shown), _partner, choices)


def partner_of(page: Page, shown: Shown) -> Sample | None:
    """Return an image whose labels N2 takes: another one of the same size; None without one."""
    state, data = page.state, cached.data_set()
    if state.source == "scene":
        found = cached.scene((state.scene + 1) % (MAX_SCENE + 1))
    elif state.source == "data" and data is not None and len(data) > 1:
        here = data.ids.index(state.image) if state.image in data.ids else 0
        other = data.ids[(here + len(data) // 2) % len(data)]
        try:
            found = cached.data_image(data.name, other, data)
        except GstoVizError:
            return None
    else:
        return None
    same = found.sample.image.shape == shown.sample.image.shape
    return found.sample if same else None


@cached.kept(16)
def worst_drawings(subject: Subject, choices: Choices) -> list[tuple[WorstPair, Drawing]]:
    """Draw the worst pairs of an image or analysis; none: all are in the right order."""
    regions = None if subject.shown is None else cached.regions(subject.shown)
    rows = pair_rows(subject, regions, choices)[:MAX_ROWS]
    return [(r.pair, draw_worst_pairs([r], subject.source.names, caption=False)) for r in rows]


OTHER_NETWORKS = (
    "The networks of this analysis are not offered here (start with --checkpoints and their "
    "folder); Explore shows A and B as chosen last."
)


@dataclass(frozen=True, eq=False)
class Opened:
    """An image that "Explore" can show.

    Attributes:
        picture: The image.
        regions: Of that image; None without labels.
        query: What a link to it holds.
        same_networks: The link shows the networks that the page is about.
    """

    picture: Picture
    regions: PreparedRegions | None = field(repr=False)
    query: dict[str, str]
    same_networks: bool = True

    def holds(self, number: int, area_px: int) -> bool:
        """Return whether a region is there: whether it is the same image."""
        return self.regions is not None and has_region(self.regions, number, area_px)


def open_shown(page: Page, shown: Shown) -> Opened:
    """Open the image that the page is about."""
    names = ("source", "scene", "image", "upload", "a", "b")
    query = {k: v for k, v in page.state.to_query("explore").items() if k in names}
    return Opened(shown.picture, cached.regions(shown), query)


def chosen_networks(page: Page, subject: Subject) -> tuple[dict[str, str], bool]:
    """Return what a link to Explore holds of the networks, and whether they are the subject's."""
    names = list(subject.source.names.values())
    chosen = [page.choice(letter) for letter in LETTERS]
    known = {choice.key: choice.key for choice in page.choices}
    if subject.report is not None:
        # A file is known by its content: an analysis does not say where it lies.
        models = subject.report.manifest["models"]
        sha = {cached.fingerprint(choice): choice.key for choice in chosen}
        known |= {
            subject.source.names[letter]: sha[models[letter]["sha256"]]
            for letter in subject.source.letters
            if models[letter]["sha256"] in sha
        }
    same = set(names) <= set(known)
    pair = (known[names[0]], known[names[-1]]) if same else [choice.key for choice in chosen]
    return dict(zip("ab", pair, strict=True)), same


def open_analysed(page: Page, source: SizeSource, report: Report, image: str) -> Opened | str:
    """Open an image of an analysis.

    Returns:
        The image, or one sentence that says why it cannot be shown.

    Raises:
        GstoVizError: It cannot be read.
    """
    try:
        data = cached.data_set()
    except GstoVizError:
        data = None
    place = place_of(image, report.data, report.manifest["size"] is not None, data)
    if isinstance(place, str):
        return place
    picture = _picture(place)
    regions = picture_regions(picture, source.strides[source.letters[0]])
    networks, same = chosen_networks(page, Subject(source, None, report))
    query = place.query() | networks
    return Opened(picture, regions, query, same)


def open_pair(page: Page, subject: Subject, pair: WorstPair) -> Opened | None:
    """Open the image of a pair; None: it cannot be shown, or has changed since."""
    if subject.shown is not None:
        return open_shown(page, subject.shown)
    assert subject.report is not None
    try:
        opened = open_analysed(page, subject.source, subject.report, pair.image)
    except GstoVizError:
        # Nothing is offered that would fail; the picture of the pair is there all the same.
        return None
    return None if isinstance(opened, str) else opened


def draw_link(opened: Opened, number: int, area_px: int, pair: str = "") -> None:
    """Draw the link to Explore, with the probe in the region where that is found.

    Args:
        opened: The image.
        number: Of the region.
        area_px: Its area.
        pair: Tells links on one page to the same region apart.
    """
    query = opened.query
    if opened.holds(number, area_px):
        assert opened.regions is not None
        point = inner_point(opened.regions, number)
        query = query | {"pick": "region", "x": str(point.x), "y": str(point.y)}
    name = f"link-{pair}-{number}" if pair else f"link-{number}"
    draw_links([Link("explore", query, "Open in Explore")], key=name)


def _picture(place: Place) -> Picture:
    if place.source == "scene":
        return cached.scene(place.scene)
    data = cached.data_set()
    assert data is not None
    assert place.image is not None
    return cached.data_image(data.name, place.image, data)


BEGUN = "sizes-boxes"
"""Key of the session state: what the scatters began with."""
MAX_LISTED = 500
"""Regions in the list below the scatter."""


@st.fragment
def draw_regions(page: Page, subject: Subject, choices: Choices) -> None:
    """Draw the scatters and what was chosen in them; a box runs nothing but this."""
    rows = rows_of(subject.source, choices)
    if rows.empty:
        st.markdown("No region is left with these filters.")
        return
    inside = _draw_scatters(page, subject, choices, rows)
    _draw_linked()
    page.write_link()
    if inside is None:
        st.markdown(
            "Draw a box in a chart to list the regions in it. Boxes in both charts: the regions "
            "that lie in both."
        )
        return
    chosen = rows[inside]
    if chosen.empty:
        st.markdown("No region lies in the box.")
        return
    left, right = st.columns([3, 2], gap="medium")
    with left:
        row = _draw_list(subject, chosen)
    with right:
        if subject.shown is not None:
            _draw_picture(page, subject.shown, chosen, row)
        elif row is not None and subject.report is not None:
            _draw_region_of_analysis(page, subject, subject.report, row)


def _draw_scatters(
    page: Page, subject: Subject, choices: Choices, rows: pd.DataFrame
) -> "pd.Series[bool] | None":
    """Draw one chart per network; return which regions lie in all boxes, None without a box."""
    source = subject.source
    shown = thinned(rows)
    limits = size_charts.limits_of(rows, source.letters)
    begun = _boxes_begun(page, subject, choices)
    inside: pd.Series[bool] | None = None
    for position, column in enumerate(st.columns(len(source.letters))):
        letter = source.letters[position]
        with column:
            st.markdown(f"**{letter}: {plain(source.names[letter])}**")
            first = begun.boxes.get(letter)
            key = scatter_key(subject, choices, letter, first)
            event = st.altair_chart(
                size_charts.scatter(
                    shown, letter, position, limits, None if first is None else box_ends(first)
                ),
                width="stretch",
                key=key,
                on_select=partial(begun.changed.add, letter),
                alt=f"q of every region against its size, network {letter}",
            )
        box = _box_of(event)
        if box is None and letter not in begun.changed:
            box = first
        page.note(**{f"box_{letter.lower()}": box})
        if box is not None:
            found = in_box(rows, letter, box_ends(box))
            inside = found if inside is None else inside & found
    sampled = ""
    if len(shown) < len(rows):
        sampled = (
            f" The charts draw {len(shown)} of {len(rows)} regions, evenly spaced; boxes and all "
            "statistics use every one."
        )
    st.markdown(
        "One mark per region. q: coarseness at matched resolution; where the branches are aware "
        f"of size, larger regions have a larger q. {source.gains}{sampled}"
    )
    return inside


@dataclass
class Begun:
    """What the charts began with.

    Attributes:
        page: The run of the page that began them.
        about: What they show.
        boxes: By letter, the box that the link holds.
        changed: Letters of the charts in which a box was drawn, moved or taken away since.
    """

    page: Page
    about: str
    boxes: Mapping[str, str]
    changed: set[str] = field(default_factory=set)

    def forget(self) -> None:
        """Go on without the link's boxes that nobody has changed."""
        self.boxes = {letter: box for letter, box in self.boxes.items() if letter in self.changed}


def _boxes_begun(page: Page, subject: Subject, choices: Choices) -> Begun:
    """Return what the charts began with; other regions or another size, and boxes are forgotten."""
    about = repr((subject.source.key, choices.cls, choices.size))
    held: Begun | None = st.session_state.get(BEGUN)
    # A box runs this fragment again, with the page that opened it.
    linked = page.fresh and (held is None or held.page is not page)
    if held is None or linked or held.about != about:
        boxes = {"A": page.state.box_a, "B": page.state.box_b} if linked else {}
        given = {letter: box for letter, box in boxes.items() if box is not None}
        held = st.session_state[BEGUN] = Begun(page, about, given)
    return held


def _draw_linked() -> None:
    """Draw a way to take the boxes of the link away.

    A browser does not say that a box is gone which it never said was there.
    """
    held: Begun = st.session_state[BEGUN]
    if set(held.boxes) - held.changed:
        st.button("Take the link's boxes away", icon=":material/close:", on_click=held.forget)


def scatter_key(subject: Subject, choices: Choices, letter: str, begun: str | None = None) -> str:
    """Return the key of a scatter: of what it shows, and of the box that it began with."""
    about = repr((subject.source.key, choices.cls, choices.size, begun))
    return f"scatter-{letter}-{hashlib.sha256(about.encode()).hexdigest()[:12]}"


def _box_of(event: Any) -> str | None:
    """Return what the browser says of the box, as a view holds it; None without one."""
    selection = event["selection"] if isinstance(event, Mapping) else {}
    box = selection.get(size_charts.BRUSH) if isinstance(selection, Mapping) else None
    if not isinstance(box, Mapping):
        return None
    octave, q = (ends_of(box.get(name)) for name in ("octave", "q"))
    return None if octave is None or q is None else written_box(octave, q)


def _draw_list(subject: Subject, chosen: pd.DataFrame) -> pd.Series | None:
    """Draw the list of regions; return the row that is selected, None without one."""
    letters = subject.source.letters
    table = chosen.head(MAX_LISTED).reset_index(drop=True)
    hidden = ["area_px"] if subject.shown is None else ["area_px", "image"]
    if len(letters) == 2:
        table = table.assign(difference=table[f"q_{letters[1]}"] - table[f"q_{letters[0]}"])
    q = [f"q_{letter}" for letter in letters]
    names = {"octave": "size (octaves)", "size_px": "size (px)"}
    names |= {f"q_{letter}": f"q of {letter}" for letter in letters}
    names |= {"difference": f"q of {letters[-1]} - q of {letters[0]}"}
    count = f"{len(chosen)} regions" if len(chosen) != 1 else "1 region"
    first = f"; the first {MAX_LISTED} are listed" if len(chosen) > MAX_LISTED else ""
    means = ", ".join(f"{name.removeprefix('q_')} {chosen[name].mean():+.3f}" for name in q)
    st.markdown(f"**{count} in the box{first}.** Mean q: {means}. Select a row to find the region.")
    format_of = {name: st.column_config.NumberColumn(format="%+.3f") for name in names.values()
                 if name.startswith("q ")}  # fmt: skip
    format_of[names["octave"]] = st.column_config.NumberColumn(format="%.2f")
    format_of[names["size_px"]] = st.column_config.NumberColumn(format="%.0f")
    event = st.dataframe(
        table.drop(columns=hidden).rename(columns=names),
        hide_index=True,
        width="stretch",
        height=min(320, 38 + 35 * len(table)),
        column_config=format_of,
        key="sizes-list",
        on_select="rerun",
        selection_mode="single-row",
        alt="Regions in the box: image, class, size, q of A and of B",
    )
    picked = event["selection"]["rows"]
    return table.iloc[picked[0]] if picked and picked[0] < len(table) else None


def _draw_picture(page: Page, shown: Shown, chosen: pd.DataFrame, row: pd.Series | None) -> None:
    """Outline the chosen regions, or the selected one, on the image."""
    regions = cached.regions(shown)
    numbers = set(chosen["region"].tolist()) if row is None else {int(row["region"])}
    what = f"{len(numbers)} regions in the box" if row is None else f"region {int(row['region'])}"
    st.image(
        marked(shown.sample.image, regions.regions.ids, numbers),
        alt=f"The image with {what} outlined",
        caption=f"Outlined: {what}. Regions are cut from {shown.region_source}.",
        width="stretch",
    )
    if row is not None:
        opened = open_shown(page, shown)
        draw_link(opened, int(row["region"]), int(row["area_px"]))


def _draw_region_of_analysis(page: Page, subject: Subject, report: Report, row: pd.Series) -> None:
    """Show where a region of an analysis lies, and link to it, or say why that cannot be done."""
    try:
        opened = open_analysed(page, subject.source, report, str(row["image"]))
    except GstoVizError as error:
        st.error(plain(str(error)))
        return
    if isinstance(opened, str):
        st.markdown(f"Not opened in Explore: {plain(opened)}")
        return
    if not opened.same_networks:
        st.markdown(OTHER_NETWORKS)
    number, area = int(row["region"]), int(row["area_px"])
    if opened.holds(number, area):
        assert opened.regions is not None
        st.image(
            marked(opened.picture.sample.image, opened.regions.regions.ids, {number}),
            alt=f"Image {row['image']} with region {number} outlined",
            caption=f"{plain(opened.picture.description)} Outlined: region {number}, "
            f"{plain(row['class'])}.",
            width="stretch",
        )
    else:
        st.markdown("The region itself was not found in the image as it is shown here.")
    draw_link(opened, number, area)
