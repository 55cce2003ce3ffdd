"""SCI by the size gap of the pairs, of one class and of different classes.

    python analysis/fig_sci_by_gap.py runs/camvid

Data sets are compared at equal gaps.
"""

import sys

from gsto_viz.report.catalogue import main

if __name__ == "__main__":
    sys.exit(main("sci_by_gap"))
