"""Pairs of objects that lie farthest apart in size and are in the wrong order.

    python analysis/fig_worst_pairs.py runs/camvid

Look before you believe a number.
"""

import sys

from gsto_viz.report.catalogue import main

if __name__ == "__main__":
    sys.exit(main("worst_pairs"))
