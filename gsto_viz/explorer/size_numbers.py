"""Numbers of the page "Sizes": q against size, SCI under the page's choices, pairs, responses."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from gsto_viz.explorer.size_source import SizeSource, qualifying
from gsto_viz.report import WorstPair
from gsto_viz.stats.compare import Comparison, compare_values
from gsto_viz.stats.inference import Estimate, estimate
from gsto_viz.stats.pairs import SIZE_COLUMNS, Size, sci_values, squared_sizes
from gsto_viz.stats.pairs import wrong_pairs as find_wrong_pairs
from gsto_viz.stats.sizes import Tuning, response_by_octave, tuning
from gsto_viz.types import ClassList

Ends = tuple[float, float]
MAX_POINTS = 5000
"""Regions that the scatter draws; beyond, every k-th in the order of images and regions."""


@dataclass(frozen=True)
class Choices:
    """What the reader narrows the statistics to.

    Attributes:
        cls: Name of the class of both regions of a pair; None: all.
        size: ``area`` or ``inscribed``.
        gap: Least difference of size in a pair, octaves.
    """

    cls: str | None = None
    size: str = "area"
    gap: float = 1.0

    @property
    def are_headline(self) -> bool:
        """Whether these are the choices of the headline, for which null models exist."""
        return self == Choices()

    @property
    def size_definition(self) -> Size:
        """The same in the words of ``gsto_viz.stats``."""
        return "area_px" if self.size == "area" else "inscribed"


@dataclass(frozen=True)
class Confusion:
    """SCI of every network, and B - A where there are two.

    Attributes:
        by_model: By network; ``reason`` says what is missing and why.
        comparison: Paired over images; None with one network.
    """

    by_model: Mapping[str, Estimate]
    comparison: Comparison | None


def narrowed(table: pd.DataFrame, classes: ClassList, choices: Choices) -> pd.DataFrame:
    """Return the regions of the chosen class; ``size_octave`` follows the definition of size.

    Regions without an inscribed disc (the whole image) have no size in that definition and are
    left out there.
    """
    if choices.cls is not None:
        ids = [c.id for c in classes if c.name == choices.cls]
        table = table[table["class_id"].isin(ids)]
    if choices.size == "inscribed":
        table = table.assign(size_octave=table["inscribed_octave"]).dropna(subset=["size_octave"])
    return table


def confusion(source: SizeSource, choices: Choices) -> Confusion:
    """Estimate SCI from the region tables under the reader's choices."""
    values = {
        letter: _sci_values(table, source.classes, choices)
        for letter, table in source.tables.items()
    }
    comparison = None
    if len(values) == 2:
        a, b = values.values()
        comparison = compare_values("sci", a, b, family="confirmatory", images=source.images)
    by_model = {letter: estimate(one, source.images) for letter, one in values.items()}
    return Confusion(by_model, comparison)


def _sci_values(table: pd.DataFrame, classes: ClassList, choices: Choices) -> pd.DataFrame:
    kept = narrowed(table, classes, choices)
    return sci_values(kept, gap=(choices.gap, np.inf), size=choices.size_definition)


@dataclass(frozen=True, eq=False)
class Draws:
    """The same networks with random weights, one entry per draw.

    Attributes:
        sci: By network, SCI of each draw (NaN: no pair).
        responses: By network, mean responses by octave of each draw.
    """

    sci: Mapping[str, tuple[float, ...]]
    responses: Mapping[str, tuple[pd.DataFrame, ...]]


def random_draws(source: SizeSource, choices: Choices) -> Draws:
    """Compute SCI and responses of the random-weight draws of an analysis, if it has any.

    Raises:
        GstoVizError: Their table is damaged.
    """
    sci: dict[str, tuple[float, ...]] = {}
    responses: dict[str, tuple[pd.DataFrame, ...]] = {}
    if source.folder is None:
        return Draws(sci, responses)
    for letter, table in source.tables.items():
        rows = qualifying(source.folder, "random", [*table.columns, "draw"], letter)
        if "draw" not in rows:  # an analysis without null models
            continue
        draws = [draw.drop(columns="draw") for _, draw in rows.groupby("draw")]
        values = [_sci_values(draw, source.classes, choices)["value"] for draw in draws]
        sci[letter] = tuple(float(one.mean()) if len(one) else np.nan for one in values)
        responses[letter] = tuple(
            _response(draw, source, letter, choices, with_interval=False) for draw in draws
        )
    return Draws(sci, responses)


def responses(source: SizeSource, choices: Choices) -> dict[str, pd.DataFrame]:
    """Return the mean response of every branch by size octave, by network."""
    return {
        letter: _response(table, source, letter, choices, with_interval=True)
        for letter, table in source.tables.items()
    }


def _response(
    table: pd.DataFrame, source: SizeSource, letter: str, choices: Choices, *, with_interval: bool
) -> pd.DataFrame:
    # One cluster is too few for an interval, so none is drawn where none is needed.
    images = source.images
    if not with_interval:
        images = replace(images, clusters=dict.fromkeys(table["image"], "all"))
    kept = narrowed(table, source.classes, choices)
    return response_by_octave(kept, source.strides[letter], images=images)


def tunings(source: SizeSource, choices: Choices) -> dict[str, Tuning]:
    """Return centre, span and slope of the branches' tuning, by network."""
    return {
        letter: tuning(
            narrowed(table, source.classes, choices),
            source.strides[letter],
            images=source.images,
        )
        for letter, table in source.tables.items()
    }


def region_rows(source: SizeSource, choices: Choices) -> pd.DataFrame:
    """Return one row per region that takes part in statistics, networks beside each other.

    Returns:
        ``image``, ``region``, ``class``, ``octave`` (log2 px, by the chosen definition),
        ``size_px``, ``area_px``, then ``q_A``, ``q_B`` (as the source's networks are called; NaN
        where that network has no q). Ordered by image and region.
    """
    names = {c.id: c.name for c in source.classes}
    keys = ["image", "region", "class_id", "size_octave", "area_px"]
    rows: pd.DataFrame | None = None
    for letter, table in source.tables.items():
        kept = narrowed(table[table["qualifies"]].dropna(subset=["q"]), source.classes, choices)
        one = kept[[*keys, "q"]].rename(columns={"q": f"q_{letter}"})
        rows = one if rows is None else rows.merge(one, on=keys, how="outer")
    assert rows is not None
    rows = rows.sort_values(["image", "region"], ignore_index=True)
    rows.insert(2, "class", rows.pop("class_id").map(names))
    rows.insert(4, "size_px", 2.0 ** rows["size_octave"])
    return rows.rename(columns={"size_octave": "octave"})


def thinned(rows: pd.DataFrame, limit: int = MAX_POINTS) -> pd.DataFrame:
    """Return evenly spaced rows, at most ``limit`` of them, the same ones every time."""
    if len(rows) <= limit:
        return rows
    return rows.iloc[(np.arange(limit) * len(rows)) // limit]


def in_box(rows: pd.DataFrame, letter: str, box: tuple[Ends, Ends]) -> "pd.Series[bool]":
    """List the regions that lie in a box of the scatter.

    Args:
        rows: What ``region_rows`` gave.
        letter: The network whose scatter it was drawn in.
        box: Its ends in octaves and in q, the smaller one first.
    """
    octave, q = box
    # A region without q lies nowhere.
    return rows["octave"].between(*octave) & rows[f"q_{letter}"].between(*q)


def ends_of(value: object) -> Ends | None:
    """Return two numbers that a browser sent, the smaller one first; None for anything else."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in value):
        return None
    low, high = sorted(float(end) for end in value)
    return (low, high) if np.isfinite([low, high]).all() else None


def wrong_pairs(source: SizeSource, choices: Choices, count: int = 2) -> list[WorstPair]:
    """Find the pairs of one image that lie farthest apart in size and are ordered the wrong way.

    Args:
        source: Of one image.
        choices: Which pairs count.
        count: How many for each network; no region is in two of them.

    Returns:
        Network by network, farthest apart first.
    """
    found: list[WorstPair] = []
    for letter, table in source.tables.items():
        kept = narrowed(table[table["qualifies"]].dropna(subset=["q"]), source.classes, choices)
        found += _wrong(kept, letter, choices)[:count]
    return found


def pair_words(source: SizeSource, choices: Choices, pair: WorstPair) -> str:
    """Describe the two regions of a pair: class, size in px and q of each.

    Args:
        source: Where the pair was found.
        choices: By which its sizes are measured.
        pair: The pair.
    """
    names = {c.id: c.name for c in source.classes}
    small, large = (pair.small_region, pair.q_small), (pair.large_region, pair.q_large)
    sentences = []
    for which, (number, q) in (("Smaller", small), ("Larger", large)):
        found = region_of(source, pair, number)
        what = f"region {number}"
        if found is not None:
            column = "size_octave" if choices.size == "area" else "inscribed_octave"
            what = f"{names[int(found['class_id'])]}, {2.0 ** found[column]:.0f} px"
        sentences.append(f"{which}: {what}, q {q:+.3f}.")
    return " ".join(sentences)


def region_of(source: SizeSource, pair: WorstPair, number: int) -> "pd.Series[Any] | None":
    """Return a region of a pair's image as its network sees it; None: it is not in the table."""
    table = source.tables[pair.model]
    found = table[(table["image"] == pair.image) & (table["region"] == number)]
    return found.iloc[0] if len(found) else None


def _wrong(table: pd.DataFrame, letter: str, choices: Choices) -> list[WorstPair]:
    size, q = table["size_octave"].to_numpy(), table["q"].to_numpy()
    region, images = table["region"].tolist(), table["image"].tolist()
    squares = squared_sizes(
        table[SIZE_COLUMNS[choices.size_definition]].to_numpy(), choices.size_definition
    )
    large, small = find_wrong_pairs(squares, q, (choices.gap, np.inf))
    gap = size[large] - size[small]
    order = np.lexsort((small, large, -gap))
    used: set[int] = set()
    pairs = []
    for k in order.tolist():
        y, x = int(large[k]), int(small[k])
        if used & {x, y}:
            continue
        used |= {x, y}
        numbers = (float(gap[k]), float(q[x]), float(q[y]))
        pairs.append(WorstPair(letter, str(images[x]), int(region[x]), int(region[y]), *numbers))
    return pairs
