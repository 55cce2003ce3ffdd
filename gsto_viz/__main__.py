"""``python -m gsto_viz`` is the same as ``gsto-viz``."""

import sys

from gsto_viz.cli import main

if __name__ == "__main__":
    sys.exit(main())
