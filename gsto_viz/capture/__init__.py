"""Capture: any ``nn.Module`` in, reduced maps out.

``Capture`` is the context manager; ``tap_names`` lists what can be captured in a network.
"""

from gsto_viz.capture.core import Capture
from gsto_viz.capture.maps import Maps, Record
from gsto_viz.capture.names import Place, canonical_name, safe_name, tap_names
from gsto_viz.capture.reduce import REDUCTIONS

__all__ = [
    "REDUCTIONS",
    "Capture",
    "Maps",
    "Place",
    "Record",
    "canonical_name",
    "safe_name",
    "tap_names",
]
