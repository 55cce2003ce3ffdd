"""Numbers of the page "Sizes": q against size, SCI, pairs, responses; of images or analyses."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gsto_viz.errors import GstoVizError
from gsto_viz.explorer.shown import LETTERS, Shown
from gsto_viz.explorer.values.probe import RegionNumbers
from gsto_viz.files import read_small_text
from gsto_viz.plots import PairRow
from gsto_viz.report import Report, WorstPair
from gsto_viz.report.folder import shown_p
from gsto_viz.report.headline import FEW_PAIRS, headline_rows, null_text
from gsto_viz.report.tables import read_table
from gsto_viz.stats.compare import Comparison, compare_values, comparison_table
from gsto_viz.stats.inference import EACH, MARGIN, Estimate, Images, cause, estimate
from gsto_viz.stats.pairs import SIZE_COLUMNS, Size, sci_values, squared_sizes
from gsto_viz.stats.pairs import wrong_pairs as find_wrong_pairs
from gsto_viz.stats.sizes import Tuning, response_by_octave, tuning
from gsto_viz.types import ClassList, Stride
from gsto_viz.words import NULLS, index_label

GEOMETRY = (
    "image",
    "region",
    "class_id",
    "area_px",
    "size_octave",
    "inscribed_octave",
    "max_distance_px",
    "qualifies",
)
"""Columns of the region table that say what a region is."""
MAX_MODELS = 2
"""Networks that the page compares: the first two of an analysis."""


@dataclass(frozen=True, eq=False)
class SizeSource:
    """Regions as one or two networks see them.

    Attributes:
        key: What the tables depend on, for caches.
        tables: By network (``A``, ``B``), its region table: ``GEOMETRY``, ``q``, ``z_0``, ...; of
            an analysis only the regions that qualify, for no statistic reads others.
        names: By network, the checkpoint.
        strides: By network, pixels per cell of its branches.
        classes: Of the data.
        folder: Of the analysis; None: one image.
    """

    key: tuple[str, ...]
    tables: Mapping[str, pd.DataFrame] = field(repr=False)
    names: Mapping[str, str]
    strides: Mapping[str, tuple[Stride, ...]]
    classes: ClassList
    images: Images = field(default=EACH, repr=False)
    folder: Path | None = None

    @property
    def letters(self) -> tuple[str, ...]:
        """The networks, in order."""
        return tuple(self.tables)

    @property
    def gains(self) -> str:
        """What the gains in q rest on, in words: two calibrations give one object two q."""
        if self.folder is None:
            return (
                "q uses the gains that each checkpoint brings; an analysis measures its own, so "
                "there the same object has a slightly different q."
            )
        return (
            "q uses the gains that this analysis measured; Explore uses those of the checkpoints, "
            "so there the same object has a slightly different q."
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes that have a region in statistics, in the order of the data."""
        found: set[int] = set()
        for table in self.tables.values():
            found |= set(table.loc[table["qualifies"], "class_id"].tolist())
        return tuple(c.name for c in self.classes if c.id in found)


@dataclass(frozen=True, eq=False)
class Subject:
    """What the page is about.

    Attributes:
        source: Region tables.
        shown: The image; None for an analysis.
        report: The analysis; None for an image.
    """

    source: SizeSource
    shown: Shown | None
    report: Report | None


def of_shown(shown: Shown, numbers: Mapping[str, RegionNumbers]) -> SizeSource:
    """Return the regions of one image as A and B see them.

    Args:
        numbers: What ``region_numbers`` gave for it.
    """
    strides = {letter: shown.inspections[letter].strides for letter in LETTERS}
    return SizeSource(
        key=shown.key,
        tables={
            letter: region_frame(numbers[letter], shown.sample.id, len(strides[letter]))
            for letter in LETTERS
        },
        names={letter: shown.choices[letter].key for letter in LETTERS},
        strides=strides,
        classes=shown.pixel_classes,
    )


def region_frame(numbers: RegionNumbers, image: str, branches: int) -> pd.DataFrame:
    """Return the columns of one image's regions as a region table."""
    columns = [name for name in columns_of(branches) if name != "image"]
    frame = pd.DataFrame({name: np.asarray(numbers[name]) for name in columns})
    frame.insert(0, "image", pd.Series([image] * len(frame), dtype=str))
    return frame


def of_report(report: Report, key: str) -> SizeSource:
    """Return the regions of an analysis; more than two networks: the first two.

    Args:
        report: The analysis.
        key: What it depends on, for caches.

    Raises:
        GstoVizError: The region table is missing or damaged.
    """
    letters = report.keys[:MAX_MODELS]
    return SizeSource(
        key=(key,),
        tables={
            letter: qualifying(
                report.folder, "regions", columns_of(len(report.strides[letter])), letter
            )
            for letter in letters
        },
        names={letter: report.names[letter] for letter in letters},
        strides={letter: report.strides[letter] for letter in letters},
        classes=report.classes,
        images=report.images,
        folder=report.folder,
    )


def qualifying(folder: Path, name: str, columns: Sequence[str], letter: str) -> pd.DataFrame:
    """Read the regions of one network that take part in statistics.

    Raises:
        GstoVizError: The table is missing or damaged.
    """
    table = read_table(folder, name, columns, model=letter, qualifies=True)
    return table.reset_index(drop=True)


def columns_of(branches: int) -> list[str]:
    """Return the columns of the region table that the page reads."""
    return [*GEOMETRY, "q", *(f"z_{r}" for r in range(branches))]


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
        letter: sci_by_image(table, source.classes, choices)
        for letter, table in source.tables.items()
    }
    comparison = None
    if len(values) == 2:
        a, b = values.values()
        comparison = compare_values("sci", a, b, family="confirmatory", images=source.images)
    by_model = {letter: estimate(one, source.images) for letter, one in values.items()}
    return Confusion(by_model, comparison)


def sci_by_image(table: pd.DataFrame, classes: ClassList, choices: Choices) -> pd.DataFrame:
    """Return SCI of each image that has a pair: ``image``, ``value``, ``pairs``."""
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
        values = [sci_by_image(draw, source.classes, choices)["value"] for draw in draws]
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


def wrong_pairs(source: SizeSource, choices: Choices, count: int = 2) -> list[WorstPair]:
    """Find the worst pairs of one image that are ordered the wrong way, see ``WorstPair.error``.

    Args:
        source: Of one image.
        choices: Which pairs count.
        count: How many for each network; no region is in two of them.

    Returns:
        Network by network, the worst first.
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
    order = np.lexsort((small, large, gap * (q[large] - q[small])))
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
    return stored[list(PAIRED_COLUMNS)].astype({"n_images": "Int64", "n_pairs": "Int64"})


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
    """Give intervals, null models and reasons plain headings; empty columns are left out.

    Without any interval, the page has said why above its numbers: reasons then stay only where
    the number itself is missing.
    """
    shown = table
    if table[["low", "high"]].isna().all(axis=None):
        number = "value" if "value" in table else "difference"
        shown = table.drop(columns=["low", "high"])
        shown = shown.assign(reason=table["reason"].where(table[number].isna()))
    if shown["reason"].isna().all():
        shown = shown.drop(columns="reason")
    nulls = {name: null.label for name, null in NULLS.items()}
    headings = INTERVAL | nulls | {"reason": REASON}
    return shown.fillna({"reason": ""}).rename(columns=headings)


def interval_reasons(told: Iterable[Estimate]) -> tuple[str, ...]:
    """Return why numbers that are told have no interval, each reason once."""
    some = [one for one in told if one.value is not None and one.n_pairs >= FEW_PAIRS]
    return tuple(dict.fromkeys(cause(one.reason) for one in some if one.low is None))


def tuning_words(table: pd.DataFrame) -> str | None:
    """Return one sentence in place of ``tuning_table`` where it has no value; None: it has one."""
    if table["value"].notna().any():
        return None
    reasons = dict.fromkeys(cause(reason) for reason in table["reason"])
    return f"No centre, span or slope: {'; '.join(reasons)}."


def _stored(report: Report, a: str, b: str) -> pd.DataFrame | None:
    path, manifest = report.folder / "comparison.json", report.folder / "manifest.json"
    try:
        if path.stat().st_mtime_ns < manifest.stat().st_mtime_ns:
            return None
        values = json.loads(read_small_text(path, "the comparison", max_bytes=MAX_COMPARISON_BYTES))
        if any(not _same(values[x], key, report) for x, key in (("a", a), ("b", b))):
            return None
        frame = pd.DataFrame(values["indices"])
        words = {"index", "family", "equivalent", "n_images", "n_pairs", "reason"}
        return frame.astype({n: "float64" for n in PAIRED_COLUMNS if n not in words})
    except (OSError, GstoVizError, ValueError, KeyError, TypeError, RecursionError):
        # Not there or damaged: it can be computed.
        return None


def _same(stored: Mapping[str, Any], key: str, report: Report) -> bool:
    about = report.manifest["models"][key]
    return bool(stored["key"] == key and stored["sha256"] == about["sha256"])


def worst_rows(report: Report, letters: tuple[str, ...]) -> list[PairRow]:
    """Return the kept pairs in the wrong order, network by network, the worst first.

    Raises:
        GstoVizError: A stored example is damaged.
    """
    rows = [
        PairRow(pair, example.sample, example.looks[pair.model], example.regions)
        for example in report.examples
        for pair in example.pairs
        if pair.model in letters
    ]
    return sorted(rows, key=lambda row: (row.pair.model, -row.pair.error))


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
