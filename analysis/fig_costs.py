"""Cost, accuracy and SCI of the models.

    python analysis/fig_costs.py runs/camvid

Lower SCI is not better segmentation.
"""

import sys

from gsto_viz.report.catalogue import main

if __name__ == "__main__":
    sys.exit(main("costs"))
