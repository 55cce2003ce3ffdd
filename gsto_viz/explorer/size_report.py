"""What an analysis says on the page "Sizes": indices with nulls, differences, worst pairs."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from gsto_viz.errors import GstoVizError
from gsto_viz.files import read_small_text
from gsto_viz.plots import PairRow
from gsto_viz.report import Report
from gsto_viz.report.folder import shown_p
from gsto_viz.report.headline import headline_rows, null_text
from gsto_viz.stats.compare import comparison_table
from gsto_viz.stats.inference import MARGIN
from gsto_viz.words import NULLS, index_label

MAX_COMPARISON_BYTES = 2**24
NOT_COMPUTED = "This analysis was made without --nulls, so there is nothing to hold these against."
PAIRED_COLUMNS = ("index", "family", "a", "b", "difference", "low", "high", "p", "p_adjusted",
                  "equivalent", "n_images", "n_pairs", "reason")  # fmt: skip
INTERVAL = {"low": "95 % from", "high": "95 % to"}
"""What the ends of an interval are called on the page."""
REASON = "why a number is missing"
PAIRED_HEADINGS = {
    "p_adjusted": "p, adjusted",
    "equivalent": f"equivalent (within {MARGIN})",
    "n_images": "images",
    "n_pairs": "pairs",
}


def null_names(report: Report, letters: Iterable[str]) -> list[str]:
    """Return the null models that any index of these networks has, in the order of ``NULLS``."""
    rows = [row for letter in letters for row in headline_rows(report, letter)]
    return [name for name in NULLS if any(name in row.nulls for row in rows)]


def index_table(report: Report, letter: str) -> pd.DataFrame:
    """Return the indices of the headline with their intervals and null models.

    Returns:
        ``index``, ``meaning``, ``value``, ``low``, ``high``, ``images``, ``pairs``, then a text per
        null model that the network has (its mean; the range of the draws for N3; empty where an
        index has none), ``reason`` (why a value or an interval is missing, else null).
    """
    names = null_names(report, [letter])
    rows = [
        {"index": row.word.label, "meaning": row.meaning, "value": row.estimate.value}
        | {"low": row.estimate.low, "high": row.estimate.high}
        | {"images": row.estimate.n_images, "pairs": row.estimate.n_pairs}
        | {name: null_text(name, row.nulls.get(name)) for name in names}
        | {"reason": row.estimate.reason}
        for row in headline_rows(report, letter)
    ]
    return pd.DataFrame(rows).astype(dict.fromkeys(("value", "low", "high"), "float64"))


def paired_table(report: Report, a: str, b: str) -> pd.DataFrame:
    """Return B - A of every index with interval and p, confirmatory ones first.

    What ``gsto-viz compare`` has written beside the analysis is taken when it is of these networks
    and younger than the analysis; else it is computed.

    Returns:
        The columns of ``PAIRED_COLUMNS``, see ``gsto_viz.stats.comparison_table``.
    """
    stored = _stored(report, a, b)
    if stored is None:
        stored = comparison_table(report.differences(a, b))
    return stored[list(PAIRED_COLUMNS)]


def paired_words(table: pd.DataFrame, a: str, b: str) -> pd.DataFrame:
    """Lay ``paired_table`` out for reading: plain headings with units, p and equivalence in words.

    Args:
        table: What ``paired_table`` gave.
        a: The network that is subtracted.
        b: The network that it is subtracted from.
    """
    ps = zip(table["p"], table["p_adjusted"], strict=True)
    same = {True: "yes", False: "no"}
    words = table.assign(
        index=[index_label(name) for name in table["index"]],
        p=[shown_p(p) for p in table["p"]],
        p_adjusted=[shown_p(adjusted, p) for p, adjusted in ps],
        equivalent=[same.get(value, "-") for value in table["equivalent"]],
    )
    values = {"a": f"{a} (0 to 1)", "b": f"{b} (0 to 1)", "difference": f"{b} - {a}"}
    return readable(words).rename(columns=PAIRED_HEADINGS | values)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Give intervals and reasons plain headings; without any reason there is no such column."""
    shown = table.drop(columns="reason") if table["reason"].isna().all() else table
    return shown.fillna({"reason": ""}).rename(columns=INTERVAL | {"reason": REASON})


def _stored(report: Report, a: str, b: str) -> pd.DataFrame | None:
    path, manifest = report.folder / "comparison.json", report.folder / "manifest.json"
    try:
        if path.stat().st_mtime_ns < manifest.stat().st_mtime_ns:
            return None
        values = json.loads(read_small_text(path, "the comparison", max_bytes=MAX_COMPARISON_BYTES))
        if any(not _same(values[x], key, report) for x, key in (("a", a), ("b", b))):
            return None
        frame = pd.DataFrame(values["indices"])
        words = {"index", "family", "equivalent", "reason"}
        return frame.astype({n: "float64" for n in PAIRED_COLUMNS if n not in words})
    except (OSError, GstoVizError, ValueError, KeyError, TypeError, RecursionError):
        # Not there or damaged: it can be computed.
        return None


def _same(stored: Mapping[str, Any], key: str, report: Report) -> bool:
    about = report.manifest["models"][key]
    return bool(stored["key"] == key and stored["sha256"] == about["sha256"])


def worst_rows(report: Report, letters: tuple[str, ...]) -> list[PairRow]:
    """Return the kept pairs in the wrong order, network by network, farthest apart first.

    Raises:
        GstoVizError: A stored example is damaged.
    """
    rows = [
        PairRow(pair, example.sample, example.looks[pair.model], example.regions)
        for example in report.examples
        for pair in example.pairs
        if pair.model in letters
    ]
    return sorted(rows, key=lambda row: (row.pair.model, -row.pair.gap_octaves))


def tuning_table(tunings: Mapping[str, Any]) -> pd.DataFrame:
    """Lay tunings out: one row per network and branch, then span and slope.

    Args:
        tunings: By network, a ``gsto_viz.stats.Tuning``.

    Returns:
        ``network``, ``what``, ``value``, ``low``, ``high`` (octaves; the slope octaves per octave)
        and ``reason`` (why a value or an interval is missing, else null).
    """
    rows = []
    for letter, one in tunings.items():
        named = [(f"centre of /{s}", c) for s, c in zip(one.strides, one.centers, strict=True)]
        named += [(f"span, /{one.strides[-1]} minus /{one.strides[0]}", one.span)]
        named += [("slope (1 ideal, 0 none)", one.slope)]
        for what, found in named:
            numbers = (found.value, found.low, found.high)
            rows.append(
                (letter, what, *(np.nan if x is None else x for x in numbers), found.reason)
            )
    return pd.DataFrame(rows, columns=["network", "what", "value", "low", "high", "reason"])
