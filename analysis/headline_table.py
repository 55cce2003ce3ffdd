"""Print the headline table of docs/results.md from analyze folders, as Markdown.

python analysis/headline_table.py "500 held-out scenes=runs/scenes" "CamVid eval=runs/camvid"
"""

import sys

from gsto_viz.report import load_report
from gsto_viz.report.headline import headline_markdown
from gsto_viz.words import INDICES, LAYOUT

SHOWN = {*INDICES, LAYOUT.key} - {"sci_whole"}


def main() -> None:
    for word in sys.argv[1:]:
        title, _, folder = word.rpartition("=")
        report = load_report(folder)
        sci = report.index(report.keys[0], "sci")
        print(
            f"**{title}** ({sci.n_images} images, {report.summary['clusters']} independent, "
            f"{sci.n_pairs} pairs)\n"
        )
        print(headline_markdown(report, indices=SHOWN, nulls=("N1", "N2", "N3", "N5")), end="\n\n")
        for key in report.keys:
            print(f"{key} ({report.names[key]}): {report.verdict(key).words}")
        print()


if __name__ == "__main__":
    main()
