"""Texts of strangers made harmless: in Markdown, in file names, in tables, in figures."""

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
