"""The paper's Figure 1: raw channel means, each map on its own scale.

    python analysis/fig_figure1_paper.py runs/camvid

The size of these numbers is arbitrary; the figure says so. Compare with figure1_percentile.
"""

import sys

from gsto_viz.report.catalogue import main

if __name__ == "__main__":
    sys.exit(main("figure1_paper"))
