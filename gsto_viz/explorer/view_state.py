"""The registers of settings and of pages, and reading links and files without trusting them."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
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
PANELS = ("regions", "responses", "nulls", "differences", "pairs", "gallery")
"""Which panel of the page "Sizes" is open."""
ORDERS = ("data", "sci", "disagreement", "miou")
"""By what the gallery of "Sizes" is sorted."""
TABS = ("steps", "example", "numbers", "evidence", "gates", "limits", "glossary", "sources")
"""Which part of the page "Method" is open."""
MAX_OTHERS = 5
"""Runs that one is compared with."""
MAX_MORE = 6
"""Networks beside A and B."""
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
class Kind:
    """What a setting may hold.

    Attributes:
        read: Returns the value that a text of a link stands for, None for any other text.
        problem: What is said of another text, after the setting's name.
    """

    read: Callable[[str, Offered], Value | None]
    problem: str


def _plain(read: Callable[[str], Value | None], problem: str) -> Kind:
    return Kind(lambda text, _: read(text), problem)


def _one_of(options: Collection[str]) -> Kind:
    return _plain(
        lambda text: text if text in options else None, f"is none of {', '.join(options)}"
    )


def _whole(low: int, high: int) -> Kind:
    def read(text: str) -> int | None:
        value = read_whole(text, len(str(high)))
        return value if value is not None and low <= value <= high else None

    return _plain(read, f"is not a whole number from {low} to {high}")


def _decimal(low: float, high: float) -> Kind:
    return _plain(
        lambda text: read_decimal(text, low, high), f"is not a number from {low:g} to {high:g}"
    )


def _step(text: str) -> int | None:
    value = read_whole(text, 2)
    return value if value in STEPS else None


def _list_of(offered: Callable[[Offered], Collection[str]], most: int, what: str) -> Kind:
    """Return the kind of a list of keys, joined by commas, each of them once."""

    def read(text: str, offers: Offered) -> str | None:
        keys, options = text.split(","), offered(offers)
        good = len(keys) <= most and len(set(keys)) == len(keys)
        return text if good and all(key in options for key in keys) else None

    return Kind(read, f"names {what} that are not offered here, or more than {most}")


_PIXEL = _whole(0, MAX_PIXEL)
_SHARE = _decimal(0, 1)
_SWITCH = _plain(read_switch, "is neither 0 nor 1")
_NAME = _plain(read_text, f"is not a text of 1 to {MAX_TEXT} printable characters")
_BOX = _plain(read_box, "is not a box: two sizes in octaves and two values of q, each pair rising")
_ZOOM = _plain(read_zoom, f"is not a part of an image, enlarged up to {MAX_ZOOM} times")
_STEPS = _plain(_step, f"is none of {', '.join(map(str, STEPS))}")
_UPLOAD = _plain(read_fingerprint, "is not a fingerprint of an image")
_CHECKPOINT = Kind(
    lambda text, offered: text if text in offered.checkpoints else None,
    "names no checkpoint that is offered here",
)
_IMAGE = Kind(
    lambda text, offered: text if text in offered.images else None,
    "names no image of the data set that is open here",
)
_RUN = Kind(
    lambda text, offered: text if text in offered.runs else None,
    "names no run that is offered here",
)


def _row(kind: Kind, default: Value | None, meaning: str) -> Any:
    """Return a row of the register of settings, as a field of ``ViewState``."""
    return field(default=default, metadata={"kind": kind, "meaning": meaning})


@dataclass(frozen=True)
class ViewState:
    """One view of the explorer, and the register of its settings.

    A row has the setting's name, what it may hold, its default, and what it means. Links, saved
    views and their checks all derive from it; where the default is None, the page chooses unless
    the meaning says otherwise. A page's link holds the settings that ``PAGES`` gives it.
    """

    source: str = _row(_one_of(SOURCES), SOURCES[0], "where the image comes from")
    scene: int = _row(_whole(0, MAX_SCENE), 0, "number of the drawn scene")
    image: str | None = _row(_IMAGE, None, "id of an image of the data set; None: the first")
    upload: str | None = _row(
        _UPLOAD,
        None,
        "first 16 hexadecimal digits of the SHA-256 of the uploaded file: a link cannot carry the "
        "image, only say which one it was",
    )
    a: str | None = _row(_CHECKPOINT, None, "key of checkpoint A; None when there is none")
    b: str | None = _row(_CHECKPOINT, None, "key of checkpoint B; None when there is none")
    more: str | None = _row(
        _list_of(lambda offered: offered.checkpoints, MAX_MORE, "checkpoints"),
        None,
        "keys of further checkpoints, joined by commas; None: only A and B",
    )
    mode: str = _row(_one_of(MODES), "percentile", "normalisation of branch maps")
    colors: str = _row(_one_of(COLORS), COLORS[0], "colour map of branch maps")
    x: int | None = _row(_PIXEL, None, "column of the probed pixel, as the networks see the image")
    y: int | None = _row(_PIXEL, None, "its row")
    px: int | None = _row(_PIXEL, None, "column of the pinned pixel; None: nothing is pinned")
    py: int | None = _row(_PIXEL, None, "its row")
    pick: str = _row(_one_of(PICKS), PICKS[0], "what a click chooses")
    opacity: float = _row(_decimal(0.1, 1), 1.0, "opacity of branch maps over the image")
    difference: bool = _row(_SWITCH, False, "whether the row of differences B - A is shown")
    relation: str | None = _row(_NAME, None, "tap of the relation whose cells are shown")
    head: int | None = _row(_whole(0, 99), None, "which of its heads; None: the mean of all")
    gate: str | None = _row(_NAME, None, "tap of the gate that is looked at")
    force: bool = _row(_SWITCH, False, "whether that gate is held at a value")
    value: float = _row(_SHARE, 1.0, "what the gate is held at")
    run: str | None = _row(_RUN, None, "key of the folder of an analysis or training run")
    others: str | None = _row(
        _list_of(lambda offered: offered.runs, MAX_OTHERS, "runs"),
        None,
        "keys of training runs that it is compared with, joined by commas; None: it stands alone",
    )
    size: str = _row(_one_of(SIZES), SIZES[0], "how the size of a region is measured")
    cls: str | None = _row(_NAME, None, "class that regions must have; None: all")
    gap: float = _row(_decimal(1, 4), 1.0, "least difference of size in a pair, octaves")
    panel: str = _row(_one_of(PANELS), PANELS[0], "which panel of Sizes is open")
    box_a: str | None = _row(
        _BOX,
        None,
        "the box drawn in A's chart of q against size: its ends in octaves, then in q; None: none",
    )
    box_b: str | None = _row(_BOX, None, "that in B's chart; None: none")
    order: str = _row(_one_of(ORDERS), ORDERS[0], "what images of the gallery are sorted by")
    sheet: int = _row(_whole(1, 9999), 1, "sheet of the gallery")
    method: str = _row(_one_of(METHOD_LINKS), "shapley", "method of attribution")
    target: str | None = _row(_NAME, None, "class asked about; None: what A predicts at the probe")
    score: str = _row(_one_of(SCORES), SCORES[0], "what is explained")
    absent: str = _row(_one_of(ABSENT), ABSENT[0], "what stands in for an absent branch")
    steps: int = _row(_STEPS, 16, "steps of integrated gradients")
    object: str | None = _row(_NAME, None, "class of the drawn object")
    side: int = _row(_whole(MIN_OBJECT, MAX_OBJECT), 32, "size of the drawn object, pixels")
    ox: float = _row(_SHARE, 0.5, "column of its middle, as a share of the image's width")
    oy: float = _row(_SHARE, 0.5, "row of its middle, as a share of the image's height")
    curves: bool = _row(_SWITCH, False, "whether its tuning curves are shown")
    tab: str = _row(_one_of(TABS), TABS[0], "which part of Method is open")
    zoom: str | None = _row(
        _ZOOM,
        None,
        "which part of the image the tiles show: how much larger, and its left and top edge as "
        "shares of width and height; None: all of it",
    )

    def to_query(self, page: str) -> dict[str, str]:
        """Return the parameters of a link to this view on a page of ``PAGES``."""
        values = {name: getattr(self, name) for name in PAGES[page].settings}
        return {name: written(value) for name, value in values.items() if value is not None}

    def to_json(self) -> dict[str, Value | None]:
        """Return every setting, for a file."""
        return asdict(self)


KINDS: dict[str, Kind] = {row.name: row.metadata["kind"] for row in fields(ViewState)}
"""What each setting may hold."""


@dataclass(frozen=True)
class PageRow:
    """A page of the explorer.

    Attributes:
        title: Its name in the bar of pages.
        icon: Name of a Material symbol.
        settings: Names of the settings that its links hold.
    """

    title: str
    icon: str
    settings: tuple[str, ...]


_IMAGE_AND_PAIR = "source scene image upload a b"


def _page(title: str, icon: str, settings: str) -> PageRow:
    return PageRow(title, icon, tuple(settings.split()))


PAGES: dict[str, PageRow] = {
    "explore": _page(
        "Explore",
        "travel_explore",
        f"{_IMAGE_AND_PAIR} more mode colors x y px py pick difference opacity zoom relation head",
    ),
    "gates": _page("Gates", "door_sliding", f"{_IMAGE_AND_PAIR} x y gate force value zoom"),
    "sizes": _page(
        "Sizes", "scatter_plot", f"{_IMAGE_AND_PAIR} run size cls gap panel box_a box_b order sheet"
    ),
    "attribution": _page(
        "Attribution",
        "account_tree",
        f"{_IMAGE_AND_PAIR} x y pick method target score absent steps zoom",
    ),
    "scale-probe": _page("Scale probe", "straighten", "a b object side ox oy curves zoom"),
    "runs": _page("Runs", "show_chart", "run others a b"),
    "method": _page("Method", "menu_book", "a b tab"),
}
"""The pages by the last part of their address, the first one first; ``views/`` draws them."""


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
    changes: dict[str, Any] = {}
    notices = []
    settings = PAGES[page].settings
    for name in settings:
        if name in query:
            value = KINDS[name].read(query[name], offered)
            if value is None:
                problem = KINDS[name].problem
                notices.append(f"The link's setting '{name}' {problem}; it was left out.")
            else:
                changes[name] = value
    unknown = len(set(query) - set(settings))
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
    unknown = sorted(set(values) - set(KINDS))
    if unknown:
        raise GstoVizError(
            f"the view has {len(unknown)} settings that this version does not know; replay it with "
            "the version that saved it"
        )
    texts = [value for value in values.values() if isinstance(value, str)]
    # A list of keys names each of them.
    named = {part for text in texts for part in (text, *text.split(","))}
    offered = Offered(named, named, named)
    for name, value in values.items():
        if value is None and getattr(default, name) is None:
            continue
        if not isinstance(value, Value) or not _reads_same(KINDS[name], value, offered):
            raise GstoVizError(
                f"the view's setting '{name}' {KINDS[name].problem}; save the view again"
            )
    return replace(default, **values)


def _reads_same(kind: Kind, value: Value, offered: Offered) -> bool:
    """Return whether a link could hold a value: read back, it is the same, up to the rounding."""
    read = kind.read(_shortened(value), offered)
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
