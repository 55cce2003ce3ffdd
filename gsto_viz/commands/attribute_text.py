"""What ``gsto-viz attribute`` prints."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from gsto_viz.attribution import ReceptiveField
    from gsto_viz.attribution.explain import Explanation


def table_rows(explained: "Explanation") -> list[dict[str, Any]]:
    """Return the table of branches as rows that JSON can hold."""
    return _plain(explained.branches)


def as_text(explained: "Explanation") -> str:
    """Lay out the result for the screen: branches, the paths that matter most, the checks."""
    heads = "".join(f"{f'/{s}':>9}" for s in explained.strides)
    lines = [
        f"{explained.target}: {explained.score:.4f}",
        "",
        f"{'method':<24}{'absent branches':<26}{heads}{'sum':>10}{'expected':>10}",
    ]
    for row in table_rows(explained):
        cells = "".join(_cell(row[f"branch_{r}"], 9) for r in range(len(explained.strides)))
        sums = _cell(row["sum"], 10) + _cell(row["expected"], 10)
        lines.append(f"{row['method']:<24}{row['baseline']:<26}{cells}{sums}")
    asked = explained.paths["kind"] == "asked"
    closed = explained.paths[~asked]
    order = closed["drop"].abs().sort_values(ascending=False, kind="stable").index
    lines += ["", f"{'closed path':<34}{'value':<16}{'score':>10}{'drop':>10}"]
    for path in [
        *explained.paths[asked].to_dict("records"),
        *closed.loc[order].head(8).to_dict("records"),
    ]:
        numbers = f"{path['score']:>10.4g}{path['drop']:>10.4g}"
        lines.append(f"{path['place']:<34}{path['value']:<16}{numbers}")
    lines += [
        "",
        f"branch split against the network's logits: {explained.sum_error:.1e} (relative); "
        f"Shapley values against the change of the score: {explained.efficiency_error:.1e}",
    ]
    lines += explained.notes
    if explained.taps is not None:
        lines += ["", *_tap_lines(explained.taps.table)]
    if explained.sanity is not None:
        lines += ["", f"{'check':<50}{'subject':<40}{'value':>8}"]
        for check in explained.sanity.to_dict("records"):
            lines.append(f"{check['check']:<50}{check['subject']:<40}{check['value']:>8.3f}")
    return "\n".join(lines) + "\n"


def _tap_lines(table: "pd.DataFrame") -> list[str]:
    """Lay out the maps at taps and on the image, one line each."""
    lines = [
        f"{'method':<24}{'tap':<26}{'stride':>7}{'total':>11}{'delta':>11}{'infidelity':>12}",
    ]
    for row in _plain(table):
        numbers = _cell(row["total"], 11) + _cell(row["delta"], 11) + _cell(row["infidelity"], 12)
        lines.append(f"{row['method']:<24}{row['tap']:<26}{row['stride']:>7}{numbers}")
    return lines


def _plain(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return rows of plain values, None where there is none."""
    import pandas as pd

    rows = frame.astype(object).to_dict("records")
    return [{str(k): None if pd.isna(v) else v for k, v in row.items()} for row in rows]


def _cell(value: float | None, width: int) -> str:
    """Return a number for the screen, a dash where there is none."""
    return f"{'-' if value is None else f'{value:.4g}':>{width}}"


def fields_text(fields: "Mapping[str, Sequence[ReceptiveField]]", strides: Sequence[int]) -> str:
    """Lay out effective receptive fields: their sizes, and how these follow the stride.

    Args:
        fields: By condition, one field per branch, the finest first.
        strides: Of the branches.
    """
    import numpy as np

    from gsto_viz.stats import erf_slope

    heads = "".join(f"{f'/{s}':>9}" for s in strides)
    lines = ["", f"{'effective receptive field, px':<50}{heads}{'slope':>10}"]
    for name, row in fields.items():
        sizes = [field.erf_px for field in row]
        cells = "".join(f"{size:>9.1f}" for size in sizes)
        lines.append(f"{name:<50}{cells}{float(erf_slope(np.array(sizes), strides)):>10.2f}")
    lines.append("slope: of log2 size on log2 stride; 1 as in a pyramid, 0 all branches see alike")
    return "\n".join(lines) + "\n"
