"""``comparison.json``: the paired statistics of two models, beside the analysis they come from."""

from typing import Any

from gsto_viz.files import write_json, write_text
from gsto_viz.report.plain import plain
from gsto_viz.report.report import PairComparison, Report
from gsto_viz.report.settings import SCHEMA_VERSION
from gsto_viz.report.text import difference_words
from gsto_viz.stats.compare import comparison_table


def comparison_json(report: Report, comparison: PairComparison) -> dict[str, Any]:
    """Return a comparison as plain values."""
    return {
        "schema_version": SCHEMA_VERSION,
        "data": report.data,
        "a": {"key": comparison.a, **report.manifest["models"][comparison.a]},
        "b": {"key": comparison.b, **report.manifest["models"][comparison.b]},
        "difference": f"{comparison.b} - {comparison.a}, paired over images",
        "words": difference_words(comparison, report),
        "indices": plain(comparison_table(comparison.comparisons)),
        "specification": {
            "same_sign": comparison.curve.same_sign,
            "estimated": comparison.curve.estimated,
            "reason": comparison.curve.reason,
            "rows": plain(comparison.curve.table),
        },
    }


def write_comparison(report: Report, comparison: PairComparison) -> dict[str, Any]:
    """Write ``comparison.json`` and its tables as CSV beside the analysis; return the values."""
    values = comparison_json(report, comparison)
    table = comparison_table(comparison.comparisons)
    write_text(report.folder / "comparison.csv", table.to_csv(index=False))
    write_text(report.folder / "specification.csv", comparison.curve.table.to_csv(index=False))
    write_json(report.folder / "comparison.json", values)
    return values
