"""SCI and SCI_edge with intervals, beside chance and the null models.

    python analysis/fig_sci_dots.py runs/camvid

A dot means something only to the left of the random networks (N3).
"""

import sys

from gsto_viz.report.catalogue import main

if __name__ == "__main__":
    sys.exit(main("sci_dots"))
