"""What ``gsto-viz attribute`` prints."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from gsto_viz.attribution import ReceptiveField
    from gsto_viz.attribution.explain import Explanation


def table_rows(
    explained: "Explanation", fields: "Mapping[str, Sequence[ReceptiveField]] | None" = None
) -> list[dict[str, Any]]:
    """Return the table of branches as rows that JSON can hold.

    Args:
        explained: One target.
        fields: By condition, one receptive field per branch; each condition becomes a row
            ``erf_px`` with its ``condition``, ``branch_{r}`` (px) and ``slope``.
    """
    from gsto_viz.commands.attribute_work import field_slopes

    rows = _plain(explained.branches)
    slopes = {} if fields is None else field_slopes(fields)
    for name, row in (fields or {}).items():
        sizes = {f"branch_{r}": field.erf_px for r, field in enumerate(row)}
        rows.append({"method": "erf_px", "condition": name, **sizes, "slope": slopes[name]})
    return rows


def as_text(explained: "Explanation") -> str:
    """Lay out the result for the screen: branches, the paths that matter most, the checks."""
    lines = [f"{explained.target}: {explained.score:.4f}", ""]
    heads = [f"/{stride}" for stride in explained.strides]
    branches = [["method", "absent branches", *heads, "sum", "expected"]]
    for row in table_rows(explained):
        names = [*(f"branch_{r}" for r in range(len(heads))), "sum", "expected"]
        branches.append([row["method"], row["baseline"], *(_cell(row[name]) for name in names)])
    lines += lay_out(branches)
    paths = [["closed path", "value", "score", "drop"]]
    for path in _paths_to_show(explained.paths):
        paths.append([path["place"], path["value"], _cell(path["score"]), _cell(path["drop"])])
    lines += ["", *lay_out(paths)]
    lines += [
        "",
        f"branch split against the network's logits: {explained.sum_error:.1e} (relative); "
        f"Shapley values against the change of the score: {explained.efficiency_error:.1e}",
    ]
    lines += explained.notes
    if explained.taps is not None:
        taps = [["method", "tap", "stride", "total", "delta", "infidelity"]]
        for row in _plain(explained.taps.table):
            numbers = [_cell(row[name]) for name in ("stride", "total", "delta", "infidelity")]
            taps.append([row["method"], row["tap"], *numbers])
        lines += ["", *lay_out(taps)]
    if explained.sanity is not None:
        checks = [["check", "subject", "value"]]
        for check in explained.sanity.to_dict("records"):
            checks.append([check["check"], check["subject"], f"{check['value']:.3f}"])
        lines += ["", *lay_out(checks)]
    return "\n".join(lines) + "\n"


def _paths_to_show(paths: "pd.DataFrame") -> list[dict[Any, Any]]:
    """Return the changes that were asked for, then the eight closed paths that move most."""
    asked = paths["kind"] == "asked"
    closed = paths[~asked]
    order = closed["drop"].abs().sort_values(ascending=False, kind="stable").index
    return [*paths[asked].to_dict("records"), *closed.loc[order].head(8).to_dict("records")]


def lay_out(rows: Sequence[Sequence[str]], words: int = 2) -> list[str]:
    """Lay out a table: every column is as wide as its widest entry, two blanks lie between.

    Args:
        rows: The heads, then the entries.
        words: So many first columns begin at the left; the others, numbers, end at the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            f"{entry:<{width}}" if k < words else f"{entry:>{width}}"
            for k, (entry, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _plain(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return rows of plain values, None where there is none."""
    import pandas as pd

    rows = frame.astype(object).to_dict("records")
    return [{str(k): None if pd.isna(v) else v for k, v in row.items()} for row in rows]


def _cell(value: float | None) -> str:
    """Return a number for the screen, a dash where there is none."""
    return "-" if value is None else f"{value:.4g}"


def fields_text(fields: "Mapping[str, Sequence[ReceptiveField]]", strides: Sequence[int]) -> str:
    """Lay out effective receptive fields: their sizes, and how these follow the stride.

    Args:
        fields: By condition, one field per branch, the finest first.
        strides: Of the branches.
    """
    from gsto_viz.commands.attribute_work import field_slopes

    slopes = field_slopes(fields)
    rows = [["effective receptive field, px", *(f"/{stride}" for stride in strides), "slope"]]
    for name, row in fields.items():
        rows.append([name, *(f"{field.erf_px:.1f}" for field in row), f"{slopes[name]:.2f}"])
    lines = ["", *lay_out(rows, words=1)]
    lines.append("slope: of log2 size on log2 stride; 1 as in a pyramid, 0 all branches see alike")
    return "\n".join(lines) + "\n"
