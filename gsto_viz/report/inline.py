"""Figures as SVG inside a page: nothing in them fetches or runs, and ids are the figure's own."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html import escape

from gsto_viz.errors import GstoVizError

ELEMENTS = frozenset(
    [
        "svg",
        "g",
        "defs",
        "clipPath",
        "path",
        "rect",
        "circle",
        "ellipse",
        "line",
        "polyline",
        "polygon",
        "text",
        "tspan",
        "use",
        "image",
    ]
)
ATTRIBUTES = frozenset(
    [
        "viewBox",
        "d",
        "x",
        "y",
        "x1",
        "y1",
        "x2",
        "y2",
        "cx",
        "cy",
        "r",
        "rx",
        "ry",
        "width",
        "height",
        "points",
        "transform",
        "style",
        "clip-path",
        "preserveAspectRatio",
    ]
)
THEME = {
    "#000000": "currentColor",
    "#ffffff": "var(--paper)",
    "#555555": "var(--guide)",
    "#e4e4e4": "var(--band)",
    "#f2f2f2": "var(--band)",
    "#fff3c4": "var(--badge)",
}
"""Colours of ink and paper that follow the page's theme; those of branches and networks stay."""
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_COLOR = re.compile(r"#[0-9a-f]{6}\b", re.IGNORECASE)
_OWN = re.compile(r"url\(#([\w.-]+)\)")
_STYLE = re.compile(r"[\w\s.,%#'()-]*")
_HREFS = ("{http://www.w3.org/1999/xlink}href", "href")
_PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=\s]*")


def inline_svg(text: str, name: str, alt: str) -> str:
    """Return a figure's SVG as it stands in a page of several.

    Args:
        text: The file.
        name: Of the figure; begins its ids, so it differs from those of the page's other figures.
        alt: What it shows, in words.

    Returns:
        An ``<svg>`` of known elements and attributes alone, with text as text, coordinates of two
        decimals, and no reference to anything outside it.

    Raises:
        GstoVizError: It is not an SVG.
    """
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise GstoVizError(f"figure {name} is not an SVG ({error}); draw it again") from error
    used = set(_OWN.findall(text)) | {
        link[1:] for one in root.iter() if (link := _link(one)) and link.startswith("#")
    }
    about = f' role="img" aria-label="{escape(alt)}"'
    return "".join(_written(root, name, used, about))


def _link(one: ET.Element) -> str:
    """Return what an element refers to: an id of the figure or a picture inside it; else empty."""
    found = next((one.attrib[key] for key in _HREFS if key in one.attrib), "")
    return found if found.startswith("#") or _PICTURE.fullmatch(found) else ""


def _written(one: ET.Element, name: str, used: set[str], about: str = "") -> Iterator[str]:
    tag = str(one.tag).rpartition("}")[2]
    if tag not in ELEMENTS:
        return
    outermost = {"width", "height"} if about else set()
    given = {
        key: kept
        for key, value in one.attrib.items()
        if key in ATTRIBUTES - outermost and (kept := _kept(key, value, name))
    }
    if (link := _link(one)) != "":
        given["href"] = f"#{name}-{link[1:]}" if link.startswith("#") else re.sub(r"\s", "", link)
    if one.get("id") in used:
        given["id"] = f"{name}-{one.get('id')}"
    if not given and tag == "g" and not len(one):
        return
    attributes = "".join(f' {key}="{escape(value)}"' for key, value in given.items())
    yield f"<{tag}{about}{attributes}>"
    if tag in ("text", "tspan"):
        yield escape(one.text or "")
    for child in one:
        yield from _written(child, name, used)
        if tag in ("text", "tspan"):
            yield escape(child.tail or "")
    yield f"</{tag}>"


def _kept(key: str, value: str, name: str) -> str:
    """Return a value as it is written; empty where it is not kept."""
    if key == "style":
        declarations = (part.partition(":") for part in value.split(";"))
        return ";".join(
            f"{what.strip()}:{_COLOR.sub(_themed, kept)}"
            for what, _, said in declarations
            if (kept := said.strip()) and _STYLE.fullmatch(kept) and "url" not in kept.lower()
        )
    if key == "clip-path":
        own = _OWN.fullmatch(value)
        return f"url(#{name}-{own[1]})" if own else ""
    short = _NUMBER.sub(lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), value)
    return " ".join(short.split())


def _themed(found: re.Match[str]) -> str:
    return THEME.get(found[0].lower(), found[0])
