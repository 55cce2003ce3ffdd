"""B - A under every reasonable choice.

    python analysis/fig_specification.py runs/camvid

How many choices keep the sign of the headline?
"""

import sys

from gsto_viz.report.catalogue import main

if __name__ == "__main__":
    sys.exit(main("specification"))
