"""Texts of strangers made harmless, and values as the text of a link, and back."""

import math
import re

MAX_NAME = 80

_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|$~:@^=&])")


def plain(text: str) -> str:
    """Return ``text`` so that Markdown shows it as it is: no links, formulas, icons or breaks."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def safe_name(text: str, default: str = "image") -> str:
    """Return a name of letters, digits, dot, dash and underscore, at most 80 characters long.

    Fit for file names on any system and for figures, where ``$`` would start a formula.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:MAX_NAME].strip("-.")
    return name or default


Value = str | int | float | bool
MAX_TEXT = 200
MAX_ZOOM = 32
"""As in viewer.js."""


def read_whole(text: str, digits: int) -> int | None:
    """Read a whole number of at most ``digits`` digits."""
    # The pattern bounds the length, too: a number of a million digits is never converted.
    if re.fullmatch(rf"[0-9]{{1,{digits}}}", text, re.ASCII) is None:
        return None
    return int(text)


def read_decimal(text: str, low: float, high: float) -> float | None:
    """Read a number from ``low`` to ``high``, one digit before the point and six behind."""
    if re.fullmatch(r"[0-9](\.[0-9]{1,6})?", text, re.ASCII) is None:
        return None
    value = float(text)
    return value if low <= value <= high else None


def written_box(octave: tuple[float, float], q: tuple[float, float]) -> str | None:
    """Return a box of the page "Sizes" as a view holds it, rounded to three decimals.

    Args:
        octave: Its ends in size, octaves.
        q: Its ends in q.

    Returns:
        None for what no link can hold: numbers that are not finite or beyond 100.
    """
    ends = [round(float(end), 3) + 0.0 for pair in (octave, q) for end in sorted(pair)]
    if not all(abs(end) < 100 for end in ends):
        return None
    return ",".join(map(written, ends))


def box_ends(text: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the ends, in octaves and in q, of a box that a view holds."""
    left, right, low, high = map(float, text.split(","))
    return (left, right), (low, high)


def read_box(text: str) -> str | None:
    """Read a box, as ``written_box`` writes it."""
    number = r"-?[0-9]{1,2}(?:\.[0-9]{1,3})?"
    if re.fullmatch(rf"{number}(?:,{number}){{3}}", text, re.ASCII) is None:
        return None
    octave, q = box_ends(text)
    rising = octave[0] <= octave[1] and q[0] <= q[1]
    return written_box(octave, q) if rising else None


def written_zoom(zoom: float, left: float, top: float) -> str | None:
    """Return a part of the image as a view holds it; None for all of it.

    Args:
        zoom: How many times larger, 1..32; outside it is cut off, as the viewer does.
        left: Its left edge, 0..1 of the width.
        top: Its upper edge, 0..1 of the height.
    """
    zoom = round(min(zoom, MAX_ZOOM), 3)
    if not (zoom > 1 and math.isfinite(left + top)):
        return None
    room = 1 - 1 / zoom
    edges = (min(max(edge, 0.0), room) + 0.0 for edge in (left, top))
    return ",".join(written(float(value)) for value in (zoom, *(round(e, 4) for e in edges)))


def read_zoom(text: str) -> str | None:
    """Read a part of the image, as ``written_zoom`` writes it."""
    number = r"[0-9]{1,2}(?:\.[0-9]{1,6})?"
    if re.fullmatch(rf"{number},{number},{number}", text, re.ASCII) is None:
        return None
    zoom, left, top = map(float, text.split(","))
    inside = 1 < zoom <= MAX_ZOOM and max(left, top) <= 1 - 1 / zoom + 1e-3
    return written_zoom(zoom, left, top) if inside else None


def read_switch(text: str) -> bool | None:
    """Read 0 or 1."""
    return {"0": False, "1": True}.get(text)


def read_text(text: str) -> str | None:
    """Read 1 to 200 printable characters."""
    return text if 1 <= len(text) <= MAX_TEXT and text.isprintable() else None


def read_fingerprint(text: str) -> str | None:
    """Read 16 hexadecimal digits."""
    return text if re.fullmatch(r"[0-9a-f]{16}", text, re.ASCII) else None


def written(value: Value) -> str:
    """Return a value as a link writes it; numbers are rounded to six decimals."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        assert math.isfinite(value)
        return f"{value:.6f}".rstrip("0").rstrip(".")
    return str(value)


def ends_of(value: object) -> tuple[float, float] | None:
    """Return two numbers that a browser sent, the smaller one first; None for anything else."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in value):
        return None
    low, high = sorted(float(end) for end in value)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None
