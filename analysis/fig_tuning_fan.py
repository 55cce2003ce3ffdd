"""Response of every branch by object size, random weights dashed.

    python analysis/fig_tuning_fan.py runs/camvid

With scale awareness the curves fan out: stride 4 falls and stride 32 rises.
"""

import sys

from gsto_viz.report.catalogue import main

if __name__ == "__main__":
    sys.exit(main("tuning_fan"))
