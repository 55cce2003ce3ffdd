"""gsto_viz: see, measure and explain scale confusion in multi-scale segmentation networks.

``import gsto_viz`` is cheap: names load their modules when they are first used.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Capture": "gsto_viz.capture",
    "add_gains": "gsto_viz.train",
    "analyze": "gsto_viz.report",
    "GstoVizError": "gsto_viz.errors",
    "build_model": "gsto_viz.models",
    "load_data": "gsto_viz.data",
    "load_model": "gsto_viz.models",
    "load_report": "gsto_viz.report",
    "open_network": "gsto_viz.network",
    "region_table": "gsto_viz.regions",
    "save_checkpoint": "gsto_viz.models",
}
_ROOMS = ("models", "data", "plots", "stats", "capture", "regions", "attribution", "report")

__all__ = ["__version__", *sorted(_HOMES), *_ROOMS]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"gsto_viz.{name}")
    raise AttributeError(f"module 'gsto_viz' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
