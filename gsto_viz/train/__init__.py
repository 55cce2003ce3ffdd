"""Training: samples, the loop, its log, and a state that a killed run continues from."""

from gsto_viz.train.checks import check_data, validation_spec
from gsto_viz.train.loop import TrainingResult, TrainingStopped, add_gains, train

__all__ = [
    "TrainingResult",
    "TrainingStopped",
    "add_gains",
    "check_data",
    "train",
    "validation_spec",
]
