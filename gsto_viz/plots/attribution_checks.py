"""What sanity checks say of each attribution map, as it is written below the map."""

import math

import pandas as pd

CHECKED = (
    "Below each map, its checks: rank correlation with its map under random weights (right: near "
    "0; -: one of both is constant; n: over so few cells, below 16, that chance takes it far from "
    "0); how far it moves at most when the image changes a little, relative to itself (0: not at "
    "all); infidelity, where its sum is a change of the score: error of what it foretells when "
    "cells are removed (0: right, 1: as bad as saying nothing)."
)
FEW = 16
"""Cells below which a rank correlation says how many it is over."""
LINES = 2
"""Lines of text that the checks of one map take."""


def panel_checks(sanity: pd.DataFrame, name: str) -> str:
    """Say what the checks found for one map, in two lines.

    Args:
        sanity: ``check``, ``subject``, ``value``, ``cells``, as an explanation has them.
        name: Of the map: ``{method}/{tap}`` or ``shapley/{baseline}/branch{r}``, which is checked
            with its features at zero.
    """
    parts = name.split("/")
    subject = f"shapley/{parts[-1]}" if parts[0] == "shapley" else name
    own = sanity[sanity["subject"] == subject]
    values = dict(zip(own["check"], own["value"], strict=True))
    random = own[own["check"].str.startswith("rank correlation")]
    second = [
        f"{word} {_value(values[check])}"
        for word, check in (
            ("moves", "sensitivity (max)"),
            ("infidelity", "infidelity, cells removed"),
        )
        if check in values
    ]
    first = "not checked" if random.empty else _correlation(random.iloc[-1])
    return f"{first}\n{', '.join(second)}".rstrip()


def _correlation(check: pd.Series) -> str:
    """Say a rank correlation with the map under random weights; over few cells, over how many."""
    few = f", n = {check['cells']}" if check["cells"] < FEW else ""
    return f"random weights {_value(check['value'])}{few}"


def _value(value: float) -> str:
    """Return two digits that say something; a dash where there is no number."""
    return f"{value:.2g}" if math.isfinite(value) else "-"
