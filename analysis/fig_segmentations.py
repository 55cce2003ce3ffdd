"""Segmentations side by side (the paper's Figure 5).

    python analysis/fig_segmentations.py runs/camvid

Where A and B disagree, and which of them is right.
"""

import sys

from gsto_viz.report.catalogue import main

if __name__ == "__main__":
    sys.exit(main("segmentations"))
