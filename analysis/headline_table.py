"""Print the README's headline table from analyze folders, as Markdown.

python analysis/headline_table.py "500 held-out scenes=runs/scenes" "CamVid eval=runs/camvid"
"""

import sys
from dataclasses import replace

from gsto_viz.report import Null, Report, load_report
from gsto_viz.report.folder import shown
from gsto_viz.stats import Estimate

ROWS = {
    "sci": "**SCI**",
    "sci_edge": "SCI_edge",
    "c_fine": "c_fine",
    "c_coarse": "c_coarse",
    "a_first_matched": "A finest, matched",
    "a_last": "A coarsest",
    "sci_same_class": "SCI, same class",
}


def null_cell(null: Null | None, *, spread: bool = False) -> str:
    if null is None or null.mean is None:
        return "-"
    if spread and null.low is not None and null.high is not None:
        return f"{null.low:.2f} to {null.high:.2f}"
    return f"{null.mean:.2f}"


def mirrored(one: Estimate) -> Estimate:
    """c_coarse is 1 - A of the coarsest branch, so its difference has the other sign."""
    if one.value is None or one.low is None or one.high is None:
        return one
    return replace(one, value=-one.value, low=-one.high, high=-one.low)


def block(title: str, report: Report) -> str:
    images = report.index("A", "sci").n_images
    lines = [
        f"**{title}** ({images} images, {report.summary['clusters']} independent, "
        f"{report.index('A', 'sci').n_pairs} pairs)",
        "",
        "| | A plain | B gated | B - A | N1 A / B | N2 A / B | N3 A | N3 B | N5 A / B |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    comparison = {one.index: one.difference for one in report.compare().comparisons}
    comparison["c_coarse"] = mirrored(comparison["a_last"])
    nulls = {key: report.nulls(key) for key in "AB"}
    for name, label in ROWS.items():
        cells = [shown(report.index(key, name), 2) for key in "AB"]
        cells.append(shown(comparison[name], 2))
        by_key = {key: nulls[key][name] for key in "AB"}
        both = {
            null: " / ".join(null_cell(by_key[key].get(null)) for key in "AB")
            for null in ("N1", "N2", "N5")
        }
        random = [null_cell(by_key[key].get("N3"), spread=True) for key in "AB"]
        cells += [both["N1"], both["N2"], *random, both["N5"]]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    adjusted = [report.layout_adjusted(key, "sci") for key in "AB"]
    cells = ["-" if one is None else shown(one, 2) for one in adjusted]
    lines.append(f"| SCI, layout out | {' | '.join(cells)} | | | | | | |")
    scores = [report.model(key)["scores"]["miou"] for key in "AB"]
    lines.append(f"| mIoU here, % | {scores[0]:.1f} | {scores[1]:.1f} | | | | | | |")
    return "\n".join(lines)


def main() -> None:
    for word in sys.argv[1:]:
        title, _, folder = word.rpartition("=")
        report = load_report(folder)
        print(block(title, report), end="\n\n")
        for key in report.keys:
            print(f"{key} ({report.names[key]}): {report.verdict(key).words}")
        print()


if __name__ == "__main__":
    main()
