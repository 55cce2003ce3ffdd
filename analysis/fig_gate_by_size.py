"""Mean gate by object size, source x target, core and band.

    python analysis/fig_gate_by_size.py runs/camvid

Needs a model with gates.
"""

import sys

from gsto_viz.report.catalogue import main

if __name__ == "__main__":
    sys.exit(main("gate_by_size"))
