"""Training: samples, the loop, its log, and a state that a killed run continues from.

Names load their modules when they are first used: a loading process needs no torch.
"""

import importlib
from typing import Any

_HOMES = {
    "TrainingResult": "trainer",
    "TrainingStopped": "trainer",
    "add_gains": "measures",
    "train": "trainer",
    "validation_spec": "folder",
}

__all__ = ["TrainingResult", "TrainingStopped", "add_gains", "train", "validation_spec"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"gsto_viz.train.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'gsto_viz.train' has no attribute {name!r}")
