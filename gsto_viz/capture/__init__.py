"""Capture: any ``nn.Module`` in, reduced maps out.

``Capture`` is the context manager; ``tap_names`` lists what can be captured in a network;
``capture_image`` does it all for one image and ``save_maps`` writes the result.
"""

from gsto_viz.anatomy import canonical_name, safe_name
from gsto_viz.capture.core import Capture
from gsto_viz.capture.image import ImageMaps, capture_image, save_maps
from gsto_viz.capture.maps import Maps, Record
from gsto_viz.capture.names import tap_names
from gsto_viz.words import REDUCTIONS

__all__ = [
    "REDUCTIONS",
    "Capture",
    "ImageMaps",
    "Maps",
    "Record",
    "canonical_name",
    "capture_image",
    "safe_name",
    "save_maps",
    "tap_names",
]
