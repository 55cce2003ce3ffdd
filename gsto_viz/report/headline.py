"""The headline table: every index of every network beside its null models, in three forms.

``headline_rows`` makes the rows; ``rows_text``, ``rows_html`` and ``headline_markdown`` write them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from gsto_viz.report.folder import DOUBLED, shown
from gsto_viz.report.summary import Report
from gsto_viz.stats import Estimate
from gsto_viz.stats.nulls import Null
from gsto_viz.text_table import html_table
from gsto_viz.words import (
    INDICES,
    LAYOUT,
    NULLS,
    PAIRS,
    SCI_C,
    STP,
    STP_BLUR,
    Index,
    counted,
)


@dataclass(frozen=True)
class HeadlineRow:
    """One index of one network.

    Attributes:
        word: What it is called and what it means.
        estimate: Its value.
        nulls: By name, the null models of the index; empty where there are none.
    """

    word: Index
    estimate: Estimate
    nulls: Mapping[str, Null]

    @property
    def meaning(self) -> str:
        """What the index is, and what its values say."""
        return f"{self.word.meaning} ({self.word.range})"

    @property
    def null_cells(self) -> list[str]:
        """The null models that have a value, each with its name and its draws if they count."""
        cells = []
        for name, word in NULLS.items():
            null = self.nulls.get(name)
            if null is not None and (text := null_text(name, null, 3)):
                many = f" ({len(null.values)} draws)" if word.spread else ""
                cells.append(f"{name} {text}{many}")
        return cells


FEW_PAIRS = 20
"""Of fewer pairs, an index says nothing; it is not written as if it did."""


def headline_value(estimate: Estimate, over: str = PAIRS) -> str:
    """Write an index for people, or that there are too few pairs to say anything.

    Args:
        estimate: Of the index.
        over: What it is averaged over; objects may be few.
    """
    if over == PAIRS and estimate.value is not None and estimate.n_pairs < FEW_PAIRS:
        return f"too few pairs to say ({counted(estimate.n_pairs, 'pair')})"
    return shown(estimate)


def null_text(name: str, null: Null | None, digits: int = 2) -> str:
    """Write a null model: its mean, or the range of its draws; empty where there is none."""
    if null is None or null.mean is None:
        return ""
    if NULLS[name].spread and null.low is not None and null.high is not None:
        return f"{null.low:.{digits}f} to {null.high:.{digits}f}"
    return f"{null.mean:.{digits}f}"


def headline_rows(report: Report, key: str, *, sizes: bool = False) -> tuple[HeadlineRow, ...]:
    """Return the indices of one network, in the order in which they are shown.

    Args:
        report: The analysis.
        key: The network.
        sizes: STP at every size that was tried; else at twice the size only.

    Returns:
        The indices of ``gsto_viz.words.INDICES``, SCI on layout-adjusted maps if there are such,
        and with attribution SCI_C and STP.
    """
    nulls = report.nulls(key)
    rows = [
        HeadlineRow(INDICES[name], one, nulls.get(name, {}))
        for name, one in report.headline(key).indices.items()
    ]
    if (adjusted := report.layout_adjusted(key, "sci")) is not None:
        rows.append(HeadlineRow(LAYOUT, adjusted, {}))
    if (found := report.causal(key)) is not None:
        rows.append(HeadlineRow(SCI_C, found["sci_c"].estimate, found["sci_c"].nulls))
        doubled = f"{DOUBLED:+g}"
        for m, one in found["stp"].items():
            if sizes or m == doubled:
                word = STP if m == doubled else _resized(m)
                rows.append(HeadlineRow(word, one.estimate, one.nulls))
        if doubled in found["stp"]:
            rows.append(HeadlineRow(STP_BLUR, found["stp_beyond_blur"][doubled], {}))
    return tuple(rows)


def _resized(m: str) -> Index:
    """Return STP at another size: ``m`` octaves, with its sign."""
    side = "above" if m.startswith("+") else "below"
    return replace(
        STP,
        key=f"stp{m}",
        label=f"STP, {m} octaves",
        meaning=f"an object resized by {m} octaves is answered coarser",
        range=f"{side} 0.5 aware",
    )


def rows_text(rows: Sequence[HeadlineRow]) -> list[str]:
    """Write rows as lines of text, the null models below each index."""
    lines = []
    for row in rows:
        value = headline_value(row.estimate, row.word.over)
        # Reasons why there is no value, or no interval, are longer than the column.
        value = f"{value:<24}" if len(value) <= 24 else f"{value};"
        lines.append(f"  {row.word.label:<20} {value} {row.meaning}")
        if cells := row.null_cells:
            lines.append(f"  {'':<20} nulls: {', '.join(cells)}")
    return lines


def rows_html(rows: Sequence[HeadlineRow]) -> str:
    """Write rows as an HTML table."""
    heads = ("index", "value [95 %]", "images / pairs", "null models", "probability that")
    cells = []
    for row in rows:
        counts = f"{row.estimate.n_images} / {row.estimate.n_pairs}"
        nulls = "; ".join(row.null_cells)
        cells.append(
            (
                row.word.label,
                headline_value(row.estimate, row.word.over),
                counts,
                nulls,
                row.meaning,
            )
        )
    return html_table(cells, "<>><", heads=heads)


def headline_markdown(
    report: Report,
    *,
    indices: Collection[str] | None = None,
    nulls: Collection[str] | None = None,
) -> str:
    """Write the indices of all networks as one Markdown table, a row each.

    Args:
        report: The analysis.
        indices: Keys of the indices to show; None: all.
        nulls: Names of the null models to show; None: all.

    Returns:
        Columns: each network, its difference to the first one, then the null models.
    """
    first, *others = report.keys
    nulls = NULLS if nulls is None else nulls
    rows = {key: {row.word.key: row for row in headline_rows(report, key)} for key in report.keys}
    differences = {key: _differences(report, first, key) for key in others}
    table = [["", *report.keys, *(f"{key} - {first}" for key in others)]]
    for name in nulls:
        table[0] += [f"{name} {key}" for key in _columns(name, report.keys)]
    words = {name: row.word for own in rows.values() for name, row in own.items()}
    for name, word in words.items():
        if indices is not None and name not in indices:
            continue
        own = [rows[key].get(name) for key in report.keys]
        estimates = [None if row is None else row.estimate for row in own]
        estimates += [differences[key].get(name) for key in others]
        cells = ["" if one is None else shown(one, 2) for one in estimates]
        beside = [{} if row is None else row.nulls for row in own]
        for null in nulls:
            texts = [null_text(null, one.get(null)) or "-" for one in beside]
            columns = texts if NULLS[null].spread else [" / ".join(texts)]
            cells += columns if any(beside) else [""] * len(columns)
        table.append([word.label, *cells])
    scores = [report.model(key)["scores"] for key in report.keys]
    accuracy = ["-" if one is None else f"{one['miou']:.1f}" for one in scores]
    blank = [""] * (len(table[0]) - 1 - len(accuracy))
    table.append(["mIoU here, %", *accuracy, *blank])
    lines = [f"| {' | '.join(cells)} |".replace("  ", " ") for cells in table]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])


def _columns(null: str, keys: Sequence[str]) -> list[str]:
    """Return the heads of a null model's columns: one for all networks, or one each."""
    return list(keys) if NULLS[null].spread else [" / ".join(keys)]


def _differences(report: Report, a: str, b: str) -> dict[str, Estimate]:
    """Return b - a by index; where an index is 1 minus another, the sign of that one's turns."""
    found = {one.index: one.difference for one in report.differences(a, b)}
    for name, word in INDICES.items():
        if (one := found.get(word.complement)) is not None:
            value, low, high = (None if n is None else -n for n in (one.value, one.high, one.low))
            found[name] = replace(one, value=value, low=low, high=high)
    return found
