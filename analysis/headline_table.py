"""Print tables of the documentation from analyze folders, as Markdown.

    python analysis/headline_table.py "500 held-out scenes=runs/scenes" "CamVid eval=runs/camvid"
    python analysis/headline_table.py --by-network "200 scenes=runs/systems"

The first has a row for each index (docs/results.md), the second one for each network, with the
null models of SCI beside it (docs/systems.md).
"""

import argparse

from gsto_viz.report import Report, load_report
from gsto_viz.report.folder import shown
from gsto_viz.report.headline import headline_markdown, headline_rows, null_text
from gsto_viz.words import INDICES, LAYOUT, SCI_C

SHOWN = {*INDICES, LAYOUT.key} - {"sci_whole"}
OF_NETWORKS = ("sci", "sci_edge", "a_first_matched", "a_last")
NULLS_OF_NETWORKS = ("N1", "N2", "N3")


def network_markdown(report: Report) -> str:
    """Write a row for each network: SCI, its null models, the other indices, SCI_C, mIoU.

    The last two have columns where a network has them.
    """
    sci, *others = (INDICES[name].label for name in OF_NETWORKS)
    causal = {key: found["sci_c"] for key in report.keys if (found := report.causal(key))}
    scored = {key: s for key in report.keys if (s := report.model(key)["scores"]) is not None}
    more = [*([SCI_C.label] if causal else []), *(["mIoU here, %"] if scored else [])]
    table = [["network", sci, *NULLS_OF_NETWORKS, *others, *more]]
    for key in report.keys:
        rows = {row.word.key: row for row in headline_rows(report, key)}
        values = [shown(rows[name].estimate, 2) for name in OF_NETWORKS]
        nulls = [null_text(n, rows["sci"].nulls.get(n)) or "-" for n in NULLS_OF_NETWORKS]
        last = []
        if causal:
            last.append(shown(causal[key].estimate, 2) if key in causal else "-")
        if scored:
            last.append(f"{scored[key]['miou']:.1f}" if key in scored else "-")
        table.append([key, values[0], *nulls, *values[1:], *last])
    lines = [f"| {' | '.join(cells)} |" for cells in table]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", metavar="TITLE=DIR")
    parser.add_argument("--by-network", action="store_true", help="a row for each network")
    args = parser.parse_args()
    for word in args.folders:
        title, _, folder = word.rpartition("=")
        report = load_report(folder)
        sci = report.index(report.keys[0], "sci")
        print(
            f"**{title}** ({sci.n_images} images, {report.summary['clusters']} independent, "
            f"{sci.n_pairs} pairs)\n"
        )
        if args.by_network:
            print(network_markdown(report), end="\n\n")
            continue
        print(headline_markdown(report, indices=SHOWN, nulls=("N1", "N2", "N3", "N5")), end="\n\n")
        for key in report.keys:
            print(f"{key} ({report.names[key]}): {report.verdict(key).words}")
        print()


if __name__ == "__main__":
    main()
