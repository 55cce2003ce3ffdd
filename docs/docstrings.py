"""Docstrings as the API's pages show them.

Formulas (``.. math::``) become MathML, which browsers draw without a script, and what stands below
``Example:`` is read as code.
"""

import re
from typing import Any

import griffe
from latex2mathml.converter import convert

BLOCK = re.compile(r"^\.\. math:: (.*(?:\n[ ]+.*)*)", re.M)
INLINE = re.compile(r":math:`([^`]+)`")


def for_pages(text: str) -> str:
    """Return a docstring with formulas as MathML and examples under the heading that is parsed."""
    text = re.sub(r"^Example:$", "Examples:", text, flags=re.M)
    text = BLOCK.sub(
        lambda found: f'<p class="formula">{convert(found[1], display="block")}</p>', text
    )
    return INLINE.sub(lambda found: convert(found[1]), text)


class Docstrings(griffe.Extension):
    """Prepares every docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = for_pages(obj.docstring.value)
