"""Percentile of the finest and the coarsest branch by distance to the edge.

    python analysis/fig_distance_profile.py runs/camvid

Without confusion stride 4 is high at the edge and low inside large objects.
"""

import sys

from gsto_viz.report.catalogue import main

if __name__ == "__main__":
    sys.exit(main("distance_profile"))
