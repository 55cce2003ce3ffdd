"""Exact Shapley values by branch and object size, with the Scale Interaction Coefficient.

    python analysis/fig_branch_by_size.py runs/camvid-causal

Needs an analysis with --attribution.
"""

import sys

from gsto_viz.report.catalogue import main

if __name__ == "__main__":
    sys.exit(main("branch_by_size"))
