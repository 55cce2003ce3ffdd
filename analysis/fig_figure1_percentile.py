"""The honest twin of the paper's Figure 1: percentile maps, one scale, region outlines.

    python analysis/fig_figure1_percentile.py runs/camvid

Look for bright cells of stride 4 on small objects and at edges, of stride 32 inside large ones.
"""

import sys

from gsto_viz.report.catalogue import main

if __name__ == "__main__":
    sys.exit(main("figure1_percentile"))
