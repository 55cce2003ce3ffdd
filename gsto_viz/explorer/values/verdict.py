"""The sentence at the top of "Explore": how often two networks order objects by size."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer.shown import LETTERS, folder
from gsto_viz.files import read_small_text
from gsto_viz.report.headline import FEW_PAIRS
from gsto_viz.words import counted

MAX_BYTES = 20_000_000


@dataclass(frozen=True)
class Ordered:
    """How two networks order the objects of many images by size.

    Attributes:
        where: What the numbers come from.
        images: How many images.
        a: Share of object pairs that A orders by size, 0..1 (1 - SCI, mean over images).
        b: That of B.
        difference: B - A and its 95 % interval; None where an interval was not estimated.
    """

    where: str
    images: int
    a: float
    b: float
    difference: tuple[float, float, float] | None


def pair_shares(objects: pd.DataFrame) -> tuple[int, dict[str, float]]:
    """Return the pairs of an image and, by letter, which share of them is ordered by size.

    Args:
        objects: What ``image_objects`` gave.

    Returns:
        Every pair counted once; shares 0..1, ties one half, NaN without pairs.
    """
    pairs = int(objects["pairs"].sum()) // 2
    wrong = {letter: float(objects[f"wrong_{letter}"].sum()) / 2 for letter in LETTERS}
    return pairs, {x: 1 - wrong[x] / pairs if pairs else float("nan") for x in LETTERS}


def image_verdict(objects: pd.DataFrame) -> str:
    """Return the first half of the sentence: this image."""
    pairs, shares = pair_shares(objects)
    if pairs < FEW_PAIRS:
        found = counted(pairs, "object pair")
        return f"In this image: {found} an octave apart in size, too few to say who orders better."
    a, b = (f"{100 * shares[letter]:.0f} %" for letter in LETTERS)
    return (
        f"In this image A orders **{a}** of {pairs} object pairs by size, B **{b}** (chance 50 %)."
    )


def many_verdict(ordered: Ordered | None) -> str:
    """Return the second half: many images, or how to get them."""
    if ordered is None:
        return (
            "One image is an example: no analysis of these two is at hand "
            "(`gsto-viz analyze`, then `gsto-viz app --runs DIR`)."
        )
    said = f"{100 * ordered.a:.0f} and {100 * ordered.b:.0f} %"
    if ordered.difference is not None:
        value, low, high = (f"{100 * one:.0f}" for one in ordered.difference)
        said += f", difference {value} points [{low}, {high}]"
    where = f"Over the {counted(ordered.images, 'image')} of {ordered.where}"
    return f"{where}: {said}. One image is an example."


def find_ordered(
    fingerprints: Mapping[str, str], folders: Iterable[tuple[str, Path]] = ()
) -> Ordered | None:
    """Return what is known of two networks over many images.

    Args:
        fingerprints: ``A`` and ``B``: SHA-256 of their checkpoints.
        folders: Name and path of analyses at hand; the first that has both is taken, else the
            summary that comes with the package.
    """
    for name, path in folders:
        found = ordered_of(_read(path / "summary.json"), _read(path / "comparison.json"), name)
        if found is not None and (one := _matched(found, fingerprints)) is not None:
            return one
    shipped = _read(shipped_path())
    return None if shipped is None else _matched(shipped, fingerprints)


def shipped_path() -> Path:
    """Return the summary that comes with the package; ``analysis/demo_order.py`` writes it."""
    return folder() / "order.json"


def ordered_of(
    summary: Mapping[str, Any] | None, comparison: Mapping[str, Any] | None, where: str
) -> dict[str, Any] | None:
    """Return what the sentence reads of an analysis: shares by checkpoint, and the differences.

    Args:
        summary: Its ``summary.json``; None: there is none.
        comparison: Its ``comparison.json``; None: there is none, so there are no intervals.
        where: What the analysis is called.

    Returns:
        ``where``, ``images``, ``shares`` by SHA-256, and ``pair``: the SHA-256 of two networks and
        the difference of their shares with its interval. None for what is not an analysis.
    """
    try:
        assert summary is not None
        shares = {m["sha256"]: 1 - m["indices"]["sci"]["value"] for m in summary["models"].values()}
        found = {"where": where, "images": int(summary["images"]), "shares": shares, "pair": None}
        if comparison is not None:
            pair = [comparison[letter]["sha256"] for letter in ("a", "b")]
            (row,) = (row for row in comparison["indices"] if row["index"] == "sci")
            ends = [row["difference"], row["high"], row["low"]]
            if None not in ends:
                found["pair"] = [*pair, *(-end for end in ends)]
    except (AssertionError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return found


def _matched(found: Mapping[str, Any], fingerprints: Mapping[str, str]) -> Ordered | None:
    a, b = fingerprints["A"], fingerprints["B"]
    shares, pair = found["shares"], found["pair"]
    if a not in shares or b not in shares or a == b:
        return None
    difference = None
    if pair is not None and [a, b] == pair[:2]:
        difference = (pair[2], pair[3], pair[4])
    elif pair is not None and [b, a] == pair[:2]:
        difference = (-pair[2], -pair[4], -pair[3])
    return Ordered(found["where"], found["images"], shares[a], shares[b], difference)


def _read(path: Path) -> Any:
    """Return the content of a JSON file, or None where it is missing or damaged."""
    try:
        return json.loads(read_small_text(path, "the analysis", max_bytes=MAX_BYTES))
    except (GstoVizError, ValueError):
        return None
