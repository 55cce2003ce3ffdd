"""Formulas of docstrings (``.. math::``) as MathML, which browsers draw without a script."""

import re
from typing import Any

import griffe
from latex2mathml.converter import convert

BLOCK = re.compile(r"^\.\. math:: (.*(?:\n[ ]+.*)*)", re.M)
INLINE = re.compile(r":math:`([^`]+)`")


def with_mathml(text: str) -> str:
    """Return a docstring with its formulas as MathML."""
    text = BLOCK.sub(
        lambda found: f'<p class="formula">{convert(found[1], display="block")}</p>', text
    )
    return INLINE.sub(lambda found: convert(found[1]), text)


class Formulas(griffe.Extension):
    """Turns the formulas of every docstring into MathML before the docstring is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = with_mathml(obj.docstring.value)
