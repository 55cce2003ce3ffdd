"""What a link to the explorer holds, and reading it without trusting it."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer.texts import (
    MAX_TEXT,
    MAX_ZOOM,
    Value,
    read_box,
    read_decimal,
    read_fingerprint,
    read_switch,
    read_text,
    read_whole,
    read_zoom,
    written,
)
from gsto_viz.words import METHOD_LINKS, MODES

COLORS = ("inferno", "viridis", "cividis", "gray", "jet")
"""Colour maps of branch maps; jet is there because the paper uses it."""
SOURCES = ("scene", "data", "upload")
"""Where the image comes from."""
PICKS = ("pixel", "region")
"""What a click chooses."""
SIZES = ("area", "inscribed")
"""How large a region is: octaves of the square root of its area, or of its inscribed diameter."""
PANELS = ("regions", "responses", "nulls", "differences", "pairs")
"""Which panel of the page "Sizes" is open."""
TABS = ("steps", "example", "numbers", "evidence", "gates", "limits", "glossary", "sources")
"""Which part of the page "Method" is open."""
MAX_OTHERS = 5
"""Runs that one is compared with."""
SCORES = ("margin", "mean")
"""What is explained: the margin of a class over the next one, or its logit."""
ABSENT = ("mean", "zero")
"""What stands in for an absent branch: the mean of each channel in this image, or zero."""
STEPS = (8, 16, 32, 64)
"""Steps of integrated gradients."""
MAX_SCENE = 9999
"""Scenes are numbered 0..9999, all of evaluation seed 0: no network was trained on any."""
MAX_PIXEL = 99_999
MIN_OBJECT, MAX_OBJECT = 4, 256
"""Pixels: size of the drawn object of the scale probe."""
BOX_PROBLEM = "is not a box: two sizes in octaves and two values of q, each pair rising"

_SHARED = ("source", "scene", "image", "upload", "a", "b")


@dataclass(frozen=True)
class PageRow:
    """A page of the explorer.

    Attributes:
        title: Its name in the bar of pages.
        icon: Name of a Material symbol.
        settings: Fields of ``ViewState`` that its links hold.
    """

    title: str
    icon: str
    settings: tuple[str, ...]


PAGES: dict[str, PageRow] = {
    "explore": PageRow(
        "Explore",
        "travel_explore",
        (
            *_SHARED,
            *("mode", "colors", "x", "y", "px", "py", "pick", "difference", "opacity", "zoom"),
            *("relation", "head"),
        ),
    ),
    "gates": PageRow(
        "Gates", "door_sliding", (*_SHARED, "x", "y", "gate", "force", "value", "zoom")
    ),
    "sizes": PageRow(
        "Sizes",
        "scatter_plot",
        (*_SHARED, "run", "size", "cls", "gap", "panel", "box_a", "box_b"),
    ),
    "attribution": PageRow(
        "Attribution",
        "account_tree",
        (
            *_SHARED,
            *("x", "y", "pick", "method", "target", "score", "absent", "steps", "zoom"),
        ),
    ),
    "scale-probe": PageRow(
        "Scale probe",
        "straighten",
        ("a", "b", "object", "side", "ox", "oy", "curves", "zoom"),
    ),
    "runs": PageRow("Runs", "show_chart", ("run", "others", "a", "b")),
    "method": PageRow("Method", "menu_book", ("a", "b", "tab")),
}
"""The pages by the last part of their address, the first one first; ``views/`` draws them."""


@dataclass(frozen=True)
class ViewState:
    """One view of the explorer; a page's link holds the part that the page shows.

    Attributes:
        source: One of ``SOURCES``.
        scene: Number of the procedural scene, 0..9999.
        image: Id of an image of the data set given at the start; None: its first one.
        upload: First 16 hexadecimal digits of the SHA-256 of the uploaded file. A link cannot
            carry the image, only say which one it was.
        a: Key of checkpoint A, None when there is none to choose.
        b: Key of checkpoint B.
        mode: Key of ``gsto_viz.words.MODES``.
        colors: One of ``COLORS``.
        x: Column of the probed pixel in the image as the networks see it; None: the page chooses.
        y: Row of the probed pixel.
        px: Column of the pinned pixel; None: nothing is pinned.
        py: Row of the pinned pixel.
        pick: One of ``PICKS``.
        opacity: Of branch maps over the image, 0.1..1.
        difference: Show the row of differences B - A.
        relation: Tap of the relation whose cells are shown; None: the page chooses.
        head: Which of its heads; None: the mean of all.
        gate: Tap of the gate that is looked at; None: the page chooses.
        force: Whether that gate is held at ``value``.
        value: What the gate is held at, 0..1.
        run: Key of the folder of an analysis or training run; None: the page chooses.
        others: Keys of up to five training runs that ``run`` is compared with, joined by commas;
            None: it stands alone.
        size: One of ``SIZES``.
        cls: Name of the class that regions must have; None: all.
        gap: Least difference of size in a pair, octaves, 1..4.
        panel: One of ``PANELS``.
        box_a: The box drawn in A's chart of q against size: its ends in octaves and in q, as
            ``written_box`` gives; None: there is none.
        box_b: That in B's chart.
        method: Key of ``gsto_viz.words.METHOD_LINKS``.
        target: Name of the class that is asked about; None: what A predicts at the probe.
        score: One of ``SCORES``.
        absent: One of ``ABSENT``.
        steps: One of ``STEPS``.
        object: Name of the class of the drawn object; None: the page chooses.
        side: Size of the drawn object, 4..256 pixels.
        ox: Column of its middle, 0..1 of the image's width.
        oy: Row of its middle, 0..1 of the image's height.
        curves: Whether its tuning curves are shown.
        tab: One of ``TABS``.
        zoom: Which part of the image the tiles show: how much larger, and where its left and top
            edge lie (0..1 of width and height), as ``written_zoom`` gives; None: all of it.
    """

    source: str = SOURCES[0]
    scene: int = 0
    image: str | None = None
    upload: str | None = None
    a: str | None = None
    b: str | None = None
    mode: str = "percentile"
    colors: str = COLORS[0]
    x: int | None = None
    y: int | None = None
    px: int | None = None
    py: int | None = None
    pick: str = PICKS[0]
    opacity: float = 1.0
    difference: bool = False
    relation: str | None = None
    head: int | None = None
    gate: str | None = None
    force: bool = False
    value: float = 1.0
    run: str | None = None
    others: str | None = None
    size: str = SIZES[0]
    cls: str | None = None
    gap: float = 1.0
    panel: str = PANELS[0]
    box_a: str | None = None
    box_b: str | None = None
    method: str = "shapley"
    target: str | None = None
    score: str = SCORES[0]
    absent: str = ABSENT[0]
    steps: int = 16
    object: str | None = None
    side: int = 32
    ox: float = 0.5
    oy: float = 0.5
    curves: bool = False
    tab: str = TABS[0]
    zoom: str | None = None

    def to_query(self, page: str) -> dict[str, str]:
        """Return the parameters of a link to this view on a page of ``PAGES``."""
        values = {name: getattr(self, name) for name in PAGES[page].settings}
        return {name: written(value) for name, value in values.items() if value is not None}

    def to_json(self) -> dict[str, Value | None]:
        """Return every field, for a file."""
        return asdict(self)


@dataclass(frozen=True)
class Offered:
    """What may be named by a link because the page offers it.

    Attributes:
        checkpoints: Keys of checkpoints.
        images: Ids of the data set's images.
        runs: Keys of analyses and training runs.
    """

    checkpoints: Collection[str] = ()
    images: Collection[str] = ()
    runs: Collection[str] = ()


@dataclass(frozen=True)
class _Reader:
    read: Callable[[str], Value | None]
    problem: str


def parse_query(
    query: Mapping[str, str], page: str, default: ViewState, offered: Offered
) -> tuple[ViewState, tuple[str, ...]]:
    """Read a link; what is wrong with it changes nothing and is said.

    The notices never repeat what the link holds: it may be anything.

    Args:
        query: Parameters of the link, of any content.
        page: One of ``PAGES``.
        default: What holds where the link says nothing, or nothing usable.
        offered: What may be chosen.

    Returns:
        The view, and one sentence for each parameter that was left out.
    """
    readers = {
        name: reader for name, reader in _readers(offered).items() if name in PAGES[page].settings
    }
    changes: dict[str, Any] = {}
    notices = []
    for key, reader in readers.items():
        if key in query:
            value = reader.read(query[key])
            if value is None:
                notices.append(f"The link's setting '{key}' {reader.problem}; it was left out.")
            else:
                changes[key] = value
    unknown = len(set(query) - set(readers))
    if unknown:
        what = "a setting" if unknown == 1 else f"{unknown} settings"
        notices.append(f"The link has {what} that this page does not know; left out.")
    for first, second in (("x", "y"), ("px", "py")):
        if (first in changes) != (second in changes):
            changes.pop(first, None)
            changes.pop(second, None)
            if not any(f"'{name}'" in notice for name in (first, second) for notice in notices):
                notices.append(f"The link has only one of '{first}' and '{second}'; left out.")
    return replace(default, **changes), tuple(notices)


def state_from_json(values: Mapping[str, Any]) -> ViewState:
    """Read what ``ViewState.to_json`` gave, without trusting it; absent fields have defaults.

    Raises:
        GstoVizError: A field that is not known, or a value that it cannot have; the value is not
            repeated.
    """
    default = ViewState()
    kinds = {field.name: type(getattr(default, field.name)) for field in fields(ViewState)}
    unknown = sorted(set(values) - set(kinds))
    if unknown:
        raise GstoVizError(
            f"the view has {len(unknown)} settings that this version does not know; replay it with "
            "the version that saved it"
        )
    texts = [value for value in values.values() if isinstance(value, str)]
    # A list of runs names each of them.
    named = {part for text in texts for part in (text, *text.split(","))}
    readers = _readers(Offered(named, named, named))
    for name, value in values.items():
        if value is None and kinds[name] is type(None):
            continue
        if not isinstance(value, Value) or not _reads_same(readers[name], value):
            raise GstoVizError(
                f"the view's setting '{name}' {readers[name].problem}; save the view again"
            )
    return replace(default, **values)


def _reads_same(reader: _Reader, value: Value) -> bool:
    """Return whether a link could hold a value: read back, it is the same, up to the rounding."""
    read = reader.read(_shortened(value))
    if isinstance(read, float) and isinstance(value, int | float) and not isinstance(value, bool):
        return abs(read - value) < 1e-6
    return type(read) is type(value) and read == value


def _shortened(value: Value) -> str:
    """Return a value as a link writes it; what no link can hold becomes an empty text."""
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    if isinstance(value, int) and abs(value) > MAX_PIXEL:
        return ""
    return written(value)


def _readers(offered: Offered) -> dict[str, _Reader]:
    pixel = _Reader(_pixel, f"is not a whole number from 0 to {MAX_PIXEL}")
    share = _Reader(partial(read_decimal, low=0.0, high=1.0), "is not a number from 0 to 1")
    name = _Reader(read_text, f"is not a text of 1 to {MAX_TEXT} printable characters")
    checkpoint = _choice(offered.checkpoints, "names no checkpoint that is offered here")
    return {
        "source": _one_of(SOURCES),
        "scene": _Reader(_scene, f"is not a whole number from 0 to {MAX_SCENE}"),
        "image": _choice(offered.images, "names no image of the data set that is open here"),
        "upload": _Reader(read_fingerprint, "is not a fingerprint of an image"),
        "a": checkpoint,
        "b": checkpoint,
        "mode": _one_of(tuple(MODES)),
        "colors": _one_of(COLORS),
        "x": pixel,
        "y": pixel,
        "px": pixel,
        "py": pixel,
        "pick": _one_of(PICKS),
        "opacity": _Reader(
            partial(read_decimal, low=0.1, high=1.0), "is not a number from 0.1 to 1"
        ),
        "difference": _Reader(read_switch, "is neither 0 nor 1"),
        "relation": name,
        "head": _Reader(_head, "is not a whole number from 0 to 99"),
        "gate": name,
        "force": _Reader(read_switch, "is neither 0 nor 1"),
        "value": share,
        "run": _choice(offered.runs, "names no run that is offered here"),
        "others": _Reader(
            partial(_others, options=offered.runs),
            f"names runs that are not offered here, or more than {MAX_OTHERS}",
        ),
        "size": _one_of(SIZES),
        "cls": name,
        "gap": _Reader(partial(read_decimal, low=1.0, high=4.0), "is not a number from 1 to 4"),
        "panel": _one_of(PANELS),
        "box_a": _Reader(read_box, BOX_PROBLEM),
        "box_b": _Reader(read_box, BOX_PROBLEM),
        "method": _one_of(tuple(METHOD_LINKS)),
        "target": name,
        "score": _one_of(SCORES),
        "absent": _one_of(ABSENT),
        "steps": _Reader(_steps, f"is none of {', '.join(map(str, STEPS))}"),
        "object": name,
        "side": _Reader(_side, f"is not a whole number from {MIN_OBJECT} to {MAX_OBJECT}"),
        "ox": share,
        "oy": share,
        "curves": _Reader(read_switch, "is neither 0 nor 1"),
        "tab": _one_of(TABS),
        "zoom": _Reader(read_zoom, f"is not a part of an image, enlarged up to {MAX_ZOOM} times"),
    }


def _choice(options: Collection[str], problem: str) -> _Reader:
    return _Reader(lambda text: text if text in options else None, problem)


def _others(text: str, options: Collection[str]) -> str | None:
    keys = text.split(",")
    good = len(keys) <= MAX_OTHERS and len(set(keys)) == len(keys)
    return text if good and all(key in options for key in keys) else None


def _one_of(options: tuple[str, ...]) -> _Reader:
    return _choice(options, f"is none of {', '.join(options)}")


_scene = partial(read_whole, digits=4)
_pixel = partial(read_whole, digits=5)
_head = partial(read_whole, digits=2)


def _side(text: str) -> int | None:
    value = read_whole(text, 3)
    return value if value is not None and MIN_OBJECT <= value <= MAX_OBJECT else None


def _steps(text: str) -> int | None:
    value = read_whole(text, 2)
    return value if value in STEPS else None
