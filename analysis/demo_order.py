"""Write the summary of demo scenes that the explorer's verdict line reads, from an analysis.

    gsto-viz analyze --model A=scenes-hrnetv2-w18-small-v1 \\
        --model B=scenes-gsto-hrnet-w18-small-v1 \\
        --data scenes:count=32,seed=0,size=256x512 --out runs/demo32
    gsto-viz compare runs/demo32
    python analysis/demo_order.py runs/demo32
"""

import argparse
import json
from pathlib import Path

from gsto_viz.explorer.values.verdict import ordered_of, shipped_path
from gsto_viz.files import write_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    summary, comparison = (
        json.loads((folder / name).read_text()) for name in ("summary.json", "comparison.json")
    )
    found = ordered_of(summary, comparison, "the demo (procedural scenes)")
    if found is None or found["pair"] is None:
        parser.error(f"{folder} is not an analysis of two networks with intervals")
    write_text(shipped_path(), json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
